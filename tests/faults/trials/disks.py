"""G10 and G11: the volume of the bus, and that of the database, are full and have room again."""

from __future__ import annotations

import asyncio
import contextlib
import random
import sqlite3
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable

from crossdock.cli.health import SERVING, health
from crossdock.client import HubClient
from crossdock.endpoint.v1 import held_fact_pb2
from crossdock.errors import NoAnswerError, TryAgainError
from fixtures_hub import RunningHub
from fixtures_nats import eventually
from story import request_id

from tests.faults.history.records import Fault, Rpc
from tests.faults.naive.publisher import naive_g10
from tests.faults.trials.round import WRITE, Round, played, progress, write_seconds
from tests.faults.trials.trial import Piece, Result, Size, Trial, judged
from tests.faults.yard.noting import now
from tests.faults.yard.site import LANES, Plan, chance_of, mix_of
from tests.faults.yard.volumes import fill, small_volume

# The write-ahead log of the database takes 64 MiB before it is written back, once for each filling.
BUS_MEBIBYTES, STORE_MEBIBYTES = 96, 512
RED_SECONDS_MAX, WELL_SECONDS_MAX = 5.0, 15.0
LOOK_SECONDS = 60.0
RECORDS_BACK = 500
FULL_SECONDS = 3.0
ANSWER_SECONDS = 2.0
PACE_SECONDS = 0.1
WRITERS = 6
# The largest that may be held; so few of them use up what room there is.
PAYLOAD_BYTES = 512 * 1024
PAYLOAD_WRITERS = 2
PAYLOAD_PAUSE_SECONDS = 0.2


class Full:
    """Seconds until it was seen and until it was well again, when it was full (microseconds), and
    what went wrong."""

    def __init__(self) -> None:
        self.spans: list[tuple[int, int]] = []
        self.red: list[float] = []
        self.well: list[float] = []
        self.broken: list[str] = []


async def _bus_state(client: HubClient) -> str:
    return await health(client.channel, "bus", ANSWER_SECONDS)


