"""A seed that failed is the same misfortune when it is run again: orders, kills and strikes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.faults import run
from tests.faults.progress import ROOT, Progress
from tests.faults.side_by_side import Job
from tests.faults.trials.trial import Result

# Everything that is drawn for a piece: the callers' requests in the order of the orders, the
# schedules of kills, and what strikes each call of the vendor.
DRAWING = """
import asyncio, hashlib, json, sys
from pathlib import Path
sys.path.insert(0, "tests")
from crossdock.order.v1 import order_pb2
from crossdock_adapters.sdk.sandbox import SandboxConfig
from tests.faults.trials.round import moments
from tests.faults.trials.trial import Piece, Size
from tests.faults.yard.load import Load
from tests.faults.yard.site import Plan, mix_of
from tests.faults.yard.vendor import STRIKES, Mix, Yard, drawn

SEED, ORDERS = int(sys.argv[1]), 40
piece = Piece("G3", SEED, Size(1, orders=ORDERS, faults=5), Path("."))

class Caller:
    def __init__(self):
        self.orders, self.asked = self, []

    def __getattr__(self, method):
        async def call(request):
            self.asked.append([method, request.SerializeToString(deterministic=True).hex()])
            return type("Answer", (), {"order": order_pb2.Order(id=f"id of {len(self.asked)}")})
        return call

class Site:
    plan = Plan(SEED, poisoned=3)
    class notes:
        add = staticmethod(lambda record: None)

async def requests():
    caller = Caller()
    load = Load(Site, ORDERS)
    for place in range(ORDERS):
        await load.place(caller, place)
    return caller.asked

yard = Yard(SandboxConfig("yard", seed=SEED))
body = {"subject": "F-1", "operation": "create_sales_order"}
mix = Mix(**mix_of("carrier"))
print(json.dumps({
    "requests": asyncio.run(requests()),
    "kills": [[m.orders, m.pause_seconds] for m in moments(piece, "kills", 0.3)],
    "stops": [[m.orders, m.pause_seconds] for m in moments(piece, "stops", 0.3)],
    "strikes": [drawn(mix, STRIKES, yard._chance("erp-01", "CALL", body)) for _ in range(60)],
}))
"""


def drawn_for(seed: int, hash_seed: str) -> dict[str, Any]:
    """What a process of its own draws for a seed."""
    said = subprocess.run(
        [sys.executable, "-c", DRAWING, str(seed)],
        cwd=ROOT,
        env=os.environ | {"PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    drawn: dict[str, Any] = json.loads(said)
    return drawn


@pytest.mark.timeout(600)
def test_a_seed_draws_the_same_twice() -> None:
    """Proves over processes that hash differently that a seed brings the same requests with the
    same ids, the same schedule of kills and the same strikes of the vendor, and another seed
    others of each."""
    once, again = drawn_for(1004, "1"), drawn_for(1004, "2")
    assert once == again
    other = drawn_for(1005, "1")
    assert all(once[name] != other[name] for name in once), [n for n in once if once[n] == other[n]]
    assert len(once["requests"]) > 80 and set(once["strikes"]) > {"", "timed_out"}
    assert once["kills"] != once["stops"], "each fault has draws of its own"


def test_one_piece_again_leaves_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Proves that `make faults` with a seed, which says --again, runs that piece anew and keeps
    what the other pieces of the test have found; without a seed it starts the test over."""
    progress = Progress(tmp_path / "faults" / "quick")
    asked: list[int] = []

    async def played(jobs: Sequence[Job], *_: Any) -> None:
        asked.extend(job.seed for job in jobs)

    monkeypatch.setattr(run, "run_jobs", played)
    command = ["faults", "--only", "G3", "--out", str(tmp_path), "--again", "--no-baseline"]
    for seed in (1001, 1002):
        progress.put("G3", seed, Result({"hub kills": 1}), 1.0)
    monkeypatch.setattr(sys, "argv", [*command, "--seed", "1001"])
    assert run.main() == 0
    assert asked == [1001]
    assert [done.seed for done in progress.done("G3")] == [1001, 1002]
    monkeypatch.setattr(sys, "argv", command)
    run.main()
    assert asked[1:] == [1001] and progress.done("G3") == []
