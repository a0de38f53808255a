"""A payload that waits for a code, over gRPC and over the death of the hub that holds it."""

from __future__ import annotations

import uuid

from crossdock.endpoint.v1 import held_fact_pb2
from crossdock.mapping.v1 import mapping_pb2
from crossdock.mapping.v1 import mapping_service_pb2 as service_pb2
from crossdock.types.v1 import types_pb2
from fixtures_hub import Lane, RunningHub
from fixtures_nats import eventually
from story import Story, request_id

UNIT = mapping_pb2.MAPPING_TOPIC_UNIT
HELD = held_fact_pb2.HELD_FACT_STATE_HELD
STICK = types_pb2.NativeCode(code="STK")


async def test_a_payload_is_asked_for_after_the_hub_died(own_hub: RunningHub) -> None:
    """Proves that a hub which died after a payload was held, and one which died before it asked for
    what had its row, ask for it all the same; that coverage tells of it until then, and that its
    adapter is given it with its source."""
    lane = Lane(1)
    async with Story(own_hub, lane) as story:
        codes = held_fact_pb2.UnreadCodes(topic=UNIT, native_codes=[STICK])
        hold = held_fact_pb2.HoldPayloadRequest(
            request_id=request_id(),
            payload=b"2 STK",
            source="poll:messages",
            reason="STK has no row",
            unread_codes=codes,
        )
        receipt = (await story.wms.endpoints.HoldPayload(hold)).receipt
        coverage = service_pb2.GetMappingCoverageRequest(endpoint_kind=lane.wms)
        found = await story.operator.mappings.GetMappingCoverage(coverage)
        assert [
            (each.topic, each.endpoint, each.native_codes[0].code, each.quarantined)
            for each in found.unmapped_codes
        ] == [(UNIT, lane.wms, "STK", 1)]
    own_hub.restart()
    async with Story(own_hub, lane) as story:
        request = service_pb2.SetMappingRequest(
            request_id=str(uuid.uuid4()),
            endpoint_kind=lane.wms,
            topic=UNIT,
            native=STICK,
            meaning=mapping_pb2.Meaning(canonical="EA"),
            reason="a stick is one piece",
        )
        await story.operator.mappings.SetMapping(request)
    own_hub.restart()
    async with Story(own_hub, lane) as story:
        asked = held_fact_pb2.ListHeldFactsRequest(
            endpoint=lane.wms, state=HELD, payloads_only=True, awaits_kind="retranslation"
        )

        async def is_asked_for() -> bool:
            facts = (await story.wms.endpoints.ListHeldFacts(asked)).held_facts
            return [(fact.id, fact.source) for fact in facts] == [
                (receipt.held_fact_id, "poll:messages")
            ]

        await eventually(is_asked_for, "the payload is asked for")
        found = await story.operator.mappings.GetMappingCoverage(coverage)
        assert list(found.unmapped_codes) == []
