"""The FedEx REST protocol: OAuth, Open Ship, cancel, Track; no orders here.

An open shipment is made under an index of ours, and confirmed by it: only the confirmation buys.
What an error means is in `errors.toml`. `x-customer-transaction-id` only correlates: FedEx
de-duplicates nothing by it.
"""

from __future__ import annotations

import base64
import binascii
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from crossdock_adapters.sdk.auth import Token, TokenCache
from crossdock_adapters.sdk.carrier_labels import LabelImage, number_in
from crossdock_adapters.sdk.error_table import ErrorTable, Word
from crossdock_adapters.sdk.http import Answer, VendorHttp
from crossdock_adapters.sdk.outcomes import (
    NeedsPerson,
    OutcomeUnknown,
    Retry,
    Throttled,
    VendorOutcome,
)
from crossdock_adapters.sdk.settings import Secrets, Settings

TOKEN_PATH = "/oauth/token"
OPEN_SHIPMENTS = "/ship/v1/openshipments"
MAX_TRACKED_AT_ONCE = 30
MAX_PIECES = 40
MAX_UNCONFIRMED = 1_000
MAX_REASON_CHARACTERS = 300
FORBIDDEN = 403
LABEL = "LABEL"
ERRORS = ErrorTable.load(__package__)


@dataclass(frozen=True, slots=True)
class Problem:
    """FedEx's words for an error. `code` is empty when the body is not its error object."""

    status: int
    code: str
    message: str

    @property
    def word(self) -> Word:
        """What its row says; what no row names is unknown."""
        return ERRORS.row(self.status, self.code).word

    def __str__(self) -> str:
        return f"HTTP {self.status} {self.code} {self.message}".strip()[:MAX_REASON_CHARACTERS]


@dataclass(frozen=True, slots=True)
class Piece:
    """One package of a confirmed shipment. `sequence` counts from 1 in the order of the request.

    `amount` is what the account pays for it; None when FedEx did not say.
    """

    sequence: int
    label: LabelImage
    amount: Decimal | None
    currency: str


@dataclass(frozen=True, slots=True)
class Booking:
    """A confirmed shipment: its master number, its pieces, what FedEx remarks."""

    master_number: str
    pieces: tuple[Piece, ...]
    alerts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OpenShipment:
    """What FedEx has under an index. `booking` is set where its answer proves a confirmation."""

    index: str
    booking: Booking | None


@dataclass(slots=True)
class _Project:
    """One project of the developer portal: its credentials, and whether it was ever served."""

    tokens: TokenCache
    served: bool = False


class Unconfirmed:
    """Open shipments that an attempt has just made itself: these need no look before confirming.

    Bound to the attempt: whoever continues with the draft in a later one looks first, because the
    one between may have confirmed it. The oldest go first when there are too many.
    """

    def __init__(self) -> None:
        self._made: dict[tuple[str, int], None] = {}

    def add(self, index: str, attempt: int) -> None:
        """FedEx has just said that it made this one."""
        while len(self._made) >= MAX_UNCONFIRMED:
            del self._made[next(iter(self._made))]
        self._made[index, attempt] = None

    def take(self, index: str, attempt: int) -> bool:
        """Whether it is one of them; from now on it is not, because it is being confirmed."""
        return self._made.pop((index, attempt), 0) is None


