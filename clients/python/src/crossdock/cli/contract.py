"""`crossdock contract`: hand the contract to other teams, check it, compare it, read its owners."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Final

import typer

import crossdock
from crossdock import contracts
from crossdock.cli.output import print_json, print_table
from crossdock.contracts import Change, Contract, ContractError
from crossdock.errors import ConfigurationError

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Export, check, compare and read the contract.",
)

RELEASED: Final = Path("proto/released/contracts.binpb")
WAIVERS: Final = Path("proto/README.md")
_IMAGE: Final = "contracts.binpb"
_README: Final = """\
# The crossdock contract, version {version}

Everything needed to generate stubs in any language, with nothing to download:

- `proto/crossdock/`: our contract. `proto/buf/validate/`: the validation options it uses.
- `contracts.binpb`: the same, compiled: a google.protobuf.FileDescriptorSet with all imports.

With buf, given a `buf.gen.yaml` that names your plugins:

    buf generate

With protoc, here for Python:

    protoc -I proto --python_out=OUT $(find proto -name '*.proto')

Who owns which field, who may call which method, and where an event goes stands in the options of
`proto/crossdock/options/v1/options.proto`.
"""

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def export(
    directory: Annotated[Path, typer.Argument(help="Where to write; new or empty.")],
    replace: Annotated[bool, typer.Option(help="Replace an earlier bundle there.")] = False,
) -> None:
    """Write the bundle from which a team with only buf or protoc generates its stubs."""
    if directory.exists() and any(directory.iterdir()):
        if not replace or not (directory / _IMAGE).is_file():
            raise ConfigurationError(
                f"{directory} is not empty; name a new directory, or --replace an earlier bundle"
            )
        shutil.rmtree(directory / "proto", ignore_errors=True)
    sources = _sources()
    for name, text in sources.items():
        path = directory / "proto" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    (directory / _IMAGE).write_bytes(_packaged_image())
    (directory / "buf.yaml").write_text("version: v2\nmodules:\n  - path: proto\n", "utf-8")
    readme = _README.format(version=crossdock.__version__)
    (directory / "README.md").write_text(readme, "utf-8")
    typer.echo(f"wrote {len(sources)} proto files to {directory / 'proto'}")


@app.command()
def lint(
    image: Annotated[Path | None, typer.Argument(help="A compiled image; default: ours.")] = None,
) -> None:
    """Check the rules that buf cannot: owners, events, targets, callers. Exit 1: findings."""
    try:
        contract = contracts.load() if image is None else Contract(_read(image))
        contract.warm()
    except ContractError as error:
        for finding in error.findings:
            typer.echo(finding)
        raise typer.Exit(1) from None
    counts = f"{len(contract.resources)} resources, {len(contract.events)} events"
    typer.echo(f"the contract holds: {counts}, {len(contract.methods)} methods")


@app.command()
def diff(
    old: Annotated[Path, typer.Argument(help="The older image.")] = RELEASED,
    new: Annotated[Path | None, typer.Argument(help="The newer image; default: ours.")] = None,
    waivers: Annotated[Path, typer.Option(help="Where wanted changes are listed.")] = WAIVERS,
    as_json: Json = False,
) -> None:
    """Compare the meaning of two images. Exit 1: a change that breaks others is not waived."""
    newer = _packaged_image() if new is None else _read(new)
    positions = contracts.load().image.positions if new is None else None
    changes = contracts.diff(_read(old), newer, positions)
    rows = (
        contracts.read_waivers(waivers.read_text("utf-8"), str(waivers))
        if (waivers.is_file())
        else []
    )
    verdict = contracts.judge(changes, rows)
    if as_json:
        print_json(asdict(verdict))
    else:
        _say("refused", verdict.refused)
        _say("waived", verdict.waived)
        _say("changed", verdict.reported)
        for waiver in verdict.obsolete:
            typer.echo(f"{waivers}:{waiver.line}: obsolete waiver of {waiver.element}")
        if not changes:
            typer.echo("no change of meaning")
    if verdict.refused:
        raise typer.Exit(1)


@app.command()
def owners(
    kind: Annotated[str, typer.Argument(help="A resource, for example order; default: all.")] = "",
    as_json: Json = False,
) -> None:
    """Show who owns each field, and where the contract says so."""
    contract = contracts.load()
    if kind and kind not in contract.resources:
        known = ", ".join(sorted(contract.resources))
        raise ConfigurationError(f"there is no resource {kind!r}; known: {known}")
    fields = [
        (name, rule)
        for name, resource in sorted(contract.resources.items())
        if kind in ("", name)
        for rule in resource.fields.values()
    ]
    if as_json:
        print_json([{"resource": name, **asdict(rule)} for name, rule in fields])
        return
    rows = [(f"{name}.{rule.name}", rule.owner, rule.position) for name, rule in fields]
    print_table(("FIELD", "OWNER", "CONTRACT"), rows)


@app.command()
def events(as_json: Json = False) -> None:
    """Show every event: who causes it, who has to act on it, how soon."""
    found = sorted(contracts.load().events.values(), key=lambda event: event.stem)
    if as_json:
        print_json([asdict(event) for event in found])
        return
    rows = [
        (
            event.stem,
            ",".join(sorted(event.producers)),
            event.latency_class,
            ", ".join(f"{target.role} {target.operation}" for target in event.targets),
        )
        for event in found
    ]
    print_table(("EVENT", "PRODUCERS", "LATENCY", "TARGETS"), rows)


def _say(word: str, changes: tuple[Change, ...]) -> None:
    for change in changes:
        typer.echo(f"{change.position}: {word}: {change.element}: {change.description}")
        if word == "refused":
            typer.echo(f"    to waive it: element {change.element}, change {change.kind}")


def _sources() -> dict[str, str]:
    """The source of every file, by its import name.

    With comments where they are at hand: in the repository, or packed into a wheel. What is left,
    above all buf/validate/validate.proto, is printed from the image.
    """
    printed = contracts.print_files(_packaged_image())
    package = Path(str(files("crossdock")))
    for root in (package / "protos", package.parents[3] / "proto"):
        for name in printed:
            if (root / name).is_file():
                printed[name] = (root / name).read_text("utf-8")
    return printed


def _packaged_image() -> bytes:
    return contracts.load().image.data


def _read(image: Path) -> bytes:
    try:
        return image.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"cannot read {image}: {error.strerror}") from error
