"""The GLS adapter against the simulated GLS: which parcels a void takes back, and what GLS says."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc
import pytest
from carrier_hub import check as fits_the_contract
from carrier_hub import refusal
from crossdock.errors import Refusal, TryAgainError
from crossdock.label.v1 import label_pb2
from crossdock_adapters.gls import adapter, conformance
from crossdock_adapters.gls.adapter import ADAPTER
from crossdock_adapters.sdk.conformance import packed_parcel
from crossdock_adapters.sdk.outcomes import (
    AnswerLater,
    NotFound,
    OutcomeUnknown,
    Reject,
    Throttled,
)
from crossdock_adapters.sdk.work import Work
from gls_world import World, labels_of, running


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with running() as made:
        yield made


def operations(world: World, name: str) -> list[str]:
    """The keys of the calls of one kind, in order."""
    return [call.key for call in world.sandbox.calls if call.operation == name]


def with_parcel(work: Work, number: str) -> Work:
    """The work, whose shipment says which parcel its package became."""
    work.event.shipment.progress.add(package_id=work.item, tracking_number=number)
    return work


async def test_a_lost_answer_and_then_a_void_leaves_no_parcel(world: World) -> None:
    """Proves that the first package's void cancels every parcel of its purchase, because the hub
    drops the others' deliveries before they begin: their labels were found after a lost answer, and
    nobody else would ever take them back. One that is cancelled is not cancelled again."""
    world.sandbox.faults.add({"kind": "reply_lost", "operation": "create", "count": 1})
    with pytest.raises(OutcomeUnknown):
        await adapter.buy_label(world.packed(3), world.client)
    world.hub.stored = labels_of(await adapter.find_label(world.packed(3), world.client))
    first, second, third = [label.tracking_number for label in world.hub.stored]
    world.hub.stored[2].state = label_pb2.LABEL_STATE_VOIDED
    done = await adapter.void_label(world.voided(3), world.client)
    assert [each.value for each in done.references] == [first, second]
    for fact in done.facts:
        fits_the_contract(fact)
    assert [fact.tracking_number for fact in done.facts] == [first, second]  # type: ignore[attr-defined]
    assert sorted(operations(world, "cancel")) == sorted([first, second])
    assert third not in operations(world, "cancel")


async def test_the_void_of_another_package_is_its_own(world: World) -> None:
    """Proves that the second package's void cancels its own parcel alone, that one whose label the
    hub has as void, because the first one's void told it, is not cancelled again, and that a label
    of another purchase of the shipment is not the first one's."""
    labels = await world.bought(2)
    second = conformance.SECOND_PACKAGE_ID
    done = await adapter.void_label(world.voided(2, second), world.client)
    assert [each.value for each in done.references] == [labels[1].tracking_number]
    labels[1].state = label_pb2.LABEL_STATE_VOIDED
    asked = len(world.sandbox.calls)
    again = with_parcel(world.voided(2, second), labels[1].tracking_number)
    done = await adapter.void_label(again, world.client)
    assert "nothing to cancel" in done.note and len(world.sandbox.calls) == asked
    labels[1].state = label_pb2.LABEL_STATE_CREATED
    labels[1].purchase_reference = "ANOTHERPURCHASE"
    done = await adapter.void_label(world.voided(2), world.client)
    assert [each.value for each in done.references] == [labels[0].tracking_number]


async def test_a_label_that_the_hub_does_not_list_is_cancelled_by_its_parcel(world: World) -> None:
    """Proves that where no label of a package is listed, the number that the hub derived from its
    parcel is the one to cancel."""
    (label,) = await world.bought()
    world.hub.stored = []
    work = with_parcel(world.voided(), label.tracking_number)
    done = await adapter.void_label(work, world.client)
    assert [each.value for each in done.references] == [label.tracking_number]
    assert world.sandbox.books()["labels_valid"] == 0


@pytest.mark.parametrize("first_goes_first", [True, False])
async def test_what_another_void_cancelled_is_no_refusal(first_goes_first: bool) -> None:
    """Proves that where GLS refuses a second cancellation, the void whose parcel another package's
    void cancelled before is done, as tracking shows, whichever of the two came first and although
    no earlier call of its own may have been done."""
    items = [conformance.PACKAGE_ID, conformance.SECOND_PACKAGE_ID]
    async with running({"refuses_second_cancel": True}) as world:
        labels = await world.bought(2)
        for item in items if first_goes_first else reversed(items):
            done = await adapter.void_label(world.voided(2, item, in_doubt=False), world.client)
            own = labels[items.index(item)].tracking_number
            assert own in [each.value for each in done.references]
        assert world.sandbox.books()["labels_valid"] == 0
        assert len(operations(world, "track")) == 1


