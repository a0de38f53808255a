"""A hub as a process: who may start beside it, how it ends, and what is left when it is killed."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from crossdock.client import HubClient
from crossdock.errors import CallError, TryAgainError, UnreachableError
from crossdock.lineage.v1 import lineage_service_pb2
from crossdock.order.v1 import order_service_pb2
from crossdock_hub.__main__ import COLLECTION_THRESHOLDS
from databases import on_sqlite_only
from fixtures_hub import RunningHub, deployment
from fixtures_nats import PATIENCE_SECONDS, eventually, is_alive
from grpc_health.v1 import health_pb2, health_pb2_grpc
from story import create_order, seed_master_data

EXIT_UNAVAILABLE, EXIT_CONFIGURATION = 69, 78
SIGTERM_SECONDS_MAX = 10.0
CALLERS = 16


@pytest.fixture(scope="module")
def _mortal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    running = RunningHub(tmp_path_factory.mktemp("mortal"), deployment(1)).start()
    asyncio.run(seed_master_data(running))
    yield running
    running.kill()


@pytest.fixture
def mortal_hub(_mortal: RunningHub) -> RunningHub:
    """A hub that the tests of this module end, one after another, on the same data."""
    if not _mortal.runs:
        _mortal.start()
    return _mortal


def the_sentence(output: str) -> str:
    """The only line that is no log entry."""
    (line,) = [line for line in output.splitlines() if not line.startswith("{")]
    return line


def test_a_second_hub_on_the_same_data_is_refused(hub: RunningHub) -> None:
    """Proves that a data directory has one hub: the second ends with one sentence naming both."""
    code, said = hub.run_to_its_end(listen="127.0.0.1:0", address_file="")
    assert code == EXIT_UNAVAILABLE
    assert str(hub.data) in the_sentence(said)
    assert str(hub.pid) in the_sentence(said)
    assert "Traceback" not in said


def test_a_second_hub_on_the_same_port_is_refused(
    hub: RunningHub, unstarted_hub: RunningHub
) -> None:
    """Proves that a port has one hub: the second ends with one sentence, and started nothing."""
    code, said = unstarted_hub.run_to_its_end(listen=hub.address)
    assert code == EXIT_UNAVAILABLE
    assert hub.address in the_sentence(said)
    assert "CROSSDOCK_LISTEN" in the_sentence(said)
    assert "Traceback" not in said
    assert not (unstarted_hub.data / "nats").exists(), "it looked before it started anything"


def test_plain_text_stays_on_loopback(unstarted_hub: RunningHub) -> None:
    """Proves that a hub without a certificate refuses to listen on a network, and says what to
    do."""
    code, said = unstarted_hub.run_to_its_end(listen="0.0.0.0:0")
    assert code == EXIT_CONFIGURATION
    for word in ("0.0.0.0:0", "CROSSDOCK_TLS_CERTIFICATE_FILE", "CROSSDOCK_ALLOW_PLAINTEXT"):
        assert word in the_sentence(said)
    assert "Traceback" not in said


def test_a_wrong_setting_is_named(unstarted_hub: RunningHub) -> None:
    """Proves that a setting which can't be read is told by its variable."""
    code, said = unstarted_hub.run_to_its_end(trace_sample_ratio="much")
    assert code == EXIT_CONFIGURATION
    assert "CROSSDOCK_TRACE_SAMPLE_RATIO" in the_sentence(said)


@dataclass
class Outcomes:
    """What callers were told about each order number."""

    stored: list[str] = field(default_factory=list)
    failed: dict[str, CallError] = field(default_factory=dict)


async def write_until_refused(client: HubClient, outcomes: Outcomes) -> None:
    """Create orders until the hub takes no more."""
    while not outcomes.failed or len(outcomes.failed) < CALLERS:
        request = create_order()
        try:
            await client.orders.CreateOrder(request)
        except CallError as error:
            outcomes.failed[request.order.number] = error
            return
        outcomes.stored.append(request.order.number)


@pytest.mark.parametrize("_again", [1, 2, 3])
async def test_sigterm_fails_no_accepted_call(mortal_hub: RunningHub, _again: int) -> None:
    """Proves that a stop under load ends within 10 s, with streams open, and that what callers were
    told is true: what they were refused was never written, and what they were told was."""
    outcomes = Outcomes()
    async with mortal_hub.client("oms") as oms, mortal_hub.client("operator") as operator:
        await oms.wait_until_connected()
        watch = health_pb2_grpc.HealthStub(oms.channel).Watch(health_pb2.HealthCheckRequest())
        tail = operator.lineage.Tail(lineage_service_pb2.TailRequest())
        streams = [asyncio.ensure_future(_drink(stream)) for stream in (watch, tail)]
        callers = [
            asyncio.ensure_future(write_until_refused(oms, outcomes)) for _ in range(CALLERS)
        ]
        await eventually(lambda: len(outcomes.stored) > 100, "load")
        began = time.monotonic()
        code = await asyncio.to_thread(mortal_hub.stop)
        took = time.monotonic() - began
        await asyncio.gather(*callers)
        await asyncio.wait_for(asyncio.gather(*streams), PATIENCE_SECONDS)
    assert code == 0, mortal_hub.log(tail=True)
    assert took < SIGTERM_SECONDS_MAX
    kinds = (UnreachableError, TryAgainError)
    assert all(isinstance(error, kinds) for error in outcomes.failed.values()), outcomes.failed
    known = {row[0] for row in mortal_hub.query("SELECT number FROM objects WHERE kind = 'order'")}
    assert set(outcomes.stored) <= known
    assert known.isdisjoint(outcomes.failed)


