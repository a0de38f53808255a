"""Held facts: pages of them, as many as their number and their payloads' bytes let; of a flow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, RowMapping, Select, func, or_, select

from crossdock_hub.reading.chain import HELD_MAX
from crossdock_hub.records import HeldFactRecord
from crossdock_hub.store import rows
from crossdock_hub.store import tables as t
from crossdock_hub.store.crossing import IN, Query, Row

# All but what a fact carries, which may be half a megabyte.
TOLD = [column for column in t.held_facts.c if column is not t.held_facts.c.payload]
# The oldest HELD_MAX facts held that name a flow, without what they carry.
OF_A_FLOW: Final = Query(
    select(*TOLD)
    .where(t.HELD_OF_FLOW, t.held_facts.c.root_id.in_(IN))
    .order_by(t.held_facts.c.id)
    .limit(HELD_MAX)
)
# A column of each row of a page: how many there are, those left out for their bytes included.
FOUND = "found"


@dataclass(frozen=True, slots=True)
class HeldFactFilter:
    """Which held facts. endpoint: None: of all; awaits_kind: before the colon; ids: empty: all."""

    endpoint: str | None = None
    state: str = ""
    payloads_only: bool = False
    awaits_kind: str = ""
    ids: tuple[str, ...] = ()


def held_fact_page(
    wanted: HeldFactFilter, *, after: str, most: int, payload_bytes_max: int
) -> Select[Any]:
    """The first of these and what follows as far as the payloads together have so many bytes.

    The lengths are asked for before the payloads: neither database reads the bytes for that.
    """
    h = t.held_facts.c
    sizes = (
        select(h.id, func.length(h.payload).label("payload_bytes"))
        .where(h.id > after, *_conditions(wanted))
        .order_by(h.id)
        .limit(most)
        .subquery()
    )
    summed = select(
        sizes.c.id,
        func.row_number().over(order_by=sizes.c.id).label("place"),
        func.sum(sizes.c.payload_bytes).over(order_by=sizes.c.id).label("bytes_so_far"),
        func.count().over().label(FOUND),
    ).subquery()
    return (
        select(t.held_facts, summed.c.found)
        .join(summed, summed.c.id == h.id)
        .where(or_(summed.c.place == 1, summed.c.bytes_so_far <= payload_bytes_max))
        .order_by(h.id)
    )


def _conditions(wanted: HeldFactFilter) -> list[ColumnElement[bool]]:
    h = t.held_facts.c
    conditions: list[ColumnElement[bool]] = []
    if wanted.endpoint is not None:
        conditions.append(h.endpoint == wanted.endpoint)
    if wanted.state:
        conditions.append(h.state == wanted.state)
    if wanted.payloads_only:
        conditions.append(h.method == "")
    if wanted.awaits_kind:
        # A range, not LIKE: ";" is the sign after ":".
        kind = wanted.awaits_kind
        conditions += [h.awaits > f"{kind}:", h.awaits < f"{kind};"]
    if wanted.ids:
        conditions.append(h.id.in_(wanted.ids))
    return conditions


def told_record(row: Row | RowMapping) -> HeldFactRecord:
    """A held fact from a row of `TOLD`."""
    return rows.held_record({**row, "payload": b""})
