"""HTTP to a vendor, with the one question answered that matters: may it have done the work?"""

from __future__ import annotations

import asyncio
import math
import ssl
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
from yarl import URL

from crossdock_adapters.sdk import exchange, vendor_json, vendor_spans
from crossdock_adapters.sdk.auth import TokenCache
from crossdock_adapters.sdk.outcomes import NotTried, OutcomeUnknown, Retry, Unreachable
from crossdock_adapters.sdk.pacing import Pace, Place
from crossdock_adapters.sdk.settings import Settings

MAX_ANSWER_BYTES = 8 * 1024 * 1024
DEFAULT_TIMEOUT_SECONDS = 30.0
CONNECT_TIMEOUT_SECONDS = 5.0
MAX_CONNECTIONS = 32
# Shorter than servers keep idle connections, so that a call rarely meets one being closed.
IDLE_CONNECTION_SECONDS = 4.0
MAX_RETRY_AFTER_SECONDS = 3600.0
MIN_LEASE_LEFT_SECONDS = 1.0
READING_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

# Whether the request that this task is sending may change the vendor's books.
_effect_leaves: ContextVar[bool] = ContextVar("crossdock_effect_leaves", default=False)
# Where the request that this task sends has its place among those of its client.
_own_place: ContextVar[Place | None] = ContextVar("crossdock_own_place", default=None)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the vendor answered, whatever the status; `client.py` decides what it means.

    `headers` are case-insensitive.
    """

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    def json(self) -> Any:
        """The body as JSON, fractions as Decimal. ValueError when it is not JSON."""
        return vendor_json.loads(self.body)

    def text(self) -> str:
        return self.body.decode("utf-8", "replace")

    def retry_after_seconds(self, default: float = 0.0) -> float:
        """Retry-After in seconds, within reason; `default` where it is absent or unreadable."""
        wish = self.wish_seconds()
        return default if wish is None else wish

    def wish_seconds(self) -> float | None:
        """Retry-After in seconds, within reason; None where it is absent or unreadable.

        Both forms of RFC 9110, section 10.2.3. A date is compared with the vendor's own clock, the
        `Date` of the same answer, where it tells one.
        """
        raw = self.headers.get("Retry-After", "").strip()
        seconds = _number(raw)
        if seconds is None:
            until = _http_date(raw)
            if until is None:
                return None
            now = _http_date(self.headers.get("Date", "")) or datetime.now(UTC)
            seconds = (until - now).total_seconds()
        return min(max(0.0, seconds), MAX_RETRY_AFTER_SECONDS)

    def unclear(self, reason: str, *, effect: bool) -> OutcomeUnknown | Retry:
        """What an answer that proves nothing means: unknown once there may be an effect. Either way
        the vendor's wish to be left alone goes with it."""
        seconds = self.retry_after_seconds()
        return OutcomeUnknown(reason, seconds) if effect else Retry(seconds, reason)


def _number(text: str) -> float | None:
    try:
        read = float(text)
    except ValueError:
        return None
    return read if math.isfinite(read) else None


def _http_date(text: str) -> datetime | None:
    try:
        read = parsedate_to_datetime(text)
    except ValueError:
        return None
    return read if read.tzinfo is not None else read.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """PEM files with which this side proves itself to a vendor that asks for a certificate.

    authority: who signed the vendor's own, where the system does not trust it.
    """

    certificate: Path
    key: Path
    authority: Path | None = None

    def context(self) -> ssl.SSLContext:
        """For connections; read now. OSError (SSLError is one): a file is missing or no PEM."""
        context = ssl.create_default_context(cafile=self.authority)
        context.load_cert_chain(self.certificate, self.key)
        return context


