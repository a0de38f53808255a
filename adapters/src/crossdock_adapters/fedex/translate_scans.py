"""From FedEx's track results to the contract's scans and proofs of delivery; pure.

Track and the signed callback describe a parcel in one shape. A scan has up to four codes: why and
how long it is held up, what happened, and FedEx's own summary, read in that order. A time without
an offset is taken in the zone of its site, where the deployment names one, and else left unknown.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import date
from typing import Any

from crossdock.shipment.v1 import shipment_pb2
from crossdock.tracking.v1 import tracking_pb2
from crossdock.types.v1 import types_pb2

from crossdock_adapters.fedex.client import as_list, numbered
from crossdock_adapters.sdk import local_times
from crossdock_adapters.sdk.carrier_scans import (
    MAX_DESCRIPTION,
    MAX_SCANS_PER_REQUEST,
    MAX_SIGNER,
    MAX_STATUS_CODE,
    MAX_STATUS_TYPE,
    MAY_BE_SIGNED,
    History,
    place,
)
from crossdock_adapters.sdk.mappings import MAX_CODE, Code, Mappings, Topic
from crossdock_adapters.sdk.places import Unreadable, inside, pointer

SCAN, REASON, DELAY, REGULATORY, DERIVED = "scan", "reason", "delay", "regulatory", "derived"
# Two-letter codes that regulation uses too, with another meaning; the words of the scan decide.
IN_TWO_VOCABULARIES = frozenset({"EA"})
REGULATORY_WORDS = ("export", "customs", "clearance")
RETURN_EVENT = "RS"
INITIATED = "IN"
LATEST, TIMES = "/latestStatusDetail", "/dateAndTimes"
# The times of a shipment that has no scan yet, the most telling first.
TIMES_WITHOUT_SCAN = ("SHIPMENT_DATA_RECEIVED", "SHIP", "ANTICIPATED_TENDER")
# What a parcel that nobody has scanned can be, at the time of its label.
BEFORE_ANY_SCAN = frozenset(
    {
        shipment_pb2.MILESTONE_UNKNOWN,
        shipment_pb2.MILESTONE_LABEL_CREATED,
        shipment_pb2.MILESTONE_VOIDED,
    }
)
MAX_RESULTS = 100
RESULT_LISTS = ("completeTrackResults", "trackResults")
_REASON_CODE = re.compile(r"0*(\d{1,3})([A-Z]?)")
_MIDNIGHT = re.compile(r"(\d{4}-\d{2}-\d{2})[T ]00:00(:00(\.0+)?)?")
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")


def results_in(payload: Any) -> list[tuple[str, dict[str, Any]]]:
    """(JSON pointer, track result) of each result in a callback; Unreadable when there is none."""
    found = list(_results(payload, "")) if isinstance(payload, dict) else []
    if not found:
        raise Unreadable("is missing or not an object", "/trackingNumberInfo")
    return found


def histories_in(
    payload: Any,
    mappings: Mappings,
    carrier_code: str,
    zones: Mapping[str, str],
    not_found_codes: Collection[str] = (),
) -> list[History]:
    """The scans of every parcel in a callback; Unreadable when it is about none at all.

    A result that cannot be read is a problem with its place, and does not cost the others.
    """
    found: list[History] = []
    results = results_in(payload)
    for at, result in results[:MAX_RESULTS]:
        try:
            with inside(at):
                told = parcel_history(result, mappings, carrier_code, zones, not_found_codes)
        except Unreadable as error:
            told = History((), (str(error),))
        found.append(told)
    if len(results) > MAX_RESULTS:
        problem = f"only the first {MAX_RESULTS} of {len(results)} results are read"
        found.append(History((), (f"{results[MAX_RESULTS][0]}: {problem}",)))
    return found


def parcel_history(
    result: Mapping[str, Any],
    mappings: Mappings,
    carrier_code: str,
    zones: Mapping[str, str],
    not_found_codes: Collection[str] = (),
) -> History:
    """Every scan of a track result, oldest first; a broken one does not cost the others.

    A shipment without scans has the one event that its latest status is. `zones`: IANA zone by
    FedEx location id, by US-OR or by country, for times without an offset. `not_found_codes`: the
    errors by which FedEx says that it has nothing to tell. A result that tells nothing otherwise
    has a problem: no history is empty in silence.
    """
    with inside("/trackingNumberInfo"):
        number = _text(_object(result, "trackingNumberInfo"), "trackingNumber")
        if not number:
            raise Unreadable("is missing or not text", "/trackingNumber")
    reader = _Reader(number, mappings, carrier_code, zones)
    events: list[tracking_pb2.TrackingEvent] = []
    problems: list[str] = []
    listed = as_list(result.get("scanEvents"))
    for position, scan in enumerate(listed[:MAX_SCANS_PER_REQUEST]):
        try:
            with inside(pointer("scanEvents", position)):
                events.append(reader.scan(scan))
        except Unreadable as error:
            problems.append(f"parcel {number}: {error}")
    if len(listed) > MAX_SCANS_PER_REQUEST:
        # FedEx lists the newest first: the oldest are cut.
        at = pointer("scanEvents", MAX_SCANS_PER_REQUEST)
        problem = f"only the first {MAX_SCANS_PER_REQUEST} of {len(listed)} scans are read"
        problems.append(f"parcel {number}: {at}: {problem}")
    if not listed and not _knows_nothing(result, not_found_codes):
        try:
            events.append(reader.without_scan(result))
        except Unreadable as error:
            problems.append(f"parcel {number}: {error}")
    _sign(events, result)
    events.reverse()
    _turn_back(events)
    return History(tuple(events), tuple(problems))


def newest_result(
    results: Iterable[Mapping[str, Any]], tracking_number: str, bought_on: date | None
) -> Mapping[str, Any] | None:
    """The result of a number that is ours: numbers are used again over the years.

    The one with the latest event, of those that were not over before we bought; None: none is.
    """
    # An error beside scans is a remark; alone it says that FedEx knows nothing.
    own = [r for r in results if _number(r) == tracking_number and not _is_error(r)]
    if bought_on is not None:
        day = bought_on.isoformat()
        own = [result for result in own if not _latest(result) or _latest(result)[:10] >= day]
    return max(own, key=_latest, default=None)


def error_of(result: Mapping[str, Any]) -> tuple[str, str]:
    """(code, message) of the error inside a result; empty codes when there is none."""
    error = result.get("error")
    return (_text(error, "code"), _text(error, "message")) if isinstance(error, dict) else ("", "")


def is_cancelled(result: Mapping[str, Any], mappings: Mappings) -> bool:
    """Whether the latest status of a result means that its label is void."""
    latest = result.get("latestStatusDetail")
    codes = _latest_codes(latest) if isinstance(latest, dict) else []
    found = mappings.first(Topic.STATUS, codes)
    return found is not None and found[1].canonical == "VOIDED"


def pieces_with(
    results: Iterable[Mapping[str, Any]], reference: str, mappings: Mappings
) -> list[tuple[int, str]]:
    """(sequence, tracking number) of each valid package that carries exactly our reference."""
    found: dict[str, int] = {}
    for result in results:
        number, details = _number(result), result.get("packageDetails")
        if not number or result.get("error") or is_cancelled(result, mappings):
            continue
        if reference not in _references_of(result):
            continue
        sequence = _text(details, "sequenceNumber") if isinstance(details, dict) else ""
        found[number] = int(sequence) if sequence.isdigit() else 1
    return sorted((sequence, number) for number, sequence in found.items())


def newest_day(payload: Any) -> str:
    """The day of the newest scan of a callback, YYYY-MM-DD; empty when none can be read."""
    try:
        return max((_latest(result)[:10] for _, result in results_in(payload)), default="")
    except Unreadable:
        return ""


class _Reader:
    """Reads the scans of one parcel."""

    def __init__(
        self, number: str, mappings: Mappings, carrier_code: str, zones: Mapping[str, str]
    ) -> None:
        self._number = number
        self._mappings = mappings
        self._carrier_code = carrier_code
        self._zones = zones

    def scan(self, scan: Any) -> tracking_pb2.TrackingEvent:
        """One scan. Unreadable: it has no code, or a time that is none."""
        if not isinstance(scan, dict):
            raise Unreadable("is not an object")
        event = _text(scan, "eventType")
        if not event:
            raise Unreadable("is missing or not text", "/eventType")
        reason = _text(scan, "exceptionCode")
        found = self._event(
            codes_of(
                event,
                reason,
                _delay(scan),
                _text(scan, "derivedStatusCode"),
                f"{_text(scan, 'eventDescription')} {_text(scan, 'exceptionDescription')}",
            ),
            scan.get("scanLocation"),
            _text(scan, "locationId"),
            _text(scan, "date"),
            "/date",
        )
        found.status_type = _text(scan, "derivedStatusCode")[:MAX_STATUS_TYPE]
        # As FedEx wrote them: a later table can map them again.
        found.status_code = "/".join(part for part in (event, reason) if part)[:MAX_STATUS_CODE]
        words = [_text(scan, "eventDescription"), _text(scan, "exceptionDescription")]
        found.description = "; ".join(part for part in words if part)[:MAX_DESCRIPTION]
        return found

    def without_scan(self, result: Mapping[str, Any]) -> tracking_pb2.TrackingEvent:
        """What the latest status says of a parcel that nobody has scanned.

        Unreadable: there is no status, or it has no time of its own.
        """
        latest = result.get("latestStatusDetail")
        code, message = error_of(result)
        if code and not latest:
            raise Unreadable(f"FedEx says {code} {message}".strip()[:MAX_DESCRIPTION], "/error")
        if not isinstance(latest, dict):
            raise Unreadable("is missing or not an object, and there is no scan", LATEST)
        code = _text(latest, "code")
        if not code:
            raise Unreadable("is missing or not text, and there is no scan", f"{LATEST}/code")
        times = {
            _text(entry, "type"): _text(entry, "dateTime")
            for entry in as_list(result.get("dateAndTimes"))
            if isinstance(entry, dict)
        }
        when = next((times[name] for name in TIMES_WITHOUT_SCAN if times.get(name)), "")
        if not when:
            raise Unreadable(f"status {code} comes without a scan and without a time", TIMES)
        event = self._event(_latest_codes(latest), latest.get("scanLocation"), "", when, TIMES)
        if event.milestone not in BEFORE_ANY_SCAN:
            # The only time there is, is the label's: a delivery must not be proved by it.
            raise Unreadable(f"status {code} comes without its scan", LATEST)
        event.status_type = _text(latest, "derivedCode")[:MAX_STATUS_TYPE]
        event.status_code = code[:MAX_STATUS_CODE]
        event.description = _text(latest, "description")[:MAX_DESCRIPTION]
        return event

    def _event(
        self, codes: list[Code], location: Any, location_id: str, when: str, at: str
    ) -> tracking_pb2.TrackingEvent:
        found = self._mappings.first(Topic.STATUS, codes)
        milestone = "UNKNOWN" if found is None else found[1].canonical
        where = location if isinstance(location, dict) else {}
        return tracking_pb2.TrackingEvent(
            carrier_code=self._carrier_code,
            tracking_number=self._number,
            milestone=shipment_pb2.Milestone.Value(f"MILESTONE_{milestone}"),
            event_time=scan_time(when, self._zone(where, location_id), at),
            place=place(
                _text(where, "city"),
                _text(where, "stateOrProvinceCode"),
                _text(where, "postalCode"),
                _text(where, "countryCode"),
            ),
            exception_reason="" if found is None else found[1].exception_reason,
            native_codes=[types_pb2.NativeCode(type=code.type, code=code.code) for code in codes],
        )

    def _zone(self, where: Mapping[str, Any], location_id: str) -> str | None:
        """The zone of the site, as the deployment has it; None: nobody said, so nobody knows."""
        country = _text(where, "countryCode")
        names = (location_id, f"{country}-{_text(where, 'stateOrProvinceCode')}", country)
        return next((self._zones[name] for name in names if name in self._zones), None)


def codes_of(event: str, reason: str, delay: str, derived: str, words: str) -> list[Code]:
    """The codes by which a scan is read, the most telling first; any but the event may be empty."""
    event, derived = event.upper(), derived.upper()
    found = []
    if reason:
        found.append(Code(REASON, f"{event}/{_plain_reason(reason)}"[:MAX_CODE]))
    if delay:
        found.append(Code(DELAY, f"{event}/{delay.upper()}"[:MAX_CODE]))
    said = words.lower()
    if event in IN_TWO_VOCABULARIES and any(word in said for word in REGULATORY_WORDS):
        found.append(Code(REGULATORY, event))
    found.append(Code(SCAN, event[:MAX_CODE]))
    if derived:
        found.append(Code(DERIVED, derived[:MAX_CODE]))
    return found


def scan_time(text: str, zone: str | None, at: str) -> types_pb2.SourceTime:
    """When a scan happened, as exactly as FedEx said it and no more exactly.

    Midnight without an offset is a day without a time, and a day is no instant in any zone.
    Unreadable with the place `at` when it is no time.
    """
    midnight = _MIDNIGHT.fullmatch(text.strip())
    given = midnight[1] if midnight else text
    if _DAY.fullmatch(given.strip()):
        zone = None
    try:
        return local_times.source_time(given, zone)
    except ValueError as error:
        raise Unreadable(str(error), at) from error


def _plain_reason(code: str) -> str:
    """07 for 07 and 007, 83 for 083, 98B for 098B; A12 stays."""
    upper = code.upper()
    found = _REASON_CODE.fullmatch(upper)
    return f"{found[1]:0>2}{found[2]}" if found else upper


def _latest_codes(latest: Mapping[str, Any]) -> list[Code]:
    event, derived = _text(latest, "code").upper(), _text(latest, "derivedCode").upper()
    # "Initiated" is in the summary's words; among the scans these letters mean a finished request.
    if event == INITIATED:
        return [Code(DERIVED, event)]
    codes = [Code(SCAN, event[:MAX_CODE])] if event else []
    return [*codes, Code(DERIVED, derived[:MAX_CODE])] if derived else codes


def _delay(scan: Mapping[str, Any]) -> str:
    """The kind of delay; empty when there is none, or the parcel is on time all the same."""
    detail = scan.get("delayDetail")
    if not isinstance(detail, dict) or _text(detail, "status").upper() in ("ON_TIME", "EARLY"):
        return ""
    return _text(detail, "type")


def _sign(events: list[tracking_pb2.TrackingEvent], result: Mapping[str, Any]) -> None:
    """Who received the parcel, at its delivery: the newest one, and what may turn out to be it."""
    details = result.get("deliveryDetails")
    details = details if isinstance(details, dict) else {}
    signer = _text(details, "receivedByName") or _text(details, "signedByName")
    for event in events:
        if event.milestone in MAY_BE_SIGNED:
            event.signed_by = signer[:MAX_SIGNER]
        if event.milestone == shipment_pb2.MILESTONE_DELIVERED:
            return


def _turn_back(events: list[tracking_pb2.TrackingEvent]) -> None:
    """What follows a return to the shipper is on the way back: delivered there is returned."""
    returning = False
    for event in events:
        event.return_leg = returning
        returning = returning or event.milestone == shipment_pb2.MILESTONE_RETURNING


def _results(holder: Mapping[str, Any], at: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Wherever Track and the callback have results: alone, in a list, in the envelope.

    What stands in the place of a result and is none comes as a result without anything in it.
    """
    if isinstance(holder.get("trackingNumberInfo"), dict):
        yield at, dict(holder)
        return
    inner = holder.get("output")
    if isinstance(inner, dict):
        yield from _results(inner, f"{at}/output")
    elif inner is not None:
        yield f"{at}/output", {}
    names = [name for name in RESULT_LISTS if holder.get(name) is not None]
    if at and inner is None and not names:
        yield at, dict(holder)
    for name in names:
        for position, entry in enumerate(as_list(holder.get(name))):
            place_of_entry = at + pointer(name, position)
            if isinstance(entry, dict):
                found = numbered(entry, holder) if name == "trackResults" else entry
                yield from _results(found, place_of_entry)
            else:
                yield place_of_entry, {}


