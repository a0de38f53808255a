"""The two processes: one hosts endpoints, the other sandboxes; both end cleanly on SIGTERM."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from crossdock import supervision
from crossdock.client import HubClient
from crossdock.telemetry import start_tracing

from crossdock_adapters.sdk import registry
from crossdock_adapters.sdk.bus_credentials import BusCredentials
from crossdock_adapters.sdk.config import (
    AdaptersConfig,
    ConfigError,
    EndpointConfig,
    SandboxesConfig,
)
from crossdock_adapters.sdk.consumer import PullConsumer
from crossdock_adapters.sdk.hub_link import HubLink, Registration
from crossdock_adapters.sdk.pacing import Paces
from crossdock_adapters.sdk.runner import EndpointRunner, Source
from crossdock_adapters.sdk.sandbox_server import Listener
from crossdock_adapters.sdk.telemetry import Telemetry

log = logging.getLogger(__name__)

FORCE_EXIT_SECONDS = 9.5
# Of a call to the hub.
HUB_DEADLINE_SECONDS = 10.0


async def host_endpoints(config: AdaptersConfig, only: Sequence[str] = ()) -> None:
    """Run the configured endpoints (or those named) until SIGTERM or SIGINT."""
    chosen = _chosen(config, only)
    stop_tracing = start_tracing("crossdock-adapters", _instance())
    telemetry = Telemetry()
    stopping = stop_on_signal()
    runners: list[EndpointRunner] = []
    metrics_url = ""
    paces = Paces()

    def changed() -> None:
        _write_ready(config.ready_file, _status(runners, metrics_url))

    async with AsyncExitStack() as stack:
        stack.callback(stop_tracing)
        for endpoint in chosen:
            runner = await _runner(config, endpoint, telemetry, changed, paces, stack)
            runners.append(runner)
        if config.metrics_port is not None:
            metrics = Listener(telemetry.metrics_app(), config.metrics_host, config.metrics_port)
            await metrics.start()
            stack.push_async_callback(metrics.stop)
            metrics_url = f"http://{config.metrics_host}:{metrics.port}/metrics"
        changed()
        # A hub that is away is waited for while running: that is no reason to be started anew.
        supervision.tell(supervision.READY)
        stack.callback(asyncio.create_task(supervision.show_life()).cancel)
        ended = await asyncio.gather(
            *(_run(runner, stopping) for runner in runners), return_exceptions=True
        )
    for result in ended:
        if isinstance(result, BaseException):
            raise result


async def host_sandboxes(config: SandboxesConfig) -> None:
    """Run the configured sandboxes until SIGTERM or SIGINT."""
    stopping = stop_on_signal()
    async with AsyncExitStack() as stack:
        status: dict[str, Any] = {"pid": os.getpid(), "sandboxes": {}}
        for name, (adapter, sandbox_config) in config.sandboxes.items():
            sandbox = registry.sandbox(adapter)(sandbox_config)
            await stack.enter_async_context(sandbox)
            status["sandboxes"][name] = {
                "vendor_url": sandbox.vendor_url,
                "control_url": sandbox.control_url,
            }
        _write_ready(config.ready_file, status)
        print(json.dumps(status), flush=True)
        await stopping.wait()


def _chosen(config: AdaptersConfig, only: Sequence[str]) -> list[EndpointConfig]:
    unknown = [name for name in only if name not in config.endpoints]
    if unknown:
        known = ", ".join(config.endpoints)
        raise ConfigError(f"not configured: {', '.join(unknown)}; there are: {known}")
    return [config.endpoints[name] for name in (only or config.endpoints)]


async def _runner(
    config: AdaptersConfig,
    endpoint: EndpointConfig,
    telemetry: Telemetry,
    changed: Any,
    paces: Paces,
    stack: AsyncExitStack,
) -> EndpointRunner:
    hub = HubClient(
        config.hub_address,
        token_file=endpoint.token_file,
        tls=config.hub_tls,
        allow_plaintext_token=config.allow_plaintext_token,
        # The SDK has pauses and repeats of its own, and a webhook's sender waits for its answer.
        deadline_seconds=HUB_DEADLINE_SECONDS,
        come_again=False,
    )
    await stack.enter_async_context(hub)
    link = HubLink(endpoint.id, hub, _instance())
    credentials_file = endpoint.credentials_file or config.bus_credentials_file
    authority = str(config.bus_ca_file or "")
    credentials = BusCredentials(tls_ca_file=authority)
    if credentials_file:
        credentials = BusCredentials.read(credentials_file, authority)

    async def open_source(registration: Registration, prefetch: int) -> Source:
        return await PullConsumer(
            config.bus_url,
            credentials,
            stream=registration.stream,
            durable=registration.consumer,
            prefetch=prefetch,
        ).start()

    try:
        adapter = registry.adapter(endpoint.adapter).settling(endpoint.settle_after_seconds)
        adapter = adapter.behind(endpoint.system)
    except ValueError as error:
        raise ConfigError(f"endpoint {endpoint.id}: {error}") from None
    if adapter.webhooks and endpoint.webhook_port is None:
        raise ConfigError(f"endpoint {endpoint.id}: webhook_port is missing")
    return EndpointRunner(endpoint, adapter, link, open_source, telemetry, changed, paces)


async def _run(runner: EndpointRunner, stopping: asyncio.Event) -> None:
    """One endpoint; when it breaks, the others drain and the process ends with its error."""
    try:
        await runner.run(stopping)
    except Exception:
        log.exception("endpoint %s broke; the process ends", runner.config.id)
        stopping.set()
        raise


def _instance() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


def _status(runners: Sequence[EndpointRunner], metrics_url: str) -> dict[str, Any]:
    return {
        "pid": os.getpid(),
        "metrics_url": metrics_url,
        "endpoints": {
            runner.config.id: {"state": runner.state, "webhook_url": runner.webhook_url}
            for runner in runners
        },
    }


def _write_ready(path: Path | None, status: dict[str, Any]) -> None:
    """Replace the ready file in one step, so that a reader never sees half of it."""
    if path is None:
        return
    fresh = path.with_name(path.name + ".new")
    fresh.write_text(json.dumps(status, indent=2) + "\n", "utf-8")
    fresh.replace(path)


def stop_on_signal() -> asyncio.Event:
    """Set by SIGTERM or SIGINT; a process that hangs in spite of it is ended hard."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()

    def stop() -> None:
        if not stopping.is_set():
            stopping.set()
            supervision.tell(supervision.STOPPING)
            loop.call_later(FORCE_EXIT_SECONDS, os._exit, 1)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    return stopping
