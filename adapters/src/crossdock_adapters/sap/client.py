"""SAP Gateway's protocol: CSRF tokens and cookies, ETags, errors, messages, pages.

Knows nothing about orders. What an answer means is in the table of `answers.py`. Two answers are
neither good nor bad in themselves and are raised for the caller to judge: Stale and RecordMissing.
"""

from __future__ import annotations

import asyncio
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from crossdock_adapters.sap import odata
from crossdock_adapters.sap.answers import MESSAGE_TYPE, Answers, Message, Problem, Row
from crossdock_adapters.sdk import exchange, vendor_json, vendor_xml
from crossdock_adapters.sdk.http import Answer, ClientCertificate, VendorHttp
from crossdock_adapters.sdk.outcomes import (
    NeedsPerson,
    OutcomeUnknown,
    Reject,
    Retry,
    Throttled,
)
from crossdock_adapters.sdk.places import Unreadable
from crossdock_adapters.sdk.settings import Settings, SettingsError

TOKEN: Final = "X-CSRF-Token"
# How long nothing is sent with a password that was refused: failures in a row lock the user.
LOGIN_PAUSE_SECONDS: Final = 300.0
# How long a read waits that was answered with nothing that can be read.
UNREADABLE_PAUSE_SECONDS: Final = 5.0
MAX_PAGES: Final = 200
MAX_MESSAGES: Final = 50
MAX_RAW_CHARACTERS: Final = 200
# What may stand before the first tag: the mark of UTF-8, and blanks.
XML_BEGINS: Final = b"\xef\xbb\xbf \t\r\n"


class Stale(Exception):
    """The document changed since it was read (412, 409): read it again and decide anew."""


class RecordMissing(Exception):
    """There is no such document."""


@dataclass(frozen=True, slots=True)
class Login:
    """The technical user. `password` is asked each time, so that it can rotate.

    Without a user the connection's certificate says who calls.
    """

    user: str
    password: Callable[[], str]


