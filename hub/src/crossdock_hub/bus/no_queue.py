"""Why an endpoint's queue can't be had, for who registers it."""

from __future__ import annotations

from crossdock.errors import Refusal

from crossdock_hub.bus.errors import BusError, BusFull, BusUnavailable
from crossdock_hub.bus.streams import StreamLimits


def no_queue(endpoint: str, error: BusError) -> Refusal:
    """Why an endpoint that is registered by now can't be told where its work lies."""
    again = "; repeat with the same request_id"
    if isinstance(error, BusFull):
        reserved = StreamLimits().delivery_max_bytes >> 20
        reason, rule = (
            "STORE_FULL",
            f"the bus has no room for the queue of {endpoint!r}, which reserves {reserved} MiB of "
            "memory: give the hub's NATS account or server more for JetStream, or take away an "
            f"endpoint that is not needed{again}",
        )
    elif isinstance(error, BusUnavailable):
        reason, rule = "HUB_UNAVAILABLE", f"the bus does not answer{again}"
    else:
        reason, rule = (
            "HUB_UNAVAILABLE",
            f"the bus refuses the queue of {endpoint!r}: see what else is in the hub's NATS "
            f"account{again}",
        )
    return Refusal(reason, rule, {"cause": str(error)}, retry_after_seconds=1.0)
