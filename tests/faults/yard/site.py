"""A whole installation to be mistreated: hub with its bus, adapter processes, and the vendor."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import shutil
import signal
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import aiohttp
from crossdock.cli.toml_text import toml_text
from crossdock_hub.bus.address import BusAddress
from fixtures_hub import Lane, RunningHub, deployment
from fixtures_nats import NatsProcess
from nats_cluster import NODES
from story import seed_master_data

from tests.faults.history.records import Fault
from tests.faults.yard.adapter import CLASSES, POISON, adapter_name
from tests.faults.yard.carrier import carrier_name
from tests.faults.yard.nodes import WiredCluster
from tests.faults.yard.noting import Notes, now
from tests.faults.yard.processes import Process
from tests.faults.yard.proxy import Proxy

# One lane for each class of operation.
LANES = {name: Lane(number) for number, name in enumerate(CLASSES, 1)}
# Shortened, so that a killed holder is missed after seconds; the rules stay the same.
SHORT_LIMITS: Mapping[str, float] = {
    "lease_seconds_max": 3.0,
    "restart_grace_seconds": 2.0,
    "dispatch_seconds": 4.0,
    "retry_seconds_first": 0.2,
    "retry_seconds_max": 2.0,
    "look_up_retry_seconds_max": 2.0,
    "concurrency_default": 64,
}
WATCH_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Plan:
    """How an installation is set up.

    deaths: shares of calls at which an adapter kills itself. naive: modes of the naive adapters
    that run instead of ours. poisoned: orders that no adapter can translate. pace_seconds: what
    each writer waits between two orders. proxied: the bus is a server of its own, behind a wire
    that can be cut. cluster: the bus is three nodes, each stream on all of them, whose ways to one
    another can be held up. patience_seconds: how long the end of all open work is waited for; 0: it
    is not expected, and not judged. calls_at_once: of each endpoint. call_seconds: how long an
    adapter waits for the vendor's answer. labels: the vendors are carriers that sell labels, not
    ERPs. voids: some of what is packed is voided.
    """

    seed: int
    classes: tuple[str, ...] = CLASSES
    mix: Mapping[str, float | bool] = field(default_factory=dict)
    mixes: Mapping[str, Mapping[str, float | bool]] = field(default_factory=dict)
    adapters: int = 2
    deaths: Mapping[str, float] = field(default_factory=dict)
    limits: Mapping[str, float] = field(default_factory=lambda: SHORT_LIMITS)
    naive: tuple[str, ...] = ()
    naive_replicas: int = 1
    poisoned: int = 0
    pace_seconds: float = 0.0
    proxied: bool = False
    cluster: bool = False
    patience_seconds: float = 120.0
    calls_at_once: int = 16
    call_seconds: float = 1.5
    labels: bool = False
    voids: bool = True

    def endpoint(self, kind: str) -> str:
        """The endpoint whose operations are of a class."""
        return LANES[kind].carrier if self.labels else LANES[kind].erp


class Site:
    """A running installation. What is done to it is noted as a fault, with its time."""

    # Whether its database leaves out the numbers of what was rolled back.
    numbers_go_unused: ClassVar[bool] = False

    def __init__(self, directory: Path, plan: Plan, notes: Notes) -> None:
        self.plan = plan
        self.directory = directory
        self.notes = notes
        directory.mkdir(parents=True, exist_ok=True)
        self._mended = directory / "mended"
        self.hub = self._hub()
        self.vendor = self._vendor()
        self.adapters: list[Process] = []
        self.proxy: Proxy | None = None
        self._bus: NatsProcess | None = None
        self.nodes: WiredCluster | None = None
        self.control_url = self.vendor_url = ""
        self._watch: asyncio.Task[None] | None = None
        self.faults = 0

    # Its parts

    @property
    def endpoints(self) -> dict[str, str]:
        """Endpoint -> class of its operations, of those in use."""
        return {self.plan.endpoint(kind): kind for kind in self.plan.classes}

    @property
    def bus_address(self) -> BusAddress:
        """The hub's own login, past the wire."""
        if self.nodes is not None:
            return self.nodes.address()
        return self._bus.address if self._bus is not None else self.hub.bus_address()

    def _hub(self, **more: str) -> RunningHub:
        limits = json.dumps(dict(self.plan.limits))
        deployed = deployment(len(LANES))
        return RunningHub(self.directory / "hub", deployed, limits=limits, **more)

    async def _start_bus(self) -> None:
        """A bus of its own, and the hub told to reach it over the wire."""
        folder = self.directory / "bus"
        folder.mkdir()
        self._bus = NatsProcess(folder).start()
        address = self._bus.address
        self.proxy = Proxy(int(address.url.rpartition(":")[2]))
        port = await self.proxy.start()
        login = self.directory / "bus.json"
        login.write_text(json.dumps({"user": address.user, "password": address.password}))
        shutil.rmtree(self.hub.directory)
        self.hub = self._hub(nats_url=f"nats://127.0.0.1:{port}", nats_credentials_file=str(login))

    async def _start_cluster(self) -> None:
        """A bus of three nodes, and the hub told to keep three copies of each stream."""
        self.nodes = WiredCluster(self.directory / "bus", tuple(deployment(len(LANES))))
        await self.nodes.start_wired()
        shutil.rmtree(self.hub.directory)
        self.hub = self._hub(
            nats_url=self.nodes.url,
            nats_credentials_file=str(self.nodes.seed_file()),
            nats_replicas=str(NODES),
        )

    def _bus_credentials(self, endpoint: str) -> str:
        """The file of an endpoint's login."""
        if self.nodes is not None:
            return str(self.nodes.seed_file(endpoint))
        return str(self.hub.data / "bus-credentials" / f"{endpoint}.json")

    def _vendor(self) -> Process:
        mixes: dict[str, Any] = {}
        for kind in LANES:
            own = {**self.plan.mix, **self.plan.mixes.get(kind, {})}
            mixes[self.plan.endpoint(kind)] = {**own, "honours_keys": kind == "keyed"}
        for mode in self.plan.naive:
            for kind, name in self._naive_vendors(mode).items():
                mixes[name] = {**self.plan.mix, **self.plan.mixes.get(kind, {})}
        ready = self.directory / "vendor.json"
        return Process(
            "vendor", self.directory / "vendor.log", ready,
            "-m", "tests.faults.yard.sandbox", str(ready), str(self.plan.seed), json.dumps(mixes),
        )  # fmt: skip

    def _adapter(self, number: int) -> Process:
        name = f"adapter-{number}"
        ready = self.directory / f"{name}.json"
        tables: dict[str, Mapping[str, Any]] = {
            "process": {"ready_file": str(ready)},
            "hub": {"address": self.hub.address},
            "bus": {"url": self.hub.nats_url},
        }
        for endpoint, kind in self.endpoints.items():
            tables[f"endpoints.{endpoint}"] = {
                "adapter": carrier_name(kind) if self.plan.labels else adapter_name(kind),
                "token_file": str(self.hub.directory / "tokens" / endpoint),
                "credentials_file": self._bus_credentials(endpoint),
                "settings": {"base_url": f"{self.vendor_url}/{endpoint}"},
            }
        config = self.directory / f"{name}.toml"
        config.write_text(toml_text(tables, "Made for a run under faults."))
        deaths = json.dumps({"seed": self.plan.seed, **self.plan.deaths})
        calls = {"at_once": self.plan.calls_at_once, "seconds": self.plan.call_seconds}
        return Process(
            name, self.directory / f"{name}.log", ready,
            "-m", "tests.faults.yard.hosted", str(config),
            YARD_DEATHS=deaths, YARD_CALLS=json.dumps(calls), YARD_MENDED=str(self._mended),
        )  # fmt: skip

    def _naive_vendors(self, mode: str) -> dict[str, str]:
        """Class -> the vendor that its orders go to; a mode has vendors of its own."""
        kinds = self.plan.classes
        return {kind: mode if len(kinds) == 1 else f"{mode}-{kind}" for kind in kinds}

    def _naive(self, mode: str, number: int) -> Process:
        name = f"{mode}-{number}"
        ready = self.directory / f"{name}.json"
        address = self.hub.bus_address()
        told = {
            "mode": mode, "ready": str(ready), "poison": POISON, "labels": self.plan.labels,
            "vendors": {
                LANES[kind].business_unit: f"{self.vendor_url}/{name}"
                for kind, name in self._naive_vendors(mode).items()
            },
            "nats": address.url, "user": address.user, "password": address.password,
            # Of each replica its own, as processes on several machines have it.
            "memory": str(self.directory / f"{name}.db"), "seed": self.plan.seed,
            "deaths": dict(self.plan.deaths),
        }  # fmt: skip
        config = self.directory / f"{name}.config"
        config.write_text(json.dumps(told))
        return Process(
            name, self.directory / f"{name}.log", ready,
            "-m", "tests.faults.naive.consumer", str(config),
        )  # fmt: skip

    async def start(self) -> None:
        self.vendor.spawn()
        if self.plan.proxied:
            await self._start_bus()
        if self.plan.cluster:
            await self._start_cluster()
        await self.start_hub()
        await seed_master_data(self.hub)
        told = await self.vendor.serving()
        self.vendor_url, self.control_url = told["vendor_url"], told["control_url"]
        if self.plan.naive:
            replicas = range(self.plan.naive_replicas)
            self.adapters = [self._naive(mode, n) for n in replicas for mode in self.plan.naive]
        else:
            self.adapters = [self._adapter(number) for number in range(self.plan.adapters)]
        for adapter in self.adapters:
            adapter.spawn()
        for adapter in self.adapters:
            await adapter.serving()
        self._watch = asyncio.create_task(self._keep_adapters())

    async def stop_adapters(self) -> None:
        """End the adapters for good."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        for adapter in self.adapters:
            adapter.kill()

    async def stop(self) -> None:
        await self.stop_adapters()
        self.vendor.kill()
        self.hub.kill()
        if self.proxy is not None:
            await self.proxy.stop()
        if self._bus is not None:
            self._bus.kill()
        if self.nodes is not None:
            await self.nodes.stop_wired()

    async def _keep_adapters(self) -> None:
        """Start adapters again that ended, by our hand or their own."""
        while True:
            for adapter in self.adapters:
                if not adapter.alive:
                    adapter.deaths += 1
                    adapter.spawn()
            await asyncio.sleep(WATCH_SECONDS)

    # What is done to it

    def note(self, what: str, target: str) -> None:
        self.faults += 1
        self.notes.add(Fault(now(), what, target))

    @property
    def adapter_deaths(self) -> int:
        """kill -9 of adapters so far, ours and their own."""
        return sum(adapter.deaths for adapter in self.adapters)

    def kill_adapter(self, number: int) -> None:
        adapter = self.adapters[number % len(self.adapters)]
        self.note("kill -9", adapter.name)
        adapter.kill()

    def freeze_adapter(self, number: int) -> None:
        adapter = self.adapters[number % len(self.adapters)]
        self.note("SIGSTOP", adapter.name)
        adapter.signal(signal.SIGSTOP)

    def thaw_adapter(self, number: int) -> None:
        adapter = self.adapters[number % len(self.adapters)]
        self.note("SIGCONT", adapter.name)
        adapter.signal(signal.SIGCONT)

    def mend_adapters(self) -> None:
        """From now on the adapters can translate what was poison to them."""
        self.note("mended", "adapters")
        self._mended.touch()

    def kill_hub(self) -> None:
        """The bus dies with it: the hub's child follows its parent."""
        self.note("kill -9", "hub")
        self.hub.kill()

    async def start_hub(self) -> None:
        """Start the hub, also once more, and return when it serves."""
        self.hub.spawn()
        # Not in this thread's way: the wires between hub and bus run in it.
        await asyncio.to_thread(self.hub.wait_until_serving)

    def kill_nats(self) -> None:
        # 0 while there is none; as a target it would be our whole process group.
        pid = self.hub.nats_pid
        with contextlib.suppress(ProcessLookupError):
            if pid:
                os.kill(pid, signal.SIGKILL)
                self.note("kill -9", "nats-server")

    def kill_group(self) -> None:
        """Everything of ours at one blow; the vendor is somebody else's machine."""
        self.note("kill -9", "hub, nats-server and adapters")
        pids = [self.hub.pid, self.hub.nats_pid]
        for pid in filter(None, pids):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for adapter in self.adapters:
            adapter.kill()
        self.hub.kill()

    # The vendor's control port

    async def books(self) -> dict[str, Any]:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{self.control_url}/books") as answer,
        ):
            found: dict[str, Any] = await answer.json()
            return found

    async def change_mix(self, kind: str, **mix: float | bool) -> None:
        """From now on other things strike the calls of one class's vendor."""
        told = {"honours_keys": kind == "keyed", **mix}
        endpoint = self.plan.endpoint(kind)
        self.note("vendor", f"{endpoint}: {told}")
        command = f"{self.control_url}/commands/mix"
        async with (
            aiohttp.ClientSession() as session,
            session.post(command, json={"endpoint": endpoint, "mix": told}) as answer,
        ):
            assert answer.status == 200, await answer.text()


