"""The grpc.aio server: explicit limits, health per service, reflection where wanted, drain."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any, Final

import grpc
import structlog
from crossdock.ending import end_tasks
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from crossdock_hub.arrivals import Arrivals
from crossdock_hub.config import Limits, Settings
from crossdock_hub.door.binding import PortMark, not_bound, own_listen
from crossdock_hub.door.reflecting import reflect
from crossdock_hub.door.running_calls import RunningCalls
from crossdock_hub.door.tracing import RecordedCalls
from crossdock_hub.identity import Identities

log = structlog.get_logger("crossdock.server")

BUS_HEALTH = "bus"
# How often a stop looks whether a handler of ours still runs, and after how many looks at none it
# waits no longer: what has come is with its handler within milliseconds.
LOOK_SECONDS: Final = 0.25
LOOKS_AT_NONE: Final = 3


def channel_options(limits: Limits, *, shares_port: bool = False) -> list[tuple[str, int]]:
    """Every option that changes what the server takes; none is left to a default."""
    return [
        # Two hubs on one port would share it silently; those that are told to do.
        ("grpc.so_reuseport", int(shares_port)),
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


class _Unregistered:
    """A server's handlers without the registration that generated code of services adds to them.

    With it, about one stop in a hundred of grpc 1.85 lost a call that came at that moment under
    load: no handler got it and nobody ended it. Without, one in four hundred: see `Server._stop`.
    A generic handler finds a method as well.
    """

    def __init__(self, server: grpc.aio.Server) -> None:
        self.add_generic_rpc_handlers = server.add_generic_rpc_handlers

    def add_registered_method_handlers(self, _service: str, _handlers: Any) -> None:
        """Leave them to the generic handlers, which the same code has added."""


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
            await end_tasks([watching, closing])


class Server:
    """The door. `start` binds and serves, `stop` drains.

    A hub that shares its port has a second server, at a port that leads to it and no other.
    """

    def __init__(
        self,
        settings: Settings,
        limits: Limits,
        handlers: Sequence[grpc.GenericRpcHandler],
        services: Iterable[str],
        identities: Identities,
        arrivals: Arrivals,
    ) -> None:
        self._settings = settings
        self._limits = limits
        self._services = sorted(services)
        self._health = Health()
        self._calls = RunningCalls(arrivals, limits)
        counted = self._calls.of(handlers)
        self._server = self._made(counted, identities, shares_port=settings.share_port)
        self._own = self._made(counted, identities) if settings.share_port else None
        self._mark = PortMark(settings) if settings.share_port else None
        self.address = ""
        self.own_address = ""
        """Where nobody but this hub answers."""

    def _made(
        self,
        handler: grpc.GenericRpcHandler,
        identities: Identities,
        *,
        shares_port: bool = False,
    ) -> grpc.aio.Server:
        server = grpc.aio.server(
            interceptors=[RecordedCalls()],
            options=channel_options(self._limits, shares_port=shares_port),
            # `RunningCalls` limits those whose request is here, and says when to come again.
            maximum_concurrent_rpcs=(
                self._limits.concurrent_rpcs_max + self._limits.arriving_rpcs_max
            ),
        )
        unregistered = _Unregistered(server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, unregistered)
        server.add_generic_rpc_handlers((handler,))
        if self._settings.reflection:
            reflect((*self._services, health.SERVICE_NAME), identities, unregistered)
        return server

    async def start(self) -> str:
        """Bind and serve. Returns the address. Raises in one clear sentence: AddressTaken, or
        ConfigurationError where hubs of another database share the port."""
        try:
            if self._mark is not None:
                self._mark.set()
            if self._own is not None:
                self.own_address = await self._open(self._own, own_listen(self._settings))
            self.address = await self._open(self._server, self._settings.listen)
        except BaseException:
            await self._stop(None)
            raise
        self.own_address = self.own_address or self.address
        await self._set_all(health_pb2.HealthCheckResponse.SERVING)
        return self.address

    async def _open(self, server: grpc.aio.Server, listen: str) -> str:
        try:
            port = self._bind(server, listen)
        except RuntimeError:
            port = 0
        if port == 0:
            raise not_bound(listen, "another process has it", self._settings)
        await server.start()
        return f"{listen.rpartition(':')[0]}:{port}"

    def _bind(self, server: grpc.aio.Server, listen: str) -> int:
        settings = self._settings
        if settings.tls_certificate_file and settings.tls_key_file:
            pair = (settings.tls_key_file.read_bytes(), settings.tls_certificate_file.read_bytes())
            return server.add_secure_port(listen, grpc.ssl_server_credentials([pair]))
        return server.add_insecure_port(listen)

    async def _stop(self, grace_seconds: float | None) -> None:
        servers = [each for each in (self._server, self._own) if each is not None]
        stopping = asyncio.gather(*(server.stop(grace_seconds) for server in servers))
        looks_at_none = 0
        while looks_at_none < LOOKS_AT_NONE:
            await asyncio.wait({stopping}, timeout=LOOK_SECONDS)
            if stopping.done():
                break
            looks_at_none = 0 if self._calls.count else looks_at_none + 1
        else:
            # What is left has no handler and would get none: grpc 1.85 may lose a call that comes
            # amid a stop, and wait for it. Cancelled it is UNAVAILABLE, and its caller repeats it.
            await asyncio.gather(*(server.stop(None) for server in servers))
        await stopping
        if self._mark is not None:
            self._mark.clear()

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
        await self._stop(self._limits.stop_grace_seconds)
