"""Parts of a ledger that several hubs lead: each tells the bus of its own, none hides another."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from back_ups import differences
from crossdock_hub.bus.address import starting
from crossdock_hub.bus.errors import BusRefused
from crossdock_hub.bus.jetstream import Bus
from crossdock_hub.bus.publishing import Message
from crossdock_hub.bus.stream_administration import StoredMessage
from crossdock_hub.bus.streams import (
    TIE_STREAM,
    TIE_SUBJECT,
    StreamLimits,
    part_of_subject,
    stream_differences,
    tie_stream_spec,
    tie_subject,
)
from crossdock_hub.bus.tie import (
    BUS_OLDER,
    DATABASE_OLDER,
    OTHER_DATABASE,
    TieKeeper,
    compare_at_start,
    enter_part,
    is_older,
    judge,
    parts_after_doubt,
    parts_told_by,
    read_tie,
    tell_parts,
    tie_message,
    told_by,
)
from crossdock_hub.committer import Committed
from crossdock_hub.config import Limits
from crossdock_hub.records import Mark, Tie
from crossdock_hub.store import Store, StoreFailure, bus_rows
from crossdock_hub.store.answered import LACKS
from crossdock_hub.store.bus_rows import (
    keep_tie,
    keep_tie_parts,
    remember,
    say_put_back,
    tie,
    tie_part,
    tie_parts,
)
from crossdock_hub.system_duties import Seat, SystemDuties
from crossdock_hub.unit import Changes
from databases import KINDS, open_store
from fixtures_hub import RunningHub
from fixtures_nats import NatsProcess, eventually
from hypothesis import given
from hypothesis import strategies as st

TIED = Changes(tied=True)
# As many parts as there may be, and the one of the hub that leads.
PARTS_MAX = 64


@pytest.fixture(params=KINDS)
async def store(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    """An empty database, of each kind."""
    opened = await open_store(tmp_path, request.param)
    yield opened
    await opened.close()


@pytest.fixture
async def bus(own_nats_server: NatsProcess) -> AsyncIterator[Bus]:
    """A server of the test's own, whose stream of ties is the hub's."""
    connected = await Bus.connect(own_nats_server.address)
    await connected.ensure_streams([tie_stream_spec(StreamLimits())])
    yield connected
    await connected.close()


async def test_a_stream_of_before_takes_the_parts_in(own_nats_server: NatsProcess) -> None:
    """Proves at a real server that the stream of a version without parts is changed where it is,
    with what it was told, and that no part's last word goes for those of another, however many."""
    bus, spec = await Bus.connect(own_nats_server.address), tie_stream_spec(StreamLimits())
    before = {"subjects": [TIE_SUBJECT], "max_msgs": 16, "max_msgs_per_subject": -1}
    await bus.call_api(f"STREAM.CREATE.{TIE_STREAM}", spec.configuration() | before)
    for generation in (1, 2, 3):
        await bus.publish(tie_message(Tie("one", generation)))
    with pytest.raises(BusRefused):
        await bus.publish(tie_message(Tie("one", 1), 1))
    assert await bus.ensure_streams([spec]) == [], "made anew"
    told = await bus.call_api(f"STREAM.INFO.{TIE_STREAM}")
    assert told is not None and not stream_differences(spec, told["config"])
    assert await told_by(bus) == Tie("one", 3)
    for part in range(1, PARTS_MAX + 1):
        for generation in range(1, 21):
            await bus.publish(tie_message(Tie("one", generation), part))
    assert await told_by(bus) == Tie("one", 3)
    assert await parts_told_by(bus) == {n: Tie("one", 20) for n in range(1, PARTS_MAX + 1)}
    assert await told_by(bus, 7) == Tie("one", 20)
    await bus.close()


