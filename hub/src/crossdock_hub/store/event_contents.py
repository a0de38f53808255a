"""What events say: which are past their retention and needed by nobody, and letting them go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, delete, exists, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from crossdock_hub.delivery.ledger import DONE_STATES
from crossdock_hub.store import tables as t

# What an event says when it says nothing any more.
GONE = b""


@dataclass(frozen=True, slots=True)
class Slice:
    """Some events in order: the numbers of those that may go, and of the last that was looked at;
    None: there are no more that are old enough."""

    past: Sequence[int]
    last: int | None


async def past_events(
    connection: AsyncConnection, after: int, most: int, ages: Mapping[str, int], now: int
) -> Slice:
    """The next events behind a number. ages: by type, in microseconds; other types are kept."""
    e = t.events.c
    youngest = now - min(ages.values(), default=0)
    following = select(e.sequence, e.record_time).where(e.sequence > after).order_by(e.sequence)
    page = following.limit(most).subquery()
    ending = select(func.max(page.c.sequence)).where(page.c.record_time <= youngest)
    last = (await connection.execute(ending)).scalar_one_or_none()
    if last is None:
        return Slice((), None)
    by_age: dict[int, list[str]] = {}
    for kind, age in ages.items():
        by_age.setdefault(age, []).append(kind)
    old = or_(
        *(and_(e.type.in_(kinds), e.record_time <= now - age) for age, kinds in by_age.items())
    )
    wanted = select(e.sequence).where(e.sequence > after, e.sequence <= last, old, *_may_go())
    found = await connection.execute(wanted.order_by(e.sequence))
    return Slice([row.sequence for row in found], last)


async def let_go(connection: AsyncConnection, sequences: Sequence[int]) -> None:
    """Empty events within the transaction of a batch, unless somebody needs them by now, and with
    them what their resubmitted deliveries were sent with."""
    e, d, c = t.events.c, t.deliveries.c, t.delivery_contents.c
    wanted = e.sequence.in_(list(sequences))
    await connection.execute(update(t.events).where(wanted, *_may_go()).values(body=GONE))
    emptied = select(d.id).where(
        d.root_id == e.root_id, d.event_id == e.id, wanted, func.length(e.body) == 0
    )
    await connection.execute(delete(t.delivery_contents).where(c.delivery_id.in_(emptied)))


def _may_go() -> tuple[Any, ...]:
    """On the stream, not empty yet, and no delivery of it that may have to be sent."""
    e, d = t.events.c, t.deliveries.c
    needed = exists().where(
        d.root_id == e.root_id, d.event_id == e.id, d.state.not_in(sorted(DONE_STATES))
    )
    return e.published_at.is_not(None), func.length(e.body) > 0, ~needed
