"""Answers what vendors got for an object, and what was posted twice, from the ledger."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from crossdock.errors import Refusal
from crossdock.lineage.v1 import lineage_service_pb2, posting_pb2

from crossdock_hub.delivery.doubts import Doubt
from crossdock_hub.identity import Caller
from crossdock_hub.objects.resources import stamp
from crossdock_hub.reading.chain import Chain, Situation
from crossdock_hub.reading.event_scope import EventScope, scope_of
from crossdock_hub.reading.finding import TRIED, Finder, Match
from crossdock_hub.reading.fitting import fit
from crossdock_hub.reading.paging import next_token, page_size, position_of, room_of
from crossdock_hub.reading.posting_history import DOUBTFUL, History, Logs, histories
from crossdock_hub.reading.presenting import delivery_message, enum_value
from crossdock_hub.reading.queries import OPERATOR, Queries
from crossdock_hub.records import DeliveryRecord
from crossdock_hub.store.posting_reading import (
    Logged,
    Looked,
    intents_named,
    intents_of,
    look_through,
)
from crossdock_hub.unit import Refused, time_of_id

SUSPECTS_PER_READ = 100
DOUBTS_AT_EACH_END = 50


# What did the vendors get for this object?


async def list_postings(queries: Queries, caller: Caller, request: Any, _left: float) -> Any:
    """A page of the intents of an object, or of a whole flow, in the order of their events."""
    text = request.id.strip()
    match, chain, more = await _found(queries, caller, request.id)
    asked = await _asked(queries, match, chain, text)
    logs = _logs(queries, asked.attempts, asked.words)
    named = [
        history
        for history in _about(histories(asked.deliveries, logs), match, text)
        if request.endpoint in ("", history.newest.endpoint)
    ]
    known = await queries.situations()
    response = lineage_service_pb2.ListPostingsResponse(
        matched_as=match.matched_as + (f" ({more} more match)" if more else ""),
        root_id=chain.root_id,
        truncated=len(asked.deliveries) >= queries.limits.flow_deliveries_max,
    )
    room = _Room(queries, request)
    position = position_of(request)
    start = int(position) if position.isdecimal() else 0
    for index, history in enumerate(named[start:], start):
        message = _message(history, logs, known, caller)
        if not room.takes(message):
            response.next_page_token = next_token(request, str(index))
            break
        response.postings.append(message)
    return response


async def _asked(queries: Queries, match: Match, chain: Chain, text: str) -> Chain | Logged:
    """What the id names: of a flow that has more than a question reads, only its objects' part."""
    most = queries.limits.flow_deliveries_max
    if len(chain.deliveries) < most:
        return chain
    ids = {text} if match.object_id in ("", match.root_id) else {text, match.object_id}
    async with queries.reader.snapshot() as connection:
        named = await intents_named(connection, match.root_id, ids, most)
    return named if named.deliveries else chain


async def _found(queries: Queries, caller: Caller, text: str) -> tuple[Match, Chain, int]:
    """The flow that an id belongs to and the caller may see, and how many others match."""
    matches = await Finder(queries.reader, queries.contract).find(text)
    for index, match in enumerate(matches):
        chain = await queries.reader.chain(match.root_id)
        named = [record for record in chain.objects if record.id == match.object_id]
        if any(queries.sees(caller, record) for record in named or chain.objects):
            return match, chain, len(matches) - index - 1
    raise Refused(
        Refusal(
            "OBJECT_NOT_FOUND",
            f"{text!r} is not known to the hub, or not to this caller; tried as {TRIED}",
            {"kind": "any", "id": text},
        )
    )


def _about(found: Sequence[History], match: Match, text: str) -> list[History]:
    """Those that the id names by themselves; else those about its object, or of its whole flow."""
    exactly = [h for h in found if any(text in _own_ids(record) for record in h.deliveries)]
    if exactly:
        return exactly
    if match.object_id in ("", match.root_id):
        return list(found)
    return [h for h in found if any(_refers(r, match.object_id) for r in h.deliveries)]


def _own_ids(record: DeliveryRecord) -> tuple[str, ...]:
    return record.id, record.vendor_reference, record.item


def _refers(record: DeliveryRecord, object_id: str) -> bool:
    return object_id in (record.object_id, record.item) or object_id in record.refers_to


# Posted twice?


