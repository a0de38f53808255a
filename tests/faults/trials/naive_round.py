"""The same load and faults for adapters as they are usually built: the figure to compare with."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass

from tests.faults.history.records import OK, Effect, Record, Rpc
from tests.faults.trials.round import Misfortune, Round
from tests.faults.trials.trial import Piece, Result
from tests.faults.yard.load import Load
from tests.faults.yard.noting import Notes, of_vendor
from tests.faults.yard.site import Plan, Site, mix_of, opened

MODES = ("ack-after-success", "remember-after-success")
STILL_SECONDS = 12.0
WAIT_SECONDS = 180.0


@dataclass(frozen=True, slots=True)
class Left:
    """What a round left.

    approved: number of an order -> when its approval was answered, in microseconds. effects: what
    the vendors of the modes have sold. records: what was noted meanwhile.
    """

    site: Site
    approved: Mapping[str, int]
    effects: list[Effect]
    records: Sequence[Record]

    def sold(self, vendor: str) -> Counter[str]:
        """How often a vendor has sold each order."""
        return Counter(e.subject for e in self.effects if e.endpoint == vendor)


@contextlib.asynccontextmanager
async def naive_round(
    piece: Piece,
    plan: Plan,
    misfortune: Misfortune,
    end: Misfortune | None = None,
    load_of: type[Load] = Load,
) -> AsyncIterator[Left]:
    """A round of the plan's naive adapters that is over. end: waits for that, once all is placed.

    Each mode has vendors of its own and sees every approved order.
    """
    notes = Notes()
    async with opened(piece.directory, plan, notes) as site:
        load = load_of(site, piece.size.orders)
        round_ = Round(piece, site, load, notes)
        await asyncio.gather(load.run(), misfortune(round_))
        await (end or still)(round_)
        effects = [e for e in of_vendor(await site.books()) if isinstance(e, Effect)]
        approved = {
            rpc.number: rpc.end
            for rpc in notes.records
            if isinstance(rpc, Rpc) and rpc.method == "ApproveOrder" and rpc.outcome == OK
        }
        yield Left(site, approved, effects, notes.records)


async def naive(
    piece: Piece,
    mix: str,
    misfortune: Misfortune,
    deaths: Mapping[str, float] | None = None,
    modes: tuple[str, ...] = MODES,
    replicas: int = 1,
    pace_seconds: float = 0.0,
) -> Result:
    """What each mode has doubled and lost."""
    plan = Plan(
        piece.seed,
        classes=("searchable",),
        mix=mix_of(mix),
        deaths=deaths or {},
        naive=modes,
        naive_replicas=replicas,
        pace_seconds=pace_seconds,
    )
    async with naive_round(piece, plan, misfortune) as left:
        kills = left.site.adapter_deaths
    counts = {"orders": len(left.approved)} | ({"adapter kills": kills} if kills else {})
    for mode in modes:
        made = left.sold(mode)
        counts[f"{mode}: doubled"] = sum(count - 1 for count in made.values())
        counts[f"{mode}: lost"] = len(set(left.approved) - set(made))
    return Result(counts)


async def nothing(round_: Round) -> None:
    """The vendor, or what is ordered, is misfortune enough."""


async def still(round_: Round) -> None:
    """Wait until the vendors have heard nothing for a while longer than any redelivery takes."""
    deadline = time.monotonic() + WAIT_SECONDS
    heard, since = -1, time.monotonic()
    while time.monotonic() < min(deadline, since + STILL_SECONDS):
        asked = len((await round_.site.books())["asked"])
        if asked != heard:
            heard, since = asked, time.monotonic()
        await asyncio.sleep(0.5)
