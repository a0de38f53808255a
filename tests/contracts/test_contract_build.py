"""`make contracts`, run on a copy of the repository that a test may spoil."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NEEDED = (
    "buf.yaml",
    "tools",
    "proto",
    "clients/python/buf.gen.yaml",
    "clients/python/protoc_gen_grpc_python.py",
    "clients/python/src/crossdock/order",
    "clients/python/src/crossdock/contracts.binpb",
)
ORDER = "proto/crossdock/order/v1/order.proto"
STUB = "clients/python/src/crossdock/order/v1/order_pb2.py"
RELEASED = "proto/released/contracts.binpb"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of what the contract build reads, the present contract being the released one."""
    for name in NEEDED:
        source, target = ROOT / name, tmp_path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(source, target)
    assert run(tmp_path, "release").returncode == 0
    return tmp_path


def run(root: Path, step: str) -> subprocess.CompletedProcess[str]:
    """Run one step of the contract build of the copy."""
    command = [sys.executable, "tools/contracts.py", step]
    return subprocess.run(
        command, cwd=root, text=True, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def replace(path: Path, old: str, new: str) -> int:
    """Replace the first occurrence, which has to be there; the number of its line."""
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    return text.count("\n", 0, text.index(old)) + 1


def test_an_unchanged_contract_passes(copy: Path) -> None:
    """Proves that the comparison with the last release is silent when nothing changed."""
    done = run(copy, "breaking")
    assert done.returncode == 0, done.stdout


def test_a_break_on_the_wire_is_refused(copy: Path) -> None:
    """Proves that the build refuses a renumbered field, with its file and line."""
    line = replace(copy / ORDER, "int64 revision = 2", "int64 revision = 99")
    done = run(copy, "breaking")
    assert done.returncode != 0
    assert f"{ORDER}:" in done.stdout, (line, done.stdout)


def test_contracts_that_do_not_compile_leave_the_stubs_alone(copy: Path) -> None:
    """Proves that a typing mistake in a .proto costs nobody their working stubs."""
    before = (copy / STUB).read_bytes()
    line = replace(copy / ORDER, "int64 revision = 2", "int46 revision = 2")
    done = run(copy, "generate")
    assert done.returncode != 0
    assert f"{ORDER}:{line}:" in done.stdout
    assert (copy / STUB).read_bytes() == before


def test_a_wrong_option_stops_the_build_where_it_stands(copy: Path) -> None:
    """Proves that an option that the hub could not obey stops the build with file and line."""
    service = "proto/crossdock/order/v1/order_service.proto"
    replace(copy / service, "option (crossdock.options.v1.callers) = SYSTEM_ROLE_OMS;", "")
    before = (copy / STUB).read_bytes()
    done = run(copy, "generate")
    assert done.returncode != 0
    assert f"{service}:" in done.stdout
    assert (copy / STUB).read_bytes() == before


def test_a_stale_stub_is_found_and_renewed(copy: Path) -> None:
    """Proves that `generate` brings back exactly what is committed, whatever it finds."""
    fresh = (copy / STUB).read_bytes()
    (copy / STUB).write_bytes(b"# spoiled\n")
    (copy / STUB).with_name("gone_pb2.py").write_bytes(b"# no longer in proto\n")
    assert "order_pb2.py" in run(copy, "check").stdout
    assert run(copy, "generate").returncode == 0
    assert (copy / STUB).read_bytes() == fresh
    assert not (copy / STUB).with_name("gone_pb2.py").exists()
    assert run(copy, "check").returncode == 0
