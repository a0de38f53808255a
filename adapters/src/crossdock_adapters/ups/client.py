"""The UPS REST protocol: OAuth, Ship, Void, Label Recovery, Track, Track Alert; no orders here.

What an error means is a row of `errors.toml`. A time-out or an unreadable body after a call with
an effect is an unknown outcome, because UPS documents no idempotency key and a repeated booking
buys a second label.
"""

from __future__ import annotations

import base64
import binascii
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any
from urllib.parse import quote

from crossdock_adapters.sdk.auth import Token, TokenCache, basic_credentials
from crossdock_adapters.sdk.carrier_labels import LabelImage, number_in
from crossdock_adapters.sdk.error_table import ErrorTable, Word
from crossdock_adapters.sdk.http import Answer, VendorHttp
from crossdock_adapters.sdk.outcomes import OutcomeUnknown, Retry, VendorOutcome
from crossdock_adapters.sdk.settings import Secrets, Settings

TOKEN_PATH = "/security/v1/oauth/token"
ERRORS = ErrorTable.load(__package__)
NOT_FOUND_CODE = "TW0001"
MAX_SUBSCRIBED_NUMBERS = 100
MAX_LABELS_PER_REFERENCE = 50
MAX_REMEMBERED_ADOPTIONS = 1_000


@dataclass(frozen=True, slots=True)
class Booking:
    """What one ship call sold. `amount` is what the account pays: negotiated when UPS said so."""

    shipment_number: str
    labels: tuple[LabelImage, ...]
    amount: Decimal | None
    currency: str
    alerts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class VoidResult:
    """Per tracking number whether it is void now; true also when it was void before."""

    voided: Mapping[str, bool]


