"""The abuse tests with full counts, on a hub of their own: `make abuse`. Writes out/abuse.json."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[2]
# What starts hubs for the tests starts them here; it lies beside this folder.
sys.path.insert(0, str(ROOT / "tests"))

from abuse import malformed, oversize, rule_breaking  # noqa: E402
from fixtures_hub import RunningHub  # noqa: E402

REPORT: Final = ROOT / "out" / "abuse.json"
MALFORMED_PER_METHOD: Final = 10_000
RANDOM_PER_RULE: Final = 40
NO_END: Final = 10**9
GROWTH_MAX: Final = 0.02
PEAK_GROWTH_MAX: Final = 50 * oversize.MEBIBYTE

Verdict = tuple[bool, dict[str, Any]]


async def a1(hub: RunningHub, count: int) -> Verdict:
    """Malformed byte strings: `count` for each method."""
    found = await malformed.measure(hub, count, warm_up=max(count // 10, 70))
    passed = found.tally.faults == 0 and found.growth < GROWTH_MAX
    beside = {"naive_servicer": (await malformed.naive(count, "1")).document()}
    return passed and "fault in a" not in hub.log(), found.document() | beside


async def a2(hub: RunningHub, count: int) -> Verdict:
    """Broken rules: `count` random values for each beside the fixed ones, at every place."""
    found = await rule_breaking.measure(hub, count, most_per_rule=NO_END)
    return found.wrong_count == 0 and not found.state_changed, found.document()


async def a5(hub: RunningHub, count: int) -> Verdict:
    """Too much of everything, `count` times."""
    outcomes = []
    for _ in range(count):
        outcomes += await oversize.measure(hub, oversize.attacks())
    passed = all(o.code != "OK" and o.grown < PEAK_GROWTH_MAX for o in outcomes)
    return passed, {"attacks": [outcome.document() for outcome in outcomes]}


CASES: Final[dict[str, tuple[Callable[[RunningHub, int], Coroutine[Any, Any, Verdict]], int]]] = {
    "A1": (a1, MALFORMED_PER_METHOD),
    "A2": (a2, RANDOM_PER_RULE),
    "A5": (a5, 1),
}


def run(case: str, count: int | None = None) -> dict[str, Any]:
    """Run one case on a hub that it starts and ends. count: None for the full one."""
    measure, full = CASES[case]
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="crossdock-abuse-") as directory:
        hub = RunningHub(Path(directory) / "hub").start()
        try:
            passed, found = asyncio.run(measure(hub, count or full))
        finally:
            hub.kill()
    seconds = round(time.monotonic() - started, 1)
    return {"case": case, "count": count or full, "passed": passed, "seconds": seconds, **found}


def main() -> int:
    """0 when every case passed."""
    parser = argparse.ArgumentParser(prog="abuse", description=__doc__)
    parser.add_argument("--case", action="append", choices=sorted(CASES), help="only this one")
    parser.add_argument("--count", type=int, help="instead of the full count of each case")
    told = parser.parse_args()
    report: dict[str, Any] = json.loads(REPORT.read_text()) if REPORT.exists() else {}
    passed = True
    for case in told.case or sorted(CASES):
        report[case] = run(case, told.count)
        passed = passed and report[case]["passed"]
        REPORT.parent.mkdir(exist_ok=True)
        REPORT.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
        print(json.dumps(report[case], indent=2), flush=True)
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
