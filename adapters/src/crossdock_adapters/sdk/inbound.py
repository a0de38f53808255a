"""What comes from the vendor: polls with a cursor the hub keeps, and webhooks answered late."""

from __future__ import annotations

import asyncio
import logging
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from crossdock.errors import CallError, HubFaultError
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from crossdock_adapters.sdk.adapter import Adapter, PollSpec, WebhookSpec
from crossdock_adapters.sdk.alerts import Alerts
from crossdock_adapters.sdk.attempts import HubAway, HubRefused
from crossdock_adapters.sdk.cursors import CursorMoved
from crossdock_adapters.sdk.hub_link import MAX_HELD_BYTES, HubLink, refused_for_good
from crossdock_adapters.sdk.mappings import UnreadCodes, as_they_are
from crossdock_adapters.sdk.outcomes import NeedsPerson, Retry, Unreachable, VendorOutcome
from crossdock_adapters.sdk.presence import Presence
from crossdock_adapters.sdk.sequences import Sequences
from crossdock_adapters.sdk.settings import Secrets, Settings
from crossdock_adapters.sdk.telemetry import Telemetry
from crossdock_adapters.sdk.work import HoldPayload, Poll, Refused, Webhook

log = logging.getLogger(__name__)

MAX_WEBHOOK_BYTES = MAX_HELD_BYTES
WEBHOOK_SECONDS = 15.0
MAX_WEBHOOKS_AT_ONCE = 64
WEBHOOK_RETRY_AFTER_SECONDS = 2
MIN_POLL_INTERVAL_SECONDS = 0.02
MAX_POLL_SECONDS = 600.0
FIRST_PAUSE_SECONDS = 0.5
MAX_PAUSE_SECONDS = 30.0
POLL_SOURCE = "poll:"


