"""May this role write these fields? Decided at the first level of a resource, nowhere deeper."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import Any

from crossdock.contracts import Resource
from crossdock.errors import Refusal, Violation
from google.protobuf.message import Message

from crossdock_hub.identity import Caller
from crossdock_hub.refusals import mask_invalid
from crossdock_hub.unit import Refused

# The hub writes in its own name what it derives; its role passes every check.
HUB_ROLE = "HUB"


def populated_fields(message: Message) -> list[str]:
    """First-level fields that are set: on a create, each of them counts as written."""
    return [descriptor.name for descriptor, _ in message.ListFields()]


def mask_fields(resource: Resource, paths: Sequence[str]) -> list[str]:
    """The first-level fields that a mask names. Raises Refused when the mask can't be used."""
    if not paths:
        raise mask_invalid("is empty; name the fields to change")
    fields: list[str] = []
    for path in paths:
        if path == "*":
            raise mask_invalid("'*' is refused, nobody owns every field; name the fields to change")
        if "." in path:
            raise mask_invalid(
                f"{path!r} goes deeper than a first-level field; name {path.split('.')[0]!r} "
                "and send it whole"
            )
        if path not in resource.fields:
            raise mask_invalid(f"{path!r} is no field of {resource.message_name}")
        if path not in fields:
            fields.append(path)
    return fields


def check_written(
    resource: Resource, message: Message, caller: Caller, prefix: str, index: int | None = None
) -> None:
    """The same for all that a new message sets: it was read from bytes by its generated class.
    index: its place in a list, which the prefix names.

    Nearly every message writes only what is its own, so what is not is looked for first.
    """
    if caller.role == HUB_ROLE:
        return
    key = resource.message_name, caller.role
    look = _LOOKS.get(key)
    if look is None:
        foreign = [n for n, rule in resource.fields.items() if rule.owner != caller.role]
        look = _LOOKS[key] = _compile_look(message, foreign)
    if look(message):
        place = prefix if index is None else f"{prefix}[{index}]"
        check_owner(resource, populated_fields(message), caller, place)


# (message, role) -> whether a message sets any field of another role.
_LOOKS: dict[tuple[str, str], Callable[[Any], bool]] = {}


def _reading(names: Sequence[str]) -> Callable[[Any], Sequence[Any]]:
    """What reads fields by their names."""
    if len(names) > 1:
        return attrgetter(*names)
    return lambda message: [getattr(message, name) for name in names]


def _compile_look(message: Message, names: Sequence[str]) -> Callable[[Any], bool]:
    fields = message.DESCRIPTOR.fields_by_name
    present = tuple(name for name in names if fields[name].has_presence)
    filled = [name for name in names if not fields[name].has_presence]
    read = _reading(filled)

    def look(written: Any) -> bool:
        has = written.HasField
        for name in present:
            if has(name):
                return True
        return any(read(written))

    return look


def check_owner(resource: Resource, fields: Iterable[str], caller: Caller, prefix: str) -> None:
    """Refuse fields that another role owns; `prefix` is the request's field, for example "order".

    Raises Refused with FIELD_NOT_OWNED: field, owner, writer and the rule's file and line.
    """
    if caller.role == HUB_ROLE:
        return
    rules = resource.fields
    foreign = [rules[name] for name in fields if rules[name].owner != caller.role]
    if not foreign:
        return
    first = foreign[0]
    what_to_do = (
        "it is output only"
        if first.owner == HUB_ROLE
        else f"send it to the {first.owner} that owns it"
    )
    raise Refused(
        Refusal(
            "FIELD_NOT_OWNED",
            f"{prefix}.{first.name} belongs to {first.owner}, not to {caller.role} "
            f"({caller.endpoint}); {what_to_do} (rule: {first.position})",
            {
                "field": f"{prefix}.{first.name}",
                "owner": first.owner,
                "writer": caller.role,
                "endpoint": caller.endpoint,
                "rule": first.position,
            },
            tuple(
                Violation(f"{prefix}.{rule.name}", f"belongs to {rule.owner}", rule.position)
                for rule in foreign
            ),
        )
    )
