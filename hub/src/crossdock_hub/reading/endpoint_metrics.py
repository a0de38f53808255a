"""Gauges of every endpoint, read from the ledger when somebody asks: no counter to drift."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import TimeoutError as TookTooLong
from dataclasses import dataclass
from typing import Any, TypeVar

from prometheus_client.core import GaugeMetricFamily, Metric

from crossdock_hub.config import SECOND, Limits
from crossdock_hub.delivery import breaking
from crossdock_hub.delivery.dispatching import allowance
from crossdock_hub.delivery.registry import compile_endpoint
from crossdock_hub.reading.chain import Figures
from crossdock_hub.reading.endpoint_view import SettledOf, time_to_drain
from crossdock_hub.records import EndpointRecord
from crossdock_hub.store import StoreFailure

READ_SECONDS = 5.0
LABELS = ("endpoint",)
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Books:
    """Where the figures come from: the loop that reads, the readers, what is settled, the clock."""

    loop: asyncio.AbstractEventLoop
    endpoints: Callable[[], Awaitable[Sequence[EndpointRecord]]]
    figures: Callable[[Collection[str]], Awaitable[Mapping[str, Figures]]]
    settled_of: SettledOf
    clock: Callable[[], int]
    limits: Limits


def gauges(books: Books | None) -> Iterator[Metric]:
    """The gauges; without books, or while the store does not answer, their names without values."""
    found = {
        name: GaugeMetricFamily(f"crossdock_{name}", text, labels=LABELS)
        for name, text in {
            "queue_depth": "Deliveries not settled.",
            "queue_oldest_age_seconds": "Age of the oldest of them.",
            "in_doubt": "Deliveries that the vendor may have done, looked up or to be repeated.",
            "parked": "Deliveries PARKED: each waits for a person.",
            "time_to_drain_seconds": "Until the queue is worked off; absent while nothing moves.",
            "endpoint_breaker_open": "1 while the endpoint counts as down.",
            "endpoint_pace_ratio": "Share of the declared budget that throttling leaves.",
        }.items()
    }
    told = None if books is None else read_on(books.loop, _read(books))
    if books is not None and told is not None:
        _fill(found, books, *told)
    yield from found.values()


def read_on(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, R]) -> R | None:
    """What a loop reads for a scrape of another thread; None: the store does not answer in time."""
    reading = asyncio.run_coroutine_threadsafe(work, loop)
    try:
        return reading.result(READ_SECONDS)
    except (StoreFailure, TookTooLong):
        reading.cancel()
        return None


async def _read(books: Books) -> tuple[Sequence[EndpointRecord], Mapping[str, Figures]]:
    records = await books.endpoints()
    return records, await books.figures([record.id for record in records])


def _fill(
    found: Mapping[str, GaugeMetricFamily],
    books: Books,
    records: Sequence[EndpointRecord],
    figures: Mapping[str, Figures],
) -> None:
    now = books.clock()
    registry = [compile_endpoint(record, books.limits) for record in records]
    for record, endpoint in zip(records, registry, strict=True):
        own = figures.get(record.id, Figures())
        label = [record.id]
        age = 0.0 if own.oldest_at is None else max(0, now - own.oldest_at) / SECOND
        allowed = allowance(endpoint, registry, now, books.limits)
        found["queue_depth"].add_metric(label, own.queue_depth)
        found["queue_oldest_age_seconds"].add_metric(label, age)
        found["in_doubt"].add_metric(label, own.in_doubt)
        found["parked"].add_metric(label, own.parked)
        found["endpoint_breaker_open"].add_metric(label, float(breaking.is_open(record)))
        ratio = allowed.concurrency / endpoint.max_concurrency
        found["endpoint_pace_ratio"].add_metric(label, ratio)
        seconds = time_to_drain(record, own, allowed, books.settled_of(record.id))
        if seconds is not None:
            found["time_to_drain_seconds"].add_metric(label, seconds)
