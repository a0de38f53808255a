"""What goes wrong between a caller and the hub, as values and as exceptions.

    CrossdockError
    ├── ContractError               the contract itself is wrong; quotes file and line
    ├── CallError                   a call did not succeed; .refusal says why
    │   ├── InvalidRequestError     MALFORMED_MESSAGE UNKNOWN_FIELD INVALID_FIELD REQUEST_ID_MISSING
    │   │                           MASK_INVALID DEADLINE_MISSING METHOD_UNKNOWN
    │   ├── AlreadyUsedError        REQUEST_ID_REUSED REFERENCE_TAKEN
    │   ├── UnknownEndpointError    UNKNOWN_ENDPOINT
    │   ├── NotAllowedError         METHOD_NOT_ALLOWED OUT_OF_SCOPE
    │   │   └── FieldNotOwnedError  FIELD_NOT_OWNED
    │   ├── NotFoundError           OBJECT_NOT_FOUND
    │   ├── PreconditionError       UNKNOWN_REFERENCE STATE_TRANSITION MANIFEST_REFUSED
    │   │                           OUTCOME_UNKNOWN UNMAPPED_CODE UNITS_NOT_CONVERTIBLE ARCHIVED
    │   ├── ConflictError           STALE_REVISION CURSOR_MOVED
    │   │   └── LeaseLostError      LEASE_LOST
    │   ├── LimitExceededError      LIMIT_EXCEEDED
    │   ├── TryAgainError           HUB_OVERLOADED STORE_FULL HUB_UNAVAILABLE
    │   ├── HubFaultError           INTERNAL_FAULT
    │   └── NoAnswerError           the call ended without the hub's own explanation; whether it
    │       │                       took effect is unknown: repeat it with the same request_id
    │       ├── UnreachableError    no connection, or it broke
    │       ├── DeadlineError       the deadline passed
    │       └── CallCancelledError  the call was cancelled on the way
    └── ConfigurationError          the client was set up wrongly; nothing was sent

The hub decides with `Refusal` values; a `Refusal` becomes a google.rpc.Status on the wire and one
of the classes above again in the caller's process.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

if TYPE_CHECKING:
    from crossdock.types.v1 import types_pb2

__all__ = [
    "CODES",
    "DOMAIN",
    "AlreadyUsedError",
    "CallCancelledError",
    "CallError",
    "ConfigurationError",
    "ConflictError",
    "ContractError",
    "CrossdockError",
    "DeadlineError",
    "FieldNotOwnedError",
    "HubFaultError",
    "InvalidRequestError",
    "LeaseLostError",
    "LimitExceededError",
    "NoAnswerError",
    "NotAllowedError",
    "NotFoundError",
    "PreconditionError",
    "Refusal",
    "TryAgainError",
    "UnknownEndpointError",
    "UnreachableError",
    "Violation",
    "error_of",
    "from_message",
    "from_rpc_error",
    "from_status",
    "to_message",
    "to_status",
]

DOMAIN: Final = "crossdock"
# A status travels in a trailer, of which clients accept 8 KiB by default, its text once more beside
# it: of too many violations the first ones are listed and the rest counted.
STATUS_LIMIT_BYTES: Final = 5_000
TEXT_LIMIT_CHARACTERS: Final = 500
# grpcio's server says that too many calls run, and not when to come again.
OVERLOADED_PAUSE_SECONDS: Final = 1.0
_OMITTED: Final = "violations_omitted"
_RETRY_AFTER: Final = "retry_after_seconds"
_DETAILS_KEY: Final = "grpc-status-details-bin"

_Code = grpc.StatusCode
# The code of each crossdock.error.v1.ErrorReason, as its comment says.
CODES: Final[Mapping[str, grpc.StatusCode]] = {
    "MALFORMED_MESSAGE": _Code.INVALID_ARGUMENT,
    "UNKNOWN_FIELD": _Code.INVALID_ARGUMENT,
    "INVALID_FIELD": _Code.INVALID_ARGUMENT,
    "REQUEST_ID_MISSING": _Code.INVALID_ARGUMENT,
    "MASK_INVALID": _Code.INVALID_ARGUMENT,
    "DEADLINE_MISSING": _Code.INVALID_ARGUMENT,
    "REQUEST_ID_REUSED": _Code.ALREADY_EXISTS,
    "REFERENCE_TAKEN": _Code.ALREADY_EXISTS,
    "UNKNOWN_ENDPOINT": _Code.UNAUTHENTICATED,
    "METHOD_NOT_ALLOWED": _Code.PERMISSION_DENIED,
    "OUT_OF_SCOPE": _Code.PERMISSION_DENIED,
    "FIELD_NOT_OWNED": _Code.PERMISSION_DENIED,
    "OBJECT_NOT_FOUND": _Code.NOT_FOUND,
    "UNKNOWN_REFERENCE": _Code.FAILED_PRECONDITION,
    "STATE_TRANSITION": _Code.FAILED_PRECONDITION,
    "STALE_REVISION": _Code.ABORTED,
    "LEASE_LOST": _Code.ABORTED,
    "LIMIT_EXCEEDED": _Code.RESOURCE_EXHAUSTED,
    "HUB_OVERLOADED": _Code.RESOURCE_EXHAUSTED,
    "STORE_FULL": _Code.RESOURCE_EXHAUSTED,
    "INTERNAL_FAULT": _Code.INTERNAL,
    "HUB_UNAVAILABLE": _Code.UNAVAILABLE,
    "CURSOR_MOVED": _Code.ABORTED,
    "MANIFEST_REFUSED": _Code.FAILED_PRECONDITION,
    "METHOD_UNKNOWN": _Code.UNIMPLEMENTED,
    "UNMAPPED_CODE": _Code.FAILED_PRECONDITION,
    "UNITS_NOT_CONVERTIBLE": _Code.FAILED_PRECONDITION,
    "OUTCOME_UNKNOWN": _Code.FAILED_PRECONDITION,
    "ARCHIVED": _Code.FAILED_PRECONDITION,
}


@dataclass(frozen=True, slots=True)
class Violation:
    """One field that breaks a rule of the contract.

    field: path as the caller wrote it, for example "order.lines[2].item_number"; "" for a rule over
        the whole message. description: what is wrong. rule: id of the rule.
    """

    field: str
    description: str
    rule: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why the hub says no.

    reason: a crossdock.error.v1.ErrorReason without its prefix, for example "STALE_REVISION".
    message: one sentence, what is wrong and what to do; no secrets, no payload.
    metadata: what the reason's comment in error_reason.proto lists; text only.
    violations: every offending field. retry_after_seconds: when a repeat makes sense; None: open.
    """

    reason: str
    message: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    violations: Sequence[Violation] = ()
    retry_after_seconds: float | None = None