class FedexClient:
    """One FedEx account: the project that ships, and the one that tracks where it is another."""

    def __init__(self, settings: Settings, secrets: Secrets) -> None:
        self._settings = settings
        self._secrets = secrets
        self._http = VendorHttp.of(settings)
        self._shipping = _Project(TokenCache(lambda: self._fetch_token("")))
        self.unconfirmed = Unconfirmed()
        self._tracking = self._shipping
        if secrets.has("track_client_id"):
            self._tracking = _Project(TokenCache(lambda: self._fetch_token("track_")))

    async def test(self) -> None:
        """Proves that FedEx answers and accepts the credentials of each project."""
        await self._shipping.tokens.get()
        await self._tracking.tokens.get()

    async def close(self) -> None:
        """Closes the connection pool."""
        await self._http.close()

    async def find(self, index: str, account: str) -> OpenShipment | None:
        """What FedEx has under an index of ours; None when it says that it has nothing.

        A question that is refused answers nothing: OutcomeUnknown, whatever the refusal says.
        """
        body = {"accountNumber": {"value": account}, "index": index}
        answer = await self._post(f"{OPEN_SHIPMENTS}/retrieve", body)
        if not answer.ok:
            problem = problem_of(answer)
            if problem.code in self._settings.texts("index_not_found_codes"):
                return None
        output = self._output(answer, effect=False)
        booking = None
        if is_sold(output):
            try:
                booking = read_booking(output)
            except (KeyError, TypeError, ValueError) as error:
                raise OutcomeUnknown(f"retrieve: the answer cannot be read ({error})") from error
        elif not isinstance(output.get("requestedShipment"), dict):
            raise OutcomeUnknown(f"retrieve: the answer shows no shipment under {index}")
        return OpenShipment(index, booking)

    async def open(self, index: str, account: str, requested: Mapping[str, Any]) -> str:
        """Makes an open shipment under our index, which buys nothing; the index.

        OutcomeUnknown when the index is in use: an earlier call came through late.
        """
        body = {
            "accountNumber": {"value": account},
            "index": index,
            "openShipmentAction": "STRONG_VALIDATION",
            "requestedShipment": requested,
        }
        answer = await self._post(f"{OPEN_SHIPMENTS}/create", body, effect=True)
        if not answer.ok and problem_of(answer).code in self._settings.texts("index_taken_codes"):
            raise OutcomeUnknown(f"FedEx has a shipment under {index} by now")
        self._output(answer, effect=True)
        return index

    async def confirm(
        self, index: str, account: str, label: Mapping[str, str], *, again: bool
    ) -> Booking | None:
        """Confirms an open shipment: this buys. None: FedEx says that it was confirmed before.

        again: an earlier confirmation may have left. Then a refusal that no setting names may say
        just that in other words, and proves nothing: OutcomeUnknown.
        """
        body = {
            "accountNumber": {"value": account},
            "index": index,
            "labelResponseOptions": "LABEL",
            "labelSpecification": label,
            "edtRequestType": "NONE",
        }
        answer = await self._post(f"{OPEN_SHIPMENTS}/", body, effect=True)
        if not answer.ok:
            problem = problem_of(answer)
            if problem.code in self._settings.texts("already_confirmed_codes"):
                return None
            if again and problem.word is Word.REJECTED:
                raise OutcomeUnknown(f"FedEx refuses to confirm again: {problem}")
        output = self._output(answer, effect=True)
        try:
            return read_booking(output)
        except (KeyError, TypeError, ValueError) as error:
            job = output.get("jobId")
            later = f", job {job} answers later" if job else ""
            raise OutcomeUnknown(f"confirm: the answer shows no label{later}") from error

    async def cancel(self, number: str, account: str, country: str) -> bool:
        """Cancels the whole shipment of a number; False: a success that says it is not cancelled.

        Reject as FedEx refuses it; true also where it says that it was cancelled before.
        """
        body = {
            "accountNumber": {"value": account},
            "trackingNumber": number,
            "deletionControl": "DELETE_ALL_PACKAGES",
            "senderCountryCode": country,
            "emailShipment": False,
        }
        path = "/ship/v1/shipments/cancel"
        answer = await self._call("PUT", path, body, self._shipping, effect=True)
        if not answer.ok:
            problem = problem_of(answer)
            if problem.code in self._settings.texts("already_cancelled_codes"):
                return True
        output = self._output(answer, effect=True)
        cancelled = output.get("cancelledShipment")
        if not isinstance(cancelled, bool):
            raise OutcomeUnknown("cancel: the answer does not say whether it is cancelled")
        return cancelled

    async def track(self, inquiries: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """The track results of at most 30 inquiries; those that FedEx knows nothing of have an
        `error`, and so do not cost the others."""
        if len(inquiries) > MAX_TRACKED_AT_ONCE:
            raise ValueError(f"at most {MAX_TRACKED_AT_ONCE} numbers in one call")
        return await self._track(
            "/track/v1/trackingnumbers", {"includeDetailedScans": True, "trackingInfo": inquiries}
        )

    async def track_by_reference(self, information: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The track results of one of our references, once its data has reached tracking."""
        body = {"includeDetailedScans": True, "referencesInformation": information}
        return await self._track("/track/v1/referencenumbers", body)

    async def _track(self, path: str, body: Mapping[str, Any]) -> list[dict[str, Any]]:
        answer = await self._call("POST", path, body, self._tracking, effect=False)
        if not answer.ok:
            problem = problem_of(answer)
            if problem.code in self._settings.texts("tracking_not_found_codes"):
                return []
        output = self._output(answer, effect=False, project=self._tracking)
        return list(track_results(output))

    async def _post(self, path: str, body: Mapping[str, Any], effect: bool = False) -> Answer:
        return await self._call("POST", path, body, self._shipping, effect)

    async def _call(
        self, method: str, path: str, body: Mapping[str, Any], project: _Project, effect: bool
    ) -> Answer:
        headers = {
            "X-locale": self._settings.text("locale"),
            "x-customer-transaction-id": uuid.uuid4().hex,
        }
        answer = await self._http.request(
            method, path, headers=headers, json=body, auth=project.tokens, effect=effect
        )
        project.served = project.served or answer.ok
        return answer

    async def _fetch_token(self, prefix: str) -> Token:
        form = {
            "grant_type": "client_credentials",
            "client_id": self._secrets.text(f"{prefix}client_id"),
            "client_secret": self._secrets.text(f"{prefix}client_secret"),
        }
        answer = await self._http.request("POST", TOKEN_PATH, form=form, effect=False)
        try:
            body = self._checked(answer, effect=False, project=None)
        except OutcomeUnknown as refused:
            # Nothing was asked yet, and no business was refused: somebody is changing the secret.
            wait = self._settings.seconds("auth_retry_seconds")
            raise Retry(wait, f"token: {refused.reason}") from refused
        try:
            return Token(str(body["access_token"]), float(body["expires_in"]))
        except (KeyError, TypeError, ValueError) as error:
            raise Retry(0.0, "token: the answer cannot be read") from error

    def _output(
        self, answer: Answer, effect: bool, project: _Project | None = None
    ) -> dict[str, Any]:
        """What is inside the envelope of a success; otherwise raises what the answer means."""
        body = self._checked(answer, effect, project or self._shipping)
        output = body.get("output")
        if not isinstance(output, dict):
            raise answer.unclear(f"FedEx: HTTP {answer.status} without an output", effect=effect)
        return output

    def _checked(self, answer: Answer, effect: bool, project: _Project | None) -> dict[str, Any]:
        if answer.ok:
            try:
                body = answer.json()
            except ValueError:
                body = None
            if isinstance(body, dict):
                return body
            raise answer.unclear(f"FedEx: HTTP {answer.status} without JSON", effect=effect)
        raise self._meaning(answer, effect, project)

    def _meaning(self, answer: Answer, effect: bool, project: _Project | None) -> VendorOutcome:
        """The word for an error, by the table: a refusal answers a question with nothing.

        project: None while its token is asked for.
        """
        problem, wish_seconds = problem_of(answer), answer.wish_seconds()
        if problem.status == FORBIDDEN and problem.word is Word.THROTTLED and project is not None:
            if not project.served:
                return NeedsPerson(f"FedEx has not entitled this project: {problem}")
            wait = max(wish_seconds or 0.0, self._settings.seconds("block_seconds"))
            return Throttled(wait, f"FedEx blocks this address for a while: {problem}")
        if problem.word is Word.RETRY or problem.status == FORBIDDEN:
            # One renewed token was tried already; nothing was processed.
            wait = self._settings.seconds("auth_retry_seconds")
            return Retry(wait, f"FedEx refuses the credentials: {problem}")
        said = f"FedEx: {problem.message}"
        return ERRORS.meaning(
            problem.status, problem.code, said, effect=effect, wish_seconds=wish_seconds
        )


def problem_of(answer: Answer) -> Problem:
    """The first error of an answer that is no success."""
    try:
        body = answer.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        return Problem(answer.status, "", "")
    listed = body.get("errors")
    if isinstance(body.get("error_detail"), str):
        # A path or thing that is not there is refused in a form of its own.
        listed = [{"code": body.get("error"), "message": body["error_detail"]}]
    for entry in listed if isinstance(listed, list) else []:
        if isinstance(entry, dict) and isinstance(entry.get("code"), str) and entry["code"]:
            return Problem(answer.status, entry["code"], _filled(entry))
    return Problem(answer.status, "", "")


def track_results(output: Mapping[str, Any]) -> Sequence[dict[str, Any]]:
    """Every track result of an answer, whatever number it is of."""
    return [
        numbered(result, complete)
        for complete in as_list(output.get("completeTrackResults"))
        if isinstance(complete, dict)
        for result in as_list(complete.get("trackResults"))
        if isinstance(result, dict)
    ]


def numbered(result: dict[str, Any], complete: Mapping[str, Any]) -> dict[str, Any]:
    """A result with its number, which may stand above it alone."""
    number = complete.get("trackingNumber")
    if result.get("trackingNumberInfo") is not None or number is None:
        return result
    return {**result, "trackingNumberInfo": {"trackingNumber": number}}


def is_sold(output: Mapping[str, Any]) -> bool:
    """Whether an answer shows what only a confirmed shipment has. It has its master number before,
    and its labels may be missing or be no images."""
    shipments = [s for s in as_list(output.get("transactionShipments")) if isinstance(s, dict)]
    sold = ("pieceResponses", "completedShipmentDetail")
    return any(shipment.get(name) for shipment in shipments for name in sold)


def read_booking(output: Mapping[str, Any]) -> Booking:
    """A confirmation; KeyError, TypeError or ValueError when it proves no purchase."""
    (shipment,) = as_list(output["transactionShipments"])
    listed = as_list(shipment["pieceResponses"])
    if not listed:
        raise ValueError("no pieces")
    total, currency = _rated(shipment)
    pieces = tuple(
        _piece(entry, position, total if len(listed) == 1 else None, currency)
        for position, entry in enumerate(listed, start=1)
    )
    noted = [*as_list(output.get("alerts")), *as_list(shipment.get("alerts"))]
    alerts = tuple(
        f"{alert.get('code', '')} {alert.get('message', '')}".strip()
        for alert in noted
        if isinstance(alert, dict)
    )
    return Booking(number_in(shipment["masterTrackingNumber"]), pieces, alerts)


def as_list(found: Any) -> list[Any]:
    """A list, one alone as a list of it, or nothing where FedEx left it out."""
    if found is None:
        return []
    return found if isinstance(found, list) else [found]


def _piece(entry: Mapping[str, Any], position: int, total: Decimal | None, currency: str) -> Piece:
    """One package. `total` and `currency` are the shipment's, for what the package leaves out."""
    listed = as_list(entry["packageDocuments"])
    documents = [each for each in listed if _object(each).get("encodedLabel")]
    if not documents:
        raise ValueError("a piece without a label")
    # Other papers of a package come in the same list.
    document = next((each for each in documents if each.get("contentType") == LABEL), documents[0])
    label = LabelImage(
        number_in(entry["trackingNumber"]),
        str(document["docType"]),
        _image(document["encodedLabel"]),
    )
    price = _price(entry.get("netChargeAmount")) or total
    sequence = entry.get("packageSequenceNumber") or position
    return Piece(int(sequence), label, price, str(entry.get("currency") or currency))


def _rated(shipment: Mapping[str, Any]) -> tuple[Decimal | None, str]:
    """What the account pays for the whole shipment, and the currency that its prices are in."""
    rating = _object(_object(shipment.get("completedShipmentDetail")).get("shipmentRating"))
    details = [each for each in as_list(rating.get("shipmentRateDetails")) if _object(each)]
    for detail in details:
        if detail.get("rateType") == rating.get("actualRateType"):
            return _price(detail.get("totalNetCharge")), str(detail.get("currency") or "")
    currencies = {str(detail.get("currency") or "") for detail in details}
    return None, currencies.pop() if len(currencies) == 1 else ""


def _price(amount: Any) -> Decimal | None:
    """Zero or nothing where somebody else is billed: no price, never a price of zero."""
    is_number = isinstance(amount, (int, Decimal)) and not isinstance(amount, bool)
    return Decimal(amount) if is_number and amount > 0 else None


def _object(found: Any) -> Mapping[str, Any]:
    return found if isinstance(found, dict) else {}


def _image(encoded: Any) -> bytes:
    try:
        return base64.b64decode("".join(str(encoded).split()), validate=True)
    except binascii.Error as error:
        raise ValueError("a label is not base64") from error


def _filled(entry: Mapping[str, object]) -> str:
    """The message with its {placeholders} filled in."""
    message = str(entry.get("message", ""))
    listed = entry.get("parameterList")
    for parameter in listed if isinstance(listed, list) else []:
        if isinstance(parameter, dict):
            key, value = str(parameter.get("key", "")), str(parameter.get("value", ""))
            message = message.replace(f"{{{key}}}", value)
    return message
