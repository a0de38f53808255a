"""Canada Post as a faithful, seeded simulator: shipments, labels, groups, manifests, tracking.

It behaves as the vendor's public documents say: a media type that is not the service's is refused,
a repeated request makes a second shipment, a void comes after a transmission as 8064, a second
refund as 7292, too many calls are "Rejected by SLM Monitor" without a Retry-After, tracking knows
nothing ("004") before the first scan, and identifiers of events have zeros in front or have not.
"""

from __future__ import annotations

import base64
import binascii
import re
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from crossdock_adapters.sdk.faults import Fault, FaultKind
from crossdock_adapters.sdk.sandbox import (
    Call,
    Command,
    Sandbox,
    SandboxConfig,
    VendorError,
    VendorRoute,
)
from crossdock_adapters.sdk.sandbox_access import Allowance
from crossdock_adapters.sdk.sandbox_parcels import Pace

from . import sandbox_documents, sandbox_journeys, sandbox_labels
from .sandbox_books import CREATED, Books, Parcel
from .sandbox_documents import (
    MANIFEST_NAMESPACE,
    MANIFEST_TYPE,
    MEDIA_TYPES,
    SHIPMENT_NAMESPACE,
    SHIPMENT_TYPE,
    TAX,
    TRACK_TYPE,
    VendorRefusal,
)
from .sandbox_journeys import Odds

CALLS_PER_SECOND = 50
LANGUAGES = ("en-CA", "fr-CA")
GATEWAY_STATUSES = (502, 503, 504)
THROTTLED = ("Server", "Rejected by SLM Monitor")
SHIPPING = "/rs/{mailed_by}/{mobo}"


