"""Database and bus of different days: nothing is done twice, and the difference is told."""

from __future__ import annotations

import asyncio
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
from crossdock_hub.bus.jetstream import Bus
from crossdock_hub.bus.tie import (
    BUS_OLDER,
    DATABASE_OLDER,
    GENERATION_METADATA,
    OTHER_DATABASE,
    found,
    judge,
    read_tie,
)
from crossdock_hub.config import Limits
from crossdock_hub.records import Tie
from crossdock_hub.store import rows
from crossdock_hub.store.bus_rows import differences as stored_differences
from crossdock_hub.store.bus_rows import note_differences
from crossdock_hub.store.crossing import write_rows
from fixtures_hub import Lane, RunningHub
from fixtures_nats import eventually
from hypothesis import given
from hypothesis import strategies as st
from played_endpoint import PlayedEndpoint
from relay_parts import ids_on
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
        noted = await bus.metadata(EVENT_STREAM) or {}
        return int(noted.get(GENERATION_METADATA, "0"))
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
        before = await told_generation(own_hub)
        called = await erp.take()
        assert (called.delivery_id, called.kind) == (delivery_id, delivery_pb2.ATTEMPT_KIND_CALL)
        await erp.complete(delivery_id, await erp.begin(called), "CONFIRMED")
        await approved(story)
        lost = await erp.take()

        async def the_bus_knows() -> bool:
            return await told_generation(own_hub) > before

        await eventually(the_bus_knows, "the next generation")
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
        before = await told_generation(own_hub)
        called = await erp.take()
        lease = CALL_SECONDS + Limits().lease_margin_seconds
        token = await erp.begin(called, lease_seconds=lease)

        async def the_bus_knows() -> bool:
            return await told_generation(own_hub) > before

        await eventually(the_bus_knows, "the next generation")
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
        timeout=60.0,
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

            async def grown(least: int = before) -> bool:
                return await told_generation(own_hub) > least

            await eventually(grown, "the next generation")
        await eventually(lambda: own_hub.count("events", "published_at IS NULL") == 0, "events")
        assert own_hub.stop() == 0
        put_back_bus(own_hub, saved)
        own_hub.start()
        ids = [row[0] for row in own_hub.query("SELECT id FROM events ORDER BY sequence")]

        async def whole() -> bool:
            return await ids_on(own_hub.bus_address(), EVENT_STREAM) == ids

        await eventually(whole, "the refill")
        assert differences(own_hub)[BUS_OLDER] == 1
        await eventually(lambda: "STREAM_LOST" in differences(own_hub), "the second word")
        assert own_hub.count("attempts") == 4
        assert own_hub.count("deliveries", "state = 'CONFIRMED'") == 4


async def _confirm(erp: PlayedEndpoint) -> None:
    dispatch = await erp.take()
    await erp.complete(dispatch.delivery_id, await erp.begin(dispatch), "CONFIRMED")


@given(st.integers(0, 50), st.integers(0, 50), st.booleans())
def test_judging(database: int, bus: int, same: bool) -> None:
    """Proves: a bus that knows more than the database makes it the older one; one step behind is
    as it should be; another database's word says nothing about either's age."""
    told = Tie("one" if same else "two", bus)
    kind = judge(Tie("one", database), told)
    if not same:
        assert kind == OTHER_DATABASE
    elif bus > database:
        assert kind == DATABASE_OLDER
    else:
        assert kind == ("" if bus >= database - 1 else BUS_OLDER)
    assert judge(told, None) == ""
    assert read_tie({"crossdock-database": "one", "crossdock-generation": "x"}) is None
    assert read_tie(None) is None
