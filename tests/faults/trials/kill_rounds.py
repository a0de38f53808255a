"""G3, G4 and G5: hub, bus and everything at once are killed while callers and adapters work."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from fixtures_nats import eventually

from tests.faults.history.records import Attempt, Delivery, Rpc
from tests.faults.naive.fetching import naive_g4
from tests.faults.trials.round import WRITE, Round, moments, played, reached, write_seconds
from tests.faults.trials.trial import Piece, Result, Size, Trial, judged
from tests.faults.yard.noting import now
from tests.faults.yard.site import Plan, mix_of

BACK_SECONDS = 60.0
PAUSE_SECONDS_MAX = 0.3
WRITERS = 50
FIRST_WRITE = "s from serving to the first write"
START = "s from start to serving"
HUB_KILLS, NATS_KILLS = "hub kills", "nats kills"
RESUME = "s from the new nats-server's start to an attempt over it"
RESUME_ALL = "s from serving to an attempt over the new bus"
# Begun, though what came before of the delivery (that it was made, or its last attempt ended) is
# later than the kill: so it was put on the bus afterwards. What an adapter had fetched by then
# begins without a bus, and calls that were under way end without one. What was settled late may
# have been sent again before.
OVER_THE_NEW_BUS = """
SELECT min(a.begun_at) FROM attempts a JOIN deliveries d ON d.id = a.delivery_id
WHERE d.created_at > ? OR EXISTS (
    SELECT 1 FROM attempts p WHERE p.delivery_id = a.delivery_id AND p.token < a.token
    AND p.ended_at > ? AND p.outcome NOT IN ('CONFIRMED', 'REJECTED'))
"""
# Rarer than in G1: what is proved here is about our own processes.
MIX = "carrier"

Kill = Callable[[Round, "Figures"], Awaitable[None]]


class Figures:
    """What a piece measured: seconds after each kill."""

    def __init__(self) -> None:
        self.first_write: list[float] = []
        self.start: list[float] = []
        self.resume: list[float] = []
        self.resume_all: list[float] = []
        self.kills = 0

    def document(self) -> dict[str, list[float]]:
        told = {
            FIRST_WRITE: self.first_write,
            START: self.start,
            RESUME: self.resume,
            RESUME_ALL: self.resume_all,
        }
        return {name: values for name, values in told.items() if values}


async def _answered_after(round_: Round, moment: float) -> None:
    await eventually(lambda: round_.load.last_answer > moment, "a write", BACK_SECONDS)


async def kill_hub(round_: Round, figures: Figures) -> None:
    """kill -9 of the hub, whose nats-server dies with it, and a start on the same data."""
    round_.site.kill_hub()
    await _start_again(round_, figures)


async def kill_group(round_: Round, figures: Figures) -> None:
    """kill -9 of hub, nats-server and adapters at one blow."""
    round_.site.kill_group()
    killed = now()
    serving = await _start_again(round_, figures)
    figures.resume_all += await _resumed(round_, killed, serving)


async def _start_again(round_: Round, figures: Figures) -> int:
    """Start the hub again and wait until it answers a write; when it served, in microseconds."""
    figures.kills += 1
    started = time.monotonic()
    await round_.site.start_hub()
    serving, moment = time.monotonic(), now()
    figures.start.append(serving - started)
    if round_.load.done < round_.load.orders:
        await _answered_after(round_, serving)
        figures.first_write.append(round_.load.last_answer - serving)
    return moment


async def kill_nats(round_: Round, figures: Figures) -> None:
    """kill -9 of the bus alone; its supervisor in the hub starts it again."""
    hub = round_.site.hub
    old, moment = hub.nats_pid, time.monotonic()
    round_.site.kill_nats()
    killed = now()
    figures.kills += 1
    await eventually(lambda: hub.nats_pid not in (0, old), "a new nats-server", BACK_SECONDS)
    back = now()
    if round_.load.done < round_.load.orders:
        await _answered_after(round_, moment)
    figures.resume += await _resumed(round_, killed, back)


async def _resumed(round_: Round, killed: int, back: int) -> list[float]:
    """Seconds from a moment until the new bus carried work, once it has; [] where none was left."""

    def first() -> int | None:
        ((begun,),) = round_.site.hub.query(OVER_THE_NEW_BUS, killed, killed)
        return None if begun is None else int(begun)

    await eventually(
        lambda: first() is not None or not round_.open_work(),
        "work over the new bus",
        BACK_SECONDS,
    )
    begun = first()
    return [] if begun is None else [max(0.0, (begun - back) / 1e6)]


async def _run(piece: Piece, kill: Kill, what: str) -> Result:
    figures = Figures()

    async def kills(round_: Round) -> None:
        for moment in moments(piece, "kills", PAUSE_SECONDS_MAX):
            await reached(round_, moment)
            await kill(round_, figures)

    plan = Plan(piece.seed, mix=mix_of(MIX))
    async with played(piece, plan, [kills], writers=WRITERS) as round_:
        history = await round_.history()
    calls = history.of(Rpc)
    counts = {
        "orders": round_.load.done,
        what: figures.kills,
        "writes": len({call.request_id for call in calls}),
        "calls without an answer": sum(call.outcome == "unknown" for call in calls),
        "deliveries": len(history.of(Delivery)),
        "attempts": len(history.of(Attempt)),
    }
    measured = figures.document()
    if what == NATS_KILLS:
        measured[WRITE] = write_seconds(history)
    broken = _broken(what, counts)
    if what != HUB_KILLS and not (figures.resume or figures.resume_all):
        broken.append("no work was left after any kill: of its going on nothing was proved")
    path = piece.directory / "history.jsonl"
    return judged(history, path, counts, measured, broken)


def _broken(what: str, counts: dict[str, int]) -> list[str]:
    found = []
    if what == NATS_KILLS and counts["calls without an answer"]:
        found.append(f"{counts['calls without an answer']} writes were not answered at once")
    return found


G3 = Trial(
    "G3",
    "kill -9 of the hub under 50 writers, attempts in flight",
    "every answered write is in state, events and stream, once; retries have one effect; no vendor"
    " call without a ledger row, none given up before its lease; parked is only doubt of class"
    " none; first write <= 3 s (p99) after it serves",
    lambda piece: _run(piece, kill_hub, HUB_KILLS),
    Size(1, orders=150, faults=3),
    Size(20, orders=200, faults=5),
    {HUB_KILLS: 100},
    bounds={FIRST_WRITE: 3.0},
)
G4 = Trial(
    "G4",
    "kill -9 of nats-server under 50 writers",
    "0 lost, 0 doubled; every write is answered at once; deliveries go over it again <= 2 s (p99)"
    " after its start",
    lambda piece: _run(piece, kill_nats, NATS_KILLS),
    Size(1, orders=200, faults=4),
    Size(20, orders=250, faults=5),
    {NATS_KILLS: 100},
    bounds={RESUME: 2.0, WRITE: 2.0},
    baseline=naive_g4,
    baseline_size=Size(1, orders=600, faults=12),
)
G5 = Trial(
    "G5",
    "kill -9 of hub, nats-server and adapters at one blow",
    "as G3 and G4; start <= 5 s",
    lambda piece: _run(piece, kill_group, "group kills"),
    Size(1, orders=150, faults=3),
    Size(10, orders=200, faults=5),
    {"group kills": 50},
    bounds={FIRST_WRITE: 3.0, START: 5.0, RESUME_ALL: 2.0},
)
