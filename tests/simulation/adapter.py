"""An adapter process: the SDK's own worker, attempts and client, on virtual time.

Everything between the bus, the hub and the vendor is the SDK's code; its loop, clocks and ids are
the simulation's, so that a seed replays.
"""

from __future__ import annotations

import asyncio
import random
import uuid
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from crossdock.delivery.v1 import delivery_pb2
from crossdock_adapters.sdk.attempts import FAULT_TELLS_MAX, Attempts
from crossdock_adapters.sdk.presence import Presence
from crossdock_adapters.sdk.runner import DRAIN_SECONDS, HURRY_SECONDS
from crossdock_adapters.sdk.settings import Settings
from crossdock_adapters.sdk.telemetry import Telemetry
from crossdock_adapters.sdk.work import Work
from crossdock_adapters.sdk.worker import Worker
from ledger_vendor import VENDOR
from simulation.faults import Faults
from simulation.hub import SimulatedHub
from simulation.link import SimulatedLink
from simulation.vendor import Vendor
from simulation.vendor_adapter import SimulatedHttp, adapter_of
from simulation.virtual_loop import VirtualLoop
from simulation.virtual_time import VirtualTime

NO_SETTINGS = Settings({})


@dataclass(slots=True, eq=False)
class BusMessage:
    """A dispatch as the bus hands it to a process; `acknowledged` ones are not sent again."""

    data: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    acknowledged: bool = False

    async def ack(self) -> None:
        """As a message of the SDK's consumer has it."""
        self.acknowledged = True

    async def in_progress(self) -> None:
        """Nothing here waits for it: a message is sent again when its process dies."""


class Adapter:
    """One process after another on one machine. `crash` forgets everything that it was doing.

    faults: what a process must never do, in words.
    """

    def __init__(
        self,
        time: VirtualTime,
        chance: random.Random,
        faults: Faults,
        hub: SimulatedHub,
        vendor: Vendor,
    ) -> None:
        self._time, self._chance, self._faults = time, chance, faults
        self._hub, self._vendor = hub, vendor
        self.runs = False
        self.faults: list[str] = []
        self._calm = False
        self.start()

    @property
    def calm(self) -> bool:
        """Nothing goes wrong any more between it and its neighbours."""
        return self._calm

    @calm.setter
    def calm(self, calm: bool) -> None:
        self._calm = self._link.calm = calm

    def start(self) -> None:
        """A fresh process: everything but the ledger and the vendor's books begins anew."""
        self.runs = True
        self._loop = VirtualLoop(self._time)
        self._link = SimulatedLink(self._time, self._loop, self._chance, self._faults, self._hub)
        self._link.calm = self._calm
        self._taken: list[BusMessage] = []
        self._handling: Counter[str] = Counter()
        clock = self._time.monotonic
        self._worker = Worker(
            endpoint=VENDOR.endpoint,
            adapter=adapter_of(self._faults.operation_class),
            vendor=SimulatedHttp(self._loop, self._chance, self._faults, self._vendor),
            attempts=Attempts(
                self._link, Presence("the hub", clock), clock=clock, new_id=self._new_id
            ),
            make_work=_work,
            vendor_presence=Presence("the vendor", clock),
            telemetry=Telemetry(),
            hurry=asyncio.Event(),
        )

    def crash(self) -> list[bytes]:
        """kill -9: no word about anything that was begun. The dispatches that it has not
        acknowledged."""
        self.runs = False
        self._loop.kill()
        self.faults += self._loop.faults
        self._loop.faults.clear()
        return [message.data for message in self._taken if not message.acknowledged]

    def terminate(self) -> float:
        """SIGTERM, as the runner does it: it takes no more, lets calls end, then makes them end.
        The seconds until it is gone, and has to be reaped with `crash`."""
        self.runs = False
        loop, hurry = self._loop, self._worker.hurry
        self._time.after(
            DRAIN_SECONDS - HURRY_SECONDS,
            lambda: loop.call_soon(hurry.set) if loop.alive else None,
        )
        return DRAIN_SECONDS

    def receive(self, data: bytes) -> None:
        """A message from the bus; a dead process takes none, the bus offers it to nobody else."""
        if self.runs:
            message = BusMessage(data)
            self._taken = [each for each in self._taken if not each.acknowledged]
            self._taken.append(message)
            self._loop.create_task(self._handle(message))

    async def _handle(self, message: BusMessage) -> None:
        delivery_id = delivery_pb2.Dispatch.FromString(message.data).delivery_id
        self._handling[delivery_id] += 1
        try:
            await self._worker.handle(message)
        except Exception as error:
            self.faults.append(f"raised: {delivery_id}: {type(error).__name__}: {error}")
        self._handling[delivery_id] -= 1
        if not self._handling[delivery_id]:
            del self._handling[delivery_id]
            self._judge(delivery_id)

    def _judge(self, delivery_id: str) -> None:
        """Nothing of a delivery is under way here any more: the hub has to know how it ended, or
        had a fault with it as often as it is told, whole and bare; then the lease runs out."""
        token, _ = self._link.granted.get(delivery_id, (0, ""))
        given_up = self._link.not_taken[delivery_id] >= 2 * FAULT_TELLS_MAX
        if token and not given_up and self._hub.waits_for(delivery_id, token):
            self.faults.append(f"untold: {delivery_id} is given to a process that has dropped it")

    def _new_id(self) -> str:
        return str(uuid.UUID(int=self._chance.getrandbits(128), version=4))


def _work(dispatch: delivery_pb2.Dispatch, event: Any, attempt: int) -> Work:
    nobody: Any = None
    return Work(
        delivery_id=dispatch.delivery_id,
        endpoint=VENDOR.endpoint,
        operation=dispatch.operation,
        item=dispatch.item,
        reference=dispatch.vendor_reference,
        attempt=attempt,
        event=event,
        settings=NO_SETTINGS,
        hub=nobody,
        look_up_numbers=nobody,
    )
