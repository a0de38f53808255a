"""One call at the door: who, may they, is the message what it says; and how a refusal goes out.

The first stages of the pipeline: identify, validate, deduplicate. The rest happens in the batch.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any, NoReturn

import grpc
import structlog
from crossdock.contracts import Contract, Method, unknown_field
from crossdock.errors import Refusal, to_status
from google.protobuf.message import DecodeError

from crossdock_hub.config import Limits
from crossdock_hub.identity import UNKNOWN_ENDPOINT, Caller, Identities
from crossdock_hub.refusals import invalid, too_much
from crossdock_hub.unit import Refused

log = structlog.get_logger("crossdock.calls")

CODES = {code.value[0]: code for code in grpc.StatusCode}
DETAILS = "grpc-status-details-bin"


@dataclass(slots=True)
class Door:
    """What every call passes before it reaches a decision or a query."""

    contract: Contract
    identities: Identities
    limits: Limits
    require_deadline: bool

    def admit(self, method: Method, context: Any) -> Caller:
        """The caller. Raises Refused: unknown, not allowed, or without a deadline."""
        authorization = None
        for key, value in context.invocation_metadata() or ():
            if key == "authorization":
                authorization = value if isinstance(value, str) else value.decode("latin-1")
        caller = self.identities.identify(authorization)
        if caller is None:
            raise Refused(UNKNOWN_ENDPOINT)
        if caller.role not in method.callers:
            raise Refused(
                Refusal(
                    "METHOD_NOT_ALLOWED",
                    f"{caller.role} ({caller.endpoint}) may not call {method.full_name}; "
                    f"allowed: {', '.join(sorted(method.callers))} (rule: {method.position})",
                    {"role": caller.role, "method": method.full_name, "rule": method.position},
                )
            )
        streams = method.client_streaming or method.server_streaming
        if self.require_deadline and not streams:
            self._check_deadline(context)
        return caller

    def _check_deadline(self, context: Any) -> None:
        remaining = context.time_remaining()
        most = self.limits.deadline_seconds_max
        if remaining is None or remaining > most + 1.0:
            raise Refused(
                Refusal(
                    "DEADLINE_MISSING",
                    f"the call has no deadline of at most {most:g} s; set one",
                    {"field": "deadline", "limit_seconds": f"{most:g}"},
                )
            )

    def parse(self, message_name: str, raw: bytes) -> Any:
        """The request. Raises Refused: malformed, too large, unknown fields, broken rules."""
        refusal = too_much(self.contract, message_name, raw, self.limits)
        if refusal is not None:
            raise Refused(refusal)
        try:
            request: Any = self.contract.generated_class(message_name).FromString(raw)
            unknown = unknown_field(request)
            violations = self.contract.validate(message_name, raw)
        except (DecodeError, ValueError, RecursionError):
            raise Refused(
                Refusal(
                    "MALFORMED_MESSAGE",
                    f"the bytes are no {message_name}; generate your stubs from this contract",
                    {"message": message_name},
                )
            ) from None
        if unknown is not None:
            raise Refused(
                Refusal(
                    "UNKNOWN_FIELD",
                    f"{unknown} is no field of {message_name} in this contract; "
                    "compare the versions of your stubs and of the hub",
                    {"message": message_name, "number": unknown.rpartition("#")[2]},
                )
            )
        if violations:
            if any(v.field == "request_id" and not request.request_id for v in violations):
                raise Refused(REQUEST_ID_MISSING)
            raise invalid(violations)
        return request


REQUEST_ID_MISSING = Refusal(
    "REQUEST_ID_MISSING",
    "request_id is missing: any UUID, kept and repeated when the call is repeated",
    {"field": "request_id"},
)


async def abort(context: Any, refusal: Refusal) -> NoReturn:
    """End the call with a google.rpc.Status that says why and what to do."""
    status = to_status(refusal)
    await context.abort(
        CODES[status.code], status.message, ((DETAILS, status.SerializeToString()),)
    )
    raise AssertionError("abort raises")


def fault(method: str, error: Exception) -> Refusal:
    """A fault of ours: an incident id for the caller, the exception for the log only."""
    incident = uuid.uuid4().hex[:12]
    log.error("fault in a call", method=method, incident=incident, exc_info=error)
    return Refusal(
        "INTERNAL_FAULT",
        f"a fault of the hub (incident {incident}); repeating with the same request_id is safe",
        {"incident": incident},
    )
