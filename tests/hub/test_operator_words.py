"""The operator's word over the wire: who may say it, what is kept, and that the flow goes on."""

from __future__ import annotations

from typing import Any

import pytest
from crossdock.delivery.v1 import delivery_operations_service_pb2 as operations_pb2
from crossdock.delivery.v1 import delivery_pb2, operator_word_pb2
from crossdock.errors import CallError
from crossdock.lineage.v1 import lineage_service_pb2
from crossdock.order.v1 import order_pb2
from fixtures_hub import Lane, RunningHub
from fixtures_nats import eventually
from played_endpoint import ERP_OPERATIONS, PlayedEndpoint, event_of
from story import Story, request_id, state_of, unique, update_order


def retry_request(delivery_id: str) -> operations_pb2.RetryDeliveryRequest:
    return operations_pb2.RetryDeliveryRequest(
        request_id=request_id(), delivery_id=delivery_id, reason="period 05 is open again"
    )


async def refusal(call: Any) -> Any:
    with pytest.raises(CallError) as caught:
        await call
    return caught.value.refusal


async def test_a_retry_goes_out_again_and_is_remembered(hub: RunningHub, lane: Lane) -> None:
    """Proves that a refused posting goes to its endpoint again, once however often it is said with
    the same request id, and that who, when and why is shown with it and in its trace."""
    async with Story(hub, lane) as story, PlayedEndpoint(hub, lane.erp, ERP_OPERATIONS) as erp:
        order_id = await story.approved()
        first, _ = await erp.work("REJECTED", reason="period closed")
        request = retry_request(first.delivery_id)
        answer = await story.operator.delivery_operations.RetryDelivery(request)
        again = await story.operator.delivery_operations.RetryDelivery(request)
        assert answer == again
        assert answer.word.state_before == "REJECTED"
        second, done = await erp.work(references={"sales_order": unique("SO")})
        assert (second.delivery_id, second.vendor_reference) == (
            first.delivery_id,
            first.vendor_reference,
        )
        assert second.dispatch_number > first.dispatch_number
        assert done.state == delivery_pb2.DELIVERY_STATE_CONFIRMED
        assert erp.waiting == 0
        (word,) = (await erp.reread(first.delivery_id)).operator_words
        assert (word.operator, word.reason) == ("operator", "period 05 is open again")
        assert word.verb == operator_word_pb2.OPERATOR_VERB_RETRY
        trace = lineage_service_pb2.TraceRequest(id=order_id)
        lineage = (await story.operator.lineage.Trace(trace)).lineage
        assert [w for d in lineage.deliveries for w in d.operator_words] == [word]


async def test_only_an_operator_decides(hub: RunningHub, lane: Lane) -> None:
    """Proves that no system may say it, that a word without a reason is refused, that an unknown
    delivery is said to be unknown, and that none of it changes anything."""
    async with Story(hub, lane) as story, PlayedEndpoint(hub, lane.erp, ERP_OPERATIONS) as erp:
        order_id = await story.approved()
        dispatch, _ = await erp.work("PARKED", reason="no mapping")
        request = retry_request(dispatch.delivery_id)
        assert (await refusal(story.erp.delivery_operations.RetryDelivery(request))).reason == (
            "METHOD_NOT_ALLOWED"
        )
        operations = story.operator.delivery_operations
        request.reason = ""
        found = await refusal(operations.RetryDelivery(request))
        assert (found.reason, [v.field for v in found.violations]) == ("INVALID_FIELD", ["reason"])
        unknown = retry_request(request_id())
        assert (await refusal(operations.RetryDelivery(unknown))).reason == "OBJECT_NOT_FOUND"
        resolve = operations_pb2.ResolveDeliveryRequest(
            request_id=request_id(), delivery_id=dispatch.delivery_id, reason="by hand"
        )
        assert (await refusal(operations.ResolveDelivery(resolve))).reason == "INVALID_FIELD"
        assert await story.state(order_id, "create_sales_order") == "PARKED"