class VendorHttp:
    """One vendor's HTTP API: one connection pool, its limits, its failures classified.

    `request` returns an `Answer` for every HTTP status. It raises `Retry` when nothing can
    have reached the vendor (refused, DNS, TLS, no connection in time) or when the failed call
    has no effect, and `OutcomeUnknown` when a call with an effect may have reached it
    (time-out, reset, an answer that breaks off). If an earlier call of the same attempt
    already had an effect, a failure here is `OutcomeUnknown` too.

    `rate_per_second` smooths requests to the vendor's documented limit.
    """

    def __init__(
        self,
        base_url: str,
        *,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        connect_timeout_seconds: float = CONNECT_TIMEOUT_SECONDS,
        max_connections: int = MAX_CONNECTIONS,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
        rate_per_second: float | None = None,
        headers: Mapping[str, str] | None = None,
        client_certificate: ClientCertificate | None = None,
    ) -> None:
        self._ssl = client_certificate.context() if client_certificate is not None else True
        self._base = URL(base_url.rstrip("/") + "/")
        self._timeout_seconds = timeout_seconds
        self._connect_timeout_seconds = connect_timeout_seconds
        self._max_connections = max_connections
        self._max_answer_bytes = max_answer_bytes
        self._headers = dict(headers or {})
        self._pace = Pace(rate_per_second) if rate_per_second else None
        self._session: aiohttp.ClientSession | None = None

    @classmethod
    def of(cls, settings: Settings, **more: Any) -> VendorHttp:
        """By the settings base_url, timeout_seconds, and calls_per_second where there is one;
        more: what else `__init__` takes."""
        rate = settings.get("calls_per_second")
        return cls(
            settings.text("base_url"),
            timeout_seconds=settings.seconds("timeout_seconds"),
            rate_per_second=None if rate is None else float(rate),
            **more,
        )

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        json: Any = None,
        form: Mapping[str, str] | None = None,
        body: bytes | None = None,
        auth: TokenCache | None = None,
        effect: bool | None = None,
        timeout_seconds: float | None = None,
        max_answer_bytes: int | None = None,
    ) -> Answer:
        """Send one request to `path` under the base URL; at most one of json, form, body.

        `effect` says whether the call may change the vendor's books; unset, everything but
        GET and HEAD may. Pass effect=False for searches and token requests sent by POST.
        With `auth`, the token is added, and renewed once when the vendor answers 401.
        `max_answer_bytes` where less than the client's limit is expected of this call.
        """
        has_effect = method.upper() not in READING_METHODS if effect is None else effect
        content, content_type = _content(json, form, body)
        merged = {**self._headers, **({"Content-Type": content_type} if content_type else {})}
        merged.update(headers or {})
        most = self._max_answer_bytes if max_answer_bytes is None else max_answer_bytes
        call = _Call(method.upper(), self._url(path), params, merged, content, has_effect, most)
        timeout = self._timeout_seconds if timeout_seconds is None else timeout_seconds
        if auth is None:
            return await self._send(call, timeout)
        token = await auth.get()
        record = exchange.current()
        effect_before = record is not None and record.effect_left
        answer = await self._send(call.bearing(token), timeout)
        if answer.status == 401:
            # Refused at the door: the vendor did nothing, so sending again is safe.
            if record is not None:
                record.effect_left = effect_before
            auth.invalidate(token)
            answer = await self._send(call.bearing(await auth.get()), timeout)
        return answer

    async def get(self, path: str, **options: Any) -> Answer:
        return await self.request("GET", path, **options)

    async def post(self, path: str, **options: Any) -> Answer:
        return await self.request("POST", path, **options)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _url(self, path: str) -> URL:
        url = self._base.join(URL(path.lstrip("/"), encoded="%" in path))
        if url.origin() != self._base.origin():
            raise ValueError("a path may not leave the vendor's address")
        return url

    async def _send(self, call: _Call, timeout_seconds: float) -> Answer:
        if self._pace is None:
            return await self._send_now(call, timeout_seconds)
        place = await self._pace.place()
        _own_place.set(place)
        try:
            return await self._send_now(call, timeout_seconds)
        finally:
            place.ended()

    async def _send_now(self, call: _Call, timeout_seconds: float) -> Answer:
        record = exchange.current()
        trace = SimpleNamespace(connected=False)
        earlier_effect = record is not None and record.effect_left
        if record is not None and call.has_effect:
            check_lease(record)
        _effect_leaves.set(call.has_effect)
        try:
            answer = await self._exchange(call, timeout_seconds, trace)
        except asyncio.CancelledError:
            if record is not None and trace.connected and call.has_effect:
                record.effect_left = True
            raise
        except (aiohttp.ClientError, TimeoutError, OSError, _TooLarge) as error:
            left = trace.connected and call.has_effect
            if record is not None:
                record.effect_left = record.effect_left or left
                record.note(call.excerpt(record), _kind(error))
            reason = f"{call.method} {call.url.path}: {_kind(error)}"
            if left or earlier_effect:
                raise OutcomeUnknown(reason) from error
            failed = Retry if trace.connected else Unreachable
            raise failed(0.0, reason) from error
        if record is not None:
            record.effect_left = record.effect_left or call.has_effect
            record.note(call.excerpt(record), f"{answer.status} {record.excerpt(answer.body)}")
        return answer

    async def _exchange(
        self, call: _Call, timeout_seconds: float, trace: SimpleNamespace
    ) -> Answer:
        async with self._opened().request(
            call.method,
            call.url,
            params=call.params,
            headers=call.headers,
            data=call.content,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(
                total=timeout_seconds, connect=self._connect_timeout_seconds
            ),
            trace_request_ctx=trace,
        ) as response:
            chunks: list[bytes] = []
            size = 0
            async for chunk in response.content.iter_any():
                size += len(chunk)
                if size > call.max_answer_bytes:
                    response.close()
                    raise _TooLarge(f"the answer is larger than {call.max_answer_bytes} bytes")
                chunks.append(chunk)
            return Answer(response.status, response.headers.copy(), b"".join(chunks))

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            traces = aiohttp.TraceConfig()
            traces.on_connection_create_end.append(_connected)
            traces.on_connection_reuseconn.append(_connected)
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=self._max_connections,
                    keepalive_timeout=IDLE_CONNECTION_SECONDS,
                    ssl=self._ssl,
                ),
                request_class=_LeasedRequest,
                trace_configs=[traces, vendor_spans.trace_config()],
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=True,
            )
            # aiohttp repeats a PUT or DELETE by itself when a kept connection breaks, which is the
            # blind repeat that an unknown outcome forbids. There is no public switch.
            self._session._retry_connection = False
        return self._session


