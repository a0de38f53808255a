"""UPS as a faithful, seeded simulator: OAuth, Ship, Void, Label Recovery, Track, Track Alert.

It behaves as the vendor's public documents and captured replies say: token times are strings,
a repeated booking buys a second label, "not found" comes as a success with a warning or as 404,
429 carries code 10429 and no Retry-After. Parcels move by themselves once handed over.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import secrets
import zlib
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

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
from .sandbox_alerts import Subscriptions
from .sandbox_books import Books, Parcel, Scan, Shipment
from .sandbox_journeys import Odds
from .sandbox_ship import (
    RECOVERY_FORMATS,
    VendorRefusal,
    error_body,
    read_label_format,
    read_ship_request,
)

TOKEN_SECONDS = 14_399
CALLS_PER_SECOND = 200
MAX_TRANS_ID = 32
MAX_TRANSACTION_SRC = 512
CALLBACK_USER_AGENT = "UPSPubSubTrackingService"
MAX_VOID_NUMBERS = 20
DEFAULT_PAGE, MAX_PAGE = 50, 200
GATEWAY_STATUSES = (502, 503, 504)


class UpsSandbox(Sandbox):
    """One simulated UPS application with its accounts.

    Settings: client_id, client_secret, accounts (list), negotiated_rates, token_seconds,
    calls_per_second, retry_after_header, auto_handover_seconds (absent: wait for the command),
    scan_interval_seconds, booking_visible_after_seconds, callback_url, callback_credential,
    not_found ("both", "warning", "404") and odds (delay, attempt, clearance_contact,
    missing_status_code, missing_gmt).
    """

    name = "ups"
    other_operations = frozenset({"track_alert"})
    kept = ("_books", "_subscriptions", "_tokens")

    def __init__(self, config: SandboxConfig) -> None:
        super().__init__(config)
        settings = self.settings
        self._pace = Pace.of(settings, "booking_visible_after_seconds")
        odds = Odds(**{name: float(share) for name, share in settings.get("odds", {}).items()})
        self._books = Books(config.seed, self._pace, odds)
        self._subscriptions = Subscriptions()
        self._accounts = [str(account) for account in settings.get("accounts", ["A1B2C3"])]
        self._callback_url = str(settings.get("callback_url", ""))
        self._callback_credential = str(settings.get("callback_credential", ""))
        self._tokens = Tokens()
        rate = float(settings.get("calls_per_second", CALLS_PER_SECOND))
        self._allowance = Allowance(rate, rate, self.now())
        self._alerts_sent = 0
        self._alerts_lost = 0
        self._shown: dict[str, bytes] = {}
        self._untracked: set[str] = set()
        self._without_label: set[str] = set()
        self._names_voided = False
        self._times_named = 0

    def routes(self) -> Sequence[VendorRoute]:
        return [
            VendorRoute("POST", "/security/v1/oauth/token", self._token, "token"),
            VendorRoute("POST", "/api/shipments/{version}/ship", self._ship, "ship", effect=True),
            VendorRoute(
                "DELETE",
                "/api/shipments/{version}/void/cancel/{shipment_id}",
                self._void,
                "void",
                effect=True,
            ),
            VendorRoute("POST", "/api/labels/{version}/recovery", self._recover, "recovery"),
            VendorRoute("GET", "/api/track/v1/details/{inquiry}", self._track, "track"),
            VendorRoute(
                "GET", "/api/track/v1/shipment/details/{inquiry}", self._track_shipment, "track"
            ),
            VendorRoute(
                "GET",
                "/api/track/v1/reference/details/{inquiry}",
                self._track_reference,
                "track_reference",
            ),
            VendorRoute(
                "POST",
                "/api/track/v2/subscription/{kind}/package",
                self._subscribe,
                "subscribe",
                effect=True,
            ),
            VendorRoute(
                "POST",
                "/api/track/v2/subscription/{kind}/account",
                self._subscribe_account,
                "subscribe_account",
                effect=True,
            ),
            VendorRoute(
                "DELETE",
                "/api/track/v2/subscription/{kind}/account",
                self._unsubscribe_account,
                "unsubscribe_account",
                effect=True,
            ),
        ]

    def books(self) -> dict[str, Any]:
        return {
            **self._books.as_json(),
            "subscriptions": self._subscriptions.as_json(),
            "tokens_issued": self._tokens.issued,
            "alerts_sent": self._alerts_sent,
            "alerts_lost": self._alerts_lost,
        }

    def commands(self) -> dict[str, Command]:
        return {
            "handover": self._command_handover,
            "expire_tokens": self._command_expire_tokens,
            "portal": self._command_portal,
            "show": self._command_show,
            "hide": self._command_hide,
            "name_voided": self._command_name_voided,
        }

    def throttled(self, fault: Fault) -> Response:
        headers = {}
        if self.settings.get("retry_after_header", False):
            headers["Retry-After"] = f"{fault.retry_after_seconds:g}"
        return json_response(error_body("10429", "Too Many Requests"), 429, headers)

    def failed(self, fault: Fault) -> Response:
        if fault.status in GATEWAY_STATUSES:
            page = "<html><head><title>Gateway error</title></head><body></body></html>"
            return HTMLResponse(page, status_code=fault.status)
        return json_response(error_body("10500", "Internal Server Error"), fault.status)

    async def tick(self) -> None:
        for scan in self._books.advance(self.now()):
            self._tell(scan)
            if scan.step.kind == "I" and self.fault(FaultKind.UNKNOWN_STATUS, "track_alert"):
                parcel = self._books.parcel(scan.tracking_number)
                assert parcel is not None
                unknown = sandbox_journeys.unknown_step(scan.step.place)
                self._tell(self._books.insert(parcel, unknown, scan.happened_at))

    def _tell(self, scan: Scan) -> None:
        if not self._callback_url or not self._subscriptions.wants(scan):
            return
        scheduled = scan.happened_at + timedelta(days=2)
        headers = {
            "User-Agent": CALLBACK_USER_AGENT,
            "Authorization": f"Bearer {self._callback_credential}",
        }
        body = vendor_json.dumps(sandbox_answers.alert_payload(scan, scheduled))
        try:
            self._webhooks.send(
                self._callback_url,
                body,
                headers,
                key=scan.tracking_number,
                operation="track_alert",
            )
            self._alerts_sent += 1
        except asyncio.QueueFull:
            # The vendor promises nothing: polling is the net.
            self._alerts_lost += 1

    # Who may call.

    async def _token(self, request: Request, call: Call) -> Response:
        call.key = "token"
        self._spend()
        if not self._is_client(request.headers.get("authorization", "")):
            raise VendorRefusal(401, "10401", "ClientId is Invalid")
        form = (await request.body()).decode("utf-8", "replace")
        if "grant_type=client_credentials" not in form.split("&"):
            raise VendorRefusal(400, "10400", "Invalid/Missing Authorization Header or grant type")
        seconds = int(self.settings.get("token_seconds", TOKEN_SECONDS))
        token = self._tokens.issue(seconds, self.now())
        return json_response(
            {
                "token_type": "Bearer",
                "issued_at": str(int(self.now().timestamp() * 1000)),
                "client_id": str(self.settings.get("client_id", "")),
                "access_token": token,
                "scope": "public",
                "expires_in": str(seconds),
                "refresh_count": "0",
                "status": "approved",
            }
        )

    def _is_client(self, header: str) -> bool:
        scheme, _, encoded = header.partition(" ")
        try:
            decoded = base64.b64decode(encoded, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            return False
        wanted = f"{self.settings.get('client_id')}:{self.settings.get('client_secret')}"
        return scheme.lower() == "basic" and secrets.compare_digest(
            decoded.encode(), wanted.encode()
        )

    def _authorize(self, request: Request, needs_transaction: bool = False) -> None:
        self._spend()
        state = self._tokens.state(request.headers.get("authorization", ""), self.now())
        if state is TokenState.UNKNOWN:
            raise VendorRefusal(401, "250002", "Invalid Authentication Information.")
        if state is TokenState.ENDED:
            raise VendorRefusal(401, "251004", "The access token has expired.")
        trans_id = request.headers.get("transid", "")
        source = request.headers.get("transactionsrc", "")
        if needs_transaction and not (trans_id and source):
            raise VendorRefusal(400, "10400", "transId and transactionSrc are required")
        if len(trans_id) > MAX_TRANS_ID or len(source) > MAX_TRANSACTION_SRC:
            raise VendorRefusal(400, "10400", "transId or transactionSrc is too long")

    def _spend(self) -> None:
        """The application's own limit; a real one is unpublished and announces nothing."""
        if not self._allowance.spend(self.now()):
            raise VendorRefusal(429, "10429", "Too Many Requests")

    # Shipping.

    async def _ship(self, request: Request, call: Call) -> Response:
        self._authorize(request)
        order = read_ship_request(await _json_body(request), self._accounts)
        version = request.path_params["version"]
        negotiated = bool(self.settings.get("negotiated_rates", True))
        shipment = self._books.book(order, self.now())
        call.key = next(iter(shipment.reference_values()), "")
        return json_response(sandbox_answers.ship_reply(shipment, version, negotiated))

    async def _void(self, request: Request, call: Call) -> Response:
        self._authorize(request)
        shipment_id = request.path_params["shipment_id"]
        call.key = shipment_id
        numbers = request.query_params.getlist("trackingnumber")
        if len(numbers) > MAX_VOID_NUMBERS:
            raise VendorRefusal(400, "190103", "Too many tracking numbers")
        asked = numbers or [shipment_id]
        before = [self._is_voided(number) for number in asked]
        results = self._books.void(shipment_id, numbers, self.now())
        call.effect = any(results.values()) and not all(before)
        for number, voided in results.items():
            parcel = self._books.parcel(number)
            if voided and parcel is not None and call.effect:
                self._tell(parcel.scans[-1])
        return json_response(sandbox_answers.void_reply(results, request.path_params["version"]))

    def _is_voided(self, number: str) -> bool:
        parcel = self._books.parcel(number)
        return parcel is not None and parcel.voided_at is not None

    async def _recover(self, request: Request, call: Call) -> Response:
        self._authorize(request)
        body = await _json_body(request)
        wanted = body.get("LabelRecoveryRequest") if isinstance(body, dict) else None
        if not isinstance(wanted, dict):
            raise VendorRefusal(400, "300001", "Missing label recovery request")
        if not isinstance(wanted.get("Request"), dict):
            raise VendorRefusal(400, "300002", "Missing request container")
        # Whatever was ordered, the label is drawn as it is asked for here.
        specification = wanted.get("LabelSpecification")
        image_format = "GIF"
        if specification is not None:
            image_format = read_label_format(specification, RECOVERY_FORMATS)
        parcels = self._recoverable(wanted, call)
        if not parcels:
            raise VendorRefusal(404, "300022", "No label was found for this request")
        version = request.path_params["version"]
        if len(parcels) > 1 and "ReferenceValues" in wanted:
            # In no order that anybody may rely on: the other way round each time.
            self._times_named += 1
            named = parcels[::-1] if self._times_named % 2 == 0 else parcels
            return json_response(sandbox_answers.recovery_candidates(named, version))
        return json_response(sandbox_answers.recovery_reply(parcels, version, image_format))

    def _recoverable(self, wanted: dict[str, Any], call: Call) -> list[Parcel]:
        number = wanted.get("TrackingNumber")
        if isinstance(number, str) and number:
            call.key = number
            parcel = self._books.parcel(number)
            if parcel is None or parcel.voided_at is not None or number in self._without_label:
                return []
            return [parcel]
        values = wanted.get("ReferenceValues")
        reference = values.get("ReferenceNumber") if isinstance(values, dict) else None
        value = reference.get("Value") if isinstance(reference, dict) else None
        account = values.get("ShipperNumber") if isinstance(values, dict) else None
        if not isinstance(value, str) or not value or account not in self._accounts:
            raise VendorRefusal(400, "300010", "Tracking number or reference values are needed")
        call.key = value
        return [
            parcel
            for shipment in self._books.by_reference(value, str(account), self.now())
            for parcel in shipment.parcels
            if parcel.voided_at is None or self._names_voided
        ]

    # Tracking.

    async def _track(self, request: Request, call: Call) -> Response:
        self._authorize(request, needs_transaction=True)
        inquiry = self._inquiry(request, call)
        if inquiry in self._shown:
            body = b'{"trackResponse":{"shipment":[{"package":[%s]}]}}' % self._shown[inquiry]
            return Response(body, media_type="application/json")
        parcel = self._books.parcel(inquiry)
        if parcel is None or inquiry in self._untracked:
            return self._nothing(inquiry)
        return json_response(sandbox_answers.track_reply([(inquiry, [parcel])]))

    async def _track_shipment(self, request: Request, call: Call) -> Response:
        self._authorize(request, needs_transaction=True)
        inquiry = self._inquiry(request, call)
        parcel = self._books.parcel(inquiry)
        if parcel is None:
            return self._nothing(inquiry)
        offset = _number(request.query_params.get("offset"), 0)
        count = min(MAX_PAGE, _number(request.query_params.get("count"), DEFAULT_PAGE))
        page = parcel.shipment.parcels[offset : offset + count]
        return json_response(sandbox_answers.track_reply([(inquiry, page)]))

    async def _track_reference(self, request: Request, call: Call) -> Response:
        self._authorize(request, needs_transaction=True)
        value = request.path_params["inquiry"]
        call.key = value
        account = request.query_params.get("shipperNum", "")
        accounts = [account] if account else self._accounts
        found: list[Shipment] = []
        for name in accounts:
            found += self._books.by_reference(value, name, self.now())
        found = [one for one in found if one.shipment_id not in self._untracked]
        if not found:
            return self._nothing(value)
        groups = [(value, shipment.parcels) for shipment in found]
        return json_response(sandbox_answers.track_reply(groups))

    def _inquiry(self, request: Request, call: Call) -> str:
        inquiry = str(request.path_params["inquiry"])
        call.key = inquiry
        if not 7 <= len(inquiry) <= 34:
            raise VendorRefusal(400, "TV1002", "Tracking number is not valid")
        return inquiry

    def _nothing(self, inquiry: str) -> Response:
        style = str(self.settings.get("not_found", "both"))
        as_error = zlib.crc32(inquiry.encode()) % 2 == 0 if style == "both" else style == "404"
        if as_error:
            raise VendorRefusal(404, "TW0001", "Tracking Information Not Found")
        return json_response(sandbox_answers.track_nothing(inquiry))

    # Track Alert.

    async def _subscribe(self, request: Request, call: Call) -> Response:
        self._authorize(request, needs_transaction=True)
        enhanced = self._subscription_kind(request)
        body = await _json_body(request)
        if not isinstance(body, dict) or not body.get("countryCode") or not body.get("locale"):
            raise VendorRefusal(400, "VSS100", "locale and countryCode are needed")
        numbers = body.get("trackingNumberList")
        result = self._subscriptions.add_packages(
            numbers, body.get("eventPreferences"), enhanced, self.now()
        )
        call.key = ",".join(result["validTrackingNumbers"])
        return json_response(result)

    async def _subscribe_account(self, request: Request, call: Call) -> Response:
        self._authorize(request, needs_transaction=True)
        if self._subscription_kind(request):
            raise VendorRefusal(400, "VSS230", "An account is subscribed by the standard type")
        body = await _json_body(request)
        if not isinstance(body, dict) or not body.get("locale"):
            raise VendorRefusal(400, "VSS300", "Locale is required")
        account, subscription_id = self._account_body(body)
        call.key = account
        self._subscriptions.add_account(account, subscription_id, self.now())
        return json_response({"expiryDate": "9999-12-31"})

    async def _unsubscribe_account(self, request: Request, call: Call) -> Response:
        self._authorize(request, needs_transaction=True)
        self._subscription_kind(request)
        account, subscription_id = self._account_body(await _json_body(request))
        call.key = account
        self._subscriptions.remove_account(account, subscription_id)
        return json_response({"shipperAccountNumber": account, "subscriptionId": subscription_id})

    def _subscription_kind(self, request: Request) -> bool:
        kind = request.path_params["kind"]
        if kind not in ("standard", "enhanced"):
            raise VendorRefusal(404, "VSS000", "Unknown subscription type")
        return bool(kind == "enhanced")

    def _account_body(self, body: Any) -> tuple[str, str]:
        account = body.get("shipperAccountNumber") if isinstance(body, dict) else None
        if account not in self._accounts:
            raise VendorRefusal(403, "VSS200", "The account is not allowed for this user")
        return str(account), str(body.get("subscriptionId") or "")

    def show(self, number: str, package: bytes) -> None:
        """Track shows this package under the number from now on, whatever it is."""
        self._shown[number] = package

    # Commands of the control port.

    async def _command_show(self, arguments: dict[str, Any]) -> Any:
        """{"tracking_number", "package"}: what Track shows from now on, whatever it is."""
        number = str(arguments["tracking_number"])
        self.show(number, vendor_json.dumps(arguments["package"]))
        return {"tracking_number": number}

    async def _command_hide(self, arguments: dict[str, Any]) -> Any:
        """{"untracked": [...], "without_label": [...]}: first numbers of shipments that tracking
        does not know (yet), and numbers whose labels recovery does not show; from now on."""
        self._untracked = set(arguments.get("untracked", ()))
        self._without_label = set(arguments.get("without_label", ()))
        return {"untracked": len(self._untracked), "without_label": len(self._without_label)}

    async def _command_name_voided(self, arguments: dict[str, Any]) -> Any:
        """{"named": true}: whether recovery by reference names voided parcels as well."""
        self._names_voided = bool(arguments.get("named", True))
        return {"named": self._names_voided}

    async def _command_handover(self, arguments: dict[str, Any]) -> Any:
        """{"tracking_numbers": [...], "even_voided": false}; without numbers all that wait."""
        numbers = arguments.get("tracking_numbers") or self._books.waiting()
        even_voided = bool(arguments.get("even_voided", False))
        return {"started": self._books.hand_over(numbers, self.now(), even_voided)}

    async def _command_expire_tokens(self, _: dict[str, Any]) -> Any:
        """All tokens end now, as if their time were over."""
        return {"expired": self._tokens.end_all(self.now())}

    async def _command_portal(self, arguments: dict[str, Any]) -> Any:
        """{"callback_url", "callback_credential"}: what a customer enters in the portal."""
        self._callback_url = str(arguments["callback_url"])
        self._callback_credential = str(arguments["callback_credential"])
        return {"callback_url": self._callback_url}


async def _json_body(request: Request) -> Any:
    try:
        return vendor_json.loads(await request.body())
    except ValueError:
        raise VendorRefusal(400, "10002", "The body is not well formed JSON") from None


def _number(text: str | None, default: int) -> int:
    return int(text) if text is not None and text.isdigit() else default


SANDBOX = UpsSandbox
