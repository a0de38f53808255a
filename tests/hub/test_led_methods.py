"""Which calls only a leader answers, and which one."""

from __future__ import annotations

from crossdock_hub.door.led_methods import DECIDERS, LED, NAMED_IN, Decider
from decisions import CONTRACT

# What every hub answers from the database, of services that have calls for the leader.
ASKED_ANYWHERE = ("Get", "List")
# Cursors are an endpoint's own notes: a row that is written and read like an object.
WRITTEN_ANYWHERE = {"/crossdock.endpoint.v1.EndpointService/PutCursor"}

# What names an endpoint and yet is decided where replays and mappings are.
OF_THE_OFFICE = {
    "/crossdock.endpoint.v1.EndpointService/Heartbeat",
    "/crossdock.endpoint.v1.EndpointService/RegisterEndpoint",
    "/crossdock.mapping.v1.MappingService/PublishDefaultMappings",
    "/crossdock.replay.v1.ReplayService/PlanReplay",
}


def test_what_only_a_leader_answers_is_in_the_contract() -> None:
    """Proves that no name in the list is mistyped or gone: its call would be answered anywhere."""
    assert set(CONTRACT.methods) >= LED


def test_a_new_method_beside_those_is_decided_upon() -> None:
    """Proves that of services which a leader answers for, every call is led or only reads: one that
    comes new and is forgotten here would be decided by a hub that does not know enough."""
    services = {method.rpartition("/")[0] for method in LED}
    beside = {
        method
        for method in CONTRACT.methods
        if method.rpartition("/")[0] in services
        and not method.rpartition("/")[2].startswith(ASKED_ANYWHERE)
    }
    assert beside - LED == WRITTEN_ANYWHERE


def test_who_decides_is_said_of_every_call_about_an_endpoint() -> None:
    """Proves that a led call whose request names an endpoint is decided by who leads that one's
    system, or is known here for one of the office's: one that comes new and is forgotten would be
    decided by a hub that does not know which calls run. Operators name another one, endpoints
    themselves."""
    decided = {}
    for method in LED:
        spec = CONTRACT.methods[method]
        fields = CONTRACT.generated_class(spec.request_type).DESCRIPTOR.fields_by_name
        of_endpoint = spec.service.endswith(".EndpointService") and "id" in fields
        if method in OF_THE_OFFICE or not ("endpoint" in fields or of_endpoint):
            decided[method] = Decider.OFFICE
        else:
            decided[method] = Decider.OF_NAMED if "OPERATOR" in spec.callers else Decider.OF_CALLER
    assert decided == dict(DECIDERS)


def test_a_request_that_names_an_endpoint_has_the_field() -> None:
    """Proves that the endpoint of each call that is passed on by it can be read from its bytes."""
    assert set(NAMED_IN) == {m for m, each in DECIDERS.items() if each is Decider.OF_NAMED}
    for method, name in NAMED_IN.items():
        request_type = CONTRACT.generated_class(CONTRACT.methods[method].request_type)
        field = request_type.DESCRIPTOR.fields_by_name[name]
        assert (field.type, field.is_repeated) == (field.TYPE_STRING, False)
