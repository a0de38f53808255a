"""GLS's protocol: OAuth2, ShipIT with a media type of its own, Track & Trace; no orders here.

What an error means is in errors.toml: it is a problem of the service, or a fault of the gateway
before it. ShipIT's names differ in their capitals from installation to installation, so they are
read without them. Everything that no row names is unknown once a call may have had an effect.
"""

from __future__ import annotations

import base64
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from crossdock_adapters.gls.quota import TrackingQuota
from crossdock_adapters.sdk import vendor_json
from crossdock_adapters.sdk.auth import Token, TokenCache, basic_credentials
from crossdock_adapters.sdk.carrier_labels import LabelImage, number_in
from crossdock_adapters.sdk.cursors import Cursors
from crossdock_adapters.sdk.error_table import ErrorTable
from crossdock_adapters.sdk.http import Answer, VendorHttp
from crossdock_adapters.sdk.outcomes import (
    OutcomeUnknown,
    Reject,
    Retry,
    Throttled,
    VendorOutcome,
)
from crossdock_adapters.sdk.settings import Secrets, Settings

ERRORS = ErrorTable.load(__package__)
SHIPIT_TYPE = "application/glsVersion1+json"
JSON_TYPE = "application/json"
# Track & Trace 1.0.7; more in one call is E_400_02.
MAX_TRACKED_AT_ONCE = 10
NOT_THERE, TOO_MANY_CALLS, SERVERS_FAULT = 404, 429, 500
TRACK_ID_CHARACTERS = 8
# The code of a Reject: what was asked for is so already, or something stands against it.
CONFLICT = "409"
# How the text begins with which ShipIT refuses a document that it cannot read.
JSON_READER = b"com.fasterxml.jackson."


