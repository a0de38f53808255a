"""`crossdock adapter`: become the adapters' process or the sandboxes'; check, begin an adapter."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from crossdock.cli.becoming import become

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Run adapters or sandboxes in production; check an adapter; begin a new one.",
)

Config = Annotated[Path, typer.Option(exists=True, dir_okay=False, help="TOML file.")]


@app.command()
def run(
    config: Config,
    endpoints: Annotated[
        list[str] | None, typer.Argument(help="Only these endpoints of the file.")
    ] = None,
) -> None:
    """Host the configured endpoints in this process. SIGTERM drains it."""
    become("crossdock_adapters", ["run", "--config", str(config), *(endpoints or [])])


@app.command()
def sandbox(config: Config) -> None:
    """Host simulated vendors in this process."""
    become("crossdock_adapters", ["sandbox", "--config", str(config)])


@app.command()
def conform(
    name: Annotated[str, typer.Argument(help="The adapter, as its entry point calls it.")],
    check: Annotated[
        list[str] | None, typer.Option(help="Only this check; may be repeated.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The report for programs.")] = False,
) -> None:
    """Put an adapter and its sandbox through the conformance kit. Exit status 1: it failed."""
    # Endpoints that are killed on purpose make the library's lines stand between ours.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    chosen = [part for each in check or [] for part in ("--check", each)]
    json_option = ["--json"] if as_json else []
    become("crossdock_adapters", ["conform", name, *chosen, *json_option])


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="Small letters, digits and hyphens: pigeon-post.")],
    kind: Annotated[
        str,
        typer.Option(help="How its vendor is spoken to: rest, soap, file, table or edi."),
    ],
    directory: Annotated[
        Path | None, typer.Option(help="A new folder; unset: NAME, in this one.")
    ] = None,
    title: Annotated[str, typer.Option(help="What people call the vendor.")] = "",
) -> None:
    """Create an adapter that conforms, as a package of its own: the beginning of yours."""
    place = [] if directory is None else ["--directory", str(directory)]
    called = ["--title", title] if title else []
    become("crossdock_adapters", ["new", name, "--kind", kind, *place, *called])
