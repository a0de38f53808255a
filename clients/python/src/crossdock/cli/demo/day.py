"""Act 8, a day without the ERP in fast time: the hub's pauses are divided, calls take their time.

The hub is started with every limit of waiting divided by the scale that makes a day of the outage:
back-off, probes of the breaker, prerequisites, keys. Leases and calls are of real processes and
stay as they are, and no pause is shorter than SHORTEST_SECONDS, so there are fewer probes than in a
real day.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from crossdock.cli.demo import day_proofs as proofs
from crossdock.cli.demo.books import Call
from crossdock.cli.demo.day_proofs import Day, Waited
from crossdock.cli.demo.poison import read_groups
from crossdock.cli.demo.stage import Stage, at_least
from crossdock.cli.demo.views import HubView, read_deliveries
from crossdock.cli.names import attempt_outcome
from crossdock.cli.network.netsuite import ERP_ID_PREFIX
from crossdock.delivery.v1 import delivery_pb2, delivery_service_pb2
from crossdock.endpoint.v1 import endpoint_pb2, endpoint_service_pb2
from crossdock.errors import CallError
from crossdock.order.v1 import order_service_pb2

DAY_SECONDS: Final = 86_400.0
# What the hub waits for by default, in seconds; docs/operations.md lists the limits.
WAITS: Final[Mapping[str, float]] = {
    "retry_seconds_first": 0.5,
    "retry_seconds_max": 30.0,
    "breaker_probe_seconds_first": 1.0,
    "breaker_probe_seconds_max": 30.0,
    "prerequisite_seconds_default": 86_400.0,
    "key_life_seconds_default": 1_800.0,
    "look_up_retry_seconds_max": 300.0,
}
# Of the hub's own timer, which no probe can outrun.
SHORTEST_SECONDS: Final = 0.02
LOTS: Final = 4
DRAIN_SECONDS: Final = 60.0
LEFT_SECONDS: Final = 60.0
BACK_SECONDS: Final = 30.0
POLL_SECONDS: Final = 0.5
PAGE: Final = 500
# Calls that were under way when the port closed may be logged a moment later.
OUTAGE_MARGIN: Final = timedelta(seconds=0.2)
LEFT_THE_DOCK: Final = frozenset({"PARTIALLY_SHIPPED", "SHIPPED", "DELIVERED"})


@dataclass(frozen=True, slots=True)
class DayCast:
    """How many orders come in the course of the day, and how long it lasts here (seconds)."""

    orders: int
    seconds: float

    @property
    def scale(self) -> float:
        """Seconds of the day in one second here."""
        return DAY_SECONDS / self.seconds


def scaled_limits(scale: float) -> dict[str, float]:
    """The limits of a hub whose pauses are divided by the scale."""
    shorter = {name: max(seconds / scale, SHORTEST_SECONDS) for name, seconds in WAITS.items()}
    return {**shorter, "timer_seconds": SHORTEST_SECONDS}


async def play_day(stage: Stage, cast: DayCast) -> None:
    """Begins and ends with nothing left to do at any vendor."""
    act = stage.report.begin(
        8,
        "a day without the ERP",
        f"24 hours in {cast.seconds:g} s: the hub starts anew with all its pauses divided by "
        f"{cast.scale:,.0f} (none below {1000 * SHORTEST_SECONDS:.0f} ms; calls and leases take "
        f"their time), {cast.orders} orders come in",
    )
    await stage.installation.restart_hub(scaled_limits(cast.scale))
    await _answered(stage)
    begin = datetime.now(UTC)
    await stage.erp.fault("down", seconds=cast.seconds)
    end = begin + timedelta(seconds=cast.seconds)
    ids: list[str] = []
    for lot in range(LOTS):
        ids += await stage.place(cast.orders * (lot + 1) // LOTS - len(ids))
        # The lots come in the first half: what is shipped in the second waits for them.
        await _sleep_until(begin + (end - begin) * (lot + 1) / (2 * LOTS))
    waited = await _last_look(stage, end, cast.scale)
    await stage.wait_until(
        f"{len(ids)} orders shipped", ids, at_least(len(ids), LEFT_THE_DOCK), LEFT_SECONDS
    )
    await stage.issued(ids, DRAIN_SECONDS)
    await stage.settled(DRAIN_SECONDS)
    day = Day(begin + OUTAGE_MARGIN, end - OUTAGE_MARGIN, cast.scale)
    await _prove(stage, act, day, waited, ids)


async def _answered(stage: Stage) -> None:
    """Until callers have found the hub that started anew: an hour of the day is a moment here."""
    deadline = time.monotonic() + BACK_SECONDS
    while True:
        try:
            await stage.oms.orders.ListOrders(order_service_pb2.ListOrdersRequest(page_size=1))
            await _erp(stage)
            return
        except CallError:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(POLL_SECONDS)


async def _prove(stage: Stage, act: object, day: Day, waited: Waited, ids: list[str]) -> None:
    report = stage.report
    found = report.acts[-1]
    assert found is act
    calls, erp = Call.read_all(await stage.erp.calls()), await stage.erp_books()
    endpoint = await _erp(stage)
    mine = await stage.look(ids)
    ledger = await read_deliveries(stage.operator, stage.erp.name)
    own = HubView(mine.orders, mine.shipments, ledger).of(ids)
    whole = await stage.look(set(stage.placed.values()))
    everything = HubView(whole.orders, whole.shipments, ledger)
    groups = await read_groups(stage)
    report.prove(found, proofs.waited_a_day(day, waited, calls))
    report.prove(
        found,
        proofs.drained_in_order(own, day, calls, endpoint.manifest.max_concurrency, erp),
    )
    report.prove(found, proofs.nothing_given_up(own, groups, await _tries(stage, ids, day)))
    report.prove(found, proofs.once_after_a_day(everything, erp, calls, ERP_ID_PREFIX))


async def _last_look(stage: Stage, end: datetime, scale: float) -> Waited:
    """What waits for the ERP just before it is back, since when, and what its breaker did."""
    waited = Waited(0, 0.0, 0, open=False)
    while (left := (end - datetime.now(UTC)) / timedelta(seconds=1)) > 0:
        try:
            endpoint = await _erp(stage)
        except CallError:
            # The hub has just started; the next look tells.
            await asyncio.sleep(min(POLL_SECONDS, left))
            continue
        oldest = endpoint.oldest_time.ToDatetime(tzinfo=UTC)
        age = (datetime.now(UTC) - oldest) / timedelta(seconds=1) if endpoint.queue_depth else 0.0
        is_open = endpoint.breaker.state != endpoint_pb2.BREAKER_STATE_CLOSED
        waited = Waited(endpoint.queue_depth, age * scale / 3_600, endpoint.breaker.probes, is_open)
        await asyncio.sleep(min(POLL_SECONDS, max(0.0, left)))
    return waited


async def _erp(stage: Stage) -> endpoint_pb2.Endpoint:
    request = endpoint_service_pb2.GetEndpointRequest(id=stage.erp.name)
    return (await stage.operator.endpoints.GetEndpoint(request)).endpoint


async def _tries(stage: Stage, ids: list[str], day: Day) -> dict[str, int]:
    """How often each delivery of these orders was tried in vain during the outage."""
    tries: dict[str, int] = {}
    for order_id in ids:
        request = delivery_service_pb2.ListDeliveriesRequest(
            object_id=order_id, endpoint=stage.erp.name, with_attempts=True, page_size=PAGE
        )
        for delivery in (await stage.operator.deliveries.ListDeliveries(request)).deliveries:
            tries[delivery.id] = sum(_in_vain(each, day) for each in delivery.attempt_log)
    return tries


def _in_vain(attempt: delivery_pb2.Attempt, day: Day) -> bool:
    begun = attempt.begin_time.ToDatetime(tzinfo=UTC)
    return begun < day.end and attempt_outcome(attempt.outcome) != "CONFIRMED"


async def _sleep_until(moment: datetime) -> None:
    left = (moment - datetime.now(UTC)) / timedelta(seconds=1)
    await asyncio.sleep(max(0.0, left))