@contextlib.asynccontextmanager
async def opened(
    directory: Path, plan: Plan, notes: Notes, site_of: type[Site] = Site
) -> AsyncIterator[Site]:
    """A site for the length of the block."""
    site = site_of(directory, plan, notes)
    try:
        await site.start()
        yield site
    finally:
        await site.stop()


def mix_of(name: str) -> dict[str, float]:
    """The faults of the table's first row, and its late bookings."""
    return {
        "carrier": {"timed_out": 0.08, "failed_after": 0.06, "dropped": 0.08, "unavailable": 0.08},
        "late": {"late": 0.12, "timed_out": 0.04, "late_seconds": 1.0},
        "labels": {
            "timed_out": 0.08,
            "failed_after": 0.06,
            "dropped": 0.08,
            "unavailable": 0.08,
            "late": 0.04,
            "late_seconds": 1.0,
        },
        "well": {"work_seconds": 0.05},
        "slow": {"work_seconds": 0.9},
        # Booked late and shown late add up to less than the settle time, or no look-up is worth
        # anything.
        "searched": {
            "timed_out": 0.15,
            "failed_after": 0.15,
            "late": 0.1,
            "late_seconds": 0.6,
            "lie": 0.3,
            "broken": 0.4,
            "stale_seconds": 0.5,
        },
    }[name]


def chance_of(seed: int, what: str) -> random.Random:
    """Draws of the runner's own, apart for each purpose."""
    return random.Random(f"{seed}:{what}")
