"""What operators decide about differences between database and bus."""

from __future__ import annotations

from dataclasses import replace

from crossdock.errors import Refusal
from crossdock.hub.v1 import hub_service_pb2

from crossdock_hub.reading.difference_messages import PREFIX, difference_message
from crossdock_hub.records import Difference, OperatorWordRecord
from crossdock_hub.refusals import not_found
from crossdock_hub.unit import Refused, Unit
from crossdock_hub.verbs.registering import decides


@decides("hub.v1.HubService/AcknowledgeDifference")
def acknowledge(
    unit: Unit, request: hub_service_pb2.AcknowledgeDifferenceRequest
) -> hub_service_pb2.AcknowledgeDifferenceResponse:
    """Note that somebody looked; what is found later opens it again."""
    kind = hub_service_pb2.DifferenceKind.Name(request.kind).removeprefix(PREFIX)
    found: Difference | None = unit.get(("difference", kind))
    if found is None:
        raise not_found("difference", kind)
    if request.last_time.ToMicroseconds() != found.last_at:
        raise _found_again(kind)
    seen = replace(found, seen_at=found.last_at)
    unit.put(("difference", kind), seen)
    word = OperatorWordRecord(
        id=unit.new_id(),
        subject_id=kind,
        verb="ACKNOWLEDGE",
        operator=unit.caller.endpoint,
        said_at=unit.now,
        reason=request.reason,
        state_before="ACKNOWLEDGED" if found.acknowledged else "OPEN",
        state_after="ACKNOWLEDGED",
        change=f"it rests until it recurs; found {found.count} times or messages by then",
    )
    unit.put(("operator_word", word.id), word)
    message = difference_message(seen, [word])
    return hub_service_pb2.AcknowledgeDifferenceResponse(difference=message)


def _found_again(kind: str) -> Refused:
    return Refused(
        Refusal(
            "STATE_TRANSITION",
            f"{kind} was not found last at last_time, but at another time; read it again with "
            "GetHubStatus, look at what is new, and give its last_time",
            {"state": "OPEN", "verb": "AcknowledgeDifference", "allowed": "as last read"},
        )
    )
