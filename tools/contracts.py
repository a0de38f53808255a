"""Builds and checks the contract: third-party imports, stubs, image, lint, breaking changes.

python tools/contracts.py generate   stubs, image and positions from proto/
python tools/contracts.py lint       buf lint and format
python tools/contracts.py check      what is committed is what proto/ gives
python tools/contracts.py breaking   against the last release: wire and meaning
python tools/contracts.py release    makes the present contracts the last release
python tools/contracts.py all        generate, lint, breaking
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import protovalidate._gen.buf.validate.validate_pb as validate_pb
from crossdock.contracts import diff
from crossdock.contracts.image import positions_in
from crossdock.contracts.printing import print_files
from google.protobuf import descriptor_pb2, duration_pb2, field_mask_pb2, timestamp_pb2

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "clients/python/src/crossdock"
RELEASED = ROOT / "proto/released/contracts.binpb"
VALIDATE = "buf/validate/validate.proto"
INIT = '"""Generated stubs, see proto/; do not edit."""\n'
GENERATED = ("*_pb2.py", "*_pb2.pyi", "*_pb2_grpc.py", "*_pb2_grpc.pyi")


def run(*command: str, cwd: Path = ROOT) -> int:
    """Run a tool of the virtual environment; its output goes to the terminal."""
    tools = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{tools}{os.pathsep}{os.environ.get('PATH', '')}"}
    return subprocess.run(command, cwd=cwd, env=environment, check=False).returncode


def must(*command: str, cwd: Path = ROOT) -> None:
    """Run a tool; stop with its exit code when it fails."""
    code = run(*command, cwd=cwd)
    if code:
        raise SystemExit(code)


def write_third_party(root: Path = ROOT) -> None:
    """Write validate.proto from the descriptor inside the installed protovalidate package."""
    image = descriptor_pb2.FileDescriptorSet()
    for module in (descriptor_pb2, duration_pb2, field_mask_pb2, timestamp_pb2):
        image.file.add().ParseFromString(module.DESCRIPTOR.serialized_pb)
    image.file.add().ParseFromString(validate_pb.desc().proto.to_binary())
    text = print_files(image.SerializeToString(), [VALIDATE])[VALIDATE]
    target = root / "third_party" / VALIDATE
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists() or target.read_text(encoding="utf-8") != text:
        target.write_text(text, encoding="utf-8")


def generate(root: Path = ROOT) -> None:
    """Write stubs, packages, image and positions under clients/python/src of `root`."""
    write_third_party(root)
    package = root / "clients/python/src/crossdock"
    for pattern in GENERATED:
        for stale in package.rglob(pattern):
            stale.unlink()
    must("buf", "generate", "--template", "clients/python/buf.gen.yaml", cwd=root)
    for folder in sorted({path.parent for path in package.rglob("*_pb2.py")}):
        for init in (folder / "__init__.py", folder.parent / "__init__.py"):
            init.write_text(INIT, encoding="utf-8")
    image = package / "contracts.binpb"
    must(
        "buf",
        "build",
        "--exclude-source-info",
        "--as-file-descriptor-set",
        "-o",
        str(image),
        cwd=root,
    )
    with tempfile.TemporaryDirectory() as folder_name:
        full = Path(folder_name, "full.binpb")
        must("buf", "build", "--as-file-descriptor-set", "-o", str(full), cwd=root)
        positions = positions_in(full.read_bytes())
    text = json.dumps(positions, indent=0, sort_keys=True) + "\n"
    (package / "contracts_positions.json").write_text(text, encoding="utf-8")


def lint() -> None:
    """Lint and check the format of our own protos."""
    write_third_party()
    must("buf", "lint")
    must("buf", "format", "-d", "--exit-code", "--path", "proto/crossdock")


def check() -> None:
    """Generate into a copy and compare with what is committed."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in (
            "proto",
            "buf.yaml",
            "clients/python/buf.gen.yaml",
            "clients/python/protoc_gen_grpc_python.py",
        ):
            target = copy / name
            target.parent.mkdir(parents=True, exist_ok=True)
            must("cp", "-r", str(ROOT / name), str(target))
        generate(copy)
        stale = sorted(_differences(copy / "clients/python/src/crossdock"))
    if stale:
        print("not current, run `make contracts`:", *stale, sep="\n  ")
        raise SystemExit(1)


def _differences(fresh: Path) -> set[str]:
    patterns = (*GENERATED, "contracts.binpb", "contracts_positions.json")

    def read(folder: Path) -> dict[str, bytes]:
        return {
            str(path.relative_to(folder)): path.read_bytes()
            for pattern in patterns
            for path in folder.rglob(pattern)
        }

    old, new = read(PACKAGE), read(fresh)
    return {name for name in old.keys() | new.keys() if old.get(name) != new.get(name)}


def breaking(against: Path = RELEASED) -> None:
    """Refuse what breaks the wire or the meaning of the last released contracts."""
    if not against.exists():
        print("no released contracts yet: nothing to compare with")
        return
    write_third_party()
    must("buf", "breaking", "proto", "--exclude-imports", "--against", str(against))
    changes = diff(against.read_bytes(), (PACKAGE / "contracts.binpb").read_bytes())
    for change in changes:
        print(f"{'BREAKING' if change.breaking else 'changed'}: {change}")
    if any(change.breaking for change in changes):
        print("a wanted change of meaning is waived in proto/README.md")
        raise SystemExit(1)


def release() -> None:
    """Make the present image the last released one."""
    RELEASED.parent.mkdir(parents=True, exist_ok=True)
    RELEASED.write_bytes((PACKAGE / "contracts.binpb").read_bytes())


def main(arguments: Sequence[str]) -> None:
    """Run the steps named on the command line."""
    steps = {
        "third-party": [write_third_party],
        "generate": [generate],
        "lint": [lint],
        "check": [check],
        "breaking": [breaking],
        "release": [release],
        "all": [generate, lint, breaking],
    }
    if len(arguments) != 1 or arguments[0] not in steps:
        raise SystemExit(f"usage: contracts.py {'|'.join(steps)}")
    for step in steps[arguments[0]]:
        step()


if __name__ == "__main__":
    main(sys.argv[1:])
