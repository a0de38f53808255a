"""G27: one order asks for label after label; the guard stops it at its budget."""

from __future__ import annotations

import asyncio
import contextlib
import time

from crossdock.delivery.v1 import delivery_pb2
from crossdock.endpoint.v1 import endpoint_pb2
from fixtures_hub import Lane, RunningHub, deployment
from fixtures_nats import eventually
from played_endpoint import PlayedEndpoint, duration
from story import Story, seed_master_data

from tests.faults.trials.trial import Piece, Result, Size, Trial

BUDGET = 100
PACKAGES_A_SHIPMENT = 200
AT_ONCE = 8
ALL_SECONDS = 120.0
ALARM = "the spending guard stopped an order"
OPERATION = "buy_label"


class Carrier(PlayedEndpoint):
    """A carrier that sells whatever it is asked for, with a budget for each order."""

    def __init__(self, hub: RunningHub, endpoint: str, budget: int) -> None:
        super().__init__(hub, endpoint, {})
        self._manifest.operations.append(
            endpoint_pb2.Operation(
                name=OPERATION,
                operation_class=delivery_pb2.OPERATION_CLASS_SEARCHABLE,
                settle_after=duration(1.0),
                max_attempts=3,
                max_per_root=budget,
            )
        )
        self.sold = 0

    async def sell(self) -> None:
        """Take, begin, sell, complete, until cancelled."""
        while True:
            dispatch = await self.next()
            begun = await self.try_begin(dispatch)
            if not begun.HasField("refusal"):
                self.sold += 1
                await self.complete(dispatch.delivery_id, begun.token, "CONFIRMED")


async def _ask(story: Story, intents: int) -> None:
    """Pack so many cartons for one order, a shipment of many at a time, as a loop would."""
    order_id = await story.approved()
    (request,) = await story.release(order_id)
    for _ in range(intents // PACKAGES_A_SHIPMENT):
        await story.pack(request, PACKAGES_A_SHIPMENT)


async def run_g27(piece: Piece) -> Result:
    """Orders in a loop, beside the budget of one."""
    lane = Lane(1)
    hub = RunningHub(piece.directory / "hub", deployment(1)).start()
    intents = piece.size.orders
    try:
        await seed_master_data(hub)
        async with Story(hub, lane) as story, Carrier(hub, lane.carrier, BUDGET) as carrier:
            sellers = [asyncio.create_task(carrier.sell()) for _ in range(AT_ONCE)]
            started = time.monotonic()
            await _ask(story, intents)
            asked = time.monotonic() - started
            parked = f"operation = '{OPERATION}' AND hold_reason = 'SPENDING'"
            open_work = f"operation = '{OPERATION}' AND state NOT IN ('CONFIRMED', 'PARKED')"
            await eventually(lambda: not hub.count("deliveries", open_work), "rest", ALL_SECONDS)
            for seller in sellers:
                seller.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.gather(*sellers, return_exceptions=True)
            stopped = hub.count("deliveries", parked)
            alarms = hub.log().count(ALARM)
    finally:
        hub.kill()
    counts = {
        "intents": hub.count("deliveries", f"operation = '{OPERATION}'"),
        "labels sold": carrier.sold,
        "stopped": stopped,
        "alarms": alarms,
    }
    broken = []
    if carrier.sold != BUDGET or stopped != counts["intents"] - BUDGET:
        broken.append(f"{carrier.sold} labels were sold, {BUDGET} is the budget; {stopped} stopped")
    if alarms != 1:
        broken.append(f"{alarms} alarms")
    return Result(counts, measured={"s to ask for all": [asked]}, broken=broken)


G27 = Trial(
    "G27",
    "one order asks for thousands of labels, with a budget of 100",
    "the carrier is asked 100 times; the rest is parked with its reason; one alarm",
    run_g27,
    Size(1, orders=1_000),
    Size(1, orders=10_000),
    {"intents": 10_000},
)
