"""Reads what was tried and said of deliveries, in statements and answers that have an end."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping

from sqlalchemy import ColumnElement, and_, not_, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from crossdock_hub.records import AttemptRecord, OperatorWordRecord
from crossdock_hub.store import rows
from crossdock_hub.store import tables as t
from crossdock_hub.wording import LATER

# asyncpg takes 32,767 values a statement, and plans long lists slowly.
VALUES_PER_STATEMENT = 500
# What an endpoint that is away refuses again and again is read at both ends of the log only: a
# delivery that waits for it is tried for as long as that takes. What says something is all read.
FIRST_READ, LAST_READ = 20, 180
_NOTHING_REACHED = ("RETRY", "THROTTLED")
_NOTHING_LEARNED = ("RETRY", "THROTTLED", "UNKNOWN", "LEASE_EXPIRED")

_attempt = rows.plain_record(AttemptRecord)
_word = rows.plain_record(OperatorWordRecord)


async def attempts_of(
    connection: AsyncConnection, delivery_ids: Collection[str]
) -> dict[str, list[AttemptRecord]]:
    """Attempts by delivery, oldest first, on a snapshot that is open.

    Whole, but for calls that reached nobody and look-ups that learned nothing: of those the ones
    among the first FIRST_READ and the last LAST_READ attempts. A delivery's own count tells how
    many there were.
    """
    a, d = t.attempts.c, t.deliveries.c
    found: Mapping[str, list[AttemptRecord]] = defaultdict(list)
    for some in _parts(delivery_ids):
        statement = (
            select(t.attempts)
            .join(t.deliveries, d.id == a.delivery_id)
            .where(
                a.delivery_id.in_(some),
                or_(
                    a.number <= FIRST_READ,
                    a.number > d.attempts + d.look_ups - LAST_READ,
                    _tells_something(),
                ),
            )
            .order_by(a.token)
        )
        for row in (await connection.execute(statement)).mappings():
            found[row["delivery_id"]].append(_attempt(row))
    return dict(found)


def _tells_something() -> ColumnElement[bool]:
    """True for all but what is repeated without an end: what judges doubts reads the rest."""
    a = t.attempts.c
    in_vain = or_(
        and_(a.kind == "CALL", a.outcome.in_(_NOTHING_REACHED)),
        and_(a.kind == "LOOK_UP", a.outcome.in_(_NOTHING_LEARNED)),
    )
    # What came too late to count stands in the reason only.
    return or_(not_(in_vain), a.reason.contains(LATER, autoescape=True))


async def words_of(
    connection: AsyncConnection, subject_ids: Collection[str]
) -> dict[str, list[OperatorWordRecord]]:
    """Words by delivery or held fact, oldest first, on a snapshot that is open."""
    w = t.operator_words.c
    found: Mapping[str, list[OperatorWordRecord]] = defaultdict(list)
    for some in _parts(subject_ids):
        statement = select(t.operator_words).where(w.subject_id.in_(some)).order_by(w.id)
        for row in (await connection.execute(statement)).mappings():
            found[row["subject_id"]].append(_word(row))
    return dict(found)


def _parts(values: Collection[str]) -> Iterator[list[str]]:
    """The values in lists of which each fits into a statement."""
    every = list(values)
    for start in range(0, len(every), VALUES_PER_STATEMENT):
        yield every[start : start + VALUES_PER_STATEMENT]


__all__ = ["FIRST_READ", "LAST_READ", "attempts_of", "words_of"]