class CanadaPostSandbox(Sandbox):
    """One simulated API key with its customer numbers.

    Settings: api_user, api_password, customers (list), calls_per_second, retry_after_header,
    auto_handover_seconds (absent: wait for the command), scan_interval_seconds,
    booking_visible_after_seconds, label_ready_after_seconds, search_finds_none ("empty", "404")
    and odds (delay, collection).
    """

    name = "canada-post"
    kept = ("_books",)

    def __init__(self, config: SandboxConfig) -> None:
        super().__init__(config)
        settings = self.settings
        pace = Pace.of(settings, "booking_visible_after_seconds")
        odds = Odds(**{name: float(share) for name, share in settings.get("odds", {}).items()})
        ready = float(settings.get("label_ready_after_seconds", 0.0))
        self._books = Books(config.seed, pace, odds, ready)
        self._customers = [str(each) for each in settings.get("customers", ["0008880001"])]
        rate = float(settings.get("calls_per_second", CALLS_PER_SECOND))
        self._allowance = Allowance(rate, rate, self.now())
        self._shown: dict[str, bytes] = {}

    def routes(self) -> Sequence[VendorRoute]:
        shipment = f"{SHIPPING}/shipment"
        one = f"{shipment}/{{shipment_id}}"
        return [
            VendorRoute("POST", shipment, self._create, "create", effect=True),
            VendorRoute("GET", shipment, self._search, "search"),
            VendorRoute("GET", one, self._get, "get"),
            VendorRoute("DELETE", one, self._void, "void", effect=True),
            VendorRoute("GET", f"{one}/price", self._price, "price"),
            VendorRoute("POST", f"{one}/refund", self._refund, "refund", effect=True),
            VendorRoute("GET", f"{SHIPPING}/group", self._groups, "groups"),
            VendorRoute("POST", f"{SHIPPING}/manifest", self._transmit, "transmit", effect=True),
            VendorRoute("GET", f"{SHIPPING}/manifest", self._manifests, "manifests"),
            VendorRoute("GET", f"{SHIPPING}/manifest/{{number}}", self._manifest, "manifest"),
            VendorRoute("GET", "/rs/artifact/{shipment_id}/{page}", self._artifact, "artifact"),
            VendorRoute("GET", "/vis/track/pin/{pin}/detail", self._track, "track"),
        ]

    def books(self) -> dict[str, Any]:
        return self._books.as_json()

    def commands(self) -> dict[str, Command]:
        return {
            "handover": self._command_handover,
            "transmit": self._command_transmit,
            "show": self._command_show,
        }

    def refused(self, error: VendorError) -> Response:
        return Response(error.body, error.status, error.headers, media_type="application/xml")

    def throttled(self, fault: Fault) -> Response:
        headers = {}
        if self.settings.get("retry_after_header", False):
            headers["Retry-After"] = f"{fault.retry_after_seconds:g}"
        body = sandbox_documents.messages(*THROTTLED)
        return Response(body, 500, headers, media_type="application/xml")

    def failed(self, fault: Fault) -> Response:
        if fault.status in GATEWAY_STATUSES:
            page = "<html><head><title>Gateway error</title></head><body></body></html>"
            return HTMLResponse(page, status_code=fault.status)
        body = sandbox_documents.messages("Server", "Failed to establish a backside connection")
        return Response(body, fault.status, media_type="application/xml")

    async def tick(self) -> None:
        for parcel, step in self._books.advance(self.now()):
            if not step.delivers and self.fault(FaultKind.UNKNOWN_STATUS, "track"):
                parcel.scans.append((self.now(), sandbox_journeys.unknown_step(step)))

    def show(self, pin: str, body: bytes) -> None:
        """Tracking answers with this about the parcel from now on, whatever it is."""
        self._shown[pin] = body

    # Who may call, and how.

    def _admit(self, request: Request, media_type: str, *, sends: bool = False) -> None:
        self._spend()
        if not self._is_key(request.headers.get("authorization", "")):
            raise VendorRefusal(401, "E002", "AAA Authentication Failure")
        numbers = [request.path_params.get(name, "") for name in ("mailed_by", "mobo")]
        if numbers[0] and numbers[0] not in self._customers:
            raise VendorRefusal(403, "AA003", "The API key does not match the mailed-by customer")
        if numbers[1] and numbers[1] not in self._customers:
            raise VendorRefusal(403, "AA004", "You cannot mail on behalf of the requested customer")
        if request.headers.get("accept") != media_type:
            raise VendorRefusal(406)
        if sends and request.headers.get("content-type") != media_type:
            raise VendorRefusal(415)
        if request.headers.get("accept-language") not in LANGUAGES:
            raise VendorRefusal(406)

    def _is_key(self, header: str) -> bool:
        scheme, _, encoded = header.partition(" ")
        try:
            given = base64.b64decode(encoded, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            return False
        user, password = (str(self.settings.get(name, "")) for name in ("api_user", "api_password"))
        wanted = f"{user}:{password}"
        # Without a key of its own it admits nobody.
        return (
            bool(user and password)
            and scheme == "Basic"
            and secrets.compare_digest(given.encode(), wanted.encode())
        )

    def _spend(self) -> None:
        """The key's own limit; how high a real one is, is agreed with the vendor."""
        if not self._allowance.spend(self.now()):
            raise VendorRefusal(500, *THROTTLED)

    # Shipments.

    async def _create(self, request: Request, call: Call) -> Response:
        self._admit(request, SHIPMENT_TYPE, sends=True)
        body = await request.body()
        root = sandbox_documents.read_document(body, "shipment", SHIPMENT_NAMESPACE)
        order = sandbox_documents.read_shipment(root, self._customers)
        call.key = order.request_id
        parcel = self._books.create(order, self.now())
        return self._info(request, parcel, with_price=order.wants_price)

    async def _search(self, request: Request, call: Call) -> Response:
        self._admit(request, SHIPMENT_TYPE)
        wanted = {
            "request_id": request.query_params.get("requestId", ""),
            "pin": request.query_params.get("trackingPIN", ""),
            "group": request.query_params.get("groupId", ""),
        }
        call.key = next(filter(None, wanted.values()), "")
        if not call.key:
            raise VendorRefusal(400, "9105", "Required query parameter not provided")
        found = self._books.search(self.now(), **wanted)
        if not found and self.settings.get("search_finds_none", "empty") == "404":
            raise VendorRefusal(404)
        links = [self._link(request, parcel, "shipment") for parcel in found]
        body = sandbox_documents.with_links(
            "shipments", {}, links, SHIPMENT_NAMESPACE, wrapped=False
        )
        return Response(body, media_type=SHIPMENT_TYPE)

    async def _get(self, request: Request, call: Call) -> Response:
        self._admit(request, SHIPMENT_TYPE)
        call.key = request.path_params["shipment_id"]
        return self._info(request, self._books.shipment(call.key), with_price=False)

    async def _void(self, request: Request, call: Call) -> Response:
        self._admit(request, SHIPMENT_TYPE)
        call.key = request.path_params["shipment_id"]
        self._books.void(call.key, self.now())
        return Response(status_code=204)

    async def _price(self, request: Request, call: Call) -> Response:
        self._admit(request, SHIPMENT_TYPE)
        call.key = request.path_params["shipment_id"]
        content = _price(self._books.shipment(call.key))
        body = sandbox_documents.document("shipment-price", content, SHIPMENT_NAMESPACE)
        return Response(body, media_type=SHIPMENT_TYPE)

    async def _refund(self, request: Request, call: Call) -> Response:
        self._admit(request, SHIPMENT_TYPE, sends=True)
        call.key = request.path_params["shipment_id"]
        body = await request.body()
        root = sandbox_documents.read_document(body, "shipment-refund-request", SHIPMENT_NAMESPACE)
        if "@" not in root.text_of("email"):
            raise VendorRefusal(500, "Server", "cvc-simple-type 1: element email value is invalid")
        content = {
            "service-ticket-date": f"{self.now():%Y-%m-%d}",
            "service-ticket-id": self._books.refund(call.key),
        }
        name = "shipment-refund-request-info"
        answer = sandbox_documents.document(name, content, SHIPMENT_NAMESPACE)
        return Response(answer, media_type=SHIPMENT_TYPE)

    async def _artifact(self, request: Request, call: Call) -> Response:
        parcel = self._books.shipment(request.path_params["shipment_id"])
        call.key = parcel.shipment_id
        order = parcel.order
        self._admit(request, MEDIA_TYPES[order.encoding])
        if not self._books.label_ready(parcel, self.now()):
            return Response(status_code=202)
        label = sandbox_labels.draw(
            order.encoding, order.output_format, parcel.pin, order.name, order.service
        )
        return Response(label, media_type=MEDIA_TYPES[order.encoding])

    # Groups and manifests.

    async def _groups(self, request: Request, call: Call) -> Response:
        self._admit(request, SHIPMENT_TYPE)
        call.key = "groups"
        groups = [{"group-id": group} for group in self._books.groups()]
        body = sandbox_documents.document("groups", {"group": groups}, SHIPMENT_NAMESPACE)
        return Response(body, media_type=SHIPMENT_TYPE)

    async def _transmit(self, request: Request, call: Call) -> Response:
        self._admit(request, MANIFEST_TYPE, sends=True)
        body = await request.body()
        root = sandbox_documents.read_document(body, "transmit-set", MANIFEST_NAMESPACE)
        groups, excluded = sandbox_documents.read_transmission(root)
        call.key = ",".join(groups)
        return self._listed(request, [self._books.transmit(groups, excluded)])

    async def _manifests(self, request: Request, call: Call) -> Response:
        """All of them, whatever the day: this world is a few minutes old."""
        self._admit(request, MANIFEST_TYPE)
        call.key = request.query_params.get("start", "")
        if re.fullmatch(r"\d{8}", call.key) is None:
            raise VendorRefusal(400, "9105", "Required query parameter not provided")
        return self._listed(request, self._books.manifests())

    def _listed(self, request: Request, numbers: Sequence[str]) -> Response:
        place = f"{_shipping(request)}/manifest"
        links = [
            {
                "rel": "manifest",
                "href": self._url_of(request, f"{place}/{number}"),
                "media-type": MANIFEST_TYPE,
            }
            for number in numbers
        ]
        body = sandbox_documents.with_links(
            "manifests", {}, links, MANIFEST_NAMESPACE, wrapped=False
        )
        return Response(body, media_type=MANIFEST_TYPE)

    async def _manifest(self, request: Request, call: Call) -> Response:
        self._admit(request, MANIFEST_TYPE)
        call.key = request.path_params["number"]
        self._books.manifest(call.key)
        link = {"rel": "self", "href": str(request.url), "media-type": MANIFEST_TYPE}
        content = {"po-number": call.key}
        body = sandbox_documents.with_links("manifest", content, [link], MANIFEST_NAMESPACE)
        return Response(body, media_type=MANIFEST_TYPE)

    # Tracking.

    async def _track(self, request: Request, call: Call) -> Response:
        self._admit(request, TRACK_TYPE)
        call.key = request.path_params["pin"]
        if call.key in self._shown:
            return Response(self._shown[call.key], media_type=TRACK_TYPE)
        parcel = self._books.by_pin(call.key)
        if parcel is None or not parcel.scans:
            raise VendorRefusal(404, "004", "No Pin History")
        parcel.asked += 1
        body = sandbox_journeys.detail(
            parcel.pin, parcel.scans, parcel.order, padded=parcel.asked % 2 == 0
        )
        return Response(body, media_type=TRACK_TYPE)

    def _info(self, request: Request, parcel: Parcel, *, with_price: bool) -> Response:
        content: dict[str, Any] = {
            "customer-request-id": parcel.order.request_id or None,
            "shipment-id": parcel.shipment_id,
            "shipment-status": parcel.status,
            "tracking-pin": parcel.pin,
            "po-number": parcel.manifest or None,
        }
        if with_price:
            content["shipment-price"] = _price(parcel)
        links = [
            self._link(request, parcel, "self"),
            self._link(request, parcel, "price", "/price"),
            {
                "rel": "label",
                "href": self._url_of(request, f"/rs/artifact/{parcel.shipment_id}/0"),
                "media-type": MEDIA_TYPES[parcel.order.encoding],
                "index": "0",
            },
        ]
        if parcel.status == CREATED:
            links.append(self._link(request, parcel, "group"))
        elif not parcel.refund_ticket:
            links.append(self._link(request, parcel, "refund", "/refund"))
        body = sandbox_documents.with_links("shipment-info", content, links, SHIPMENT_NAMESPACE)
        return Response(body, media_type=SHIPMENT_TYPE)

    def _link(self, request: Request, parcel: Parcel, rel: str, path: str = "") -> dict[str, str]:
        place = f"{_shipping(request)}/shipment/{parcel.shipment_id}{path}"
        return {"rel": rel, "href": self._url_of(request, place), "media-type": SHIPMENT_TYPE}

    def _url_of(self, request: Request, path: str) -> str:
        return f"{request.url.scheme}://{request.url.netloc}{path}"

    # Commands of the control port.

    async def _command_handover(self, arguments: dict[str, Any]) -> Any:
        """{"tracking_numbers": [...], "even_voided": false}; without numbers all that wait."""
        pins = arguments.get("tracking_numbers") or self._books.waiting()
        voided_too = bool(arguments.get("even_voided", False))
        return {"started": self._books.hand_over(pins, self.now(), voided_too=voided_too)}

    async def _command_transmit(self, arguments: dict[str, Any]) -> Any:
        """{"groups": [...]}: as if somebody closed the day; without groups all that wait."""
        return {"manifest": self._books.transmit(arguments.get("groups") or self._books.groups())}

    async def _command_show(self, arguments: dict[str, Any]) -> Any:
        """{"tracking_number", "body"}: what tracking answers from now on, whatever it is."""
        pin = str(arguments["tracking_number"])
        self.show(pin, str(arguments["body"]).encode())
        return {"tracking_number": pin}


def _shipping(request: Request) -> str:
    return f"/rs/{request.path_params['mailed_by']}/{request.path_params['mobo']}"


def _price(parcel: Parcel) -> Mapping[str, Any]:
    base = parcel.order.price()
    tax = (base * TAX).quantize(sandbox_documents.CENT)
    return {
        "service-code": parcel.order.service,
        "base-amount": base,
        "pre-tax-amount": base,
        "gst-amount": "0.00",
        "pst-amount": "0.00",
        "hst-amount": tax,
        "due-amount": base + tax,
        "service-standard": {"am-delivery": False, "guaranteed-delivery": True},
        "rated-weight": parcel.order.weight,
    }


SANDBOX = CanadaPostSandbox