class CrossdockError(Exception):
    """Root of everything this distribution raises on purpose."""


class ContractError(CrossdockError):
    """The contract is wrong: every finding names file and line.

    findings: one sentence each, "proto/crossdock/…/x.proto:12: what is wrong".
    """

    def __init__(self, *findings: str) -> None:
        super().__init__("\n".join(findings))
        self.findings = findings


class ConfigurationError(CrossdockError):
    """The client was set up wrongly, for example a token that would travel in plain text."""


class CallError(CrossdockError):
    """A call did not succeed.

    refusal: the hub's reason, or what the transport said in its place. code: of the gRPC status.
    method: "/crossdock.order.v1.OrderService/CreateOrder", where known.
    """

    def __init__(self, refusal: Refusal, code: grpc.StatusCode, method: str = "") -> None:
        super().__init__(f"{refusal.reason}: {refusal.message}")
        self.refusal = refusal
        self.code = code
        self.method = method

    @property
    def reason(self) -> str:
        """The reason's name, for example "STALE_REVISION"."""
        return self.refusal.reason


class InvalidRequestError(CallError):
    """The request is wrong in itself; a repeat cannot help. See refusal.violations."""


class AlreadyUsedError(CallError):
    """The request_id or a reference belongs to something else."""


class UnknownEndpointError(CallError):
    """The hub does not know the token; fix the configuration."""


class NotAllowedError(CallError):
    """The caller's role or scope does not permit it."""


class FieldNotOwnedError(NotAllowedError):
    """Another role owns a field. refusal.metadata: field, owner, writer, rule (file and line)."""


class NotFoundError(CallError):
    """There is no such object, or none that the caller may see."""


class PreconditionError(CallError):
    """It does not fit what the hub knows or the object's state; a plain repeat cannot help."""


class ConflictError(CallError):
    """Somebody else was faster: read, decide again."""


