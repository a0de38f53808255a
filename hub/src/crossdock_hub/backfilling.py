"""Decides quarantined facts again on an operator's word, in the order they came."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any

from crossdock import contracts
from crossdock.mapping.v1 import mapping_service_pb2 as service_pb2

from crossdock_hub.commands import Command
from crossdock_hub.committer import Committer
from crossdock_hub.driving import drive_one
from crossdock_hub.identity import Caller
from crossdock_hub.objects import unsent_words
from crossdock_hub.objects.mappings import Unmapped, awaits_prefix, topic_name, unmapped_of
from crossdock_hub.reading.paging import next_token, position_of
from crossdock_hub.records import HeldFactRecord, OperatorWordRecord
from crossdock_hub.sending_again import send_all
from crossdock_hub.store import Store
from crossdock_hub.store.mapping_pages import parked, quarantined
from crossdock_hub.unit import NotLoaded, Unit
from crossdock_hub.verbs.deliveries import GONE, HELD, SENT

BACKFILL_MAPPINGS = "/crossdock.mapping.v1.MappingService/BackfillMappings"
PAGE_DEFAULT = 100
APPLIED, ASKED, UNMAPPED = "applied", "asked again", "unmapped"
# What positions begin with that are behind all facts.
DELIVERIES = "delivery "


class Backfiller:
    """Answers BackfillMappings: a page of held facts is decided in one batch, in order.

    A repeat with the same request_id gets the first answer; with a new one it decides again what is
    still quarantined, which is harmless: a fact is written once.
    """

    def __init__(self, store: Store, committer: Committer) -> None:
        self._store = store
        self._committer = committer

    async def answer(self, caller: Caller, request: Any, _context: Any) -> Any:
        """One page. Raises Refused, StoreFailure."""
        topic = topic_name(request.topic)
        ids, parked_ids, token = await self._page(request, topic)
        scope = awaits_prefix(request.endpoint_kind, topic)
        command = Command(
            BACKFILL_MAPPINGS,
            caller,
            partial(
                _decide_page,
                ids=ids,
                parked_ids=parked_ids,
                scope=scope,
                reason=request.reason,
                token=token,
            ),
            asyncio.get_running_loop().create_future(),
            request_id=request.request_id,
            digest=contracts.digest(request),
            response_type=service_pb2.BackfillMappingsResponse,
            keys=frozenset(("held_fact", fact) for fact in ids)
            | {("delivery", each) for each in parked_ids}
            | {("request", request.request_id)},
            bulk=True,
            leads=True,
            weight=max(1, len(ids) + len(parked_ids)),
        )
        return await self._committer.submit(command)

    async def _page(self, request: Any, topic: str) -> tuple[list[str], list[str], str]:
        """The facts of a page, then the deliveries that it has room for, and the next token."""
        size, after = request.page_size or PAGE_DEFAULT, position_of(request)
        behind = ("", "")
        facts: list[tuple[str, str]] = []
        async with self._store.read() as connection:
            if after.startswith(DELIVERIES):
                sequence, _, last = after.removeprefix(DELIVERIES).rpartition(" ")
                behind = (sequence, last)
            else:
                facts = await quarantined(connection, request.endpoint_kind, topic, after, size + 1)
            ids = [fact for fact, _ in facts[:size]]
            if len(facts) > size:
                return ids, [], next_token(request, ids[-1])
            words, room = unsent_words.prefix(request.endpoint_kind, topic), size - len(ids)
            found = await parked(connection, words, behind, room + 1)
        parked_ids = [each for _, each in found[:room]]
        if len(found) <= room:
            return ids, parked_ids, ""
        place = found[room - 1] if room else behind
        return ids, parked_ids, next_token(request, f"{DELIVERIES}{place[0]} {place[1]}")


def _decide_page(
    unit: Unit,
    *,
    ids: Sequence[str],
    parked_ids: Sequence[str],
    scope: str,
    reason: str,
    token: str,
) -> service_pb2.BackfillMappingsResponse:
    counts = backfill(unit, ids=ids, parked_ids=parked_ids, scope=scope, reason=reason)
    return service_pb2.BackfillMappingsResponse(
        examined=len(ids) + len(parked_ids),
        applied=counts[APPLIED],
        asked_again=counts[ASKED],
        unmapped=counts[UNMAPPED],
        held=counts[HELD],
        sent_again=counts[SENT],
        next_page_token=token,
    )


def backfill(
    unit: Unit, *, ids: Sequence[str], parked_ids: Sequence[str] = (), scope: str, reason: str
) -> Counter[str]:
    """What became of each of these held facts and parked deliveries, counted; and the operator's
    word on it."""
    unit.require(("held_fact", fact) for fact in ids)
    waiting: list[tuple[HeldFactRecord, Unmapped]] = []
    for fact in ids:
        record: HeldFactRecord | None = unit.get(("held_fact", fact))
        unmapped = unmapped_of(record.awaits) if record and record.state == "HELD" else None
        if record is not None and unmapped is not None:
            waiting.append((record, unmapped))
    unit.require(("mapping", row) for _, unmapped in waiting for row in unmapped.row_ids())
    outcomes: Counter[str] = Counter()
    missing: set[Any] = set()
    for record, unmapped in waiting:
        try:
            outcomes[_again(unit, record, unmapped)] += 1
        except NotLoaded as needed:
            missing |= needed.keys
    try:
        outcomes += send_all(unit, parked_ids, reason)
    except NotLoaded as needed:
        missing |= needed.keys
    if missing:
        # Read for all at once: fact by fact, many would need more rounds than a batch has.
        raise NotLoaded(missing)
    if set(outcomes) - {UNMAPPED, GONE}:
        _note(unit, outcomes, scope, reason)
    return outcomes


def _again(unit: Unit, record: HeldFactRecord, unmapped: Unmapped) -> str:
    rows = [unit.get(("mapping", row)) for row in unmapped.row_ids()]
    if not any(row is not None and row.canonical for row in rows):
        return UNMAPPED
    drive_one(unit, record)
    after: HeldFactRecord = unit.get(("held_fact", record.id))
    if not record.method:
        return ASKED
    return APPLIED if after.state == "APPLIED" else HELD


def _note(unit: Unit, outcomes: Counter[str], scope: str, reason: str) -> None:
    word = OperatorWordRecord(
        id=unit.new_id(),
        subject_id=scope,
        verb="BACKFILL",
        operator=unit.caller.endpoint,
        said_at=unit.now,
        reason=reason,
        state_before="HELD",
        state_after="HELD",
        change=", ".join(f"{count} {name}" for name, count in sorted(outcomes.items())),
    )
    unit.put(("operator_word", word.id), word)
