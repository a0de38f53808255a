"""A1: malformed byte strings for every method of the contract, over a real socket.

The bytes go out as they are, without our client, so that no retry or check of its own hides what
the hub says. Beside it the same bytes go to a stock grpc.aio servicer: the naive baseline.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

import grpc
from abuse.answers import Tally
from abuse.byte_strings import byte_strings
from abuse.stock import CREATE_ORDER, stock_server
from crossdock import contracts
from crossdock.contracts import Method
from crossdock.errors import CODES
from crossdock.tracking.v1 import tracking_service_pb2
from fixtures_hub import ROLES, RunningHub

IN_FLIGHT: Final = 32
DEADLINE_SECONDS: Final = 30.0
# A stream whose request was good stays open: after so long without a word it counts as answered.
OPEN_STREAM_SECONDS: Final = 1.0
FRAMES_PER_STREAM: Final = 250


@dataclass(frozen=True, slots=True)
class Malformed:
    """What a run found.

    resident: bytes of the hub's process after the warm-up, after half of the messages, and at the
    end. What is made once for each thing that the contract knows goes on being made during the
    first half; what leaks goes on during the second one.
    """

    tally: Tally
    methods: int
    resident: tuple[int, int, int]

    @property
    def growth(self) -> float:
        """Share by which the hub's memory grew while it got the second half."""
        _, half, end = self.resident
        return end / half - 1.0

    @property
    def growth_at_all(self) -> float:
        """The same since the warm-up."""
        warm, _, end = self.resident
        return end / warm - 1.0

    def document(self) -> dict[str, Any]:
        """As it stands in a report."""
        return {
            "methods": self.methods,
            "hub": self.tally.document(),
            "resident_bytes": self.resident,
            "growth": round(self.growth, 4),
            "growth_at_all": round(self.growth_at_all, 4),
        }


async def measure(
    hub: RunningHub, per_method: int, warm_up: int, seed: str = "1", names: Iterable[str] = ()
) -> Malformed:
    """Throw `per_method` byte strings at every method, after a warm-up that is not measured.

    The warm-up lets the hub compile and fill what it keeps for good; its answers count too. names:
    of the methods; none: all of the contract.
    """
    known = contracts.load().methods
    methods = [known[name] for name in names or known]
    tally = Tally()
    for method in methods:
        warming = byte_strings(method.request_type, warm_up, f"{seed}/warm")
        tally.add(await _throw(hub, method, warming))
    resident = [hub.resident_bytes()]
    strings = [byte_strings(method.request_type, per_method, seed) for method in methods]
    for many in (per_method // 2, per_method - per_method // 2):
        for method, left in zip(methods, strings, strict=True):
            tally.add(await _throw(hub, method, islice(left, many)))
        resident.append(hub.resident_bytes())
    warm, half, end = resident
    return Malformed(tally, len(methods), (warm, half, end))


async def _throw(hub: RunningHub, method: Method, strings: Iterator[bytes]) -> Tally:
    endpoint = next(name for name, role in ROLES.items() if role in method.callers)
    metadata = (("authorization", f"Bearer {hub.token(endpoint)}"),)
    async with grpc.aio.insecure_channel(hub.address) as channel:
        if method.client_streaming:
            return await _frames(channel, method, strings, metadata)
        one = _open_stream if method.server_streaming else _unary
        return await _each(channel, method.full_name, strings, metadata, one)


async def _each(
    channel: Any, method: str, strings: Iterator[bytes], metadata: Any, one: Any
) -> Tally:
    tally = Tally()

    async def sender() -> None:
        for data in strings:
            try:
                await one(channel, method, data, metadata)
                tally.answered()
            except grpc.aio.AioRpcError as error:
                tally.refused(method, data, error)

    await asyncio.gather(*(sender() for _ in range(IN_FLIGHT)))
    return tally


async def _unary(channel: Any, method: str, data: bytes, metadata: Any) -> None:
    await channel.unary_unary(method)(data, metadata=metadata, timeout=DEADLINE_SECONDS)


async def _open_stream(channel: Any, method: str, data: bytes, metadata: Any) -> None:
    call = channel.unary_stream(method)(data, metadata=metadata, timeout=DEADLINE_SECONDS)
    try:
        await asyncio.wait_for(call.read(), OPEN_STREAM_SECONDS)
    except TimeoutError:
        pass
    finally:
        call.cancel()


async def _frames(channel: Any, method: Method, strings: Iterable[bytes], metadata: Any) -> Tally:
    """Each frame has to get an answer of its own, and the stream to go on."""
    tally = Tally()
    left = iter(strings)
    while batch := list(islice(left, FRAMES_PER_STREAM)):

        async def frames(sending: list[bytes] = batch) -> AsyncIterator[bytes]:
            for data in sending:
                yield data

        call = channel.stream_stream(method.full_name)(
            frames(), metadata=metadata, timeout=DEADLINE_SECONDS
        )
        for data in batch:
            try:
                raw = await call.read()
                assert raw is not grpc.aio.EOF, f"the stream ended at {data.hex()}"
            except grpc.aio.AioRpcError as error:
                tally.refused(method.full_name, data, error)
                break
            answer = tracking_service_pb2.StreamTrackingEventsResponse.FromString(raw)
            if answer.HasField("refusal"):
                reason = answer.refusal.reason
                code = CODES.get(reason, grpc.StatusCode.UNKNOWN)
                tally.said(method.full_name, data, code, reason, answer.refusal.message)
            else:
                tally.answered()
        call.cancel()
    return tally


async def naive(count: int, seed: str) -> Tally:
    """The bytes for one method, thrown at a stock servicer in this process."""
    async with stock_server() as address:
        return await throw_at_stock(address, count, seed)


async def throw_at_stock(address: str, count: int, seed: str) -> Tally:
    """The bytes for one method, thrown at the stock servicer at an address."""
    strings = byte_strings("crossdock.order.v1.CreateOrderRequest", count, seed)
    async with grpc.aio.insecure_channel(address) as channel:
        return await _each(channel, CREATE_ORDER, strings, (), _unary)