class UpsClient:
    """One UPS application (client id) and its shipper account."""

    def __init__(self, settings: Settings, secrets: Secrets) -> None:
        self._settings = settings
        self._secrets = secrets
        self._http = VendorHttp.of(settings)
        self._tokens = TokenCache(self._fetch_token)
        self._subscribed_accounts: set[str] = set()
        self._adopted: dict[str, str] = {}

    async def test(self) -> None:
        """Proves that UPS answers and accepts the credentials, by fetching a token."""
        await self._tokens.get()

    async def close(self) -> None:
        """Closes the connection pool."""
        await self._http.close()

    async def ship(self, request: Mapping[str, Any]) -> Booking:
        """Books one shipment. OutcomeUnknown when it may exist although no answer says so."""
        version = self._settings.text("ship_version")
        answer = await self._call("POST", f"/api/shipments/{version}/ship", json=request)
        body = self._checked(answer, effect=True)
        try:
            return read_booking(body)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise OutcomeUnknown(f"ship: the answer cannot be read ({error})") from error

    async def void(self, shipment_number: str, tracking_number: str = "") -> VoidResult:
        """Voids a shipment, or one of its parcels; Reject once a parcel has been scanned."""
        version = self._settings.text("ship_version")
        path = f"/api/shipments/{version}/void/cancel/{quote(shipment_number, safe='')}"
        params = {"trackingnumber": tracking_number} if tracking_number else None
        answer = await self._call("DELETE", path, params=params)
        body = self._checked(answer, effect=True)
        try:
            return read_void(body)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise OutcomeUnknown(f"void: the answer cannot be read ({error})") from error

    async def recover_by_reference(
        self, reference: str, account: str, label_format: str
    ) -> list[LabelImage]:
        """Labels bought under one of our references, drawn in this format, whichever was ordered;
        empty when UPS knows none (yet)."""
        values = {"ReferenceNumber": {"Value": reference}, "ShipperNumber": account}
        return await self._recover({"ReferenceValues": values}, label_format)

    async def recover(self, tracking_number: str, label_format: str) -> LabelImage | None:
        """The image of one label again, in this format; None when UPS has none."""
        found = await self._recover({"TrackingNumber": tracking_number}, label_format)
        return next(
            (each for each in found if each.tracking_number == tracking_number and each.image), None
        )

    async def track(self, tracking_number: str) -> list[dict[str, Any]]:
        """The packages of one number as UPS shows them; empty when it knows nothing (yet)."""
        path = f"/api/track/v1/details/{quote(tracking_number, safe='')}"
        return await self._track(path, {"locale": self._settings.text("locale")})

    async def track_by_reference(self, reference: str, account: str) -> list[dict[str, Any]]:
        """Packages found under one of our references; empty when UPS knows none (yet)."""
        path = f"/api/track/v1/reference/details/{quote(reference, safe='')}"
        params = {"locale": self._settings.text("locale"), "shipperNum": account}
        return await self._track(path, {**params, "refNumType": "SmallPackage"})

    def adopted(self, reference: str) -> str:
        """The label that a look-up of this process adopted for a reference; "" where none did."""
        return self._adopted.get(reference, "")

    def adopt(self, reference: str, tracking_number: str) -> None:
        """Remembers an adopted label, of the last MAX_REMEMBERED_ADOPTIONS references."""
        self._adopted.pop(reference, None)
        self._adopted[reference] = tracking_number
        while len(self._adopted) > MAX_REMEMBERED_ADOPTIONS:
            del self._adopted[next(iter(self._adopted))]

    async def subscribe(self, numbers: Sequence[str]) -> tuple[list[str], list[str]]:
        """Track Alert for at most 100 parcels, 14 days each: (accepted, refused) numbers."""
        if len(numbers) > MAX_SUBSCRIBED_NUMBERS:
            raise ValueError(f"at most {MAX_SUBSCRIBED_NUMBERS} numbers in one subscription")
        body = {
            "locale": self._settings.text("locale"),
            "countryCode": self._settings.text("country_code"),
            "trackingNumberList": list(numbers),
            "eventPreferences": ["D", "I", "M", "X"],
        }
        path = "/api/track/v2/subscription/enhanced/package"
        result = self._checked(await self._call("POST", path, json=body), effect=True)
        valid, invalid = result.get("validTrackingNumbers"), result.get("invalidTrackingNumbers")
        return _texts(valid), _texts(invalid)

    async def ensure_account_subscription(self, account: str, subscription_id: str) -> None:
        """Track Alert for everything an account ships: asked for once in this process's life.

        Repeating it at UPS changes nothing, so a restart may ask again.
        """
        if account in self._subscribed_accounts:
            return
        body = {
            "locale": self._settings.text("locale"),
            "countryCode": self._settings.text("country_code"),
            "shipperAccountNumber": account,
            "subscriptionId": subscription_id,
            "clientSubscriptionId": subscription_id,
        }
        # Of accounts UPS has the standard type alone, which tells of every kind of scan.
        path = "/api/track/v2/subscription/standard/account"
        self._checked(await self._call("POST", path, json=body), effect=True)
        self._subscribed_accounts.add(account)

    async def _recover(self, inquiry: Mapping[str, Any], label_format: str) -> list[LabelImage]:
        version = self._settings.text("recovery_version")
        specification = {
            "LabelImageFormat": {"Code": label_format},
            "LabelStockSize": {"Height": "6", "Width": "4"},
            "HTTPUserAgent": "Mozilla/4.5",
        }
        # The container is mandatory, whatever is in it.
        asked = {
            "Request": {"TransactionReference": {"CustomerContext": "label recovery"}},
            "LabelSpecification": specification,
            **inquiry,
        }
        path = f"/api/labels/{version}/recovery"
        request = {"LabelRecoveryRequest": asked}
        answer = await self._call("POST", path, json=request, effect=False)
        if self._says_not_found(answer, self._settings.texts("recovery_not_found_codes")):
            return []
        body = self._checked(answer, effect=False)
        try:
            return read_recovery(body)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise OutcomeUnknown(f"recovery: the answer cannot be read ({error})") from error

    async def _track(self, path: str, params: Mapping[str, str]) -> list[dict[str, Any]]:
        answer = await self._call("GET", path, params=params)
        if self._says_not_found(answer, (NOT_FOUND_CODE,)):
            return []
        return read_packages(self._checked(answer, effect=False))

    def _says_not_found(self, answer: Answer, codes: Sequence[str]) -> bool:
        """Only UPS's own words count: a 404 page of a gateway is no answer about a parcel."""
        if not 400 <= answer.status < 500:
            return False
        return any(code in codes for code, _ in read_errors(answer))

    async def _call(self, method: str, path: str, **options: Any) -> Answer:
        # Correlation only: neither header de-duplicates anything at UPS.
        headers = {
            "transId": uuid.uuid4().hex,
            "transactionSrc": self._settings.text("transaction_source"),
        }
        return await self._http.request(method, path, headers=headers, auth=self._tokens, **options)

    async def _fetch_token(self) -> Token:
        headers = {
            "Authorization": basic_credentials(
                self._secrets.text("client_id"), self._secrets.text("client_secret")
            )
        }
        answer = await self._http.request(
            "POST",
            TOKEN_PATH,
            headers=headers,
            form={"grant_type": "client_credentials"},
            effect=False,
        )
        try:
            body = self._checked(answer, effect=False)
        except OutcomeUnknown as refused:
            # Nothing was asked yet, and no business was refused.
            wait = self._settings.seconds("auth_retry_seconds")
            raise Retry(wait, f"token: {refused.reason}") from refused
        try:
            # UPS writes the seconds as text.
            return Token(str(body["access_token"]), float(str(body["expires_in"])))
        except (KeyError, ValueError) as error:
            raise Retry(0.0, "token: the answer cannot be read") from error

    def _checked(self, answer: Answer, effect: bool) -> dict[str, Any]:
        """The JSON body of a success; otherwise raises what the answer means."""
        if answer.ok:
            try:
                body = answer.json()
            except ValueError:
                body = None
            if isinstance(body, dict):
                return body
            raise answer.unclear(f"UPS: HTTP {answer.status} without JSON", effect=effect)
        raise self._meaning(answer, effect)

    def _meaning(self, answer: Answer, effect: bool) -> VendorOutcome:
        """The word for an error, by the table: of the first code that has a row of its own, else of
        the first code. A question that is refused is an OutcomeUnknown."""
        errors = read_errors(answer)
        named = next((error for error in errors if ERRORS.names(0, error[0])), None)
        code, message = named or (errors[0] if errors else ("", ""))
        also = [f"{other} {text}" for other, text in errors if (other, text) != (code, message)]
        said = "; ".join([message, *also])
        status = answer.status if named is None else 0
        wish = answer.wish_seconds()
        if ERRORS.row(status, code).word is Word.RETRY:
            # One renewed token was tried already.
            wish = self._settings.seconds("auth_retry_seconds")
        return ERRORS.meaning(status, code, f"UPS: {said}", effect=effect, wish_seconds=wish)


