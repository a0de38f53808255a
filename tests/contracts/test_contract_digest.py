"""The digest: blind to how a message was built, sharp about what it says."""

from __future__ import annotations

import hashlib
import struct
from typing import Any

import pytest
from crossdock import contracts
from crossdock.contracts import DIGEST_VERSION, digest, unknown_field
from crossdock.order.v1.order_pb2 import Order, OrderLine
from crossdock.order.v1.order_service_pb2 import CreateOrderRequest, UpdateOrderRequest
from crossdock.types.v1.types_pb2 import Money, Quantity, Refusal
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, struct_pb2
from hypothesis import given
from hypothesis import strategies as st

TEXT = st.text(max_size=12)
QUANTITY = st.builds(Quantity, value=TEXT, unit=TEXT)
LINE = st.builds(
    OrderLine,
    line_number=st.integers(0, 2**31 - 1),
    item_number=TEXT,
    quantity=st.none() | QUANTITY,
    unit_price=st.none() | st.builds(Money, amount=TEXT, currency=TEXT),
)
ORDER = st.builds(
    Order,
    id=TEXT,
    revision=st.integers(-(2**63), 2**63 - 1),
    state=st.integers(0, 9),
    number=st.none() | TEXT,
    lines=st.lists(LINE, max_size=3),
    channel=st.none() | TEXT,
)


def reference(message: Any, excluded: str = "request_id") -> list[str]:
    """The walk as its specification says it, slow and plain, without the generated functions."""
    tokens: list[str] = []
    for field, value in sorted(message.ListFields(), key=lambda pair: pair[0].number):
        if field.name == excluded:
            continue
        tokens.append(str(field.number))
        entry = field.message_type
        if entry is not None and entry.GetOptions().map_entry:
            tokens.append(str(len(value)))
            for key in sorted(value):
                tokens += [_scalar(entry.fields_by_name["key"], key)]
                tokens += _value(entry.fields_by_name["value"], value[key])
        elif field.is_repeated:
            tokens.append(str(len(value)))
            for item in value:
                tokens += _value(field, item)
        else:
            tokens += _value(field, value)
    return [*tokens, "}"]


def _value(field: Any, value: Any) -> list[str]:
    return [_scalar(field, value)] if field.message_type is None else reference(value, "")


def _scalar(field: Any, value: Any) -> str:
    if field.type == field.TYPE_BYTES:
        return value.hex()
    if field.type == field.TYPE_BOOL:
        return str(int(value))
    if field.type in (field.TYPE_DOUBLE, field.TYPE_FLOAT):
        return struct.pack(">d", value).hex()
    return str(value)


def expected(message: Any) -> bytes:
    tokens = [message.DESCRIPTOR.full_name, *reference(message)]
    escaped = [token.replace("\x01", "\x011").replace("\0", "\x010") for token in tokens]
    return b"\x01" + hashlib.sha256("\0".join(escaped).encode()).digest()


@given(ORDER)
def test_the_digest_is_the_specified_walk(order: Order) -> None:
    """Proves that the generated walkers do what the specification says."""
    assert digest(order) == expected(order)


def test_every_kind_of_field_is_walked_as_specified() -> None:
    """Proves maps, bytes, floats, booleans, nested lists and types that contain themselves."""
    file = descriptor_pb2.FileDescriptorProto(name="kinds.proto", package="kinds", syntax="proto3")
    kind = file.message_type.add(name="Kinds")
    scalars = ("DOUBLE", "FLOAT", "INT64", "UINT64", "BOOL", "STRING", "BYTES", "SINT32")
    for number, name in enumerate(scalars, start=1):
        kind.field.add(name=f"one_{number}", number=number, type=f"TYPE_{name}", label=1)
        many = number + 20
        kind.field.add(name=f"many_{many}", number=many, type=f"TYPE_{name}", label=3)
    kind.field.add(name="self", number=40, type="TYPE_MESSAGE", type_name=".kinds.Kinds", label=1)
    kind.field.add(name="class", number=41, type="TYPE_STRING", label=1)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    Kinds = message_factory.GetMessageClass(pool.FindMessageTypeByName("kinds.Kinds"))
    values = (1.5, -0.25, -(2**63), 2**64 - 1, True, "é\0\x01", b"\0\xff", -7)
    names = {f"one_{n}": value for n, value in enumerate(values, start=1)}
    lists = {f"many_{n + 20}": [value, value] for n, value in enumerate(values, start=1)}
    inner = Kinds(self=Kinds(one_6="deep"), **{"class": "keyword"})
    message = Kinds(self=inner, **names, **lists)
    assert digest(message) == expected(message)
    mapped = struct_pb2.Struct()
    mapped.update({"b": 1, "a": [True, None, {"z": "é"}], "aa": "x"})
    assert digest(mapped) == expected(mapped)
    refusal = Refusal(metadata={"b": "1", "a": "2", "é": "3"})
    assert digest(refusal) == expected(refusal)


