"""An LTL carrier as a faithful, seeded simulator: Digital LTL's API, a mailbox of X12, its books.

It takes whole numbers and three-letter countries only, knows its codes, refuses a PRO that it has
(1400) and a purchase order where it minds (1700), says 1200 when it cannot print though the
shipment is there, cancels nothing that was picked up, forgets tokens, and reports what happens to
the freight in 214s with local times.
"""

from __future__ import annotations

import base64
import secrets
import tempfile
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import Response

from crossdock_adapters.sdk import sandbox_label_images, vendor_json
from crossdock_adapters.sdk.faults import FaultKind
from crossdock_adapters.sdk.sandbox import (
    Call,
    Command,
    Sandbox,
    SandboxConfig,
    VendorError,
    VendorPort,
    VendorRoute,
    json_response,
)
from crossdock_adapters.sdk.sandbox_access import Allowance, Tokens, TokenState
from crossdock_adapters.sdk.sandbox_parcels import Agenda, place_of
from crossdock_adapters.sdk.sandbox_sftp import SftpHouse, SftpPort, kept_host_key, public_line
from crossdock_adapters.sdk.x12.envelopes import Group

from . import sandbox_tenders
from .sandbox_bols import BOOKED, CANCELLED, DELIVERED, MOVING, Bol, Bols, Refusal
from .sandbox_doors import MAILBOX_OPERATIONS, Doors, MailboxFrame, operation_of
from .sandbox_mailbox import MISBEHAVIOURS, Mailbox, Step
from .sandbox_tenders import Dispatcher

TOKEN_SECONDS: Final = 12 * 3600
CALLS_PER_SECOND: Final = 20
TENDERS: Final = "SM"
MAILBOX_USER: Final = "crossdock"
NOBODY_KNOWS: Final = "Q9"
# How the standard's example says that all went well; no result code is that.
MADE: Final = "10000000"
# What happens to freight, and at which of its ends: (status, reason, at the destination).
JOURNEY: Final = (
    ("X3", "NS", False), ("AF", "NS", False), ("P1", "NS", False), ("X4", "NS", True),
    ("AJ", "NS", True), ("X1", "NS", True), ("D1", "NS", True),
)  # fmt: skip
EVENT_TYPES: Final[Mapping[str, str]] = {
    "AF": "PICKED_UP", "P1": "DEPARTED_TERMINAL", "X4": "ARRIVED_AT_TERMINAL",
    "AJ": "OUT_FOR_DELIVERY", "D1": "DELIVERED",
}  # fmt: skip


