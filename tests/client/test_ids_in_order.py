"""Ids that begin with their time, so that what is kept by them grows at its end."""

from __future__ import annotations

import contextvars
import time
import uuid

from crossdock.client import new_request_id
from crossdock.request_ids import uuid7
from crossdock.trace_ids import TimedTraceIds, begin_with
from hypothesis import given
from hypothesis import strategies as st

# 48 bits: until the year 10889.
milliseconds = st.integers(0, 2**48 - 1)
random_bits = st.integers(0, 2**80 - 1)
# The version and the variant stand there.
KEPT = ~(0xF << 76 | 0x3 << 62)
MANY = 1_000


@given(milliseconds, random_bits)
def test_a_uuid7_has_its_time_in_front_and_the_rest_as_it_was_drawn(now: int, drawn: int) -> None:
    """Proves that any time and any bits make a UUID of version 7 that says both again."""
    made = uuid7(now, drawn)
    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    assert made.int >> 80 == now
    assert made.int & (2**80 - 1) & KEPT == drawn & KEPT


@given(milliseconds, milliseconds, random_bits, random_bits)
def test_ids_sort_as_text_by_their_times(one: int, other: int, drawn: int, also: int) -> None:
    """Proves that of two ids the one of the earlier millisecond sorts first, as it is stored."""
    if one != other:
        assert (str(uuid7(one, drawn)) < str(uuid7(other, also))) == (one < other)


def test_a_new_request_id_is_of_now_and_no_other() -> None:
    """Proves that a thousand ids differ, and that each has the time at which it was made."""
    begun = time.time_ns() // 1_000_000
    made = [uuid.UUID(new_request_id()) for _ in range(MANY)]
    assert len(set(made)) == MANY
    assert {each.version for each in made} == {7}
    ended = time.time_ns() // 1_000_000
    assert all(begun <= each.int >> 80 <= ended for each in made)


def test_a_trace_id_is_of_now_and_random_behind_it() -> None:
    """Proves that a thousand trace ids have their time in front, differ in the 56 bits that have to
    be random, and are as long as a trace id is."""
    ids, begun = TimedTraceIds(), time.time_ns() // 1_000_000
    made = [ids.generate_trace_id() for _ in range(MANY)]
    ended = time.time_ns() // 1_000_000
    assert all(begun <= each >> 80 <= ended for each in made)
    assert len({each & (2**56 - 1) for each in made}) == MANY
    assert ids.is_trace_id_random()


def test_an_id_that_was_decided_is_given_once() -> None:
    """Proves that the next trace of a context has the id that was asked about, that no other has,
    and that other contexts know nothing of it."""
    ids, decided = TimedTraceIds(), TimedTraceIds().generate_trace_id()
    contextvars.copy_context().run(begin_with, decided)
    assert ids.generate_trace_id() != decided

    def two() -> tuple[int, int]:
        begin_with(decided)
        return ids.generate_trace_id(), ids.generate_trace_id()

    first, second = contextvars.copy_context().run(two)
    assert first == decided != second
