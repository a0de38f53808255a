"""Callers that create orders, each waiting for its answer: the same for the hub and its floors.

`python -m tests.load.callers ADDRESS TOKEN_FILE CALLERS SECONDS`; prints {"per_second": …} and the
milliseconds of an answer, {"p50": …, "p99": …}.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import sys
import time
import uuid
from pathlib import Path
from typing import Any, Final

import grpc
from crossdock.order.v1 import order_pb2, order_service_pb2
from crossdock.request_ids import new_request_id
from crossdock.types.v1 import types_pb2

METHOD: Final = "/crossdock.order.v1.OrderService/CreateOrder"
DEADLINE_SECONDS: Final = 10.0
WARM_SHARE: Final = 0.3


def order_request(number: str) -> bytes:
    """A new order with one line, as bytes."""
    line = order_pb2.OrderLine(
        line_number=1,
        item_number="SKU-1",
        quantity=types_pb2.Quantity(value="1", unit="EA"),
        ship_from_location_number="DC1",
    )
    address = types_pb2.Address(
        lines=["1 Main St"], city="Reno", state="NV", postal_code="89501", country_code="US"
    )
    order = order_pb2.Order(
        number=number,
        business_unit="bench",
        customer_number="C-1",
        ship_to=types_pb2.Party(name="Ada Lovelace", address=address),
        carrier_code="UPSN",
        service_code="03",
        lines=[line],
    )
    request = order_service_pb2.CreateOrderRequest(request_id=new_request_id(), order=order)
    return bytes(request.SerializeToString())


class Callers:
    """So many at once on one channel; counts the answers."""

    def __init__(self, channel: grpc.aio.Channel, token: str) -> None:
        self._call: Any = channel.unary_unary(METHOD)
        self._metadata = (("authorization", f"Bearer {token}"),)
        self._run = uuid.uuid4().hex[:8]
        self._numbers = itertools.count(1)
        self._until = 0.0
        self.answers = 0
        self.milliseconds: list[float] = []

    async def one(self) -> bytes:
        """Create one order; the answer."""
        request = order_request(f"SO-{self._run}-{next(self._numbers)}")
        begun = time.perf_counter()
        answer: bytes = await self._call(request, metadata=self._metadata, timeout=DEADLINE_SECONDS)
        self.milliseconds.append((time.perf_counter() - begun) * 1e3)
        self.answers += 1
        return answer

    async def rate(self, callers: int, seconds: float) -> float:
        """Answers a second, with so many callers for so long."""
        self._until = time.monotonic() + seconds
        self.answers, started = 0, time.monotonic()
        self.milliseconds.clear()
        await asyncio.gather(*(self._keep_on() for _ in range(callers)))
        return self.answers / (time.monotonic() - started)

    async def _keep_on(self) -> None:
        while time.monotonic() < self._until:
            await self.one()


async def main(address: str, token: str, callers: int, seconds: float) -> dict[str, float]:
    """Warm up, then measure, without the pauses of this process's own collector of garbage."""
    async with grpc.aio.insecure_channel(address) as channel:
        load = Callers(channel, token)
        await load.rate(callers, seconds * WARM_SHARE)
        gc.collect()
        gc.freeze()
        rate = await load.rate(callers, seconds)
    took = sorted(load.milliseconds)
    p50, p99 = (took[int(len(took) * share)] for share in (0.5, 0.99))
    return {"per_second": rate, "p50": p50, "p99": p99}


if __name__ == "__main__":
    where, token_file, count, duration = sys.argv[1:]
    print(
        json.dumps(
            asyncio.run(main(where, Path(token_file).read_text(), int(count), float(duration)))
        )
    )
