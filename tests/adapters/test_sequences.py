"""Control numbers: each once, the same for the same key while it is open, kept by the hub."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from crossdock_adapters.sdk.cursors import CursorMoved
from crossdock_adapters.sdk.outcomes import Retry
from crossdock_adapters.sdk.sequences import (
    KEPT_OPEN,
    MAX_OPEN,
    Numbers,
    Sequences,
    close,
    decode,
    encode,
    take,
)
from hypothesis import given
from hypothesis import strategies as st

NOW = datetime(2026, 11, 26, 12, 0, 0, 5, tzinfo=UTC)


class KeptCursors:
    """What the hub keeps of cursors: compare-and-set, with a turn of the loop in between."""

    def __init__(self) -> None:
        self.values: dict[str, tuple[bytes, int]] = {}

    async def get_cursor(self, name: str) -> tuple[bytes, int]:
        found = self.values.get(name, (b"", 0))
        await asyncio.sleep(0)
        return found

    async def put_cursor(self, name: str, value: bytes, expected_version: int) -> int:
        if self.values.get(name, (b"", 0))[1] != expected_version:
            raise CursorMoved("moved")
        self.values[name] = value, expected_version + 1
        return expected_version + 1


@given(st.lists(st.tuples(st.sampled_from(["take", "close"]), st.sampled_from("ABCDE"))))
def test_numbers_are_given_once_and_without_a_gap(steps: list[tuple[str, str]]) -> None:
    """Proves for any order of taking and closing that a key has one number while it is open, that
    no number is given to two keys, and that each number from 1 was given."""
    state, given_to = Numbers(), dict[int, str]()
    open_now: dict[str, int] = {}
    for what, key in steps:
        if what == "take":
            state = decode(encode(take(state, key, NOW)))
            taken = state.of(key)
            assert taken is not None and taken.time == NOW.replace(microsecond=0)
            assert open_now.setdefault(key, taken.number) == taken.number
            assert given_to.setdefault(taken.number, key) == key
        else:
            state = close(state, key)
            open_now.pop(key, None)
            assert state.of(key) is None
    assert sorted(given_to) == list(range(1, len(given_to) + 1))


def test_what_is_open_is_bounded() -> None:
    """Proves that a sequence whose numbers are never closed says so, and forgets old ones."""
    state = Numbers()
    for key in range(MAX_OPEN):
        state = take(state, str(key), NOW)
    with pytest.raises(Retry, match=f"{MAX_OPEN} numbers"):
        take(state, "one more", NOW)
    later = take(state, "one more", NOW + KEPT_OPEN + timedelta(seconds=1))
    assert [key for key, _ in later.open] == ["one more"]
    assert later.next == MAX_OPEN + 2


async def test_processes_that_take_at_once_get_numbers_of_their_own() -> None:
    """Proves that compare-and-set keeps concurrent takers apart, and repeats give the same."""
    cursors = KeptCursors()
    processes = [Sequences(cursors) for _ in range(5)]
    taken = await asyncio.gather(
        *(each.take("orders", f"key-{n}") for n, each in enumerate(processes))
    )
    assert sorted(each.number for each in taken) == [1, 2, 3, 4, 5]
    again = await processes[0].take("orders", "key-3")
    assert again == taken[3]
    await processes[1].close("orders", "key-3")
    assert (await processes[0].take("orders", "key-3")).number == 6
    assert (await processes[0].take("issues", "key-3")).number == 1


async def test_no_number_is_below_what_is_out_already() -> None:
    """Proves that a state which is older than the other side's gives no number a second time, while
    what is open keeps its own."""
    sequences = Sequences(KeptCursors())
    assert (await sequences.take("orders", "A", 8)).number == 8
    assert (await sequences.take("orders", "B", 3)).number == 9
    assert (await sequences.take("orders", "A", 50)).number == 8
    taken = (await sequences.state("orders")).of("B")
    assert taken is not None and taken.number == 9