class LeaseLostError(ConflictError):
    """Another worker holds the delivery: stop, do not call the vendor."""


class LimitExceededError(CallError):
    """Too large or too many: send less."""


class TryAgainError(CallError):
    """Not now. Wait refusal.retry_after_seconds, then repeat with the same request_id."""


class HubFaultError(CallError):
    """A fault of the hub; refusal.metadata["incident"] finds it in its log."""


class NoAnswerError(CallError):
    """The hub's own answer is missing: the call may have taken effect. Repeat with the same id."""


class UnreachableError(NoAnswerError):
    """No connection, or it broke."""


class DeadlineError(NoAnswerError):
    """The deadline passed first."""


class CallCancelledError(NoAnswerError):
    """The call was cancelled on the way."""


_CLASSES: Final[Mapping[str, type[CallError]]] = {
    "MALFORMED_MESSAGE": InvalidRequestError,
    "UNKNOWN_FIELD": InvalidRequestError,
    "INVALID_FIELD": InvalidRequestError,
    "REQUEST_ID_MISSING": InvalidRequestError,
    "MASK_INVALID": InvalidRequestError,
    "DEADLINE_MISSING": InvalidRequestError,
    "METHOD_UNKNOWN": InvalidRequestError,
    "REQUEST_ID_REUSED": AlreadyUsedError,
    "REFERENCE_TAKEN": AlreadyUsedError,
    "UNKNOWN_ENDPOINT": UnknownEndpointError,
    "METHOD_NOT_ALLOWED": NotAllowedError,
    "OUT_OF_SCOPE": NotAllowedError,
    "FIELD_NOT_OWNED": FieldNotOwnedError,
    "OBJECT_NOT_FOUND": NotFoundError,
    "UNKNOWN_REFERENCE": PreconditionError,
    "STATE_TRANSITION": PreconditionError,
    "MANIFEST_REFUSED": PreconditionError,
    "UNMAPPED_CODE": PreconditionError,
    "UNITS_NOT_CONVERTIBLE": PreconditionError,
    "OUTCOME_UNKNOWN": PreconditionError,
    "ARCHIVED": PreconditionError,
    "STALE_REVISION": ConflictError,
    "CURSOR_MOVED": ConflictError,
    "LEASE_LOST": LeaseLostError,
    "LIMIT_EXCEEDED": LimitExceededError,
    "HUB_OVERLOADED": TryAgainError,
    "STORE_FULL": TryAgainError,
    "HUB_UNAVAILABLE": TryAgainError,
    "INTERNAL_FAULT": HubFaultError,
}


def error_of(refusal: Refusal, method: str = "") -> CallError:
    """The exception for a refusal, ready to be raised in the caller's process."""
    kind = _CLASSES.get(refusal.reason, CallError)
    return kind(refusal, CODES.get(refusal.reason, _Code.UNKNOWN), method)


# To and from google.rpc.Status


def to_status(refusal: Refusal) -> status_pb2.Status:
    """The status of a refused call: ErrorInfo always, BadRequest and RetryInfo where they apply.

    Use it with `context.abort_with_status(rpc_status.to_status(status))`. KeyError: the reason is
    none of the contract's.
    """
    status = status_pb2.Status(
        code=CODES[refusal.reason].value[0], message=refusal.message[:TEXT_LIMIT_CHARACTERS]
    )
    metadata = {key: value[:TEXT_LIMIT_CHARACTERS] for key, value in refusal.metadata.items()}
    bad_request = error_details_pb2.BadRequest()
    left = STATUS_LIMIT_BYTES
    for listed, violation in enumerate(refusal.violations):
        entry = error_details_pb2.BadRequest.FieldViolation(
            field=violation.field,
            description=violation.description[:TEXT_LIMIT_CHARACTERS],
            reason=violation.rule,
        )
        left -= entry.ByteSize() + 4
        if left < 0:
            metadata[_OMITTED] = str(len(refusal.violations) - listed)
            break
        bad_request.field_violations.append(entry)
    info = error_details_pb2.ErrorInfo(reason=refusal.reason, domain=DOMAIN, metadata=metadata)
    status.details.add().Pack(info)
    if bad_request.field_violations:
        status.details.add().Pack(bad_request)
    if refusal.retry_after_seconds is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromNanoseconds(round(refusal.retry_after_seconds * 1e9))
        status.details.add().Pack(retry)
    return status


