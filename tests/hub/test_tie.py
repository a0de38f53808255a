"""Database and bus of different days: nothing is done twice, and the difference is told."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from back_ups import copy_bus, copy_database, differences, put_back_bus, put_back_database
from crossdock.bus import EVENT_STREAM, SCAN_STREAM
from crossdock.cli.doctor import difference_checks
from crossdock.client import HubClient
from crossdock.delivery.v1 import delivery_pb2
from crossdock.errors import CallError
from crossdock.hub.v1 import hub_service_pb2
from crossdock_hub.bus.address import starting
from crossdock_hub.bus.jetstream import Bus
from crossdock_hub.bus.publishing import Message
from crossdock_hub.bus.stream_administration import StoredMessage
from crossdock_hub.bus.tie import (
    BUS_OLDER,
    DATABASE_OLDER,
    OTHER_DATABASE,
    TieKeeper,
    after_doubt,
    compare_at_start,
    found,
    judge,
    read_tie,
    tie_message,
    told_by,
)
from crossdock_hub.committer import Committed
from crossdock_hub.config import Limits
from crossdock_hub.records import Mark, Tie
from crossdock_hub.store import rows
from crossdock_hub.store.bus_rows import differences as stored_differences
from crossdock_hub.store.bus_rows import keep_tie, note_differences
from crossdock_hub.store.crossing import write_rows
from crossdock_hub.unit import Changes
from fixtures_hub import Lane, RunningHub
from fixtures_nats import eventually
from hypothesis import given
from hypothesis import strategies as st
from played_endpoint import PlayedEndpoint
from relay_parts import holds
from stored_flow import Books, books
from story import Story, approve_order, request_id

__all__ = ["books"]

CALL_SECONDS = 1.0


async def approved(story: Story) -> str:
    made = await story.create()
    await story.oms.orders.ApproveOrder(approve_order(made.id))
    return str(made.id)


async def told_generation(hub: RunningHub) -> int:
    """What the bus was told last of the ledger."""
    bus = await Bus.connect(hub.bus_address())
    try:
        told = await told_by(bus)
        return 0 if told is None else told.generation
    finally:
        await bus.close()


def is_told(hub: RunningHub) -> bool:
    """Whether every event is on the stream; a delivery may be at its endpoint before."""
    return hub.count("events", "published_at IS NULL") == 0


@pytest.mark.parametrize("kind", ["SEARCHABLE", "NONE"])
async def test_yesterdays_database(own_hub: RunningHub, tmp_path: Path, kind: str) -> None:
    """Proves that a database put back from before a call asks the vendor instead of calling again,
    or parks where nobody can be asked, that it says so, and that later work goes on."""
    lane, saved, booking = Lane(1), tmp_path / "yesterday", {"create_sales_order": kind}
    async with (
        Story(own_hub, lane) as story,
        PlayedEndpoint(own_hub, lane.erp, booking, call_seconds=CALL_SECONDS) as erp,
    ):
        await approved(story)
        delivery_id = (await erp.take()).delivery_id
        assert own_hub.stop() == 0
        copy_database(own_hub, saved)
        own_hub.start()
        called = await erp.take()
        assert (called.delivery_id, called.kind) == (delivery_id, delivery_pb2.ATTEMPT_KIND_CALL)
        await erp.complete(delivery_id, await erp.begin(called), "CONFIRMED")
        await approved(story)
        lost = await erp.take()
        await eventually(lambda: is_told(own_hub), "the relay")
        own_hub.kill()
        put_back_database(own_hub, saved)
        own_hub.start()
        if kind == "SEARCHABLE":
            asked = await _next_of(erp, delivery_id)
            assert asked.kind == delivery_pb2.ATTEMPT_KIND_LOOK_UP
            await erp.complete(delivery_id, await erp.begin(asked), "CONFIRMED")
        else:
            refused = await erp.try_begin(await erp.take())
            assert refused.refusal.reason == "LEASE_LOST"
            assert _state(own_hub, delivery_id) == "PARKED"
        calls = own_hub.count("attempts", "kind = 'CALL'")
        assert calls == 0, "the vendor was called again"
        assert differences(own_hub)[DATABASE_OLDER] == 1
        await eventually(lambda: "STRANGE_MESSAGES" in differences(own_hub), "the relay's word")
        assert "put back from a back-up" in own_hub.log()
        await _is_shown(own_hub)
        refused = await erp.try_begin(lost)
        assert refused.refusal.reason == "OBJECT_NOT_FOUND", "it is not known any more"
        await approved(story)
        fresh = await erp.take()
        assert fresh.kind == delivery_pb2.ATTEMPT_KIND_CALL
        await erp.complete(fresh.delivery_id, await erp.begin(fresh), "CONFIRMED")
        own_hub.restart()
        await _acknowledged(own_hub)


async def test_a_zombie_of_a_time_that_is_lost(own_hub: RunningHub, tmp_path: Path) -> None:
    """Proves that an attempt which began after the copy, and runs on while that is put back, can
    neither renew nor complete: tokens have gone on above its own, and what it learned is kept; and
    that nothing begins before its lease, by which it may still call, has ended."""
    lane, saved, operations = Lane(1), tmp_path / "yesterday", {"create_sales_order": "SEARCHABLE"}
    async with (
        Story(own_hub, lane) as story,
        PlayedEndpoint(own_hub, lane.erp, operations, call_seconds=CALL_SECONDS) as erp,
    ):
        await approved(story)
        await erp.take()
        assert own_hub.stop() == 0
        copy_database(own_hub, saved)
        own_hub.start()
        called = await erp.take()
        lease = CALL_SECONDS + Limits().lease_margin_seconds
        token = await erp.begin(called, lease_seconds=lease)
        own_hub.kill()
        put_back_database(own_hub, saved)
        killed = time.monotonic()
        own_hub.start()
        renewed = await erp.renew(called.delivery_id, token)
        assert renewed.refusal.reason == "LEASE_LOST"
        asked = await _next_of(erp, called.delivery_id)
        assert time.monotonic() - killed >= lease, "the zombie's lease still ran"
        assert asked.kind == delivery_pb2.ATTEMPT_KIND_LOOK_UP
        fresh = await erp.begin(asked)
        assert fresh > token + 1_000
        late = await erp.complete(
            called.delivery_id, token, "CONFIRMED", references={"sales_order": "SO-9"}
        )
        assert late.refusal.reason == "LEASE_LOST"
        kept = await erp.reread(called.delivery_id)
        assert _state(own_hub, called.delivery_id) == "RESOLVING"
        assert [each.value for each in kept.vendor_references] == ["SO-9"]
        assert [(each.number, each.reason[:6]) for each in kept.attempt_log] == [
            (0, "(late)"),
            (1, ""),
        ]
        await erp.complete(called.delivery_id, fresh, "CONFIRMED")
        assert _state(own_hub, called.delivery_id) == "CONFIRMED"


async def _is_shown(hub: RunningHub) -> None:
    """The difference is told by the method, and by doctor with what to do."""
    async with hub.client("operator") as operator:
        status = await operator.hub.GetHubStatus(hub_service_pb2.GetHubStatusRequest())
    assert status.bus_ok, status
    assert [each.stream for each in status.streams] == [EVENT_STREAM, SCAN_STREAM]
    kinds = {hub_service_pb2.DifferenceKind.Name(each.kind) for each in status.differences}
    assert kinds == {"DIFFERENCE_KIND_DATABASE_OLDER", "DIFFERENCE_KIND_STRANGE_MESSAGES"}
    checks = list(difference_checks(status, datetime.now(UTC)))
    assert {check.result for check in checks} == {"warning"} and len(checks) == 2
    later = difference_checks(status, datetime.now(UTC) + timedelta(days=30))
    assert [check.result for check in later] == ["ok"]


async def _acknowledged(hub: RunningHub) -> None:
    """What was looked at rests with its reason, over a restart, until it recurs; what was not seen
    does not rest."""
    assert differences(hub)[DATABASE_OLDER] == 1, "told once"
    async with hub.client("operator") as operator:
        shown = await _shown(operator, DATABASE_OLDER)
        stale = acknowledgement(shown, "it was our drill")
        stale.last_time.FromMicroseconds(shown.last_time.ToMicroseconds() - 1)
        with pytest.raises(CallError) as refused:
            await operator.hub.AcknowledgeDifference(stale)
        assert refused.value.refusal.reason == "STATE_TRANSITION"
        never = acknowledgement(shown, "it was our drill")
        never.kind = hub_service_pb2.DIFFERENCE_KIND_BUS_OLDER
        with pytest.raises(CallError) as refused:
            await operator.hub.AcknowledgeDifference(never)
        assert refused.value.refusal.reason == "OBJECT_NOT_FOUND"
        said = acknowledgement(shown, "it was our drill")
        first = (await operator.hub.AcknowledgeDifference(said)).difference
        again = (await operator.hub.AcknowledgeDifference(said)).difference
        assert first == again and first.acknowledged
    hub.restart()
    async with hub.client("operator") as operator:
        rests = await _shown(operator, DATABASE_OLDER)
        (word,) = rests.words
        assert (rests.acknowledged, word.reason, word.operator) == (
            True,
            "it was our drill",
            "operator",
        )
        only = hub_service_pb2.GetHubStatusResponse(differences=[rests])
        assert [each.result for each in difference_checks(only, datetime.now(UTC))] == ["ok"]
    typed = await _typed(hub, "acknowledge", "strange_messages", "--reason", "ours", "--yes")
    assert "STRANGE_MESSAGES" in typed and "acknowledged" in typed and "ours" in typed
    listed = await _typed(hub, "list")
    assert "it was our drill" in listed and "  open," not in listed
    wrong = await _typed(hub, "acknowledge", "nonsense", "--reason", "ours", "--yes", code=1)
    assert "STRANGE_MESSAGES" in wrong and "crossdock differences list" in wrong


async def _typed(hub: RunningHub, *arguments: str, code: int = 0) -> str:
    """What `crossdock differences …` says to an operator."""
    environment = hub.environment() | {
        "CROSSDOCK_ADDRESS": hub.address,
        "CROSSDOCK_TOKEN_FILE": str(hub.token_file("operator")),
    }
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "crossdock.cli", "differences", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120.0,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return str(done.stdout + done.stderr)


async def _shown(operator: HubClient, kind: str) -> hub_service_pb2.Difference:
    status = await operator.hub.GetHubStatus(hub_service_pb2.GetHubStatusRequest())
    wanted = hub_service_pb2.DifferenceKind.Value(f"DIFFERENCE_KIND_{kind}")
    (found,) = [each for each in status.differences if each.kind == wanted]
    return found


def acknowledgement(
    shown: hub_service_pb2.Difference, reason: str
) -> hub_service_pb2.AcknowledgeDifferenceRequest:
    return hub_service_pb2.AcknowledgeDifferenceRequest(
        request_id=request_id(), kind=shown.kind, last_time=shown.last_time, reason=reason
    )


async def test_what_recurs_is_open_again(books: Books) -> None:
    """Proves at the store that a difference that is found again after it was acknowledged is open,
    with its count grown, and that only the new finding opens it."""
    async with books.store.write() as connection:
        await note_differences(connection, [found(BUS_OLDER, "once", 10)])
        (known,) = await stored_differences(connection)
        assert not known.acknowledged
        await write_rows(connection, [(rows.DIFFERENCES, [replace(known, seen_at=10)])])
        (seen,) = await stored_differences(connection)
        assert seen.acknowledged
        await note_differences(connection, [found(BUS_OLDER, "twice", 11)])
        (anew,) = await stored_differences(connection)
    assert (anew.acknowledged, anew.count, anew.sentence) == (False, 2, "twice")


async def _next_of(erp: PlayedEndpoint, delivery_id: str) -> Any:
    """The next dispatch of a delivery that may be begun; a call is begun where it is one."""
    while True:
        dispatch = await erp.take()
        assert dispatch.delivery_id == delivery_id
        if dispatch.kind == delivery_pb2.ATTEMPT_KIND_LOOK_UP:
            return dispatch
        assert (await erp.try_begin(dispatch)).refusal.reason == "LEASE_LOST"


def _state(hub: RunningHub, delivery_id: str) -> str:
    ((state,),) = hub.query("SELECT state FROM deliveries WHERE id = ?", delivery_id)
    return str(state)


async def test_yesterdays_bus(own_hub: RunningHub, tmp_path: Path) -> None:
    """Proves that a bus put back from before gets the events that it lacks, once and in order, that
    nothing confirmed is sent again, and that the difference is told."""
    lane, saved = Lane(1), tmp_path / "yesterday"
    async with (
        Story(own_hub, lane) as story,
        PlayedEndpoint(own_hub, lane.erp, {"create_sales_order": "SEARCHABLE"}) as erp,
    ):
        await approved(story)
        await _confirm(erp)
        await eventually(lambda: own_hub.count("events", "published_at IS NULL") == 0, "events")
        assert own_hub.stop() == 0
        copy_bus(own_hub, saved)
        own_hub.start()
        for _ in range(3):
            before = await told_generation(own_hub)
            await approved(story)
            await _confirm(erp)
            assert await told_generation(own_hub) == before + 1
        await eventually(lambda: own_hub.count("events", "published_at IS NULL") == 0, "events")
        assert own_hub.stop() == 0
        put_back_bus(own_hub, saved)
        own_hub.start()
        ids = [row[0] for row in own_hub.query("SELECT id FROM events ORDER BY sequence")]

        async def whole() -> bool:
            return await holds(own_hub.bus_address(), EVENT_STREAM, ids)

        await eventually(whole, "the refill")
        assert differences(own_hub)[BUS_OLDER] == 1
        await eventually(lambda: "STREAM_LOST" in differences(own_hub), "the second word")
        assert own_hub.count("attempts") == 4
        assert own_hub.count("deliveries", "state = 'CONFIRMED'") == 4


async def _confirm(erp: PlayedEndpoint) -> None:
    dispatch = await erp.take()
    await erp.complete(dispatch.delivery_id, await erp.begin(dispatch), "CONFIRMED")


@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 50), st.booleans())
def test_judging(generation: int, bus: int, behind: int, same: bool) -> None:
    """Proves: a bus that knows more than the database makes it the older one; what it was never
    told is no difference, what it was told and does not know makes it the older one; another
    database's word says nothing about either's age; and a database that says that it was put back
    is older whatever the bus says, and goes on beyond what both know."""
    database = Tie("one", generation, max(0, generation - behind))
    told = Tie("one" if same else "two", bus)
    kind = judge(database, told)
    if not same:
        assert kind == OTHER_DATABASE
    elif bus > generation:
        assert kind == DATABASE_OLDER
    else:
        assert kind == (BUS_OLDER if bus < database.told else "")
    assert judge(database, None) == ""
    put_back = replace(database, generation=-1 - generation)
    for said in (None, told):
        assert judge(put_back, said) == DATABASE_OLDER
        known = bus if said and same else 0
        assert after_doubt(put_back, said).generation == max(generation, known) + 1
    assert after_doubt(database, told) == after_doubt(put_back, told)


class Ended(Exception):
    """A start that comes to its end too early."""


async def test_what_was_put_back_is_doubted_once(books: Books) -> None:
    """Proves at the store that a start which ends before it has committed its doubt leaves the next
    one to doubt, and that the one after that doubts nothing any more."""
    async with books.store.write() as connection:
        await keep_tie(connection, Tie("one", -1 - 7, 6))
    kinds = []
    for ends in (True, False, False):
        with contextlib.suppress(Ended):
            async with books.store.write() as connection:
                tie, kind = await compare_at_start(connection, Tie("one", 6), {}, 10, 20)
                kinds.append((tie.generation, kind))
                if ends:
                    raise Ended
    assert kinds == [(8, DATABASE_OLDER), (8, DATABASE_OLDER), (8, "")]


class HeardBus:
    """A bus that is told, and can be away."""

    def __init__(self) -> None:
        self.told: list[Tie | None] = []
        self.health = starting("the bus").now(True, "connected")

    async def publish(self, message: Message) -> None:
        self.told.append(read_tie(StoredMessage(message.subject, 1, message.payload, {})))


class Marked:
    """A committer that is only asked to remember."""

    def __init__(self) -> None:
        self.marks: list[Mark] = []

    def mark(self, mark: Mark) -> None:
        self.marks.append(mark)


async def test_a_batch_that_failed_is_not_told() -> None:
    """Proves that the bus is told of what is stored and of nothing else, that a number whose batch
    failed is not given to another (the store may have it after all), and that who waits goes on
    when the bus knows of all that was stored before."""
    bus, committer, tied = HeardBus(), Marked(), Changes(tied=True)
    keeper = TieKeeper(bus, Limits(), committer, Tie("one", 4), lambda: 0, told=4)  # type: ignore[arg-type]
    keeper.start()
    try:
        await keeper.told()
        assert keeper.number(Changes()) == ()
        assert [mark.generation for mark in keeper.number(tied)] == [5]
        keeper.bus_is_back()
        for _ in range(5):
            await asyncio.sleep(0)
        assert bus.told == []
        assert [mark.generation for mark in keeper.number(tied)] == [6]
        keeper.committed(Committed(0, tied))
        await keeper.told()
        assert bus.told == [Tie("one", 6)]
        assert [mark.told for mark in committer.marks] == [6]
    finally:
        await keeper.stop()


class SlowBus(HeardBus):
    """A bus that answers when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: asyncio.Queue[None] = asyncio.Queue()

    async def publish(self, message: Message) -> None:
        await self.answers.get()
        await super().publish(message)


