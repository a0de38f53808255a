"""Writes the facts that a completion had no room for, from the payloads that the hub holds."""

from __future__ import annotations

from typing import Any

from crossdock.delivery.v1 import delivery_service_pb2
from crossdock.types.v1 import types_pb2
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.message import DecodeError, Message

from crossdock_adapters.sdk.carrying import FACT_CONTENT_TYPE, MAX_PART_BYTES, place_of
from crossdock_adapters.sdk.hub_link import HubLink
from crossdock_adapters.sdk.work import HeldPayload

# The hub takes no larger request, and a held fact is a request with the name of its method.
MAX_REQUEST_BYTES = 1024 * 1024
MAX_PARTS = MAX_REQUEST_BYTES // MAX_PART_BYTES + 1
BY_HAND = "see to it by hand, then discard this one"


class ByHand(Exception):
    """This payload is not written by itself; the text says why, and what to do."""


async def write(link: HubLink, held: HeldPayload) -> str:
    """Why the fact of a held payload is still not in the hub; "" when it is.

    A fact in parts is written with its last part; the parts before are closed first, and are read
    again however they stand, so that whoever ends in between begins anew and loses nothing. The
    fact has the request id that it would have had in its completion.

    Raises ByHand, HubAway, HubRefused.
    """
    place = place_of(held.content_type)
    if place is None:
        raise ByHand(f"what a completion had no room for, and is no fact: {BY_HAND}")
    if place.count > MAX_PARTS:
        raise ByHand(f"a fact of {place.count} parts is larger than a request may be: {BY_HAND}")
    if place.number < place.count:
        raise ByHand(f"part {place.number} of {place.count} of a fact: the last one is written")
    before = await _parts_before(link, place.after, place.count - 1)
    content = b"".join([*(payload for _, payload in before), held.payload])
    fact = _fact(content)
    request = _request(fact)
    if request.ByteSize() > MAX_REQUEST_BYTES:
        raise ByHand(f"a fact of {request.ByteSize()} bytes is larger than a request: {BY_HAND}")
    refused = refusals(await link.tell(fact.method, request, _response_of(fact.method)))
    if refused:
        return "; ".join(refused)
    for held_id, _ in before:
        await link.close_held(held_id)
    return ""


async def _parts_before(link: HubLink, after: str, count: int) -> list[tuple[str, bytes]]:
    """(id, payload) of each, first to last: each names the one before it."""
    found: list[tuple[str, bytes]] = []
    for _ in range(count):
        part = await link.held_payload(after) if after else None
        if part is None:
            raise ByHand(f"an earlier part of this fact is not there any more: {BY_HAND}")
        found.insert(0, (part.id, part.payload))
        place = place_of(part.content_type)
        after = place.after if place is not None else ""
    return found


def _fact(content: bytes) -> delivery_service_pb2.Fact:
    try:
        return delivery_service_pb2.Fact.FromString(content)
    except DecodeError:
        raise ByHand(f"its parts together are no {FACT_CONTENT_TYPE}: {BY_HAND}") from None


def _method(name: str) -> Any:
    service, _, method = name.removeprefix("/").partition("/")
    try:
        found: Any = descriptor_pool.Default().FindServiceByName(service)
        return found.methods_by_name[method]
    except KeyError:
        raise ByHand(f"{name!r} is no method of this contract: {BY_HAND}") from None


def _request(fact: delivery_service_pb2.Fact) -> Message:
    request: Message = message_factory.GetMessageClass(_method(fact.method).input_type)()
    try:
        request.ParseFromString(fact.request)
    except DecodeError:
        raise ByHand(f"it is no request of {fact.method}: {BY_HAND}") from None
    return request


def _response_of(name: str) -> type[Message]:
    return message_factory.GetMessageClass(_method(name).output_type)


def refusals(response: Any) -> list[str]:
    """What an answer refuses of a request with several entries, in the hub's words."""
    said: list[types_pb2.Refusal] = [
        entry.refusal
        for field, entries in response.ListFields()
        if field.is_repeated and field.message_type is not None
        for entry in entries
        if "refusal" in entry.DESCRIPTOR.fields_by_name
        and entry.HasField("refusal")
        # One with an id is held by itself: the hub drives it when what it names arrives.
        and not getattr(entry, "held_fact_id", "")
    ]
    return [f"{refusal.reason}: {refusal.message}" for refusal in said]