async def test_what_is_no_tie_is_of_no_part(bus: Bus) -> None:
    """Proves that nothing is believed of a part that was never told, of a subject that is none's,
    of a word that can't be read, nor of a stream that is not there."""
    assert await parts_told_by(bus) == {}
    assert await told_by(bus, 1) is None
    for name in ("0", "01", "x", "+1", "٣", "9" * 10):
        assert part_of_subject(f"{TIE_SUBJECT}.{name}") is None
        if name.isascii():
            await bus.publish(Message(f"{TIE_SUBJECT}.{name}", tie_message(Tie("one", 9)).payload))
    await bus.publish(Message(tie_subject(4), b"no tie"))
    await bus.publish(tie_message(Tie("one", 2), 12))
    assert part_of_subject(tie_subject(12)) == 12
    assert await parts_told_by(bus) == {12: Tie("one", 2)}
    await bus.delete_stream(TIE_STREAM)
    assert await parts_told_by(bus) == {}


async def test_each_mark_is_of_its_part(store: Store) -> None:
    """Proves on each kind of database that marks of several parts in one batch change each its own
    row, that one of which nothing is said stays, and that a part without a row gets one."""
    async with store.write() as connection:
        await remember(connection, [Mark(generation=4, part=2)], 1)
        assert await tie_parts(connection) == {}, "of no database"
        await keep_tie(connection, Tie("one", 5, 4))
        await keep_tie_parts(connection, {1: Tie("one", 7, 6)})
    async with store.write() as connection:
        marks = [
            Mark(generation=6),
            Mark(generation=8, part=1),
            Mark(told=7, part=1),
            Mark(generation=9, part=1),
            Mark(told=3, part=2),
            Mark(events=(1,), part=3),
        ]
        await remember(connection, marks, 1)
    async with store.read() as connection:
        assert await tie(connection) == await tie_part(connection, 0) == Tie("one", 6, 4)
        assert await tie_parts(connection) == {1: Tie("one", 9, 7), 2: Tie("one", 4, 3)}
        assert await tie_part(connection, 1) == Tie("one", 9, 7)
        assert await tie_part(connection, 3) is None


async def test_a_part_is_entered_where_it_was_left(store: Store) -> None:
    """Proves on each kind of database that who takes a part over goes on from its row, that a part
    which nobody had begins at 0 with a row, and that none is entered before somebody compared."""
    async with store.write() as connection:
        with pytest.raises(LookupError):
            await enter_part(connection, 1)
        await compare_at_start(connection, None, {}, 10, 20)
        whole = await tie(connection)
        assert whole is not None
        assert await enter_part(connection, 1) == Tie(whole.database, 0)
        await remember(connection, [Mark(generation=3, told=2, part=1)], 1)
        assert await enter_part(connection, 1) == Tie(whole.database, 3, 2)
        assert list(await tie_parts(connection)) == [1]


class HeardBus:
    """A bus that is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Tie | None]] = []
        self.health = starting("the bus").now(True, "connected")

    async def publish(self, message: Message) -> None:
        read = read_tie(StoredMessage(message.subject, 1, message.payload, {}))
        self.told.append((message.subject, read))


class Marked:
    """A committer that is only asked to remember."""

    def __init__(self) -> None:
        self.marks: list[Mark] = []

    def mark(self, mark: Mark) -> None:
        self.marks.append(mark)


async def test_who_enters_a_part_late_writes_over_nobody(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that a hub which read that nobody had a part, and was held up before it wrote, goes by
    what another hub has begun there since: a generation that went back would make the database
    look older than its bus."""
    async with store.write() as connection:
        await keep_tie(connection, Tie("one", 1))
        await keep_tie_parts(connection, {1: Tie("one", 7, 6)})
    reads = [None, Tie("one", 7, 6)]

    async def read(_connection: Any, _part: int) -> Tie | None:
        return reads.pop(0)

    with monkeypatch.context() as patch:
        patch.setattr(bus_rows, "tie_part", read)
        async with store.write() as connection:
            assert await enter_part(connection, 1) == Tie("one", 7, 6)
    async with store.read() as connection:
        assert await tie_part(connection, 1) == Tie("one", 7, 6)


