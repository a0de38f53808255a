"""Differences of meaning between two images: what buf cannot see, as no byte on the wire moves.

Each image becomes a flat table, (element, aspect) -> value; a change is a row that differs. Whether
it breaks others is said once per aspect. Wire breaks (types, numbers, names) are buf's to refuse.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from google.protobuf import text_format

from crossdock.contracts.compiling import compile_rules
from crossdock.contracts.image import Image
from crossdock.contracts.rules import Change, Event, Method, Target
from crossdock.contracts.validation import RuleValidator

Value = str | int | bool | frozenset[str] | tuple[str, ...]
Row = tuple[str, str]
Breaks = Callable[[Any, Any], bool]


def _always(old: Any, new: Any) -> bool:
    return True


def _never(old: Any, new: Any) -> bool:
    return False


def _when_shorter(old: Any, new: Any) -> bool:
    return bool(new < old)


def _when_removed(old: Any, new: Any) -> bool:
    return bool(old - new)


def _when_lifted(old: Any, new: Any) -> bool:
    return bool(old and not new)


# What changing an aspect does to those who rely on it.
ASPECTS: Mapping[str, Breaks] = {
    "owner": _always,
    "kind": _always,
    "master_data": _always,
    "validation": _always,
    "sensitive": _when_lifted,
    "refers_to": _always,
    "scope": _always,
    "subject": _always,
    "producers": _when_removed,
    "latency_class": _always,
    "replay_policy": _always,
    "retention_seconds": _when_shorter,
    "criticality": _never,
    "milestone": _never,
    "business_owner": _never,
    "target": _always,
    "ordering_key": _always,
    "requires": _always,
    "supersedes": _always,
    "on_reject": _always,
    "item": _always,
    "optional": _never,
    "own_fact": _never,
    "callers": _always,
    "fact": _always,
    "idempotency": _always,
}
# Aspects that tighten what was there when they appear on it.
_ADDED_IS_A_CHANGE = frozenset({"validation", "refers_to", "scope"})


def diff(old: bytes, new: bytes, positions: Mapping[str, str] | None = None) -> list[Change]:
    """All changes of meaning from one image to another, in the order of their elements.

    old, new: serialized FileDescriptorSets with imports. positions: of the new contract. A change
    that breaks has `breaking`; additions and what only informs have not.
    """
    before, after = _Table(Image(old)), _Table(Image(new, positions))
    changes = [*_appearances(before, after)]
    for row in before.rows.keys() | after.rows.keys():
        change = _change(row, before, after)
        if change is not None:
            changes.append(change)
    return sorted(changes, key=lambda change: (change.element, change.kind, change.description))


def _appearances(before: _Table, after: _Table) -> Iterator[Change]:
    """Elements that came or went, each as one change."""
    for element in before.elements - after.elements:
        yield Change(element, "element_removed", True, "removed", after.image.position(element))
    validator = RuleValidator(after.image)
    for element in after.elements - before.elements:
        position = after.image.position(element)
        message, _, field = element.rpartition(".")
        if message in before.messages and _demanded(validator, message, field):
            text = "added to a message that others fill already, and required of them"
            yield Change(element, "required_field_added", True, text, position)
        else:
            yield Change(element, "element_added", False, "added", position)


def _demanded(validator: RuleValidator, message: str, field: str) -> bool:
    """True when a message without the field is refused because of it."""
    return any(violation.field == field for violation in validator.validate(message, b""))


def _change(row: Row, before: _Table, after: _Table) -> Change | None:
    """What became of one aspect of an element that was there before and still is."""
    element, aspect = row
    if element not in before.elements or element not in after.elements:
        return None
    old, new = before.rows.get(row), after.rows.get(row)
    if old == new:
        return None
    _, _, target = aspect.partition(" of target ")
    if target and not (before.has_target(element, target) and after.has_target(element, target)):
        return None  # The row of the target itself says it.
    name, _, rest = aspect.partition(" ")
    label = f"{name.replace('_', ' ')} {rest}".rstrip()
    position = after.image.position(element)
    if old is None:
        text = f"{label} added: {_shown(new)}"
        return Change(element, f"{name}_added", name in _ADDED_IS_A_CHANGE, text, position)
    if new is None:
        text = f"{label} removed: {_shown(old)}"
        return Change(element, f"{name}_removed", ASPECTS[name] is not _never, text, position)
    text = f"{label} changed from {_shown(old)} to {_shown(new)}"
    return Change(element, f"{name}_changed", ASPECTS[name](old, new), text, position)


def _shown(value: Any) -> str:
    if isinstance(value, frozenset):
        return ", ".join(sorted(value)) or "nobody"
    if isinstance(value, tuple):
        return ", ".join(value) or "nothing"
    return str(value)


class _Table:
    """The meaning of one image, row by row."""

    def __init__(self, image: Image) -> None:
        self.image = image
        self.rows: dict[Row, Value] = {}
        self.elements: set[str] = set()
        self.messages = {kind.full_name for kind in image.messages()}
        rules = compile_rules(image)
        owners = {
            f"{name}.{field.name}": field.owner
            for name, resource in rules.resources.items()
            for field in resource.fields.values()
        }
        for kind in image.messages():
            self.elements.add(kind.full_name)
            self._add(kind.full_name, _validation(image, kind, "message"))
            for oneof in kind.oneofs:
                self._add(oneof.full_name, _validation(image, oneof, "oneof"))
            for field in kind.fields:
                self._add(field.full_name, self._field(field, owners.get(field.full_name)))
        for name, resource in rules.resources.items():
            aspects = ("kind", "master_data", "business_owner")
            self._add(name, ((aspect, getattr(resource, aspect)) for aspect in aspects))
        for name, event in rules.events.items():
            self._add(name, _event_rows(event))
        for method in rules.methods.values():
            self._add(f"{method.service}.{method.name}", _method_rows(method))

    def _add(self, element: str, rows: Any) -> None:
        self.elements.add(element)
        for aspect, value in rows:
            self.rows[element, aspect] = value

    def has_target(self, element: str, target: str) -> bool:
        """Whether the event still has this target, "ERP post_goods_issue"."""
        return (element, f"target {target}") in self.rows

    def _field(self, field: Any, owner: str | None) -> Iterator[tuple[str, Value]]:
        image = self.image
        if owner is not None:
            yield "owner", owner
        yield "sensitive", bool(image.option(field, "sensitive"))
        for name in ("refers_to", "scope"):
            value = image.option(field, name)
            if value is not None:
                yield name, value
        yield from _validation(image, field, "field")


def _validation(image: Image, element: Any, extension: str) -> Iterator[tuple[str, Value]]:
    """One row for each rule: "validation string.max_len" -> "64"."""
    rules = image.extension(element, f"buf.validate.{extension}")
    if rules is not None:
        for path, value in _flat(rules, ""):
            yield f"validation {path}", value


def _flat(message: Any, prefix: str) -> Iterator[tuple[str, str]]:
    for field, value in message.ListFields():
        path = f"{prefix}{field.full_name if field.is_extension else field.name}"
        if field.is_repeated:
            texts = [
                text_format.MessageToString(item, as_one_line=True) if field.message_type else item
                for item in value
            ]
            yield path, ", ".join(str(text) for text in texts)
        elif field.message_type is not None:
            inner = list(_flat(value, f"{path}."))
            yield from inner or [(path, "set")]
        else:
            yield path, str(value)


def _event_rows(event: Event) -> Iterator[tuple[str, Value]]:
    yield "subject", event.stem
    yield "producers", event.producers
    yield "business_owner", event.business_owner
    yield "latency_class", event.latency_class
    yield "criticality", event.criticality
    yield "milestone", event.milestone
    yield "retention_seconds", int(event.retention.total_seconds())
    yield "replay_policy", event.replay_policy
    for target in event.targets:
        yield from _target_rows(target)


def _target_rows(target: Target) -> Iterator[tuple[str, Value]]:
    whom = f"{target.role} {target.operation}"
    yield f"target {whom}", "wanted"
    yield f"ordering_key of target {whom}", target.ordering_key
    yield f"requires of target {whom}", tuple(sorted(target.requires))
    yield f"supersedes of target {whom}", tuple(sorted(target.supersedes))
    yield f"on_reject of target {whom}", target.on_reject
    yield f"item of target {whom}", target.item or "none"
    yield f"optional of target {whom}", target.optional
    yield f"own_fact of target {whom}", target.own_fact


def _method_rows(method: Method) -> Iterator[tuple[str, Value]]:
    yield "callers", method.callers
    yield "fact", method.fact
    yield "idempotency", method.idempotency
