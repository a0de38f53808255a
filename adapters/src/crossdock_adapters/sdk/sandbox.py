"""The frame of every simulated vendor: its port, its books, its own pace, its faults.

A vendor sandbox subclasses `Sandbox`, declares `routes()`, keeps its own records, moves its
world in `tick()`, and ends its module with `SANDBOX = ThatClass`. The frame hosts the vendor
port and a control port, logs every call with its effect, and makes the faults real.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self, TypeVar

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from crossdock_adapters.sdk import vendor_json
from crossdock_adapters.sdk.faults import AFTER_EFFECT, Fault, FaultKind, Faults
from crossdock_adapters.sdk.sandbox_access import credentials_of
from crossdock_adapters.sdk.sandbox_control import control_app
from crossdock_adapters.sdk.sandbox_keeping import keep, take_back
from crossdock_adapters.sdk.sandbox_server import Listener, lose_reply
from crossdock_adapters.sdk.sandbox_webhooks import WebhookSender

log = logging.getLogger(__name__)

MAX_LOGGED_CALLS = 200_000
# Credentials of callers that are kept, for who looks whether one slipped out.
MAX_SHOWN = 256
# How often an outage that lasts is looked at: it can be cleared before its time.
OUTAGE_LOOK_SECONDS = 0.05
MIN_TICK_SECONDS = 0.005

Command = Callable[[dict[str, Any]], Awaitable[Any]]
T = TypeVar("T")


class VendorPort(Protocol):
    """What listens on the vendor's port; `Listener` is the one for HTTP."""

    port: int

    @property
    def listening(self) -> bool: ...

    async def start(self) -> None: ...

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def stop(self) -> None: ...


@dataclass(frozen=True, slots=True)
class SandboxConfig:
    """How one sandbox runs; `port` 0 takes a free one. `settings` are the vendor's own.

    state_file: where its books are kept when it ends in order; None: they are not.
    """

    name: str
    host: str = "127.0.0.1"
    vendor_port: int = 0
    control_port: int = 0
    seed: int = 1
    tick_seconds: float = 0.05
    settings: Mapping[str, Any] = field(default_factory=dict)
    state_file: Path | None = None


@dataclass(slots=True)
class Call:
    """One request to the vendor port, as GET /calls shows it.

    A handler sets `key` (the caller's reference or idempotency key) and may set `effect`:
    True when this call changed the books, False when it did not (a repeat, a refusal). Left
    None, it becomes True for a 2xx answer of a route declared with `effect=True`.
    `outcome` is ok, refused, failed or reply_lost.
    """

    id: int
    operation: str
    method: str
    path: str
    start: datetime
    key: str = ""
    end: datetime | None = None
    status: int | None = None
    outcome: str = ""
    effect: bool | None = None
    fault: str = ""
    traceparent: str = ""

    def as_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "operation": self.operation,
            "method": self.method,
            "path": self.path,
            "key": self.key,
            "start": self.start,
            "end": self.end,
            "status": self.status,
            "outcome": self.outcome,
            "effect": bool(self.effect),
            "fault": self.fault,
            "traceparent": self.traceparent,
        }


