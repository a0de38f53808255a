"""The tiny adapter for the conformance kit: one that conforms, and one for each way not to.

tiny()                  conforms
tiny("no_trace")        the same, with one fault; `FAULTS` says what each is
tiny(parks=True)        cannot look its bookings up: "book" is of class none
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import hashlib
import hmac
import logging
import signal
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from crossdock.client import request_id
from crossdock.errors import CallError
from crossdock.label.v1 import label_events_pb2, label_pb2
from crossdock.shipment.v1 import shipment_pb2
from crossdock.tracking.v1 import tracking_pb2, tracking_service_pb2
from crossdock.types.v1 import types_pb2
from crossdock_adapters.sdk import vendor_json
from crossdock_adapters.sdk.adapter import Adapter, same_secret
from crossdock_adapters.sdk.auth import Token, TokenCache, basic_credentials
from crossdock_adapters.sdk.conformance.subject import Case, Subject, UnknownCode, WayIn
from crossdock_adapters.sdk.http import VendorHttp
from crossdock_adapters.sdk.hub_link import MAX_HELD_BYTES
from crossdock_adapters.sdk.manifest import parse
from crossdock_adapters.sdk.outcomes import (
    Confirmed,
    NotFound,
    OutcomeUnknown,
    Reference,
    Reject,
    Retry,
    Throttled,
    Untranslatable,
)
from crossdock_adapters.sdk.places import Unreadable
from crossdock_adapters.sdk.settings import Secrets, Settings
from crossdock_adapters.sdk.work import Refused, Webhook, Work
from opentelemetry import context as trace_context
from sdk_tiny_adapter import MANIFEST as WHOLE_MANIFEST
from sdk_tiny_sandbox import TinySandbox

log = logging.getLogger(__name__)

CREDENTIAL = "conformance-credential"
NUMBER = "P-1001"
CODES = {"L": shipment_pb2.MILESTONE_IN_TRANSIT, "D": shipment_pb2.MILESTONE_DELIVERED}
UNKNOWN, UNKNOWN_ELSEWHERE = "Q9", "D-Q9"
GREEDY_BYTES = 96 * 1024 * 1024
# What conforms, and could make a check find what it looks for where it is not.
HABITS = {
    "looks_first": "asks, before it books, for what is not there",
    "first_at_work": "asks for its token when it has something to do, not when it starts",
}
FAULTS = {
    "posts_twice": "books twice in one operation",
    "two_numbers": "confirms one booking under two numbers of one type",
    "repeats_itself": "books again when it hears no answer",
    "bad_fact": "tells a fact that the contract refuses",
    "unknown_is_retry": "says retry for a call that may have worked",
    "hopes": "takes a call whose answer is trouble for done",
    "blind_look_up": "finds nothing, whatever was booked",
    "believes_early": "declares that its bookings show before a call of it may be over",
    "no_wish": "forgets the vendor's Retry-After",
    "own_pause": "waits its own time, whatever the vendor wishes",
    "down_is_rejected": "takes an outage for a refusal",
    "one_token": "never renews its token",
    "one_token_at_work": "asks for its token at its first work, and never renews it",
    "no_trace": "drops the trace before it calls",
    "eats_poison": "books without looking at what it was asked for",
    "wrong_class": "declares natural what books twice",
    "deaf": "takes a payload and tells nobody",
    "new_ids": "tells each payload under a new id",
    "newest_only": "drops what comes after something newer",
    "answers_anyway": "takes a payload that the hub did not take",
    "guesses": "takes an unknown code for a known one",
    "guesses_elsewhere": "takes an unknown code of another table for a known one",
    "drops_unknown": "drops a payload with an unknown code",
    "strict": "refuses fields that it does not know",
    "no_place": "says that something is wrong, not where",
    "swallows": "drops what it cannot read",
    "slow_reader": "takes its time with nested payloads",
    "greedy_reader": "takes much memory for nested payloads",
    "inflates": "inflates whatever says that it is gzip",
    "hoards": "takes much memory for what is large",
    "open_door": "believes everybody",
    "any_credential": "believes everybody who shows any credential",
    "any_signature": "does not look what the signature is of",
    "late_sender": "sends whatever has become of its lease",
    "last_call_only": "takes the lost answer of its first call for nothing done, not of its last",
    "no_case": "conformance.py forgets an operation",
    "dies": "does not drain: SIGTERM ends it at once",
    "chatty": "logs its credential",
    "chatty_in_base64": "logs its credential as an Authorization header of kind Basic has it",
    "chatty_of_tokens": "logs the tokens that the vendor gives it",
    "prints": "prints its credential",
    "answers_with_it": "tells strangers what they should have shown",
}  # fmt: skip


class TinyClient:
    """The vendor client; it keeps what only faulty variants keep."""

    def __init__(self, settings: Settings, secrets: Secrets, *, late: bool = False) -> None:
        self.http = VendorHttp(settings.text("base_url"), timeout_seconds=5)
        self.late = late
        self.secrets = secrets
        self.tokens = TokenCache(self._token)
        self.newest = ""
        self.only_token = ""

    async def test(self) -> None:
        if not self.late:
            self.only_token = await self.tokens.get()

    async def close(self) -> None:
        await self.http.close()

    async def _token(self) -> Token:
        answer = await self.http.post("/token", effect=False)
        return Token(str(answer.json()["access_token"]), 100)


def tiny(fault: str = "", not_applicable: str = "", *, parks: bool = False) -> Subject:
    """The subject; `not_applicable` is TOML for the manifest."""
    assert fault in ("", *FAULTS, *HABITS)
    text = _manifest(fault, parks) + not_applicable
    adapter = Adapter(parse(text), "tiny")

    @adapter.connect
    async def connect(settings: Settings, secrets: Secrets) -> TinyClient:
        if fault == "dies":
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        _say_too_much(fault, secrets.text("credential"))
        return TinyClient(settings, secrets, late=fault.endswith("_at_work"))

    _operations(adapter, fault)
    if not parks:
        _look_up(adapter, fault)
    _webhook(adapter, fault)
    cases = [
        Case("book", event=_event, made=lambda books: len(books["bookings"])),
        Case("ship", event=_event, made=lambda books: len(books["confirmed"])),
    ]
    return Subject(
        adapter=adapter,
        sandbox=TinySandbox,
        settings=_settings,
        cases=cases[1:] if fault == "no_case" else cases,
        ways_in=[
            WayIn(
                "/scan",
                payloads=[scan("L", "2026-03-05T17:00:00Z"), scan("D", "2026-03-05T22:00:00Z")],
                headers=lambda secrets: {"Credential": secrets.text("credential")},
                signed=lambda secrets, payload: {"Signature": _signature(secrets, payload)},
                needed=["/code", "/at"],
                unknown_code=UnknownCode(
                    scan(UNKNOWN, "2026-03-05T18:00:00Z"), UNKNOWN, field="milestone"
                ),
                unknown_codes=[
                    UnknownCode(
                        scan(UNKNOWN_ELSEWHERE, "2026-03-05T18:00:00Z"),
                        UNKNOWN_ELSEWHERE,
                        field="milestone",
                    )
                ],
            )
        ],
        expire=_expire,
    )


def _say_too_much(fault: str, credential: str) -> None:
    if fault == "chatty":
        log.debug("logging in with %s", credential)
    if fault == "chatty_in_base64":
        log.debug("sending %s", basic_credentials("tiny", credential))
    if fault == "prints":
        print(credential)


def scan(code: str, at: str) -> bytes:
    """What the tiny vendor sends about a parcel."""
    return vendor_json.dumps({"number": NUMBER, "code": code, "at": at})


def _manifest(fault: str, parks: bool) -> str:
    start = WHOLE_MANIFEST.index("[operations.numbers]")
    end = WHOLE_MANIFEST.index("[settings.base_url]")
    text = WHOLE_MANIFEST[:start] + WHOLE_MANIFEST[end:]
    # Its bookings show later than any call of it ends, and each check waits for that.
    text = text.replace("timeout_seconds = 6", "timeout_seconds = 2")
    if parks:
        text = text.replace('"searchable"', '"none"', 1).replace(
            "settle_after_seconds = 1\n", "", 1
        )
    if fault != "believes_early":
        text = text.replace("settle_after_seconds = 1", "settle_after_seconds = 3", 1)
    return text.replace('"searchable"', '"natural"', 1) if fault == "wrong_class" else text


def _settings(sandbox: TinySandbox, folder: Path) -> Mapping[str, Any]:
    file = folder / "credential"
    file.write_text(CREDENTIAL)
    return {"base_url": sandbox.vendor_url, "credential": f"file:{file}"}


def _signature(secrets: Secrets, payload: bytes) -> str:
    return hmac.new(secrets.text("credential").encode(), payload, hashlib.sha256).hexdigest()


def _event(_: Mapping[str, Any]) -> label_events_pb2.LabelCreated:
    return label_events_pb2.LabelCreated(label=label_pb2.Label(tracking_number=NUMBER))


async def _expire(sandbox: TinySandbox) -> None:
    sandbox.valid_token = "another"


def _operations(adapter: Adapter, fault: str) -> None:
    @adapter.operation("book")
    async def book(work: Work, vendor: TinyClient) -> Confirmed:
        _asked(work, fault)
        body = {"key": work.reference, "token": "needed"}
        if fault == "looks_first":
            await vendor.http.post("/drafts/none/confirm", json={}, effect=False)
        of_first = "unknown_is_retry" if fault == "last_call_only" else fault
        answer = await _booked(vendor, body, of_first)
        if fault == "last_call_only":
            await _call(vendor, "/drafts", {"key": work.reference}, fault)
        if fault == "posts_twice":
            await _call(vendor, "/bookings", body, fault)
        bad = [tracking_service_pb2.ReportTrackingEventsRequest()] if fault == "bad_fact" else []
        found = [Reference("booking", str(answer["number"]))]
        if fault == "two_numbers":
            found.append(Reference("booking", f"{answer['number']}-B"))
        return Confirmed(found, bad)

    @adapter.draft("ship")
    async def draft(work: Work, vendor: TinyClient) -> str:
        _asked(work, fault)
        return str((await _call(vendor, "/drafts", {"key": work.reference}, fault))["draft"])

    @adapter.operation("ship")
    async def confirm(work: Work, vendor: TinyClient) -> Confirmed:
        answer = await _call(vendor, f"/drafts/{work.draft}/confirm", {}, fault)
        return Confirmed([Reference("shipment", str(answer["number"]))])


def _look_up(adapter: Adapter, fault: str) -> None:
    @adapter.look_up("book")
    async def find(work: Work, vendor: TinyClient) -> Confirmed | NotFound:
        answer = await vendor.http.get(f"/bookings/{work.reference}")
        if not answer.ok:
            raise OutcomeUnknown("the look-up failed")
        found = answer.json()["found"]
        if not found or fault == "blind_look_up":
            return NotFound("not there")
        return Confirmed([Reference("booking", str(found[0]["number"]))])


async def _booked(vendor: TinyClient, body: Any, fault: str) -> Any:
    try:
        return await _call(vendor, "/bookings", body, fault)
    except OutcomeUnknown:
        if fault == "hopes":
            return {"number": body["key"]}
        if fault != "repeats_itself":
            raise
    return await _call(vendor, "/bookings", body, fault)


async def _call(vendor: TinyClient, path: str, body: Any, fault: str) -> Any:
    """One call with an effect, and what its answer means."""
    token = trace_context.attach(trace_context.Context()) if fault == "no_trace" else None
    auth = None if fault.startswith("one_token") else vendor.tokens
    if auth is None and not vendor.only_token:
        vendor.only_token = await vendor.tokens.get()
    if fault == "chatty_of_tokens":
        log.debug("asking with %s", await vendor.tokens.get())
    headers = {"Authorization": f"Bearer {vendor.only_token}"} if auth is None else {}
    try:
        answer = await vendor.http.post(
            path, json=body, auth=auth, headers=headers, effect=fault != "late_sender"
        )
    except Retry as away:
        if fault == "down_is_rejected":
            raise Reject("down", "the vendor refuses") from away
        raise
    except OutcomeUnknown as unknown:
        if fault == "unknown_is_retry":
            raise Retry(0.0, "no answer") from unknown
        raise
    finally:
        if token is not None:
            trace_context.detach(token)
    if answer.status == 429:
        wish = {"no_wish": 0, "own_pause": 30}.get(fault, answer.retry_after_seconds(1))
        raise Throttled(wish, "throttled")
    if answer.status == 401:
        raise Reject("401", "the token is refused")
    if not answer.ok:
        raise OutcomeUnknown(f"the vendor answers {answer.status}")
    return answer.json()


def _asked(work: Work, fault: str) -> None:
    if not work.event.label.tracking_number and fault != "eats_poison":
        raise Untranslatable("the label has no tracking number")


def _webhook(adapter: Adapter, fault: str) -> None:
    async def check(hook: Webhook, vendor: TinyClient) -> None:
        given, signature = hook.headers.get("credential", ""), hook.headers.get("signature", "")
        known = same_secret(given, vendor.secrets.text("credential"))
        ours = same_secret(signature, _signature(vendor.secrets, hook.body))
        known = known or (fault == "any_credential" and bool(given))
        ours = ours or (fault in ("any_credential", "any_signature") and bool(signature))
        if fault != "open_door" and not (known and ours):
            wanted = vendor.secrets.text("credential") if fault == "answers_with_it" else ""
            raise Refused(401, f"unknown sender {wanted}")

    @adapter.webhook("/scan", check=check)
    async def receive(hook: Webhook, vendor: TinyClient) -> None:
        nested = hook.body.count(b"[") + hook.body.count(b"{") > 100
        if fault == "slow_reader" and nested:
            await asyncio.sleep(0.4)
        if fault == "greedy_reader" and nested:
            hook.body.center(GREEDY_BYTES)
        if fault == "hoards" and len(hook.body) > MAX_HELD_BYTES:
            hook.body.center(GREEDY_BYTES)
        if fault == "inflates" and hook.headers.get("content-encoding") == "gzip":
            gzip.decompress(hook.body)
        try:
            body = vendor_json.loads(hook.body)
            event = translated(body, fault)
        except (ValueError, RecursionError) as error:
            if fault != "swallows":
                await hook.hold("it cannot be read" if fault == "no_place" else str(error))
            return
        late = fault == "newest_only" and body["at"] < vendor.newest
        unmapped = fault == "drops_unknown" and body["code"] not in CODES
        if fault == "deaf" or late or unmapped:
            return
        vendor.newest = str(body["at"])
        version = str(uuid.uuid4()) if fault == "new_ids" else f"{body['code']} {body['at']}"
        lenient = [CallError] if fault == "answers_anyway" else []
        with contextlib.suppress(*lenient):
            await _reported(hook, event, version)


async def _reported(hook: Webhook, event: tracking_pb2.TrackingEvent, version: str) -> None:
    await hook.hub.tracking.ReportTrackingEvents(
        tracking_service_pb2.ReportTrackingEventsRequest(
            request_id=request_id("tiny", NUMBER, version), tracking_events=[event]
        )
    )


def translated(body: Any, fault: str = "") -> tracking_pb2.TrackingEvent:
    """What one scan says. Unreadable: nothing, and where."""
    if not isinstance(body, dict):
        raise Unreadable("is not an object")
    if fault == "strict" and set(body) - {"number", "code", "at"}:
        raise Unreadable("has fields that nobody documented")
    code, at = body.get("code"), body.get("at")
    if not isinstance(code, str):
        raise Unreadable("is missing or not text", "/code")
    when = types_pb2.SourceTime(
        precision=types_pb2.TIME_PRECISION_SECOND, zone=types_pb2.TIME_ZONE_SOURCE_GIVEN
    )
    try:
        when.instant.FromJsonString(at if isinstance(at, str) else "")
    except ValueError:
        raise Unreadable("is missing or not a time", "/at") from None
    guesses = fault == "guesses" or (fault == "guesses_elsewhere" and code.startswith("D-"))
    unknown = CODES["L"] if guesses else shipment_pb2.MILESTONE_UNKNOWN
    return tracking_pb2.TrackingEvent(
        carrier_code="TINY",
        tracking_number=NUMBER,
        milestone=CODES.get(code, unknown),
        status_code=code,
        event_time=when,
        channel="webhook",
    )


# What another process finds by name.
CONFORMANCE = tiny()
DIES = tiny("dies")
