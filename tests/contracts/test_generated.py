"""What is committed for clients is what proto/ gives, byte for byte, and holds what it should."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import import_module
from importlib.resources import files
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "clients/python/src"
PROTOS = sorted((ROOT / "proto/crossdock").rglob("*.proto"))
STUBS = sorted(SOURCE.rglob("*_pb2.py"))


def run_contracts(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "tools/contracts.py", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_committed_stubs_are_current() -> None:
    """Proves that stubs, image and positions are what a fresh build of proto/ gives."""
    done = run_contracts("check")
    assert done.returncode == 0, done.stdout + done.stderr


def test_contracts_pass_lint_without_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proves that buf lint, buf format and our own rules pass with every way out closed."""
    for variable in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    done = run_contracts("lint")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("stub", STUBS, ids=lambda path: path.stem)
def test_each_stub_imports_and_is_typed(stub: Path) -> None:
    """Proves that a stub imports by its package name, carries types and needs no buf package."""
    module = ".".join(stub.relative_to(SOURCE).with_suffix("").parts)
    assert import_module(module).DESCRIPTOR.package.startswith("crossdock.")
    assert stub.with_suffix(".pyi").exists()
    assert "buf.validate" not in stub.read_text(encoding="utf-8")


def test_services_have_typed_async_stubs() -> None:
    """Proves that a mistyped call of a service fails type checking, not production."""
    services = [path for path in PROTOS if path.stem.endswith("_service")]
    assert services
    for proto in services:
        stub = SOURCE / proto.relative_to(ROOT / "proto").with_name(f"{proto.stem}_pb2_grpc.pyi")
        assert "AsyncStub" in stub.read_text(encoding="utf-8"), stub


def test_image_holds_all_contracts_and_their_rules() -> None:
    """Proves that the image compiles alone: imports and options inside, no source positions."""
    data = files("crossdock").joinpath("contracts.binpb").read_bytes()
    image = FileDescriptorSet.FromString(data)
    names = {file.name for file in image.file}
    assert {path.relative_to(ROOT / "proto").as_posix() for path in PROTOS} <= names
    assert "buf/validate/validate.proto" in names
    assert {dependency for file in image.file for dependency in file.dependency} <= names
    assert not any(file.HasField("source_code_info") for file in image.file)


def test_positions_point_at_the_line_that_declares() -> None:
    """Proves that a refusal that quotes file and line sends people to the right place."""
    text = files("crossdock").joinpath("contracts_positions.json").read_text(encoding="utf-8")
    positions: dict[str, str] = json.loads(text)
    sources = {
        path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8").splitlines()
        for path in PROTOS
    }
    assert "crossdock.order.v1.Order" in positions
    for element, position in positions.items():
        file, _, line = position.partition(":")
        assert element.rpartition(".")[2] in sources[file][int(line) - 1], (element, position)
