"""The grpc.aio server: explicit limits, health per service, reflection where wanted, drain."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Iterable, Sequence
from typing import Any

import grpc
import structlog
from crossdock.errors import ConfigurationError
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from crossdock_hub.config import Limits, Settings
from crossdock_hub.door.reflecting import reflect
from crossdock_hub.identity import Identities
from crossdock_hub.taken import AddressTaken

log = structlog.get_logger("crossdock.server")

LOOPBACK = ("127.0.0.1:", "localhost:", "[::1]:", "unix:")
BUS_HEALTH = "bus"


def check_address(settings: Settings) -> None:
    """Raise ConfigurationError in one clear sentence when the hub can't listen as it is told to;
    AddressTaken where another process does.

    Asked before anything is started; what is true a moment later, `Server.start` finds out.
    """
    listen = settings.listen
    plain = not (settings.tls_certificate_file and settings.tls_key_file)
    if plain and not listen.startswith(LOOPBACK) and not settings.allow_plaintext:
        raise ConfigurationError(
            f"{listen} is not loopback and there is no certificate: set "
            "CROSSDOCK_TLS_CERTIFICATE_FILE and CROSSDOCK_TLS_KEY_FILE, or "
            "CROSSDOCK_ALLOW_PLAINTEXT=true behind a proxy that ends TLS"
        )
    host, _, port = listen.rpartition(":")
    if listen.startswith("unix:") or not port.isdigit():
        return
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host.strip("[]"), int(port)), family=family).close()
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)
        kind = AddressTaken if error.errno == errno.EADDRINUSE else ConfigurationError
        raise _not_bound(listen, why, kind) from None


def _not_bound(
    listen: str, why: str, kind: type[ConfigurationError] = AddressTaken
) -> ConfigurationError:
    return kind(
        f"{listen} can't be bound ({why}); "
        "set CROSSDOCK_LISTEN to a free port, or to port 0 for any"
    )


def channel_options(limits: Limits) -> list[tuple[str, int]]:
    """Every option that changes what the server takes; none is left to a default."""
    return [
        # Two hubs on one port would share it silently.
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", limits.message_bytes_max),
        ("grpc.max_send_message_length", limits.message_bytes_max),
        ("grpc.max_metadata_size", limits.metadata_bytes_max),
        # Below these the core cancels calls at random, without a word why; ours says so.
        ("grpc.server.max_pending_requests", limits.pending_rpcs_max),
        ("grpc.server.max_pending_requests_hard_limit", limits.pending_rpcs_max),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.max_connection_age_ms", 1_800_000),
        ("grpc.max_connection_age_grace_ms", 60_000),
    ]


def _is_traced(call: grpc.HandlerCallDetails) -> bool:
    """Ours only: health's Watch writes to its context, which the interceptor can't wrap."""
    return call.method.startswith("/crossdock.")


def tracing_interceptor() -> Any:
    """What makes a span of each call."""
    from opentelemetry.instrumentation.grpc import aio_server_interceptor

    return aio_server_interceptor(filter_=_is_traced)  # type: ignore[no-untyped-call]


class Health(health.aio.HealthServicer):  # type: ignore[misc]
    """Health v1 whose watchers are let go when the hub stops: a stop waits for open calls."""

    def __init__(self) -> None:
        super().__init__()
        self._closing = asyncio.Event()

    def close(self) -> None:
        """End every Watch."""
        self._closing.set()

    async def Watch(self, request: health_pb2.HealthCheckRequest, context: Any) -> None:
        """Tell a service's status and each change of it, until the hub stops."""
        watching = asyncio.ensure_future(super().Watch(request, context))
        closing = asyncio.ensure_future(self._closing.wait())
        try:
            await asyncio.wait({watching, closing}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (watching, closing):
                task.cancel()
            await asyncio.gather(watching, closing, return_exceptions=True)


class Server:
    """The door. `start` binds and serves, `stop` drains."""

    def __init__(
        self,
        settings: Settings,
        limits: Limits,
        handlers: Sequence[grpc.GenericRpcHandler],
        services: Iterable[str],
        identities: Identities,
    ) -> None:
        self._settings = settings
        self._limits = limits
        self._services = sorted(services)
        self._server = grpc.aio.server(
            interceptors=[tracing_interceptor()],
            options=channel_options(limits),
            maximum_concurrent_rpcs=limits.concurrent_rpcs_max,
        )
        self._health = Health()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        self._server.add_generic_rpc_handlers(tuple(handlers))
        if settings.reflection:
            reflect((*self._services, health.SERVICE_NAME), identities, self._server)
        self.address = ""

    async def start(self) -> str:
        """Bind and serve. Returns the address. Raises AddressTaken in one clear sentence."""
        listen = self._settings.listen
        try:
            port = self._bind(listen)
        except RuntimeError:
            port = 0
        if port == 0:
            raise _not_bound(listen, "another process has it")
        host = listen.rpartition(":")[0]
        self.address = f"{host}:{port}"
        await self._server.start()
        await self._set_all(health_pb2.HealthCheckResponse.SERVING)
        return self.address

    def _bind(self, listen: str) -> int:
        settings = self._settings
        if settings.tls_certificate_file and settings.tls_key_file:
            pair = (settings.tls_key_file.read_bytes(), settings.tls_certificate_file.read_bytes())
            return self._server.add_secure_port(listen, grpc.ssl_server_credentials([pair]))
        return self._server.add_insecure_port(listen)

    async def _set_all(self, status: Any) -> None:
        for name in ("", *self._services):
            await self._health.set(name, status)

    async def set_bus(self, ok: bool) -> None:
        """The bus has a health name of its own: a hub without it can still accept."""
        serving = health_pb2.HealthCheckResponse.SERVING
        not_serving = health_pb2.HealthCheckResponse.NOT_SERVING
        await self._health.set(BUS_HEALTH, serving if ok else not_serving)

    async def drain(self) -> None:
        """Tell load balancers first, then refuse new calls and let the running ones end."""
        await self._set_all(health_pb2.HealthCheckResponse.NOT_SERVING)
        await asyncio.sleep(self._limits.health_drain_seconds)
        self._health.close()
        await self._server.stop(self._limits.stop_grace_seconds)
