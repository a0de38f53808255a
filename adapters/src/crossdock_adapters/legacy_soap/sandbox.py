"""A legacy ERP with a SOAP service, simulated: its protocol, its queue, its refusals, its books.

It takes a message only with the elements in the order of its schema, addressed as WS-Addressing has
it, with a user's token whose nonce is new and whose time is near its own clock, and each message id
once while it remembers them. What it checks by is in `sandbox_door`.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from crossdock_adapters.legacy_soap import sandbox_door
from crossdock_adapters.legacy_soap.sandbox_books import ISSUE, ORDER, Asked, Books, Line, Refusal
from crossdock_adapters.legacy_soap.sandbox_door import Faulted
from crossdock_adapters.sdk import soap, vendor_xml
from crossdock_adapters.sdk.adapter import same_secret
from crossdock_adapters.sdk.faults import Fault as Struck
from crossdock_adapters.sdk.places import Unreadable
from crossdock_adapters.sdk.sandbox import Call, Command, SandboxConfig, VendorRoute
from crossdock_adapters.sdk.sandbox_misbehaving import Misbehaving
from crossdock_adapters.sdk.vendor_xml import Element

DOCUMENTS, ITEMS = "urn:legacy-erp:documents:v1", "urn:legacy-erp:items:v1"
ITEM_NUMBERS: Final = tuple(f"SKU-{number}" for number in range(1001, 1025))
CUSTOMERS: Final = tuple(f"CUST-{number}" for number in range(1001, 1013))
MAX_REMEMBERED: Final = 10_000
# How far its clock is ahead while it misbehaves so.
CLOCK_AHEAD: Final = timedelta(minutes=10)
SERVER_ERROR, PAGES_OF_A_GATEWAY = 500, 502
Work = Callable[[Element, str, Call], Awaitable[dict[str, Any]]]


class LegacySoapSandbox(Misbehaving):
    """Settings: username, password, items, customers, soap_version ("1.1" or "1.2"), result_seconds
    (from taking a document to posting it; 0: at once), late_seconds, clock_tolerance_seconds,
    window_seconds (how long it remembers message ids)."""

    name = "legacy-soap"
    kept = ("_books", "_messages", "_nonces", "_items", "_misbehaves")
    misbehaviours = frozenset({
        "silence", "late_results", "faults_in_200", "proxy_page", "clock_ahead", "period_closed",
        "unknown_status", "no_number", "other_reference", "loses_documents", "locked",
        "repeats_password", "parks", "takes_doubles",
    })  # fmt: skip

    def __init__(self, config: SandboxConfig) -> None:
        super().__init__(config)
        settings = config.settings
        items = frozenset(settings.get("items", ITEM_NUMBERS))
        self.customers = frozenset(settings.get("customers", CUSTOMERS))
        self._books = Books(items.__contains__, self._is_customer)
        self._messages: dict[str, datetime] = {}
        self._nonces: dict[str, datetime] = {}
        self._items: list[dict[str, Any]] = []
        self._shown: dict[str, Response] = {}
        self._version = str(settings.get("soap_version", "1.1"))
        self._media = "text/xml" if self._version == "1.1" else "application/soap+xml"

    @classmethod
    def example_settings(cls, folder: Path) -> dict[str, Any]:
        """The user that it knows."""
        return {"username": "crossdock", "password": "sandbox-password"}

    def routes(self) -> Sequence[VendorRoute]:
        """One path for each operation of its description."""
        made = [
            ("sales-orders", "PostSalesOrder", DOCUMENTS, self._post_order),
            ("goods-issues", "PostGoodsIssue", DOCUMENTS, self._post_issue),
            ("documents", "GetDocument", DOCUMENTS, self._get_document),
            ("items", "GetItemChanges", ITEMS, self._get_items),
        ]
        return [
            VendorRoute(
                "POST", f"/services/{path}", self._served(name, space, work), path,
                effect=name.startswith("Post"),
            )
            for path, name, space, work in made
        ]  # fmt: skip

    def books(self) -> dict[str, Any]:
        """What was asked for, with its end; the documents; items; message ids that it knows."""
        return {
            "asked": [asdict(each) for each in self._books.asked],
            "documents": [asdict(each) for each in self._books.documents],
            "items": list(self._items),
            "messages": list(self._messages),
        }

    def commands(self) -> dict[str, Command]:
        """misbehave, behave, tell_item, forget_messages."""
        return {
            **super().commands(),
            "tell_item": self._tell_item,
            "forget_messages": self._forget_messages,
        }

    def show(self, operation: str, answer: bytes, status: int = 200, media: str = "") -> None:
        """Let every call of an operation be answered by these bytes, and nothing be done."""
        media = media or self._media
        self._shown[operation] = Response(answer, status, media_type=media)

    async def tick(self) -> None:
        """One run of the queue."""
        if self.misbehaves("silence"):
            return
        for asked in self._books.asked:
            if asked.status == "QUEUED" and asked.due <= self.now():
                self._finish(asked)

    def throttled(self, fault: Struck) -> Response:
        headers = {"Retry-After": f"{fault.retry_after_seconds:g}"}
        refusal = soap.fault("TooManyCalls", "too many calls", version=self._version)
        return self._answer(refusal, SERVER_ERROR, headers)

    def failed(self, fault: Struck) -> Response:
        """A 500 is its own and says nothing; every other is a page of the gateway before it."""
        if fault.status != SERVER_ERROR:
            return _page(fault.status)
        said = soap.fault("", "internal error", blames="Server", version=self._version)
        return self._answer(said, SERVER_ERROR)

    # The protocol.

    def _served(
        self, operation: str, space: str, work: Work
    ) -> Callable[[Request, Call], Awaitable[Response]]:
        async def serve(request: Request, call: Call) -> Response:
            call.effect = False
            if call.operation in self._shown:
                return self._shown[call.operation]
            try:
                root = self._opened(await request.body())
                action = f"{space}/{operation}"
                self._check_headers(request, action)
                self._check_caller(root)
                address = str(request.url)
                message_id = sandbox_door.message_id(root, self._version, action, address)
                asked = self._checked(root, operation, space)
                said = await work(asked, message_id, call)
            except Faulted as fault:
                status = 200 if self.struck("faults_in_200") else SERVER_ERROR
                made = soap.fault(
                    fault.code, fault.text, blames=fault.blames, created=self._clock(),
                    version=self._version,
                )  # fmt: skip
                return self._answer(made, status)
            if self.struck("proxy_page"):
                return _page(PAGES_OF_A_GATEWAY)
            response = vendor_xml.build(f"{operation}Response", said, space)
            answer = soap.envelope(
                response,
                action=f"{action}Response",
                relates_to=message_id,
                version=self._version,
            )
            return self._answer(answer)

        return serve

    def _opened(self, data: bytes) -> Element:
        try:
            root = soap.opened(data)
        except Unreadable as error:
            raise Faulted("", str(error)) from None
        if soap.version_of(root) != self._version:
            raise Faulted("", f"SOAP {self._version} is spoken here", "VersionMismatch")
        return root

    def _check_headers(self, request: Request, action: str) -> None:
        """1.1 has SOAPAction, 1.2 a parameter of the content type."""
        media = request.headers.get("content-type", "")
        said = request.headers.get("soapaction", "") if self._version == "1.1" else media
        wanted = self._media
        if not media.startswith(wanted) or f'"{action}"' not in said:
            raise Faulted("", f"expected {wanted} and the action {action}")

    def _check_caller(self, root: Element) -> None:
        """Name and digest are right, the time is near, and nobody plays an old call again."""
        token = sandbox_door.token(root, self._version)
        tolerance = timedelta(seconds=float(self.settings.get("clock_tolerance_seconds", 300)))
        now = self._clock()
        try:
            nonce = base64.b64decode(token.nonce, validate=True)
            created = datetime.fromisoformat(token.created)
            expires = datetime.fromisoformat(token.expires) if token.expires else now
        except (binascii.Error, ValueError):
            raise Faulted("InvalidSecurityToken", "nonce or time cannot be read") from None
        password = str(self.settings["password"])
        wanted = password
        if not token.by_text:
            wanted = soap.password_digest(nonce, token.created, password)
        if self.struck("repeats_password"):
            raise Faulted("FailedAuthentication", f"{password} and {token.password} are not wanted")
        if token.username != self.settings["username"] or not same_secret(token.password, wanted):
            raise Faulted("FailedAuthentication", "who is that?")
        if abs(created - now) > tolerance or expires < now - tolerance:
            raise Faulted("MessageExpired", "the message is too old, or of a time to come")
        if token.nonce in self._nonces:
            raise Faulted("InvalidSecurityToken", "the nonce was used")
        self._remember(self._nonces, token.nonce)

    def _checked(self, root: Element, operation: str, space: str) -> Element:
        """The element of the operation, as its schema has it."""
        try:
            asked = soap.content(root)
        except Unreadable as error:
            raise Faulted("", str(error)) from None
        if not isinstance(asked, Element) or (asked.name, asked.namespace) != (operation, space):
            raise Faulted("", f"here is {operation} of {space}")
        sandbox_door.check_schema(asked, space)
        return asked

    def _clock(self) -> datetime:
        return self.now() + (CLOCK_AHEAD if self.misbehaves("clock_ahead") else timedelta(0))

    def _answer(
        self, body: bytes, status: int = 200, headers: dict[str, str] | None = None
    ) -> Response:
        return Response(body, status, headers, media_type=self._media)

    # Documents.

    async def _post_order(self, asked: Element, message_id: str, call: Call) -> dict[str, Any]:
        key = asked.text_of("OrderNumber")
        return self._take(self._read(asked, ORDER, key), message_id, call)

    async def _post_issue(self, asked: Element, message_id: str, call: Call) -> dict[str, Any]:
        key = asked.text_of("ShipmentNumber")
        if asked.text_of("Action") == "I":
            key = f"{key}/{asked.text_of('Departure')}"
        return self._take(self._read(asked, ISSUE, key), message_id, call)

    def _read(self, asked: Element, kind: str, key: str) -> Asked:
        try:
            lines = [
                Line(
                    int(each.need_text("LineNumber")),
                    each.need_text("Item"),
                    Decimal(each.need_text("Quantity")),
                )
                for each in asked.all("Lines/Line")
            ]
            reference, action = asked.need_text("Reference"), asked.need_text("Action")
        except (Unreadable, ValueError, InvalidOperation) as error:
            raise Faulted("", f"cannot be read: {error}") from None
        wait = float(self.settings.get("result_seconds", 0))
        if self.struck("late_results"):
            wait += float(self.settings.get("late_seconds", 3))
        now = self.now()
        order, customer = asked.text_of("OrderNumber"), asked.text_of("Customer")
        due = now + timedelta(seconds=wait)
        return Asked(kind, action, reference, key, order, customer, lines, now, due)

    def _take(self, asked: Asked, message_id: str, call: Call) -> dict[str, Any]:
        """Each message id once while it is remembered; posted at once, or queued."""
        call.key = asked.reference
        window = timedelta(seconds=float(self.settings.get("window_seconds", 3600)))
        before = self._messages.get(message_id)
        if before is not None and self.now() - before <= window:
            raise Faulted("DuplicateMessage", "this message was processed already")
        if self.struck("locked"):
            raise Faulted("Locked", "somebody is at the order")
        self._remember(self._messages, message_id)
        call.effect = True
        # The reference is no key of its books: where nobody stood between, both are in them.
        self._books.asked.append(asked)
        if asked.due <= self.now() and not self.misbehaves("silence"):
            self._finish(asked)
        return {"Result": self._said(asked)}

    def _finish(self, asked: Asked) -> None:
        """Post a document, or say why not."""
        try:
            if self.struck("period_closed"):
                raise Refusal("E130", "the posting period is closed")
            if self.struck("parks"):
                asked.status = "PARKED"
                return
            twice = self.struck("takes_doubles")
            asked.number, asked.status = self._books.post(asked, twice=twice), "POSTED"
        except Refusal as refusal:
            asked.status = "REFUSED"
            asked.messages.append(
                {"Line": refusal.line, "Code": refusal.code, "Text": refusal.text}
            )

    def _said(self, asked: Asked) -> dict[str, Any]:
        posted = asked.status == "POSTED"
        other = self.struck("other_reference")
        return {
            "Reference": "SOMEBODY-ELSES" if other else asked.reference,
            "Status": "???" if posted and self.struck("unknown_status") else asked.status,
            "DocumentNumber": "0000000000" if self.struck("no_number") else asked.number or None,
            "Received": asked.received.isoformat(),
            "Messages": {"Message": asked.messages} if asked.messages else None,
        }

    async def _get_document(self, asked: Element, message_id: str, call: Call) -> dict[str, Any]:
        reference = call.key = asked.text_of("Reference")
        found = [each for each in self._books.asked if each.reference == reference]
        if not found or self.misbehaves("loses_documents"):
            return {"Result": {"Reference": reference, "Status": "NOT_FOUND"}}
        return {"Result": [self._said(each) for each in found]}

    # Items.

    async def _get_items(self, asked: Element, message_id: str, call: Call) -> dict[str, Any]:
        after, most = int(asked.text_of("After")), int(asked.text_of("Most"))
        changed = [each for each in self._items if int(each["Change"]) > after]
        return {"Items": {"Item": changed[:most]}}

    async def _tell_item(self, body: dict[str, Any]) -> dict[str, int]:
        """{"Number", "Description", "Unit", "Status", …}: an item changed."""
        change = len(self._items) + 1
        self._items.append({"Change": change, **body})
        return {"change": change}

    async def _forget_messages(self, _: dict[str, Any]) -> dict[str, int]:
        """The time for which it remembers message ids is over."""
        forgotten = len(self._messages)
        self._messages.clear()
        return {"forgotten": forgotten}

    def _remember(self, known: dict[str, datetime], name: str) -> None:
        while len(known) >= MAX_REMEMBERED:
            del known[next(iter(known))]
        known[name] = self.now()

    def _is_customer(self, number: str) -> bool:
        return number in self.customers


def _page(status: int) -> Response:
    return HTMLResponse("<!DOCTYPE html><html><body>Bad gateway<br></body></html>", status)


SANDBOX = LegacySoapSandbox