@on_sqlite_only
async def test_sigterm_waits_for_a_write_that_it_took(mortal_hub: RunningHub) -> None:
    """Proves that a write which the hub has taken, and whose commit ends only after new calls are
    refused, is answered OK: it is not cut with the callers who come too late."""
    path = mortal_hub.data / "crossdock.db"
    async with mortal_hub.client("oms") as oms:
        await oms.wait_until_connected()
        known = (await oms.orders.CreateOrder(create_order())).order
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
            # The committer waits for it; whoever reads does not.
            other.execute("BEGIN IMMEDIATE")
            request = create_order()
            held = asyncio.ensure_future(oms.orders.CreateOrder(request))
            # Behind it on the same connection: when this is answered, the hub has taken that.
            await oms.orders.GetOrder(order_service_pb2.GetOrderRequest(id=known.id))
            began = time.monotonic()
            stopped = asyncio.ensure_future(asyncio.to_thread(mortal_hub.stop))
            await eventually(lambda: _refused(mortal_hub.address), "the end of new calls")
            assert not held.done()
            other.execute("ROLLBACK")
            made = (await held).order
    assert await stopped == 0, mortal_hub.log(tail=True)
    assert time.monotonic() - began < SIGTERM_SECONDS_MAX
    kept = mortal_hub.query("SELECT number FROM objects WHERE id = ?", made.id)
    assert kept == [(request.order.number,)]


async def _refused(address: str) -> bool:
    """Whether nobody listens there any more."""
    host, _, port = address.rpartition(":")
    try:
        _, writer = await asyncio.open_connection(host, int(port))
    except (ConnectionRefusedError, ConnectionResetError):
        # Reset: it had come into the queue of a socket that was closed then.
        return True
    writer.close()
    return False


async def _drink(stream: Any) -> None:
    """Read a stream to its end, whatever that is."""
    try:
        async for _ in stream:
            pass
    except CallError:
        pass


async def test_nats_dies_with_a_killed_hub(mortal_hub: RunningHub) -> None:
    """Proves that kill -9 of the hub leaves no nats-server behind, and that the next one starts on
    the same data."""
    child = mortal_hub.nats_pid
    assert is_alive(child)
    mortal_hub.kill()
    await eventually(lambda: not is_alive(child), "the end of the nats-server", 1.0)
    mortal_hub.start()
    async with mortal_hub.client("oms") as oms:
        await oms.wait_until_connected()
        await oms.orders.CreateOrder(create_order())


def test_secrets_are_for_the_hub_alone(hub: RunningHub) -> None:
    """Proves that nobody else on the machine can read the database or the bus credentials."""
    for path in (hub.data, hub.data / "nats", hub.data / "bus-credentials"):
        assert path.stat().st_mode & 0o077 == 0, path
    for path in (hub.data / "bus-credentials").iterdir():
        assert path.stat().st_mode & 0o077 == 0, path


# A hub that only says how many objects the collector passes over.
WATCHED_START = """
import asyncio, gc, os, signal
from crossdock_hub import __main__ as process

class Hub:
    def __init__(self, settings):
        print(gc.get_freeze_count(), *gc.get_threshold())
    async def start(self):
        self.made = [[number] for number in range(1_000)]
    async def stop(self):
        print(gc.get_freeze_count(), *gc.get_threshold())

process.Hub = Hub
process.supervision.tell = lambda state: os.kill(os.getpid(), signal.SIGTERM)
asyncio.run(process._serve(None))
"""


def test_what_lives_as_long_as_the_process_is_looked_through_before_it_serves() -> None:
    """Proves that the collector has done with all modules before a hub starts, so that what it is
    shown once callers are there is what the start has made, and passes over that, too, then."""
    told = subprocess.run(
        [sys.executable, "-c", WATCHED_START], capture_output=True, text=True, check=True
    )
    before, after = ([int(word) for word in line.split()] for line in told.stdout.splitlines())
    assert before[0] > 50_000
    assert after[0] >= before[0] + 1_000
    assert before[1:] == after[1:] == list(COLLECTION_THRESHOLDS)
