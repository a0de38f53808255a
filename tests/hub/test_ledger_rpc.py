"""A delivery's life over the wire, with an endpoint whose adapter is the test."""

from __future__ import annotations

import time
import uuid

import pytest
from crossdock import bus
from crossdock.delivery.v1 import delivery_pb2, delivery_service_pb2
from crossdock.errors import CallError
from crossdock.order.v1 import order_pb2, order_service_pb2
from fixtures_hub import Lane, RunningHub
from fixtures_nats import eventually
from played_endpoint import (
    ERP_OPERATIONS,
    WMS_OPERATIONS,
    PlayedEndpoint,
    duration,
    event_of,
    hold_reason,
    kinds,
)
from story import Story, label, state_of, unique, update_order

CREATE_LABEL = "/crossdock.label.v1.LabelService/CreateLabel"
LONG_SECONDS = 60.0


# Begin and complete


async def test_from_event_to_document(hub: RunningHub, lane: Lane) -> None:
    """Proves the plain life: dispatched with its event, begun, confirmed; the document's number is
    on the order, and saying it again changes nothing."""
    async with Story(hub, lane) as story, PlayedEndpoint(hub, lane.erp, ERP_OPERATIONS) as erp:
        order_id = await story.approved()
        dispatch = await erp.take()
        event = event_of(dispatch)
        assert (dispatch.operation, event.order.id) == ("create_sales_order", order_id)
        assert dispatch.kind == delivery_pb2.ATTEMPT_KIND_CALL
        assert dispatch.vendor_reference == bus.vendor_reference(dispatch.delivery_id)
        derived = bus.delivery_id(event.metadata.id, lane.erp, "create_sales_order")
        assert dispatch.delivery_id == derived
        assert await story.state(order_id, "create_sales_order") == "DISPATCHED"
        attempt_id = str(uuid.uuid4())
        first = await erp.try_begin(dispatch, attempt_id=attempt_id)
        again = await erp.try_begin(dispatch, attempt_id=attempt_id)
        assert (first.token, again.token) == (1, 1)
        assert 0 < again.lease.ToMicroseconds() <= first.lease.ToMicroseconds()
        assert await story.state(order_id, "create_sales_order") == "IN_FLIGHT"
        done = await erp.complete(
            dispatch.delivery_id, 1, "CONFIRMED", references={"sales_order": unique("SO")}
        )
        repeated = await erp.complete(dispatch.delivery_id, 1, "CONFIRMED")
        assert done.state == repeated.state == delivery_pb2.DELIVERY_STATE_CONFIRMED
        assert not repeated.HasField("refusal")
        delivery = await erp.reread(dispatch.delivery_id)
        assert kinds(delivery) == [("CALL", "CONFIRMED")]
        assert delivery.attempt_log[0].instance == "test"
        refusal = (await erp.try_begin(dispatch)).refusal
        assert refusal.reason == "LEASE_LOST"
        found = await story.oms.orders.GetOrder(order_service_pb2.GetOrderRequest(id=order_id))
        (reference,) = found.order.references
        assert (reference.system, reference.type) == (lane.erp, "sales_order")
        assert reference.value == delivery.vendor_references[0].value


async def test_a_delivery_is_its_endpoints_own(hub: RunningHub, lane: Lane) -> None:
    """Proves that another endpoint can neither begin, nor renew, nor end, nor read a delivery."""
    async with Story(hub, lane) as story, PlayedEndpoint(hub, lane.erp, ERP_OPERATIONS) as erp:
        await story.approved()
        dispatch = await erp.take()
        token = await erp.begin(dispatch)
        thief = PlayedEndpoint(hub, lane.wms, {})
        assert (await thief.try_begin(dispatch)).refusal.reason == "OBJECT_NOT_FOUND"
        ended = await thief.complete(dispatch.delivery_id, token, "CONFIRMED")
        assert ended.refusal.reason == "OBJECT_NOT_FOUND"
        with pytest.raises(CallError) as caught:
            await thief.reread(dispatch.delivery_id)
        assert caught.value.reason == "OBJECT_NOT_FOUND"
        await thief.client.close()
        delivery = await erp.reread(dispatch.delivery_id)
    assert state_of(delivery) == "IN_FLIGHT"


