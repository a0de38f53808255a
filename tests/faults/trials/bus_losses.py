"""G17 and G18: the bus stores what it never confirms, and loses what it has."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import time
from collections.abc import AsyncIterator

import nats.errors
import nats.js.errors
from back_ups import lose_running_bus
from bus_reading import stored_messages, stream_configuration, unheard
from crossdock import bus
from crossdock_hub.bus.address import BusAddress
from fixtures_nats import eventually
from nats.aio.client import Client
from nats.js.api import StreamConfig

from tests.faults.history.records import Delivery, Event, Fault, Streamed
from tests.faults.trials.round import Round, played, progress
from tests.faults.trials.trial import Piece, Result, Size, Trial, judged
from tests.faults.yard.noting import Notes, now
from tests.faults.yard.proxy import Wire
from tests.faults.yard.site import LANES, SHORT_LIMITS, Plan, chance_of, mix_of, opened

# The stream's duplicate window, that of every hub or one that is left within seconds, and how long
# the bus is away: twice as long, and a little.
WINDOW_SECONDS = {True: 120.0, False: 4.0}
DARK_SECONDS = {True: 250.0, False: 9.0}
DEAF_SECONDS = 1.5
BACK_SECONDS = 60.0
NAIVE_MESSAGES = 50
NAIVE_WINDOW_SECONDS = 1.0
PACE_SECONDS = 0.05
# G18 takes something away every few seconds: the hub makes one stream anew once a minute at most.
REBUILD_PAUSE_SECONDS = 2.0


async def _ambiguous(round_: Round, dark_seconds: float) -> int:
    """Lose the bus's answers, then the bus; how many events it has that the hub can't know of."""
    site = round_.site
    assert site.proxy is not None
    await progress(round_, round_.load.orders // 3)
    site.note("answers lost", "bus")
    site.proxy.set(Wire.DEAF)
    await asyncio.sleep(DEAF_SECONDS)
    site.note("cut", "bus")
    site.proxy.set(Wire.CUT)
    stored = len(await stored_messages(site.bus_address, bus.EVENT_STREAM))
    known = site.hub.count("events", "published_at IS NOT NULL")
    await asyncio.sleep(dark_seconds)
    site.proxy.set(Wire.THROUGH)
    return stored - known


async def run_g17(piece: Piece) -> Result:
    """The hub's relay has to find out what the bus had stored before it says it again."""
    doubtful = 0
    long = piece.size.faults > 1

    async def fault(round_: Round) -> None:
        nonlocal doubtful
        doubtful = await _ambiguous(round_, DARK_SECONDS[long])

    plan = Plan(
        piece.seed,
        adapters=0,
        limits={**SHORT_LIMITS, "duplicate_window_seconds": WINDOW_SECONDS[long]},
        proxied=True,
        patience_seconds=0.0,
        pace_seconds=PACE_SECONDS,
    )
    async with played(piece, plan, [fault]) as round_:
        await eventually(
            lambda: round_.site.hub.count("events", "published_at IS NULL") == 0,
            "every event on the stream", BACK_SECONDS,
        )  # fmt: skip
        stream = await stream_configuration(round_.site.bus_address, bus.EVENT_STREAM)
        history = await round_.history()
    counts = {
        "orders": round_.load.done,
        "events": len(history.of(Event)),
        "stored without an answer": doubtful,
        "seconds dark": int(DARK_SECONDS[long]),
    }
    broken = [] if doubtful > 0 else ["no publish was ambiguous: nothing was proved"]
    if 2 * stream.duplicate_window > DARK_SECONDS[long]:
        broken.append(f"the bus was away for less than twice {stream.duplicate_window} s")
    return judged(history, piece.directory / "history.jsonl", counts, broken=broken)


async def naive_relay(piece: Piece) -> Result:
    """Publish with message ids, hear no answer, publish again when the window is over."""
    plan = Plan(piece.seed, adapters=0)
    async with (
        opened(piece.directory, plan, Notes()) as site,
        logged_in(site.bus_address) as client,
    ):
        jetstream = client.jetstream()
        config = StreamConfig(
            name="NAIVE", subjects=["naive.>"], duplicate_window=NAIVE_WINDOW_SECONDS
        )
        await jetstream.add_stream(config)
        for _ in range(2):
            for number in range(NAIVE_MESSAGES):
                headers = {"Nats-Msg-Id": str(number)}
                await jetstream.publish("naive.event", b"", headers=headers)
            await asyncio.sleep(NAIVE_WINDOW_SECONDS * 1.5)
        stored = (await jetstream.stream_info("NAIVE")).state.messages
    return Result({"message ids: stored twice": stored - NAIVE_MESSAGES, "of": NAIVE_MESSAGES})


