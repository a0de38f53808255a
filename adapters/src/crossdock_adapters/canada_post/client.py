"""Canada Post's web services: XML over HTTP, versions in media types, links; no orders here.

What an answer means is a table, `answers.toml`, read from the top: the first row that fits decides.
A success is a 2xx with the element that belongs to it. Everything that is neither is unknown once
the call may have had an effect.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from functools import cached_property
from urllib.parse import quote, urlsplit

from crossdock_adapters.canada_post.answers import ANSWERS, Means
from crossdock_adapters.sdk import vendor_xml
from crossdock_adapters.sdk.auth import basic_credentials
from crossdock_adapters.sdk.carrier_labels import LabelImage
from crossdock_adapters.sdk.http import MAX_ANSWER_BYTES, Answer, VendorHttp
from crossdock_adapters.sdk.outcomes import (
    NeedsPerson,
    OutcomeUnknown,
    Reject,
    Retry,
    Throttled,
    VendorOutcome,
)
from crossdock_adapters.sdk.places import Unreadable
from crossdock_adapters.sdk.settings import Secrets, Settings
from crossdock_adapters.sdk.vendor_xml import Element

SHIPMENT_NAMESPACE = "http://www.canadapost.ca/ws/shipment"
SHIPMENT_TYPE = "application/vnd.cpc.shipment-v8+xml"
TRACK_TYPE = "application/vnd.cpc.track-v2+xml"
MANIFEST_TYPE = "application/vnd.cpc.manifest-v8+xml"
CURRENCY = "CAD"
FORMATS = {"application/pdf": "PDF", "application/zpl": "ZPL"}
# How a label begins, whatever it is called.
BEGINNINGS = {b"%PDF-": "PDF", b"^XA": "ZPL"}
MAX_BLANKS = 64
CREATED, TRANSMITTED, SUSPENDED = "created", "transmitted", "suspended"
# What the number of a manifest is that has nothing in it.
EMPTY_MANIFEST = "EMPTY"
MAX_FOUND = 20
MAX_REASON_CHARACTERS = 300
# A history of 500 scans has less; labels may have what the SDK reads at most.
MAX_DOCUMENT_BYTES = 1024 * 1024
# A number with more digits is no price of a parcel.
MAX_DUE = Decimal(1_000_000)
# 202: the label is not drawn yet; asked again this often, this many times.
NOT_READY = 202
GONE = 410
# Who knows what such an answer means to a call asks before; to any other it is a refusal.
REFUSALS = (Means.REJECTED, Means.TRANSMITTED, Means.DONE_BEFORE, Means.NOTHING_TO_TRANSMIT)
ARTIFACT_TRIES = 3
ARTIFACT_PAUSE_SECONDS = 1.0
ARTIFACT_PAUSE_SECONDS_MAX = 5.0


@dataclass(frozen=True, slots=True)
class Link:
    """Where something is to be had, and as what."""

    rel: str
    href: str
    media_type: str


@dataclass(frozen=True, slots=True)
class ShipmentInfo:
    """A shipment as Canada Post shows it: one parcel. `due` None: it does not say the price.

    `manifest` is the number of the manifest that it was transmitted with, "" where none is shown.
    """

    request_id: str
    shipment_id: str
    status: str
    tracking_pin: str
    due: Decimal | None
    links: tuple[Link, ...]
    manifest: str = ""

    def link(self, rel: str) -> Link | None:
        """The first link of this kind; None: there is none."""
        return next((link for link in self.links if link.rel == rel and link.href), None)

    @property
    def asked_back(self) -> bool:
        """Whether its price was asked back: a transmitted shipment has a link for that until then.

        Its label may not be used any more.
        """
        return self.status == TRANSMITTED and self.link("refund") is None

    @property
    def why_unusable(self) -> str:
        """Why its label may not be used, as Canada Post shows it; "": it may."""
        if self.status == SUSPENDED:
            return "is suspended"
        return "was transmitted, and its price has been asked back" if self.asked_back else ""


class Voided(StrEnum):
    """What became of asking for a void. TRANSMITTED: only a refund is left."""

    NOW = "now"
    TRANSMITTED = "transmitted"
    NOT_THERE = "not there"


class Reply:
    """An answer of Canada Post, read once."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.status = answer.status
        self.ok = answer.ok

    @cached_property
    def root(self) -> Element | Unreadable:
        """The document in it, or why there is none."""
        if len(self.answer.body) > MAX_DOCUMENT_BYTES:
            return Unreadable(f"is no document of at most {MAX_DOCUMENT_BYTES} bytes")
        try:
            return vendor_xml.loads(self.answer.body)
        except Unreadable as error:
            return error

    @cached_property
    def messages(self) -> list[tuple[str, str]] | None:
        """(code, description) of each message; None when this is no message document."""
        root = self.root
        if isinstance(root, Unreadable) or root.name != "messages":
            return None
        return [
            (message.text_of("code"), " ".join(message.text_of("description").split()))
            for message in root.all("message")
        ]

    @cached_property
    def means(self) -> Means:
        """What it means, when it is no success: the first row of the table that fits."""
        fitting = (row.means for row in ANSWERS if row.fits(self.status, self.messages))
        return next(fitting, Means.UNKNOWN)

    def says(self, means: Means) -> bool:
        """Whether it is no success, and means this."""
        return not self.ok and self.means is means