class PageFailed(Retry):
    """Tracking answered a page with an error of its own, which one parcel of it may be the reason
    for: GLS answered, so it is neither away nor out of calls."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """One parcel that GLS made. units: the references that it carries, where GLS says; shipment:
    those of its shipment."""

    track_id: str
    number: str
    units: tuple[str, ...]
    label: LabelImage
    shipment: tuple[str, ...] = ()


class ShownOtherwise(OutcomeUnknown):
    """GLS prints something again, and does not say that it is what was asked for."""


class GlsClient:
    """One application at GLS, and the contact ids that it ships for."""

    def __init__(self, settings: Settings, secrets: Secrets) -> None:
        self._settings = settings
        self._secrets = secrets
        self._tokens = TokenCache(self._fetch_token)
        self._shipments = f"{settings.text('shipit_path').rstrip('/')}/rs/shipments"
        self._tracking = f"{settings.text('tracking_path').rstrip('/')}/tracking/simple"
        self.quota = TrackingQuota(
            settings.integer("tracking_calls_per_day"),
            settings.integer("tracking_calls_for_look_ups"),
        )
        self._http = VendorHttp.of(settings)

    async def test(self) -> None:
        """Proves that GLS answers and accepts the credentials, by fetching a token."""
        await self._tokens.get()

    async def close(self) -> None:
        """Closes the connection pool."""
        await self._http.close()

    async def create(self, request: Mapping[str, Any]) -> list[Parcel]:
        """Makes a shipment. GLS makes a second one for whoever asks twice."""
        body = await self._shipit("", request, effect=True)
        try:
            return read_created(body)
        except (KeyError, TypeError, ValueError) as error:
            raise OutcomeUnknown("create: the answer shows no parcels that can be read") from error

    async def reprint(
        self, number: str, created_on: str, labels: Mapping[str, str], references: Collection[str]
    ) -> Parcel:
        """A parcel once more, with its label; the one printed before is cancelled, so the number
        may be another one where the parcel carries exactly one of our references, of its shipment
        or of one of its parcels. OutcomeUnknown: GLS does not show it."""
        is_track_id = len(number) == TRACK_ID_CHARACTERS or not number.isdecimal()
        name = "TrackID" if is_track_id else "ParcelNumber"
        parcel = await self._printed_again(name, number, created_on, labels)
        ours = not {*parcel.units, *parcel.shipment}.isdisjoint(references)
        if number not in (parcel.track_id, parcel.number) and not ours:
            raise OutcomeUnknown(f"reprint: GLS answers with parcel {parcel.track_id}")
        return parcel

    async def reprint_unit(self, unit: str, created_on: str, labels: Mapping[str, str]) -> Parcel:
        """The same by the reference of a unit, which the answer has to repeat. OutcomeUnknown: GLS
        does not show it, which says nothing of whether it is there; ShownOtherwise: it shows
        something."""
        parcel = await self._printed_again("ShipmentUnitReference", unit, created_on, labels)
        if unit not in parcel.units:
            raise ShownOtherwise(f"reprint: GLS answers {unit} with parcel {parcel.track_id}")
        return parcel

    async def cancel(self, track_id: str) -> str:
        """Cancels one parcel: GLS's word for what became of it. Reject: GLS has no such parcel."""
        path = f"/cancel/{quote(track_id, safe='')}"
        body = await self._shipit(path, {}, effect=True, names_parcel=True)
        result = body.get("result")
        if body.get("trackid", track_id) != track_id or not isinstance(result, str) or not result:
            raise OutcomeUnknown(f"cancel: the answer says nothing of {track_id}")
        return result

    async def end_of_day(self, day: str) -> None:
        """Tells GLS that the parcels of a day are complete. Asked again it says so again, or that
        it knows: Reject with CONFLICT."""
        path, params = f"{self._shipments}/endofday", {"date": day}
        headers = {"Accept": SHIPIT_TYPE, "Content-Type": SHIPIT_TYPE}
        answer = await self._http.post(
            path, params=params, headers=headers, body=b"{}", auth=self._tokens
        )
        if answer.ok:
            return
        body = _object(answer)
        told = _meaning(answer, body, effect=True)
        if str(answer.status) == CONFLICT and isinstance(body.get("title"), str):
            # Of a shipment it may mean that there is one. A day has nothing but its end.
            raise Reject(CONFLICT, told.reason)
        raise told

    async def find(self, reference: str, cursors: Cursors) -> list[dict[str, Any]]:
        """Every parcel that tracking knows under a reference of ours, each with a `unitno`.

        Empty only where GLS says that there is none, by a code that the deployment has as one of
        not found. Anything else that it cannot show is no answer, an empty list included.
        """
        counted = self.quota.look_up_call(cursors)
        answer = await self._track("references", reference, counted)
        body = _object(answer)
        listed = body.get("parcels")
        if not answer.ok or not isinstance(listed, list):
            raise _meaning(answer, body, effect=False)
        if not listed:
            raise OutcomeUnknown(f"the search for {reference} lists nothing, not even an error")
        found: dict[str, dict[str, Any]] = {}
        for parcel in listed:
            if not isinstance(parcel, dict) or str(parcel.get("requested")) != reference:
                raise OutcomeUnknown(f"the search for {reference} lists something else")
            code = str(parcel.get("errorCode") or "")
            if code in self._settings.texts("not_found_codes"):
                continue
            if code:
                said = str(parcel.get("errorMessage", ""))
                raise ERRORS.meaning(0, code, said, effect=False)
            try:
                number = number_in(parcel.get("unitno"))
            except ValueError as error:
                said = f"the search for {reference} lists a parcel without unitno"
                raise OutcomeUnknown(said) from error
            found.setdefault(number, parcel)
        return list(found.values())

    async def track(
        self, numbers: Sequence[str], counted: AbstractAsyncContextManager[None]
    ) -> bytes:
        """What tracking knows of at most ten numbers, as it came; each may have its own error.

        counted: the call as the quota has it. PageFailed: GLS answered 5xx.
        """
        if len(numbers) > MAX_TRACKED_AT_ONCE:
            raise ValueError(f"at most {MAX_TRACKED_AT_ONCE} numbers in one call")
        answer = await self._track("trackids", ",".join(numbers), counted)
        if not answer.ok:
            told = _meaning(answer, _object(answer), effect=False)
            if isinstance(told, Retry) and answer.status >= SERVERS_FAULT:
                raise PageFailed(told.after_seconds, told.reason)
            raise told
        return answer.body

    async def _printed_again(
        self, name: str, value: str, created_on: str, labels: Mapping[str, str]
    ) -> Parcel:
        """The one parcel that has this value under this name."""
        options = {"ReturnLabels": labels}
        request = {name: value, "CreationDate": created_on, "PrintingOptions": options}
        body = await self._shipit("/reprintparcel", request, effect=False)
        try:
            (parcel,) = read_created(body)
        except (KeyError, TypeError, ValueError) as error:
            raise ShownOtherwise(f"reprint: the answer does not show {value}") from error
        return parcel

    async def _track(
        self, what: str, wanted: str, counted: AbstractAsyncContextManager[None]
    ) -> Answer:
        """Retry where the day's quota is spent: of tracking alone, so shipping is not held back."""
        # Before the call is counted: a token is none of tracking's calls.
        await self._tokens.get()
        async with counted:
            answer = await self._http.get(
                f"{self._tracking}/{what}/{quote(wanted, safe=',')}",
                params={"showEvents": "true"},
                headers={"Accept": JSON_TYPE},
                auth=self._tokens,
            )
        if not answer.ok:
            told = _meaning(answer, _object(answer), effect=False)
            if isinstance(told, Throttled) or answer.status == TOO_MANY_CALLS:
                wait = told.after_seconds if isinstance(told, Throttled) else 0.0
                raise Retry(wait, f"tracking: {told.reason}")
        return answer

    async def _shipit(
        self, path: str, request: Mapping[str, Any], *, effect: bool, names_parcel: bool = False
    ) -> dict[str, Any]:
        """The object that ShipIT answers, its names in small letters. names_parcel: the path names
        a parcel, so that a 404 of the service is about it, and not about a way that is wrong."""
        answer = await self._http.post(
            f"{self._shipments}{path}",
            headers={"Accept": SHIPIT_TYPE, "Content-Type": SHIPIT_TYPE},
            body=vendor_json.dumps(dict(request)),
            auth=self._tokens,
            effect=effect,
        )
        body = _object(answer)
        if not answer.ok or not body:
            told = _meaning(answer, body, effect=effect)
            if isinstance(told, Reject) and answer.status == NOT_THERE and not names_parcel:
                raise OutcomeUnknown(told.reason)
            raise told
        try:
            small: dict[str, Any] = _in_small_letters(body)
        except RecursionError:
            raise answer.unclear("GLS: the answer is nested too deep", effect=effect) from None
        return small

    async def _fetch_token(self) -> Token:
        key = basic_credentials(
            self._secrets.text("client_id"), self._secrets.text("client_secret")
        )
        answer = await self._http.post(
            self._settings.text("token_path"),
            headers={"Authorization": key},
            form={"grant_type": "client_credentials"},
            effect=False,
        )
        body = _object(answer)
        if not answer.ok:
            raise _meaning(answer, body, effect=False, of_token=True)
        try:
            return Token(str(body["access_token"]), float(str(body["expires_in"])))
        except (KeyError, ValueError) as error:
            raise Retry(0.0, "token: the answer cannot be read") from error


