"""Every rule of the contract, each with messages that break it: read from the options, not from a
list, so that a new field or rule is covered the day it is declared.

What each breach is called is derived here from the declaration, not asked of the validator.
"""

from __future__ import annotations

import copy
import random
import re
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from abuse.valid_messages import (
    CONTRACT,
    DEPTH_MAX,
    IGNORE_ALWAYS,
    IGNORE_ZERO,
    MESSAGE_RULES,
    ONEOF_RULES,
    is_ignored,
    is_map,
    rules_of,
    valid,
)
from crossdock.contracts import NO_NUL, Method
from google.protobuf.descriptor import Descriptor, FieldDescriptor

REQUEST_BYTES_MAX: Final = 1024 * 1024
NO_UUIDS: Final = (
    "x",
    "0b6f2f3c5d1e4c7a9a550f4a2c1d3e5f",
    "{0b6f2f3c-5d1e-4c7a-9a55-0f4a2c1d3e5f}",
    "0b6f2f3c-5d1e-4c7a-9a55-0f4a2c1d3e5g",
    "0b6f2f3c-5d1e-4c7a-9a55-0f4a2c1d3e5f\n",
)
ODD_TEXTS: Final = ("", "!", "\n", "é", "a b", "A" * 40, "0x1", "-", "'", "٣", "aa", "99:99", "zz/")
TOO_LATE_SECONDS: Final = 253_402_300_800
TOO_LONG_SECONDS: Final = 315_576_000_001
SPAN = "google.protobuf.Duration"
TIME = "google.protobuf.Timestamp"
# How to break the rules over several fields; what follows a common form is found by itself.
CEL_BREAKERS: Final[dict[str, Callable[[Any], None]]] = {
    "source_time.unknown_zone_has_no_instant": lambda m: setattr(m, "zone", 3),
    "hazardous_material.un_number": lambda m: setattr(m, "hazardous", False),
    "operating_hours.opens_before_it_closes": lambda m: setattr(m, "closes", m.opens),
    "unit_conversion.number": lambda m: setattr(m, "number", "SKU-1:EA:EA"),
    "unit_conversion.units_differ": lambda m: setattr(m, "to_unit", m.from_unit),
    "unit_conversion.numerator_positive": lambda m: setattr(m, "numerator", "0"),
    "unit_conversion.denominator_positive": lambda m: setattr(m, "denominator", "0"),
}
_NUMBERED = re.compile(r"^has\(this\.(\w+)\) && this\.\1\.(\w+) != ''$")
_UNIQUE = re.compile(r"^this\.(\w+)\.map\(\w, \w\.\w+\)\.unique\(\)$")


@dataclass(frozen=True, slots=True)
class Breach:
    """One message that breaks one rule.

    declared: "crossdock.order.v1.Order.number string.min_len", the rule as the contract has it.
    field, rule: what the hub has to name.
    """

    method: Method
    declared: str
    field: str
    rule: str
    request: Any


@dataclass(frozen=True, slots=True)
class _Spot:
    """A way to a message inside the request, as a caller writes it."""

    steps: tuple[str, ...]
    path: str

    def at(self, request: Any) -> Any:
        """The message there."""
        for step in self.steps:
            found = getattr(request, step)
            request = found[0] if hasattr(found, "append") or hasattr(found, "add") else found
        return request


Change = Callable[[Any], None]
Found = tuple[str, str, str, Change]


@dataclass(frozen=True, slots=True)
class Variation:
    """How many random values break a rule beside the fixed ones, and where they come from."""

    chance: random.Random
    count: int = 0


def breaches(method: Method, more: Variation | None = None) -> Iterator[Breach]:
    """Every breach of every rule that a request of the method can hold."""
    more = more or Variation(random.Random(0))
    base = valid(method.request_type)
    encoded = base.SerializeToString()
    wrong = CONTRACT.validate(method.request_type, encoded)
    assert not wrong, f"teach valid_messages to keep the rules of {method.request_type}: {wrong}"
    for spot, kind in _spots(base, _Spot((), ""), DEPTH_MAX):
        for declared, field, rule, change in _breaches_in(kind, more):
            request = copy.deepcopy(base)
            change(spot.at(request))
            if request.ByteSize() <= REQUEST_BYTES_MAX:
                where = f"{spot.path}.{field}".strip(".")
                yield Breach(method, f"{declared} {rule}", where, rule, request)


@cache
def declared_rules() -> frozenset[str]:
    """Each rule that requests of the contract can break, as `Breach.declared` names it.

    Read from the descriptors of what requests hold, without making a message: a run that leaves
    rules out did fewer than these.
    """
    kinds: dict[str, Descriptor] = {}
    for method in CONTRACT.methods.values():
        _reach(CONTRACT.generated_class(method.request_type).DESCRIPTOR, kinds)
    nothing_more = Variation(random.Random(0))
    return frozenset(
        f"{declared} {rule}"
        for kind in kinds.values()
        for declared, _, rule, _ in _breaches_in(kind, nothing_more)
    )