def read_errors(answer: Answer) -> list[tuple[str, str]]:
    """(code, message) of each error; empty when the body is not UPS's error object."""
    try:
        body = answer.json()
    except ValueError:
        return []
    response = body.get("response") if isinstance(body, dict) else None
    listed = response.get("errors") if isinstance(response, dict) else None
    return [
        (str(entry.get("code", "")), str(entry.get("message", "")))
        for entry in as_list(listed)
        if isinstance(entry, dict)
    ]


def read_booking(body: Mapping[str, Any]) -> Booking:
    """A ship reply; KeyError, TypeError or ValueError when it proves no booking."""
    response = body["ShipmentResponse"]
    status = response["Response"]["ResponseStatus"]["Code"]
    if str(status) != "1":
        raise ValueError(f"response status {status}")
    results = response["ShipmentResults"]
    labels = tuple(
        LabelImage(
            number_in(entry["TrackingNumber"]),
            str(entry["ShippingLabel"]["ImageFormat"]["Code"]).upper(),
            _image(entry["ShippingLabel"]["GraphicImage"]),
        )
        for entry in as_list(results["PackageResults"])
    )
    if not labels:
        raise ValueError("no package results")
    negotiated = _object(results.get("NegotiatedRateCharges")).get("TotalCharge")
    published = _object(results.get("ShipmentCharges")).get("TotalCharges")
    amount, currency = _money(negotiated or published)
    alerts = tuple(
        f"{alert.get('Code', '')} {alert.get('Description', '')}".strip()
        for alert in as_list(response["Response"].get("Alert"))
        if isinstance(alert, dict)
    )
    # Optional, and otherwise the number of the first package.
    number = results.get("ShipmentIdentificationNumber") or labels[0].tracking_number
    return Booking(number_in(number), labels, amount, currency, alerts)