async def test_who_has_lost_its_seat_waits_for_no_office(store: Store) -> None:
    """Proves that a hub which waits until a new database was compared with its bus ends that when
    its seat is lost, and enters nothing."""
    held = [True, True, False]
    unused: Any = None
    seat = Seat(1, lambda: held.pop(0), lambda: True)
    limits = Limits(lead_look_seconds=0.01)
    duties = SystemDuties(store, unused, unused, limits, unused, unused, seat)
    async with asyncio.timeout(20.0):
        with pytest.raises(StoreFailure, match="the seat was lost"):
            await duties.take_up()
    async with store.write() as connection:
        await keep_tie(connection, Tie("one", 1))
        assert await tie_parts(connection) == {}


async def test_a_keeper_tells_of_its_own_part() -> None:
    """Proves that the keeper of a part numbers, stores and tells its own, that it lets begins wait
    for that, and that others are told of at its start and when the bus has lost what it knew,
    until it knows."""
    bus, committer, others = HeardBus(), Marked(), Counter[str]()

    async def tell_others() -> None:
        others["tried"] += 1
        if others["tried"] == 1:
            raise BusRefused("not now")

    keeper = TieKeeper(
        bus,  # type: ignore[arg-type]
        Limits(relay_poll_seconds=0.01),
        committer,  # type: ignore[arg-type]
        Tie("one", 4),
        lambda: 0,
        told=4,
        part=3,
        tell_others=tell_others,
    )
    keeper.start()
    try:
        assert keeper.number(TIED) == (Mark(generation=5, part=3),)
        keeper.committed(Committed(0, TIED))
        await keeper.told()
        assert bus.told == [("crossdock.v1.tie.3", Tie("one", 5))]
        assert committer.marks == [Mark(told=5, part=3)]
        await eventually(lambda: others["tried"] == 2, "the second try")
        keeper.bus_is_back()
        keeper.tell_again()
        await eventually(lambda: others["tried"] == 3, "the word after the loss")
        assert [subject for subject, _ in bus.told] == ["crossdock.v1.tie.3"] * 2
    finally:
        await keeper.stop()


async def test_the_bus_is_told_of_parts_whose_hubs_are_gone(bus: Bus) -> None:
    """Proves at a real server that the bus gets the word of a part that it lacks, has an older one
    of, or one of another database, and that a later one stays."""
    await bus.publish(tie_message(Tie("one", 4), 2))
    await bus.publish(tie_message(Tie("one", 9), 3))
    await bus.publish(tie_message(Tie("two", 50), 4))
    await tell_parts(bus, {n: Tie("one", 6) for n in (1, 2, 3, 4)})
    later = {n: Tie("one", 9 if n == 3 else 6) for n in (1, 2, 3, 4)}
    assert await parts_told_by(bus) == later
    state = await bus.stream_state(TIE_STREAM)
    await tell_parts(bus, {n: Tie("one", 6) for n in (1, 2, 3, 4)})
    assert await bus.stream_state(TIE_STREAM) == state, "told twice"