def client_certificate(settings: Settings) -> ClientCertificate | None:
    """The technical user's certificate; None: it has a password. SettingsError: half of one."""
    certificate, key = settings.text("certificate_file"), settings.text("key_file")
    if bool(certificate) != bool(key):
        raise SettingsError("certificate_file and key_file belong together")
    if not certificate:
        return None
    authority = settings.text("authority_file")
    return ClientCertificate(Path(certificate), Path(key), Path(authority) if authority else None)


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back: `content` is the `d` of the body, `messages` what SAP said beside it."""

    content: Any
    etag: str = ""
    messages: tuple[Message, ...] = ()


@dataclass(slots=True)
class Jar:
    """Token and cookies of one session with one service, used by one call at a time."""

    token: str = ""
    cookies: dict[str, str] = field(default_factory=dict)


class SapClient:
    """One tenant. Each of the `seats` makes one call at a time, with sessions of its own: parallel
    calls in one session wait for each other, and a token is good for one service only."""

    def __init__(
        self,
        http: VendorHttp,
        login: Login,
        answers: Answers,
        *,
        seats: int,
        sap_client: str = "",
        test_service: str = "",
    ) -> None:
        self.answers = answers
        self._http = http
        self._login = login
        self._test_service = test_service
        self._headers = {"Accept": "application/json", "Accept-Language": "en"}
        if sap_client:
            self._headers["sap-client"] = sap_client
        self._seats: asyncio.LifoQueue[dict[str, Jar]] = asyncio.LifoQueue()
        for _ in range(seats):
            self._seats.put_nowait({})
        # Held while a state is read and told: an older reading never comes after a newer one.
        self.telling = asyncio.Lock()
        self._refused = ("", "")
        self._refused_until = 0.0

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()

    async def test(self) -> None:
        """Prove that the login and the arrangement of the delivery service hold, and that a token
        is given; raises what the failing call raises."""
        async with self._seat() as seat:
            await self._fetch_token(self._test_service, seat.setdefault(self._test_service, Jar()))

    async def read(
        self, service: str, path: str, options: Mapping[str, str] | None = None
    ) -> Reply:
        """One document, with its ETag. Raises RecordMissing; an empty answer is a Retry."""
        reply = await self._read(service, path, odata.query(options or {}))
        if not (isinstance(reply.content, Mapping) and reply.content):
            raise Retry(UNREADABLE_PAUSE_SECONDS, f"{path}: SAP answered with no document")
        return reply

    async def query(
        self, service: str, path: str, options: Mapping[str, str]
    ) -> list[Mapping[str, Any]]:
        """Every row: `__next` is followed to its end. Give `$orderby`, pages move without it.

        An answer without a list is a Retry: it does not say that there is nothing.
        """
        found: list[Mapping[str, Any]] = []
        asked = odata.query(options)
        for _ in range(MAX_PAGES):
            content = (await self._read(service, path, asked)).content
            page = odata.feed(content)
            if page is None:
                raise Retry(UNREADABLE_PAUSE_SECONDS, f"{path}: SAP answered a search with no list")
            found += page
            further = content.get("__next") if isinstance(content, Mapping) else None
            if not further:
                return found
            # Only path and query are taken from it: a proxy's host may be in its address.
            asked = urlsplit(str(further)).query
        raise NeedsPerson(f"{path} has more than {MAX_PAGES} pages")

    async def create(self, service: str, path: str, body: Mapping[str, Any]) -> Reply:
        """Make a document; SAP needs no ETag for it, and knows no key of ours."""
        return await self._write(service, "POST", path, json=body)

    async def change(self, service: str, path: str, body: Mapping[str, Any], etag: str) -> Reply:
        """Change some properties of what was read with this ETag. Raises Stale, RecordMissing, and
        what an error beside a successful answer means."""
        reply = await self._write(service, "PATCH", path, json=body, etag=etag)
        if failure := self.failure(reply.messages, effect=True):
            raise failure
        return reply

    async def call(
        self, service: str, function: str, parameters: Mapping[str, str], etag: str
    ) -> Reply:
        """A function import: literals in the query, no body, what it returns as rows.

        `messages` has those of its report too: it may answer 200 and have failed. Raises Stale.
        """
        path = f"{function}?{odata.query(parameters)}"
        reply = await self._write(service, "POST", path, etag=etag)
        content = reply.content
        if isinstance(content, Mapping) and function in content:
            content = content[function]
        report = odata.rows(content)
        told = [_reported(row, self.answers) for row in report if row.get("SystemMessageType")]
        return Reply(report, reply.etag, (*reply.messages, *told))

    def failure(self, messages: Sequence[Message], *, effect: bool) -> Exception | None:
        """What the errors among a successful call's messages mean; None: there are none."""
        errors = tuple(each for each in messages if each.severity == "error")
        return self._meaning(Problem(200, errors), effect=effect) if errors else None

    async def _read(self, service: str, path: str, query: str) -> Reply:
        where = f"{path}?{query}" if query else path
        async with self._seat() as seat:
            jar = seat.setdefault(service, Jar())
            answer = await self._send(service, "GET", where, jar, effect=False)
        return self._reply(answer, effect=False)

    async def _write(
        self, service: str, method: str, path: str, *, json: Any = None, etag: str = ""
    ) -> Reply:
        headers = {"If-Match": etag} if etag else {}
        record = exchange.current()
        effect_before = record is not None and record.effect_left
        async with self._seat() as seat:
            jar = seat.setdefault(service, Jar())
            for again in (False, True):
                if not jar.token:
                    await self._fetch_token(service, jar)
                answer = await self._send(
                    service, method, path, jar, effect=True, json=json, headers=headers
                )
                if not _token_is_refused(answer):
                    break
                # Refused at the door: SAP did nothing, so sending again is safe.
                jar.token, jar.cookies = "", {}
                if record is not None:
                    record.effect_left = effect_before
                if again:
                    raise Retry(0.0, f"{method} {path}: a fresh token was refused")
        return self._reply(answer, effect=True)

    async def _fetch_token(self, service: str, jar: Jar) -> None:
        """A session and its token; the fetch may give one and answer an error all the same."""
        jar.cookies = {}
        answer = await self._send(service, "GET", "", jar, effect=False, headers={TOKEN: "Fetch"})
        jar.token = answer.headers.get(TOKEN, "")
        if not jar.token:
            if not answer.ok:
                raise self._meaning(problem_of(answer), effect=False, answer=answer)
            raise NeedsPerson(f"{service} gives no CSRF token: is base_url the API host?")

    async def _send(
        self,
        service: str,
        method: str,
        path: str,
        jar: Jar,
        *,
        effect: bool,
        json: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        user = self._login.user
        password = self._login.password() if user else ""
        pause = self._refused_until - time.monotonic()
        if (user, password) == self._refused and pause > 0:
            raise Retry(
                pause, "SAP refused this user and password; a new password is tried at once"
            )
        merged = {**self._headers, **(headers or {})}
        if user:
            credential = b64encode(f"{user}:{password}".encode()).decode()
            merged["Authorization"] = f"Basic {credential}"
        if jar.token and effect:
            merged[TOKEN] = jar.token
        if jar.cookies:
            merged["Cookie"] = "; ".join(f"{name}={value}" for name, value in jar.cookies.items())
        answer = await self._http.request(
            method, f"{odata.ROOT}/{service}/{path}", headers=merged, json=json, effect=effect
        )
        _keep_cookies(answer, jar)
        if answer.status == 401:
            self._refused = (user, password)
            self._refused_until = time.monotonic() + LOGIN_PAUSE_SECONDS
        return answer

    @asynccontextmanager
    async def _seat(self) -> AsyncIterator[dict[str, Jar]]:
        seat = await self._seats.get()
        try:
            yield seat
        finally:
            self._seats.put_nowait(seat)

    def _reply(self, answer: Answer, *, effect: bool) -> Reply:
        if not answer.ok:
            raise self._meaning(problem_of(answer), effect=effect, answer=answer)
        content: Any = {}
        if answer.body:
            try:
                content = answer.json()["d"]
            except (ValueError, LookupError, TypeError, RecursionError):
                said = "SAP answered something that is not OData in JSON"
                if effect:
                    raise OutcomeUnknown(said) from None
                raise NeedsPerson(f"{said}: is base_url the API host (my000000-api…)?") from None
        return Reply(content, etag_of(content, answer.headers.get("ETag", "")), told_in(answer))

    def _meaning(
        self, problem: Problem, *, effect: bool, answer: Answer | None = None
    ) -> Exception:
        row = self.answers.verdict(problem)
        said = f"{row.meaning} ({problem})"
        default = row.pause_seconds
        pause = answer.retry_after_seconds(default) if answer is not None else default
        return _outcome(row, problem, said, pause, effect=effect)


def _outcome(row: Row, problem: Problem, said: str, pause: float, *, effect: bool) -> Exception:
    match row.word:
        case "throttled":
            return Throttled(pause, said)
        case "retry":
            return Retry(pause, said)
        case "login":
            return Retry(LOGIN_PAUSE_SECONDS, said)
        case "stale":
            return Stale(said)
        case "missing":
            return RecordMissing(said)
        # A read refuses no business: whatever it was for is neither done nor refused.
        case "rejected" if effect:
            return Reject(problem.code or str(problem.status), said)
        case "unknown":
            return OutcomeUnknown(said, pause) if effect else Retry(pause, said)
    return NeedsPerson(said)


def problem_of(answer: Answer) -> Problem:
    """SAP's explanation, whatever shape came back; the cause is usually in its details."""
    try:
        error = _error_in(answer)
        messages = [Message(odata.said(error, "code"), _words(error), "error")]
        inner = error.get("innererror")
        listed = inner.get("errordetails") if isinstance(inner, Mapping) else None
        messages += _details(listed or error.get("details"))
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        messages = [Message("", answer.text()[:MAX_RAW_CHARACTERS], "error")]
    return Problem(answer.status, tuple(messages))


def _error_in(answer: Answer) -> Any:
    """The error of a body. SAP Gateway writes it as XML where it has not looked at what we accept
    yet, as of a service that is not active; its properties are named the same (OData 2.0)."""
    if not answer.body.lstrip(XML_BEGINS).startswith(b"<"):
        return answer.json()["error"]
    root = vendor_xml.loads(answer.body)
    if root.name != "error":
        raise Unreadable("is no error of OData", root.place)
    details = [_properties(each) for each in root.all("innererror/errordetails/errordetail")]
    return {**_properties(root), "innererror": {"errordetails": details}}


def _properties(element: vendor_xml.Element) -> dict[str, str]:
    return {child.name: child.text.strip() for child in element.children if not child.children}


def _words(told: Mapping[str, Any]) -> str:
    """The text of an error or a detail, which may stand with its language."""
    text = told.get("message")
    return odata.said(text if isinstance(text, Mapping) else {"value": text}, "value")


def told_in(answer: Answer) -> tuple[Message, ...]:
    """The messages in the header `sap-message`, which a successful reply may have."""
    raw = answer.headers.get("sap-message", "")
    if not raw:
        return ()
    try:
        content = vendor_json.loads(raw)
        return (_message(content), *_details(content.get("details")))
    except (ValueError, TypeError, AttributeError, RecursionError):
        # XML, or cut by a proxy: kept as it is, for people.
        return (Message("", raw[:MAX_RAW_CHARACTERS]),)


def etag_of(content: Any, header: str = "") -> str:
    """The ETag of a document: in its header, or in the metadata of a row."""
    metadata = content.get("__metadata") if isinstance(content, Mapping) else None
    inside = metadata.get("etag") if isinstance(metadata, Mapping) else None
    return header or str(inside or "")


def warnings(messages: Sequence[Message]) -> str:
    """What people should read of the messages of a successful call."""
    return "; ".join(str(each) for each in messages if each.severity in ("warning", "error"))


def _details(told: Any) -> list[Message]:
    """The messages beside a head: a list, or a single one, bare or in an `errordetail`."""
    if isinstance(told, Mapping):
        told = told.get("errordetail", told)
    found = told if isinstance(told, list) else [told]
    return [_message(each) for each in found[:MAX_MESSAGES] if isinstance(each, Mapping)]


def _message(raw: Mapping[str, Any]) -> Message:
    return Message(
        odata.said(raw, "code"),
        _words(raw),
        odata.said(raw, "severity").lower(),
        str(raw.get("target") or raw.get("propertyref") or ""),
    )


def _reported(row: Mapping[str, Any], answers: Answers) -> Message:
    """A row of a function import's report as a message; of a type without a row, an error."""
    variables = [str(row.get(f"SystemMessageVariable{each}") or "") for each in range(1, 5)]
    said = str(row.get("SystemMessageText") or " ".join(filter(None, variables)))
    parts = (odata.said(row, f"SystemMessage{each}") for each in ("Identification", "Number"))
    code = "/".join(filter(None, parts))
    severity = answers.word(MESSAGE_TYPE, str(row.get("SystemMessageType"))) or "error"
    return Message(code, said, severity, str(row.get("DeliveryDocumentItem") or ""))


def _token_is_refused(answer: Answer) -> bool:
    """By the header and not by the text, which is in the user's language."""
    return answer.status == 403 and answer.headers.get(TOKEN, "").lower() == "required"


def _keep_cookies(answer: Answer, jar: Jar) -> None:
    """Every cookie, whatever its name: SAP says that names may change."""
    headers: Any = answer.headers
    for line in headers.getall("Set-Cookie", []):
        try:
            for name, morsel in SimpleCookie(line).items():
                jar.cookies[name] = morsel.value
        except CookieError:
            continue