def read_created(body: Mapping[str, Any]) -> list[Parcel]:
    """The parcels of a `CreatedShipment`, names in small letters, in the order of the request.

    KeyError, TypeError or ValueError: it proves no shipment. One sheet for several parcels belongs
    to the first of them; sheets of another number belong to nobody.
    """
    created = body["createdshipment"]
    told = as_list(created["parceldata"])
    printed = [
        (_decoded(data), _said(sheet.get("labelformat")))
        for sheet in as_list(created.get("printdata"))
        for data in as_list(sheet["data"])
    ]
    sheets = printed if len(printed) in (1, len(told)) else []
    parcels = []
    for position, parcel in enumerate(told):
        image, image_format = sheets[position] if position < len(sheets) else (b"", "")
        track_id = number_in(parcel["trackid"])
        parcels.append(
            Parcel(
                track_id,
                _said(parcel.get("parcelnumber")),
                tuple(map(str, as_list(parcel.get("shipmentunitreference")))),
                LabelImage(track_id, image_format, image),
                tuple(map(str, as_list(created.get("shipmentreference")))),
            )
        )
    if not parcels:
        raise ValueError("no parcel")
    return parcels


def as_list(value: Any) -> list[Any]:
    """A list as it is; one value as a list of one; nothing as none."""
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _said(value: Any) -> str:
    """A text that need not be there, "" where it is left out or null; a number counts as one."""
    return "" if value is None or value == "" else number_in(value)


