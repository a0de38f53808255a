"""Everything `crossdock dev` and `crossdock demo` start: hub, sandboxes, adapters, first data."""

from __future__ import annotations

import asyncio
import errno
import importlib.util
import json
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from crossdock.cli.hub_access import with_loopback_direct
from crossdock.cli.network.vendor import SandboxPace
from crossdock.cli.problems import CommandError, explained
from crossdock.cli.processes import Child, Program, Say
from crossdock.cli.sandbox_control import SandboxControl
from crossdock.cli.seeds import MasterData, seed_carrier_accounts, wait_for_master_data
from crossdock.cli.together import together
from crossdock.cli.tracing import record_only_for_a_collector
from crossdock.cli.workplace import Running, Workplace
from crossdock.cli.workplace_configs import (
    hub_variables,
    write_adapters_config,
    write_configs,
)
from crossdock.client import HubClient
from crossdock.errors import CallError

HUB_READY_SECONDS: Final = 30.0
SANDBOXES_READY_SECONDS: Final = 20.0
ADAPTERS_READY_SECONDS: Final = 30.0
MASTER_DATA_SECONDS: Final = 30.0
HUB_STOP_SECONDS: Final = 15.0
SANDBOXES_STOP_SECONDS: Final = 5.0
# How often ports are chosen, as somebody may take one of them before its process does.
PORT_CHOICES_MAX: Final = 4
# In the log of a process that could not bind one.
PORT_IN_USE: Final = os.strerror(errno.EADDRINUSE).lower()
_NEEDED: Final = ("crossdock_hub", "crossdock_adapters")


class Installation:
    """One running set in one data directory, from `start` to `stop`."""

    def __init__(self, workplace: Workplace, pace: SandboxPace, say: Say) -> None:
        self.workplace = workplace
        self.pace = pace
        self.ready_seconds = 0.0
        self.hub_document: dict[str, Any] = {}
        self.sandbox_urls: dict[str, dict[str, str]] = {}
        self.master_data = MasterData(0, 0, 0)
        self._say = say
        self.hub = Child(_hub(workplace, {}), say)
        self.sandboxes = Child(_sandboxes(workplace), say)
        self.adapters = Child(_adapters(workplace), say)

    @property
    def address(self) -> str:
        """Where the hub answers."""
        return str(self.hub_document["grpc"])

    async def start(self) -> None:
        """Start all, wait until all serve and the master data is there. CommandError: why not."""
        started = time.monotonic()
        with_loopback_direct()
        _check_installed()
        self._say_all(self.workplace.open())
        for _ in range(PORT_CHOICES_MAX - 1):
            try:
                await self._start_children()
                break
            except CommandError as error:
                await self._stop_children()
                # Ours have ended: who listens is somebody else, unless he has left meanwhile.
                if not self.workplace.taken_ports() and PORT_IN_USE not in str(error).lower():
                    raise
            self._say_all(self.workplace.choose_ports())
        else:
            await self._start_children()
        await self._fill()
        self.workplace.announce(self._running())
        for child in self.children:
            child.supervise()
        self.ready_seconds = time.monotonic() - started

    async def _start_children(self) -> None:
        """Start hub, sandboxes and adapters at the ports that are chosen, and wait until they
        serve. CommandError: one does not."""
        write_configs(self.workplace, self.pace)
        # Only now are the ports known that its settings name.
        self.hub = Child(_hub(self.workplace, hub_variables(self.workplace)), self._say)
        self.sandboxes = Child(_sandboxes(self.workplace), self._say)
        self.adapters = Child(_adapters(self.workplace), self._say)
        await asyncio.gather(self.hub.start(), self.sandboxes.start())
        self.hub_document, sandboxes = await together(
            self.hub.wait_ready(HUB_READY_SECONDS),
            self.sandboxes.wait_ready(SANDBOXES_READY_SECONDS),
        )
        self.sandbox_urls = sandboxes["sandboxes"]
        self.workplace.host_keys = {
            vendor.endpoint: str((await self.sandbox(vendor.endpoint).books())["host_key"])
            for vendor in self.workplace.network.vendors
            if vendor.has_host_key
        }
        write_adapters_config(self.workplace, self.hub_document, self.pace)
        await self.adapters.start()
        await self.adapters.wait_ready(ADAPTERS_READY_SECONDS)

    def _say_all(self, sentences: Iterable[str]) -> None:
        for sentence in sentences:
            self._say(sentence)

    async def restart_hub(self, limits: Mapping[str, float]) -> None:
        """Stop the hub as an operator does, and start it with some of its limits changed."""
        await self.hub.stop()
        variables = hub_variables(self.workplace)
        variables["CROSSDOCK_LIMITS"] = json.dumps(dict(limits))
        self.hub = Child(_hub(self.workplace, variables), self._say)
        await self.hub.start()
        self.hub_document = await self.hub.wait_ready(HUB_READY_SECONDS)
        self.hub.supervise()

    async def stop(self) -> None:
        """End all, in the order in which they need each other."""
        self.workplace.running_file.unlink(missing_ok=True)
        await self._stop_children()

    async def _stop_children(self) -> None:
        for child in (self.adapters, self.sandboxes, self.hub):
            await child.stop()

    def kill(self) -> None:
        """End all at once: a second Ctrl-C."""
        for child in self.children:
            child.kill()

    @property
    def children(self) -> tuple[Child, ...]:
        return (self.hub, self.sandboxes, self.adapters)

    def client(self, endpoint: str) -> HubClient:
        """A connection to the hub as one endpoint."""
        return HubClient(self.address, token_file=self.workplace.token_file(endpoint))

    def sandbox(self, vendor: str) -> SandboxControl:
        """The control port of a simulated vendor."""
        return SandboxControl(vendor, self.sandbox_urls[vendor]["control_url"])

    async def _fill(self) -> None:
        try:
            async with self.client("operator") as operator:
                self.master_data = await wait_for_master_data(
                    operator, len(self.workplace.docks), MASTER_DATA_SECONDS
                )
            async with self.client("shipping-desk") as desk:
                await seed_carrier_accounts(desk, self.workplace.network.carrier_accounts)
        except CallError as error:
            raise explained(error, self.address) from None

    def _running(self) -> Running:
        port = self.hub_document.get("metrics_port")
        return Running(
            pid=os.getpid(),
            hub_address=self.address,
            nats_url=str(self.hub_document["nats_url"]),
            metrics_url=f"http://127.0.0.1:{port}/metrics" if port else "",
            sandboxes=self.sandbox_urls,
        )


