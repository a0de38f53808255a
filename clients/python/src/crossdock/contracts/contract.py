"""The compiled contract: one object that answers every question about the rules, compiled once."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from operator import attrgetter
from types import MappingProxyType
from typing import Any, TypeVar

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from crossdock.contracts import checks
from crossdock.contracts.compiling import compile_rules, field_rule
from crossdock.contracts.counting import ElementCounter
from crossdock.contracts.image import Image
from crossdock.contracts.paths import Tree, compile_tree
from crossdock.contracts.redaction import redacted
from crossdock.contracts.rules import (
    Event,
    FieldRule,
    FoundReference,
    Method,
    ReferencePath,
    Resource,
    Target,
)
from crossdock.contracts.stubs import generated_class
from crossdock.contracts.validation import RuleValidator
from crossdock.errors import ContractError, Violation

T = TypeVar("T")
_NOTHING: frozenset[str] = frozenset()


class Contract:
    """Everything the contract says, by name. Immutable; messages may be passed from any pool.

    resources: by kind, "order". events: by full message name. events_by_stem: by "order.approved".
    methods: by "/crossdock.order.v1.OrderService/CreateOrder". roles: role name -> number of
    crossdock.options.v1.SystemRole.
    """

    def __init__(self, data: bytes, positions: Mapping[str, str] | None = None) -> None:
        """Compiles a serialized FileDescriptorSet with all imports.

        positions: full name -> "proto/…:12", where the image has no source info. ContractError: the
        rules do not hold; every finding quotes file and line.
        """
        image = Image(data, positions)
        rules = compile_rules(image)
        findings = checks.findings(rules)
        if findings:
            raise ContractError(*findings)
        self.image = image
        self.roles = rules.roles
        self.events: Mapping[str, Event] = rules.events
        self.methods: Mapping[str, Method] = rules.methods
        self._by_message = rules.resources
        self.resources: Mapping[str, Resource] = MappingProxyType(
            {resource.kind: resource for resource in rules.resources.values()}
        )
        self.events_by_stem = _by_stem(rules.events)
        self._role_names = {number: name for name, number in rules.roles.items()}
        self._owners = {
            name: MappingProxyType({field: rule.owner for field, rule in resource.fields.items()})
            for name, resource in rules.resources.items()
        }
        self._foreign = {
            (name, role): frozenset(field for field, owner in owners.items() if owner != role)
            for name, owners in self._owners.items()
            for role in rules.roles
        }
        self._references: dict[str, Tree[tuple[str, str]]] = {}
        self._scopes: dict[str, Tree[str]] = {}
        self._sensitive: dict[str, Tree[bool]] = {}
        self._validator = RuleValidator(image)
        self._counter = ElementCounter()

    # Ownership

    def owners(self, message_name: str) -> Mapping[str, str]:
        """First-level field -> role that owns it. KeyError: the message is no resource."""
        return self._owners[message_name]

    def foreign_fields(self, message_name: str, role: str) -> frozenset[str]:
        """First-level fields of a resource that the role does not own; compiled, costs a look-up.

        A write is refused where the fields it names and these meet:
        `contract.foreign_fields(name, role).intersection(mask.paths)`.
        """
        return self._foreign[message_name, role]

    def populated_fields(self, message: Message) -> list[str]:
        """First-level fields that are set, in the order of their numbers: what a create writes."""
        return [field.name for field, _ in message.ListFields()]

    def role_name(self, number: int) -> str:
        """ "OMS" for SYSTEM_ROLE_OMS; "" for unspecified and unknown numbers."""
        return self._role_names.get(number, "") if number else ""

    # Paths

    def reference_paths(self, message_name: str) -> tuple[ReferencePath, ...]:
        """All fields that name other objects, those of embedded and repeated messages included."""
        tree = self._reference_tree(message_name)
        return tuple(ReferencePath(path, kind, by) for path, (kind, by) in tree.paths())

    def references(self, message: Message) -> list[FoundReference]:
        """The other objects that a message names, with the path of each value; never empty ones."""
        found = self._reference_tree(message.DESCRIPTOR.full_name).values(message)
        return [FoundReference(path, kind, by, value) for path, (kind, by), value in found]

    def scopes(self, message: Message) -> dict[str, frozenset[str]]:
        """Scope dimension -> the values in the message: {"BUSINESS_UNIT": {"retail-us"}, …}."""
        found: dict[str, frozenset[str]] = {}
        for _, dimension, value in self._scope_tree(message.DESCRIPTOR.full_name).values(message):
            found[dimension] = found.get(dimension, _NOTHING) | {value}
        return found

    def field_rule(self, full_name: str) -> FieldRule:
        """The rule of any field, by "crossdock.order.v1.OrderLine.item_number". KeyError: none."""
        field = self.image.pool.FindFieldByName(full_name)
        resource = self._by_message.get(full_name.rpartition(".")[0])
        return field_rule(self.image, field) if resource is None else resource.fields[field.name]

    def position(self, full_name: str) -> str:
        """Where an element is declared: "proto/crossdock/order/v1/order.proto:77"."""
        return self.image.position(full_name)

    def sensitive_values(self, message: Message) -> list[str]:
        """The texts in a message that are masked wherever a person could read them."""
        tree = self._sensitive_tree(message.DESCRIPTOR.full_name)
        return [value for _, _, value in tree.values(message) if isinstance(value, str)]

    # Messages

    def generated_class(self, message_name: str) -> type[Message]:
        """The class in the generated stubs, imported at first use. KeyError: no such message."""
        return generated_class(self.image, message_name)

    def holds_more(self, message_name: str, data: bytes, most: int) -> bool:
        """Whether an encoded message holds more than `most` messages and repeated texts.

        Ask before it is parsed: what two bytes say costs hundreds once they are objects.
        """
        return self._counter.holds_more(self._kind(message_name), data, most)

    def with_retention(self, changes: Mapping[str, timedelta]) -> Contract:
        """This contract with another retention of some events, by full name. KeyError: no event."""
        changed = copy.copy(self)
        kept = {name: replace(self.events[name], retention=time) for name, time in changes.items()}
        changed.events = MappingProxyType({**self.events, **kept})
        changed.events_by_stem = _by_stem(changed.events)
        return changed

    def validate(self, message_name: str, data: bytes) -> list[Violation]:
        """All rules that an encoded message breaks; empty: valid.

        ValueError: the bytes are no such message. KeyError: no such message in the contract.
        """
        return self._validator.validate(message_name, data)

    def warm(self) -> None:
        """Compiles the validation rules of every request and resource, milliseconds each.

        Call it at start: otherwise the first caller of each method waits. ContractError: rules that
        cannot be compiled.
        """
        requests = {method.request_type for method in self.methods.values()}
        self._validator.warm(sorted(requests | set(self._by_message)))

    def redact(self, message: Message, *, zeros: bool = False) -> dict[str, Any]:
        """The message as JSON-able data; sensitive fields are "***", bytes their size.

        zeros: also fields that are 0, "", false, empty or unspecified, unless they have presence.
        """
        return redacted(message, self._sensitive_tree(message.DESCRIPTOR.full_name), zeros)

    # Compiled at first use, per message type

    def _reference_tree(self, message_name: str) -> Tree[tuple[str, str]]:
        def pick(field: FieldDescriptor) -> tuple[str, str] | None:
            kind = self.image.option(field, "refers_to")
            return None if kind is None else (kind, checks.reference_by(field))

        found = self._references.get(message_name)
        if found is None:
            found = self._references[message_name] = compile_tree(self._kind(message_name), pick)
        return found

    def _scope_tree(self, message_name: str) -> Tree[str]:
        def pick(field: FieldDescriptor) -> str | None:
            return field_rule(self.image, field).scope or None

        found = self._scopes.get(message_name)
        if found is None:
            found = self._scopes[message_name] = compile_tree(self._kind(message_name), pick)
        return found

    def _sensitive_tree(self, message_name: str) -> Tree[bool]:
        def pick(field: FieldDescriptor) -> bool | None:
            return self.image.option(field, "sensitive") or None

        found = self._sensitive.get(message_name)
        if found is None:
            found = self._sensitive[message_name] = compile_tree(self._kind(message_name), pick)
        return found

    def _kind(self, message_name: str) -> Descriptor:
        return self.image.pool.FindMessageTypeByName(message_name)


def _by_stem(events: Mapping[str, Event]) -> Mapping[str, Event]:
    return MappingProxyType({event.stem: event for event in events.values()})


def ordering_key_of(target: Target, event: Message) -> str:
    """The value that keeps its order at an endpoint. The path was checked with the contract."""
    return str(attrgetter(target.ordering_key)(event))


def items_of(target: Target, event: Message) -> list[str]:
    """The items of an event that get a delivery of this target each; [""]: one for the event.

    An event that is one of several parts of a thing has its part as the item.
    """
    if not target.item:
        return [str(getattr(event, "part", ""))]
    return [element.id for element in attrgetter(target.item)(event)]
