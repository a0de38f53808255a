"""Answers who asks what stopped: groups, and their members with what they carry, masked."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from crossdock import bus
from crossdock.dead_letter.v1 import dead_letter_pb2, dead_letter_service_pb2
from crossdock.endpoint.v1 import held_fact_pb2
from google.protobuf.message import DecodeError

from crossdock_hub.config import Limits
from crossdock_hub.delivery.causes import DeadLetterRecord
from crossdock_hub.delivery.dead_letters import (
    DEAD_STATES,
    DOUBTFUL_STATES,
    OBJECTS_SHOWN_MAX,
    Group,
    Member,
    Patience,
)
from crossdock_hub.delivery.intervention import is_in_doubt
from crossdock_hub.delivery.sightings import Sighting
from crossdock_hub.identity import Caller
from crossdock_hub.objects.resources import stamp
from crossdock_hub.reading.fitting import fit
from crossdock_hub.reading.paging import (
    next_token,
    page_size,
    place_of,
    position_behind,
    room_of,
)
from crossdock_hub.reading.presenting import (
    delivery_message,
    enum_value,
    held_fact_message,
    word_message,
)
from crossdock_hub.reading.queries import Queries
from crossdock_hub.records import DeliveryRecord
from crossdock_hub.refusals import not_found
from crossdock_hub.store.dead_letters import Found, content_of, find_groups, held_fact
from crossdock_hub.store.sightings import find_group
from crossdock_hub.verbs.master_data import held_decision

MEMBERS_DEFAULT = 20


async def list_dead_letters(queries: Queries, caller: Caller, request: Any, _left: float) -> Any:
    """A page of groups. Looking changes nothing."""
    found = await _find(queries, request.endpoint or None)
    groups = [
        group
        for group in found.groups
        if request.endpoint in ("", group.cause.endpoint) and (request.include_closed or group.open)
    ]
    start = _start(request, groups)
    size = page_size(request, queries.limits)
    response = dead_letter_service_pb2.ListDeadLettersResponse(
        groups=[group_message(group) for group in groups[start : start + size]],
        truncated=found.truncated,
    )
    if len(groups) > start + size:
        response.next_page_token = _token_from(request, groups, start + size)
    return response


async def get_dead_letters(queries: Queries, caller: Caller, request: Any, _left: float) -> Any:
    """One group with a page of its members, newest first."""
    group = await _find_group(queries, request.group_id)
    if group is None:
        raise not_found("dead letter group", request.group_id)
    start, size = _start(request, group.members), request.page_size or MEMBERS_DEFAULT
    page = group.members[start : start + size]
    response = dead_letter_service_pb2.GetDeadLettersResponse(group=group_message(group))
    room = whole = room_of(queries.limits)
    for index, told in enumerate(await _members(queries, page), start):
        if told is None:
            continue
        fit([told.delivery], whole - told.ByteSize() + told.delivery.ByteSize())
        room -= told.ByteSize()
        if room < 0 and response.members:
            response.next_page_token = _token_from(request, group.members, index)
            return response
        response.members.append(told)
    if len(group.members) > start + size:
        response.next_page_token = _token_from(request, group.members, start + size)
    return response


async def see_group(queries: Queries, request: Any) -> Sighting | None:
    """What an acknowledgement is about, read before its batch; None: no such group."""
    limits = queries.limits
    async with queries.reader.snapshot() as connection:
        return await find_group(
            connection,
            request.group_id,
            limits.dead_letters_max,
            queries.clock(),
            Patience.of(limits),
        )


async def see_replayed_group(queries: Queries, request: Any) -> Sighting | None:
    """The group that a replay is asked for, wherever it is; None: none was, or there is none."""
    group_id = request.selection.group_id
    if not group_id:
        return None
    most, now = queries.limits.dead_letters_max, queries.clock()
    patience, endpoint = Patience.of(queries.limits), request.endpoint or None
    async with queries.reader.snapshot() as connection:
        # There first: what is old, and many others are newer than, is found among that.
        there = await find_group(connection, group_id, most, now, patience, endpoint)
        return there or await find_group(connection, group_id, most, now, patience)


def group_message(group: Group) -> dead_letter_pb2.DeadLetterGroup:
    """A group without its members."""
    cause, opened = group.cause, group.open
    message = dead_letter_pb2.DeadLetterGroup(
        id=cause.id,
        kind=enum_value(dead_letter_pb2.DeadLetterKind, cause.classification),
        state=enum_value(dead_letter_pb2.DeadLetterState, group.state),
        endpoint=cause.endpoint,
        operation=cause.what,
        event_type=cause.event_type,
        code=cause.code,
        reason=cause.reason,
        open_count=len(opened),
        closed_count=len(group.members) - len(opened),
        object_ids=list(dict.fromkeys(m.object_id for m in opened if m.object_id))[
            :OBJECTS_SHOWN_MAX
        ],
        reopened=group.reopened,
        under_way_count=group.under_way,
        place=group.where,
    )
    stamp(message.first_time, min(m.since for m in opened or group.members))
    stamp(message.last_time, group.last)
    if group.ending is not None:
        _settle(message, group.ending, message.close_time)
    if group.mark is not None and group.mark.marked_at is not None:
        message.acknowledged_by = group.mark.operator
        message.assignee, message.note = group.mark.assignee, group.mark.note
        stamp(message.acknowledge_time, group.mark.marked_at)
    return message


def _settle(message: Any, letter: DeadLetterRecord, at: Any) -> None:
    """Say when and by what a letter was settled. at: the time's field."""
    if letter.settled_at is not None:
        stamp(at, letter.settled_at)
        message.settlement = enum_value(dead_letter_pb2.DeadLetterSettlement, letter.settlement)
        message.settled_by = letter.settled_by


