"""What the hub knows and what an endpoint told it: checked like any write, each fact kept once."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from crossdock import contracts
from crossdock.errors import Refusal
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

MAX_VIOLATIONS_TOLD = 3
FACT_NAMESPACE = uuid.UUID("6f1d5c0e-4d5a-4f5e-8c39-7d8f6f0f3f11")


class Refused(Exception):
    """The hub says no; `refusal` as it goes over the wire."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(f"{refusal.reason}: {refusal.message}")
        self.refusal = refusal


@dataclass(slots=True)
class Notebook:
    """Everything told, and what answers reads.

    facts: by method and request id, the first message told. repeats: how often a fact was told
    again. problems: what was told and the hub would refuse. role: the endpoint's.
    """

    role: str
    facts: dict[tuple[str, str], Message] = field(default_factory=dict)
    repeats: int = 0
    problems: list[str] = field(default_factory=list)
    known: list[Message] = field(default_factory=list)

    def ask(self, method: contracts.Method, data: bytes) -> Message:
        """Answer one call of the contract. Refused: the hub would refuse it."""
        contract = contracts.load()
        request = contract.generated_class(method.request_type).FromString(data)
        answer = contract.generated_class(method.response_type)()
        try:
            self._check(method, request, data)
            if method.mutating:
                self._keep(method, request)
                _receipts(answer, method, request)
                self._tell_back(request, answer)
            else:
                self._read(request, answer)
        except Refused as refused:
            # A read of what is not there is no mistake of the endpoint's.
            if method.mutating:
                self.problems.append(f"{method.full_name}: {refused}")
            raise
        return answer

    def learn(self, messages: Iterable[Message]) -> None:
        """Know these from now on; one of the same type and number (or id) is merged into."""
        for message in messages:
            held = next((each for each in self.known if _same(each, message)), None)
            if held is None:
                fresh = type(message)()
                fresh.CopyFrom(message)
                self.known.append(fresh)
            else:
                held.MergeFrom(message)

    def told(self) -> dict[tuple[str, str], bytes]:
        """Every fact as comparable bytes."""
        return {key: fact.SerializeToString(deterministic=True) for key, fact in self.facts.items()}

    def _check(self, method: contracts.Method, request: Message, data: bytes) -> None:
        if method.callers and self.role not in method.callers:
            raise Refused(Refusal("METHOD_NOT_ALLOWED", f"a {self.role} may not call this"))
        broken = contracts.validate(method.request_type, data)
        if broken:
            said = "; ".join(str(each) for each in broken[:MAX_VIOLATIONS_TOLD])
            raise Refused(Refusal("INVALID_FIELD", said))
        for write in _writes(method, request):
            paths = list(write.update_mask.paths) if method.has_update_mask else []
            resource = getattr(write, method.resource_field) if method.resource_field else None
            if paths and isinstance(resource, Message):
                name = resource.DESCRIPTOR.full_name
                foreign = contracts.load().foreign_fields(name, self.role).intersection(paths)
                if foreign:
                    raise Refused(Refusal("FIELD_NOT_OWNED", ", ".join(sorted(foreign))))

    def _keep(self, method: contracts.Method, request: Message) -> None:
        for write in _writes(method, request):
            key = (method.full_name, write.request_id)
            held = self.facts.get(key)
            if held is not None and held != write:
                raise Refused(Refusal("REQUEST_ID_REUSED", "told before with other content"))
            if held is not None:
                self.repeats += 1
                continue
            fresh = type(write)()
            fresh.CopyFrom(write)
            self.facts[key] = fresh
            self._learn_from(method, write)

    def _learn_from(self, method: contracts.Method, write: Any) -> None:
        for found in _resources(write):
            if _creates(method) and not getattr(found, "id", "-"):
                # The same in every world, as all that is compared between them.
                name = f"{found.DESCRIPTOR.full_name}:{getattr(found, 'number', '')}"
                found.id = str(uuid.uuid5(FACT_NAMESPACE, name))
            if hasattr(write, "references") and hasattr(found, "references"):
                found.references.extend(write.references)
            self.learn([found])

    def _tell_back(self, request: Any, answer: Message) -> None:
        """The object as it is known now, where an answer has the one that the request wrote."""
        for descriptor, repeated in _message_fields(answer):
            for written in [] if repeated else _resources(request):
                known = next((each for each in self.known if _same(each, written)), None)
                if known is not None and known.DESCRIPTOR.full_name == descriptor.full_name:
                    getattr(answer, _field_of(answer, descriptor.full_name)).CopyFrom(known)

    def _read(self, request: Message, answer: Message) -> None:
        """One object by number or id, or the list of those that agree with what was asked."""
        for descriptor, repeated in _message_fields(answer):
            candidates = [
                each for each in self.known if each.DESCRIPTOR.full_name == descriptor.full_name
            ]
            found = [each for each in candidates if _agrees(each, request)]
            if repeated:
                getattr(answer, repeated).extend(found)
                return
            if not found:
                raise Refused(Refusal("OBJECT_NOT_FOUND", f"no such {descriptor.name}"))
            field_name = _field_of(answer, descriptor.full_name)
            getattr(answer, field_name).CopyFrom(found[0])
            return


def _creates(method: contracts.Method) -> bool:
    return method.full_name.rpartition("/")[2].startswith("Create")


def _writes(method: contracts.Method, request: Any) -> list[Any]:
    return list(getattr(request, method.entries_field)) if method.entries_field else [request]


def _receipts(answer: Any, method: contracts.Method, request: Any) -> None:
    """One result for each entry, where the method answers so."""
    if method.entries_field and hasattr(answer, "results"):
        for _ in getattr(request, method.entries_field):
            answer.results.add()


def _resources(write: Message) -> Iterator[Any]:
    for descriptor, value in write.ListFields():
        if descriptor.message_type is None or descriptor.is_repeated:
            continue
        if descriptor.message_type.full_name.startswith("crossdock."):
            yield value


def _message_fields(answer: Message) -> Iterator[tuple[Any, str]]:
    """(type, the field's name when it is a list) of each field that holds objects."""
    for descriptor in answer.DESCRIPTOR.fields:
        if descriptor.type == FieldDescriptor.TYPE_MESSAGE:
            yield descriptor.message_type, descriptor.name if descriptor.is_repeated else ""


def _field_of(answer: Message, type_name: str) -> str:
    return next(
        descriptor.name
        for descriptor in answer.DESCRIPTOR.fields
        if descriptor.message_type is not None and descriptor.message_type.full_name == type_name
    )


def _agrees(held: Any, request: Message) -> bool:
    """Whether the object has what the request asks for, in the fields that both have."""
    names = {descriptor.name for descriptor in held.DESCRIPTOR.fields}
    asked = [
        (descriptor.name, value)
        for descriptor, value in request.ListFields()
        if descriptor.name in names and not descriptor.is_repeated
    ]
    return all(getattr(held, name) == value for name, value in asked)


def _same(left: Any, right: Any) -> bool:
    if left.DESCRIPTOR.full_name != right.DESCRIPTOR.full_name:
        return False
    for name in ("number", "id", "tracking_number"):
        if getattr(left, name, "") or getattr(right, name, ""):
            return bool(getattr(left, name, "") == getattr(right, name, ""))
    return left is right


def texts_of(message: Message) -> Sequence[str]:
    """Every text and every enum value's name in a message, however deep."""
    found: list[str] = []
    for descriptor, value in message.ListFields():
        values = value if descriptor.is_repeated else [value]
        for each in values:
            if isinstance(each, Message):
                found += texts_of(each)
            elif isinstance(each, str):
                found.append(each)
    return found
