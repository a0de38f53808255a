"""A legacy ERP with a SOAP service, simulated: its schema, its queue, its refusals, its books.

It takes each message id once while it remembers them. What else it checks of a message is
`sdk.sandbox_soap`, and by which rules it posts is `sdk.sandbox_erp_books`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from crossdock_adapters.sdk.faults import Fault as Struck
from crossdock_adapters.sdk.places import Unreadable
from crossdock_adapters.sdk.sandbox import Call, Command, SandboxConfig, VendorRoute
from crossdock_adapters.sdk.sandbox_erp_books import (
    CUSTOMERS,
    ISSUE,
    ITEMS,
    ORDER,
    Asked,
    Books,
    Line,
    Refusal,
)
from crossdock_adapters.sdk.sandbox_misbehaving import Misbehaving
from crossdock_adapters.sdk.sandbox_soap import (
    SERVER_ERROR,
    Faulted,
    Schema,
    SoapDoor,
    gateway_page,
)
from crossdock_adapters.sdk.vendor_xml import Element

DOCUMENTS, ITEM_CHANGES = "urn:legacy-erp:documents:v1", "urn:legacy-erp:items:v1"
MAX_REMEMBERED: Final = 10_000
# How far its clock is ahead while it misbehaves so.
CLOCK_AHEAD: Final = timedelta(minutes=10)
PAGES_OF_A_GATEWAY = 502
Work = Callable[[Element, str, Call], Awaitable[dict[str, Any]]]
# The sequences of its schema, as `sandbox_soap` reads them.
_ISSUE_LINE: Final = ("LineNumber", "Item", "Quantity", "Unit")
_DETAIL: Final = ("LineNumber", "PackageNumber?", "Lot?", "SerialNumber?", "Quantity")
_SHIP_TO: Final = (
    "Name", "CompanyName?", "Street?", "Street2?", "City?", "State?", "PostalCode?", "Country?",
)  # fmt: skip
SCHEMA: Final[Schema] = {
    "PostSalesOrder": (
        "Reference", "Action", "OrderNumber", "Company?", "Customer", "CustomerReference?",
        "OrderDate?", "PromiseDate", "Carrier?", "Service?", "Currency?", "ShipTo?", "Lines?",
    ),
    "PostSalesOrder/ShipTo": _SHIP_TO,
    "PostSalesOrder/Lines": ("Line+",),
    "PostSalesOrder/Lines/Line": (*_ISSUE_LINE, "Warehouse?", "Price?"),
    "PostGoodsIssue": (
        "Reference", "Action", "ShipmentNumber", "Departure?", "OrderNumber", "Warehouse?",
        "ShipDate", "Carrier?", "Service?", "TrackingNumber?", "BillOfLading?", "Packages?",
        "Lines?", "Details?",
    ),
    "PostGoodsIssue/Packages": ("Package+",),
    "PostGoodsIssue/Packages/Package": (
        "PackageNumber", "TrackingNumber?", "Weight", "WeightUnit",
    ),
    "PostGoodsIssue/Lines": ("Line+",),
    "PostGoodsIssue/Lines/Line": _ISSUE_LINE,
    "PostGoodsIssue/Details": ("Detail+",),
    "PostGoodsIssue/Details/Detail": _DETAIL,
    "GetDocument": ("Reference",),
    "GetItemChanges": ("After", "Most"),
}  # fmt: skip


@dataclass
class Queued(Asked):
    """A document in its queue, and what became of it. due: when the queue comes to it."""

    received: datetime
    due: datetime
    status: str = "QUEUED"
    number: str = ""
    messages: list[Mapping[str, Any]] = field(default_factory=list)


class LegacySoapSandbox(Misbehaving):
    """Settings: username, password, items, customers, soap_version ("1.1" or "1.2"), result_seconds
    (from taking a document to posting it; 0: at once), late_seconds, clock_tolerance_seconds,
    window_seconds (how long it remembers message ids)."""

    name = "legacy-soap"
    kept = ("erp.documents", "_asked", "_messages", "_door.nonces", "_items", "_misbehaves")
    misbehaviours = frozenset({
        "silence", "late_results", "faults_in_200", "proxy_page", "clock_ahead", "period_closed",
        "unknown_status", "no_number", "other_reference", "loses_documents", "locked",
        "repeats_password", "parks", "takes_doubles",
    })  # fmt: skip

    def __init__(self, config: SandboxConfig) -> None:
        super().__init__(config)
        settings = config.settings
        self.erp = Books(
            frozenset(settings.get("items", ITEMS)), frozenset(settings.get("customers", CUSTOMERS))
        )
        self._door = SoapDoor(
            str(settings["username"]),
            str(settings["password"]),
            self._clock,
            SCHEMA,
            str(settings.get("soap_version", "1.1")),
            timedelta(seconds=float(settings.get("clock_tolerance_seconds", 300))),
        )
        self._asked: list[Queued] = []
        self._messages: dict[str, datetime] = {}
        self._items: list[dict[str, Any]] = []
        self._shown: dict[str, Response] = {}

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
            ("items", "GetItemChanges", ITEM_CHANGES, self._get_items),
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
            "asked": [asdict(each) for each in self._asked],
            "documents": [asdict(each) for each in self.erp.documents],
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
        made = self._door.response(answer, status)
        self._shown[operation] = Response(answer, status, media_type=media) if media else made

    async def tick(self) -> None:
        """One run of the queue."""
        if self.misbehaves("silence"):
            return
        for asked in self._asked:
            if asked.status == "QUEUED" and asked.due <= self.now():
                self._finish(asked)

    def throttled(self, fault: Struck) -> Response:
        headers = {"Retry-After": f"{fault.retry_after_seconds:g}"}
        return self._door.fault(Faulted("TooManyCalls", "too many calls"), headers=headers)

    def failed(self, fault: Struck) -> Response:
        """A 500 is its own and says nothing; every other is a page of the gateway before it."""
        if fault.status != SERVER_ERROR:
            return gateway_page(fault.status)
        return self._door.fault(Faulted("", "internal error", "Server"))

    # The protocol.

    def _served(
        self, operation: str, space: str, work: Work
    ) -> Callable[[Request, Call], Awaitable[Response]]:
        async def serve(request: Request, call: Call) -> Response:
            call.effect = False
            if call.operation in self._shown:
                return self._shown[call.operation]
            try:
                message = await self._door.opened(request, operation, space)
                if self.struck("repeats_password"):
                    both = f"{self._door.password} and {message.token.password}"
                    raise Faulted("FailedAuthentication", f"{both} are not wanted")
                said = await work(message.asked, message.id, call)
            except Faulted as fault:
                status = 200 if self.struck("faults_in_200") else SERVER_ERROR
                return self._door.fault(fault, status)
            if self.struck("proxy_page"):
                return gateway_page(PAGES_OF_A_GATEWAY)
            return self._door.answer(operation, space, said, message)

        return serve

    def _clock(self) -> datetime:
        return self.now() + (CLOCK_AHEAD if self.misbehaves("clock_ahead") else timedelta(0))

    # Documents.

    async def _post_order(self, asked: Element, message_id: str, call: Call) -> dict[str, Any]:
        key = asked.text_of("OrderNumber")
        return self._take(self._read(asked, ORDER, key), message_id, call)

    async def _post_issue(self, asked: Element, message_id: str, call: Call) -> dict[str, Any]:
        key = asked.text_of("ShipmentNumber")
        if asked.text_of("Action") == "I":
            key = f"{key}/{asked.text_of('Departure')}"
        return self._take(self._read(asked, ISSUE, key), message_id, call)

    def _read(self, asked: Element, kind: str, key: str) -> Queued:
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
        return Queued(kind, action, reference, key, order, customer, lines, now, due)

    def _take(self, asked: Queued, message_id: str, call: Call) -> dict[str, Any]:
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
        self._asked.append(asked)
        if asked.due <= self.now() and not self.misbehaves("silence"):
            self._finish(asked)
        return {"Result": self._said(asked)}

    def _finish(self, asked: Queued) -> None:
        """Post a document, or say why not."""
        if self.struck("parks"):
            asked.status = "PARKED"
            return
        if self.struck("period_closed"):
            number, refusals = "", [Refusal("E130", "the posting period is closed")]
        else:
            number, refusals = self.erp.post(asked, twice=self.struck("takes_doubles"))
        asked.status, asked.number = ("REFUSED", "") if refusals else ("POSTED", number)
        asked.messages += [
            {"Line": each.line, "Code": each.code, "Text": each.text} for each in refusals
        ]

    def _said(self, asked: Queued) -> dict[str, Any]:
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
        found = [each for each in self._asked if each.reference == reference]
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


SANDBOX = LegacySoapSandbox