class CanadaPostClient:
    """One API key and the customer numbers it ships for."""

    def __init__(self, settings: Settings, secrets: Secrets) -> None:
        self._settings = settings
        self._secrets = secrets
        self._http = VendorHttp.of(settings)
        mailed_by = settings.text("customer_number")
        mobo = settings.text("mailed_on_behalf_of") or mailed_by
        self._shipping = f"/rs/{quote(mailed_by, safe='')}/{quote(mobo, safe='')}"

    async def test(self) -> None:
        """Proves that Canada Post answers and accepts key and customer, by listing its groups."""
        reply = await self._call("GET", f"{self._shipping}/group", SHIPMENT_TYPE)
        self._document(reply, "groups", effect=False)

    async def close(self) -> None:
        """Closes the connection pool."""
        await self._http.close()

    async def create(self, document: bytes) -> ShipmentInfo:
        """Creates a shipment. OutcomeUnknown when it may exist although no answer says so."""
        path = f"{self._shipping}/shipment"
        reply = await self._call("POST", path, SHIPMENT_TYPE, document=document)
        return self._info(reply, effect=True)

    async def find(self, parameter: str, value: str) -> list[ShipmentInfo]:
        """Shipments by `requestId` (our reference) or `trackingPIN`, in Canada Post's order.

        Only a list of shipments with nothing in it says that there is none; a 404 says it only
        where the deployment knows that it does, and without any message. Of several links one may
        lead to a shipment that was voided meanwhile; when all of them do, nobody knows whether they
        were voided or cannot be shown yet, and the search has failed.
        """
        path, params = f"{self._shipping}/shipment", {parameter: value}
        reply = await self._call("GET", path, SHIPMENT_TYPE, params=params)
        if self._is_none(reply):
            return []
        listed = self._document(reply, "shipments", effect=False)
        strange = {child.name for child in listed.children} - {"shipment-info", "link"}
        if strange or not listed.namespace.startswith(SHIPMENT_NAMESPACE):
            raise Retry(
                0.0,
                f"Canada Post answers a search with {sorted(strange) or 'a list'} of "
                f"namespace {listed.namespace!r}, which says nothing here",
            )
        found = [_read(reply, info, effect=False) for info in listed.all("shipment-info")]
        links = [_link(each) for each in listed.all("link")]
        if len(links) > MAX_FOUND:
            raise Retry(
                0.0, f"Canada Post lists {len(links)} shipments, at most {MAX_FOUND} are one's"
            )
        for link in links:
            reply = await self._call("GET", _path(link.href), link.media_type or SHIPMENT_TYPE)
            if reply.says(Means.NOTHING_THERE):
                continue
            found.append(self._info(reply, effect=False))
        if links and not found:
            raise Retry(0.0, f"Canada Post lists {len(links)} shipments and shows none of them")
        return found

    async def label(self, info: ShipmentInfo) -> LabelImage:
        """The label of a shipment, by its link; without an image when it can never be had.

        OutcomeUnknown: it cannot be had yet.
        """
        without = LabelImage(info.tracking_pin, "", b"")
        link = info.link("label")
        if link is None:
            return without
        reply = await self._drawn(link, MAX_ANSWER_BYTES)
        if reply.status == NOT_READY:
            raise OutcomeUnknown(f"the label of shipment {info.shipment_id} is not drawn yet")
        if reply.status == GONE or reply.says(Means.NOTHING_THERE) or reply.says(Means.REJECTED):
            return without
        image_format = _format(reply.answer)
        if not reply.ok or not image_format:
            raise self._refusal(reply, effect=True)
        return LabelImage(info.tracking_pin, image_format, reply.answer.body)

    async def price(self, info: ShipmentInfo) -> Decimal | None:
        """What a shipment costs, by its link; None when it has none, or it is not to be had."""
        link = info.link("price")
        if info.due is not None or link is None:
            return info.due
        reply = await self._call("GET", _path(link.href), link.media_type or SHIPMENT_TYPE)
        if not reply.ok:
            return None
        return _due(self._document(reply, "shipment-price", effect=False))

    async def shipment(self, shipment_id: str) -> ShipmentInfo | None:
        """A shipment by its number; None: Canada Post shows none, because it was voided, for one
        reason."""
        path = f"{self._shipping}/shipment/{quote(shipment_id, safe='')}"
        reply = await self._call("GET", path, SHIPMENT_TYPE)
        if reply.says(Means.NOTHING_THERE):
            return None
        return self._info(reply, effect=False)

    async def transmit(self, document: bytes) -> list[Link] | None:
        """Transmits groups: links to the manifests made of them; None: nothing is in them."""
        path = f"{self._shipping}/manifest"
        reply = await self._call("POST", path, MANIFEST_TYPE, document=document)
        if reply.says(Means.NOTHING_TO_TRANSMIT):
            return None
        return _manifests(self._document(reply, "manifests", effect=True))

    async def manifest(self, link: Link) -> str:
        """The number of a manifest; EMPTY_MANIFEST: nothing is on it. Canada Post makes the
        manifest when it is first asked for. OutcomeUnknown: it is not made yet."""
        reply = await self._drawn(link, MAX_DOCUMENT_BYTES)
        if reply.status == NOT_READY:
            raise OutcomeUnknown("the manifest is not made yet")
        number = self._document(reply, "manifest", effect=True).text_of("po-number")
        if not number:
            raise _unclear(reply, f"HTTP {reply.status}, a manifest without a number", effect=True)
        return number

    async def manifests_since(self, day: date) -> list[Link]:
        """Links to every manifest from a day of Canada Post's on, in its order."""
        path, params = f"{self._shipping}/manifest", {"start": f"{day:%Y%m%d}"}
        reply = await self._call("GET", path, MANIFEST_TYPE, params=params)
        return _manifests(self._document(reply, "manifests", effect=False))

    async def void(self, shipment_id: str) -> Voided:
        """Voids a shipment."""
        path = f"{self._shipping}/shipment/{quote(shipment_id, safe='')}"
        reply = await self._call("DELETE", path, SHIPMENT_TYPE)
        if reply.status == 204:
            return Voided.NOW
        if reply.says(Means.TRANSMITTED):
            return Voided.TRANSMITTED
        if reply.says(Means.NOTHING_THERE):
            # The vendor's own words: the id is wrong, or the shipment has been voided already.
            return Voided.NOT_THERE
        raise self._refusal(reply, effect=True)

    async def refund(self, shipment_id: str, document: bytes) -> str:
        """Asks for the price back: the ticket's number; "" when it was asked for before."""
        path = f"{self._shipping}/shipment/{quote(shipment_id, safe='')}/refund"
        reply = await self._call("POST", path, SHIPMENT_TYPE, document=document)
        if reply.says(Means.DONE_BEFORE):
            return ""
        info = self._document(reply, "shipment-refund-request-info", effect=True)
        return info.text_of("service-ticket-id")

    async def track(self, pin: str) -> bytes:
        """Everything scanned of a parcel, as it came; b"" when there is no history yet."""
        path = f"/vis/track/pin/{quote(pin, safe='')}/detail"
        reply = await self._call("GET", path, TRACK_TYPE)
        if reply.ok:
            return reply.answer.body
        if reply.says(Means.NOTHING_THERE):
            return b""
        raise self._refusal(reply, effect=False)

    async def _drawn(self, link: Link, max_bytes: int) -> Reply:
        """What a link leads to, asked for a few times while it is not ready."""
        for attempt in range(ARTIFACT_TRIES):
            reply = await self._call("GET", _path(link.href), link.media_type, max_bytes)
            if reply.status != NOT_READY:
                break
            if attempt + 1 < ARTIFACT_TRIES:
                wish = reply.answer.retry_after_seconds(ARTIFACT_PAUSE_SECONDS)
                await asyncio.sleep(min(wish, ARTIFACT_PAUSE_SECONDS_MAX))
        return reply

    async def _call(
        self,
        method: str,
        path: str,
        media_type: str,
        max_bytes: int = MAX_DOCUMENT_BYTES,
        *,
        document: bytes | None = None,
        params: Mapping[str, str] | None = None,
    ) -> Reply:
        key = basic_credentials(self._secrets.text("api_user"), self._secrets.text("api_password"))
        headers = {
            "Accept": media_type,
            "Accept-language": self._settings.text("language"),
            "Authorization": key,
        }
        if document is not None:
            headers["Content-Type"] = media_type
        answer = await self._http.request(
            method, path, params=params, headers=headers, body=document, max_answer_bytes=max_bytes
        )
        return Reply(answer)

    def _document(self, reply: Reply, name: str, effect: bool) -> Element:
        """The document of a success; otherwise raises what the answer means."""
        if reply.ok:
            if isinstance(reply.root, Unreadable):
                raise _unclear(reply, f"HTTP {reply.status}, {reply.root}", effect)
            if reply.root.name == name:
                return reply.root
        raise self._refusal(reply, effect)

    def _info(self, reply: Reply, effect: bool) -> ShipmentInfo:
        return _read(reply, self._document(reply, "shipment-info", effect), effect)

    def _is_none(self, reply: Reply) -> bool:
        """Whether a search says by its status that there is nothing, and says no more."""
        if reply.status != 404 or not self._settings.flag("search_404_is_none"):
            return False
        return reply.messages == []

    def _refusal(self, reply: Reply, effect: bool) -> VendorOutcome:
        """What an answer means that is not the success it ought to be, to be raised."""
        means, messages = reply.means, reply.messages or []
        said = _short(reply.status, messages)
        if means is Means.THROTTLED:
            rest = self._settings.seconds("throttle_rest_seconds")
            return Throttled(reply.answer.retry_after_seconds(rest), said)
        if means is Means.REFUSED_AT_DOOR:
            return Retry(self._settings.seconds("auth_retry_seconds"), said)
        if means is Means.NOTHING_THERE:
            return NeedsPerson(f"{said}: nothing is there; check the customer numbers")
        if means is Means.PERSON:
            return NeedsPerson(said)
        if means in REFUSALS:
            return Reject(messages[0][0] if messages else str(reply.status), said)
        return _unclear(reply, said, effect)


