"""Reads what was tried and said of deliveries, in statements and answers that have an end."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, and_, not_, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from crossdock_hub.records import AttemptRecord, OperatorWordRecord
from crossdock_hub.store import rows
from crossdock_hub.store import tables as t
from crossdock_hub.store.crossing import IN, Query, Row, fetch_all
from crossdock_hub.wording import LATER

# What an endpoint that is away refuses again and again is read at both ends of the log only: a
# delivery that waits for it is tried for as long as that takes. What says something is all read.
FIRST_READ, LAST_READ = 20, 180
_NOTHING_REACHED = ("RETRY", "THROTTLED")
_NOTHING_LEARNED = ("RETRY", "THROTTLED", "UNKNOWN", "LEASE_EXPIRED")

_attempt = rows.plain_record(AttemptRecord)
_word = rows.plain_record(OperatorWordRecord)


def _tells_something() -> ColumnElement[bool]:
    """True for all but what is repeated without an end: what judges doubts reads the rest."""
    a = t.attempts.c
    in_vain = or_(
        and_(a.kind == "CALL", a.outcome.in_(_NOTHING_REACHED)),
        and_(a.kind == "LOOK_UP", a.outcome.in_(_NOTHING_LEARNED)),
    )
    # What came too late to count stands in the reason only.
    return or_(not_(in_vain), a.reason.contains(LATER, autoescape=True))


def _attempts() -> Select[Any]:
    a, d = t.attempts.c, t.deliveries.c
    said = or_(
        a.number <= FIRST_READ,
        a.number > d.attempts + d.look_ups - LAST_READ,
        _tells_something(),
    )
    statement = select(t.attempts).join(t.deliveries, d.id == a.delivery_id)
    return statement.where(a.delivery_id.in_(IN), said).order_by(a.token)


ATTEMPTS: Final = Query(_attempts())
"""Of deliveries, by id: whole, but for calls that reached nobody and look-ups that learned nothing;
of those the ones among the first FIRST_READ and the last LAST_READ attempts. A delivery's own count
tells how many there were."""
WORDS: Final = Query(
    select(t.operator_words)
    .where(t.operator_words.c.subject_id.in_(IN))
    .order_by(t.operator_words.c.id)
)
"""Of deliveries and held facts, by id."""


def by_delivery(found: Iterable[Row]) -> dict[str, list[AttemptRecord]]:
    """What `ATTEMPTS` found, oldest first."""
    attempts: Mapping[str, list[AttemptRecord]] = defaultdict(list)
    for row in found:
        attempts[row["delivery_id"]].append(_attempt(row))
    return dict(attempts)


def by_subject(found: Iterable[Row]) -> dict[str, list[OperatorWordRecord]]:
    """What `WORDS` found, oldest first."""
    words: Mapping[str, list[OperatorWordRecord]] = defaultdict(list)
    for row in found:
        words[row["subject_id"]].append(_word(row))
    return dict(words)


async def attempts_of(
    connection: AsyncConnection, delivery_ids: Collection[str]
) -> dict[str, list[AttemptRecord]]:
    """Attempts by delivery, oldest first, on a snapshot that is open; see `ATTEMPTS`."""
    (found,) = await fetch_all(connection, [(ATTEMPTS, list(delivery_ids))])
    return by_delivery(found)


async def words_of(
    connection: AsyncConnection, subject_ids: Collection[str]
) -> dict[str, list[OperatorWordRecord]]:
    """Words by delivery or held fact, oldest first, on a snapshot that is open."""
    (found,) = await fetch_all(connection, [(WORDS, list(subject_ids))])
    return by_subject(found)