async def test_each_package_is_a_delivery(hub: RunningHub, lane: Lane) -> None:
    """Proves that a pack with three packages asks for three labels at once, one a package."""
    async with (
        Story(hub, lane) as story,
        PlayedEndpoint(hub, lane.carrier, {"buy_label": "SEARCHABLE"}) as carrier,
    ):
        shipment = await story.packed(packages=3)
        taken = [await carrier.take() for _ in range(3)]
        assert [dispatch.item for dispatch in taken] == [p.id for p in shipment.packages]
        assert len({dispatch.vendor_reference for dispatch in taken}) == 3
        tokens = [await carrier.begin(dispatch) for dispatch in reversed(taken)]
    assert tokens == [1, 1, 1]


# Order, prerequisites, supersession


async def test_work_of_one_key_keeps_its_order(hub: RunningHub, lane: Lane) -> None:
    """Proves that the second label of a shipment waits for the first to be printed, while other
    shipments go on; and that a rejected one that lets others pass does."""
    async with (
        Story(hub, lane) as story,
        PlayedEndpoint(hub, lane.wms, {"print_label": "NATURAL"}) as wms,
    ):
        shipment, other = await story.packed(packages=3), await story.packed()
        for carton in shipment.packages:
            await story.carrier.labels.CreateLabel(label(shipment.id, carton.id, unique("1Z")))
        await story.carrier.labels.CreateLabel(label(other.id, other.packages[0].id, unique("1Z")))
        first, elsewhere = await wms.take(), await wms.take()
        assert event_of(first).label.package_id == shipment.packages[0].id
        assert event_of(elsewhere).label.shipment_id == other.id
        prints = await story.deliveries(shipment.order_id, "print_label")
        assert [state_of(p) for p in prints] == ["DISPATCHED", "HELD", "HELD"]
        assert [hold_reason(p) for p in prints[1:]] == ["ORDER", "ORDER"]
        assert first.delivery_id in prints[1].waiting_on
        await wms.complete(first.delivery_id, await wms.begin(first), "CONFIRMED")
        second, _ = await wms.work("REJECTED")
        third, _ = await wms.work()
        assert event_of(second).label.package_id == shipment.packages[1].id
        assert event_of(third).label.package_id == shipment.packages[2].id
        assert wms.waiting == 0


async def test_goods_issue_waits_for_its_sales_order(hub: RunningHub, lane: Lane) -> None:
    """Proves that an operation waits for the one it requires at the same endpoint, says so, and
    goes out as soon as that is confirmed."""
    async with Story(hub, lane) as story, PlayedEndpoint(hub, lane.erp, ERP_OPERATIONS) as erp:
        shipment = await story.packed()
        await story.manifest(shipment.id)
        booking = await erp.take()
        waiting = await story.delivery(shipment.order_id, "post_goods_issue")
        assert (state_of(waiting), hold_reason(waiting)) == ("HELD", "PREREQUISITE")
        assert "create_sales_order" in waiting.waiting_on
        assert waiting.due_time.seconds > time.time()
        await erp.complete(booking.delivery_id, await erp.begin(booking), "CONFIRMED")
        dispatch, done = await erp.work(references={"item_fulfillment": unique("IF")})
        assert dispatch.operation == "post_goods_issue"
        assert done.state == delivery_pb2.DELIVERY_STATE_CONFIRMED


