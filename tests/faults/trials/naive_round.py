"""The same load and faults for adapters as they are usually built: the figure to compare with."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping

from tests.faults.history.records import OK, Effect, Rpc
from tests.faults.trials.round import Misfortune, Round
from tests.faults.trials.trial import Piece, Result
from tests.faults.yard.load import Load
from tests.faults.yard.noting import Notes, of_vendor
from tests.faults.yard.site import Plan, mix_of, opened

MODES = ("ack-after-success", "remember-after-success")
STILL_SECONDS = 12.0
WAIT_SECONDS = 180.0


async def naive(
    piece: Piece,
    mix: str,
    misfortune: Misfortune,
    deaths: Mapping[str, float] | None = None,
    modes: tuple[str, ...] = MODES,
    replicas: int = 1,
    pace_seconds: float = 0.0,
) -> Result:
    """Each naive adapter has a vendor of its own and sees every approved order."""
    notes = Notes()
    plan = Plan(
        piece.seed,
        classes=("searchable",),
        mix=mix_of(mix),
        deaths=deaths or {},
        naive=modes,
        naive_replicas=replicas,
        pace_seconds=pace_seconds,
    )
    async with opened(piece.directory, plan, notes) as site:
        load = Load(site, piece.size.orders)
        round_ = Round(piece, site, load, notes)
        await asyncio.gather(load.run(), misfortune(round_))
        await _still(round_)
        effects = [e for e in of_vendor(await site.books()) if isinstance(e, Effect)]
        kills = site.adapter_deaths
    approved = {
        rpc.number
        for rpc in notes.records
        if isinstance(rpc, Rpc) and rpc.method == "ApproveOrder" and rpc.outcome == OK
    }
    counts: dict[str, int] = {"orders": len(approved)} | ({"adapter kills": kills} if kills else {})
    for mode in modes:
        made = Counter(e.subject for e in effects if e.endpoint == mode)
        counts[f"{mode}: doubled"] = sum(count - 1 for count in made.values())
        counts[f"{mode}: lost"] = len(approved - set(made))
    return Result(counts)


async def _still(round_: Round) -> None:
    """Wait until the vendors have heard nothing for a while longer than any redelivery takes."""
    deadline = time.monotonic() + WAIT_SECONDS
    heard, since = -1, time.monotonic()
    while time.monotonic() < min(deadline, since + STILL_SECONDS):
        asked = len((await round_.site.books())["asked"])
        if asked != heard:
            heard, since = asked, time.monotonic()
        await asyncio.sleep(0.5)
