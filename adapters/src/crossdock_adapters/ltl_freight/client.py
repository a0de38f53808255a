"""The carrier's REST protocol (NMFTA Digital LTL): tokens, bills of lading, events; no orders here.

`POST` on the path of bills of lading creates, `DELETE` with the PRO cancels. A PRO that is taken is
said with a code of its own, so a repeated creation is told and never a second one; so is a purchase
order that has a bill of lading, which says nothing about the PRO. What other codes mean is in
errors.toml; a code that is not there is the carrier's own, and goes by the verdict beside it.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from crossdock_adapters.ltl_freight import answers
from crossdock_adapters.ltl_freight.answers import DONE, MAX_TOLD, WARNED, Said
from crossdock_adapters.ltl_freight.pro_numbers import plain
from crossdock_adapters.sdk.auth import Token, TokenCache
from crossdock_adapters.sdk.error_table import ErrorTable
from crossdock_adapters.sdk.http import Answer, VendorHttp
from crossdock_adapters.sdk.outcomes import NeedsPerson, OutcomeUnknown, Retry
from crossdock_adapters.sdk.settings import Secrets, Settings

ERRORS: Final = ErrorTable.load(__package__)
# Result codes of the open standard, 2.1.0: it is made, and its documents are not.
WITHOUT_IMAGE: Final = frozenset({"1200", "1300"})
CANCELLED: Final = "CANCELLED"
PICKED_UP: Final = "PICKED_UP"
MAX_EVENTS: Final = 500
# Where a page of events is: by the visibility standard, and as others call it.
EVENT_LISTS: Final = ("data", "events")
NOT_FOUND: Final = 404
# Of a token whose life is not said.
TOKEN_SECONDS: Final = 300.0


class Taken(StrEnum):
    """What the carrier has already, so that it made nothing; the values are its codes."""

    PRO = "1400"
    PURCHASE_ORDER = "1700"


# Of several codes of one answer the first of these is what it says.
KNOWN_CODES: Final = frozenset({
    *Taken, *WITHOUT_IMAGE, *DONE, *(code for status, code in ERRORS.rows if not status),
})  # fmt: skip


class RefusedInOwnWords(NeedsPerson):
    """The carrier did nothing, and says why by a code of its own."""


class NobodySays(OutcomeUnknown):
    """A 404 without the carrier's word: it may be of a gateway, or of a path that is wrong."""


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
        """Create a bill of lading under the request's PRO; or what of it is taken.

        NeedsPerson: it is made, under a number of the carrier's own.
        """
        pro = str(request["referenceNumbers"]["pro"])
        answer = await self._http.post(
            self._bols, json=request, headers=self._key(), auth=self._tokens
        )
        body = _json(answer)
        said = answers.read(body, ok=answer.ok)
        code = said.code(KNOWN_CODES)
        # A purchase order may be remarked on beside a bill of lading that passed.
        remarked = Taken.PURCHASE_ORDER in said.codes and answer.ok and said.passed
        if code == Taken.PRO or (code == Taken.PURCHASE_ORDER and not remarked):
            return Taken(code)
        made = answer.ok and not said.failed and (said.passed or code in ("", *DONE))
        if not (made and isinstance(body, dict) and body) and code not in WITHOUT_IMAGE:
            raise _meaning(answer, said, code, effect=True)
        found = body if isinstance(body, dict) else {}
        numbers = found.get("referenceNumbers")
        told = numbers.get("pro") if isinstance(numbers, dict) else None
        # Some print a dash in it, or write it as a number.
        if not isinstance(numbers, dict) or not plain(str(told or "")):
            raise OutcomeUnknown(f"the carrier's answer names no PRO, not even {pro}")
        if plain(str(told)) != plain(pro):
            raise NeedsPerson(_own_number(str(told)[:MAX_TOLD], pro))
        confirmation = numbers.get("shipmentConfirmationNumber")
        confirmed = confirmation if isinstance(confirmation, (str, int)) else ""
        told_of = remarked or said.warned or code in (*WITHOUT_IMAGE, WARNED)
        note = said.words if told_of else ""
        return Booked(pro, str(confirmed), _image(found.get("images")), note)

    async def cancel(self, pro: str) -> bool:
        """Cancel the bill of lading of a PRO; False: the carrier says that there is none.

        Done is what the carrier calls so by its verdict or code, or says nothing to: a page with
        neither may be of something in between, and leaves it unknown. NobodySays: so is a 404, and
        one with a remark or a PASS is neither done nor a refusal.
        """
        answer = await self._http.request(
            "DELETE", f"{self._bols}{pro}", headers=self._key(), auth=self._tokens
        )
        body = _json(answer)
        said = answers.read(body, ok=answer.ok)
        code = said.code(KNOWN_CODES)
        if answer.status == NOT_FOUND:
            if said.standard and not said.passed:
                return False
            why = f"HTTP 404 to the cancellation of PRO {pro}, {_not_said(said)}"
            raise NobodySays(why, answer.retry_after_seconds())
        if answer.ok and not said.failed and (said.passed or code in DONE or not answer.body):
            return True
        raise _meaning(answer, said, code, effect=True)

    async def history(self, pro: str) -> History:
        """What the carrier's events say of a PRO (in-transit visibility, preview)."""
        query = {"shipmentId": pro, "pageSize": str(MAX_EVENTS), "order": "asc"}
        path = self._settings.text("events_path")
        answer = await self._http.get(path, params=query, headers=self._key(), auth=self._tokens)
        body = _json(answer)
        pages = [body.get(name) for name in EVENT_LISTS] if isinstance(body, dict) else [body]
        listed = next((each for each in pages if isinstance(each, list)), None)
        if not answer.ok or listed is None:
            said = answers.read(body)
            raise _meaning(answer, said, said.code(KNOWN_CODES), effect=False)
        events = [each for each in listed if isinstance(each, dict)]
        references = {found for each in events for found in _references(each.get("shipment"))}
        # The PRO itself says nothing about whose it is.
        others = frozenset(each for each in references if plain(each) != plain(pro))
        types = {str(each.get("type")) for each in events}
        return History(others, CANCELLED in types, bool(events), PICKED_UP in types)

    def _key(self) -> dict[str, str]:
        """The gateway's key in its header, read anew; nothing where it wants none."""
        header = self._settings.text("api_key_header")
        return {header: self._secrets.text("api_key")} if header else {}

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
            headers={**self._key(), "Authorization": f"Basic {basic}"},
            effect=False,
        )
        body = _json(answer)
        if not answer.ok:
            said = answers.read(body)
            raise _meaning(answer, said, said.code(KNOWN_CODES), effect=False)
        try:
            # How long it lives need not be said (RFC 6749, section 5.1); a 401 renews it anyway.
            return Token(str(body["access_token"]), float(body.get("expires_in") or TOKEN_SECONDS))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise Retry(0.0, f"the token cannot be read ({type(error).__name__})") from error


