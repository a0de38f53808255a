"""LTL freight when a call is repeated: what an earlier one made is adopted, and nothing else."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from crossdock.event.v1 import event_pb2
from crossdock.label.v1 import label_pb2
from crossdock.types.v1 import types_pb2
from crossdock_adapters.ltl_freight import translate
from crossdock_adapters.ltl_freight.client import BolClient
from crossdock_adapters.sdk.http import Answer
from crossdock_adapters.sdk.outcomes import (
    AnswerLater,
    NeedsPerson,
    OutcomeUnknown,
    Reject,
    Throttled,
)
from crossdock_adapters.sdk.state_zones import with_states
from ltl_freight_world import REFERENCE, World, pallets, running
from multidict import CIMultiDict

FIRST_PRO = "500000001"
SECOND = "B" * 20


async def lost_once(world: World) -> None:
    """An attempt whose answer is lost, behind the carrier's back door."""
    world.sandbox.faults.add({"kind": "reply_lost", "operation": "create", "count": 1})
    with pytest.raises(OutcomeUnknown):
        await world.buy(pallets(1))


@pytest.mark.parametrize("verified", [True, False])
async def test_a_purchase_order_that_is_taken_confirms_nothing(
    tmp_path: Path, verified: bool
) -> None:
    """Proves that the second shipment of an order, of whose purchase order the carrier minds a
    second bill of lading, parks and tells no label, whether PROs are verified or not."""
    async with running(tmp_path, {"unique_po": True}, verify_duplicates=verified) as world:
        await world.buy(pallets(1))
        with pytest.raises(NeedsPerson, match="has purchase order SO-2001 already"):
            await world.buy(pallets(1), SECOND)
        assert [each["shipment_id"] for each in world.sandbox.books()["bols"]] == [REFERENCE]
        assert len(world.hub.stored) == 1


async def test_a_lost_answer_is_found_by_a_carrier_that_minds_the_purchase_order(
    tmp_path: Path,
) -> None:
    """Proves that where the carrier answers a repeat with the purchase order, the bill of lading is
    adopted once its events show our reference under our PRO."""
    async with running(tmp_path, {"unique_po": True}) as world:
        await lost_once(world)
        done = await world.buy(pallets(1))
        assert done.references[0].value == FIRST_PRO and "already" in done.note
        assert len(world.sandbox.books()["bols"]) == 1
    async with running(tmp_path, {"unique_po": True}, verify_duplicates=False) as world:
        await lost_once(world)
        with pytest.raises(NeedsPerson, match="has purchase order SO-2001 already"):
            await world.buy(pallets(1))


async def test_a_purchase_order_that_may_be_taken_by_us_parks_nothing(tmp_path: Path) -> None:
    """Proves that a repeat which hears of the purchase order, because of a first call whose answer
    was lost, stays unknown while no event shows that, and is adopted once one does; where the
    carrier has no events a person is told to ask for the first one first."""
    late = {"unique_po": True, "events_visible_after_seconds": 3600}
    async with running(tmp_path, late) as world:
        await lost_once(world)
        with pytest.raises(OutcomeUnknown, match="its purchase order is taken, and no event shows"):
            await world.buy(pallets(1))
        world.sandbox.settings["events_visible_after_seconds"] = 0
        assert (await world.buy(pallets(1))).references[0].value == FIRST_PRO
        assert len(world.sandbox.books()["bols"]) == 1
    async with running(tmp_path, late) as world:
        await world.buy(pallets(1))
        with pytest.raises(NeedsPerson, match="ask it for a second bill of lading"):
            await world.buy(pallets(1), SECOND)
    async with running(tmp_path, {"unique_po": True}, verify_duplicates=False) as world:
        await lost_once(world)
        with pytest.raises(NeedsPerson, match="ask it whether an earlier call made PRO 500000001"):
            await world.buy(pallets(1))


async def test_a_cancellation_that_may_be_done_stays_unknown(tmp_path: Path) -> None:
    """Proves that what the carrier says to the repeat of a cancellation whose answer was lost (it
    has none, or a refusal) ends nothing while no event shows the first one, and that the
    cancellation is done once one does."""
    async with running(tmp_path, {"events_visible_after_seconds": 3600}) as world:
        await world.buy(pallets(1))
        world.sandbox.faults.add({"kind": "reply_lost", "operation": "cancel", "count": 1})
        with pytest.raises(OutcomeUnknown):
            await world.void(pallets(1))
        with (
            patch.object(BolClient, "cancel", side_effect=Reject("500", "was cancelled")),
            pytest.raises(OutcomeUnknown, match=r"refuses to cancel \(was cancelled\)"),
        ):
            await world.void(pallets(1))
        with pytest.raises(OutcomeUnknown, match="has no PRO 500000001, and no event shows"):
            await world.void(pallets(1))
        world.sandbox.settings["events_visible_after_seconds"] = 0
        assert len((await world.void(pallets(1))).facts) == 1
        assert world.sandbox.books()["cancelled"] == 1