def _member(member: Member) -> dead_letter_pb2.DeadLetter:
    """What the records of its group say about a letter."""
    message = dead_letter_pb2.DeadLetter(
        open=member.open,
        standing=enum_value(dead_letter_pb2.DeadLetterStanding, member.standing),
    )
    stamp(message.stop_time, member.since)
    if member.left is not None:
        stamp(message.leave_time, member.left.left_at)
        message.carrier_id = member.left.carrier
        _settle(message, member.left, message.settle_time)
    return message


async def _members(queries: Queries, page: list[Member]) -> list[dead_letter_pb2.DeadLetter | None]:
    """The letters of a page in its order; None: what stopped is no longer there."""
    reader = queries.reader
    ids = [member.id for member in page]
    words = await reader.words(ids)
    attempts = await reader.attempts([m.id for m in page if not m.inbound])
    found: list[dead_letter_pb2.DeadLetter | None] = []
    for member in page:
        message = _member(member)
        said = words.get(member.id, ())
        if member.inbound:
            async with reader.snapshot() as connection:
                fact = await held_fact(connection, member.id)
            if fact is None:
                found.append(None)
                continue
            message.held_fact.CopyFrom(held_fact_message(fact))
            # The bytes may hold what is masked below; the list of held facts gives them.
            message.held_fact.ClearField("payload")
            message.operator_words.extend(word_message(word) for word in said)
            message.content_json = _fact_json(queries, fact)
        else:
            record = await reader.delivery(member.id)
            if record is None:
                found.append(None)
                continue
            log = attempts.get(member.id, ())
            message.delivery.CopyFrom(delivery_message(record, None, log, said))
            message.in_doubt = _in_doubt(record, queries.limits)
            async with reader.snapshot() as connection:
                body = await content_of(connection, record)
            message.content_json = _event_json(queries, body)
        found.append(message)
    return found


def _in_doubt(record: DeliveryRecord, limits: Limits) -> bool:
    stands = record.state in DEAD_STATES | DOUBTFUL_STATES
    return stands and is_in_doubt(record, limits)


def _event_json(queries: Queries, body: bytes) -> str:
    try:
        event = bus.decode(body).event
    except ValueError:
        event = None
    return _json(queries.contract.redact(event)) if event is not None else ""


def _fact_json(queries: Queries, fact: Any) -> str:
    known = held_decision(queries.contract, fact.method) if fact.method else None
    kind = known[0] if known is not None else held_fact_pb2.HoldPayloadRequest
    try:
        return _json(queries.contract.redact(kind.FromString(fact.payload)))
    except DecodeError:
        return ""


def _json(plain: Any) -> str:
    return json.dumps(plain, ensure_ascii=False, indent=2)


def _start(request: Any, listed: Sequence[Group | Member]) -> int:
    """Where in a list, as it is now, the page that is asked for begins."""
    behind = place_of(request)
    if behind is None:
        return 0
    return next((at for at, each in enumerate(listed) if each.place < behind), len(listed))


def _token_from(request: Any, listed: Sequence[Group | Member], start: int) -> str:
    """The token of the page that begins at an index of a list, which is not its first."""
    return next_token(request, position_behind(listed[start - 1].place))


async def _find_group(queries: Queries, group_id: str) -> Group | None:
    """A group with what waits of it at its endpoint, or at nobody's, whatever has stopped elsewhere
    since."""
    most, now = queries.limits.dead_letters_max, queries.clock()
    patience = Patience.of(queries.limits)
    async with queries.reader.snapshot() as connection:
        seen = await find_group(connection, group_id, most, now, patience)
        if seen is None:
            return None
        found = await find_groups(connection, most, now, patience, seen.cause.endpoint)
    return next((group for group in found.groups if group.cause.id == group_id), None)


async def _find(queries: Queries, endpoint: str | None) -> Found:
    limits = queries.limits
    async with queries.reader.snapshot() as connection:
        return await find_groups(
            connection, limits.dead_letters_max, queries.clock(), Patience.of(limits), endpoint
        )


__all__ = [
    "get_dead_letters",
    "group_message",
    "list_dead_letters",
    "see_group",
    "see_replayed_group",
]
