"""Builds and checks the contract; all of it works without a network.

python tools/contracts.py generate     stubs, image and positions from proto/; vendors' stubs
python tools/contracts.py lint         buf lint, buf format, and the rules that buf cannot check
python tools/contracts.py check        what is committed is what proto/ gives, and vendors' protos
python tools/contracts.py breaking     against the last release: wire and meaning
python tools/contracts.py judge        lint, breaking: what must be green before a change lands
python tools/contracts.py all          generate, lint, breaking
python tools/contracts.py release      makes the present contract the last released one
python tools/contracts.py third-party  only third_party/, for those who call buf themselves

A vendor's wire is no contract of ours: its protos lie in the folder `stubs` of the adapter that
speaks it, are generated there, and are neither linted nor compared with a release.

Everything is built beside the repository first and moved in when all of it is well: contracts that
do not compile leave the committed stubs as they are.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import protovalidate._gen.buf.validate.validate_pb as validate_pb
from crossdock.contracts import Contract, ContractError, positions_in, print_files
from google.protobuf import descriptor_pb2, duration_pb2, field_mask_pb2, timestamp_pb2

ROOT = Path(__file__).resolve().parent.parent
SOURCE = "clients/python/src"
TEMPLATE = "clients/python/buf.gen.yaml"
RELEASED = ROOT / "proto/released/contracts.binpb"
VALIDATE = "buf/validate/validate.proto"
ADAPTERS = "adapters/src"
VENDOR_PROTOS = "crossdock_adapters/*/stubs/*.proto"
IMAGE, POSITIONS = "crossdock/contracts.binpb", "crossdock/contracts_positions.json"
STUB_PATTERNS = ("*_pb2.py", "*_pb2.pyi", "*_pb2_grpc.py", "*_pb2_grpc.pyi")
PACKAGE_TEXT = '"""Generated from proto/ by `make contracts`; do not edit."""\n'


def main(arguments: Sequence[str]) -> None:
    """Run the step named on the command line."""
    steps: dict[str, Sequence[Callable[[], None]]] = {
        "third-party": [write_third_party],
        "generate": [generate],
        "lint": [lint],
        "check": [check],
        "breaking": [breaking],
        "release": [release],
        "judge": [lint, breaking],
        "all": [generate, lint, breaking],
    }
    if len(arguments) != 1 or arguments[0] not in steps:
        raise SystemExit(f"usage: contracts.py {'|'.join(steps)}")
    for step in steps[arguments[0]]:
        step()


def generate() -> None:
    """Bring stubs, packages, image and positions up to what proto/ says."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as vendors:
        replace(ROOT / SOURCE, read_generated(ROOT / SOURCE), build(Path(folder)))
        replace(ROOT / ADAPTERS, read_stubs(ROOT / ADAPTERS), build_vendors(Path(vendors)))


def replace(source: Path, committed: dict[str, bytes], fresh: dict[str, bytes]) -> None:
    """Write what is new, take away what is left over."""
    stale = differences(committed, fresh)
    for name in stale:
        path = source / name
        if name in fresh:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(fresh[name])
        else:
            path.unlink()
    print(f"{source.relative_to(ROOT)}: {len(stale)} of {len(fresh)} files changed")


def lint() -> None:
    """Lint and check the format of our own protos, then the rules that only we know."""
    write_third_party()
    must("buf", "lint")
    must("buf", "format", "-d", "--exit-code", "--path", "proto/crossdock")
    must("crossdock", "contract", "lint")


