"""Refusals on the wire and back, and every error of grpc as one of ours."""

from __future__ import annotations

import inspect

import grpc
import pytest
from crossdock import errors
from crossdock.error.v1.error_reason_pb2 import ErrorReason
from crossdock.errors import Refusal, Violation
from google.rpc import status_pb2
from grpc import aio
from hypothesis import given
from hypothesis import strategies as st

NAMES = [value.name for value in ErrorReason.DESCRIPTOR.values]
REASONS = [name.removeprefix("ERROR_REASON_") for name in NAMES][1:]
TEXT = st.text(max_size=100)
REFUSALS = st.builds(
    Refusal,
    reason=st.sampled_from(REASONS),
    message=TEXT,
    metadata=st.dictionaries(st.text(min_size=1, max_size=20), TEXT, max_size=3),
    violations=st.lists(st.builds(Violation, TEXT, TEXT, TEXT), max_size=3).map(tuple),
    retry_after_seconds=st.none() | st.sampled_from([0.0, 0.25, 1.0, 90.0]),
)


def rpc_error(
    code: grpc.StatusCode, details: str = "", status: status_pb2.Status | None = None
) -> aio.AioRpcError:
    trailers = aio.Metadata()
    if status is not None:
        trailers.add("grpc-status-details-bin", status.SerializeToString())
    return aio.AioRpcError(code, aio.Metadata(), trailers, details=details)


def test_each_reason_has_a_code_and_a_class_of_its_own_group() -> None:
    """Proves that no reason of the contract is left to the catch-all."""
    assert set(errors.CODES) == set(REASONS)
    for reason in REASONS:
        error = errors.error_of(Refusal(reason, "why"), "/a/B")
        assert type(error) is not errors.CallError
        assert (error.reason, error.code, error.method) == (reason, errors.CODES[reason], "/a/B")


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    """Proves that every exception is drawn, exported, and descends from the one root."""
    classes = {
        name: kind
        for name, kind in vars(errors).items()
        if inspect.isclass(kind) and issubclass(kind, Exception) and name.endswith("Error")
    }
    classes.pop("DecodeError")
    assert errors.__doc__ is not None
    for name, kind in classes.items():
        assert issubclass(kind, errors.CrossdockError)
        assert f" {name}" in errors.__doc__
        assert name in errors.__all__


@given(REFUSALS)
def test_a_refusal_survives_the_wire(refusal: Refusal) -> None:
    """Proves that what the hub decided is what the caller's program sees."""
    status = status_pb2.Status.FromString(errors.to_status(refusal).SerializeToString())
    assert errors.from_status(status) == refusal
    error = errors.from_rpc_error(rpc_error(errors.CODES[refusal.reason], "x", status))
    assert (error.refusal, type(error)) == (refusal, type(errors.error_of(refusal)))


@given(REFUSALS)
def test_a_refusal_survives_a_batch_answer(refusal: Refusal) -> None:
    """Proves that an entry of a batch is refused with the same content as a single call."""
    assert errors.from_message(errors.to_message(refusal)) == refusal


def test_too_many_violations_are_counted_not_dropped() -> None:
    """Proves that a status stays within a trailer, and says how many violations it left out."""
    violations = [Violation(f"lines[{n}].item_number", "too short" * 9, "x") for n in range(500)]
    status = errors.to_status(Refusal("INVALID_FIELD", "m" * 5_000, {}, violations))
    assert status.ByteSize() < 7_000
    refusal = errors.from_status(status)
    assert refusal is not None
    left_out = int(refusal.metadata["violations_omitted"])
    assert len(refusal.violations) + left_out == 500


@pytest.mark.parametrize("code", list(grpc.StatusCode))
def test_every_status_code_without_details_has_a_class(code: grpc.StatusCode) -> None:
    """Proves that grpc's own errors become ours, whatever their code."""
    error = errors.from_rpc_error(rpc_error(code, "transport says"), "/a/B")
    assert isinstance(error, errors.CallError)
    assert (error.code, error.method, error.refusal.message) == (code, "/a/B", "transport says")


@pytest.mark.parametrize(
    ("code", "text", "kind"),
    [
        (grpc.StatusCode.UNAVAILABLE, "", errors.UnreachableError),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "", errors.DeadlineError),
        (grpc.StatusCode.CANCELLED, "", errors.CallCancelledError),
        (grpc.StatusCode.UNIMPLEMENTED, "", errors.InvalidRequestError),
        (grpc.StatusCode.UNAUTHENTICATED, "", errors.UnknownEndpointError),
        (grpc.StatusCode.INTERNAL, "", errors.NoAnswerError),
        (grpc.StatusCode.UNKNOWN, "", errors.NoAnswerError),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "Concurrent RPC limit!", errors.TryAgainError),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "message too large", errors.LimitExceededError),
    ],
)
def test_transport_errors_say_what_to_do(
    code: grpc.StatusCode, text: str, kind: type[errors.CallError]
) -> None:
    """Proves that an outcome nobody knows is told apart from a refusal."""
    assert type(errors.from_rpc_error(rpc_error(code, text))) is kind


def test_grpcs_own_crowd_is_told_when_to_come_again() -> None:
    """Proves that a refusal of grpc's server, which does not say when to come again, has a pause
    all the same, and that a message that is too large has none."""
    said = [
        errors.from_rpc_error(rpc_error(grpc.StatusCode.RESOURCE_EXHAUSTED, text)).refusal
        for text in ("Concurrent RPC limit exceeded!", "Received message larger than max")
    ]
    assert [(each.reason, each.retry_after_seconds) for each in said] == [
        ("HUB_OVERLOADED", 1.0),
        ("LIMIT_EXCEEDED", None),
    ]


def test_foreign_and_broken_details_are_not_believed() -> None:
    """Proves that only the hub's own domain counts as its reason."""
    foreign = errors.to_status(Refusal("INTERNAL_FAULT", "m"))
    foreign.details[0].value = foreign.details[0].value.replace(b"crossdock", b"somebody!")
    broken = status_pb2.Status.FromString(b"")
    for status in (foreign, broken):
        error = errors.from_rpc_error(rpc_error(grpc.StatusCode.INTERNAL, "m", status))
        assert type(error) is errors.NoAnswerError
    trailers = aio.Metadata(("grpc-status-details-bin", b"\xff\xff"))
    garbled = aio.AioRpcError(grpc.StatusCode.INTERNAL, aio.Metadata(), trailers, details="m")
    assert type(errors.from_rpc_error(garbled)) is errors.NoAnswerError


def test_a_reason_of_a_later_hub_is_still_an_error_of_ours() -> None:
    """Proves that reasons may grow: an unknown one keeps its text and metadata."""
    status = errors.to_status(Refusal("STORE_FULL", "m", {"cause": "disk"}))
    status.details[0].value = status.details[0].value.replace(b"STORE_FULL", b"MOON_PHASE")
    error = errors.from_rpc_error(rpc_error(grpc.StatusCode.ABORTED, "m", status))
    assert type(error) is errors.CallError
    assert (error.reason, error.refusal.metadata) == ("MOON_PHASE", {"cause": "disk"})
