"""G24 for the usual consumer: a message that failed too often is told of once, to who listens."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from fixtures_nats import eventually

from tests.faults.history.records import Streamed
from tests.faults.trials.naive_round import naive_round
from tests.faults.trials.round import Round, moments, reached
from tests.faults.trials.trial import Piece, Result
from tests.faults.yard.noting import of_stream
from tests.faults.yard.site import Plan

WORKER, LISTENER = "gives-up", "listener"
BACK_SECONDS = 60.0
PAUSE_SECONDS_MAX = 0.2
APPROVED = "SELECT id FROM events WHERE type = 'crossdock.order.v1.OrderApproved'"


async def naive_g24(piece: Piece) -> Result:
    """Half of the calls fail; who listens, a service of its own, and the bus are killed in turn.

    A message is given up when the bus brings it no more and nobody has confirmed it. It is known
    when its number stands in the durable table of what the listener heard.
    """

    async def kill(round_: Round) -> None:
        hub = round_.site.hub
        for number, moment in enumerate(moments(piece, "kills", PAUSE_SECONDS_MAX)):
            await reached(round_, moment)
            if number % 2:
                await eventually(lambda: hub.nats_pid, "a nats-server", BACK_SECONDS)
                round_.site.kill_nats()
            else:
                round_.site.kill_adapter(1)

    plan = Plan(
        piece.seed,
        classes=("searchable",),
        mix={"failed_after": 0.3, "dropped": 0.2},
        naive=(WORKER, LISTENER),
    )
    async with naive_round(piece, plan, kill) as left:
        stream = await of_stream(left.site.bus_address)
        approved = {row[0] for row in left.site.hub.query(APPROVED)}
    done = _kept(piece.directory / f"{WORKER}-0.db", "SELECT id FROM done")
    heard = _kept(piece.directory / f"{LISTENER}-0.db", "SELECT sequence FROM given_up")
    given_up = {
        message.sequence
        for message in stream
        if isinstance(message, Streamed) and message.id in approved - done
    }
    counts = {
        "orders": len(left.approved),
        "kills": piece.size.faults,
        f"{LISTENER}: given up by the bus": len(given_up),
        f"{LISTENER}: of them known to nobody": len(given_up - heard),
    }
    return Result(counts)


def _kept(path: Path, statement: str) -> set[object]:
    with closing(sqlite3.connect(path)) as memory:
        return {row[0] for row in memory.execute(statement)}
