"""Time from the answer of an RPC to the vendor's sandbox receiving the call, at 100 a second.

ReleaseOrder makes one release_order for the warehouse, which takes twelve at once: what is measured
is the way, not a queue for the vendor's budget. The orders are made and approved before, and the
simulated warehouse then leaves them alone.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from crossdock.cli.installation import Installation
from crossdock.cli.network.vendor import SandboxPace
from crossdock.cli.orders import Catalogue, draw_order, read_catalogue
from crossdock.cli.workplace import Workplace
from crossdock.client import HubClient
from crossdock.endpoint.v1 import endpoint_service_pb2
from crossdock.order.v1 import order_service_pb2
from crossdock.request_ids import new_request_id
from fixtures_nats import eventually

from tests.load.measured import Figure, Options, percentile

PER_SECOND: Final = 100
OPERATIONS: Final = 600
WARM: Final = 50
MADE_AT_ONCE: Final = 16
TARGET_P50_MILLISECONDS, TARGET_P99_MILLISECONDS = 10.0, 50.0
SETTLE_SECONDS: Final = 120.0
NEVER_SECONDS: Final = 100_000.0
_CALL: Final = "original_order_save"


async def measure(directory: Path, options: Options) -> list[Figure]:
    """p50 and p99 of one steady run, warmed up; a repetition is a tenth of it."""
    place = Workplace(directory / "dev")
    place.lock()
    quiet = SandboxPace(floor_seconds=NEVER_SECONDS, poll_seconds=600.0, seed=1)
    installation = Installation(place, quiet, lambda _: None)
    try:
        await installation.start()
        async with installation.client("oms") as oms, installation.client("operator") as operator:
            await _pause_the_rest(operator)
            orders = await _approved(oms, await read_catalogue(oms), options.count(OPERATIONS))
            answered = await _released(oms, orders)
            received = await _received(installation, answered)
    finally:
        await installation.stop()
        place.unlock()
    milliseconds = [(received[key] - answered[key]) * 1e3 for key in list(answered)[WARM:]]
    return _figures(milliseconds)


async def _approved(oms: HubClient, known: Catalogue, count: int) -> dict[str, str]:
    """Number -> id of orders of one line that wait for their release, and some to warm up."""
    gate = asyncio.Semaphore(MADE_AT_ONCE)
    made: dict[str, str] = {}
    run = uuid.uuid4().hex[:6]

    async def make(index: int) -> None:
        order = draw_order(f"LAT-{run}-{index:05}", known, 1, datetime.now(UTC))
        del order.lines[1:]
        async with gate:
            answer = await oms.orders.CreateOrder(
                order_service_pb2.CreateOrderRequest(request_id=new_request_id(), order=order)
            )
            await oms.orders.ApproveOrder(
                order_service_pb2.ApproveOrderRequest(
                    request_id=new_request_id(), order_id=answer.order.id
                )
            )
        made[order.number] = answer.order.id

    await asyncio.gather(*(make(index) for index in range(WARM + count)))
    return made


async def _pause_the_rest(operator: HubClient) -> None:
    """Leave the ERP's bookings where they are: its work would share the two cores."""
    request = endpoint_service_pb2.PauseEndpointRequest(
        request_id=new_request_id(), endpoint="netsuite", reason="the bench measures another"
    )
    await operator.endpoints.PauseEndpoint(request)


async def _released(oms: HubClient, orders: dict[str, str]) -> dict[str, float]:
    """The warehouse's key of each -> when the RPC answered; sent at a steady rate."""
    answered: dict[str, float] = {}

    async def release(number: str, order_id: str) -> None:
        await oms.orders.ReleaseOrder(
            order_service_pb2.ReleaseOrderRequest(request_id=new_request_id(), order_id=order_id)
        )
        answered[f"{number}-1"] = time.time()

    started = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for index, (number, order_id) in enumerate(orders.items()):
            await asyncio.sleep(max(0.0, started + index / PER_SECOND - time.monotonic()))
            group.create_task(release(number, order_id))
    return answered


async def _received(installation: Installation, keys: Iterable[str]) -> dict[str, float]:
    """When the warehouse's sandbox got the first call about each."""
    wanted = set(keys)
    got: dict[str, float] = {}

    async def complete() -> bool:
        calls: list[dict[str, Any]] = await installation.sandbox("manhattan").calls(0, _CALL)
        for call in reversed(calls):
            got[call["key"]] = datetime.fromisoformat(call["start"]).timestamp()
        return wanted <= got.keys()

    await eventually(complete, "the vendor's calls", SETTLE_SECONDS)
    return got


def _figures(milliseconds: list[float]) -> list[Figure]:
    part = max(1, len(milliseconds) // 10)
    parts = [milliseconds[at : at + part] for at in range(0, len(milliseconds), part)]
    name = f"RPC answer to vendor, {PER_SECOND}/s"
    halves = [percentile(each, 0.5) for each in parts]
    return [
        Figure(
            "latency", f"{name}, p50", "ms", halves, target=TARGET_P50_MILLISECONDS, at_most=True
        ),
        Figure(
            "latency",
            f"{name}, p99",
            "ms",
            [percentile(milliseconds, 0.99)],
            target=TARGET_P99_MILLISECONDS,
            at_most=True,
        ),
    ]
