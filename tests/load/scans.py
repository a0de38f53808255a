"""Scans in batches of 500 until they are on the scan stream, to bare inserts and publishes."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from crossdock.bus import SCAN_STREAM
from crossdock.client import HubClient
from crossdock.tracking.v1 import tracking_pb2
from crossdock_hub.bus.jetstream import Bus
from crossdock_hub.bus.streams import StreamSpec
from fixtures_hub import Lane, RunningHub, deployment
from fixtures_nats import NatsProcess, eventually
from story import scans, seed_master_data

from tests.load.floors_groups import BareGroups, bare_row, new_message
from tests.load.measured import Figure, Options
from tests.load.parcels import labelled_parcels, scan_reports

BATCH: Final = 500
BATCHES: Final = 40
IN_FLIGHT: Final = 4
PARCELS: Final = 200
TARGET: Final = 0.65
DRAIN_SECONDS: Final = 30.0
QUIET_LOOKS: Final = 100
_SUBJECT: Final = "BENCH.scans"
_MIB: Final = 1024 * 1024


async def measure(directory: Path, options: Options) -> list[Figure]:
    """The hub, and the floor with one message a scan or as few messages as the hub, in turns."""
    hub = RunningHub(directory / "hub", deployment(1)).start()
    server = NatsProcess(directory / "nats")
    server.settings.directory.mkdir(parents=True, exist_ok=True)
    server.start()
    try:
        await seed_master_data(hub)
        parcels = await labelled_parcels(hub, Lane(1), options.count(PARCELS))
        reports = scan_reports(parcels, BATCH)
        async with hub.client(Lane(1).carrier, deadline_seconds=DRAIN_SECONDS) as carrier:
            return await _in_turns(directory, hub, carrier, server, reports, options)
    finally:
        server.kill()
        hub.kill()


async def _in_turns(
    directory: Path, hub: RunningHub, carrier: HubClient, server: NatsProcess,
    reports: Iterator[list[Any]], options: Options,
) -> list[Figure]:  # fmt: skip
    count = options.count(BATCHES)
    bus, own_bus = await Bus.connect(hub.bus_address()), await Bus.connect(server.address)
    await own_bus.ensure_streams(
        [StreamSpec("BENCH", ("BENCH.>",), "file", "limits", 3600.0, 2048 * _MIB)]
    )
    bare = BareGroups(directory / "bare.db", own_bus)
    reported = HubScans(carrier, bus)
    await reported.warm_up(list(itertools.islice(reports, 2 * IN_FLIGHT)))
    rates: dict[str, list[float]] = {"hub": [], "each": [], "grouped": []}
    for _ in range(options.repetitions):
        batches = list(itertools.islice(reports, count))
        rates["hub"].append(count * BATCH / await reported.run(batches))
        arrived = await reported.arrived()
        for name in ("each", "grouped"):
            rows, messages = zip(*_groups(arrived, grouped=name == "grouped"), strict=True)
            rates[name].append(count * BATCH / await bare.run(rows, messages))
    bare.close()
    await bus.close()
    await own_bus.close()
    name, floor = f"scans in batches of {BATCH}", "inserts, atomic batches"
    return [
        Figure("scans", name, "scans/s", rates["hub"], floor, rates["each"], TARGET),
        Figure("scans", "  beside it", "scans/s", rates["hub"], "and as few messages as the hub",
               rates["grouped"]),
    ]  # fmt: skip


class HubScans:
    """Reports scans to a hub, and sees them arrive on its scan stream.

    Every batch has scans of parcels of every partition, so each becomes the same number of
    messages, one for each: that number says when all have arrived, and what arrived is counted
    afterwards.
    """

    def __init__(self, carrier: HubClient, bus: Bus) -> None:
        self._carrier = carrier
        self._bus = bus
        self._sequence = 0
        self._before = 0
        self._messages_a_batch = 0

    async def warm_up(self, batches: list[list[Any]]) -> None:
        """Learn how many messages a batch becomes."""
        await self._report(batches)

        async def empty() -> bool:
            return hub_is_quiet(await self._last_sequence())

        seen: list[int] = []

        def hub_is_quiet(sequence: int) -> bool:
            seen.append(sequence)
            return len(seen) > QUIET_LOOKS and len(set(seen[-QUIET_LOOKS:])) == 1

        await eventually(empty, "a quiet stream", DRAIN_SECONDS)
        self._sequence = seen[-1]
        self._messages_a_batch, rest = divmod(self._sequence, len(batches))
        assert rest == 0, "batches became different numbers of messages"

    async def run(self, batches: list[list[Any]]) -> float:
        """Seconds until every scan is on the stream."""
        started = time.monotonic()
        await self._report(batches)
        await self.until_published(len(batches))
        return time.monotonic() - started

    async def until_published(self, batches: int) -> None:
        """Return once so many batches more than before are on the stream."""
        self._before = self._sequence
        expected = self._before + self._messages_a_batch * batches

        async def all_there() -> bool:
            self._sequence = await self._last_sequence()
            return self._sequence >= expected

        await eventually(all_there, "the scans on the stream", DRAIN_SECONDS)

    async def arrived(self) -> list[list[bytes]]:
        """The messages of the last run, those of a batch together."""
        found = []
        for sequence in range(self._before, self._sequence):
            message = await self._bus.next_message(SCAN_STREAM, "crossdock.v1.scan.>", sequence)
            assert message is not None
            found.append(message.payload)
        size = self._messages_a_batch
        return [found[first : first + size] for first in range(0, len(found), size)]

    async def _report(self, batches: list[list[Any]]) -> None:
        requests = iter([scans(*batch) for batch in batches])

        async def caller() -> None:
            for request in requests:
                answer = await self._carrier.tracking.ReportTrackingEvents(request)
                assert len(answer.receipts) == BATCH

        await asyncio.gather(*(caller() for _ in range(IN_FLIGHT)))

    async def _last_sequence(self) -> int:
        state = await self._bus.stream_state(SCAN_STREAM)
        return state.last_sequence if state else 0


def _groups(arrived: list[list[bytes]], *, grouped: bool) -> Iterator[tuple[Any, Any]]:
    """Rows and messages of each batch, of the bytes that the hub stored and published."""
    for bodies in arrived:
        batches = [tracking_pb2.TrackingEventBatch.FromString(body) for body in bodies]
        found = [event for batch in batches for event in batch.tracking_events]
        assert len(found) == BATCH, f"{len(found)} of {BATCH} scans of a batch arrived"
        each = [event.SerializeToString() for event in found]
        rows = [bare_row(*pair) for pair in zip(found, each, strict=True)]
        yield rows, [new_message(_SUBJECT, body) for body in (bodies if grouped else each)]
