"""The table of what each endpoint consists of, in adapters/README.md, is about what it says."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ENDPOINTS = ROOT / "adapters" / "src" / "crossdock_adapters"
TESTS = ROOT / "tests" / "adapters"
ROW = re.compile(r"^\| `(\w+)` \| (\d+) / ([\d,]+) \| (\d+) / ([\d,]+) \| ([\d,]+) \| ", re.M)
TABLE = ROW.findall((ROOT / "adapters" / "README.md").read_text("utf-8"))
TOLD = {name: [int(each.replace(",", "")) for each in counts] for name, *counts in TABLE}
FOLDERS = sorted(path.parent.name for path in ENDPOINTS.glob("*/adapter.toml"))
# Lines may be so far from today, or a tenth: a row is for readers, not for every change of a line.
LINES_OFF = 60
MODULES_OFF = 1
SIMPLE, SIMPLE_LINES, SIMPLE_MODULES = "legacy_table", 350, 3


@pytest.mark.parametrize("name", FOLDERS)
def test_its_size_is_told(name: str) -> None:
    """Proves that an endpoint has a row with about the files and lines that it has today; where it
    has not, the message is what its row should begin with."""
    now = _counted(name)
    parts = f"{now[0]} / {now[1]:,} | {now[2]} / {now[3]:,} | {now[4]:,}"
    most = [MODULES_OFF, LINES_OFF, MODULES_OFF, LINES_OFF, LINES_OFF]
    columns = zip(TOLD.get(name, [0] * len(now)), now, most, strict=True)
    assert all(abs(told - real) <= max(off, real // 10) for told, real, off in columns), (
        f"adapters/README.md, its row should be: | `{name}` | {parts} | …"
    )


def test_a_simple_one_is_simple() -> None:
    """Proves that the simple endpoint has no more code than a newcomer is told."""
    modules, lines, *_ = _counted(SIMPLE)
    assert modules <= SIMPLE_MODULES and lines <= SIMPLE_LINES


def test_no_row_is_of_nothing() -> None:
    """Proves that every row is of an endpoint that there is."""
    assert sorted(TOLD) == FOLDERS


def _counted(name: str) -> list[int]:
    """Modules and lines of the adapter, of its sandbox and conformance; lines of its tests."""
    modules = [path for path in (ENDPOINTS / name).glob("*.py") if path.name != "__init__.py"]
    sandbox = [path for path in modules if path.name.startswith(("sandbox", "conformance"))]
    adapter = [path for path in modules if path not in sandbox]
    tests = [*TESTS.glob(f"test_{name}*.py"), *TESTS.glob(f"{name}_*.py")]
    return [len(adapter), _lines(adapter), len(sandbox), _lines(sandbox), _lines(tests)]


def _lines(paths: Iterable[Path]) -> int:
    return sum(len(path.read_text("utf-8").splitlines()) for path in paths)
