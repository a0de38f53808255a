"""The carrier's REST protocol (NMFTA Digital LTL): tokens, bills of lading, events; no orders here.

`POST` on the path of bills of lading creates, `DELETE` with the PRO cancels. A PRO that is taken is
said with a code of its own, so a repeated creation is told and never a second one; so is a purchase
order that has a bill of lading, which says nothing about the PRO. What any other answer means is in
errors.toml.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from crossdock_adapters.sdk.auth import Token, TokenCache
from crossdock_adapters.sdk.error_table import ErrorTable
from crossdock_adapters.sdk.http import Answer, VendorHttp
from crossdock_adapters.sdk.outcomes import OutcomeUnknown, Retry
from crossdock_adapters.sdk.settings import Secrets, Settings

ERRORS: Final = ErrorTable.load(__package__)
# messageStatus.code of the open standard, 2.1.0.
DONE: Final = frozenset({"100", "200"})
WITHOUT_IMAGE: Final = frozenset({"1200", "1300"})
CANCELLED: Final = "CANCELLED"
PICKED_UP: Final = "PICKED_UP"
MAX_EVENTS: Final = 500
MAX_TOLD: Final = 200


class Taken(StrEnum):
    """What the carrier has already, so that it made nothing; the values are its codes."""

    PRO = "1400"
    PURCHASE_ORDER = "1700"


@dataclass(frozen=True, slots=True)
class Booked:
    """A bill of lading that the carrier made; labels: what it printed, b"" where it could not.

    fresh: by this call; an earlier one is known by its PRO alone.
    """

    pro: str
    confirmation: str
    labels: bytes = field(repr=False)
    note: str = ""
    fresh: bool = True


@dataclass(frozen=True, slots=True)
class History:
    """What the carrier's events say of a PRO: the references of its shipment, whether it is
    cancelled, and whether it was picked up. Without events nothing is known."""

    references: frozenset[str] = frozenset()
    cancelled: bool = False
    known: bool = False
    picked_up: bool = False


class BolClient:
    """One shipper's account at a carrier."""

    def __init__(self, settings: Settings, secrets: Secrets) -> None:
        self._settings = settings
        self._secrets = secrets
        self._tokens = TokenCache(self._fetch_token)
        self._bols = settings.text("bol_path").rstrip("/") + "/"
        self._http = VendorHttp.of(settings)

    async def test(self) -> None:
        """Prove that the carrier answers and takes our credentials."""
        await self._tokens.get()

    async def close(self) -> None:
        """Close the connection pool."""
        await self._http.close()

    async def book(self, request: Mapping[str, Any]) -> Booked | Taken:
        """Create a bill of lading under the request's PRO; or what of it is taken."""
        pro = str(request["referenceNumbers"]["pro"])
        answer = await self._http.post(self._bols, json=request, auth=self._tokens)
        body = _object(answer)
        code = _code(body)
        if code in frozenset(Taken):
            return Taken(code)
        if not (answer.ok and body and code in ("", *DONE)) and code not in WITHOUT_IMAGE:
            raise _meaning(answer, body, code, effect=True)
        numbers = body.get("referenceNumbers")
        told = numbers.get("pro") if isinstance(numbers, dict) else None
        if told != pro:
            raise OutcomeUnknown(f"the carrier answers with PRO {str(told)[:MAX_TOLD]!r}")
        assert isinstance(numbers, dict)
        confirmation = numbers.get("shipmentConfirmationNumber")
        note = _said(body) if code in WITHOUT_IMAGE or code == "200" else ""
        labels = _image(body.get("images"))
        return Booked(pro, confirmation if isinstance(confirmation, str) else "", labels, note)

    async def cancel(self, pro: str) -> bool:
        """Cancel the bill of lading of a PRO; False: the carrier says that there is none.

        Done is what the carrier calls so by its code, or says nothing to: a page without a code may
        be of something in between, and leaves it unknown.
        """
        answer = await self._http.request("DELETE", f"{self._bols}{pro}", auth=self._tokens)
        body = _object(answer)
        code = _code(body)
        if answer.status == 404 and body:
            return False
        if answer.ok and (code in DONE or not answer.body):
            return True
        raise _meaning(answer, body, code, effect=True)

    async def history(self, pro: str) -> History:
        """What the carrier's events say of a PRO (in-transit visibility, preview)."""
        query = {"shipmentId": pro, "pageSize": str(MAX_EVENTS), "order": "asc"}
        path = self._settings.text("events_path")
        answer = await self._http.get(path, params=query, auth=self._tokens)
        body = _object(answer)
        listed = body.get("events")
        if not answer.ok or not isinstance(listed, list):
            raise _meaning(answer, body, _code(body), effect=False)
        events = [each for each in listed if isinstance(each, dict)]
        references = {found for each in events for found in _references(each.get("shipment"))}
        types = {str(each.get("type")) for each in events}
        return History(frozenset(references), CANCELLED in types, bool(events), PICKED_UP in types)

    async def _fetch_token(self) -> Token:
        key, secret = self._secrets.text("client_id"), self._secrets.text("client_secret")
        basic = base64.b64encode(f"{key}:{secret}".encode()).decode()
        form = {"grant_type": "client_credentials"}
        if self._settings.text("username"):
            form = {
                "grant_type": "password",
                "username": self._settings.text("username"),
                "password": self._secrets.text("account_password"),
            }
        answer = await self._http.post(
            self._settings.text("token_path"),
            form=form,
            headers={"Authorization": f"Basic {basic}"},
            effect=False,
        )
        body = _object(answer)
        if not answer.ok:
            raise _meaning(answer, body, _code(body), effect=False)
        try:
            return Token(str(body["access_token"]), float(body["expires_in"]))
        except (KeyError, TypeError, ValueError) as error:
            raise Retry(0.0, f"the token cannot be read ({type(error).__name__})") from error