class LtlFreightSandbox(Sandbox):
    """Settings: client_id, client_secret, username, password, mailbox (folder), scac, shipper,
    token_seconds, calls_per_second, auto_pickup_seconds (absent: wait for the command),
    step_seconds, skipped_numbers (interchanges of an earlier life), duplicate_code, unique_po
    (whether it minds a second bill of lading of a purchase order, and says so first), pro_range
    ([first, last]), events_visible_after_seconds. With mailbox_password the mailbox is there over
    SFTP, too: mailbox_user, mailbox_port, host_key_file."""

    name = "ltl-freight"
    other_operations = MAILBOX_OPERATIONS | {"status"}
    kept = ("_bols", "_mailbox", "_dispatcher", "_agenda", "_at")

    def __init__(self, config: SandboxConfig) -> None:
        super().__init__(config)
        settings = self.settings
        given = settings.get("pro_range")
        self._bols = Bols(
            str(settings.get("duplicate_code", "1400")),
            bool(settings.get("unique_po", False)),
            None if given is None else (int(given[0]), int(given[1])),
        )
        self._mailbox = Mailbox(
            root=Path(settings["mailbox"]),
            scac=str(settings.get("scac", "EXLA")),
            shipper=str(settings.get("shipper", "NORTHWIND")),
            number=int(settings.get("skipped_numbers", 0)),
        )
        self._dispatcher = Dispatcher(self._bols, self._mailbox)
        self._tokens = Tokens()
        rate = float(settings.get("calls_per_second", CALLS_PER_SECOND))
        self._allowance = Allowance(rate, max(1.0, rate), self.now())
        self._agenda = Agenda()
        self._at: dict[str, int] = {}
        self._without_image = 0
        self._doors: Doors | None = None
        self._host_key_line = ""

    @classmethod
    def example_settings(cls, folder: Path) -> dict[str, Any]:
        """A mailbox below `folder`, and credentials."""
        return {
            "mailbox": tempfile.mkdtemp(prefix="ltl-freight-", dir=folder),
            "client_id": "sandbox-client",
            "client_secret": secrets.token_urlsafe(),
            # Made where the mailbox is there over SFTP.
            "host_key_file": str(folder / "ltl-freight-host-key"),
        }

    def vendor_port(self) -> VendorPort:
        """The API, and beside it the mailbox over SFTP, where it has a password."""
        api = super().vendor_port()
        password = self.settings.get("mailbox_password")
        if password is None:
            return api
        self._mailbox.make_folders()
        host_key = kept_host_key(Path(self.settings["host_key_file"]))
        self._host_key_line = public_line(host_key)
        house = SftpHouse(
            root=self._mailbox.root,
            username=self._mailbox_user,
            password=str(password),
            host_key=host_key,
            renamed=operation_of,
        )
        frame = MailboxFrame(self, int(self.settings.get("mailbox_port", 0)))
        self._doors = Doors(api, SftpPort(frame, house))
        return self._doors

    async def opened(self) -> None:
        """The folders are there before anybody looks."""
        self._mailbox.make_folders()

    def routes(self) -> Sequence[VendorRoute]:
        bols = "/bol/v1/app/"
        return [
            VendorRoute("POST", "/token", self._token, "token"),
            VendorRoute("POST", bols, self._create, "create", effect=True),
            VendorRoute("DELETE", f"{bols}{{pro}}", self._cancel, "cancel", effect=True),
            VendorRoute("GET", "/v1/events", self._events, "events"),
        ]

    def books(self) -> dict[str, Any]:
        """Bills of lading, what of them is cancelled, and the mailbox."""
        bols = [each.as_json() for each in self._bols.by_pro.values()]
        cancelled = sum(each["state"] == "cancelled" for each in bols)
        dispatcher = self._dispatcher
        tendered = {
            "tenders": dispatcher.tenders,
            "tenders_repeated": dispatcher.repeated,
            "tenders_doubled": dispatcher.doubled,
        }
        return {"bols": bols, "cancelled": cancelled, **tendered, **self._mailbox.books()}

    def commands(self) -> dict[str, Command]:
        return {
            "pickup": self._command_pickup,
            "report": self._command_report,
            "invoice": self._command_invoice,
            "respond": self._command_respond,
            "misbehave": self._command_misbehave,
            "expire_tokens": self._command_expire,
        }

    def mailbox_folder(self) -> Path:
        """Where both sides exchange files."""
        return self._mailbox.root

    def mailbox_location(self) -> str:
        """What an endpoint gives as its `location`: over SFTP where it is there, or the folder."""
        if self._doors is None:
            return self._mailbox.root.as_uri()
        return f"sftp://{self._mailbox_user}@{self.config.host}:{self._doors.mailbox_port}/"

    def host_key_line(self) -> str:
        """What an endpoint pins; "" where the mailbox is a folder alone."""
        return self._host_key_line

    @property
    def _mailbox_user(self) -> str:
        return str(self.settings.get("mailbox_user", MAILBOX_USER))

    async def tick(self) -> None:
        """What is due happens to the freight; what the shipper sent is taken."""
        for at, pro in self._agenda.due(self.now()):
            self._next_step(pro, at)
        self._mailbox.collect(self._taken)

    def _taken(self, group: Group) -> None:
        if group.functional_id == TENDERS:
            self._dispatcher.take(group, self.now())
        else:
            self._mailbox.refused.append(f"group {group.functional_id} is not taken here")

    # The API.

    async def _token(self, request: Request, call: Call) -> Response:
        form = dict(parse_qsl((await request.body()).decode("utf-8", "replace")))
        given = request.headers.get("authorization", "")
        wanted = f"{self.settings['client_id']}:{self.settings['client_secret']}"
        basic = f"Basic {base64.b64encode(wanted.encode()).decode()}"
        user = self.settings.get("username")
        right = secrets.compare_digest(given.encode(), basic.encode())
        if user:
            right = right and (
                form.get("grant_type") == "password"
                and form.get("username") == user
                and form.get("password") == self.settings.get("password")
            )
        elif form.get("grant_type") != "client_credentials":
            right = False
        if not right:
            raise VendorError(401, {"error": "invalid_client"})
        lifetime = float(self.settings.get("token_seconds", TOKEN_SECONDS))
        token = self._tokens.issue(lifetime, self.now())
        return json_response({"access_token": token, "expires_in": int(lifetime)})

    async def _create(self, request: Request, call: Call) -> Response:
        self._admit(request)
        try:
            body = vendor_json.loads(await request.body())
        except (ValueError, RecursionError):
            raise _refused(Refusal(400, "400", "the request is no JSON")) from None
        try:
            bol = self._bols.make(body, self.now())
        except Refusal as refusal:
            raise _refused(refusal) from None
        call.key = bol.pro
        self._event(bol, "PICKUP_SCHEDULED", self.now())
        pickup = self.settings.get("auto_pickup_seconds")
        if pickup is not None:
            self._agenda.note(bol.pro, self.now() + timedelta(seconds=float(pickup)))
        answer: dict[str, Any] = {
            "scac": self._mailbox.scac,
            "referenceNumbers": {"pro": bol.pro, "shipmentConfirmationNumber": bol.confirmation},
            "messageStatus": {"status": "PASS", "code": MADE, "message": "created"},
        }
        if self._without_image > 0:
            self._without_image -= 1
            answer["messageStatus"] = {
                "status": "PASS", "code": "1200", "message": "the labels could not be drawn",
                "resolution": "print them from the portal",
            }  # fmt: skip
        else:
            told = f"{bol.units} handling units, BOL {bol.bol}"
            image = sandbox_label_images.draw("PDF", "LTL FREIGHT", bol.pro, told, "FREIGHT")
            answer["images"] = {"shippingLabels": base64.b64encode(image).decode()}
        return json_response(answer, 201)

    async def _cancel(self, request: Request, call: Call) -> Response:
        self._admit(request)
        call.key = request.path_params["pro"]
        try:
            bol = self._bols.cancel(call.key)
        except Refusal as refusal:
            raise _refused(refusal) from None
        self._event(bol, "CANCELLED", self.now())
        return json_response({"messageStatus": {"status": "PASS", "code": MADE}})

    async def _events(self, request: Request, call: Call) -> Response:
        self._admit(request)
        call.key = request.query_params.get("shipmentId", "")
        bol = self._bols.by_pro.get(call.key)
        delay = timedelta(seconds=float(self.settings.get("events_visible_after_seconds", 0)))
        visible = bol is not None and self.now() - bol.made_at >= delay
        events = bol.events if bol is not None and visible else []
        return json_response({"data": events, "page": 1, "pageSize": len(events)})

    def _admit(self, request: Request) -> None:
        if not self._allowance.spend(self.now()):
            body = {"messageStatus": {"status": "FAIL", "message": "too many calls"}}
            raise VendorError(429, body, {"Retry-After": "1"})
        state = self._tokens.state(request.headers.get("authorization", ""), self.now())
        if state is not TokenState.GOOD:
            raise VendorError(401, {"error": "invalid_token"})

    def _event(self, bol: Bol, kind: str, at: datetime) -> None:
        bol.events.append({
            "eventId": f"{bol.pro}-{len(bol.events) + 1}", "type": kind,
            "occurredAt": at.isoformat(), "reportedAt": self.now().isoformat(),
            "sequence": len(bol.events) + 1,
            "shipment": {
                "shipmentId": bol.pro, "mode": "LTL", "scac": self._mailbox.scac,
                "references": [
                    {"type": "SHIPMENT", "value": bol.shipment_id},
                    {"type": "BOL", "value": bol.bol},
                ],
            },
        })  # fmt: skip

    # What happens to the freight.

    def _next_step(self, pro: str, at: datetime) -> None:
        bol = self._bols.by_pro[pro]
        step = self._at.get(pro, 0)
        if step >= len(JOURNEY) or bol.state == CANCELLED:
            return
        status, reason, arrives = JOURNEY[step]
        if self.fault(FaultKind.UNKNOWN_STATUS, "status"):
            self._say(bol, NOBODY_KNOWS, reason, at, arrives=arrives)
        self._say(bol, status, reason, at, arrives=arrives)
        bol.state = DELIVERED if status == "D1" else MOVING
        if status in EVENT_TYPES:
            self._event(bol, EVENT_TYPES[status], at)
        self._at[pro] = step + 1
        if self._at[pro] < len(JOURNEY):
            pause = float(self.settings.get("step_seconds", 1.0))
            self._agenda.note(pro, at + timedelta(seconds=pause))

    def _say(self, bol: Bol, status: str, reason: str, at: datetime, *, arrives: bool) -> None:
        """A 214 with the local time of the place."""
        city, state = bol.destination if arrives else bol.origin
        offset = timedelta(minutes=place_of(city, state, "", "US").offset_minutes)
        local = at.astimezone(timezone(offset))
        step = Step(status, reason, local, city, state)
        self._mailbox.report(bol.pro, bol.shipment_id, [step], self.now())

    # Commands of the control port.

    async def _command_pickup(self, arguments: dict[str, Any]) -> Any:
        """{"pros": [...]}; without them all that are booked."""
        waiting = [pro for pro, bol in self._bols.by_pro.items() if bol.state == BOOKED]
        pros = [str(each) for each in arguments.get("pros") or waiting]
        for pro in pros:
            self._agenda.note(pro, self.now())
        return {"started": pros}

    async def _command_report(self, arguments: dict[str, Any]) -> Any:
        """{"pro", "status", "reason"?}: a status out of turn, at the destination, now."""
        bol = self._bols.by_pro[str(arguments["pro"])]
        reason = str(arguments.get("reason", "NS"))
        self._say(bol, str(arguments["status"]), reason, self.now(), arrives=True)
        return {"interchange": self._mailbox.number}

    async def _command_invoice(self, arguments: dict[str, Any]) -> Any:
        """{"pro", "net", "lines": {code: amount}, "correction"?}: a 210; "" is the freight."""
        bol = self._bols.by_pro[str(arguments["pro"])]
        lines = {str(code): Decimal(amount) for code, amount in arguments["lines"].items()}
        correction = str(arguments.get("correction", ""))
        self._dispatcher.invoice(bol, Decimal(arguments["net"]), lines, self.now(), correction)
        return {"interchange": self._mailbox.number}

    async def _command_respond(self, arguments: dict[str, Any]) -> Any:
        """{"reference", "code", "reason"?, "pro"?}: a 990 out of turn; pro: the carrier's own."""
        reference, code = str(arguments["reference"]), str(arguments["code"])
        reason, pro = str(arguments.get("reason", "")), str(arguments.get("pro", ""))
        self._dispatcher.answer(reference, code, reason, self.now(), pro)
        return {"interchange": self._mailbox.number}

    async def _command_misbehave(self, arguments: dict[str, Any]) -> Any:
        """{"kind", "count"?}: what mailbox, dispatcher or printer ("image_failure") does wrong."""
        kind, count = str(arguments["kind"]), int(arguments.get("count", 1))
        if kind == "image_failure":
            self._without_image = count
            return {kind: count}
        if kind in sandbox_tenders.MISBEHAVIOURS:
            self._dispatcher.misbehaves[kind] = count
            return self._dispatcher.misbehaves
        if kind not in MISBEHAVIOURS:
            every = {*MISBEHAVIOURS, *sandbox_tenders.MISBEHAVIOURS, "image_failure"}
            raise ValueError(f"kind must be one of {', '.join(sorted(every))}")
        self._mailbox.misbehaves[kind] = count
        return self._mailbox.misbehaves

    async def _command_expire(self, _: dict[str, Any]) -> Any:
        return {"ended": self._tokens.end_all(self.now())}


def _refused(refusal: Refusal) -> VendorError:
    """As a list of result codes where the request is wrong, else as the status of a message."""
    if refusal.status == 400:
        return VendorError(400, [f"{refusal.code} - Failure: {refusal.message}"])
    status = {
        "status": "FAIL", "code": refusal.code, "message": refusal.message,
        "resolution": refusal.resolution,
    }  # fmt: skip
    return VendorError(refusal.status, {"messageStatus": status})


SANDBOX = LtlFreightSandbox