async def test_an_answer_that_comes_as_the_waiting_ends_lets_calls_begin() -> None:
    """Proves that a bus whose answer comes in the very turn in which a begin gives up waiting is
    not taken for one that is away: nothing would be told it again, and no call ever begin."""
    bus, wait_seconds = SlowBus(), 0.05
    limits = Limits(tie_wait_seconds=wait_seconds)
    keeper = TieKeeper(bus, limits, Marked(), Tie("one", 4), lambda: 0, told=4)  # type: ignore[arg-type]
    keeper.start()
    try:
        keeper.number(Changes(tied=True))
        keeper.committed(Committed(0, Changes(tied=True)))

        def late() -> None:
            # The loop is held up until the time is over, and finds both things to do at once.
            over = time.monotonic() + 2 * wait_seconds
            while time.monotonic() < over:
                pass
            bus.answers.put_nowait(None)

        asyncio.get_running_loop().call_later(wait_seconds / 2, late)
        await keeper.told()
        keeper.require_bus()
    finally:
        await keeper.stop()


async def test_a_bus_that_forgets_while_it_is_told_is_told_again() -> None:
    """Proves that a stream which is made anew while the bus is told does not count as told."""
    bus = SlowBus()
    keeper = TieKeeper(bus, Limits(), Marked(), Tie("one", 4), lambda: 0, told=4)  # type: ignore[arg-type]
    keeper.start()
    try:
        keeper.number(Changes(tied=True))
        keeper.committed(Committed(0, Changes(tied=True)))
        await asyncio.sleep(0)
        keeper.tell_again()
        for _ in range(2):
            bus.answers.put_nowait(None)
        await eventually(lambda: len(bus.told) == 2, "the second word")
        assert bus.told == [Tie("one", 5)] * 2
    finally:
        await keeper.stop()


def test_what_can_not_be_read_says_nothing() -> None:
    """Proves that the bus's word is read as it was told, and that of a bus that was told nothing,
    or something else, nothing is believed."""
    sent = tie_message(Tie("one", 7, 5))

    def stored(payload: bytes) -> StoredMessage:
        return StoredMessage(sent.subject, 1, payload, {})

    assert read_tie(stored(sent.payload)) == Tie("one", 7)
    assert read_tie(None) is None
    for broken in (b"", b"7", b"{}", b'{"database": "one", "generation": "x"}', b"\xff"):
        assert read_tie(stored(broken)) is None