@dataclass(frozen=True, slots=True)
class Inbound:
    """The inbound side of one endpoint."""

    endpoint: str
    adapter: Adapter
    vendor: Any
    settings: Settings
    secrets: Secrets
    link: HubLink
    hub_presence: Presence
    vendor_presence: Presence
    telemetry: Telemetry
    # By poll or path: a fault of the hub in one of them does not mean that the hub is gone.
    ways_in: dict[str, Presence] = field(default_factory=dict)
    alerts: Alerts = field(default_factory=Alerts)
    # Has the rows of codes that hold now, before what came is translated; HubAway.
    catch_up: Callable[[], Awaitable[None]] = as_they_are

    async def poll_forever(self, spec: PollSpec) -> None:
        """Run one poll again and again; a failure waits a growing while and ends nothing."""
        interval = max(MIN_POLL_INTERVAL_SECONDS, self.settings.seconds(spec.interval_setting))
        pause = FIRST_PAUSE_SECONDS
        while True:
            result, wanted = await self._poll_once(spec)
            self.telemetry.polls.labels(self.endpoint, spec.name, result).inc()
            if result in ("done", "moved"):
                pause = FIRST_PAUSE_SECONDS
                await asyncio.sleep(interval)
                continue
            await asyncio.sleep(max(wanted, min(pause, max(interval, FIRST_PAUSE_SECONDS))))
            pause = min(pause * 2, MAX_PAUSE_SECONDS)

    async def _poll_once(self, spec: PollSpec) -> tuple[str, float]:
        """(how it ended, the pause the vendor wants in seconds)"""
        asked_at = time.monotonic()
        try:
            with self.telemetry.inbound("poll", spec.name, self.endpoint):
                async with asyncio.timeout(MAX_POLL_SECONDS):
                    poll = await self._poll(spec)
                    await self.catch_up()
                    await spec.pull(poll, self.vendor)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # Something below was cancelled, by a library for example, and nobody wanted us to end.
            log.exception("endpoint %s: poll %s: a call was cancelled", self.endpoint, spec.name)
            return "fault", 0.0
        except CursorMoved:
            return "moved", 0.0
        except (HubAway, HubRefused, CallError) as error:
            if refused_for_good(error):
                log.error("endpoint %s: poll %s: the hub says %s", self.endpoint, spec.name, error)
                return "refused", 0.0
            self._hub_failed(spec.name, error)
            return "hub", _hub_wish(error)
        except (VendorOutcome, TimeoutError) as error:
            reason = f"poll {spec.name}: {error}"
            if isinstance(error, Unreachable):
                self.vendor_presence.gone(reason, asked_at)
            else:
                self.vendor_presence.doubt(reason, asked_at)
            return "vendor", error.after_seconds if isinstance(error, Retry) else 0.0
        except Exception:
            log.exception("endpoint %s: poll %s failed", self.endpoint, spec.name)
            return "fault", 0.0
        self._worked(spec.name)
        self.vendor_presence.back(asked_at)
        return "done", 0.0

    async def _poll(self, spec: PollSpec) -> Poll:
        return await self.poll_of(spec, self._holder(f"{POLL_SOURCE}{spec.name}"))

    async def poll_of(self, spec: PollSpec, hold_payload: HoldPayload) -> Poll:
        """What a poll's functions are given."""
        cursor, version = await self.link.get_cursor(spec.name)

        async def put(value: bytes) -> None:
            nonlocal cursor, version
            if value == cursor:
                return
            version = await self.link.put_cursor(spec.name, value, version)
            cursor = value

        return Poll(
            name=spec.name,
            endpoint=self.endpoint,
            cursor=cursor,
            settings=self.settings,
            hub=self.link.hub,
            put_cursor=put,
            hold_payload=hold_payload,
            sequences=Sequences(self.link),
            cursors=self.link,
            alerts=self.alerts,
            catch_up=self.catch_up,
        )

    def webhook_app(self) -> Starlette:
        """The endpoint's web server: one POST route per webhook of the adapter."""
        gate = asyncio.Semaphore(MAX_WEBHOOKS_AT_ONCE)
        routes = [
            Route(spec.path, self._receiver(spec, gate), methods=["POST"])
            for spec in self.adapter.webhooks.values()
        ]
        return Starlette(routes=routes)

    def _receiver(
        self, spec: WebhookSpec, gate: asyncio.Semaphore
    ) -> Callable[[Request], Awaitable[Response]]:
        async def receive(request: Request) -> Response:
            if gate.locked():
                response = _later()
            else:
                async with gate:
                    response = await self._receive(spec, request)
            status = str(response.status_code)
            self.telemetry.webhooks.labels(self.endpoint, spec.path, status).inc()
            return response

        return receive

    async def _receive(self, spec: WebhookSpec, request: Request) -> Response:
        try:
            async with asyncio.timeout(WEBHOOK_SECONDS):
                body = await read_limited(request, MAX_WEBHOOK_BYTES)
                if body is None:
                    return _refusal(413, "the body is too large")
                hook = self._webhook(spec, request, body)
                with self.telemetry.inbound("webhook", spec.path, self.endpoint):
                    return await self._take(spec, hook)
        except TimeoutError:
            return _later()
        except ClientDisconnect:
            return Response(status_code=400)

    async def _take(self, spec: WebhookSpec, hook: Webhook) -> Response:
        """200 only once the hub has it durably, as a fact or as a held payload."""
        try:
            await spec.check(hook, self.vendor)
            await self.catch_up()
            try:
                await spec.receive(hook, self.vendor)
            except (Refused, TimeoutError, Retry):
                raise
            except Exception as error:
                if hub_away(error):
                    raise
                why = described(error)
                log.warning(
                    "endpoint %s: a payload of %s is held: %s", self.endpoint, spec.path, why
                )
                await hook.hold(why, cause=error)
        except Refused as refused:
            return _refusal(refused.status, refused.reason)
        except (HubAway, HubRefused, CallError) as error:
            self._hub_failed(spec.path, error)
            return _later()
        except (TimeoutError, Retry):
            return _later()
        except NeedsPerson as error:
            log.error("endpoint %s: webhook %s: %s", self.endpoint, spec.path, error.reason)
            return _later()
        except Exception as error:
            # What an unexpected error says may repeat what came with the request: a credential.
            why = described(error)
            log.error("endpoint %s: webhook %s failed: %s", self.endpoint, spec.path, why)
            return Response(status_code=500)
        self._worked(spec.path)
        return _taken()

    def _webhook(self, spec: WebhookSpec, request: Request, body: bytes) -> Webhook:
        headers = {name.lower(): value for name, value in request.headers.items()}
        query = dict(request.query_params)
        return self.webhook_of(spec, body, headers, query, self._holder(spec.path))

    def webhook_of(
        self,
        spec: WebhookSpec,
        body: bytes,
        headers: Mapping[str, str],
        query: Mapping[str, str],
        hold_payload: HoldPayload,
    ) -> Webhook:
        """What a webhook's functions are given."""
        return Webhook(
            path=spec.path,
            endpoint=self.endpoint,
            body=body,
            headers=headers,
            query=query,
            settings=self.settings,
            secrets=self.secrets,
            hub=self.link.hub,
            hold_payload=hold_payload,
        )

    def _hub_failed(self, way: str, error: BaseException) -> None:
        if not isinstance(error, HubFaultError):
            self.hub_presence.gone(str(error))
            return
        what = f"endpoint {self.endpoint}: the way in by {way}"
        self.ways_in.setdefault(way, Presence(what)).gone(str(error))

    def _worked(self, way: str) -> None:
        self.hub_presence.back()
        if way in self.ways_in:
            self.ways_in[way].back()

    def _holder(self, source: str) -> HoldPayload:
        async def hold(
            payload: bytes, content_type: str, reason: str, key: str, codes: UnreadCodes | None
        ) -> None:
            await self.link.hold(source, payload, content_type, reason, key, codes)

        return hold