def _check_installed() -> None:
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        packages = " ".join(name.replace("_", "-") for name in missing)
        raise CommandError(
            f"{packages} is not installed beside crossdock",
            "crossdock dev starts hub and adapters from the same Python",
            f"pip install {packages}; or, in the repository: make runtime",
        )


def environment(extra: Mapping[str, str]) -> dict[str, str]:
    """What children see: ours without CROSSDOCK_*, so that a shell's settings do not leak in."""
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith("CROSSDOCK_")
    }
    if inherited.pop("PYTHONDONTWRITEBYTECODE", "") and "PYTHONPYCACHEPREFIX" not in inherited:
        # Nothing is written beside the sources, and yet no child compiles 700 modules each time.
        inherited["PYTHONPYCACHEPREFIX"] = str(Path.home() / ".cache" / "crossdock" / "bytecode")
    record_only_for_a_collector(inherited)
    return {**inherited, "PYTHONUNBUFFERED": "1", **extra}


def _hub(workplace: Workplace, variables: Mapping[str, str]) -> Program:
    return Program(
        name="hub",
        arguments=("-m", "crossdock_hub"),
        log_file=workplace.log_file("hub"),
        ready_file=workplace.ready_file("hub"),
        environment=environment(variables),
        ready=lambda document: bool(document.get("grpc") and document.get("nats_url")),
        stop_seconds=HUB_STOP_SECONDS,
    )


def _sandboxes(workplace: Workplace) -> Program:
    return Program(
        name="sandboxes",
        arguments=_adapters_command(workplace, "sandbox", "sandboxes"),
        log_file=workplace.log_file("sandboxes"),
        ready_file=workplace.ready_file("sandboxes"),
        environment=environment({}),
        stop_seconds=SANDBOXES_STOP_SECONDS,
    )


def _adapters(workplace: Workplace) -> Program:
    return Program(
        name="adapters",
        arguments=_adapters_command(workplace, "run", "adapters"),
        log_file=workplace.log_file("adapters"),
        ready_file=workplace.ready_file("adapters"),
        environment=environment({}),
        ready=all_serving,
    )


def all_serving(document: Mapping[str, Any]) -> bool:
    """Whether every endpoint of the adapters' process takes work."""
    endpoints = document.get("endpoints", {})
    return bool(endpoints) and all(each["state"] == "serving" for each in endpoints.values())


def _adapters_command(workplace: Workplace, command: str, config: str) -> tuple[str, ...]:
    file = str(workplace.config_file(config))
    return ("-m", "crossdock_adapters", command, "--config", file)