class _TooLarge(Exception):
    """The vendor's answer passed the limit and was not read to its end."""


@dataclass(frozen=True, slots=True)
class _Call:
    method: str
    url: URL
    params: Mapping[str, str] | None
    headers: dict[str, str] = field(repr=False)
    content: bytes | None = field(repr=False)
    has_effect: bool
    max_answer_bytes: int

    def bearing(self, token: str) -> _Call:
        return replace(self, headers={**self.headers, "Authorization": f"Bearer {token}"})

    def excerpt(self, record: exchange.Exchange) -> str:
        return f"{self.method} {self.url.path} {record.excerpt(self.content or b'')}".rstrip()


class _LeasedRequest(aiohttp.ClientRequest):
    """Looks at the lease once more when the connection stands, because opening one takes time; and
    counts in the pace from when it was written.

    After this nothing is waited for before the first byte is handed to the socket.
    """

    async def send(self, conn: Any) -> aiohttp.ClientResponse:
        record = exchange.current()
        if record is not None and _effect_leaves.get():
            check_lease(record)
        response = await super().send(conn)
        if not self.body:
            _count()
        return response

    async def write_bytes(self, *given: Any) -> None:
        """What has a body is written a turn of the loop later, beside whatever else is at it."""
        await super().write_bytes(*given)
        _count()


def _count() -> None:
    """The request has been written: it counts from now on in the paces that it has a place in."""
    for place in (_own_place.get(), exchange.current_place()):
        if place is not None:
            place.went()


def check_lease(record: exchange.Exchange) -> None:
    """The last look before bytes leave: another worker may hold the delivery by now, or soon."""
    if record.lease_left_seconds() < MIN_LEASE_LEFT_SECONDS:
        reason = "the lease ran out before the call was sent"
    elif record.clock() >= record.ends_at:
        reason = "the time for the call was over before it was sent"
    else:
        return
    if record.effect_left:
        raise OutcomeUnknown(reason)
    raise NotTried(0.0, reason)


async def _connected(_: Any, context: SimpleNamespace, __: Any) -> None:
    """Past this point bytes may have left; aiohttp says no more exactly than that."""
    given = context.trace_request_ctx
    if given is not None:
        given.connected = True


def _content(
    json: Any, form: Mapping[str, str] | None, body: bytes | None
) -> tuple[bytes | None, str]:
    if sum(part is not None for part in (json, form, body)) > 1:
        raise ValueError("give one of json, form, body")
    if json is not None:
        return vendor_json.dumps(json), "application/json"
    if form is not None:
        encoded = URL.build(query=dict(form)).raw_query_string
        return encoded.encode(), "application/x-www-form-urlencoded"
    return body, ""


def _kind(error: BaseException) -> str:
    """The failure in words that name no address and no secret."""
    if isinstance(error, _TooLarge):
        return str(error)
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "the vendor's name does not resolve"
    if isinstance(error, (aiohttp.ClientSSLError, aiohttp.ClientConnectorCertificateError)):
        return "TLS failed"
    if isinstance(error, aiohttp.ClientConnectorError):
        return "connection refused"
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return "no connection in time"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "the connection closed without an answer"
    return f"the connection failed ({type(error).__name__})"