def _object(answer: Answer) -> dict[str, Any]:
    """The JSON object of an answer; empty where it has none."""
    try:
        body = answer.json()
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


def _status(body: Mapping[str, Any]) -> Mapping[str, Any]:
    found = body.get("messageStatus")
    return found if isinstance(found, dict) else {}


def _code(body: Mapping[str, Any]) -> str:
    """The result code; some write it as a number."""
    found = _status(body).get("code", "")
    return str(found) if isinstance(found, (str, int)) else ""


def _said(body: Mapping[str, Any]) -> str:
    status = _status(body)
    told = [status.get("message"), status.get("resolution")]
    return "; ".join(each for each in told if isinstance(each, str) and each)[:MAX_TOLD]


def _meaning(answer: Answer, body: Mapping[str, Any], code: str, *, effect: bool) -> Exception:
    """The word for an answer that is no success, to be raised."""
    if not body and answer.status not in (401, 403, 429):
        # The page of something in between: it is not the carrier who refuses.
        return answer.unclear(f"HTTP {answer.status} without a JSON object", effect=effect)
    known = (0, code) in ERRORS.rows and answer.status not in (401, 403, 429)
    wish = answer.wish_seconds()
    status = 0 if known else answer.status
    said = _said(body) or "no message"
    return ERRORS.meaning(status, code, said, effect=effect, wish_seconds=wish)


def _image(images: Any) -> bytes:
    """The shipping labels; b"" where there are none, or they are no base64."""
    found = images.get("shippingLabels") if isinstance(images, dict) else None
    if not isinstance(found, str):
        return b""
    try:
        return base64.b64decode(found, validate=True)
    except (binascii.Error, ValueError):
        return b""


def _references(shipment: Any) -> Sequence[str]:
    """The references of an event's shipment, written as texts or as objects with a value."""
    listed = shipment.get("references") if isinstance(shipment, dict) else None
    if not isinstance(listed, list):
        return ()
    values = [each.get("value") if isinstance(each, dict) else each for each in listed]
    return [each for each in values if isinstance(each, str)]
