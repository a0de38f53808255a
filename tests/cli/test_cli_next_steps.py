"""What a person is told to type after a refusal."""

from __future__ import annotations

import pytest
from crossdock.cli.next_steps import STEPS
from crossdock.cli.problems import explained
from crossdock.delivery.v1 import delivery_pb2
from crossdock.endpoint.v1 import held_fact_pb2
from crossdock.errors import CallError, NotAllowedError, Refusal
from crossdock.replay.v1 import replay_pb2
from crossdock_hub.delivery.intervention import ALLOWED
from grpc import StatusCode


def refused(reason: str, message: str = "no", **metadata: str) -> str:
    """What a person reads after a refusal."""
    kind = NotAllowedError if reason == "OUT_OF_SCOPE" else CallError
    return str(explained(kind(Refusal(reason, message, metadata), StatusCode.ABORTED), "h:1"))


@pytest.mark.parametrize(
    ("verb", "state", "step"),
    [
        ("RETRY", "UNKNOWN", "the same again with --not-found-at-vendor"),
        ("RESUBMIT", "RESOLVING", "the same again with --not-found-at-vendor"),
        ("RETRY", "UNKNOWN", "crossdock resolve DELIVERY --reference TYPE=VALUE --reason"),
        ("RETRY", "HELD", "it goes by itself"),
        ("RESOLVE", "CONFIRMED", "crossdock posted OBJECT"),
        ("StartReplay", "PLANNING", "crossdock replay show REPLAY --follow"),
        ("StartReplay", "FAILED", "plan less: crossdock replay plan"),
        ("StartReplay", "ABORTED", "plan it again: crossdock replay plan"),
        ("ApproveReplay", "RUNNING", "it was started already"),
        ("DiscardHeldFact", "APPLIED", "crossdock dead-letters list --closed"),
    ],
)
def test_a_state_that_is_in_the_way_says_what_to_type(verb: str, state: str, step: str) -> None:
    """Proves that a refusal for the state of a thing leads to the command that helps there."""
    told = refused("STATE_TRANSITION", verb=verb, state=state, allowed="PARKED, REJECTED")
    assert step in told.partition("  next: ")[2], told


@pytest.mark.parametrize(
    ("reason", "metadata", "step"),
    [
        ("OUT_OF_SCOPE", {"scope": "second_person"}, "another operator"),
        ("OUT_OF_SCOPE", {"scope": "location_numbers"}, "use the token of the role that may"),
        ("REFERENCE_TAKEN", {"value": "SO-7"}, "crossdock trace SO-7"),
        ("REFERENCE_TAKEN", {"value": "SO 7;x"}, "crossdock trace 'SO 7;x'"),
    ],
)
def test_a_refusal_is_told_by_what_it_is(reason: str, metadata: dict[str, str], step: str) -> None:
    """Proves that a missing second person is no missing role, and that a number which something
    else has leads to what has it."""
    assert step in refused(reason, **metadata).partition("  next: ")[2]


def test_every_state_that_the_hub_refuses_has_its_step() -> None:
    """Proves that each word of an operator leads on from each state in which the hub refuses it,
    that no step stands for a state there is not, and that what the message says is not said twice.
    """
    stored = set(delivery_pb2.DeliveryState.keys()) - {"DELIVERY_STATE_UNSPECIFIED"}
    states = {name.removeprefix("DELIVERY_STATE_") for name in stored}
    wanted = {(verb, state) for verb in ALLOWED for state in states - ALLOWED[verb]}
    assert wanted <= STEPS.keys(), wanted - STEPS.keys()
    enums = (delivery_pb2.DeliveryState, replay_pb2.ReplayState, held_fact_pb2.HeldFactState)
    names = [name for enum in enums for name in enum.DESCRIPTOR.values_by_name]
    known = {name.split("_STATE_")[1] for name in names}
    assert {state for _, state in STEPS} <= known
    overtaken = refused("STATE_TRANSITION", verb="RETRY", state="UNKNOWN", allowed="SKIP")
    assert "next:" not in overtaken
