"""GLS as a faithful, seeded simulator: OAuth2, ShipIT, Track & Trace.

It behaves as the vendor's descriptions say: ShipIT takes and gives its own media type alone, a
repeated request makes a second shipment, a cancellation may be pending or too late, tracking has a
quota by day, answers for each parcel by itself and writes offsets without a colon. The gateway
before it speaks in faults of its own.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response

from crossdock_adapters.sdk import vendor_json
from crossdock_adapters.sdk.auth import basic_credentials
from crossdock_adapters.sdk.faults import Fault, FaultKind
from crossdock_adapters.sdk.sandbox import (
    Call,
    Command,
    SandboxConfig,
    VendorError,
    VendorRoute,
    json_response,
)
from crossdock_adapters.sdk.sandbox_access import Tokens, TokenState
from crossdock_adapters.sdk.sandbox_label_images import draw
from crossdock_adapters.sdk.sandbox_misbehaving import Misbehaving
from crossdock_adapters.sdk.sandbox_parcels import Pace

from .sandbox_books import (
    ENDINGS,
    FORMATS,
    LOCAL,
    REPRINT_TEMPLATES,
    UNKNOWN_STATUS,
    Books,
    Parcel,
    ShipitRefusal,
    Step,
    VendorRefusal,
    fixed_parcel,
    read_order,
    read_printing,
)

TOKEN_SECONDS = 3600
QUOTA_PER_DAY = 500
MAX_TRACKED_AT_ONCE = 10
SHIPIT_TYPE = "application/glsVersion1+json"
SHIPMENTS = "/shipit-farm/v1/backend/rs/shipments"
TRACKING = "/track-and-trace-v1/tracking/simple"
GATEWAY_STATUSES = (502, 503, 504)
QUOTA = ("Rate limit quota violation.", "policies.ratelimit.QuotaViolation")


class GlsSandbox(Misbehaving):
    """One simulated application with its contact ids.

    Settings: client_id, client_secret, contacts (list), quota_per_day (of tracking),
    token_seconds, auto_handover_seconds (absent: wait for the command), scan_interval_seconds,
    tracked_after_seconds, field_names (this installation's names), retry_after_header,
    refuses_second_cancel (400 to one of a cancelled parcel), refused_numbers, failing_numbers
    (lists: a call of tracking with one of them is refused as a whole, or answered 500).

    Misbehaviours: pending_cancel (not decided yet, done when asked again), silent_cancel (done, and
    called ERROR), shop, not_collected and final (how the next parcels end), one_sheet (all labels
    in one document), no_units (answers without ShipmentUnitReference), half_search (the search
    shows one parcel alone), no_reprint, quota (tracking's quota is spent).
    """

    name = "gls"
    kept = ("_books", "_calls_today", "_closed_days", "_misbehaves")
    misbehaviours = frozenset(
        {"pending_cancel", "silent_cancel", "shop", "not_collected", "final", "one_sheet",
         "no_units", "half_search", "no_reprint", "quota"}
    )  # fmt: skip

    def __init__(self, config: SandboxConfig) -> None:
        super().__init__(config)
        settings = self.settings
        self._books = Books(config.seed, Pace.of(settings))
        self._contacts = [str(each) for each in settings.get("contacts", ["2760000000"])]
        self._names = {str(k): str(v) for k, v in settings.get("field_names", {}).items()}
        self._quota = int(settings.get("quota_per_day", QUOTA_PER_DAY))
        self._refused = {str(each) for each in settings.get("refused_numbers", [])}
        self._failing = {str(each) for each in settings.get("failing_numbers", [])}
        self._calls_today: dict[date, int] = {}
        self._closed_days: list[str] = []
        self._tokens = Tokens()
        self._shown: dict[str, bytes] = {}

    def routes(self) -> Sequence[VendorRoute]:
        one = f"{SHIPMENTS}/cancel/{{track_id}}"
        return [
            VendorRoute("POST", "/oauth2/v2/token", self._token, "token"),
            VendorRoute("POST", SHIPMENTS, self._create, "create", effect=True),
            VendorRoute("POST", f"{SHIPMENTS}/reprintparcel", self._reprint, "reprint"),
            VendorRoute("POST", one, self._cancel, "cancel", effect=True),
            VendorRoute(
                "POST", f"{SHIPMENTS}/endofday", self._end_of_day, "end_of_day", effect=True
            ),
            VendorRoute("GET", f"{TRACKING}/trackids/{{numbers}}", self._track, "track"),
            VendorRoute("GET", f"{TRACKING}/references/{{references}}", self._search, "search"),
        ]

    def books(self) -> dict[str, Any]:
        return {
            **self._books.as_json(),
            "closed_days": self._closed_days,
            "tokens_issued": self._tokens.issued,
        }

    def commands(self) -> dict[str, Command]:
        return {
            **super().commands(),
            "handover": self._command_handover,
            "expire_tokens": self._command_expire_tokens,
            "show": self._command_show,
        }

    def throttled(self, fault: Fault) -> Response:
        headers = {}
        if self.settings.get("retry_after_header", False):
            headers["Retry-After"] = f"{fault.retry_after_seconds:g}"
        return json_response(_fault(*QUOTA), 429, headers)

    def refused(self, error: VendorError) -> Response:
        if isinstance(error.body, str):
            return PlainTextResponse(error.body, error.status)
        if error.body is None:
            return Response(b"", error.status, error.headers)
        return super().refused(error)

    def failed(self, fault: Fault) -> Response:
        if fault.status in GATEWAY_STATUSES:
            return HTMLResponse("<html><body>Gateway error</body></html>", fault.status)
        problem = VendorRefusal(fault.status, "Internal Server Error", "An unexpected error.")
        return json_response(problem.body, fault.status)

    async def tick(self) -> None:
        for parcel, step in self._books.advance(self.now(), self._ending()):
            if step.status == "INWAREHOUSE" and self.fault(FaultKind.UNKNOWN_STATUS, "track"):
                strange = Step(UNKNOWN_STATUS, "DRONE.NORMAL", "The parcel was handed to a drone.")
                parcel.events.append((self.now(), strange))

    def show(self, number: str, body: bytes) -> None:
        """Tracking answers with this whenever it is asked about the number, whatever it is."""
        self._shown[number] = body

    # Who may call, and how.

    async def _token(self, request: Request, call: Call) -> Response:
        call.key = "token"
        form = dict(parse_qsl((await request.body()).decode("utf-8", "replace")))
        if form.get("grant_type") != "client_credentials":
            raise _fault_of(400, "Unsupported grant type", "oauth.v2.UnSupportedGrantType")
        names = (str(self.settings.get(name, "")) for name in ("client_id", "client_secret"))
        client_id, client_secret = names
        wanted = basic_credentials(client_id, client_secret)
        given = request.headers.get("authorization", "")
        # Without credentials of its own it admits nobody.
        if not client_id or not secrets.compare_digest(given.encode(), wanted.encode()):
            raise VendorError(401, {"error": "invalid_client", "error_description": "No client"})
        seconds = int(self.settings.get("token_seconds", TOKEN_SECONDS))
        return json_response(
            {
                "access_token": self._tokens.issue(seconds, self.now()),
                "token_type": "Bearer",
                "expires_in": seconds,
            }
        )

    def _authorize(self, request: Request) -> None:
        state = self._tokens.state(request.headers.get("authorization", ""), self.now())
        if state is TokenState.ENDED:
            code = "keymanagement.service.access_token_expired"
            raise _fault_of(401, "Access Token expired", code)
        if state is TokenState.UNKNOWN:
            raise _fault_of(401, "Invalid Access Token", "oauth.v2.InvalidAccessToken")

    async def _shipit(self, request: Request) -> dict[str, Any]:
        """The object that a call to ShipIT sends, in its media type."""
        self._authorize(request)
        if request.headers.get("accept") != SHIPIT_TYPE:
            raise VendorRefusal(406, "Not Acceptable", "The media type is not available.")
        if request.headers.get("content-type") != SHIPIT_TYPE:
            raise VendorRefusal(415, "Unsupported Media Type", "The media type is not read.")
        try:
            body = vendor_json.loads(await request.body())
        except (ValueError, RecursionError):
            body = None
        if not isinstance(body, dict):
            # The text of its JSON reader is all that it says.
            raise VendorError(400, "com.fasterxml.jackson.core.JsonParseException: no object")
        return body

    def _spend(self) -> None:
        """The day's quota of tracking."""
        today = self.now().date()
        self._calls_today = {today: self._calls_today.get(today, 0) + 1}
        if self._calls_today[today] > self._quota or self.struck("quota"):
            raise _fault_of(429, *QUOTA)

    # Shipping.

    async def _create(self, request: Request, call: Call) -> Response:
        body = await self._shipit(request)
        order = read_order(body, self._contacts, self._names, self.now().astimezone(LOCAL).date())
        call.key = next(iter(order.references), "")
        return self._made(self._books.create(order, self.now()))

    async def _reprint(self, request: Request, call: Call) -> Response:
        body = await self._shipit(request)
        unit = str(body.get("ShipmentUnitReference") or "")
        call.key = str(body.get("TrackID") or body.get("ParcelNumber") or unit)
        parcel = self._books.of_unit(unit) if call.key == unit else self._books.parcel(call.key)
        _, label_format = read_printing(body, REPRINT_TEMPLATES)
        if parcel is None or parcel.cancelled or self.misbehaves("no_reprint"):
            said = f"No shipment unit found for parcel identifier(s) {call.key}"
            raise ShipitRefusal("INVALID_SHIPMENT_ID", said, call.key)
        if body.get("CreationDate") != f"{parcel.made_at.astimezone(LOCAL):%Y-%m-%d}":
            said = f"No shipment unit found for {call.key} of this date"
            raise ShipitRefusal("INVALID_SHIPMENT_ID", said, call.key)
        return self._made([parcel], label_format)

    async def _cancel(self, request: Request, call: Call) -> Response:
        await self._shipit(request)
        call.key = request.path_params["track_id"]
        parcel = self._books.parcel(call.key)
        if parcel is None or parcel.track_id != call.key:
            said = f"Invalid field TrackID. Value {call.key} is not a valid value."
            raise ShipitRefusal("INVALID_FIELD_VALUE", said, "TrackID", call.key)
        call.effect = False
        result = "CANCELLED"
        if parcel.cancelled and self.settings.get("refuses_second_cancel", False):
            raise ShipitRefusal("INVALID_FIELD_VALUE", f"{call.key} is cancelled already.")
        if parcel.handed_over:
            result = "SCANNED"
        elif self.struck("pending_cancel"):
            result = "CANCELLATION_PENDING"
        elif not parcel.cancelled:
            self._books.cancel(parcel, self.now())
            call.effect = True
        if self.struck("silent_cancel"):
            result = "ERROR"
        return _shipit_response({"TrackID": parcel.track_id, "Result": result})

    async def _end_of_day(self, request: Request, call: Call) -> Response:
        await self._shipit(request)
        call.key = request.query_params.get("date", "")
        try:
            date.fromisoformat(call.key)
        except ValueError:
            raise ShipitRefusal("INVALID_FIELD_VALUE", "date is no date", "date") from None
        call.effect = call.key not in self._closed_days
        if call.effect:
            self._closed_days.append(call.key)
        return _shipit_response({"Shipments": []})

    def _made(self, parcels: Sequence[Parcel], label_format: str = "") -> Response:
        order = parcels[0].order
        told = label_format or order.label_format
        sheets = [_sheet(parcel, told) for parcel in parcels]
        if self.misbehaves("one_sheet"):
            sheets = [b"\n".join(sheets)]
        data = [base64.b64encode(sheet).decode() for sheet in sheets]
        return _shipit_response(
            {
                "CreatedShipment": {
                    "ShipmentReference": list(order.references),
                    "CustomerID": order.contact,
                    "PickupLocation": "DE200",
                    "Gdpr": [],
                    "ParcelData": [self._parcel(parcel) for parcel in parcels],
                    "PrintData": [{"Data": data, "LabelFormat": told}],
                }
            }
        )

    def _parcel(self, parcel: Parcel) -> dict[str, Any]:
        units = {} if self.misbehaves("no_units") else {
            "ShipmentUnitReference": list(parcel.unit.references)
        }  # fmt: skip
        return {
            "TrackID": parcel.track_id,
            "ParcelNumber": parcel.number,
            **units,
            "Barcodes": {"Primary2D": parcel.number, "Primary1D": parcel.track_id},
            "RoutingInfo": {"Tour": "1201", "FinalLocationCode": "DE610"},
        }

    # Tracking.

    async def _track(self, request: Request, call: Call) -> Response:
        self._authorize(request)
        self._spend()
        call.key = request.path_params["numbers"]
        numbers = call.key.split(",")
        if not self._refused.isdisjoint(numbers):
            raise VendorRefusal(400, "Bad Request", "The request cannot be read.")
        if not self._failing.isdisjoint(numbers):
            raise VendorRefusal(500, "Internal Server Error", "An unexpected error.")
        shown = next((self._shown[number] for number in numbers if number in self._shown), None)
        if shown is not None:
            return Response(shown, media_type="application/json")
        parcels = []
        for position, number in enumerate(numbers):
            found = self._books.parcel(number)
            if position >= MAX_TRACKED_AT_ONCE:
                parcels.append(_parcel_error(number, "E_400_02", "Too many parcels"))
            elif (fixed := fixed_parcel(number)) is not None:
                parcels.append(fixed)
            elif found is None or not self._is_tracked(found):
                parcels.append(_parcel_error(number, "E_404_01", "Resource Not Found"))
            else:
                parcels.append(found.shown(number))
        return json_response({"parcels": parcels})

    async def _search(self, request: Request, call: Call) -> Response:
        self._authorize(request)
        self._spend()
        call.key = request.path_params["references"]
        parcels: list[dict[str, Any]] = []
        for reference in call.key.split(","):
            found = [each for each in self._books.search(reference) if self._is_tracked(each)]
            if self.misbehaves("half_search"):
                found = found[:1]
            parcels += [parcel.shown(reference) for parcel in found]
            if not found:
                parcels.append(_parcel_error(reference, "E_404_01", "Resource Not Found"))
        return json_response({"parcels": parcels})

    def _is_tracked(self, parcel: Parcel) -> bool:
        """Tracking hears of a parcel some time after ShipIT made it."""
        age = (self.now() - parcel.made_at).total_seconds()
        return age >= float(self.settings.get("tracked_after_seconds", 0.0))

    def _ending(self) -> str:
        """How the next parcel ends."""
        return next((kind for kind in ENDINGS if self.misbehaves(kind)), "door")

    # Commands of the control port.

    async def _command_handover(self, arguments: dict[str, Any]) -> Any:
        """{"tracking_numbers": [...]}; without numbers all that wait."""
        numbers = arguments.get("tracking_numbers") or self._books.waiting()
        return {"started": self._books.hand_over(numbers, self.now(), self._ending())}

    async def _command_expire_tokens(self, _: dict[str, Any]) -> Any:
        """All tokens end now, as if their time were over."""
        return {"expired": self._tokens.end_all(self.now())}

    async def _command_show(self, arguments: dict[str, Any]) -> Any:
        """{"tracking_number", "body"}: what tracking answers from now on, whatever it is."""
        number = str(arguments["tracking_number"])
        self.show(number, str(arguments["body"]).encode())
        return {"tracking_number": number}


def _sheet(parcel: Parcel, label_format: str) -> bytes:
    order = parcel.order
    return draw(FORMATS[label_format], "GLS", parcel.track_id, order.name, order.product)


def _shipit_response(body: Mapping[str, Any]) -> Response:
    return Response(vendor_json.dumps(dict(body)), media_type=SHIPIT_TYPE)


def _parcel_error(requested: str, code: str, message: str) -> dict[str, Any]:
    return {"requested": requested, "errorCode": code, "errorMessage": message}


def _fault(text: str, code: str) -> dict[str, Any]:
    return {"fault": {"faultstring": text, "detail": {"errorcode": code}}}


def _fault_of(status: int, text: str, code: str) -> VendorError:
    return VendorError(status, _fault(text, code))


SANDBOX = GlsSandbox
