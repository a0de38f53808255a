"""Measures crossdock, each figure against its floor in the same run: `make bench`."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
# What starts hubs and buses for the tests starts them here; it lies beside this folder.
sys.path.insert(0, str(ROOT / "tests"))

from tests.load.measured import HEADING, QUICK, SOAK, Figure, Options, machine  # noqa: E402

CASES: Final = (
    "writes",
    "scans",
    "sustained",
    "consume",
    "latency",
    "burst",
    "beside_load",
    "beside_backlog",
    "zombie_window",
    "beside_peers",
    "deliveries",
    "idle",
)
REPORT: Final = ROOT / "out" / "bench.json"


def main() -> int:
    """0 when everything was measured, whether or not the targets are met."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="less of everything")
    parser.add_argument("--case", action="append", choices=CASES, help="only this one; repeatable")
    parser.add_argument("--soak", action="store_true", help="ten minutes of what is kept up")
    told = parser.parse_args()
    options = QUICK if told.quick else SOAK if told.soak else Options()
    started = time.monotonic()
    figures: list[Figure] = []
    print(HEADING, flush=True)
    for name in told.case or CASES:
        for figure in _measured(name, options):
            figures.append(figure)
            print(figure.line(), flush=True)
        write_report(figures, quick=told.quick)
    print(f"{time.monotonic() - started:.0f} s; written to {REPORT.relative_to(ROOT)}")
    return 0


def write_report(figures: list[Figure], *, quick: bool) -> None:
    """Write what is known so far, so that a later case that fails takes nothing with it."""
    REPORT.parent.mkdir(exist_ok=True)
    document = {
        "machine": machine(),
        "quick": quick,
        "figures": [figure.document() for figure in figures],
    }
    REPORT.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def _measured(name: str, options: Options) -> list[Figure]:
    case = importlib.import_module(f"tests.load.{name}")
    with tempfile.TemporaryDirectory(prefix=f"crossdock-bench-{name}-") as directory:
        figures: list[Figure] = asyncio.run(case.measure(Path(directory), options))
    return figures


if __name__ == "__main__":
    sys.exit(main())
