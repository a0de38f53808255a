"""G8 and G9: nodes of a bus of three die every five seconds, and leaders are stopped or parted."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from itertools import pairwise

from crossdock.bus import EVENT_STREAM
from fixtures_nats import eventually
from nats_cluster import NODES

from tests.faults.history.records import Attempt, Delivery, History, Rpc, Streamed
from tests.faults.trials.round import WRITE, Misfortune, Round, played, write_seconds
from tests.faults.trials.trial import Piece, Result, Size, Trial, judged
from tests.faults.yard.nodes import WiredCluster
from tests.faults.yard.noting import now
from tests.faults.yard.site import Plan, chance_of, mix_of

WRITERS = 16
PACE_SECONDS = 0.5
# Longer than any piece lasts: the faults end the load.
ORDERS_MAX = 100_000
KILL_EVERY_SECONDS = 5.0
DOWN_SECONDS = 0.5
# How long a leader is out: in full, and where there are few.
OUT_SECONDS = {True: 30.0, False: 12.0}
FEW_FAULTS = 2
# Between two of them, and how long that may take before there is a leader to strike.
CALM_SECONDS = 10.0
LED_SECONDS = 60.0
# So long an event waits at most where nothing is in its way.
NORMAL_SECONDS = 1.0
KILLS, LOST = "node kills", "leaders lost"
STOPPED, PARTED = "of them stopped", "of them parted"
GAP = "s that an event waited for the stream, the longest after each kill"
FLOWS = "s from losing the leader until events flow"
RATE = "events/s that the callers made"
NORMAL = "s from its return until no event waits longer than 1 s"
# When events were recorded that waited for the stream, and for how long.
WAITED = """
SELECT record_time, published_at - record_time FROM events
WHERE record_time >= ? AND record_time < ? ORDER BY record_time
"""


def waits(round_: Round, since: int, until: int) -> list[tuple[int, float]]:
    """(microseconds, seconds): when each event of a time was recorded, and how long it waited."""
    return [(int(at), waited / 1e6) for at, waited in round_.site.hub.query(WAITED, since, until)]


def nodes_of(round_: Round) -> WiredCluster:
    nodes = round_.site.nodes
    assert nodes is not None
    return nodes


async def run_g8(piece: Piece) -> Result:
    """Each node is up again half a second after its kill, and may still be catching up at the
    next."""
    struck: list[int] = []
    gaps: list[float] = []

    async def kills(round_: Round) -> None:
        chance, nodes = chance_of(piece.seed, "nodes"), nodes_of(round_)
        for _ in range(piece.size.faults):
            number, began = chance.randrange(NODES), time.monotonic()
            round_.site.note("kill -9", f"node {number} of the bus")
            struck.append(now())
            nodes.kill_node(number)
            await asyncio.sleep(DOWN_SECONDS)
            nodes.start_node(number)
            await asyncio.sleep(began + KILL_EVERY_SECONDS - time.monotonic())
        struck.append(now())
        await nodes.formed()
        round_.load.enough()

    async with _played(piece, kills) as round_:
        history = await round_.history()
        for since, until in pairwise(struck):
            gaps.append(max((waited for _, waited in waits(round_, since, until)), default=0.0))
        rate = _rate(round_)
    counts = _counts(history) | {KILLS: len(gaps)}
    return _judged(piece, history, counts, {GAP: gaps} | rate)


async def run_g9(piece: Piece) -> Result:
    """The node that leads the events is stopped in its tracks, or hears nothing of the others and
    they nothing of it, while hub and adapters reach all three."""
    long = piece.size.faults > FEW_FAULTS
    done: list[tuple[str, int, int, int]] = []

    async def losses(round_: Round) -> None:
        nodes = nodes_of(round_)
        for number in range(piece.size.faults):
            await asyncio.sleep(CALM_SECONDS if long else NORMAL_SECONDS)
            await eventually(lambda: _is_led(nodes), "a leader of the events", LED_SECONDS)
            leader = await nodes.leader(EVENT_STREAM)
            what = (STOPPED, PARTED)[(piece.seed + number) % 2]
            lost = _take_out(round_, leader, what)
            await asyncio.sleep(OUT_SECONDS[long])
            back = _bring_back(round_, leader, what)
            await nodes.formed()
            await asyncio.sleep(CALM_SECONDS if long else NORMAL_SECONDS)
            done.append((what, lost, back, now()))
        round_.load.enough()

    async with _played(piece, losses) as round_:
        history = await round_.history()
        flows = [_flowed(waits(round_, lost, end), lost) for _, lost, _, end in done]
        normal = [_normal(waits(round_, back, end), back) for _, _, back, end in done]
        rate = _rate(round_)
    told = [what for what, _, _, _ in done]
    counts = _counts(history) | {each: told.count(each) for each in (STOPPED, PARTED)}
    counts[LOST] = len(told)
    return _judged(piece, history, counts, {FLOWS: flows, NORMAL: normal} | rate)


async def _is_led(nodes: WiredCluster) -> bool:
    return await nodes.leader(EVENT_STREAM) >= 0


def _take_out(round_: Round, leader: int, what: str) -> int:
    """Take a node out; when it was, in microseconds."""
    nodes = nodes_of(round_)
    round_.site.note(what, f"node {leader} of the bus")
    if what == STOPPED:
        nodes.kill_node(leader, signal.SIGSTOP)
    else:
        nodes.part(leader)
    return now()


def _bring_back(round_: Round, leader: int, what: str) -> int:
    """Let it go on; when it did, in microseconds."""
    nodes = nodes_of(round_)
    round_.site.note("back", f"node {leader} of the bus")
    if what == STOPPED:
        nodes.thaw_node(leader)
    else:
        nodes.join(leader)
    return now()


def _flowed(waited: Sequence[tuple[int, float]], lost: int) -> float:
    """Seconds from a moment until the first event since is on the stream."""
    on_stream = [at + seconds * 1e6 for at, seconds in waited]
    return (min(on_stream) - lost) / 1e6 if on_stream else 0.0


def _normal(waited: Sequence[tuple[int, float]], back: int) -> float:
    """Seconds from a moment until the last event was recorded that waited for long."""
    late = [at for at, seconds in waited if seconds > NORMAL_SECONDS]
    return (max(late) - back) / 1e6 if late else 0.0


def _played(piece: Piece, misfortune: Misfortune) -> AbstractAsyncContextManager[Round]:
    """A round on a cluster, whose load goes on until the misfortune has done its share."""
    plan = Plan(piece.seed, mix=mix_of("well"), cluster=True, pace_seconds=PACE_SECONDS)
    endless = replace(piece, size=replace(piece.size, orders=ORDERS_MAX))
    return played(endless, plan, [misfortune], writers=WRITERS)


def _counts(history: History) -> dict[str, int]:
    calls = history.of(Rpc)
    return {
        "writes": len({call.request_id for call in calls}),
        "calls without an answer": sum(call.outcome == "unknown" for call in calls),
        "events on the stream": len(history.of(Streamed)),
        "deliveries": len(history.of(Delivery)),
        "attempts": len(history.of(Attempt)),
    }


def _rate(round_: Round) -> dict[str, list[float]]:
    """How many events a second the callers made."""
    ((count, first, last),) = round_.site.hub.query(
        "SELECT count(*), min(record_time), max(record_time) FROM events"
    )
    return {RATE: [count / max((last - first) / 1e6, 1.0)]}


def _judged(
    piece: Piece,
    history: History,
    counts: Mapping[str, int],
    measured: Mapping[str, Sequence[float]],
) -> Result:
    broken = []
    if counts["calls without an answer"]:
        broken.append(f"{counts['calls without an answer']} writes were not answered at once")
    path = piece.directory / "history.jsonl"
    return judged(history, path, counts, {**measured, WRITE: write_seconds(history)}, broken)


G8 = Trial(
    "G8",
    "kill -9 of a node of the bus every 5 s: three nodes, each stream on all of them",
    "0 lost, 0 doubled, 0 reordered; every write is answered at once; no event waits for the stream"
    " longer than 8 s",
    run_g8,
    Size(1, faults=6),
    Size(6, faults=20),
    {KILLS: 120},
    bounds={GAP: 8.0, WRITE: 2.0},
)
G9 = Trial(
    "G9",
    "the node that leads the events is stopped (SIGSTOP), or parted from the other two while hub"
    " and adapters reach all three, for 30 s",
    "0 lost, 0 doubled, 0 reordered; every write is answered at once; events flow again <= 10 s;"
    " once it is back, none waits long after 30 s",
    run_g9,
    Size(1, faults=2),
    Size(4, faults=5),
    {LOST: 20},
    bounds={FLOWS: 10.0, NORMAL: 30.0, WRITE: 2.0},
)