async def test_what_another_pallets_cancellation_did_is_no_refusal(tmp_path: Path) -> None:
    """Proves that a pallet whose bill of lading the cancellation of another one took back, while
    no event shows that yet, is asked about again, whether the carrier says that it has none or
    refuses; that the one which did it tells every label of it; and that a label which the hub has
    as void needs no call."""
    async with running(tmp_path, {"events_visible_after_seconds": 3600}) as world:
        two = pallets(2)
        first, second = [package.id for package in two.packages]
        await world.buy(two)
        done = await world.void(two, first)
        told: list[Any] = list(done.facts)
        assert [fact.tracking_number for fact in told] == [FIRST_PRO, f"{FIRST_PRO}-002"]
        with pytest.raises(AnswerLater, match="has no PRO 500000001, and no event shows"):
            await world.void(two, second)
        world.doubts.clear()
        with (
            patch.object(BolClient, "cancel", side_effect=Reject("500", "was cancelled")),
            pytest.raises(AnswerLater, match=r"refuses to cancel \(was cancelled\)"),
        ):
            await world.void(two, second)
        for label in world.hub.stored:
            label.state = label_pb2.LABEL_STATE_VOIDED
        asked = len(world.sandbox.calls)
        done = await world.void(two, second)
        assert [each.value for each in done.references] == [f"{FIRST_PRO}-002"]
        assert "void already" in done.note and len(world.sandbox.calls) == asked


async def test_a_second_bill_is_cancelled_though_the_first_one_is_void(tmp_path: Path) -> None:
    """Proves that a pallet whose first label is void and whose second one the hub holds, so that
    its shipment alone has the number, has that bill of lading cancelled; and that the number of a
    label that the hub has as void needs no call."""
    async with running(tmp_path) as world:
        one = pallets(1)
        await world.buy(one)
        await world.void(one)
        (first,) = world.hub.stored
        first.state = label_pb2.LABEL_STATE_VOIDED
        second = (await world.buy(one, "SECOND" + "A" * 14)).references[0].value
        world.hub.stored.pop()
        package = one.progress.add(package_id=one.packages[0].id)
        for number, cancelled in ((first.tracking_number, 1), (second, 2)):
            package.tracking_number = number
            done = await world.void(one)
            assert [each.value for each in done.references] == [number]
            assert world.sandbox.books()["cancelled"] == cancelled
        assert [fact.tracking_number for fact in done.facts] == [second]  # type: ignore[attr-defined]


async def test_a_carrier_without_events_is_not_asked_for_them(tmp_path: Path) -> None:
    """Proves that the second pallet's cancellation waits for the first one's label to be void also
    where the carrier has no events, and that no call asks for them."""
    async with running(tmp_path, verify_duplicates=False) as world:
        two = pallets(2)
        await world.buy(two)
        await world.void(two)
        with pytest.raises(AnswerLater, match="has no PRO 500000001"):
            await world.void(two, two.packages[1].id)
        assert not [call for call in world.sandbox.calls if call.operation == "events"]


async def test_pallets_that_were_picked_up_stay(tmp_path: Path) -> None:
    """Proves that the refusal to cancel several pallets which the carrier's events show as picked
    up is a rejection, also of the repeat of a call whose answer was lost."""
    async with running(tmp_path) as world:
        two = pallets(2)
        await world.buy(two)
        await world.command("pickup")
        await world.sandbox.tick()
        for _ in range(2):
            with pytest.raises(Reject, match="was picked up"):
                await world.void(two, two.packages[1].id)
            world.doubts.add(("void_label", REFERENCE))


async def test_a_cancellation_of_nothing_is_for_a_person(tmp_path: Path) -> None:
    """Proves that a PRO which the carrier does not have, and which no earlier call may have
    cancelled, is told to a person at once."""
    async with running(tmp_path) as world:
        await world.buy(pallets(1))
        world.sandbox._bols.by_pro.clear()
        with pytest.raises(NeedsPerson, match="has no PRO 500000001"):
            await world.void(pallets(1))


async def test_a_repeat_that_is_refused_is_no_refusal_of_the_first(tmp_path: Path) -> None:
    """Proves that a bill of lading whose answer was lost is adopted where the carrier refuses the
    repeat for another reason, stays unknown while no event shows it, and parks without events;
    and that a first call that is refused is refused."""
    async with running(tmp_path, {"duplicate_code": "900"}) as world:
        await lost_once(world)
        assert (await world.buy(pallets(1))).references[0].value == FIRST_PRO
    late = {"duplicate_code": "900", "events_visible_after_seconds": 3600}
    async with running(tmp_path, late) as world:
        await lost_once(world)
        with pytest.raises(OutcomeUnknown, match="no event shows whether an earlier call made"):
            await world.buy(pallets(1))
    async with running(tmp_path, late, verify_duplicates=False) as world:
        await lost_once(world)
        with pytest.raises(NeedsPerson, match="ask it whether an earlier call made PRO 500000001"):
            await world.buy(pallets(1))
        world.cursors.values.clear()
        with pytest.raises(Reject, match="is used already"):
            await world.buy(pallets(1), SECOND)


