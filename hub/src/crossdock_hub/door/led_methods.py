"""Which calls only a leader decides, and which leader: that of everything, or that of one system.

Led is what is decided with what a leader holds in memory: whatever begins, ends or changes a
delivery's attempts, what operators say of endpoints, deliveries, replays and held facts, and how
endpoints and the bus are. Endpoints that share a budget are one system; who leads it knows which of
its calls run, so what begins and ends them, and what stops them, is decided there. Everything else
belongs to the office, the one hub that leads what there is only one of; registrations among it, for
they say which systems there are, and make queues.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Any, Final

from crossdock.contracts import Method

from crossdock_hub.door.calls import authorization_of
from crossdock_hub.door.intake import Intake
from crossdock_hub.identity import Identities
from crossdock_hub.unit import Refused

# In the place of an endpoint: what belongs to none.
OFFICE: Final = ""


class Decider(Enum):
    """Who decides a call: the office, or who leads the system of an endpoint, which is the caller
    or the one that the request names."""

    OFFICE = "the office"
    OF_CALLER = "the leader of the caller's system"
    OF_NAMED = "the leader of the system of the endpoint that the request names"


_DELIVERY: Final = "crossdock.delivery.v1.DeliveryService"
_ENDPOINT: Final = "crossdock.endpoint.v1.EndpointService"
_BY_SERVICE: Final[Sequence[tuple[Decider, str, Sequence[str]]]] = (
    (Decider.OF_CALLER, _DELIVERY, ("BeginAttempts", "RenewLeases", "CompleteAttempts")),
    (
        Decider.OFFICE,
        "crossdock.delivery.v1.DeliveryOperationsService",
        ("RetryDelivery", "SkipDelivery", "ResolveDelivery", "ResubmitDelivery"),
    ),
    (Decider.OF_NAMED, _ENDPOINT, ("PauseEndpoint", "ResumeEndpoint", "GetEndpoint")),
    (
        Decider.OFFICE,
        _ENDPOINT,
        (
            "RegisterEndpoint",
            "Heartbeat",
            "ListEndpoints",
            "HoldPayload",
            "ReportHeldPayload",
        ),
    ),
    (
        Decider.OFFICE,
        "crossdock.replay.v1.ReplayService",
        (
            "PlanReplay",
            "ApproveReplay",
            "StartReplay",
            "PauseReplay",
            "ResumeReplay",
            "AbortReplay",
        ),
    ),
    (
        Decider.OFFICE,
        "crossdock.dead_letter.v1.DeadLetterService",
        ("AcknowledgeDeadLetters", "DriveHeldFact", "DiscardHeldFact"),
    ),
    (
        Decider.OFFICE,
        "crossdock.mapping.v1.MappingService",
        ("PublishDefaultMappings", "SetMapping", "ResetMapping", "BackfillMappings"),
    ),
    (Decider.OFFICE, "crossdock.hub.v1.HubService", ("GetHubStatus", "AcknowledgeDifference")),
)
DECIDERS: Final[Mapping[str, Decider]] = {
    f"/{service}/{name}": decider for decider, service, names in _BY_SERVICE for name in names
}
LED: Final = frozenset(DECIDERS)
GET_ENDPOINT: Final = f"/{_ENDPOINT}/GetEndpoint"
LIST_ENDPOINTS: Final = f"/{_ENDPOINT}/ListEndpoints"
# The field of a request that names the endpoint which it is about.
NAMED_IN: Final[Mapping[str, str]] = {
    f"/{_ENDPOINT}/PauseEndpoint": "endpoint",
    f"/{_ENDPOINT}/ResumeEndpoint": "endpoint",
    GET_ENDPOINT: "id",
}

# The endpoint that a call is about, OFFICE for none; None: whose door it meets refuses it anyway.
Finding = Callable[[bytes, Any], str | None]


def is_of_the_office(method: str) -> bool:
    """Whether only the office decides a call."""
    return DECIDERS.get(method) is Decider.OFFICE


def endpoint_of(method: str, caller: str, request: Any = None) -> str:
    """The endpoint whose system's leader decides a call; "": no endpoint's.

    caller: the calling endpoint. request: needed where it names the endpoint.
    """
    decider = DECIDERS.get(method)
    if decider is Decider.OF_CALLER:
        return caller
    if decider is Decider.OF_NAMED:
        named: str = getattr(request, NAMED_IN[method])
        return named
    return ""


def finding(method: Method, identities: Identities, intake: Intake) -> Finding:
    """How to find the endpoint that a call of a led method is about, before anybody admits it."""
    decider = DECIDERS[method.full_name]

    def of_caller(_raw: bytes, context: Any) -> str | None:
        caller = identities.identify(authorization_of(context))
        return caller.endpoint if caller is not None else None

    def named(raw: bytes, _context: Any) -> str | None:
        try:
            request = intake.decode(method.request_type, raw)
        except Refused:
            return None
        return endpoint_of(method.full_name, "", request)

    if decider is Decider.OF_CALLER:
        return of_caller
    return named if decider is Decider.OF_NAMED else lambda _raw, _context: OFFICE