async def _fill_bus(round_: Round, full: Full) -> None:
    hub = round_.site.hub
    volume = hub.data / "nats"
    async with hub.client("") as asker:
        for number in range(round_.piece.size.faults):
            size = round_.piece.size
            await progress(round_, (number + 1) * size.orders // (size.faults + 1))
            told_before = hub.log().count("is full")
            filler, started = fill(volume), time.monotonic()
            round_.notes.add(Fault(now(), "full", "the volume of the bus"))

            async def is_red() -> bool:
                return await _bus_state(asker) != SERVING

            await eventually(is_red, "bad health of the bus", LOOK_SECONDS)

            def is_named(before: int = told_before) -> bool:
                return hub.log().count("is full") > before

            await eventually(is_named, "the cause in the log", LOOK_SECONDS)
            full.red.append(time.monotonic() - started)
            await asyncio.sleep(FULL_SECONDS)
            filler.unlink()
            freed = time.monotonic()

            async def is_well() -> bool:
                good = await _bus_state(asker) == SERVING
                return good and hub.count("events", "published_at IS NULL") <= WRITERS

            await eventually(is_well, "good health of the bus", LOOK_SECONDS)
            full.well.append(time.monotonic() - freed)


async def run_g10(piece: Piece) -> Result:
    """The bus's volume is filled under load, and freed."""
    full = Full()

    async def fault(round_: Round) -> None:
        await _fill_bus(round_, full)

    plan = Plan(piece.seed, mix=mix_of("well"), pace_seconds=PACE_SECONDS)
    with small_volume(piece.directory / "hub" / "data" / "nats", BUS_MEBIBYTES):
        async with played(piece, plan, [fault], WRITERS) as round_:
            history = await round_.history()
    unanswered = sum(call.outcome != "ok" for call in history.of(Rpc))
    broken = [f"{unanswered} writes were not accepted"] if unanswered else []
    broken += [f"seen only after {s:.1f} s" for s in full.red if s > RED_SECONDS_MAX]
    broken += [f"well only after {s:.1f} s" for s in full.well if s > WELL_SECONDS_MAX]
    counts = {"orders": round_.load.done, "full volumes": len(full.well)}
    measured = {
        "s until health says so, and the log why": full.red,
        "s until all is published again": full.well,
        WRITE: write_seconds(history),
    }
    return judged(history, piece.directory / "history.jsonl", counts, measured, broken)


class Payloads:
    """Webhooks of a carrier that nobody can translate, as large as they may be.

    The write-ahead log keeps its room when it is written back, so a full volume stops nobody until
    that room is used up too; orders alone take a minute to do it. kept: what the hub says it keeps;
    last_kept: when, on the monotonic clock. refusals: when each refused call began, and why.
    """

    def __init__(self, seed: int) -> None:
        self._chance = chance_of(seed, "payloads")
        self.kept: list[str] = []
        self.last_kept = 0.0
        self.refusals: list[tuple[int, str]] = []

    @property
    def refused(self) -> int:
        """How often with STORE_FULL."""
        return sum(reason == "STORE_FULL" for _, reason in self.refusals)

    @contextlib.asynccontextmanager
    async def coming(self, hub: RunningHub) -> AsyncIterator[None]:
        """They come for the length of the block; each is repeated until it is kept."""
        endpoint, stopped = LANES["searchable"].carrier, asyncio.Event()
        async with hub.client(endpoint) as carrier, asyncio.TaskGroup() as together:
            for _ in range(PAYLOAD_WRITERS):
                together.create_task(self._send(carrier, stopped))
            try:
                yield
            finally:
                stopped.set()

    async def _send(self, carrier: HubClient, stopped: asyncio.Event) -> None:
        while not stopped.is_set():
            request = _payload(self._chance)
            while not stopped.is_set():
                asked = now()
                try:
                    answer = await carrier.endpoints.HoldPayload(request)
                except (TryAgainError, NoAnswerError) as error:
                    self.refusals.append((asked, error.refusal.reason))
                    await asyncio.sleep(PAYLOAD_PAUSE_SECONDS)
                    continue
                self.kept.append(answer.receipt.held_fact_id)
                self.last_kept = time.monotonic()
                break

    def missing(self, hub: RunningHub) -> list[str]:
        """Ids of those that the hub said it keeps, and does not."""
        there = {row[0] for row in hub.query("SELECT id FROM held_facts")}
        return sorted(set(self.kept) - there)


def _payload(chance: random.Random) -> held_fact_pb2.HoldPayloadRequest:
    return held_fact_pb2.HoldPayloadRequest(
        request_id=request_id(),
        payload=chance.randbytes(PAYLOAD_BYTES),
        source="/hook",
        reason="it is not JSON",
    )


async def _fill_store(round_: Round, full: Full, payloads: Payloads) -> None:
    hub, size = round_.site.hub, round_.piece.size
    pid = hub.pid
    volume = (hub.data / "crossdock.db").resolve().parent
    for number in range(size.faults):
        await progress(round_, (number + 1) * size.orders // (size.faults + 1))
        started, since, before = now(), time.monotonic(), payloads.refused
        filler = fill(volume)
        round_.notes.add(Fault(started, "full", "the volume of the database"))

        # The last orders may be placed before the room of the log is used up; payloads never end.
        def refused(since: int = started, before: int = before) -> bool:
            last = round_.notes.records[-RECORDS_BACK:]
            return payloads.refused > before or any(
                isinstance(r, Rpc) and r.reason == "STORE_FULL" and r.end > since for r in last
            )

        def last_answer() -> float:
            return max(round_.load.last_answer, payloads.last_kept)

        async with payloads.coming(hub):
            await eventually(refused, "a refusal with STORE_FULL", LOOK_SECONDS)
            full.red.append(time.monotonic() - since)
            await asyncio.sleep(FULL_SECONDS)
            full.spans.append((started, now()))
            filler.unlink()
            freed = time.monotonic()
            await eventually(lambda t=freed: last_answer() > t, "an accepted write", LOOK_SECONDS)
            full.well.append(last_answer() - freed)
    if hub.pid != pid or not hub.runs:
        full.broken.append("the hub did not live through it")


def told_otherwise(
    refusals: Iterable[tuple[int, str]], spans: Iterable[tuple[int, int]]
) -> list[str]:
    """Why calls that began while the volume was full were refused, if not for that. Calls that had
    begun before are left out: one that was let in may find its deadline over."""
    held = list(spans)
    others = Counter(
        reason
        for at, reason in refusals
        if reason != "STORE_FULL" and any(full <= at < free for full, free in held)
    )
    return [f"{n} calls on a full volume ended with {reason}" for reason, n in others.items()]


async def run_g11(piece: Piece) -> Result:
    """The database's volume is filled under load, and freed; the hub lives on."""
    full, payloads = Full(), Payloads(piece.seed)

    async def fault(round_: Round) -> None:
        await _fill_store(round_, full, payloads)

    data = piece.directory / "hub" / "data"
    data.mkdir(parents=True)
    plan = Plan(piece.seed, mix=mix_of("well"), pace_seconds=PACE_SECONDS)
    with small_volume(piece.directory / "volume", STORE_MEBIBYTES) as volume:
        (data / "crossdock.db").symlink_to(volume / "crossdock.db")
        async with played(piece, plan, [fault], WRITERS) as round_:
            history = await round_.history()
            missing = payloads.missing(round_.site.hub)
        with contextlib.closing(sqlite3.connect(volume / "crossdock.db")) as database:
            ((said,),) = database.execute("PRAGMA integrity_check").fetchall()
    if said != "ok":
        full.broken.append(f"the database is damaged: {said}")
    if missing:
        full.broken.append(f"{len(missing)} payloads are not there that the hub said it keeps")
    refusals = [(call.start, call.reason) for call in history.of(Rpc) if call.outcome != "ok"]
    reasons = [reason for _, reason in refusals]
    full.broken += told_otherwise([*refusals, *payloads.refusals], full.spans)
    counts = {
        "orders": round_.load.done,
        "full volumes": len(full.well),
        "payloads kept": len(payloads.kept),
        "refused with STORE_FULL": reasons.count("STORE_FULL") + payloads.refused,
    }
    measured = {
        "s until a write is refused": full.red,
        "s until a write is accepted again": full.well,
    }
    return judged(history, piece.directory / "history.jsonl", counts, measured, full.broken)


G10 = Trial(
    "G10",
    "the volume of the bus is full, then has room",
    "the hub accepts every write; health is red <= 5 s with the cause; well by itself <= 15 s; 0"
    " lost",
    run_g10,
    Size(1, orders=150, faults=1),
    Size(5, orders=400, faults=4),
    {"full volumes": 20},
    baseline=naive_g10,
    baseline_size=Size(1, faults=4),
)
G11 = Trial(
    "G11",
    "the volume of the database is full, then has room",
    "STORE_FULL and no other refusal, never an OK that is not kept; the database is whole; well"
    " without a restart",
    run_g11,
    Size(1, orders=150, faults=1),
    Size(5, orders=400, faults=4),
    {"full volumes": 20},
)
