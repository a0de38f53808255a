"""What is held is read without what it carries, and one endpoint's never hides another's."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from crossdock.errors import Refusal, to_message
from crossdock_hub.config import Limits
from crossdock_hub.delivery.dead_letters import NO_PATIENCE
from crossdock_hub.driving import drive_all
from crossdock_hub.identity import HUB
from crossdock_hub.records import HeldFactRecord
from crossdock_hub.stepping import at_once
from crossdock_hub.store.dead_letters import find_groups
from crossdock_hub.store.writing import awaited, write
from crossdock_hub.unit import Changes, Key, Unit
from first_flow import Flow, scan, seconds
from stored_flow import Books, books
from test_mappings import coded, set_row

__all__ = ["books"]

REASON = to_message(Refusal("INVALID_FIELD", "not JSON", {})).SerializeToString()
PAYLOAD = b"x" * 100_000
RAW = HeldFactRecord(
    id="",
    endpoint="ups",
    method="",
    payload=PAYLOAD,
    content_type="application/json",
    refusal=REASON,
    state="HELD",
    awaits="translation:/hook",
    request_id="r",
    created_at=1,
)


async def hold(books: Books, *records: HeldFactRecord) -> None:
    held: dict[Key, Any] = {("held_fact", record.id): record for record in records}
    async with books.store.write() as connection:
        await write(connection, Changes(records=held))


async def test_a_noisy_endpoint_hides_no_other(books: Books) -> None:
    """Proves that asked for one endpoint its groups are found, whatever another one has stopped
    since, and that what is held is read without its payload."""
    quiet = replace(RAW, id="a", endpoint="manhattan")
    await hold(books, quiet, *(replace(RAW, id=f"b-{n}") for n in range(5)))
    async with books.store.read() as connection:
        everything = await find_groups(connection, 3, 0, NO_PATIENCE)
        assert {group.cause.endpoint for group in everything.groups} == {"ups"}
        assert everything.truncated
        own = await find_groups(connection, 3, 0, NO_PATIENCE, "manhattan")
    assert [[member.id for member in group.members] for group in own.groups] == [["a"]]
    assert not own.truncated


async def test_a_start_drives_facts_and_no_payloads(books: Books) -> None:
    """Proves that raw payloads, which nothing drives, are not read when a hub starts."""
    fact = replace(RAW, id="f", method="/a.b/C", awaits="order:SO-1")
    closed = replace(fact, id="g", awaits="order:SO-2", state="DISCARDED")
    await hold(books, RAW, replace(RAW, id="p"), fact, closed)
    async with books.store.read() as connection:
        assert await awaited(connection) == {"order:SO-1"}


def test_many_things_that_are_waited_for_are_looked_at_at_once() -> None:
    """Proves that one decision drives what is held for many keys, in rounds that do not grow with
    their number, and that it stores nothing of facts that wait for the same still, but says what
    that is."""
    flow = Flow()
    for number in range(30):
        flow.report(scan("IN_TRANSIT", 1, number=f"1Z{number}"))
    keys = sorted({record.awaits for record in flow.held()})
    assert len(keys) == 30
    one_at_a_time, before = Limits(held_drive_max=1), flow.held()

    def look(unit: Unit) -> Changes:
        assert at_once(drive_all(unit, keys, one_at_a_time)) == []
        return unit.changes

    changes = flow.decide(HUB, "held facts", look)
    assert changes.records == {}
    assert sorted(changes.still_awaited) == keys
    assert flow.held() == before


def test_one_look_is_bounded_whatever_is_asked_for() -> None:
    """Proves that one decision looks at no more facts than its limit, in as many steps, however
    many wait for however many things, and that what has come is decided all the same."""
    flow = Flow()
    for place in range(6):
        for number in range(1, 11):
            flow.report(scan("IN_TRANSIT", place + 1, number=f"1Z{number}"))
    left = sorted({record.awaits for record in flow.held()})
    assert (len(left), len(flow.held())) == (10, 60)
    flow.labelled(1)
    limits = Limits(held_look_facts_max=20)
    looked_at: list[int] = []

    def look(unit: Unit) -> list[str]:
        steps = drive_all(unit, left, limits)
        looked_at.append(0)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                still: list[str] = end.value
                return still
            looked_at[-1] += 1

    looks = 0
    while left and looks < 10:
        left, looks = flow.decide(HUB, "held facts", look), looks + 1
    assert left == []
    assert max(looked_at) == 20
    assert len(flow.held()) == 54
    assert len(flow.scans) == 6


@pytest.mark.parametrize("most", [1, 2, 3, 200])
def test_what_waits_for_several_codes_goes_on_in_the_order_it_came(most: int) -> None:
    """Proves that facts which wait for one row under different lists of codes are decided in the
    order they came, however few of them one drive takes, and that what waits for a row of its own
    holds up no other."""
    flow = Flow()
    flow.labelled(3)
    lists = {"Q": ("Q", "R"), "S": ("R",), "T": ("T", "R"), "U": ("U",)}
    start, letters = flow.now, "QSQUTUUSTQUQT"
    for place, letter in enumerate(letters):
        number = f"1Z{place % 3 + 1}"
        flow.report(coded(start + seconds(place), *lists[letter], number=number))
    left = sorted({record.awaits for record in flow.held()})
    assert len(left) == len(lists)
    set_row(flow, "R", "IN_TRANSIT")
    limits, rounds = Limits(held_drive_max=most), 0
    while left and rounds <= len(letters):
        steps = partial(drive_all, awaited_keys=left, limits=limits)
        left = flow.decide(HUB, "held facts", lambda unit, steps=steps: at_once(steps(unit)))
        rounds += 1
    assert left == []
    due = [place for place, letter in enumerate(letters) if letter != "U"]
    assert [record.event_time for record in flow.scans] == [start + seconds(n) for n in due]
    assert len(flow.held()) == letters.count("U")