@contextlib.asynccontextmanager
async def logged_in(address: BusAddress) -> AsyncIterator[Client]:
    """A connection of the runner's own."""
    client = Client()
    await client.connect(
        address.url, user=address.user, password=address.password, error_cb=unheard
    )
    try:
        yield client
    finally:
        await client.close()


LOSSES = (
    "event stream", "consumer", "delivery stream", "purged", "whole store",
    "whole store under the hub",
)  # fmt: skip


async def _lose(round_: Round, what: str, endpoint: str) -> None:
    """Take something of the bus away while everybody works."""
    site = round_.site
    if what == "whole store":
        site.kill_hub()
        shutil.rmtree(site.hub.data / "nats" / "jetstream")
        await site.start_hub()
    elif what == "whole store under the hub":
        await eventually(lambda: site.hub.nats_pid, "a nats-server", BACK_SECONDS)
        killed = lose_running_bus(site.hub)
        await eventually(
            lambda: site.hub.nats_pid not in (0, killed), "a new nats-server", BACK_SECONDS
        )
    else:
        async with logged_in(site.bus_address) as client:
            jetstream = client.jetstream(timeout=10.0)
            stream = bus.delivery_stream(endpoint)
            with contextlib.suppress(nats.js.errors.NotFoundError):
                if what == "event stream":
                    await jetstream.delete_stream(bus.EVENT_STREAM)
                elif what == "purged":
                    await jetstream.purge_stream(bus.EVENT_STREAM)
                elif what == "delivery stream":
                    await jetstream.delete_stream(stream)
                else:
                    for consumer in await jetstream.consumers_info(stream):
                        await jetstream.delete_consumer(stream, consumer.name)
    round_.notes.add(Fault(now(), "lost", f"{what} ({endpoint})"))


async def run_g18(piece: Piece) -> Result:
    """Streams, consumers and the whole store are deleted, one after another, under load."""
    chance = chance_of(piece.seed, "losses")
    healed: list[float] = []

    async def fault(round_: Round) -> None:
        size = piece.size
        for number in range(size.faults):
            await progress(round_, (number + 1) * size.orders // (size.faults + 1))
            endpoint = LANES[chance.choice(round_.site.plan.classes)].erp
            started = time.monotonic()
            await _lose(round_, LOSSES[number % len(LOSSES)], endpoint)
            await eventually(lambda: all_there(round_), "the stream filled again", BACK_SECONDS)
            healed.append(time.monotonic() - started)

    plan = Plan(
        piece.seed,
        mix=mix_of("well"),
        limits={**SHORT_LIMITS, "rebuild_pause_seconds": REBUILD_PAUSE_SECONDS},
        pace_seconds=PACE_SECONDS,
    )
    async with played(piece, plan, [fault]) as round_:
        await eventually(lambda: all_there(round_), "the stream filled again", BACK_SECONDS)
        history = await round_.history()
    counts = {
        "orders": round_.load.done,
        "losses": len(healed),
        "deliveries": len(history.of(Delivery)),
        "events on the stream": len(history.of(Streamed)),
    }
    measured = {"s until the stream is whole again": healed}
    return judged(history, piece.directory / "history.jsonl", counts, measured)


async def all_there(round_: Round) -> bool:
    """As many messages as there were events before we looked."""
    events = round_.site.hub.count("events")
    try:
        async with logged_in(round_.site.bus_address) as client:
            info = await client.jetstream(timeout=2.0).stream_info(bus.EVENT_STREAM)
    except (OSError, TimeoutError, nats.errors.Error):
        return False
    return bool(info.state.messages >= events)


G17 = Trial(
    "G17",
    "the bus stores events whose confirmation is lost, and is gone for twice its duplicate window",
    "each event is stored once",
    run_g17,
    Size(1, orders=90, faults=1),
    Size(3, orders=240, faults=2),
    {"stored without an answer": 3},
    baseline=naive_relay,
    baseline_size=Size(1),
)
G18 = Trial(
    "G18",
    "event stream, consumers, delivery streams and the whole store deleted or purged under load,"
    " the whole store also under a hub that goes on",
    "the stream is filled again from the database, in order; all work is delivered; 0 doubled",
    run_g18,
    Size(1, orders=240, faults=6),
    Size(5, orders=400, faults=12),
    {"losses": 60},
)
