"""What a dead letter shows of each attempt: what was said, without secrets, and in which trace."""

from __future__ import annotations

import json
import uuid
from typing import Any

from crossdock import contracts
from crossdock.dead_letter.v1 import dead_letter_service_pb2
from crossdock.delivery.v1 import delivery_pb2, delivery_service_pb2
from crossdock_adapters.sdk.completion import completion
from crossdock_adapters.sdk.exchange import recording, redacted
from crossdock_adapters.sdk.outcomes import Reject, Retry
from fixtures_hub import Lane, RunningHub
from played_endpoint import ERP_OPERATIONS, PlayedEndpoint, event_of, kinds
from story import Story

SECRET = "k-7f3a0c19d2"
CONSIGNEE, STREET = "Ada Lovelace", "1 Main St"


async def attempt(erp: PlayedEndpoint, trace_id: str, answer: str, ended: Any) -> str:
    """One attempt as the SDK makes it, whose vendor repeats name and key; the delivery's id."""
    dispatch = await erp.take()
    begun = await erp.try_begin(dispatch, traceparent=f"00-{trace_id}-{'b' * 16}-01")
    order = event_of(dispatch).order
    assert (order.ship_to.name, order.ship_to.address.lines[0]) == (CONSIGNEE, STREET)
    told = {"number": order.number, "api_key": SECRET, "name": CONSIGNEE, "street": STREET}
    with recording() as exchange:
        exchange.hide(contracts.load().sensitive_values(event_of(dispatch)))
        sent = redacted(json.dumps(told).encode())
        heard = redacted(json.dumps({"error": answer, "you_sent": told}).encode())
        exchange.note(f"POST /orders {sent}", heard)
    request = delivery_service_pb2.CompleteAttemptsRequest(endpoint=erp.endpoint)
    request.completions.append(
        completion(dispatch.delivery_id, begun.token, dispatch.kind, ended, exchange)
    )
    (result,) = (await erp.client.deliveries.CompleteAttempts(request)).results
    assert not result.HasField("refusal"), result
    return dispatch.delivery_id


async def only_member(story: Story, endpoint: str) -> Any:
    """The only dead letter of an endpoint."""
    service = story.operator.dead_letters
    listed = dead_letter_service_pb2.ListDeadLettersRequest(endpoint=endpoint)
    (group,) = (await service.ListDeadLetters(listed)).groups
    asked = dead_letter_service_pb2.GetDeadLettersRequest(group_id=group.id)
    (member,) = (await service.GetDeadLetters(asked)).members
    return member


async def test_every_attempt_is_shown_as_it_was_without_secrets(
    hub: RunningHub, lane: Lane
) -> None:
    """Proves over the wire that a dead letter has each attempt in turn, the one that was put off
    and the one that was refused, with what was sent and what came back, the trace of that attempt
    and who made it; and that neither key nor name nor street of it is shown anywhere."""
    traces = [uuid.uuid4().hex, uuid.uuid4().hex]
    async with Story(hub, lane) as story, PlayedEndpoint(hub, lane.erp, ERP_OPERATIONS) as erp:
        order_id = await story.approved()
        busy = await attempt(erp, traces[0], "come back later", Retry(0.1, "busy"))
        held = await attempt(erp, traces[1], "credit hold", Reject("CREDIT", "on hold"))
        assert busy == held
        member = await only_member(story, lane.erp)
        found = member.delivery
        assert (found.id, found.correlation_id) == (held, order_id)
        assert kinds(found) == [("CALL", "RETRY"), ("CALL", "REJECTED")]
        log = list(found.attempt_log)
        assert [each.trace_id for each in log] == traces
        assert found.trace_id not in traces
        number = json.loads(member.content_json)["order"]["number"]
        for each, said in zip(log, ("come back later", "credit hold"), strict=True):
            assert each.request_excerpt.startswith("POST /orders {")
            assert number in each.request_excerpt and said in each.response_excerpt
            assert '"api_key": "***"' in each.request_excerpt
            assert each.instance == "test" and each.HasField("end_time")
        assert (log[1].code, log[1].reason) == ("CREDIT", "on hold")
        shown = str(member)
        assert not [secret for secret in (SECRET, CONSIGNEE, STREET) if secret in shown]
        assert member.delivery.state == delivery_pb2.DELIVERY_STATE_REJECTED