def _reach(kind: Descriptor, kinds: dict[str, Descriptor]) -> None:
    """Note a message type, and all that is validated inside."""
    if kind.full_name in kinds:
        return
    kinds[kind.full_name] = kind
    for field in kind.fields:
        if field.message_type is not None and not is_ignored(field) and not is_map(field):
            _reach(field.message_type, kinds)


def _spots(message: Any, spot: _Spot, depth: int) -> Iterator[tuple[_Spot, Descriptor]]:
    kind = message.DESCRIPTOR
    yield spot, kind
    for field, value in message.ListFields():
        skipped = is_ignored(field) or is_map(field) or field.message_type is None
        if skipped or depth <= 0:
            continue
        inner = value[0] if field.is_repeated else value
        name = f"{field.name}[0]" if field.is_repeated else field.name
        below = _Spot((*spot.steps, field.name), f"{spot.path}.{name}".strip("."))
        yield from _spots(inner, below, depth - 1)


def _breaches_in(kind: Descriptor, more: Variation) -> Iterator[Found]:
    yield from _null_characters(kind)
    if kind.full_name.startswith("google.protobuf."):
        yield from _times(kind)
        return
    image = CONTRACT.image
    own = image.pool.FindMessageTypeByName(kind.full_name)
    rules = image.extension(own, MESSAGE_RULES)
    for cel in rules.cel if rules is not None else ():
        yield kind.full_name, "", cel.id, cel_breaker(cel)
    for oneof in own.oneofs:
        required = image.extension(oneof, ONEOF_RULES)
        if required is not None and required.required:
            members = [field.name for field in oneof.fields]
            yield kind.full_name, oneof.name, "required", _clear(*members)
    for field in kind.fields:
        field_rules = rules_of(field)
        if field_rules is None or field_rules.ignore == IGNORE_ALWAYS:
            continue
        # Of a choice the first is set; a value for another one of it takes its place.
        for path, rule, change in _field_breaches(field, field_rules, more):
            yield field.full_name, path, rule, change


def _null_characters(kind: Descriptor) -> Iterator[Found]:
    """U+0000 in each text, declared or not: no database that the hub runs on keeps it in all."""
    for field in kind.fields:
        if is_map(field) or field.type == FieldDescriptor.TYPE_STRING:
            place = '["key"]' if is_map(field) else "[0]" if field.is_repeated else ""
            yield field.full_name, f"{field.name}{place}", NO_NUL, _with_null(field)


def _with_null(field: FieldDescriptor) -> Change:
    name = field.name

    def change(message: Any) -> None:
        if is_map(field):
            getattr(message, name)["key"] = "\0"
        elif field.is_repeated:
            getattr(message, name)[0] += "\0"
        else:
            setattr(message, name, getattr(message, name) + "\0")

    return change


def cel_breaker(cel: Any) -> Change:
    """How to break a rule over several fields. AssertionError: nobody has said how."""
    if cel.id in CEL_BREAKERS:
        return CEL_BREAKERS[cel.id]
    if cel.id.endswith(".not_empty"):
        return lambda m: m.Clear()
    if cel.id.endswith(".quantity_not_negative"):
        return lambda m: setattr(m.quantity, "value", "-1")
    numbered = _NUMBERED.match(cel.expression)
    if numbered:
        outer, inner = numbered.groups()
        return lambda m: getattr(m, outer).ClearField(inner)
    unique = _UNIQUE.match(cel.expression)
    assert unique, f"say in CEL_BREAKERS how to break {cel.id}: {cel.expression}"
    name = unique.group(1)
    return lambda m: getattr(m, name).add().CopyFrom(getattr(m, name)[0])


def _times(kind: Descriptor) -> Iterator[Found]:
    """A time's own fields; told at the field that holds it, hence without a name of its own."""
    short = kind.full_name.rpartition(".")[2]
    if kind.full_name in (TIME, SPAN):
        seconds = TOO_LATE_SECONDS if kind.full_name == TIME else TOO_LONG_SECONDS
        for value in (seconds, -(10**12), 2**62):
            yield kind.full_name, "", f"{short}.range", _set("seconds", value)
        yield kind.full_name, "", f"{short}.range", _set("nanos", 2**31 - 1)


def _set(name: str, value: Any) -> Change:
    return lambda message: setattr(message, name, value)


def _clear(*names: str) -> Change:
    def change(message: Any) -> None:
        for name in names:
            message.ClearField(name)

    return change


def _field_breaches(
    field: FieldDescriptor, rules: Any, more: Variation
) -> Iterator[tuple[str, str, Change]]:
    name = field.name
    if rules.required:
        yield name, "required", _clear(name)
    for cel in rules.cel:
        yield name, cel.id, cel_breaker(cel)
    kind = rules.WhichOneof("type")
    if kind == "repeated":
        yield from _list_breaches(field, rules.repeated, more)
    elif kind == "map":
        yield from _map_breaches(name, rules.map, more)
    elif kind is not None:
        zero_is_told = not rules.required or field.has_presence
        skips_zero = rules.ignore == IGNORE_ZERO or not zero_is_told
        for rule, value in scalar_breaches(kind, getattr(rules, kind), more):
            if value or not skips_zero:
                yield name, rule, _set(name, value)