async def read_limited(request: Request, limit_bytes: int) -> bytes | None:
    """The body, or None when it passes the limit; never more of it in memory than that."""
    declared = request.headers.get("content-length", "0")
    if declared.isdigit() and int(declared) > limit_bytes:
        return None
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit_bytes:
            return None
        chunks.append(chunk)
    return b"".join(chunks)


def hub_away(error: BaseException) -> bool:
    """Whether the hub may take the same later: nothing about the payload is wrong."""
    return isinstance(error, (HubAway, CallError)) and not refused_for_good(error)


def described(error: BaseException) -> str:
    """What an error says to people who may not see the payload.

    Words of ours, of the hub and of the adapter's author are said as they are. Others (a KeyError,
    a ValueError of int()) repeat what came, a credential or a person's data: of those, the place.
    """
    kind = type(error).__name__
    if isinstance(error, (VendorOutcome, HubRefused, CallError, Refused)):
        return f"{kind}: {error}"
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return kind
    last = frames[-1]
    return f"{kind} in {last.name} ({PurePath(last.filename).name}, line {last.lineno})"


def _hub_wish(error: BaseException) -> float:
    wish = error.refusal.retry_after_seconds if isinstance(error, CallError) else None
    return wish or 0.0


def _taken() -> Response:
    """200 with a body. Vendors call any other success a failure, and send again what they drop in
    the end: FedEx counts 200 and 202 alone (and lists a 200 of nothing among the failures), UPS
    wants 200."""
    return Response("{}\n", 200, media_type="application/json")


def _refusal(status: int, reason: str) -> Response:
    return Response(reason + "\n", status_code=status, media_type="text/plain")


def _later() -> Response:
    headers = {"Retry-After": str(WEBHOOK_RETRY_AFTER_SECONDS)}
    return Response("come again\n", 503, headers=headers, media_type="text/plain")
