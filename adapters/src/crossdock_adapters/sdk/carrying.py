"""What of a result a completion carries, and what has to be held apart from it: pure."""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from crossdock.delivery.v1 import delivery_pb2, delivery_service_pb2
from google.protobuf.message import Message

from crossdock_adapters.sdk import vendor_json
from crossdock_adapters.sdk.exchange import as_text
from crossdock_adapters.sdk.outcomes import Confirmed, Reference

# The source under which the hub holds what a completion did not carry.
COMPLETION_SOURCE = "completion"
MAX_FACTS = 50
MAX_FACT_BYTES = 512 * 1024
# Of all facts of a completion: the hub takes a request of 1 MiB, and refuses a larger one whole.
MAX_FACTS_BYTES = 768 * 1024
MAX_REFERENCES = 50
# Of one payload: the hub holds no larger one, so a larger fact is held in parts.
MAX_PART_BYTES = 512 * 1024
# A Fact of the contract, method and request, which the SDK writes by itself later. Others are for
# people.
FACT_CONTENT_TYPE = "application/x-crossdock-fact"
PROTOBUF, JSON = "application/protobuf", "application/json"
_PLACE = re.compile(r"; part=(\d+)/(\d+)(?:; after=([0-9a-f-]{36}))?")


class UnknownFact(ValueError):
    """A fact that is not the request message of any method of the contract."""


@dataclass(frozen=True, slots=True)
class Apart:
    """A payload for the hub to hold. The same of the same delivery has the same key each time.

    continues: it goes on where the payload before it ends; `behind` says which that is.
    """

    payload: bytes = field(repr=False)
    content_type: str
    reason: str
    key: str
    continues: bool = False

    def behind(self, held_id: str) -> Apart:
        """This part with the id of the held one before it; "" where that is not held."""
        if not (self.continues and held_id):
            return self
        return replace(self, content_type=f"{self.content_type}; after={held_id}")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a payload stands among the parts of a fact. number: from 1. after: id of the held part
    before it; "" for none."""

    number: int
    count: int
    after: str


def place_of(content_type: str) -> Place | None:
    """The place that a content type says; None: it is no fact."""
    if not content_type.startswith(FACT_CONTENT_TYPE):
        return None
    found = _PLACE.fullmatch(content_type, len(FACT_CONTENT_TYPE))
    if found is None:
        return Place(1, 1, "")
    return Place(int(found[1]), int(found[2]), found[3] or "")


@dataclass(frozen=True, slots=True)
class Carried:
    """A result as a completion takes it. said: what is apart and how many; "" when nothing is."""

    facts: list[delivery_service_pb2.Fact]
    references: list[delivery_pb2.VendorReference]
    duplicates: list[delivery_pb2.VendorReference]
    apart: list[Apart]
    said: str


def carried(delivery_id: str, result: Confirmed) -> Carried:
    """Everything of a result: in the completion as far as its limits go, the rest apart."""
    facts: list[delivery_service_pb2.Fact] = []
    apart: list[Apart] = []
    room, facts_apart = MAX_FACTS_BYTES, 0
    for place, message in enumerate(result.facts):
        name = message.DESCRIPTOR.full_name
        try:
            # The same delivery reports the same fact under the same request id, however often.
            known = fact(message, uuid.uuid5(uuid.UUID(delivery_id), f"{name}:{place}"))
        except UnknownFact as error:
            content, why, kind = message.SerializeToString(), str(error), PROTOBUF
        else:
            size = known.ByteSize()
            if len(facts) < MAX_FACTS and size <= min(room, MAX_FACT_BYTES):
                facts.append(known)
                room -= size
                continue
            content, kind = known.SerializeToString(), FACT_CONTENT_TYPE
            why = "it passes the limit of count or size of a completion"
        facts_apart += 1
        apart += _in_parts(delivery_id, f"fact {place}", name, content, kind, why)
    counts = [f"{facts_apart} of {len(result.facts)} facts"] if facts_apart else []
    for word, given in (("references", result.references), ("duplicates", result.duplicates)):
        if len(given) > MAX_REFERENCES:
            counts.append(f"{len(given) - MAX_REFERENCES} of {len(given)} {word}")
            apart += _rest(delivery_id, word, given[MAX_REFERENCES:])
    said = f"Not carried, held as payloads of {COMPLETION_SOURCE}: {', '.join(counts)}."
    return Carried(
        facts,
        [reference(each) for each in result.references[:MAX_REFERENCES]],
        [reference(each) for each in result.duplicates[:MAX_REFERENCES]],
        apart,
        said if counts else "",
    )


def facts_apart(told: delivery_service_pb2.Completion) -> list[Apart]:
    """The facts of a completion that the hub does not take, each to be held apart from it."""
    parts: list[Apart] = []
    for place, each in enumerate(told.facts):
        why = "the hub refused the completion that carried it"
        content = each.SerializeToString()
        what = f"carried {place}"
        parts += _in_parts(told.delivery_id, what, each.method, content, FACT_CONTENT_TYPE, why)
    return parts


def fact(message: Any, request_id: uuid.UUID) -> delivery_service_pb2.Fact:
    """A request of the contract as a fact; an empty request_id is filled in.

    Raises UnknownFact when no method takes this message.
    """
    method = method_of(message)
    if "request_id" in message.DESCRIPTOR.fields_by_name and not message.request_id:
        filled: Any = type(message)()
        filled.CopyFrom(message)
        filled.request_id = str(request_id)
        message = filled
    return delivery_service_pb2.Fact(method=method, request=message.SerializeToString())


def method_of(message: Message) -> str:
    """Full name of the method that takes this request message."""
    for service in message.DESCRIPTOR.file.services_by_name.values():
        for method in service.methods:
            if method.input_type.full_name == message.DESCRIPTOR.full_name:
                return f"/{service.full_name}/{method.name}"
    raise UnknownFact(f"{message.DESCRIPTOR.full_name} is the request of no method")


def reference(given: Reference) -> delivery_pb2.VendorReference:
    """What the vendor gave, whole: shortened it would name something else."""
    kind, value = (as_text(text, len(text)) for text in (given.type, given.value))
    return delivery_pb2.VendorReference(type=kind, value=value)


def _rest(delivery_id: str, word: str, given: Iterable[Reference]) -> Sequence[Apart]:
    """References beyond the limit: a duplicate that nobody hears of is money nobody voids."""
    told = [{"type": each.type, "value": each.value} for each in given]
    content = vendor_json.dumps({word: told})
    why = f"a completion has room for {MAX_REFERENCES}; see to these by hand"
    return _in_parts(delivery_id, word, "", content, JSON, why)


def _in_parts(
    delivery_id: str, what: str, name: str, content: bytes, kind: str, why: str
) -> list[Apart]:
    """name: of the message or method; "" for none. kind: content type. The key has the content:
    another result of a repeat, in another order, is not taken for what is held already."""
    digest = hashlib.sha256(content).hexdigest()[:16]
    count = max(1, -(-len(content) // MAX_PART_BYTES))
    parts = []
    for number in range(count):
        part = f"; part={number + 1}/{count}" if count > 1 else ""
        parts.append(
            Apart(
                content[number * MAX_PART_BYTES : (number + 1) * MAX_PART_BYTES],
                f"{kind}{part}",
                f"{what} of delivery {delivery_id} {name}{part}: {why}",
                f"{delivery_id}:{what}:{digest}:{number}",
                continues=number > 0,
            )
        )
    return parts