Handler = Callable[[Request, Call], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class VendorRoute:
    """One path of the vendor. `effect` says whether calls may change the vendor's books."""

    method: str
    path: str
    handler: Handler
    operation: str
    effect: bool = False


class VendorError(Exception):
    """Raised in a handler: answer with this status and body, in the vendor's own shape."""

    def __init__(self, status: int, body: Any, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(f"vendor answers {status}")
        self.status = status
        self.body = body
        self.headers = dict(headers or {})


def json_response(
    body: Any, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """A JSON answer with exact decimals."""
    return Response(
        vendor_json.dumps(body),
        status_code=status,
        headers=dict(headers or {}),
        media_type="application/json",
    )


class CallFailed(Exception):
    """A fault struck a call that is not HTTP: answer with the vendor's own trouble."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.kind.value)
        self.fault = fault


class ReplyLost(Exception):
    """A fault struck after the work: cut the connection without an answer."""


class Sandbox:
    """One simulated vendor; subclass it per vendor.

    Everything runs in one event loop: code between two awaits is atomic, which is how the
    books stay consistent. Use `self.random` (seeded) for every choice and `self.now()` for
    every time stamp.
    """

    name: ClassVar[str] = ""
    # Of the vendor's address; a vendor that does not speak HTTP has its own `vendor_port` too.
    scheme: ClassVar[str] = "http"
    # What log and faults name beside its routes: calls that are not HTTP, webhooks, messages.
    other_operations: ClassVar[frozenset[str]] = frozenset()
    # The attributes that are the vendor's memory; a dot leads into an attribute of an attribute.
    kept: ClassVar[tuple[str, ...]] = ()

    def __init__(self, config: SandboxConfig) -> None:
        self.config = config
        self.settings = config.settings
        self.random = random.Random(f"{config.seed}:{config.name}")
        self.faults = Faults(config.seed, operations=self.operations)
        self.calls: list[Call] = []
        self.calls_dropped = 0
        self.tick_error = ""
        self.shown: set[str] = set()
        self._webhooks = WebhookSender(self.faults, seed=config.seed)
        self._tasks: list[asyncio.Task[None]] = []
        self._vendor: VendorPort | None = None
        self._control: Listener | None = None
        self._outage = asyncio.Lock()
        self._went_down = asyncio.Event()

    # What a vendor sandbox provides.

    @classmethod
    def example_settings(cls, folder: Path) -> dict[str, Any]:
        """Settings with which it starts by itself; files it needs may be made in `folder`."""
        return {}

    def routes(self) -> Sequence[VendorRoute]:
        """The vendor's paths, in order of matching (starlette path syntax)."""
        raise NotImplementedError

    def vendor_port(self) -> VendorPort:
        """What is to listen on the vendor's port. Not HTTP: it hands its calls to `played`."""
        return Listener(self._vendor_app(), self.config.host, self.config.vendor_port)

    def books(self) -> dict[str, Any]:
        """Every record the vendor holds, as JSON-ready data: what proofs compare with."""
        raise NotImplementedError

    def commands(self) -> dict[str, Command]:
        """What POST /commands/<name> may do; each gets the JSON body, returns JSON-ready data."""
        return {}

    async def tick(self) -> None:
        """Move the vendor's world one step; called every `tick_seconds`."""

    async def opened(self) -> None:
        """Called once after the ports are known and before the first tick."""

    async def closed(self) -> None:
        """Called once when the sandbox ends."""

    def throttled(self, fault: Fault) -> Response:
        """The vendor's 429; override for its own shape. Keep the Retry-After header."""
        body = {"error": "too_many_requests", "message": "rate limit exceeded"}
        return json_response(body, 429, {"Retry-After": f"{fault.retry_after_seconds:g}"})

    def failed(self, fault: Fault) -> Response:
        """The vendor's 5xx; override for its own shape."""
        return json_response({"error": "internal", "message": "internal error"}, fault.status)

    def refused(self, error: VendorError) -> Response:
        """What a handler refused, in the vendor's shape; override where that is not JSON."""
        return json_response(error.body, error.status, error.headers)

    # What a vendor sandbox uses.

    def operations(self) -> frozenset[str]:
        """What a fault may be for, and a call in the log be of: what is declared, and what came."""
        declared = self.other_operations.union(route.operation for route in self.routes())
        return declared.union(call.operation for call in self.calls)

    def now(self) -> datetime:
        return datetime.now(UTC)

    def fault(self, kind: FaultKind, operation: str) -> Fault | None:
        """Ask whether a fault strikes here that only the vendor can play (unknown_status)."""
        return self.faults.take(kind, operation)

    def strike(self, kind: FaultKind, call: Call) -> Fault | None:
        """The fault of this kind that strikes this call, if one does, noted with the call."""
        if kind in AFTER_EFFECT and not call.effect:
            return None
        fault = self.faults.take(kind, call.operation)
        if fault is not None:
            call.fault = kind.value
        return fault

    async def played(
        self, operation: str, path: str, effect: bool, work: Callable[[], Awaitable[T]]
    ) -> T:
        """One call of a protocol that is not HTTP, logged, and under the faults in force.

        effect: whether it changes the books when it works. Raises CallFailed, ReplyLost, and what
        the work raises.
        """
        call = self._log(operation, operation.upper(), path)
        call.outcome, call.effect = "failed", False
        try:
            if (fault := self.strike(FaultKind.SLOW, call)) is not None:
                await asyncio.sleep(fault.delay_seconds)
            for kind in (FaultKind.THROTTLE, FaultKind.ERROR_BEFORE):
                if (fault := self.strike(kind, call)) is not None:
                    raise CallFailed(fault)
            answer = await work()
            call.outcome, call.effect = "ok", effect
            if (fault := self.strike(FaultKind.SLOW_AFTER, call)) is not None:
                await asyncio.sleep(fault.delay_seconds)
            if (fault := self.strike(FaultKind.ERROR_AFTER, call)) is not None:
                call.outcome = "failed"
                raise CallFailed(fault)
            if self.strike(FaultKind.REPLY_LOST, call) is not None:
                call.outcome = "reply_lost"
                raise ReplyLost
            return answer
        finally:
            call.end = self.now()

    async def webhook(
        self,
        url: str,
        body: bytes | Mapping[str, Any],
        headers: Mapping[str, str] | None = None,
        *,
        key: str = "",
        operation: str = "webhook",
    ) -> None:
        """Queue a webhook: sent in order per `key`, repeated until it is taken (200, 202) or
        refused (4xx but 429), or the vendor gives up.

        The faults duplicate_webhooks and late_webhooks apply here. Returns at once.
        """
        payload = body if isinstance(body, bytes) else vendor_json.dumps(dict(body))
        self._webhooks.send(url, payload, dict(headers or {}), key=key, operation=operation)

    @property
    def vendor_url(self) -> str:
        return self._url(self._vendor, self.scheme)

    @property
    def control_url(self) -> str:
        return self._url(self._control, "http")

    # Running.

    async def start(self) -> None:
        """Open both ports and start the world. OSError when a port is taken."""
        config = self.config
        self._vendor = self.vendor_port()
        self._control = Listener(control_app(self, config.name), config.host, config.control_port)
        await self._vendor.start()
        await self._control.start()
        await self._webhooks.start()
        if config.state_file is not None and take_back(self, config.name, config.state_file):
            log.info("sandbox %s goes on with its books", config.name)
        await self.opened()
        self._tasks = [
            asyncio.create_task(self._move(), name=f"{config.name} world"),
            asyncio.create_task(self._watch_outage(), name=f"{config.name} outage"),
        ]

    async def stop(self) -> None:
        """End the world, then both ports."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await self._webhooks.stop()
        for listener in (self._vendor, self._control):
            if listener is not None:
                await listener.stop()
        await self.closed()
        if self.config.state_file is not None:
            keep(self, self.config.state_file)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def apply_outage(self) -> None:
        """Make the vendor port agree with the faults: closed while `down` is in force."""
        if self._vendor is None:
            return
        async with self._outage:
            if self.faults.down() is not None:
                await self._vendor.close()
                self._went_down.set()
            else:
                await self._vendor.open()

    @property
    def listening(self) -> bool:
        return self._vendor is not None and self._vendor.listening

    def webhook_log(self) -> list[dict[str, Any]]:
        return self._webhooks.as_json()

    def _url(self, listener: VendorPort | None, scheme: str) -> str:
        if listener is None:
            raise RuntimeError(f"sandbox {self.config.name} is not started")
        return f"{scheme}://{self.config.host}:{listener.port}"

    def _vendor_app(self) -> Starlette:
        routes = [
            Route(route.path, _Endpoint(self, route), methods=[route.method])
            for route in self.routes()
        ]
        return Starlette(routes=routes)

    async def _move(self) -> None:
        while True:
            await asyncio.sleep(max(MIN_TICK_SECONDS, self.config.tick_seconds))
            try:
                await self.tick()
            except Exception as error:
                if not self.tick_error:
                    log.exception("sandbox %s: its world stumbled", self.config.name)
                self.tick_error = f"{type(error).__name__}: {error}"

    async def _watch_outage(self) -> None:
        """Open the vendor port again when its outage is over: asleep while there is none."""
        while True:
            await self.apply_outage()
            left = self.faults.down_seconds_left()
            if left is None:
                self._went_down.clear()
                await self._went_down.wait()
            else:
                await asyncio.sleep(min(max(left, MIN_TICK_SECONDS), OUTAGE_LOOK_SECONDS))

    def _log(self, operation: str, method: str, path: str, traceparent: str = "") -> Call:
        call = Call(
            id=len(self.calls) + self.calls_dropped + 1,
            operation=operation,
            method=method,
            path=path,
            start=self.now(),
            traceparent=traceparent,
        )
        if len(self.calls) < MAX_LOGGED_CALLS:
            self.calls.append(call)
        else:
            self.calls_dropped += 1
        return call


class _Endpoint:
    """One vendor route behind the fault engine; an ASGI application."""

    def __init__(self, sandbox: Sandbox, route: VendorRoute) -> None:
        self._sandbox = sandbox
        self._route = route

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        request = Request(scope, receive, send)
        traceparent = request.headers.get("traceparent", "")
        call = self._sandbox._log(
            self._route.operation, request.method, request.url.path, traceparent
        )
        response: Response | None
        if len(self._sandbox.shown) < MAX_SHOWN:
            self._sandbox.shown |= credentials_of(request)
        try:
            await request.body()
            response = await self._answer(request, call)
        except ClientDisconnect:
            response = None
        call.end = self._sandbox.now()
        if response is None:
            call.outcome = "reply_lost"
            call.effect = bool(call.effect)
            await lose_reply(scope)
            return
        call.status = response.status_code
        call.outcome = _outcome(response.status_code)
        call.effect = bool(call.effect)
        await response(scope, receive, send)

    async def _answer(self, request: Request, call: Call) -> Response | None:
        strike = self._sandbox.strike
        if (fault := strike(FaultKind.SLOW, call)) is not None:
            await asyncio.sleep(fault.delay_seconds)
        if (fault := strike(FaultKind.THROTTLE, call)) is not None:
            return self._sandbox.throttled(fault)
        if (fault := strike(FaultKind.ERROR_BEFORE, call)) is not None:
            return self._sandbox.failed(fault)
        response = await self._work(request, call)
        if call.effect is None:
            call.effect = self._route.effect and 200 <= response.status_code < 300
        if (fault := strike(FaultKind.SLOW_AFTER, call)) is not None:
            await asyncio.sleep(fault.delay_seconds)
        if (fault := strike(FaultKind.ERROR_AFTER, call)) is not None:
            return self._sandbox.failed(fault)
        if strike(FaultKind.REPLY_LOST, call) is not None:
            return None
        return response

    async def _work(self, request: Request, call: Call) -> Response:
        try:
            return await self._route.handler(request, call)
        except VendorError as error:
            return self._sandbox.refused(error)
        except ClientDisconnect:
            raise
        except Exception:
            log.exception("sandbox %s: %s broke", self._sandbox.config.name, call.operation)
            return json_response({"error": "sandbox", "message": "see the sandbox's log"}, 500)


def _outcome(status: int) -> str:
    if status < 400:
        return "ok"
    return "refused" if status < 500 else "failed"