async def test_a_rejection_that_blocks_keeps_later_work_back(hub: RunningHub, lane: Lane) -> None:
    """Proves that after a rejected sales order its changes wait, and that a cancel may pass."""
    async with Story(hub, lane) as story, PlayedEndpoint(hub, lane.erp, ERP_OPERATIONS) as erp:
        order_id = await story.approved()
        patch = order_pb2.Order(id=order_id, customer_reference="PO-2")
        await story.oms.orders.UpdateOrder(update_order(patch, "customer_reference"))
        _, done = await erp.work("REJECTED", reason="credit limit")
        assert done.state == delivery_pb2.DELIVERY_STATE_REJECTED
        assert await story.state(order_id, "change_order") == "HELD"
        await story.cancel(order_id)
        dispatch, _ = await erp.work()
        assert dispatch.operation == "cancel_order"
        assert await story.state(order_id, "change_order") == "SUPERSEDED"


async def test_a_cancel_before_anybody_began_makes_both_pointless(
    hub: RunningHub, lane: Lane
) -> None:
    """Proves that a release on the bus that nobody began is superseded by the cancel, that neither
    reaches the vendor, and that the old message is refused at its begin."""
    async with Story(hub, lane) as story, PlayedEndpoint(hub, lane.wms, WMS_OPERATIONS) as wms:
        order_id, _ = await story.released()
        dispatch = await wms.take()
        await story.cancel(order_id)
        release = await story.delivery(order_id, "release_order")
        cancel = (await story.deliveries(order_id, "cancel_order", lane.wms))[0]
        assert (state_of(release), state_of(cancel)) == ("SUPERSEDED", "SUPERSEDED")
        assert release.superseded_by == cancel.id
        assert (await wms.try_begin(dispatch)).refusal.reason == "LEASE_LOST"
        assert wms.waiting == 0


async def test_a_cancel_after_the_call_began_waits_for_its_end(hub: RunningHub, lane: Lane) -> None:
    """Proves that what may have reached the vendor is never superseded: the cancel goes after."""
    async with Story(hub, lane) as story, PlayedEndpoint(hub, lane.wms, WMS_OPERATIONS) as wms:
        order_id, _ = await story.released()
        release = await wms.take()
        token = await wms.begin(release)
        await story.cancel(order_id)
        (cancel,) = await story.deliveries(order_id, "cancel_order", lane.wms)
        assert (state_of(cancel), hold_reason(cancel)) == ("HELD", "ORDER")
        await wms.complete(release.delivery_id, token, "CONFIRMED")
        dispatch, done = await wms.work()
        assert (dispatch.operation, state_of(await wms.reread(dispatch.delivery_id))) == (
            "cancel_order",
            "CONFIRMED",
        )
        assert not done.HasField("refusal")


async def test_work_for_nobody_is_shown(hub: RunningHub, lane: Lane) -> None:
    """Proves that a required target nobody serves becomes an UNROUTED delivery that says who is
    missing."""
    async with Story(hub, lane) as story:
        order_id = await story.approved()
        delivery = await story.delivery(order_id, "create_sales_order")
        assert (state_of(delivery), delivery.endpoint) == ("UNROUTED", "")
        assert "ERP" in delivery.waiting_on
        request = delivery_service_pb2.ListDeliveriesRequest(
            object_id=order_id, states=[delivery_pb2.DELIVERY_STATE_UNROUTED]
        )
        listed = (await story.operator.deliveries.ListDeliveries(request)).deliveries
        assert [found.id for found in listed] == [delivery.id]


# When it does not work at once