def check() -> None:
    """Build beside the repository and compare with what is committed."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as vendors:
        stale = differences(read_generated(ROOT / SOURCE), build(Path(folder)))
        stale += differences(read_stubs(ROOT / ADAPTERS), build_vendors(Path(vendors)))
    if stale:
        print("not what the protos give; run `make contracts` and commit:", *stale, sep="\n  ")
        raise SystemExit(1)


def breaking() -> None:
    """Refuse what breaks the wire or the meaning of the last released contracts."""
    if not RELEASED.exists():
        print("nothing released yet: nothing to compare with")
        return
    write_third_party()
    # Without `proto` buf would compare two modules with one image; without --exclude-imports it
    # would take a newer validate.proto for a change of ours.
    must("buf", "breaking", "proto", "--exclude-imports", "--against", str(RELEASED))
    must("crossdock", "contract", "diff")


def release() -> None:
    """Make the present image the last released one."""
    RELEASED.parent.mkdir(parents=True, exist_ok=True)
    RELEASED.write_bytes((ROOT / SOURCE / IMAGE).read_bytes())
    print(f"released: commit {RELEASED.relative_to(ROOT)}")


def write_third_party() -> None:
    """Write validate.proto from the descriptor inside the installed protovalidate package.

    So the rules that buf compiles and the engine that checks them have one version, and no
    third-party file is committed.
    """
    image = descriptor_pb2.FileDescriptorSet()
    for module in (descriptor_pb2, duration_pb2, field_mask_pb2, timestamp_pb2):
        image.file.add().ParseFromString(module.DESCRIPTOR.serialized_pb)
    image.file.add().ParseFromString(validate_pb.desc().proto.to_binary())
    text = print_files(image.SerializeToString(), [VALIDATE])[VALIDATE]
    target = ROOT / "third_party" / VALIDATE
    if not target.exists() or target.read_text(encoding="utf-8") != text:
        target.parent.mkdir(parents=True, exist_ok=True)
        # Moved into place whole: another build may be reading it.
        with tempfile.NamedTemporaryFile("w", dir=target.parent, delete=False) as partial:
            partial.write(text)
        Path(partial.name).replace(target)


def build(folder: Path) -> dict[str, bytes]:
    """Everything that proto/ gives, by path below clients/python/src; built in `folder`."""
    write_third_party()
    image, full = folder / "contracts.binpb", folder / "full.binpb"
    must("buf", "build", "--exclude-source-info", "--as-file-descriptor-set", "-o", str(image))
    must("buf", "build", "--as-file-descriptor-set", "-o", str(full))
    positions = positions_in(full.read_bytes())
    refuse_wrong_options(image.read_bytes(), positions)
    must("buf", "generate", "--template", TEMPLATE, "-o", str(folder))
    stubs = read_generated(folder / SOURCE)
    # mypy-protobuf writes types for services even where a file has none.
    stubs = {name: data for name, data in stubs.items() if name.removesuffix("i") in stubs}
    for package in {Path(name).parent for name in stubs}:
        for level in (package, package.parent):
            stubs[f"{level}/__init__.py"] = PACKAGE_TEXT.encode()
    stubs[IMAGE] = image.read_bytes()
    stubs[POSITIONS] = (json.dumps(positions, indent=0, sort_keys=True) + "\n").encode()
    return stubs


def build_vendors(folder: Path) -> dict[str, bytes]:
    """The stubs of every vendor's proto, by path below adapters/src; built in `folder`."""
    protos = sorted(path.relative_to(ROOT / ADAPTERS) for path in vendor_protos())
    if not protos:
        return {}
    outs = [f"--{kind}_out={folder}" for kind in ("python", "grpc_python")]
    outs += [f"--{kind}_out=quiet:{folder}" for kind in ("mypy", "mypy_grpc")]
    names = [path.as_posix() for path in protos]
    must("python", "-m", "grpc_tools.protoc", f"-I{ADAPTERS}", *outs, *names)
    return read_stubs(folder)


def vendor_protos() -> list[Path]:
    """The protos of wires that vendors speak."""
    return list((ROOT / ADAPTERS).glob(VENDOR_PROTOS))


def read_stubs(source: Path) -> dict[str, bytes]:
    """The generated files of vendors' wires below a folder, by relative path."""
    paths = [path for pattern in STUB_PATTERNS for path in source.rglob(pattern)]
    return {path.relative_to(source).as_posix(): path.read_bytes() for path in paths}


def refuse_wrong_options(image: bytes, positions: dict[str, str]) -> None:
    """Stop with file and line when an option that the hub obeys is missing or wrong."""
    try:
        Contract(image, positions)
    except ContractError as error:
        raise SystemExit("\n".join(error.findings)) from None


def read_generated(source: Path) -> dict[str, bytes]:
    """The generated files below a source folder, by relative path."""
    paths = [path for pattern in STUB_PATTERNS for path in source.rglob(pattern)]
    paths += [package / "__init__.py" for path in paths for package in path.parents[:2]]
    paths += [source / IMAGE, source / POSITIONS]
    return {
        path.relative_to(source).as_posix(): path.read_bytes() for path in paths if path.exists()
    }


def differences(committed: dict[str, bytes], fresh: dict[str, bytes]) -> list[str]:
    """Names of files that are missing, stale or left over."""
    return sorted(
        name for name in committed.keys() | fresh.keys() if committed.get(name) != fresh.get(name)
    )


def must(*command: str) -> None:
    """Run a tool of the virtual environment in the repository; stop with its code when it fails."""
    tools = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{tools}{os.pathsep}{os.environ.get('PATH', '')}"}
    code = subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode
    if code:
        raise SystemExit(code)


if __name__ == "__main__":
    main(sys.argv[1:])