def scalar_breaches(kind: str, rules: Any, more: Variation) -> Iterator[tuple[str, Any]]:
    """(rule, value that breaks it) for the rules of one value."""
    if kind == "string":
        yield from _text_breaches(rules)
        yield from _random_texts(rules, more)
    elif kind == "bytes":
        yield "bytes.max_len", b"x" * (rules.max_len + 1)
    elif kind == "enum":
        if rules.defined_only:
            yield from (("enum.defined_only", number) for number in (9_999, 2**31 - 1))
        yield from (("enum.not_in", number) for number in rules.not_in)
        allowed = set(getattr(rules, "in"))
        if allowed:
            yield from (("enum.in", number) for number in (max(allowed) + 1, 0, 9_999))
    else:
        yield from _number_breaches(kind, rules, more)


def _random_texts(rules: Any, more: Variation) -> Iterator[tuple[str, Any]]:
    compiled = re.compile(rules.pattern.replace("$", r"\Z"), re.ASCII)
    for _ in range(more.count):
        text = "".join(
            chr(more.chance.choice((33, 65, 97, 233, 20_013)) + index % 7)
            for index in range(more.chance.randint(1, 40))
        )
        if rules.max_len:
            yield "string.max_len", text[:1] * (rules.max_len + more.chance.randint(1, 200))
        if rules.pattern and not compiled.search(text):
            yield "string.pattern", text
        if rules.uuid:
            good = str(uuid.UUID(int=more.chance.getrandbits(128)))
            at = more.chance.randrange(len(good))
            yield "string.uuid", good[:at] + more.chance.choice("gxZ_é .") + good[at + 1 :]


def _text_breaches(rules: Any) -> Iterator[tuple[str, Any]]:
    if rules.min_len:
        yield "string.min_len", "x" * (rules.min_len - 1)
    if rules.max_len:
        for letter in ("x", "é", "🛒"):
            yield "string.max_len", letter * (rules.max_len + 1)
        yield "string.max_len", "x" * (rules.max_len * 5 + 100)
    if rules.pattern:
        compiled = re.compile(rules.pattern.replace("$", r"\Z"), re.ASCII)
        for text in ODD_TEXTS:
            if not compiled.search(text):
                yield "string.pattern", text
    if rules.uuid:
        yield "string.uuid_empty", ""
        yield from (("string.uuid", text) for text in NO_UUIDS)


def _number_breaches(kind: str, rules: Any, more: Variation) -> Iterator[tuple[str, Any]]:
    """A range with both ends has one name."""
    low, high = rules.HasField("gte"), rules.HasField("lte")
    name = f"{kind}.gte_lte" if low and high else f"{kind}.gte" if low else f"{kind}.lte"
    least, most = (-(2**31), 2**31 - 1) if kind == "int32" else (-(2**63), 2**63 - 1)
    if low:
        below = [more.chance.randint(least, rules.gte - 1) for _ in range(more.count)]
        yield from ((name, value) for value in (rules.gte - 1, least, *below))
    if high:
        above = [more.chance.randint(rules.lte + 1, most) for _ in range(more.count)]
        yield from ((name, value) for value in (rules.lte + 1, most, *above))


def _list_breaches(
    field: FieldDescriptor, rules: Any, more: Variation
) -> Iterator[tuple[str, str, Change]]:
    name = field.name

    def grown(count: int) -> Change:
        def change(message: Any) -> None:
            items = getattr(message, name)
            items.extend([copy.deepcopy(items[0]) for _ in range(count - len(items))])

        return change

    if rules.min_items:
        yield name, "repeated.min_items", _clear(name)
    if rules.max_items:
        yield name, "repeated.max_items", grown(rules.max_items + 1)
    if rules.unique:
        yield name, "repeated.unique", grown(2)
    if rules.HasField("items"):
        kind = rules.items.WhichOneof("type")
        for rule, value in scalar_breaches(kind, getattr(rules.items, kind), more):

            def first(message: Any, value: Any = value) -> None:
                getattr(message, name)[0] = value

            yield f"{name}[0]", rule, first


def _map_breaches(name: str, rules: Any, more: Variation) -> Iterator[tuple[str, str, Change]]:
    def many(message: Any) -> None:
        for number in range(rules.max_pairs + 1):
            getattr(message, name)[f"k{number}"] = "v"

    def entry(key: str, value: str) -> Change:
        return lambda message: getattr(message, name).__setitem__(key, value)

    if rules.max_pairs:
        yield name, "map.max_pairs", many
    for rule, key in scalar_breaches("string", rules.keys.string, more):
        yield f'{name}["{key}"]', rule, entry(key, "v")
    for rule, value in scalar_breaches("string", rules.values.string, more):
        yield f'{name}["key"]', rule, entry("key", value)