def _read(reply: Reply, root: Element, effect: bool) -> ShipmentInfo:
    """A shipment in an answer; otherwise raises what such an answer means."""
    try:
        return read_info(root)
    except Unreadable as error:
        raise _unclear(reply, f"the answer cannot be read: {error}", effect) from error


def read_info(root: Element) -> ShipmentInfo:
    """A shipment-info. Unreadable: what a label needs is missing."""
    price = root.find("shipment-price")
    return ShipmentInfo(
        request_id=root.text_of("customer-request-id"),
        shipment_id=root.need_text("shipment-id"),
        status=root.text_of("shipment-status"),
        tracking_pin=root.need_text("tracking-pin"),
        due=None if price is None else _due(price),
        links=tuple(_link(link) for link in root.all("links/link")),
        manifest=root.text_of("po-number"),
    )


def _manifests(listed: Element) -> list[Link]:
    """The links to manifests in a list of them."""
    return [link for link in map(_link, listed.all("link")) if link.rel == "manifest" and link.href]


def _link(element: Element) -> Link:
    attributes = element.attributes
    return Link(
        attributes.get("rel", ""), attributes.get("href", ""), attributes.get("media-type", "")
    )


def _due(price: Element) -> Decimal | None:
    """What is payable; an amount that is absent or no amount is no price, never zero."""
    try:
        amount = Decimal(price.text_of("due-amount"))
    except InvalidOperation:
        return None
    return amount if amount.is_finite() and 0 <= amount < MAX_DUE else None


def _format(answer: Answer) -> str:
    """What a label is, by its media type or its beginning; "" what is none."""
    if not answer.ok or not answer.body:
        return ""
    media_type = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    begins = answer.body[:MAX_BLANKS].lstrip()
    by_beginning = (name for start, name in BEGINNINGS.items() if begins.startswith(start))
    return FORMATS.get(media_type, "") or next(by_beginning, "")


def _path(href: str) -> str:
    """What a link names at the vendor: the key is sent to the configured host alone."""
    parts = urlsplit(href)
    return f"{parts.path}?{parts.query}" if parts.query else parts.path


def _short(status: int, messages: Sequence[tuple[str, str]]) -> str:
    text = "; ".join(f"{code} {description}".strip() for code, description in messages)
    return f"Canada Post: HTTP {status} {text}".rstrip()[:MAX_REASON_CHARACTERS]


def _unclear(reply: Reply, reason: str, effect: bool) -> OutcomeUnknown | Retry:
    """What an answer that proves nothing means: unknown once there may be an effect."""
    text = reason if reason.startswith("Canada Post") else f"Canada Post: {reason}"
    return reply.answer.unclear(text[:MAX_REASON_CHARACTERS], effect=effect)