def read_void(body: Mapping[str, Any]) -> VoidResult:
    """A void reply: code 1 is voided now or before, 0 is not voided."""
    response = body["VoidShipmentResponse"]
    # Older versions of the path have the name without its last letter.
    listed = as_list(response.get("PackageLevelResults") or response.get("PackageLevelResult"))
    if listed:
        return VoidResult(
            {number_in(e["TrackingNumber"]): str(e["Status"]["Code"]) == "1" for e in listed}
        )
    summary = str(response["SummaryResult"]["Status"]["Code"]) == "1"
    return VoidResult({"": summary})


def read_recovery(body: Mapping[str, Any]) -> list[LabelImage]:
    """The labels of a recovery reply, in UPS's order, at most MAX_LABELS_PER_REFERENCE.

    Of several in PDF UPS shows one image, with the first; the others are empty here. So are the
    candidates that it names, without their labels, where several parcels have a reference, and
    what cannot be read of an image: it costs no other label, nor its own number.
    """
    response = body["LabelRecoveryResponse"]
    found = []
    for entry in as_list(response.get("LabelResults")):
        number, shown = number_in(entry["TrackingNumber"]), entry.get("LabelImage")
        if shown is None:
            found.append(LabelImage(number, "", b""))
            continue
        try:
            form = str(shown["LabelImageFormat"]["Code"]).upper()
            found.append(LabelImage(number, form, _image(shown["GraphicImage"])))
        except (KeyError, TypeError, ValueError):
            found.append(LabelImage(number, "", b""))
    shown = {label.tracking_number for label in found}
    candidates = as_list(response.get("TrackingCandidate"))
    named = [number_in(entry["TrackingNumber"]) for entry in candidates]
    found += [LabelImage(number, "", b"") for number in named if number not in shown]
    return found[:MAX_LABELS_PER_REFERENCE]


def read_packages(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """All packages of a tracking reply; a "not found" warning leaves the list empty."""
    response = body.get("trackResponse")
    shipments = as_list(response.get("shipment")) if isinstance(response, dict) else []
    return [
        package
        for shipment in shipments
        if isinstance(shipment, dict)
        for package in as_list(shipment.get("package"))
        if isinstance(package, dict)
    ]


def as_list(found: Any) -> list[Any]:
    """A list whatever the version made of it: older paths render one element as an object."""
    if found is None:
        return []
    return found if isinstance(found, list) else [found]


def _object(found: Any) -> Mapping[str, Any]:
    """An object, or an empty one where UPS left it out or null."""
    return found if isinstance(found, dict) else {}


def _money(charge: Any) -> tuple[Decimal | None, str]:
    """Amount and currency; an absent amount is no price, never zero."""
    if not isinstance(charge, dict) or not charge.get("MonetaryValue"):
        return None, ""
    try:
        amount = Decimal(str(charge["MonetaryValue"]))
    except InvalidOperation:
        return None, ""
    if not amount.is_finite():
        return None, ""
    return amount, str(charge.get("CurrencyCode", ""))


def _image(encoded: Any) -> bytes:
    try:
        # Some versions fold the text into lines.
        return base64.b64decode("".join(str(encoded).split()), validate=True)
    except binascii.Error as error:
        raise ValueError("a label image is not base64") from error


def _texts(listed: Any) -> list[str]:
    return [str(entry) for entry in as_list(listed)]
