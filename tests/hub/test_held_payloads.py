"""Raw payloads at the hub: what their adapter tells of them, and an operator who asks for it."""

from __future__ import annotations

import pytest
from crossdock.endpoint.v1 import held_fact_pb2
from crossdock.errors import CallError
from fixtures_hub import Lane, RunningHub
from story import Story, pick, request_id, unique
from test_dead_letters import groups
from test_held import held_facts
from typed_commands import typed

HELD = held_fact_pb2.HELD_FACT_STATE_HELD
APPLIED = held_fact_pb2.HELD_FACT_STATE_APPLIED


async def hold(story: Story, source: str = "/hook", reason: str = "not JSON") -> str:
    request = held_fact_pb2.HoldPayloadRequest(
        request_id=request_id(), payload=b"<x/>", source=source, reason=reason, key=unique("key")
    )
    return (await story.carrier.endpoints.HoldPayload(request)).receipt.held_fact_id


def report(
    fact: str, translated: bool = False, reason: str = ""
) -> held_fact_pb2.ReportHeldPayloadRequest:
    return held_fact_pb2.ReportHeldPayloadRequest(
        request_id=request_id(), held_fact_id=fact, translated=translated, reason=reason
    )


async def test_its_adapter_tells_what_became_of_a_payload(hub: RunningHub, lane: Lane) -> None:
    """Proves that a new reason replaces the old one and is counted, that a translated payload is
    closed, and that the same report again gets the first answer and changes nothing."""
    async with Story(hub, lane) as story:
        fact = await hold(story)
        tell = story.carrier.endpoints.ReportHeldPayload
        still = (await tell(report(fact, reason="no scan time"))).held_fact
        assert (still.state, still.drives, still.refusal.message) == (HELD, 1, "no scan time")
        assert (still.awaits, still.payload) == ("translation:/hook", b"")
        done = report(fact, translated=True)
        first, again = await tell(done), await tell(done)
        assert first == again
        assert (first.held_fact.state, first.held_fact.drives) == (APPLIED, 2)
        assert await groups(story, lane.carrier) == []
        (kept,) = await held_facts(story)
        assert (kept.state, kept.drives, kept.payload) == (APPLIED, 2, b"<x/>")


async def test_a_report_that_cannot_be_is_refused(hub: RunningHub, lane: Lane) -> None:
    """Proves that nobody reports another endpoint's payload, a fact, an unknown one, one that is
    closed, or a failure without a reason; each refusal is clear and changes nothing."""
    async with Story(hub, lane) as story:
        fact = await hold(story)
        closed = await hold(story)
        await story.carrier.endpoints.ReportHeldPayload(report(closed, translated=True))
        waiting = await story.wms.fulfillments.ReportPick(pick(request_id()))
        theirs = waiting.receipt.held_fact_id
        for caller, request, reason in (
            (story.wms, report(fact, translated=True), "OUT_OF_SCOPE"),
            (story.wms, report(theirs, translated=True), "STATE_TRANSITION"),
            (story.carrier, report(request_id(), translated=True), "OBJECT_NOT_FOUND"),
            (story.carrier, report(closed, translated=True), "STATE_TRANSITION"),
            (story.carrier, report(closed, reason="late"), "STATE_TRANSITION"),
            (story.carrier, report(fact), "INVALID_FIELD"),
        ):
            with pytest.raises(CallError) as caught:
                await caller.endpoints.ReportHeldPayload(request)
            assert caught.value.reason == reason, caught.value
        states = {each.id: (each.state, each.drives) for each in await held_facts(story)}
        assert (states[fact], states[closed]) == ((HELD, 0), (APPLIED, 1))


async def test_an_operator_asks_the_adapter(hub: RunningHub, lane: Lane) -> None:
    """Proves that the command asks for a payload to be translated again, that the adapter finds
    just those that were asked for, oldest first, and that its report ends the asking."""
    async with Story(hub, lane) as story:
        facts = [await hold(story, reason=f"reason {number}") for number in range(3)]
        for fact in (facts[2], facts[0]):
            words = ("dead-letters", "drive", fact, "--reason", "mended", "--yes")
            said = await typed(hub, *words)
            assert f"{fact} is HELD: {lane.carrier} is asked to translate it again" in said

        async def listed(kind: str) -> list[str]:
            request = held_fact_pb2.ListHeldFactsRequest(
                state=HELD, payloads_only=True, awaits_kind=kind
            )
            answer = await story.carrier.endpoints.ListHeldFacts(request)
            return [each.id for each in answer.held_facts]

        assert await listed("retranslation") == [facts[0], facts[2]]
        assert await listed("translation") == [facts[1]]
        assert await listed("") == facts
        await story.carrier.endpoints.ReportHeldPayload(report(facts[0], reason="still not"))
        assert await listed("retranslation") == [facts[2]]
        words = hub.query("SELECT reason FROM operator_words WHERE subject_id = ?", facts[0])
        assert words == [("mended",)]
