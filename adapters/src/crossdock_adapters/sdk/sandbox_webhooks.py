"""How a simulated vendor sends webhooks: in order per key, repeated, and badly when told."""

from __future__ import annotations

import asyncio
import random
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import aiohttp
from crossdock.ending import end_tasks

from crossdock_adapters.sdk.faults import FaultKind, Faults

LANES = 32
MAX_QUEUED_PER_LANE = 10_000
MAX_LATE = 10_000
MAX_LOGGED = 100_000
MAX_ATTEMPTS = 60
FIRST_PAUSE_SECONDS = 0.1
MAX_PAUSE_SECONDS = 2.0
ANSWER_TIMEOUT_SECONDS = 10.0
# What vendors call a success; another 2xx is a failure to them, and comes again.
TAKEN = frozenset({200, 202})
REFUSED, TOO_MANY, FAILED = 400, 429, 500


@dataclass(slots=True)
class SentWebhook:
    """One webhook, as GET /webhooks shows it; `copy` counts duplicates from 1."""

    id: int
    url: str
    key: str
    operation: str
    copy: int
    queued: datetime
    fault: str = ""
    attempts: int = 0
    status: int | None = None
    answered: datetime | None = None
    given_up: bool = False

    def as_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class _Parcel:
    record: SentWebhook
    body: bytes
    headers: dict[str, str]


class WebhookSender:
    """Lanes of webhooks; one key always takes the same lane, so its order is kept."""

    def __init__(self, faults: Faults, seed: int) -> None:
        self._faults = faults
        self._random = random.Random(f"{seed}:webhooks")
        self._lanes: list[asyncio.Queue[_Parcel]] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._late: set[asyncio.Task[None]] = set()
        self._session: aiohttp.ClientSession | None = None
        self._log: list[SentWebhook] = []
        self._next_id = 1

    async def start(self) -> None:
        timeout = aiohttp.ClientTimeout(total=ANSWER_TIMEOUT_SECONDS)
        # A vendor opens its own connections; it must not send our trace context back.
        self._session = aiohttp.ClientSession(timeout=timeout)
        self._lanes = [asyncio.Queue(MAX_QUEUED_PER_LANE) for _ in range(LANES)]
        self._tasks = [asyncio.create_task(self._drive(lane)) for lane in self._lanes]

    async def stop(self) -> None:
        tasks = [*self._tasks, *self._late]
        await end_tasks(tasks)
        if self._session is not None:
            await self._session.close()

    def send(
        self, url: str, body: bytes, headers: dict[str, str], *, key: str, operation: str
    ) -> None:
        """Queue one webhook with whatever faults strike it. asyncio.QueueFull at the limit."""
        doubled = self._faults.take(FaultKind.DUPLICATE_WEBHOOKS, operation) is not None
        late = self._faults.take(FaultKind.LATE_WEBHOOKS, operation)
        marks = [FaultKind.DUPLICATE_WEBHOOKS.value] if doubled else []
        marks += [FaultKind.LATE_WEBHOOKS.value] if late is not None else []
        for copy in range(1, 3 if doubled else 2):
            record = SentWebhook(
                id=self._next_id,
                url=url,
                key=key,
                operation=operation,
                copy=copy,
                queued=datetime.now(UTC),
                fault=",".join(marks),
            )
            self._next_id += 1
            if len(self._log) < MAX_LOGGED:
                self._log.append(record)
            parcel = _Parcel(record, body, {"Content-Type": "application/json", **headers})
            if late is None:
                self._lane(key).put_nowait(parcel)
            else:
                self._hold_back(parcel, late.delay_seconds)

    def as_json(self) -> list[dict[str, Any]]:
        return [record.as_json() for record in self._log]

    def _lane(self, key: str) -> asyncio.Queue[_Parcel]:
        return self._lanes[zlib.crc32(key.encode()) % LANES]

    def _hold_back(self, parcel: _Parcel, delay_seconds: float) -> None:
        if len(self._late) >= MAX_LATE:
            raise asyncio.QueueFull
        # Uneven delays, so held-back webhooks also overtake each other.
        delay = delay_seconds * (0.5 + self._random.random())
        task = asyncio.create_task(self._later(parcel, delay))
        self._late.add(task)
        task.add_done_callback(self._late.discard)

    async def _later(self, parcel: _Parcel, delay_seconds: float) -> None:
        await asyncio.sleep(delay_seconds)
        # Outside the lane on purpose: a late webhook waits for none of its key.
        await self._deliver(parcel)

    async def _drive(self, lane: asyncio.Queue[_Parcel]) -> None:
        while True:
            await self._deliver(await lane.get())

    async def _deliver(self, parcel: _Parcel) -> None:
        record = parcel.record
        pause = FIRST_PAUSE_SECONDS
        while record.attempts < MAX_ATTEMPTS:
            record.attempts += 1
            record.status = await self._post(record.url, parcel)
            if record.status is not None and _is_done(record.status):
                record.answered = datetime.now(UTC)
                return
            await asyncio.sleep(pause)
            pause = min(pause * 2, MAX_PAUSE_SECONDS)
        record.given_up = True

    async def _post(self, url: str, parcel: _Parcel) -> int | None:
        assert self._session is not None
        try:
            async with self._session.post(
                url, data=parcel.body, headers=parcel.headers, allow_redirects=False
            ) as response:
                await response.read()
                return response.status
        except (aiohttp.ClientError, TimeoutError, OSError):
            return None


def _is_done(status: int) -> bool:
    """Whether a webhook that was answered so does not come again: taken, or refused for good."""
    return status in TAKEN or (REFUSED <= status < FAILED and status != TOO_MANY)