def from_status(status: status_pb2.Status) -> Refusal | None:
    """The hub's refusal in a status; None: the status does not come from the hub."""
    info = error_details_pb2.ErrorInfo()
    bad_request = error_details_pb2.BadRequest()
    retry = error_details_pb2.RetryInfo()
    for detail in status.details:
        for message in (info, bad_request, retry):
            if detail.Is(message.DESCRIPTOR):
                detail.Unpack(message)
    if info.domain != DOMAIN:
        return None
    seconds = retry.retry_delay.ToNanoseconds() / 1e9 if retry.HasField("retry_delay") else None
    return Refusal(
        reason=info.reason,
        message=status.message,
        metadata=dict(info.metadata),
        violations=tuple(
            Violation(each.field, each.description, each.reason)
            for each in bad_request.field_violations
        ),
        retry_after_seconds=seconds,
    )


# Without details the library itself refused the call, or the connection did.
_WITHOUT_DETAILS: Final[Mapping[grpc.StatusCode, tuple[type[CallError], str]]] = {
    _Code.UNAVAILABLE: (UnreachableError, "UNREACHABLE"),
    _Code.DEADLINE_EXCEEDED: (DeadlineError, "DEADLINE"),
    _Code.CANCELLED: (CallCancelledError, "CANCELLED"),
    _Code.UNIMPLEMENTED: (InvalidRequestError, "METHOD_UNKNOWN"),
    _Code.UNAUTHENTICATED: (UnknownEndpointError, "UNKNOWN_ENDPOINT"),
    _Code.PERMISSION_DENIED: (NotAllowedError, "METHOD_NOT_ALLOWED"),
}


def from_rpc_error(error: Any, method: str = "") -> CallError:
    """Translates a grpc.aio.AioRpcError, or any grpc.RpcError that is a call.

    The text of an error without the hub's details is the transport's own, never a payload.
    """
    code: grpc.StatusCode = error.code()
    refusal = _refusal_in_trailers(error.trailing_metadata())
    if refusal is not None:
        return _CLASSES.get(refusal.reason, CallError)(refusal, code, method)
    text = error.details() or code.name
    if code is _Code.RESOURCE_EXHAUSTED:
        # grpcio's server says this when too many calls run at once; the rest are sizes.
        overloaded = "concurrent" in text.lower()
        kind: type[CallError] = TryAgainError if overloaded else LimitExceededError
        reason = "HUB_OVERLOADED" if overloaded else "LIMIT_EXCEEDED"
        pause_seconds = OVERLOADED_PAUSE_SECONDS if overloaded else None
        return kind(Refusal(reason, text, retry_after_seconds=pause_seconds), code, method)
    kind, reason = _WITHOUT_DETAILS.get(code, (NoAnswerError, code.name))
    return kind(Refusal(reason, text), code, method)


def _refusal_in_trailers(trailers: Any) -> Refusal | None:
    for key, value in trailers or ():
        if key == _DETAILS_KEY:
            try:
                return from_status(status_pb2.Status.FromString(value))
            except DecodeError:
                return None
    return None


# To and from crossdock.types.v1.Refusal, which batch answers carry. The stubs are imported late:
# the contract compiler needs this module before they have been generated.


def to_message(refusal: Refusal) -> types_pb2.Refusal:
    """The refusal as it stands in the answer to a batch."""
    from crossdock.types.v1 import types_pb2

    metadata = dict(refusal.metadata)
    if refusal.retry_after_seconds is not None:
        metadata[_RETRY_AFTER] = str(refusal.retry_after_seconds)
    return types_pb2.Refusal(
        reason=refusal.reason,
        message=refusal.message,
        metadata=metadata,
        violations=[
            types_pb2.FieldViolation(field=v.field, description=v.description, rule=v.rule)
            for v in refusal.violations
        ],
    )


def from_message(message: types_pb2.Refusal) -> Refusal:
    """The refusal in the answer to a batch; `raise error_of(from_message(result.refusal))`."""
    metadata = dict(message.metadata)
    retry_after = metadata.pop(_RETRY_AFTER, None)
    return Refusal(
        reason=message.reason,
        message=message.message,
        metadata=metadata,
        violations=tuple(Violation(v.field, v.description, v.rule) for v in message.violations),
        retry_after_seconds=None if retry_after is None else float(retry_after),
    )
