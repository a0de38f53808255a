"""What events say: which are past their retention and needed by nobody, and letting them go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from sqlalchemy import delete, exists, func, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from crossdock_hub.delivery.ledger import DONE_STATES
from crossdock_hub.store import tables as t

# What an event says when it says nothing any more.
GONE = b""


class Place(NamedTuple):
    """An event among those of its type that say something: they are in the order of their age."""

    record_time: int
    sequence: int


FIRST: Final = Place(0, 0)


@dataclass(frozen=True, slots=True)
class Slice:
    """Some events in order: the numbers of those that may go, and the last that was looked at;
    None: there are no more that are old enough."""

    past: Sequence[int]
    last: Place | None


async def past_events(
    connection: AsyncConnection, kind: str, before: int, after: Place, most: int
) -> Slice:
    """The next events of a type behind a place that say something and were recorded before a time.

    Only those are read, and of what holds them: not what is younger, not what is gone already.
    """
    e = t.events.c
    wanted = (
        select(e.record_time, e.sequence, _needed().label("needed"))
        .where(e.type == kind, e.record_time < before, t.CARRIES_CONTENT)
        .where(tuple_(e.record_time, e.sequence) > tuple_(*after))
        .order_by(e.record_time, e.sequence)
        .limit(most)
    )
    found = (await connection.execute(wanted)).all()
    last = Place(found[-1].record_time, found[-1].sequence) if len(found) == most else None
    return Slice([row.sequence for row in found if not row.needed], last)


async def let_go(connection: AsyncConnection, sequences: Sequence[int]) -> None:
    """Empty events within the transaction of a batch, unless somebody needs them by now, and with
    them what their resubmitted deliveries were sent with."""
    e, d, c = t.events.c, t.deliveries.c, t.delivery_contents.c
    wanted = e.sequence.in_(list(sequences))
    going = update(t.events).where(wanted, t.CARRIES_CONTENT, ~_needed())
    await connection.execute(going.values(body=GONE))
    emptied = select(d.id).where(
        d.root_id == e.root_id, d.event_id == e.id, wanted, func.length(e.body) == 0
    )
    await connection.execute(delete(t.delivery_contents).where(c.delivery_id.in_(emptied)))


def _needed() -> Any:
    """Whether there is a delivery of the event that may have to be sent."""
    e, d = t.events.c, t.deliveries.c
    return exists().where(
        d.root_id == e.root_id, d.event_id == e.id, d.state.not_in(sorted(DONE_STATES))
    )
