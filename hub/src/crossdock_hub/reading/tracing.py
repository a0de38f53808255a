"""Answers Trace: find the flow, read it, judge it, and show what the caller may see of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from crossdock.contracts import Contract
from crossdock.errors import Refusal
from crossdock.lineage.v1 import lineage_pb2

from crossdock_hub.config import Limits
from crossdock_hub.reading.chain import Situation
from crossdock_hub.reading.finding import TRIED, Finder, Match, spellings
from crossdock_hub.reading.fitting import fit
from crossdock_hub.reading.lineage import assemble
from crossdock_hub.reading.paging import room_of
from crossdock_hub.records import HeldFactRecord, ObjectRecord
from crossdock_hub.refusals import archived
from crossdock_hub.store import Reader
from crossdock_hub.unit import Refused


async def trace(
    reader: Reader,
    contract: Contract,
    limits: Limits,
    query: str,
    known: Mapping[str, Situation],
    now: int,
    *,
    sees: Callable[[ObjectRecord], bool],
    full: Callable[[str], bool],
    sees_all: bool = False,
) -> lineage_pb2.Lineage:
    """The flow of any id, with its verdict. full: may the caller read an endpoint's excerpts.

    sees_all: the caller's scope has everything, so that it may know what was archived.
    Raises Refused with ARCHIVED, or with OBJECT_NOT_FOUND, which says what was tried.
    """
    finder = Finder(reader, contract)
    matches = await finder.find(query)
    for index, match in enumerate(matches):
        chain = await reader.chain(match.root_id)
        if not _may_see(chain.objects, match, sees):
            continue
        lineage = assemble(chain, contract, known, limits, now, sees=sees, full=full)
        others = len(matches) - index - 1
        lineage.query = query
        lineage.matched_as = match.matched_as + (f" ({others} more match)" if others else "")
        rest = lineage.ByteSize() - sum(each.ByteSize() for each in lineage.deliveries)
        fit(lineage.deliveries, room_of(limits) - rest)
        return lineage
    exact = query.strip()
    # A request may have been about flows that have gone since.
    names = [exact, *spellings(exact), *(match.root_id for match in matches)]
    for part in await reader.parts_with(names) if sees_all else ():
        raise archived(repr(query), part.name)
    why = f"is not known to the hub, or not to this caller; tried as {TRIED}"
    fact = await finder.held(query) if sees_all else None
    if fact is not None:
        why = _why_in_no_flow(fact)
    raise Refused(Refusal("OBJECT_NOT_FOUND", f"{query!r} {why}", {"kind": "any", "id": query}))


def _why_in_no_flow(fact: HeldFactRecord) -> str:
    told = f"names a fact of {fact.endpoint} that is in no flow: held fact {fact.id}"
    if fact.state != "HELD":
        return f"{told} was {fact.state.lower()}"
    if not fact.awaits:
        return f"{told} does not fit; a person has to drive or discard it (crossdock dead-letters)"
    return f"{told} waits for {fact.awaits}, and is written by itself when that comes"


def _may_see(
    family: Sequence[ObjectRecord], match: Match, sees: Callable[[ObjectRecord], bool]
) -> bool:
    """True when the matched object, or without one any of the flow, is within the scope."""
    named = [record for record in family if record.id == match.object_id]
    return any(sees(record) for record in named or family)