async def test_a_late_word_of_an_attempt_does_not_undo_a_person(
    hub: RunningHub, lane: Lane
) -> None:
    """Proves that after "resolved by hand" the zombie's completion is evidence, that its number is
    seen with the delivery, and that later work was released by the person, not by the zombie."""
    async with (
        Story(hub, lane) as story,
        PlayedEndpoint(hub, lane.erp, {**ERP_OPERATIONS, "create_sales_order": "NONE"}) as erp,
    ):
        made = await story.create()
        await story.approve(made.id)
        dispatch = await erp.take()
        token = await erp.begin(dispatch, lease_seconds=0.3)

        async def parked() -> bool:
            return await story.state(made.id, "create_sales_order") == "PARKED"

        await eventually(parked, "the lease's end")
        changed = order_pb2.Order(id=made.id, customer_reference="PO-1")
        await story.oms.orders.UpdateOrder(update_order(changed, "customer_reference"))
        assert await story.state(made.id, "change_order") == "HELD"
        resolve = operations_pb2.ResolveDeliveryRequest(
            request_id=request_id(), delivery_id=dispatch.delivery_id, reason="seen in the ERP"
        )
        number = unique("SO")
        resolve.references.add(type="sales_order", value=number)
        await story.operator.delivery_operations.ResolveDelivery(resolve)
        assert (await erp.take()).operation == "change_order"
        late = await erp.complete(
            dispatch.delivery_id, token, "REJECTED", references={"sales_order": unique("SO")}
        )
        assert late.refusal.reason == "LEASE_LOST"
        delivery = await erp.reread(dispatch.delivery_id)
        assert state_of(delivery) == "CONFIRMED"
        assert delivery.vendor_references[0].value == number
        trace = lineage_service_pb2.TraceRequest(id=number)
        assert (await story.operator.lineage.Trace(trace)).lineage.root_id == made.id


async def test_a_resubmission_sends_the_order_as_it_is_now(hub: RunningHub, lane: Lane) -> None:
    """Proves that the endpoint gets the corrected order under a new delivery and reference, that
    the old delivery says so, and that its old message on the bus is dead."""
    async with Story(hub, lane) as story, PlayedEndpoint(hub, lane.erp, ERP_OPERATIONS) as erp:
        order_id = await story.approved()
        old, _ = await erp.work("REJECTED", reason="unknown customer reference")
        changed = order_pb2.Order(id=order_id, customer_reference="PO-1")
        await story.oms.orders.UpdateOrder(update_order(changed, "customer_reference"))
        request = operations_pb2.ResubmitDeliveryRequest(
            request_id=request_id(), delivery_id=old.delivery_id, reason="reference corrected"
        )
        answer = await story.operator.delivery_operations.ResubmitDelivery(request)
        new = await erp.take()
        assert new.delivery_id == answer.resubmitted.id != old.delivery_id
        assert new.vendor_reference != old.vendor_reference
        assert event_of(new).order.customer_reference == "PO-1"
        assert (await erp.try_begin(old)).refusal.reason == "LEASE_LOST"
        await erp.complete(new.delivery_id, await erp.begin(new), "CONFIRMED")
        closed = await erp.reread(old.delivery_id)
        assert (state_of(closed), closed.superseded_by) == ("SUPERSEDED", new.delivery_id)
        assert (await erp.take()).operation == "change_order"


async def test_words_and_contents_survive_a_killed_hub(own_hub: RunningHub) -> None:
    """Proves that a resubmitted delivery still carries its own content after `kill -9`, and that
    what the operator said is still there."""
    lane = Lane(1)
    async with Story(own_hub, lane) as story:
        async with PlayedEndpoint(own_hub, lane.erp, ERP_OPERATIONS) as erp:
            order_id = await story.approved()
            old, _ = await erp.work("REJECTED", reason="no")
            changed = order_pb2.Order(id=order_id, customer_reference="PO-2")
            await story.oms.orders.UpdateOrder(update_order(changed, "customer_reference"))
            request = operations_pb2.ResubmitDeliveryRequest(
                request_id=request_id(), delivery_id=old.delivery_id, reason="corrected"
            )
            answer = await story.operator.delivery_operations.ResubmitDelivery(request)
        own_hub.restart()
        async with PlayedEndpoint(own_hub, lane.erp, ERP_OPERATIONS) as erp:
            while (new := await erp.take()).delivery_id != answer.resubmitted.id:
                continue
            assert event_of(new).order.customer_reference == "PO-2"
            (word,) = (await erp.reread(old.delivery_id)).operator_words
            assert word.reason == "corrected"