async def test_a_refusal_after_an_attempt_that_did_nothing_is_a_refusal(tmp_path: Path) -> None:
    """Proves that an attempt which was throttled casts no doubt on a refusal of the next."""
    async with running(tmp_path, {"pro_range": [1, 2]}) as world:
        world.sandbox.faults.add({"kind": "throttle", "operation": "create", "count": 1})
        with pytest.raises(Throttled):
            await world.buy(pallets(1))
        with pytest.raises(Reject, match="is not of your range"):
            await world.buy(pallets(1))


@pytest.mark.parametrize("code", ["1400", "900"])
async def test_what_was_cancelled_is_not_adopted(tmp_path: Path, code: str) -> None:
    """Proves that a bill of lading that the events show as ours and as cancelled parks."""
    async with running(tmp_path, {"duplicate_code": code}) as world:
        await lost_once(world)
        assert await world.vendor.bols.cancel(FIRST_PRO)
        with pytest.raises(NeedsPerson, match="was made and cancelled"):
            await world.buy(pallets(1))
        assert not world.hub.stored


def test_a_repeat_asks_for_the_same_day() -> None:
    """Proves that the pick-up goes by when the event was recorded, and is never in the past."""
    metadata = event_pb2.EventMetadata()
    metadata.record_time.FromDatetime(datetime(2026, 3, 5, 23, 59, tzinfo=UTC))
    for now, day in (("03-05T23:59", 6), ("03-06T00:01", 6), ("03-09T08:00", 9)):
        at = datetime.fromisoformat(f"2026-{now}:00+00:00")
        assert translate.pickup_day(metadata, at, 1) == date(2026, 3, day)
    undated = datetime(2026, 3, 5, tzinfo=UTC)
    assert translate.pickup_day(event_pb2.EventMetadata(), undated, 1) == date(2026, 3, 6)


@pytest.mark.parametrize(
    ("state", "country", "zones", "day"),
    [
        # Packed on the 5th at 16:30 in Portland, 19:30 in Boston.
        ("OR", "US", {"US-OR": "America/Los_Angeles"}, 5),
        ("ma", "US", with_states({}), 5),
        # Of Texas, with two zones, and of Mexico nobody said it.
        ("TX", "US", with_states({}), 6),
        ("JA", "MX", {"MX-JA": "nowhere"}, 6),
    ],
)
def test_the_day_of_the_pick_up_is_that_of_the_dock(
    state: str, country: str, zones: dict[str, str], day: int
) -> None:
    """Proves that what is packed in the afternoon is not asked to be fetched a day later because
    it is tomorrow in Greenwich, and that no zone is guessed."""
    packed = datetime(2026, 3, 6, 0, 30, tzinfo=UTC)
    metadata = event_pb2.EventMetadata()
    metadata.record_time.FromDatetime(packed)
    origin = types_pb2.Party(
        address=types_pb2.Address(city="Somewhere", state=state, country_code=country)
    )
    clock = translate.clock_of(origin, zones)
    assert translate.pickup_day(metadata, packed, 0, clock) == date(2026, 3, day)
    assert translate.pickup_day(metadata, packed, 3, clock) == date(2026, 3, day + 3)
    later = datetime(2026, 3, 7, 0, 30, tzinfo=UTC)
    assert translate.pickup_day(metadata, later, 0, clock) == date(2026, 3, day + 1)


class Answering:
    """The carrier's API, which says one thing."""

    def __init__(self, status: int, body: bytes) -> None:
        self._answer = Answer(status, CIMultiDict(), body)

    async def request(self, method: str, path: str, **options: Any) -> Answer:
        return self._answer


@pytest.mark.parametrize(
    ("status", "body", "cancelled"),
    [
        (204, b"", True),
        (200, b"", True),
        (200, b'{"messageStatus": {"status": "PASS", "code": 100}}', True),
        (200, b'{"messageStatus": {"status": "WARNING", "code": "200"}}', True),
        (200, b"<html>Please sign in</html>", False),
        (200, b"{}", False),
        (200, b'{"messageStatus": {"code": "7"}}', False),
        (302, b"", False),
    ],
)
async def test_only_a_carriers_word_cancels(
    tmp_path: Path, status: int, body: bytes, cancelled: bool
) -> None:
    """Proves that a cancellation is done where the carrier says so by its code, or has nothing to
    say, and that the page of something in between leaves it unknown."""
    async with running(tmp_path) as world:
        bols: Any = world.vendor.bols
        bols._http, http = Answering(status, body), bols._http
        try:
            if cancelled:
                assert await bols.cancel(FIRST_PRO)
            else:
                with pytest.raises(OutcomeUnknown):
                    await bols.cancel(FIRST_PRO)
        finally:
            bols._http = http