@pytest.mark.parametrize("known", [0, 4])
async def test_a_hub_that_tells_its_own_meanwhile_is_not_written_over(
    bus: Bus, known: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves at a real server that a later word which a part's own hub says between the look and
    the telling is the last one, whether there was one before or not."""
    if known:
        await bus.publish(tie_message(Tie("one", known), 2))
    look = bus.last_message

    async def overtaken(stream: str, subject: str) -> StoredMessage | None:
        found = await look(stream, subject)
        await bus.publish(tie_message(Tie("one", 8), 2))
        return found

    monkeypatch.setattr(bus, "last_message", overtaken)
    await tell_parts(bus, {2: Tie("one", 6)})
    monkeypatch.undo()
    assert await told_by(bus, 2) == Tie("one", 8)


async def test_a_stream_that_is_not_there_is_said(bus: Bus) -> None:
    """Proves that what could not be told is not taken for told, so that it is told again."""
    await bus.delete_stream(TIE_STREAM)
    with pytest.raises(BusRefused):
        await tell_parts(bus, {2: Tie("one", 6)})


async def test_a_database_that_is_older_in_a_part_is_older(store: Store) -> None:
    """Proves on each kind of database that a later generation of one part on the bus makes it the
    older one, also of a part that it has no row of, that all parts are raised beyond what either
    knows, and that the next start doubts nothing."""
    told = {1: Tie("one", 3), 2: Tie("one", 9), 5: Tie("one", 2), 6: Tie("two", 70)}
    async with store.write() as connection:
        await keep_tie(connection, Tie("one", 6, 6))
        await keep_tie_parts(connection, {1: Tie("one", 4, 2), 2: Tie("one", 8, 8)})
        same = {1: Tie("one", 3), 2: Tie("one", 8), 6: Tie("two", 70)}
        assert not await is_older(connection, Tie("one", 6), same)
        tied, kind = await compare_at_start(connection, Tie("one", 6), same, 10, 20)
        assert (tied, kind) == (Tie("one", 6, 6), "")
        assert await is_older(connection, Tie("one", 6), told)
        assert await is_older(connection, None, {5: Tie("one", 1)}), "of a part without a row"
        tied, kind = await compare_at_start(connection, Tie("one", 6), told, 10, 20)
        assert (tied, kind) == (Tie("one", 7, 6), DATABASE_OLDER)
        raised = {1: Tie("one", 5, 2), 2: Tie("one", 10, 8), 5: Tie("one", 3)}
        assert await tie_parts(connection) == raised
        assert not await is_older(connection, Tie("one", 6), told)


async def test_a_database_that_was_put_back_raises_its_parts(store: Store) -> None:
    """Proves on each kind of database that one which says that it was put back is older whatever
    the bus was told of its parts, that they are raised too, and that this is said once."""
    async with store.write() as connection:
        await keep_tie(connection, Tie("one", 7, 7))
        await keep_tie_parts(connection, {1: Tie("one", 4, 4)})
        await connection.run_sync(say_put_back)
        with pytest.raises(LookupError):
            await enter_part(connection, 2)
        kinds = [(await compare_at_start(connection, None, {}, 10, 20))[1] for _ in range(2)]
        assert kinds == [DATABASE_OLDER, ""]
        assert await tie_parts(connection) == {1: Tie("one", 5, 4)}


async def test_a_part_that_was_entered_too_early_is_entered_again(store: Store) -> None:
    """Proves on each kind of database that whoever holds a seat of one that turns out to be older
    has lost its term by then, so that no part goes on from where it was put back to."""
    row = "'seat 1', 4, 'a hub', 'a:1', 9000000000000000, 7, 70, false"
    seated = f"INSERT INTO leadership VALUES ({row})"
    held = "SELECT term, holder, expires_at, writer_pid FROM leadership"
    async with store.write() as connection:
        await keep_tie(connection, Tie("one", 6, 6))
        await keep_tie_parts(connection, {1: Tie("one", 4, 4)})
        await connection.exec_driver_sql(seated)
        assert await enter_part(connection, 1) == Tie("one", 4, 4)
        await compare_at_start(connection, Tie("one", 6), {1: Tie("one", 4)}, 10, 20)
        assert (await connection.exec_driver_sql(held)).one()[0] == 4, "they belong together"
        await compare_at_start(connection, Tie("one", 6), {1: Tie("one", 9)}, 10, 20)
        assert (await connection.exec_driver_sql(held)).one() == (5, "a hub", 0, 7)
        assert await enter_part(connection, 1) == Tie("one", 10, 4)


def test_a_part_tells_nothing_of_an_older_bus() -> None:
    """Proves that of a part, whose hub goes on telling while its row is read, the bus may know less
    than it was told, and that of another database it says nothing; of the part of the hub that
    leads the bus is the older one, and another database's is told."""
    whole, part = Tie("one", 6, 6), {1: Tie("one", 9, 9)}
    assert judge(whole, whole, part, {1: Tie("one", 5)}) == ""
    assert judge(whole, whole, part, {}) == ""
    assert judge(whole, Tie("one", 5), part, {1: Tie("one", 9)}) == BUS_OLDER
    assert judge(whole, Tie("two", 5), part, {1: Tie("two", 99)}) == OTHER_DATABASE
    assert judge(whole, Tie("two", 5), part, {1: Tie("one", 99)}) == DATABASE_OLDER


@given(st.lists(st.integers(0, 3), max_size=30), st.integers(0, 30), st.integers(0, 30))
def test_a_copy_is_older_where_any_part_went_on(begun: list[int], copied: int, told: int) -> None:
    """Proves for every history of batches in which calls begin, each at some part, that a copy of
    the database made after so many of them is older than a bus that was told of so many exactly
    where a batch was told that the copy lacks; and that after the doubt no part's word of the lost
    time is beyond the database's, nor equal to it."""

    def after(count: int) -> tuple[Tie, dict[int, Tie]]:
        numbers = Counter(begun[:count])
        return Tie("one", numbers[0]), {n: Tie("one", numbers[n]) for n in (1, 2, 3) if numbers[n]}

    (whole, parts), (heard, parts_heard) = after(copied), after(told)
    is_lacking = min(told, len(begun)) > copied
    assert (judge(whole, heard, parts, parts_heard) == DATABASE_OLDER) == is_lacking
    raised = parts_after_doubt(whole, parts, parts_heard)
    assert set(raised) == {*parts, *parts_heard}
    for part, each in raised.items():
        for known in (parts, parts_heard):
            assert part not in known or each.generation > known[part].generation
    assert judge(whole, whole, raised, parts_heard) == ""


async def test_what_a_part_has_answered_is_not_missing(store: Store) -> None:
    """Proves on each kind of database that one which lacks a generation of any part that was stored
    here, or was there at the start, is known to lack what was answered."""
    async with store.write() as connection:
        await keep_tie(connection, Tie("one", 6, 6))
        await keep_tie_parts(connection, {1: Tie("one", 4), 2: Tie("one", 4)})
        await store.answered.look(connection)
        assert await store.answered.missing(connection) == ""
        store.answered.note(TIED, [Mark(generation=5, part=1), Mark(generation=1, part=3)])
        assert await store.answered.missing(connection) == LACKS
        for part, generation in ((1, 5), (3, 1)):
            await remember(connection, [Mark(generation=generation, part=part)], 1)
            assert bool(await store.answered.missing(connection)) == (part == 1)
        for part, generation in ((1, 4), (2, 3), (3, 0)):
            await keep_tie_parts(connection, {part: Tie("one", generation)})
            assert await store.answered.missing(connection) == LACKS
            await keep_tie_parts(connection, {part: Tie("one", 9)})
        assert await store.answered.missing(connection) == ""


async def test_a_hub_that_starts_asks_after_every_part(own_hub: RunningHub) -> None:
    """Proves with a real hub and server that a part of which only the bus knows makes the database
    the older one, once, that the bus is told how far the part is after that, and again when its
    stream is lost while the hub runs."""
    bus = await Bus.connect(own_hub.bus_address())
    whole = await told_by(bus)
    assert whole is not None
    await bus.publish(tie_message(Tie(whole.database, 5), 3))
    assert own_hub.stop() == 0
    await bus.close()

    async def knows() -> bool:
        return await told_by(bus, 3) == Tie(whole.database, 6)

    for _ in range(2):
        own_hub.start()
        assert differences(own_hub)[DATABASE_OLDER] == 1
        assert own_hub.query("SELECT part, generation FROM bus_tie_parts") == [(3, 6)]
        bus = await Bus.connect(own_hub.bus_address())
        await eventually(knows, "the word of the part")
        assert await bus.delete_stream(TIE_STREAM)
        await eventually(knows, "the same after the loss")
        await bus.close()
        await asyncio.to_thread(own_hub.stop)
