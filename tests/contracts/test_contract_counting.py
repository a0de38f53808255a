"""Counting what an encoding holds before it is parsed, and lists beyond their limit."""

from __future__ import annotations

import random
from typing import Any

import pytest
from crossdock import contracts
from hypothesis import given
from hypothesis import strategies as st
from wild import absurd, damaged

CONTRACT = contracts.load()
METHODS = sorted(CONTRACT.methods)


def elements_of(message: Any) -> int:
    """What the counter has to find, counted on the parsed message."""
    count = 0
    for field, value in message.ListFields():
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            count += len(value)
        elif field.message_type is not None:
            inner = list(value) if field.is_repeated else [value]
            count += len(inner) + sum(elements_of(each) for each in inner)
        elif field.is_repeated and field.type in (field.TYPE_STRING, field.TYPE_BYTES):
            count += len(value)
    return count


def exact_count(name: str, data: bytes) -> int:
    """The number that `holds_more` counts to, found by asking."""
    low, high = -1, len(data)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if CONTRACT.holds_more(name, data, middle) else (low, middle)
    return high


@given(st.sampled_from(METHODS), st.integers(0, 2**32))
def test_the_count_is_what_a_parser_finds(method: str, seed: int) -> None:
    """Proves on random messages that counting the bytes finds what parsing them would."""
    name = CONTRACT.methods[method].request_type
    message = absurd(random.Random(seed), CONTRACT.generated_class(name)())
    data = message.SerializeToString()
    if len(data) < 4000:
        assert exact_count(name, data) == elements_of(message)


@given(st.sampled_from(METHODS), st.integers(0, 2**32), st.binary(max_size=200))
def test_damaged_bytes_are_counted_to_an_end(method: str, seed: int, noise: bytes) -> None:
    """Proves that no bytes make the counter fail or run on."""
    chance = random.Random(seed)
    name = CONTRACT.methods[method].request_type
    message = absurd(chance, CONTRACT.generated_class(name)())
    whole = message.SerializeToString()
    # A request without a field has no bytes to damage.
    for data in (noise, damaged(chance, whole) if whole else b""):
        assert not CONTRACT.holds_more(name, data, len(data))
        CONTRACT.holds_more(name, data, 0)


def test_nested_elements_count_too() -> None:
    """Proves that many empty messages are found at any depth, and that one less passes."""
    entry = b"\x12\x00" * 3_000  # ItemEntry.item, again and again
    request = b"".join(b"\x0a\xf0\x2e" + entry for _ in range(3))
    name = "crossdock.item.v1.UpsertItemsRequest"
    assert len(entry) == 0x2E * 128 + 0x70
    assert CONTRACT.holds_more(name, request, 3 + 3 * 3_000 - 1)
    assert not CONTRACT.holds_more(name, request, 3 + 3 * 3_000)


@pytest.mark.parametrize(("lines", "told"), [(500, False), (501, True)])
def test_of_lists_that_are_too_long_only_that_is_told(lines: int, told: bool) -> None:
    """Proves that an order with a line too many is refused for that, not a thousand times over."""
    from crossdock.order.v1 import order_service_pb2

    request = order_service_pb2.CreateOrderRequest(request_id="x")
    for _ in range(lines):
        request.order.lines.add()
    found = CONTRACT.validate("crossdock.order.v1.CreateOrderRequest", request.SerializeToString())
    only = [(v.field, v.rule) for v in found] == [("order.lines", "repeated.max_items")]
    assert only is told
    assert found