def _references_of(result: Mapping[str, Any]) -> set[str]:
    """The references of a parcel: `values` in answers, one `value` in FedEx's documents."""
    info = result.get("additionalTrackingInfo")
    listed = as_list(info.get("packageIdentifiers")) if isinstance(info, dict) else []
    return {
        str(value)
        for entry in listed
        if isinstance(entry, dict)
        for value in [*as_list(entry.get("values")), *as_list(entry.get("value"))]
    }


def _knows_nothing(result: Mapping[str, Any], not_found_codes: Collection[str]) -> bool:
    """Whether a result without scans says, in FedEx's words, that there is nothing to tell."""
    return not result.get("latestStatusDetail") and error_of(result)[0] in not_found_codes


def _is_error(result: Mapping[str, Any]) -> bool:
    return bool(result.get("error")) and not result.get("scanEvents")


def _number(result: Mapping[str, Any]) -> str:
    info = result.get("trackingNumberInfo")
    return _text(info, "trackingNumber") if isinstance(info, dict) else ""


def _latest(result: Mapping[str, Any]) -> str:
    """The newest time of a result, as FedEx wrote it; good enough to tell years apart."""
    scans = [s for s in as_list(result.get("scanEvents")) if isinstance(s, dict)]
    times = [t for t in as_list(result.get("dateAndTimes")) if isinstance(t, dict)]
    found = [_text(scan, "date") for scan in scans]
    found = found or [_text(t, "dateTime") for t in times if _text(t, "type") in TIMES_WITHOUT_SCAN]
    return max((text for text in found if _DAY.match(text)), default="")


def _object(holder: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = holder.get(key)
    if not isinstance(found, dict):
        raise Unreadable("is missing or not an object")
    return found


def _text(holder: Mapping[str, Any], key: str) -> str:
    """A value as text; empty when it is missing or null."""
    found = holder.get(key)
    if isinstance(found, int) and not isinstance(found, bool):
        return str(found)
    return found.strip() if isinstance(found, str) else ""
