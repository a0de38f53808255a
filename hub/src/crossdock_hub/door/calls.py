"""One call at the door: who, and may they; and how a refusal goes out.

The first stage of the pipeline, identify. The rest happens in the batch.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, NoReturn

import grpc
from crossdock.contracts import Contract, Method
from crossdock.errors import Refusal, to_status

from crossdock_hub.config import Limits
from crossdock_hub.identity import UNKNOWN_ENDPOINT, Caller, Identities
from crossdock_hub.unit import Refused

CODES = {code.value[0]: code for code in grpc.StatusCode}
DETAILS = "grpc-status-details-bin"
# How long a stream that is refused may still be sent: what a caller has under way arrives in it.
HEARD_OUT_SECONDS: Final = 1.0
# So many at a time: each has a slot of the hub meanwhile, and anybody can ask to be refused.
HEARD_OUT_MAX: Final = 64
_hearing: Final = asyncio.Semaphore(HEARD_OUT_MAX)


def authorization_of(context: Any) -> str | None:
    """The authorization header of a call; None: it has none."""
    authorization = None
    for key, value in context.invocation_metadata() or ():
        if key == "authorization":
            authorization = value if isinstance(value, str) else value.decode("latin-1")
    return authorization


@dataclass(slots=True)
class Door:
    """What every call passes before it reaches a decision or a query."""

    contract: Contract
    identities: Identities
    limits: Limits
    require_deadline: bool

    def admit(self, method: Method, context: Any) -> Caller:
        """The caller. Raises Refused: unknown, not allowed, or without a deadline."""
        caller = self.identities.identify(authorization_of(context))
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


def require_own(caller: Caller, endpoint: str) -> None:
    """Refuse a call of an endpoint about another one's work. Raises Refused."""
    if caller.endpoint != endpoint:
        raise Refused(
            Refusal(
                "OUT_OF_SCOPE",
                f"endpoint {endpoint!r} is not the caller {caller.endpoint!r}; "
                "an endpoint works on its own deliveries only",
                {"scope": "endpoint"},
            )
        )


async def abort(context: Any, refusal: Refusal) -> NoReturn:
    """End the call with a google.rpc.Status that says why and what to do."""
    status = to_status(refusal)
    await context.abort(
        CODES[status.code], status.message, ((DETAILS, status.SerializeToString()),)
    )
    raise AssertionError("abort raises")


async def abort_stream(context: Any, frames: AsyncIterator[Any], refusal: Refusal) -> NoReturn:
    """End a call whose caller sends a stream: hear it out for a moment first, and keep nothing.

    A caller on grpc.aio whose write meets an ended call is told INTERNAL instead of the status
    that it was ended with (grpc issue 36066).
    """
    if not _hearing.locked():
        # Whatever a stranger sends is no reason to answer anything else.
        with suppress(Exception):
            async with _hearing, asyncio.timeout(HEARD_OUT_SECONDS):
                async for _ in frames:
                    pass
    await abort(context, refusal)