def test_known_digests_never_change() -> None:
    """Proves that stored digests stay comparable: these values belong to version 1 for ever."""
    order = Order(number="ORD-1", lines=[OrderLine(line_number=1, item_number="SKU")])
    assert digest(order).hex() == KNOWN_ORDER
    assert digest(CreateOrderRequest(request_id="any")).hex() == KNOWN_EMPTY
    assert digest(order)[:1] == DIGEST_VERSION


# SHA-256 of these tokens joined by U+0000, worked out apart from this code:
# crossdock.order.v1.Order 5 ORD-1 7 1 1 1 2 SKU } }
KNOWN_ORDER = "018f86a02758274a8ca871a796ece10ca9c03480dff20d34123c7ac811553a5bcf"
# crossdock.order.v1.CreateOrderRequest }
KNOWN_EMPTY = "018f8d189c6648557572c25983862980cec779116739232fd74d196ee6a7feb678"


@given(ORDER, st.randoms())
def test_the_order_of_fields_on_the_wire_is_irrelevant(order: Order, random: Any) -> None:
    """Proves that two encodings of one message have one digest."""
    fields = [field.name for field, _ in order.ListFields()]
    random.shuffle(fields)
    shuffled = b""
    for name in fields:
        part = Order()
        part.MergeFrom(order)
        for other in fields:
            if other != name:
                part.ClearField(other)  # type: ignore[arg-type]
        shuffled += part.SerializeToString()
    assert digest(Order.FromString(shuffled)) == digest(order)


@given(st.dictionaries(TEXT, TEXT, min_size=2, max_size=6))
def test_the_order_of_a_map_is_irrelevant(entries: dict[str, str]) -> None:
    """Proves that maps are digested by key."""
    forward = Refusal(metadata=entries)
    backward = Refusal()
    for key in reversed(list(entries)):
        backward.metadata[key] = entries[key]
    assert digest(forward) == digest(backward)


@given(ORDER, ORDER)
def test_any_difference_changes_the_digest(one: Order, other: Order) -> None:
    """Proves that digests are equal exactly when the messages are."""
    assert (digest(one) == digest(other)) == (one == other)


@given(ORDER)
def test_presence_counts(order: Order) -> None:
    """Proves that an optional field set to "" differs from one that is not set."""
    order.ClearField("channel")
    without = digest(order)
    order.channel = ""
    assert digest(order) != without


@given(TEXT, TEXT, TEXT)
def test_values_never_flow_into_each_other(one: str, two: str, three: str) -> None:
    """Proves that moving characters between neighbouring values is seen."""
    left = digest(Quantity(value=one + two, unit=three))
    right = digest(Quantity(value=one, unit=two + three))
    assert (left == right) == (two == "")


def test_request_id_does_not_count_but_everything_else_of_the_request_does() -> None:
    """Proves that a repeated id is compared by content."""
    one = UpdateOrderRequest(request_id="1", order=Order(id="x"))
    same = UpdateOrderRequest(request_id="2", order=Order(id="x"))
    masked = UpdateOrderRequest(request_id="1", order=Order(id="x"))
    masked.update_mask.paths.append("number")
    assert digest(one) == digest(same)
    assert digest(one) != digest(masked)
    assert digest(Order(id="x")) != digest(OrderLine(item_number="x"))


def test_generated_and_private_classes_agree(contract: contracts.Contract) -> None:
    """Proves that it does not matter which pool a message's class comes from."""
    order = Order(number="ORD-1", lines=[OrderLine(line_number=1)])
    private = contract.image.message_class("crossdock.order.v1.Order")
    assert digest(private.FromString(order.SerializeToString())) == digest(order)


@pytest.mark.parametrize(
    ("spoil", "path"),
    [
        (lambda request: request, "#99"),
        (lambda request: request.order, "order.#99"),
        (lambda request: request.order.lines[1].quantity, "order.lines[1].quantity.#99"),
    ],
)
def test_unknown_fields_are_found_wherever_they_hide(spoil: Any, path: str) -> None:
    """Proves that a smuggled field is named by its path, and that looking changes nothing."""
    request = CreateOrderRequest(request_id="1")
    for number in (1, 2):
        request.order.lines.add(line_number=number).quantity.value = "1"
    assert unknown_field(request) is None
    spoil(request).MergeFromString(b"\x98\x06\x01")
    before = request.SerializeToString()
    assert unknown_field(request) == path
    assert request.SerializeToString() == before


def test_the_digest_does_not_see_unknown_fields() -> None:
    """Proves that the digest is about known content; unknown content is refused elsewhere."""
    order = Order(number="1")
    spoiled = Order.FromString(order.SerializeToString() + b"\x98\x7d\x01")
    assert unknown_field(spoiled) is not None
    assert digest(spoiled) == digest(order)
