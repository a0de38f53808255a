"""An endpoint written with the SDK for the simulated vendor: its declaration, and its client.

The client is the SDK's own with its wire taken out: the looks at the lease, what a failure means
and whether anything left are the SDK's code.
"""

from __future__ import annotations

import asyncio
import random
from functools import cache
from types import SimpleNamespace
from typing import Any

import aiohttp
from crossdock_adapters.sdk import exchange
from crossdock_adapters.sdk.adapter import Adapter
from crossdock_adapters.sdk.http import Answer, VendorHttp, check_lease
from crossdock_adapters.sdk.manifest import Manifest, Operation, OperationClass
from crossdock_adapters.sdk.outcomes import (
    AnswerLater,
    Confirmed,
    NotFound,
    Reject,
    Retry,
    Throttled,
)
from crossdock_adapters.sdk.work import Work
from simulation.faults import Faults
from simulation.oracle import CALLS_AT_ONCE_MAX
from simulation.vendor import (
    ANSWERS_LATER,
    BUSY,
    CALL_SECONDS_MAX,
    CONNECTION_BREAKS,
    DONE,
    LIMITED,
    NO_CONNECTION,
    REFUSED,
    RETRY_AFTER_SECONDS,
    UNKNOWN,
    Reply,
    Request,
    Vendor,
)
from simulation.virtual_loop import VirtualLoop

OPERATION = "book"
# What the books of the vendor are to say of a call, told beside it.
ATTEMPT = "Simulated-Attempt"


class SimulatedHttp(VendorHttp):
    """The SDK's client of HTTP; what leaves goes to the vendor's books, and to no socket."""

    def __init__(
        self, loop: VirtualLoop, chance: random.Random, faults: Faults, vendor: Vendor
    ) -> None:
        super().__init__("https://vendor.invalid", timeout_seconds=CALL_SECONDS_MAX)
        self._loop, self._chance, self._faults, self._vendor = loop, chance, faults, vendor

    async def _exchange(self, call: Any, timeout_seconds: float, trace: SimpleNamespace) -> Answer:
        """What aiohttp would do: connect, look at the lease once more, send, and wait."""
        await self._connect(call, trace)
        # As _LeasedRequest does it when the connection stands.
        record = exchange.current()
        if record is not None and call.has_effect:
            check_lease(record)
        reply, content = self._asked(call)
        if reply.status == NO_CONNECTION:
            trace.connected = False
        try:
            await asyncio.sleep(min(reply.seconds, timeout_seconds))
        except asyncio.CancelledError:
            # A process that was killed sends its vendor nothing, not even this.
            if self._loop.alive:
                self._vendor.hung_up(reply.call)
            raise
        if reply.seconds > timeout_seconds:
            self._vendor.hung_up(reply.call)
            raise TimeoutError
        if reply.status == NO_CONNECTION:
            raise ConnectionRefusedError
        if reply.status == CONNECTION_BREAKS:
            raise aiohttp.ServerDisconnectedError
        headers = {"Retry-After": str(RETRY_AFTER_SECONDS)}
        return Answer(reply.status, headers if reply.status in (LIMITED, BUSY) else {}, content)

    async def _connect(self, call: Any, trace: SimpleNamespace) -> None:
        """A process may be stopped for long while its connection is made."""
        if not self._loop.alive:
            raise asyncio.CancelledError
        if not self._vendor.calm and self._chance.random() < self._faults.paused:
            self._loop.stop_for(self._chance.uniform(0, self._faults.pause_seconds))
            await asyncio.sleep(0)
        trace.connected = True

    def _asked(self, call: Any) -> tuple[Reply, bytes]:
        kind, delivery_id, *draft = call.url.path.strip("/").split("/")
        if call.method == "GET":
            return self._vendor.look_up(delivery_id), b""
        record = exchange.current()
        assert record is not None
        within_seconds = record.ends_at - self._loop.time()
        request = Request(delivery_id, within_seconds, int(call.headers[ATTEMPT]))
        if draft:
            return self._vendor.confirm(request, draft[0]), b""
        if kind == "drafts":
            reply, made = self._vendor.draft(request)
            return reply, made.encode()
        return self._vendor.call(request), b""


def understood(answer: Answer) -> Answer:
    """An answer that says the work was done. Raises the SDK's word for each other one."""
    if answer.status == DONE:
        return answer
    if answer.status == ANSWERS_LATER:
        raise AnswerLater("taken, and answered later")
    if answer.status == REFUSED:
        raise Reject("refused", "the vendor refuses this")
    if answer.status == LIMITED:
        raise Throttled(answer.retry_after_seconds(), "too many calls")
    if answer.status == BUSY:
        raise Retry(answer.retry_after_seconds(), "busy, nothing was done")
    raise answer.unclear(f"answered {answer.status}", effect=True)


async def book(work: Work, vendor: SimulatedHttp) -> Confirmed:
    """The work in one step."""
    path = f"bookings/{work.delivery_id}"
    understood(await vendor.post(path, headers={ATTEMPT: str(work.attempt)}))
    return Confirmed()


async def draft(work: Work, vendor: SimulatedHttp) -> str:
    """The first of two steps."""
    path = f"drafts/{work.delivery_id}"
    return understood(await vendor.post(path, headers={ATTEMPT: str(work.attempt)})).text()


async def confirm(work: Work, vendor: SimulatedHttp) -> Confirmed:
    """The second of two steps, by the draft that the hub knows of."""
    path = f"drafts/{work.delivery_id}/{work.draft}"
    understood(await vendor.post(path, headers={ATTEMPT: str(work.attempt)}))
    return Confirmed()


async def look_up(work: Work, vendor: SimulatedHttp) -> Confirmed | NotFound:
    """By reference."""
    answer = await vendor.get(f"bookings/{work.delivery_id}")
    if answer.status == UNKNOWN:
        return NotFound()
    understood(answer)
    return Confirmed()


async def connect(settings: Any, secrets: Any) -> None:
    """Every adapter declares it; a simulated process is connected by who starts it."""


@cache
def adapter_of(operation_class: str) -> Adapter:
    """The declaration of an endpoint whose one operation is of this class."""
    kind = OperationClass(operation_class.lower())
    operation = Operation(OPERATION, kind, timeout_seconds=CALL_SECONDS_MAX)
    adapter = Adapter(
        Manifest(
            name="simulated",
            title="Simulated vendor",
            version="1",
            owner="nobody",
            role="ERP",
            system="simulated",
            concurrency=CALLS_AT_ONCE_MAX,
            rate_per_second=0.0,
            operations={OPERATION: operation},
            settings={},
        )
    )
    adapter.connect(connect)
    if kind is OperationClass.TWO_STEP:
        adapter.draft(OPERATION)(draft)
        adapter.operation(OPERATION)(confirm)
    else:
        adapter.operation(OPERATION)(book)
    adapter.look_up(OPERATION)(look_up)
    adapter.check()
    return adapter
