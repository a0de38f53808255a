"""Messages that keep every rule of the contract, made from its descriptors: breaches start here."""

from __future__ import annotations

import re
from functools import cache
from typing import Any, Final

from crossdock import contracts
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from hypothesis import find, settings
from hypothesis import strategies as st

CONTRACT: Final = contracts.load()
DEPTH_MAX: Final = 8
FIELD_RULES, ONEOF_RULES, MESSAGE_RULES = (
    "buf.validate.field",
    "buf.validate.oneof",
    "buf.validate.message",
)
IGNORE_ZERO, IGNORE_ALWAYS = 1, 3
UUID: Final = "0b6f2f3c-5d1e-4c7a-9a55-0f4a2c1d3e5f"
# What the rules over several fields ask for, where each field by itself would be free to differ.
TOGETHER: Final[dict[str, dict[str, Any]]] = {
    "crossdock.location.v1.OperatingHours": {"opens": "08:00", "closes": "17:00"},
    "crossdock.unit.v1.UnitConversion": {
        "number": "SKU-1:EA:CS",
        "item_number": "SKU-1",
        "from_unit": "EA",
        "to_unit": "CS",
        "numerator": "1",
        "denominator": "12",
    },
    "crossdock.types.v1.SourceTime": {"zone": 1},
    "crossdock.item.v1.HazardousMaterial": {"hazardous": True},
}


def rules_of(field: FieldDescriptor) -> Any:
    """The buf.validate rules of a field; None: there are none."""
    return _rules(field.full_name)


@cache
def _rules(full_name: str) -> Any:
    return CONTRACT.image.extension(CONTRACT.image.pool.FindFieldByName(full_name), FIELD_RULES)


def scalar_rules(field: FieldDescriptor) -> Any:
    """The rules for the values of a field: of its items, where it is repeated; None: none."""
    rules = rules_of(field)
    if rules is None:
        return None
    kind = rules.WhichOneof("type")
    if kind == "repeated":
        rules = rules.repeated.items if rules.repeated.HasField("items") else None
        kind = None if rules is None else rules.WhichOneof("type")
    return None if kind is None else getattr(rules, kind)


def is_ignored(field: FieldDescriptor) -> bool:
    """True when nothing below the field is validated."""
    rules = rules_of(field)
    return rules is not None and rules.ignore == IGNORE_ALWAYS


def is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def valid(message_name: str) -> Any:
    """A message with every field set, as far as the rules and `DEPTH_MAX` allow."""
    message: Any = CONTRACT.generated_class(message_name)()
    fill(message, DEPTH_MAX)
    return message


def fill(message: Any, depth: int) -> None:
    """Set every field of a message, one of each oneof."""
    kind: Descriptor = message.DESCRIPTOR
    if _fill_well_known(message):
        return
    together = TOGETHER.get(kind.full_name, {})
    chosen = {oneof.name: oneof.fields[0].name for oneof in kind.oneofs}
    for field in kind.fields:
        oneof = field.containing_oneof
        if oneof is not None and chosen[oneof.name] != field.name:
            continue
        if field.name in together:
            setattr(message, field.name, together[field.name])
        elif field.message_type is not None:
            _fill_messages(message, field, depth)
        elif field.is_repeated:
            rules = rules_of(field)
            many = max(1, rules.repeated.min_items if rules is not None else 1)
            getattr(message, field.name).extend([value_for(field)] * many)
        else:
            setattr(message, field.name, value_for(field))


def _fill_well_known(message: Any) -> bool:
    name = message.DESCRIPTOR.full_name
    if name == "google.protobuf.Timestamp":
        message.seconds = 1_700_000_000
    elif name == "google.protobuf.Duration":
        message.seconds = 5
    elif name == "google.protobuf.FieldMask":
        message.paths.append("id")
    return name.startswith("google.protobuf.")


def _fill_messages(message: Any, field: Any, depth: int) -> None:
    if is_map(field):
        if field.message_type.fields_by_name["value"].message_type is None:
            getattr(message, field.name)["key"] = "value"
        return
    if depth <= 0:
        return
    target = getattr(message, field.name)
    inner = target.add() if field.is_repeated else target
    inner.SetInParent()
    fill(inner, depth - 1)


def value_for(field: FieldDescriptor) -> Any:
    """A value that the rules of a scalar field allow."""
    rules = scalar_rules(field)
    if field.type == field.TYPE_STRING:
        return "A" if rules is None else _text(rules)
    if field.type == field.TYPE_BYTES:
        return b"1"
    if field.type == field.TYPE_BOOL:
        return True
    if field.type == field.TYPE_ENUM:
        return _enum_value(field, rules)
    if rules is not None and rules.DESCRIPTOR.full_name.startswith("buf.validate.Int"):
        return max(1, rules.gte)
    return 1


def _enum_value(field: Any, rules: Any) -> int:
    numbers = [value.number for value in field.enum_type.values]
    if rules is not None:
        allowed = set(getattr(rules, "in")) or set(numbers)
        numbers = [n for n in numbers if n in allowed.difference(rules.not_in)]
    return next((number for number in numbers if number), numbers[0])


def _text(rules: Any) -> str:
    if rules.uuid:
        return UUID
    least = max(rules.min_len, 1)
    most = rules.max_len or 64
    if rules.pattern:
        return _matching(rules.pattern, least, most)
    return "A" * least


@cache
def _matching(pattern: str, least: int, most: int) -> str:
    """The simplest text that a pattern and both lengths allow."""
    compiled = re.compile(pattern.replace("$", r"\Z"))
    return find(
        st.from_regex(pattern.removesuffix("$") + r"\Z"),
        # A number that may be zero is often asked to be more by a rule of its own.
        lambda text: bool(
            least <= len(text) <= most and compiled.search(text) and text.strip("0.-")
        ),
        settings=settings(max_examples=10_000, database=None),
    )