async def test_what_another_void_may_have_cancelled_is_not_rejected() -> None:
    """Proves that the refusal of a second cancellation stays unknown while tracking does not show
    the first one, and that one of a parcel which nobody else cancels is a rejection."""
    slow = {"refuses_second_cancel": True, "tracked_after_seconds": 3600}
    async with running(slow) as world:
        await world.bought(2)
        await adapter.void_label(world.voided(2, in_doubt=False), world.client)
        second = world.voided(2, conformance.SECOND_PACKAGE_ID, in_doubt=False)
        with pytest.raises(OutcomeUnknown, match="is cancelled already"):
            await adapter.void_label(second, world.client)
    async with running(slow) as world:
        await world.bought()
        await adapter.void_label(world.voided(in_doubt=False), world.client)
        with pytest.raises(Reject, match="is cancelled already"):
            await adapter.void_label(world.voided(in_doubt=False), world.client)


async def test_what_is_cancelled_is_told_although_the_rest_is_not(world: World) -> None:
    """Proves that a void which is refused, or waits, because of one parcel leaves no label of the
    others valid at the hub, and that those are not cancelled again."""
    first, second, third = await world.bought(3)
    await world.command("handover", tracking_numbers=[second.tracking_number])
    with pytest.raises(Reject, match=f"1 of 3 .*{second.tracking_number}"):
        await adapter.void_label(world.voided(3, in_doubt=False), world.client)
    states = [label.state == label_pb2.LABEL_STATE_VOIDED for label in (first, second, third)]
    assert states == [True, False, True]
    with pytest.raises(Reject, match="too late"):
        await adapter.void_label(world.voided(3, in_doubt=False), world.client)
    assert operations(world, "cancel").count(second.tracking_number) == 2
    assert len(operations(world, "cancel")) == 4


async def test_a_hub_that_is_away_leaves_a_void_unknown(world: World) -> None:
    """Proves that a void of which the hub does not hear what is cancelled is asked for again, and
    that what the hub will never take ends nothing else."""
    _, second = await world.bought(2)
    await world.command("handover", tracking_numbers=[second.tracking_number])
    lost = Refusal("HUB_UNAVAILABLE", "away")
    world.hub.refuse_voids = TryAgainError(lost, grpc.StatusCode.UNAVAILABLE)
    with pytest.raises(OutcomeUnknown, match="the hub did not hear"):
        await adapter.void_label(world.voided(2, in_doubt=False), world.client)
    world.hub.refuse_voids = refusal("no label")
    with pytest.raises(Reject, match="1 of 2"):
        await adapter.void_label(world.voided(2, in_doubt=False), world.client)


async def test_a_parcel_that_is_left_is_told_after_all_others_were_cancelled(world: World) -> None:
    """Proves that one scanned parcel keeps none of the others valid and is told by its number, that
    one which is pending goes before it, and that both are asked for again."""
    labels = await world.bought(3)
    scanned = labels[1].tracking_number
    await world.command("handover", tracking_numbers=[scanned])
    await world.misbehave("pending_cancel", 1)
    with pytest.raises(AnswerLater, match=f"2 of 3 .*{scanned}"):
        await adapter.void_label(world.voided(3, in_doubt=False), world.client)
    with pytest.raises(Reject, match=f"1 of 2 .*{scanned}"):
        await adapter.void_label(world.voided(3), world.client)
    assert world.sandbox.books()["labels_valid"] == 1


async def test_a_rest_in_the_middle_is_no_proof_that_nothing_was_done(world: World) -> None:
    """Proves that a 429 behind cancelled parcels leaves the outcome unknown with GLS's pause, and
    that one before any of them is a rest."""
    await world.bought(2)
    fault = {"kind": "throttle", "operation": "cancel", "count": 1}
    world.sandbox.faults.add(fault)
    with pytest.raises(OutcomeUnknown, match="1 of 2") as told:
        await adapter.void_label(world.voided(2), world.client)
    assert told.value.after_seconds == 60
    world.sandbox.faults.add({**fault, "count": 2})
    with pytest.raises(Throttled):
        await adapter.void_label(world.voided(2), world.client)