def _json(answer: Answer) -> Any:
    """The JSON of an answer; None where it has none."""
    try:
        return answer.json()
    except (ValueError, RecursionError):
        return None


def _meaning(answer: Answer, said: Said, code: str, *, effect: bool) -> Exception:
    """The word for an answer that is no success, to be raised."""
    at_the_door = answer.status in (401, 403, 429)
    if not _json(answer) and not at_the_door:
        # The page of something in between: it is not the carrier who refuses.
        return answer.unclear(f"HTTP {answer.status} without what it means as JSON", effect=effect)
    known = (0, code) in ERRORS.rows and not at_the_door
    words = said.words or "no message"
    if effect and said.failed and not known and not at_the_door and answer.status < 500:
        # Nothing was done, says the standard; why, says the carrier alone.
        return RefusedInOwnWords(" ".join(filter(None, (str(answer.status), code, words))))
    wish = answer.wish_seconds()
    status = 0 if known else answer.status
    return ERRORS.meaning(status, code, words, effect=effect, wish_seconds=wish)


def _not_said(said: Said) -> str:
    """Why a 404 does not say that there is no such PRO."""
    if not said.standard:
        return "and not in the carrier's words"
    return f"which the carrier calls no failure ({said.words or said.verdict})"


def _own_number(told: str, pro: str) -> str:
    """What to do where the carrier made it under a number of its own: asked again with ours, it
    would make another one."""
    return (
        f"the carrier made this under PRO {told}, not under {pro}: resolve this delivery with that "
        "number, or cancel it there; see with the carrier that it takes the PROs of our range"
    )


def _image(images: Any) -> bytes:
    """The shipping labels; b"" where there are none, or they are no base64. Encoders break it into
    lines (RFC 2045, 6.8)."""
    found = images.get("shippingLabels") if isinstance(images, dict) else None
    if not isinstance(found, str):
        return b""
    try:
        return base64.b64decode("".join(found.split()), validate=True)
    except (binascii.Error, ValueError):
        return b""


def _references(shipment: Any) -> list[str]:
    """The id and the references of an event's shipment, these written as texts or as objects with
    a value."""
    if not isinstance(shipment, dict):
        return []
    listed = shipment.get("references")
    found = [shipment.get("shipmentId"), *(listed if isinstance(listed, list) else [])]
    values = [each.get("value") if isinstance(each, dict) else each for each in found]
    return [each for each in values if isinstance(each, str) and each]
