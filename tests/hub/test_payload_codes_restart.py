"""A payload that waits for a code, over gRPC and over the death of the hub that holds it."""

from __future__ import annotations

from crossdock.endpoint.v1 import held_fact_pb2
from crossdock.mapping.v1 import mapping_pb2
from crossdock.mapping.v1 import mapping_service_pb2 as service_pb2
from crossdock.types.v1 import types_pb2
from fixtures_hub import Lane, RunningHub
from fixtures_nats import eventually
from story import Story, request_id

UNIT = mapping_pb2.MAPPING_TOPIC_UNIT
HELD = held_fact_pb2.HELD_FACT_STATE_HELD
STICK, BUNDLE = types_pb2.NativeCode(code="STK"), types_pb2.NativeCode(code="BND")


async def test_a_payload_is_asked_for_after_the_hub_died(own_hub: RunningHub) -> None:
    """Proves that a hub which died after payloads were held asks for one as soon as its code has a
    row, and one which died before it asked for what had its row asks for it all the same; that
    coverage tells of both until then, and that their adapter is given them with their source."""
    lane = Lane(1)
    coverage = service_pb2.GetMappingCoverageRequest(endpoint_kind=lane.wms)
    async with Story(own_hub, lane) as story:
        held = [await hold(story, code) for code in (STICK, BUNDLE)]
        found = await story.operator.mappings.GetMappingCoverage(coverage)
        assert {
            (each.topic, each.endpoint, each.native_codes[0].code, each.quarantined)
            for each in found.unmapped_codes
        } == {(UNIT, lane.wms, "STK", 1), (UNIT, lane.wms, "BND", 1)}
    own_hub.restart()
    async with Story(own_hub, lane) as story:
        await say(story, STICK, "EA")
        await eventually(lambda: asks_for(story, held[:1]), "the first payload is asked for")
        await say(story, BUNDLE, "BE")
    own_hub.restart()
    async with Story(own_hub, lane) as story:
        await eventually(lambda: asks_for(story, held), "both payloads are asked for")
        found = await story.operator.mappings.GetMappingCoverage(coverage)
        assert list(found.unmapped_codes) == []


async def hold(story: Story, code: types_pb2.NativeCode) -> str:
    """A payload that its adapter can't read for want of a row: the id under which it is held."""
    request = held_fact_pb2.HoldPayloadRequest(
        request_id=request_id(),
        payload=f"2 {code.code}".encode(),
        source="poll:messages",
        reason=f"{code.code} has no row",
        unread_codes=held_fact_pb2.UnreadCodes(topic=UNIT, native_codes=[code]),
    )
    return (await story.wms.endpoints.HoldPayload(request)).receipt.held_fact_id


async def say(story: Story, code: types_pb2.NativeCode, canonical: str) -> None:
    """Give a code a row."""
    request = service_pb2.SetMappingRequest(
        request_id=request_id(),
        endpoint_kind=story.lane.wms,
        topic=UNIT,
        native=code,
        meaning=mapping_pb2.Meaning(canonical=canonical),
        reason="what the warehouse told us",
    )
    await story.operator.mappings.SetMapping(request)


async def asks_for(story: Story, held: list[str]) -> bool:
    """Whether the adapter is asked for these payloads and no others."""
    request = held_fact_pb2.ListHeldFactsRequest(
        endpoint=story.lane.wms, state=HELD, payloads_only=True, awaits_kind="retranslation"
    )
    facts = (await story.wms.endpoints.ListHeldFacts(request)).held_facts
    return sorted((fact.id, fact.source) for fact in facts) == sorted(
        (each, "poll:messages") for each in held
    )