async def list_doubtful_postings(
    queries: Queries, caller: Caller, request: Any, _left: float
) -> Any:
    """A page of what was posted twice, may be, or nobody knows; newest events first."""
    scope = scope_of(queries.contract, request)
    response = lineage_service_pb2.ListDoubtfulPostingsResponse()
    endpoints = await _endpoints(queries, caller, request.endpoint)
    most, room = queries.limits.postings_examined_max, _Room(queries, request)
    known = await queries.situations()
    wanted = _Wanted(endpoints, scope, with_settled=request.with_settled_doubts)
    overflow: Looked | None = None
    async with queries.reader.snapshot() as connection:
        looked = await look_through(connection, endpoints, scope, most, after=position_of(request))
        suspects = [row for row in looked if row.suspect]
        for start in range(0, len(suspects), SUSPECTS_PER_READ):
            some = suspects[start : start + SUSPECTS_PER_READ]
            whole = await intents_of(connection, some, endpoints)
            logs = _logs(queries, whole.attempts, whole.words)
            for row, history in wanted.among(some, histories(whole.deliveries, logs)):
                message = _message(history, logs, known, caller)
                if not room.takes(message):
                    overflow = row
                    break
                response.postings.append(message)
            if overflow is not None:
                break
    examined = looked if overflow is None else looked[: looked.index(overflow)]
    response.examined = len(examined)
    if examined:
        stamp(response.examined_since, time_of_id(examined[-1].event_id))
        if overflow is not None or len(looked) == most:
            response.next_page_token = next_token(request, examined[-1].position)
    return response


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Which intents belong on the list, and at which of its deliveries an intent is told."""

    endpoints: Sequence[str]
    scope: EventScope
    with_settled: bool

    def among(
        self, rows: Sequence[Looked], found: Sequence[History]
    ) -> Iterator[tuple[Looked, History]]:
        """The intents to tell at these rows, in their order."""
        told = {
            max(inside): history
            for history in found
            if history.verdict in DOUBTFUL or (self.with_settled and history.doubts)
            if (inside := [(r.sequence, r.id) for r in history.deliveries if self._covers(r)])
        }
        for row in rows:
            history = told.get((row.sequence, row.id))
            if history is not None:
                yield row, history

    def _covers(self, record: DeliveryRecord) -> bool:
        scope = self.scope
        return (
            record.sequence >= scope.first_id
            and (not scope.end_id or record.sequence < scope.end_id)
            and (not scope.types or record.event_type in scope.types)
        )


async def _endpoints(queries: Queries, caller: Caller, wanted: str) -> list[str]:
    """The endpoints whose work the caller may see, narrowed to the wanted one."""
    if caller.role != OPERATOR:
        return [caller.endpoint] if wanted in ("", caller.endpoint) else []
    known = [record.id for record in await queries.reader.endpoints()]
    return [endpoint for endpoint in known if wanted in ("", endpoint)]


# Both


class _Room:
    """What a page still takes: so many postings, and so many bytes; one posting at least."""

    def __init__(self, queries: Queries, request: Any) -> None:
        self._count = page_size(request, queries.limits)
        self._bytes = self._whole = room_of(queries.limits)
        self._empty = True

    def takes(self, message: posting_pb2.Posting) -> bool:
        """Whether the page has room for it, which it then has no more. One that takes a whole page
        gives way."""
        rest = message.ByteSize() - sum(each.ByteSize() for each in message.deliveries)
        fit(message.deliveries, self._whole - rest)
        self._count -= 1
        self._bytes -= message.ByteSize()
        fits = self._empty or (self._count >= 0 and self._bytes >= 0)
        self._empty = False
        return fits


def _ends_of(doubts: Sequence[Doubt]) -> Sequence[Doubt]:
    """The first and the last doubts of an intent; the sentence says how many are open."""
    if len(doubts) <= 2 * DOUBTS_AT_EACH_END:
        return doubts
    return [*doubts[:DOUBTS_AT_EACH_END], *doubts[-DOUBTS_AT_EACH_END:]]


def _logs(queries: Queries, attempts: Any, words: Any) -> Logs:
    return Logs(attempts, words, queries.limits.not_found_needed, queries.clock())


def _message(
    history: History, logs: Logs, known: Mapping[str, Situation], caller: Caller
) -> posting_pb2.Posting:
    first = history.deliveries[0]
    message = posting_pb2.Posting(
        endpoint=first.endpoint,
        operation=first.operation,
        object_kind=first.kind,
        object_id=first.object_id,
        item=first.item,
        correlation_id=first.root_id,
        verdict=enum_value(posting_pb2.PostingVerdict, history.verdict),
        sentence=history.sentence,
        deliveries=[
            delivery_message(
                record,
                known.get(record.endpoint),
                logs.attempts.get(record.id, ()),
                logs.words.get(record.id, ()),
                full=caller.role == OPERATOR or record.endpoint == caller.endpoint,
            )
            for record in history.deliveries
        ],
    )
    if history.posting is not None:
        message.confirmed = history.posting.confirmed
        for kind, numbers in history.posting.documents.items():
            for number in numbers:
                message.vendor_references.add(type=kind, value=number)
    for doubt in _ends_of(history.doubts):
        row = message.doubts.add(
            delivery_id=doubt.record.id,
            attempt=doubt.attempt.number if doubt.attempt is not None else 0,
            settlement=enum_value(posting_pb2.DoubtSettlement, doubt.settlement),
            words=doubt.words,
        )
        stamp(row.begin_time, doubt.begun_at)
    return message


__all__ = ["list_doubtful_postings", "list_postings"]
