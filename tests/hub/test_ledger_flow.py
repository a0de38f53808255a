"""A delivery's end with facts, and work held back by pauses and budgets, over the wire."""

from __future__ import annotations

import uuid

from crossdock.delivery.v1 import delivery_pb2, delivery_service_pb2
from crossdock.label.v1 import label_service_pb2
from fixtures_hub import Lane, RunningHub
from played_endpoint import PlayedEndpoint
from story import Story, create_order, label, unique

CREATE_LABEL = "/crossdock.label.v1.LabelService/CreateLabel"


# Facts of a completion


async def test_a_refused_fact_lies_beside_the_outcome(hub: RunningHub, lane: Lane) -> None:
    """Proves that a confirmed label stays confirmed when one of its facts is refused, that the
    good fact is written, and that the refused ones are kept with their reason."""
    async with (
        Story(hub, lane) as story,
        PlayedEndpoint(hub, lane.carrier, {"buy_label": "SEARCHABLE"}) as carrier,
    ):
        shipment = await story.packed()
        good = label(shipment.id, shipment.packages[0].id, unique("1Z"))
        bad = label(shipment.id, shipment.packages[0].id, unique("1Z"))
        bad.label.state = 2
        _, done = await carrier.work(
            references={"tracking_number": good.label.tracking_number},
            facts=(
                (CREATE_LABEL, bad.SerializeToString()),
                (CREATE_LABEL, b"\xff\xff"),
                (
                    "/crossdock.order.v1.OrderService/CreateOrder",
                    create_order().SerializeToString(),
                ),
                ("/crossdock.label.v1.LabelService/Nothing", b""),
                (CREATE_LABEL, good.SerializeToString()),
            ),
        )
        assert done.state == delivery_pb2.DELIVERY_STATE_CONFIRMED
        assert [fact.refusal.reason for fact in done.quarantined] == [
            "FIELD_NOT_OWNED",
            "MALFORMED_MESSAGE",
            "METHOD_NOT_ALLOWED",
            "METHOD_UNKNOWN",
        ]
        delivery = await carrier.reread(done.delivery_id)
        assert [fact.method for fact in delivery.quarantined] == [
            fact.method for fact in done.quarantined
        ]
        assert delivery.quarantined[0].request == bad.SerializeToString()
        request = label_service_pb2.ListLabelsRequest(shipment_id=shipment.id)
        labels = (await story.oms.labels.ListLabels(request)).labels
    assert [found.tracking_number for found in labels] == [good.label.tracking_number]


async def test_one_bad_word_spoils_no_other(hub: RunningHub, lane: Lane) -> None:
    """Proves that completions in one call are answered each for itself, in the order sent, each
    with its own facts."""
    async with (
        Story(hub, lane) as story,
        PlayedEndpoint(hub, lane.carrier, {"buy_label": "SEARCHABLE"}) as carrier,
    ):
        shipment = await story.packed(packages=2)
        taken = [await carrier.take() for _ in range(2)]
        tokens = [await carrier.begin(dispatch) for dispatch in taken]
        ids = [taken[1].delivery_id, str(uuid.uuid4()), taken[0].delivery_id]
        sold = [label(shipment.id, dispatch.item, unique("1Z")) for dispatch in taken]
        request = delivery_service_pb2.CompleteAttemptsRequest(endpoint=lane.carrier)
        for delivery_id, token, fact in zip(
            ids, (tokens[1], 1, tokens[0]), (sold[1], None, sold[0]), strict=True
        ):
            word = request.completions.add(
                delivery_id=delivery_id,
                token=token,
                outcome=delivery_pb2.ATTEMPT_OUTCOME_CONFIRMED,
            )
            if fact is not None:
                word.facts.add(method=CREATE_LABEL, request=fact.SerializeToString())
        results = (await carrier.client.deliveries.CompleteAttempts(request)).results
        assert [result.delivery_id for result in results] == ids
        assert [result.refusal.reason for result in results] == ["", "OBJECT_NOT_FOUND", ""]
        found = label_service_pb2.ListLabelsRequest(shipment_id=shipment.id)
        labels = (await story.oms.labels.ListLabels(found)).labels
    by_package = {made.package_id: made.tracking_number for made in labels}
    assert by_package == {fact.label.package_id: fact.label.tracking_number for fact in sold}
