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
    │   ├── ConflictError           STALE_REVISION CURSOR_MOVED
    │   │   └── LeaseLostError      LEASE_LOST
    │   ├── LimitExceededError      LIMIT_EXCEEDED
    │   ├── TryAgainError           HUB_OVERLOADED STORE_FULL HUB_UNAVAILABLE
    │   ├── HubFaultError           INTERNAL_FAULT
    │   └── NoAnswerError           the call ended without the hub's own explanation; whether it
    │       │                       took effect is unknown: repeat it with the same request_id
    │       ├── UnreachableError    no connection, or it broke
    │       ├── DeadlineError       the deadline passed
    │       └── CancelledError      the other side cancelled the call
    └── ConfigurationError          the client was set up wrongly; nothing was sent

The hub decides with `Refusal` values; a `Refusal` becomes a google.rpc.Status on the wire and one
of the classes above again in the caller's process.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

__all__ = ["CrossdockError", "ContractError", "Refusal", "Violation"]


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