async def test_retry_comes_again_later(hub: RunningHub, lane: Lane) -> None:
    """Proves that a call proven unprocessed waits at least as long as the vendor asked, comes
    again with the next dispatch, and never runs out of tries."""
    async with Story(hub, lane) as story, PlayedEndpoint(hub, lane.erp, ERP_OPERATIONS) as erp:
        order_id = await story.approved()
        dispatch = await erp.take()
        token = await erp.begin(dispatch)
        before = time.monotonic()
        done = await erp.complete(
            dispatch.delivery_id, token, "RETRY", retry_after_seconds=4.0, reason="429"
        )
        assert done.state == delivery_pb2.DELIVERY_STATE_HELD
        waiting = await story.delivery(order_id, "create_sales_order")
        assert (hold_reason(waiting), waiting.waiting_on) == ("RETRY", "429")
        again = await erp.take()
        assert time.monotonic() - before > 3.95
        assert again.delivery_id == dispatch.delivery_id
        assert again.vendor_reference == dispatch.vendor_reference
        assert (again.dispatch_number, again.attempt) == (2, 2)
        assert (await erp.try_begin(dispatch)).refusal.reason == "LEASE_LOST"
        token = await erp.begin(again)
        await erp.complete(again.delivery_id, token, "CONFIRMED")
        delivery = await erp.reread(again.delivery_id)
    assert kinds(delivery) == [("CALL", "RETRY"), ("CALL", "CONFIRMED")]
    assert delivery.attempts == 2


async def test_unknown_is_looked_up_and_adopted(hub: RunningHub, lane: Lane) -> None:
    """Proves that an unknown outcome is asked about after it settled, and never called again when
    it is found."""
    async with Story(hub, lane) as story, PlayedEndpoint(hub, lane.erp, ERP_OPERATIONS) as erp:
        await story.approved()
        dispatch = await erp.take()
        token = await erp.begin(dispatch)
        before = time.monotonic()
        done = await erp.complete(dispatch.delivery_id, token, "UNKNOWN", reason="reply lost")
        assert done.state == delivery_pb2.DELIVERY_STATE_UNKNOWN
        question = await erp.take()
        assert time.monotonic() - before > 0.15
        assert question.kind == delivery_pb2.ATTEMPT_KIND_LOOK_UP
        assert question.vendor_reference == dispatch.vendor_reference
        result = await erp.try_begin(question)
        assert (result.kind, result.token) == (delivery_pb2.ATTEMPT_KIND_LOOK_UP, 2)
        await erp.complete(question.delivery_id, 2, "CONFIRMED", references={"sales_order": "7"})
        delivery = await erp.reread(question.delivery_id)
    assert state_of(delivery) == "CONFIRMED"
    assert kinds(delivery) == [("CALL", "UNKNOWN"), ("LOOK_UP", "CONFIRMED")]


async def test_only_two_settled_not_founds_allow_a_repeat(hub: RunningHub, lane: Lane) -> None:
    """Proves that one "not found", or a look-up that failed, never leads to a second call, and
    that two do."""
    async with Story(hub, lane) as story, PlayedEndpoint(hub, lane.erp, ERP_OPERATIONS) as erp:
        await story.approved()
        dispatch, _ = await erp.work("UNKNOWN")
        taken = []
        for outcome in ("NOT_FOUND", "UNKNOWN", "NOT_FOUND"):
            question, _ = await erp.work(outcome)
            taken.append(question.kind)
        assert taken == [delivery_pb2.ATTEMPT_KIND_LOOK_UP] * 3
        repeat, done = await erp.work()
        assert repeat.kind == delivery_pb2.ATTEMPT_KIND_CALL
        assert repeat.vendor_reference == dispatch.vendor_reference
        assert done.state == delivery_pb2.DELIVERY_STATE_CONFIRMED
        delivery = await erp.reread(repeat.delivery_id)
    assert [kind for kind, _ in kinds(delivery)] == [
        "CALL",
        "LOOK_UP",
        "LOOK_UP",
        "LOOK_UP",
        "CALL",
    ]


async def test_what_cannot_be_asked_is_parked(hub: RunningHub, lane: Lane) -> None:
    """Proves that an operation without key or look-up is parked when its outcome is unknown."""
    async with (
        Story(hub, lane) as story,
        PlayedEndpoint(hub, lane.erp, {"create_sales_order": "NONE"}) as erp,
    ):
        order_id = await story.approved()
        _, done = await erp.work("UNKNOWN", reason="reset")
        assert done.state == delivery_pb2.DELIVERY_STATE_PARKED
        delivery = await story.delivery(order_id, "create_sales_order")
        assert "reset" in delivery.waiting_on


