"""Deliveries that wait for a word's code, over gRPC and over the death of the hub that has them."""

from __future__ import annotations

from crossdock.delivery.v1 import delivery_pb2, delivery_service_pb2, operator_word_pb2
from crossdock.mapping.v1 import mapping_pb2
from crossdock.mapping.v1 import mapping_service_pb2 as service_pb2
from crossdock.types.v1 import types_pb2
from fixtures_hub import Lane, RunningHub
from played_endpoint import PlayedEndpoint
from story import Story, request_id

KIND = "played"
SERVICE_LEVEL = mapping_pb2.MAPPING_TOPIC_SERVICE_LEVEL
PARKED = delivery_pb2.DELIVERY_STATE_PARKED
LABELS = {"buy_label": "SEARCHABLE"}


async def say(story: Story, word: str) -> None:
    """An operator says what to send for a service."""
    request = service_pb2.SetMappingRequest(
        request_id=request_id(),
        endpoint_kind=KIND,
        topic=SERVICE_LEVEL,
        native=types_pb2.NativeCode(type="DOM", code=f"C-{word}"),
        meaning=mapping_pb2.Meaning(canonical=word, preferred=True),
        reason="the tariff",
    )
    await story.operator.mappings.SetMapping(request)


async def park(
    carrier: PlayedEndpoint, word: str, *, topic: str = "SERVICE_LEVEL", rows_revision: int = 0
) -> str:
    """Take the next label, which cannot be bought for want of a code: the delivery's id."""
    dispatch = await carrier.take()
    token = await carrier.begin(dispatch)
    missing = delivery_pb2.UnsentWord(
        topic=topic, canonical=word, native_types=["DOM", ""], rows_revision=rows_revision
    )
    ended = await carrier.complete(
        dispatch.delivery_id, token, "PARKED", reason=f"{word} has no code", unsent_word=missing
    )
    assert ended.state == PARKED
    return dispatch.delivery_id


async def counted(story: Story) -> list[tuple[str, str, int, bool]]:
    request = service_pb2.GetMappingCoverageRequest(endpoint_kind=KIND)
    found = await story.operator.mappings.GetMappingCoverage(request)
    for each in found.unmapped_codes:
        assert (each.topic, each.quarantined) == (SERVICE_LEVEL, 0)
        assert [code.type for code in each.native_codes] == ["DOM", ""]
        assert each.last_time.ToMicroseconds() >= each.first_time.ToMicroseconds() > 0
    return [
        (each.endpoint, each.canonical, each.parked_deliveries, each.mapped_since)
        for each in found.unmapped_codes
    ]


async def test_parked_deliveries_are_counted_and_go_when_the_word_has_a_code(
    own_hub: RunningHub,
) -> None:
    """Proves that deliveries which are parked for words are counted by endpoint and word, that a
    row has those of its word go again and no others, with the hub's reason in their history, and
    that a hub which died before it sent one again does so when it starts."""
    lane = Lane(1)
    async with Story(own_hub, lane) as story, PlayedEndpoint(own_hub, lane.carrier, LABELS) as ups:
        await story.packed(packages=2)
        slow = [await park(ups, "GROUND") for _ in range(2)]
        await story.packed()
        fast = await park(ups, "NEXT_DAY")
        assert await counted(story) == [
            (lane.carrier, "GROUND", 2, False),
            (lane.carrier, "NEXT_DAY", 1, False),
        ]
        await say(story, "GROUND")
        again = [await ups.take() for _ in range(2)]
        assert [each.delivery_id for each in again] == slow
        for each in again:
            assert each.kind == delivery_pb2.ATTEMPT_KIND_CALL
            await ups.complete(each.delivery_id, await ups.begin(each), "CONFIRMED")
        shown = await story.operator.deliveries.GetDelivery(
            delivery_service_pb2.GetDeliveryRequest(id=slow[0])
        )
        (word,) = shown.delivery.operator_words
        assert (word.operator, word.verb) == ("hub", operator_word_pb2.OPERATOR_VERB_RETRY)
        assert "SERVICE_LEVEL GROUND has a code now" in word.change
        assert await counted(story) == [(lane.carrier, "NEXT_DAY", 1, False)]
        await say(story, "NEXT_DAY")
    own_hub.restart()
    async with Story(own_hub, lane) as story, PlayedEndpoint(own_hub, lane.carrier, LABELS) as ups:
        assert (await ups.take()).delivery_id == fast
        assert await counted(story) == []


async def test_a_backfill_says_what_it_sent_again(own_hub: RunningHub) -> None:
    """Proves that a backfill goes through parked deliveries page by page, has those go again whose
    adapter had no use for the row that is there, counts the others, and leaves a word about it."""
    lane = Lane(1)
    async with Story(own_hub, lane) as story, PlayedEndpoint(own_hub, lane.carrier, LABELS) as ups:
        await say(story, "GROUND")
        await story.packed(packages=3)
        slow = [await park(ups, "GROUND", rows_revision=1) for _ in range(3)]
        await story.packed(packages=2)
        for _ in range(2):
            await park(ups, "NEXT_DAY")
        assert await counted(story) == [
            (lane.carrier, "GROUND", 3, True),
            (lane.carrier, "NEXT_DAY", 2, False),
        ]
        request = service_pb2.BackfillMappingsRequest(
            endpoint_kind=KIND, topic=SERVICE_LEVEL, page_size=2, reason="the setting is right now"
        )
        pages = []
        for _ in range(3):
            request.request_id = request_id()
            answer = await story.operator.mappings.BackfillMappings(request)
            pages.append((answer.examined, answer.sent_again, answer.unmapped))
            request.page_token = answer.next_page_token
        assert pages == [(2, 2, 0), (2, 1, 1), (1, 0, 1)]
        assert request.page_token == ""
        assert [(await ups.take()).delivery_id for _ in range(3)] == slow
        coverage = service_pb2.GetMappingCoverageRequest(endpoint_kind=KIND)
        found = await story.operator.mappings.GetMappingCoverage(coverage)
        assert [word.reason for word in found.words] == ["the setting is right now"] * 2


async def test_a_word_of_a_newer_contract_is_parked_for_a_person(own_hub: RunningHub) -> None:
    """Proves that a topic which this hub does not know parks its delivery as any other does, and is
    waited for by nothing."""
    lane = Lane(1)
    async with Story(own_hub, lane) as story, PlayedEndpoint(own_hub, lane.carrier, LABELS) as ups:
        await story.packed()
        await park(ups, "GROUND", topic="SMELL")
        assert await counted(story) == []
