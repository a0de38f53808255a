"""Endpoints as readers see them: queue, lanes, breaker, what is allowed now, time to drain."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from crossdock.endpoint.v1 import endpoint_pb2
from crossdock.options.v1 import options_pb2

from crossdock_hub.config import Limits
from crossdock_hub.delivery import breaking, pacing
from crossdock_hub.delivery.dispatching import Allowance, allowance
from crossdock_hub.delivery.draining import Settled, drain_seconds
from crossdock_hub.delivery.registry import compile_endpoint
from crossdock_hub.delivery.routing import PRIORITY, REPLAY_PRIORITY
from crossdock_hub.objects.resources import stamp
from crossdock_hub.reading.chain import Figures, LaneFigures
from crossdock_hub.records import EndpointRecord
from crossdock_hub.verbs.endpoints import describe

CLASSES = {
    priority: options_pb2.LatencyClass.Value(f"LATENCY_CLASS_{name}")
    for name, priority in PRIORITY.items()
}
HUNDREDTH = Decimal("0.01")

# Deliveries of an endpoint that were settled in a second, of late; None: not known at this hub, for
# another one leads its system.
SettledOf = Callable[[str], Settled | None]


def endpoint_messages(
    shown: Sequence[EndpointRecord],
    every: Sequence[EndpointRecord],
    figures: Mapping[str, Figures],
    settled_of: SettledOf,
    now: int,
    limits: Limits,
) -> list[endpoint_pb2.Endpoint]:
    """Endpoints with what each has to do. every: all there are, for budgets that systems share."""
    compiled = {record.id: compile_endpoint(record, limits) for record in every}
    registry = tuple(compiled.values())
    messages = []
    for record in shown:
        endpoint = compiled.get(record.id) or compile_endpoint(record, limits)
        allowed = allowance(endpoint, registry, now, limits)
        settled = settled_of(record.id)
        found = figures.get(record.id, Figures())
        messages.append(_message(record, found, allowed, settled, now))
    return messages


def _message(
    record: EndpointRecord, figures: Figures, allowed: Allowance, settled: Settled | None, now: int
) -> endpoint_pb2.Endpoint:
    message = describe(record)
    message.queue_depth = figures.queue_depth
    message.in_use = figures.in_use
    message.in_doubt = figures.in_doubt
    message.parked = figures.parked
    if figures.oldest_at is not None:
        stamp(message.oldest_time, figures.oldest_at)
    _breaker(message.breaker, record)
    message.effective_concurrency = allowed.concurrency
    if allowed.rate_per_second is not None:
        message.effective_rate_per_second = _decimal(allowed.rate_per_second)
    if record.throttled_until is not None and pacing.is_held(record, now):
        stamp(message.throttled_until, record.throttled_until)
    if settled is not None:
        message.settled_per_second = _decimal(Decimal(str(round(settled.per_second, 4))))
    seconds = time_to_drain(record, figures, allowed, settled)
    if seconds is not None:
        message.time_to_drain.FromMicroseconds(round(seconds * 1_000_000))
    message.lanes.extend(_lane(*found) for found in sorted(figures.lanes.items()))
    return message


def _lane(priority: int, figures: LaneFigures) -> endpoint_pb2.Lane:
    lane = endpoint_pb2.Lane(waiting=figures.waiting)
    if priority == REPLAY_PRIORITY:
        lane.replays = True
    else:
        lane.latency_class = CLASSES[priority]
    if figures.oldest_at is not None:
        stamp(lane.oldest_time, figures.oldest_at)
    return lane


def time_to_drain(
    record: EndpointRecord, figures: Figures, allowed: Allowance, settled: Settled | None
) -> float | None:
    """Seconds until the queue is worked off; what waits for a person does not drain. None: nothing
    moves, or how fast is not known here."""
    if settled is None:
        return None
    moving = record.state == "ACTIVE" and not breaking.is_open(record)
    waiting = figures.queue_depth - figures.parked
    return drain_seconds(waiting, settled, allowed.rate_per_second, moving=moving)


def _breaker(message: Any, record: EndpointRecord) -> None:
    message.state = endpoint_pb2.BreakerState.Value(f"BREAKER_STATE_{record.breaker_state}")
    message.reason = record.breaker_reason
    message.failures = len(record.breaker_failing)
    message.probes = record.breaker_probes
    if record.breaker_since is not None:
        stamp(message.since_time, record.breaker_since)
    if record.breaker_probe_at is not None:
        stamp(message.probe_time, record.breaker_probe_at)


def _decimal(value: Decimal) -> str:
    return format(value.quantize(HUNDREDTH), "f")