async def test_unclear_words_of_many_parcels_are_one_call_of_tracking(world: World) -> None:
    """Proves that what GLS does not call done is looked up ten parcels in a call, since the day has
    few of them."""
    await world.bought(12)
    await world.misbehave("silent_cancel")
    done = await adapter.void_label(world.voided(12), world.client)
    assert len(done.references) == 12 and world.sandbox.books()["labels_valid"] == 0
    assert [key.count(",") + 1 for key in operations(world, "track")] == [10, 2]


def test_a_pending_cancellation_may_take_days() -> None:
    """Proves that a void is asked for again for more than three days before a person has to look,
    and at most every quarter of an hour."""
    declared = ADAPTER.manifest.operations["void_label"]
    assert declared.settle_after_seconds >= 60
    assert declared.retry_max_seconds * declared.max_attempts >= 3 * 86_400


async def test_a_cancellation_is_one_however_often_it_is_asked_for(world: World) -> None:
    """Proves that a parcel is cancelled by its track id, and a second time the same."""
    (label,) = await world.bought()
    for _ in range(2):
        done = await adapter.void_label(world.voided(), world.client)
        (fact,) = done.facts
        fits_the_contract(fact)
        assert fact.tracking_number == label.tracking_number  # type: ignore[attr-defined]
    assert world.sandbox.books()["labels_valid"] == 0
    found = await adapter.find_label(world.packed(), world.client)
    assert isinstance(found, NotFound)


async def test_pending_is_not_cancelled(world: World) -> None:
    """Proves that CANCELLATION_PENDING is asked for again, only its end is told, and no call of the
    day's quota is spent on tracking, which does not know what is not decided."""
    await world.bought()
    await world.misbehave("pending_cancel", 1)
    with pytest.raises(AnswerLater, match="CANCELLATION_PENDING"):
        await adapter.void_label(world.voided(), world.client)
    assert world.sandbox.books()["labels_valid"] == 1
    await adapter.void_label(world.voided(), world.client)
    assert world.sandbox.books()["labels_valid"] == 0
    assert not operations(world, "track")


async def test_a_scanned_parcel_is_not_cancelled(world: World) -> None:
    """Proves that SCANNED is a rejection: the parcel is on its way. Tracking is asked only where an
    earlier call may have been done."""
    await world.bought()
    await world.command("handover")
    for in_doubt in (False, True):
        with pytest.raises(Reject, match="too late"):
            await adapter.void_label(world.voided(in_doubt=in_doubt), world.client)
        assert len(operations(world, "track")) == int(in_doubt)
    assert world.sandbox.books()["labels_valid"] == 1


async def test_a_word_that_nobody_knows_is_settled_by_tracking(world: World) -> None:
    """Proves that ERROR says nothing: tracking shows that the parcel is cancelled, and where it
    cannot be asked the outcome stays unknown, never "not processed"."""
    await world.bought()
    await world.misbehave("silent_cancel")
    await world.misbehave("quota", 1)
    with pytest.raises(OutcomeUnknown, match="whether"):
        await adapter.void_label(world.voided(), world.client)
    done = await adapter.void_label(world.voided(), world.client)
    assert done.references[0].type == "voided_tracking_number"
    async with running() as other:
        await other.bought()
        await other.misbehave("silent_cancel")
        await other.misbehave("pending_cancel")
        with pytest.raises(OutcomeUnknown, match="ERROR"):
            await adapter.void_label(other.voided(), other.client)


async def test_a_refused_cancellation_counts_only_where_it_is_the_first(world: World) -> None:
    """Proves that a parcel which GLS does not have is a rejection, and after an earlier call, that
    may have been done and is not shown yet, no word at all."""
    world.hub.stored = [packed_parcel.label("GLS", "00NOBODY", packed_parcel.SHIPMENT_ID)]
    with pytest.raises(Reject, match="Invalid field TrackID"):
        await adapter.void_label(world.voided(in_doubt=False), world.client)
    with pytest.raises(OutcomeUnknown, match="Invalid field TrackID"):
        await adapter.void_label(world.voided(in_doubt=True), world.client)


async def test_nothing_bought_is_nothing_to_cancel(world: World) -> None:
    """Proves that a package without a label is confirmed without a call."""
    done = await adapter.void_label(world.voided(), world.client)
    assert "nothing to cancel" in done.note and not world.sandbox.calls
