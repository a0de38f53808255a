"""FedEx as a faithful, seeded simulator: OAuth, Open Ship, cancel, Track, the signed callback.

It behaves as the vendor's public documents say, and where they say nothing, as its settings do:
what a second open shipment of an index is, and what an index shows once it is confirmed. Parcels
move by themselves once handed over.
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import hmac
import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from crossdock_adapters.sdk import vendor_json
from crossdock_adapters.sdk.faults import Fault, FaultKind
from crossdock_adapters.sdk.sandbox import (
    Call,
    Command,
    Sandbox,
    SandboxConfig,
    VendorRoute,
    json_response,
)
from crossdock_adapters.sdk.sandbox_access import Allowance, Tokens, TokenState
from crossdock_adapters.sdk.sandbox_parcels import Pace

from . import sandbox_answers, sandbox_journeys
from .sandbox_books import Books, Scan, Shipment
from .sandbox_journeys import Odds
from .sandbox_ship import VendorRefusal, error_body, read_account, read_label, read_requested, text

TOKEN_SECONDS = 3600
CALLS_PER_TEN_SECONDS = 1_400
MAX_TRACKED_AT_ONCE = 30
MAX_INDEX = 40
GATEWAY_STATUSES = (502, 504)
# What an index shows once its shipment is confirmed: nobody has published it.
LABELS, REQUEST, GONE = "labels", "request", "gone"
# What a second open shipment of an index becomes.
REFUSED, REPLACES = "refused", "replaces"
# Stands in an answer where a result is shown byte for byte.
SHOWN = f"shown-{secrets.token_hex(8)}:"


class FedexSandbox(Sandbox):
    """One simulated FedEx account with its projects.

    Settings: client_id, client_secret, track_client_id, track_client_secret (absent: one project),
    accounts (list), token_seconds, calls_per_ten_seconds, retry_after_header, gzip,
    auto_handover_seconds (absent: wait for the command), scan_interval_seconds,
    tracking_visible_after_seconds, after_confirmation ("labels", "request", "gone"),
    second_create ("refused", "replaces"), webhook_url, webhook_token, signature ("base64", "hex")
    and odds (delay, attempt, missing_offset, day_only).
    """

    name = "fedex"
    other_operations = frozenset({"callback"})
    kept = ("_books", "_shipping", "_tracking")

    def __init__(self, config: SandboxConfig) -> None:
        super().__init__(config)
        settings = self.settings
        pace = Pace.of(settings, "tracking_visible_after_seconds")
        odds = Odds(**{name: float(share) for name, share in settings.get("odds", {}).items()})
        self._books = Books(config.seed, pace, odds)
        self._accounts = [str(account) for account in settings.get("accounts", ["740561073"])]
        self._webhook_url = str(settings.get("webhook_url", ""))
        self._webhook_token = str(settings.get("webhook_token", ""))
        self._shipping = Tokens()
        self._tracking = Tokens() if settings.get("track_client_id") else self._shipping
        burst = float(settings.get("calls_per_ten_seconds", CALLS_PER_TEN_SECONDS))
        self._allowance = Allowance(burst / 10, burst, self.now())
        self._blocked_until: datetime | None = None
        self._shown: dict[str, bytes] = {}
        self._callbacks_lost = 0

    def routes(self) -> Sequence[VendorRoute]:
        opened = "/ship/v1/openshipments"
        return [
            VendorRoute("POST", "/oauth/token", self._token, "token"),
            VendorRoute("POST", f"{opened}/create", self._create, "create", effect=True),
            VendorRoute("POST", f"{opened}/retrieve", self._retrieve, "retrieve"),
            VendorRoute("POST", f"{opened}/", self._confirm, "confirm", effect=True),
            VendorRoute("PUT", "/ship/v1/shipments/cancel", self._cancel, "cancel", effect=True),
            VendorRoute("POST", "/track/v1/trackingnumbers", self._track, "track"),
            VendorRoute(
                "POST", "/track/v1/referencenumbers", self._track_reference, "track_reference"
            ),
        ]

    def books(self) -> dict[str, Any]:
        return {
            **self._books.as_json(),
            "tokens_issued": self._shipping.issued
            + (self._tracking.issued if self._tracking is not self._shipping else 0),
            "callbacks_lost": self._callbacks_lost,
        }

    def commands(self) -> dict[str, Command]:
        return {
            "handover": self._command_handover,
            "expire_tokens": self._command_expire_tokens,
            "portal": self._command_portal,
            "block": self._command_block,
            "show": self._command_show,
        }

    def throttled(self, fault: Fault) -> Response:
        headers = {}
        if self.settings.get("retry_after_header", False):
            headers["Retry-After"] = f"{fault.retry_after_seconds:g}"
        return json_response(error_body("TOO.MANY.REQUESTS", "Rate limit exceeded"), 429, headers)

    def failed(self, fault: Fault) -> Response:
        if fault.status in GATEWAY_STATUSES:
            return HTMLResponse("<html><body>Gateway error</body></html>", fault.status)
        busy = fault.status == 503
        code = "SERVICE.UNAVAILABLE.ERROR" if busy else "INTERNAL.SERVER.ERROR"
        return json_response(error_body(code, "Please try again later."), fault.status)

    async def tick(self) -> None:
        for scan in self._books.advance(self.now()):
            self._tell(scan)
            if scan.step.derived == "IT" and self.fault(FaultKind.UNKNOWN_STATUS, "callback"):
                unknown = sandbox_journeys.unknown_step(scan.step.place)
                number = scan.tracking_number
                self._tell(self._books.insert(number, unknown, scan.happened_at))

    def callback(self, scan: Scan) -> tuple[bytes, dict[str, str]]:
        """The body of a callback and its headers: signed over the very bytes."""
        result = sandbox_answers.track_result(self._books.parcel(scan.tracking_number), [scan])
        body = vendor_json.dumps({"output": sandbox_answers.track_output([("", [result])])})
        return body, {"fdx-signature": self.sign(body)}

    def sign(self, body: bytes) -> str:
        """The signature of a body, in base64 or hexadecimal as the settings say."""
        digest = hmac.new(self._webhook_token.encode(), body, hashlib.sha256).digest()
        if self.settings.get("signature") == "hex":
            return digest.hex()
        return base64.b64encode(digest).decode()

    def _tell(self, scan: Scan) -> None:
        if not self._webhook_url:
            return
        body, headers = self.callback(scan)
        try:
            self._webhooks.send(
                self._webhook_url, body, headers, key=scan.tracking_number, operation="callback"
            )
        except asyncio.QueueFull:
            # Three tries and then a queue that nobody empties here: polling is the net.
            self._callbacks_lost += 1

    # Who may call.

    async def _token(self, request: Request, call: Call) -> Response:
        call.key = "token"
        self._spend()
        form = dict(parse_qsl((await request.body()).decode("utf-8", "replace")))
        if form.get("grant_type") != "client_credentials":
            raise VendorRefusal(400, "BAD.REQUEST.ERROR", "grant_type is missing or invalid.")
        project = self._project_of(form.get("client_id", ""), form.get("client_secret", ""))
        if project is None:
            raise VendorRefusal(401, "NOT.AUTHORIZED.ERROR", "The given client is not authorized.")
        seconds = int(self.settings.get("token_seconds", TOKEN_SECONDS))
        return json_response(
            {
                "access_token": project.issue(seconds, self.now()),
                "token_type": "bearer",
                "expires_in": seconds,
                "scope": "CXS",
            }
        )

    def _project_of(self, client_id: str, client_secret: str) -> Tokens | None:
        for prefix, tokens in (("", self._shipping), ("track_", self._tracking)):
            wanted = f"{self.settings.get(f'{prefix}client_id', '')}:"
            wanted += str(self.settings.get(f"{prefix}client_secret", ""))
            given = f"{client_id}:{client_secret}"
            if wanted != ":" and secrets.compare_digest(given.encode(), wanted.encode()):
                return tokens
        return None

    def _authorize(self, request: Request, project: Tokens) -> None:
        if self._blocked_until is not None and self.now() < self._blocked_until:
            raise VendorRefusal(403, "FORBIDDEN.ERROR", "We could not authorize your credentials.")
        self._spend()
        authorization = request.headers.get("authorization", "")
        if project.state(authorization, self.now()) is TokenState.GOOD:
            return
        other = self._tracking if project is self._shipping else self._shipping
        if other.state(authorization, self.now()) is TokenState.GOOD:
            raise VendorRefusal(403, "FORBIDDEN.ERROR", "The product is not in this project.")
        raise VendorRefusal(401, "NOT.AUTHORIZED.ERROR", "Access token expired.")

    def _spend(self) -> None:
        if not self._allowance.spend(self.now()):
            raise VendorRefusal(429, "TOO.MANY.REQUESTS", "Rate limit exceeded.")

    # Shipping.

    async def _create(self, request: Request, call: Call) -> Response:
        self._authorize(request, self._shipping)
        body = await _json_body(request)
        order = read_requested(body, self._accounts)
        index = text(body, "index")
        call.key = index
        if not 1 <= len(index) <= MAX_INDEX:
            raise VendorRefusal(400, "INDEX.INVALID", "Index is missing or too long.")
        known = self._books.find(index, order.account, self.now())
        if known is not None and self.settings.get("second_create", REFUSED) != REPLACES:
            raise VendorRefusal(409, "OPENSHIPMENT.INDEX.EXISTS", "The index is not unique.")
        shipment = self._books.open(index, order, body["requestedShipment"], self.now())
        return self._answer(request, sandbox_answers.created(shipment))

    async def _retrieve(self, request: Request, call: Call) -> Response:
        self._authorize(request, self._shipping)
        shipment = self._opened(await _json_body(request), call)
        shows = self.settings.get("after_confirmation", LABELS)
        if shipment.confirmed_at is None or shows == REQUEST:
            return self._answer(request, sandbox_answers.retrieved(shipment))
        if shows == GONE:
            raise self._no_index()
        return self._answer(request, sandbox_answers.confirmed(shipment))

    async def _confirm(self, request: Request, call: Call) -> Response:
        self._authorize(request, self._shipping)
        body = await _json_body(request)
        shipment = self._opened(body, call)
        if text(body, "labelResponseOptions") not in ("LABEL", "URL_ONLY"):
            raise VendorRefusal(400, "LABELRESPONSEOPTIONS.INVALID", "Say how to get the label.")
        image_type = read_label(body.get("labelSpecification"))
        if shipment.confirmed_at is not None:
            call.effect = False
            shows = self.settings.get("after_confirmation", LABELS)
            if shows == GONE:
                raise self._no_index()
            if shows == LABELS:
                raise VendorRefusal(
                    400, "OPENSHIPMENT.ALREADY.CONFIRMED", "The shipment was confirmed before."
                )
        self._books.confirm(shipment, image_type, self.now())
        return self._answer(request, sandbox_answers.confirmed(shipment))

    async def _cancel(self, request: Request, call: Call) -> Response:
        self._authorize(request, self._shipping)
        body = await _json_body(request)
        account = read_account(body, self._accounts)
        call.key = text(body, "trackingNumber")
        if text(body, "deletionControl") != "DELETE_ALL_PACKAGES":
            raise VendorRefusal(400, "DELETIONCONTROL.INVALID", "DELETE_ALL_PACKAGES is required.")
        shipment = self._books.cancel(call.key, account, self.now())
        call.effect = shipment is not None
        for parcel in shipment.parcels if shipment is not None else []:
            self._tell(parcel.scans[-1])
        return self._answer(request, sandbox_answers.cancelled(shipment is not None))

    def _opened(self, body: Any, call: Call) -> Shipment:
        account = read_account(body, self._accounts)
        call.key = text(body, "index")
        shipment = self._books.find(call.key, account, self.now())
        if shipment is None:
            raise self._no_index()
        return shipment

    def _no_index(self) -> VendorRefusal:
        return VendorRefusal(
            404, "OPENSHIPMENT.INDEX.NOTFOUND", "There is no open shipment of this index."
        )

    # Tracking.

    async def _track(self, request: Request, call: Call) -> Response:
        self._authorize(request, self._tracking)
        body = await _json_body(request)
        wanted = body.get("trackingInfo") if isinstance(body, dict) else None
        if not isinstance(wanted, list) or not 1 <= len(wanted) <= MAX_TRACKED_AT_ONCE:
            raise VendorRefusal(400, "TRACKING.TRACKINGINFO.INVALID", "One to thirty numbers.")
        numbers = [text(entry.get("trackingNumberInfo"), "trackingNumber") for entry in wanted]
        if not all(numbers):
            raise VendorRefusal(400, "TRACKING.TRACKINGNUMBER.EMPTY", "A number is empty.")
        call.key = ",".join(numbers)
        groups = [
            (number, [self._result(number, entry)])
            for number, entry in zip(numbers, wanted, strict=True)
        ]
        return self._answer(request, sandbox_answers.track_output(groups))

    async def _track_reference(self, request: Request, call: Call) -> Response:
        self._authorize(request, self._tracking)
        body = await _json_body(request)
        information = body.get("referencesInformation") if isinstance(body, dict) else None
        call.key = text(information, "value")
        account = text(information, "accountNumber")
        if not call.key or not account or not text(information, "shipDateBegin"):
            raise VendorRefusal(400, "TRACKING.REFERENCEVALUE.EMPTY", "A reference is required.")
        parcels = self._books.tracked_by(call.key, account, self.now())
        groups = [(p.tracking_number, [sandbox_answers.track_result(p)]) for p in parcels]
        if not groups:
            missing = sandbox_answers.not_found(call.key, "TRACKING.REFERENCENUMBER.NOTFOUND")
            groups = [(call.key, [missing])]
        return self._answer(request, sandbox_answers.track_output(groups))

    def _result(self, number: str, asked: Any) -> Any:
        """What is shown of a number, of the ship dates that are asked for."""
        if number in self._shown:
            return f"{SHOWN}{number}"
        parcel = self._books.tracked(number, self.now())
        begins, ends = text(asked, "shipDateBegin"), text(asked, "shipDateEnd")
        shipped = "" if parcel is None else parcel.shipment.opened_at.date().isoformat()
        if parcel is None or shipped < begins or (ends and shipped > ends):
            return sandbox_answers.not_found(number)
        return sandbox_answers.track_result(parcel)

    def _answer(self, request: Request, output: Mapping[str, Any]) -> Response:
        transaction = request.headers.get("x-customer-transaction-id", "")
        body = vendor_json.dumps(sandbox_answers.envelope(output, transaction))
        for number, raw in self._shown.items():
            body = body.replace(f'"{SHOWN}{number}"'.encode(), raw)
        headers = {}
        if self.settings.get("gzip", False):
            # Unasked for, as the vendor does.
            body, headers = gzip.compress(body), {"Content-Encoding": "gzip"}
        return Response(body, headers=headers, media_type="application/json")

    def show(self, number: str, result: bytes) -> None:
        """Track shows this result under the number from now on, whatever it is."""
        self._shown[number] = result

    # Commands of the control port.

    async def _command_show(self, arguments: dict[str, Any]) -> Any:
        """{"tracking_number", "result"}: what Track shows from now on, whatever it is."""
        number = str(arguments["tracking_number"])
        self.show(number, vendor_json.dumps(arguments["result"]))
        return {"tracking_number": number}

    async def _command_handover(self, arguments: dict[str, Any]) -> Any:
        """{"tracking_numbers": [...]}; without numbers all that wait."""
        numbers = arguments.get("tracking_numbers") or self._books.waiting()
        return {"started": self._books.hand_over(numbers, self.now())}

    async def _command_expire_tokens(self, _: dict[str, Any]) -> Any:
        """All tokens end now, as if their time were over."""
        now = self.now()
        return {"expired": self._shipping.end_all(now) + self._tracking.end_all(now)}

    async def _command_portal(self, arguments: dict[str, Any]) -> Any:
        """{"webhook_url", "webhook_token"}: what a customer enters in the portal."""
        self._webhook_url = str(arguments["webhook_url"])
        self._webhook_token = str(arguments["webhook_token"])
        return {"webhook_url": self._webhook_url}

    async def _command_block(self, arguments: dict[str, Any]) -> Any:
        """{"seconds"}: 403 for that long, as after a burst from one address."""
        self._blocked_until = self.now() + timedelta(seconds=float(arguments["seconds"]))
        return {"blocked_until": self._blocked_until}


async def _json_body(request: Request) -> Any:
    try:
        return vendor_json.loads(await request.body())
    except ValueError:
        raise VendorRefusal(400, "JSON.PARSE.ERROR", "The body is not well formed.") from None


SANDBOX = FedexSandbox
