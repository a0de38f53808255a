"""Which calls only a leader answers."""

from __future__ import annotations

from crossdock_hub.door.forwarding import LED
from decisions import CONTRACT

# What every hub answers from the database, of services that have calls for the leader.
ASKED_ANYWHERE = ("Get", "List")
# Cursors are an endpoint's own notes: a row that is written and read like an object.
WRITTEN_ANYWHERE = {"/crossdock.endpoint.v1.EndpointService/PutCursor"}


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