def _decoded(data: Any) -> bytes:
    """A sheet in base64, in one line or in many."""
    return base64.b64decode("".join(number_in(data).split()), validate=True)


def _in_small_letters(value: Any) -> Any:
    if isinstance(value, dict):
        return {name.lower(): _in_small_letters(each) for name, each in value.items()}
    return [_in_small_letters(each) for each in value] if isinstance(value, list) else value


def _in_headers(answer: Answer) -> tuple[str, str]:
    """Code and words of a refusal of ShipIT; a field that has a row is named with its code."""
    code, said = answer.headers.get("error", ""), answer.headers.get("message", "")
    try:
        field = as_list(vendor_json.loads(answer.headers.get("args", "").encode()))[:1]
    except (ValueError, RecursionError):
        field = []
    named = f"{code} {field[0]}" if field else code
    return (named if ERRORS.names(answer.status, named) else code), said


def _object(answer: Answer) -> dict[str, Any]:
    """The JSON object of an answer; empty where it is none."""
    try:
        body = answer.json()
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


def _meaning(
    answer: Answer, body: Mapping[str, Any], *, effect: bool, of_token: bool = False
) -> VendorOutcome:
    """What an answer that is no success means, by the table, in the words of whoever refused.

    ShipIT refuses in the headers `error` and `message`, without a body, and what it cannot read
    with the text of its JSON reader; tracking in a problem; the token service in a list of errors;
    the gateway before them in a fault. of_token: OAuth's `error` counts (RFC 6749, 5.2). Elsewhere
    a server in between has that name.
    """
    fault, listed = body.get("fault"), as_list(body.get("errors"))
    if not answer.ok and (answer.headers.get("error") or answer.headers.get("message")):
        code, said = _in_headers(answer)
    elif answer.body.lstrip().startswith(JSON_READER):
        code, said = "", answer.text().strip()
    elif isinstance(fault, dict):
        detail = fault.get("detail")
        code = str(detail.get("errorcode", "")) if isinstance(detail, dict) else ""
        said = str(fault.get("faultstring", ""))
    elif listed and isinstance(listed[0], dict):
        first = listed[0]
        code = str(first.get("code") or first.get("type") or "")
        said = str(first.get("message", ""))
    elif of_token and isinstance(body.get("error"), str):
        code, said = str(body["error"]), str(body.get("error_description", ""))
    elif isinstance(body.get("title"), str):
        code, said = "", f"{body['title']}: {body.get('detail', '')}"
    elif answer.status == TOO_MANY_CALLS:
        code, said = "", "too many calls"
    else:
        # The page of something in between: it is not GLS who refuses.
        nobody = "" if answer.ok else " without a word of GLS"
        return answer.unclear(f"GLS: HTTP {answer.status}{nobody}", effect=effect)
    if answer.ok:
        return answer.unclear(f"GLS: HTTP {answer.status} {code} {said}", effect=effect)
    wish = answer.wish_seconds()
    told = ERRORS.meaning(answer.status, code, said, effect=effect, wish_seconds=wish)
    by_gateway = fault or listed
    if isinstance(told, Reject) and by_gateway and not ERRORS.names(answer.status, code):
        # What a gateway refuses for reasons of its own says nothing of the request.
        return answer.unclear(f"GLS: HTTP {answer.status} {code} {said}", effect=effect)
    return told
