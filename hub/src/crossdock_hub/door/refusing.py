"""Why a call ends without an answer: what went wrong inside, as a refusal."""

from __future__ import annotations

from crossdock.errors import Refusal

from crossdock_hub.committer import Stopped
from crossdock_hub.refusals import fault
from crossdock_hub.store import StoreFailure
from crossdock_hub.unit import Refused

STOPPING = Refusal(
    "HUB_UNAVAILABLE",
    "the hub is stopping; repeat with the same request_id, another or the restarted one answers",
    {"cause": "stopping"},
    retry_after_seconds=1.0,
)


def refusal_of(method: str, error: Exception) -> Refusal:
    """Why a call ends without an answer, whatever went wrong."""
    if isinstance(error, Refused):
        return error.refusal
    if isinstance(error, Stopped):
        return STOPPING
    if isinstance(error, StoreFailure):
        return Refusal(
            "STORE_FULL" if error.full else "HUB_UNAVAILABLE",
            f"{error.cause}; repeat",
            {"cause": error.cause},
            retry_after_seconds=1.0,
        )
    return fault(method, error)