# Leases and tokens


async def test_a_late_word_still_counts(hub: RunningHub, lane: Lane) -> None:
    """Proves that an attempt whose lease ran out becomes UNKNOWN by itself, and that its late
    completion settles it while nobody began another."""
    async with (
        Story(hub, lane) as story,
        PlayedEndpoint(hub, lane.erp, ERP_OPERATIONS, settle_seconds=LONG_SECONDS) as erp,
    ):
        order_id = await story.approved()
        dispatch = await erp.take()
        token = await erp.begin(dispatch, lease_seconds=0.2)

        async def unknown() -> bool:
            return await story.state(order_id, "create_sales_order") == "UNKNOWN"

        await eventually(unknown, "the end of the lease")
        done = await erp.complete(dispatch.delivery_id, token, "CONFIRMED")
        assert done.state == delivery_pb2.DELIVERY_STATE_CONFIRMED
        assert not done.HasField("refusal")


async def test_an_old_token_no_longer_counts(hub: RunningHub, lane: Lane) -> None:
    """Proves that once the vendor is called again, the word of the older call is kept as evidence
    and moves nothing, and that its lease can't be renewed."""
    async with Story(hub, lane) as story, PlayedEndpoint(hub, lane.erp, ERP_OPERATIONS) as erp:
        await story.approved()
        dispatch = await erp.take()
        old = await erp.begin(dispatch, lease_seconds=0.2)
        for _ in range(2):
            await erp.work("NOT_FOUND")
        new = await erp.begin(await erp.take())
        assert new > old
        late = await erp.complete(
            dispatch.delivery_id, old, "CONFIRMED", references={"sales_order": unique("SO")}
        )
        assert late.refusal.reason == "LEASE_LOST"
        assert late.state == delivery_pb2.DELIVERY_STATE_IN_FLIGHT
        renewal = delivery_service_pb2.RenewLeasesRequest(endpoint=lane.erp)
        renewal.renewals.add(delivery_id=dispatch.delivery_id, token=old, lease=duration(60))
        renewal.renewals.add(delivery_id=dispatch.delivery_id, token=new, lease=duration(60))
        refused, renewed = (await erp.client.deliveries.RenewLeases(renewal)).results
        assert refused.refusal.reason == "LEASE_LOST"
        assert renewed.lease.seconds >= 59
        delivery = await erp.reread(dispatch.delivery_id)
        assert [reference.type for reference in delivery.vendor_references] == ["sales_order"]
        assert delivery.attempt_log[0].reason.startswith("(late)")
        done = await erp.complete(dispatch.delivery_id, new, "CONFIRMED")
        assert done.state == delivery_pb2.DELIVERY_STATE_CONFIRMED


async def test_a_renewed_lease_keeps_the_attempt(hub: RunningHub, lane: Lane) -> None:
    """Proves that a renewed attempt is in flight after its first lease would have run out."""
    async with Story(hub, lane) as story, PlayedEndpoint(hub, lane.erp, ERP_OPERATIONS) as erp:
        order_id = await story.approved()
        dispatch = await erp.take()
        token = await erp.begin(dispatch, lease_seconds=5.0)
        renewal = delivery_service_pb2.RenewLeasesRequest(endpoint=lane.erp)
        renewal.renewals.add(delivery_id=dispatch.delivery_id, token=token, lease=duration(60))
        (renewed,) = (await erp.client.deliveries.RenewLeases(renewal)).results
        assert not renewed.HasField("refusal")
        until = time.monotonic() + 5.2
        await eventually(lambda: time.monotonic() > until, "the first lease's end")
        assert await story.state(order_id, "create_sales_order") == "IN_FLIGHT"
