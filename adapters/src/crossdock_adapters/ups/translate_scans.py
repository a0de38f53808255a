"""From UPS's tracking payloads to the contract's scans and proofs of delivery; pure.

Track Alert and Track describe one scan in two shapes. Both become the same TrackingEvent, so that
a scan heard twice is recognised: identity is number, type, codes, time and place, never the text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any

from crossdock.shipment.v1 import shipment_pb2
from crossdock.tracking.v1 import tracking_pb2
from crossdock.types.v1 import types_pb2

from crossdock_adapters.sdk.carrier_scans import (
    MAX_DESCRIPTION,
    MAX_SCANS_PER_REQUEST,
    MAX_SIGNER,
    MAX_STATUS_CODE,
    MAX_STATUS_TYPE,
    MAY_BE_SIGNED,
    POLL,
    WEBHOOK,
    History,
    ScanTime,
    place,
    read_offset,
    source_time,
)
from crossdock_adapters.sdk.places import Unreadable, inside
from crossdock_adapters.ups import status_codes
from crossdock_adapters.ups.client import as_list
from crossdock_adapters.ups.scan_times import read_date, read_scan_time, read_time
from crossdock_adapters.ups.status_codes import StatusTable

ScanTimeNames = tuple[str, str, str, str, str]
ALERT_TIME: ScanTimeNames = (
    "localActivityDate", "localActivityTime", "gmtActivityDate", "gmtActivityTime", "gmtOffset",
)  # fmt: skip
ACTIVITY_TIME: ScanTimeNames = ("date", "time", "gmtDate", "gmtTime", "gmtOffset")
_TIME_READERS = (read_date, read_time, read_date, read_time, read_offset)


def alert_event(payload: Any, table: StatusTable, carrier_code: str) -> tracking_pb2.TrackingEvent:
    """One Track Alert callback as a scan; Unreadable when it is none."""
    if not isinstance(payload, dict):
        raise Unreadable("the callback is not a JSON object")
    status = payload.get("activityStatus")
    if not isinstance(status, dict):
        raise Unreadable("is missing or not an object", "/activityStatus")
    number = _text(payload, "trackingNumber")
    if not number:
        raise Unreadable("is missing or not text", "/trackingNumber")
    when = _time(payload, ALERT_TIME)
    location = payload.get("activityLocation")
    status = {**status, "statusCode": status.get("descriptionCode")}
    event = _event(number, status, when, location, table, carrier_code)
    event.channel = WEBHOOK
    if event.milestone in MAY_BE_SIGNED:
        event.signed_by = _text(payload, "receivedBy")[:MAX_SIGNER]
    return event


def package_history(package: Mapping[str, Any], table: StatusTable, carrier_code: str) -> History:
    """Every activity of a package in a Track reply; a broken one does not cost the others.

    Activities often lack the three-digit code; the newest one's stands in `currentStatus` then.
    """
    number = _text(package, "trackingNumber")
    now = _current_code(package)
    events: list[tracking_pb2.TrackingEvent] = []
    problems: list[str] = []
    activities = as_list(package.get("activity"))
    for position, activity in enumerate(activities[:MAX_SCANS_PER_REQUEST]):
        try:
            hint = now if position == 0 else ""
            with inside(f"/activity/{position}"):
                events.append(_activity_event(number, activity, table, carrier_code, hint))
        except Unreadable as error:
            problems.append(f"parcel {number}: {error}")
    if len(activities) > MAX_SCANS_PER_REQUEST:
        place_cut = f"/activity/{MAX_SCANS_PER_REQUEST}"
        problem = f"only the first {MAX_SCANS_PER_REQUEST} of {len(activities)} scans are read"
        problems.append(f"parcel {number}: {place_cut}: {problem}")
    # UPS lists newest first, and only the newest delivery has the receiver's name. What nobody has
    # mapped may turn out to be that delivery: the hub drops the name where it does not.
    delivery = package.get("deliveryInformation")
    receiver = _text(delivery, "receivedBy") if isinstance(delivery, dict) else ""
    for event in events:
        if event.milestone in MAY_BE_SIGNED:
            event.signed_by = receiver[:MAX_SIGNER]
        if event.milestone == shipment_pb2.MILESTONE_DELIVERED:
            break
    return History(tuple(reversed(events)), tuple(problems))


def newest_package(
    packages: Iterable[Mapping[str, Any]], tracking_number: str, first_day: date | None = None
) -> Mapping[str, Any] | None:
    """The package of this number with the latest activity, of those that were not over before this
    day: numbers are reused over the years."""
    own = [p for p in packages if _text(p, "trackingNumber") == tracking_number]
    if first_day is not None:
        day = f"{first_day:%Y%m%d}"
        own = [package for package in own if not (latest := _latest(package)) or latest >= day]
    return max(own, key=_latest, default=None)


def _activity_event(
    number: str, activity: Any, table: StatusTable, carrier_code: str, current_code: str
) -> tracking_pb2.TrackingEvent:
    if not isinstance(activity, dict) or not isinstance(activity.get("status"), dict):
        raise Unreadable("is missing or not an object", "/status")
    if not number:
        raise Unreadable("its package has no /trackingNumber")
    when = _time(activity, ACTIVITY_TIME)
    location = activity.get("location")
    address = location.get("address") if isinstance(location, dict) else None
    event = _event(number, activity["status"], when, address, table, carrier_code, current_code)
    event.channel = POLL
    return event


def _event(
    number: str,
    status: Mapping[str, Any],
    when: ScanTime,
    location: Any,
    table: StatusTable,
    carrier_code: str,
    current_code: str = "",
) -> tracking_pb2.TrackingEvent:
    """`current_code`: a three-digit code known from elsewhere. It helps to read the scan and is not
    part of it: a later reply lists the same scan without it."""
    kind, code = _text(status, "type"), _text(status, "code")
    # Written as a number it has lost its zeros, or was read as octal: the letters come first then.
    is_sure = isinstance(status.get("statusCode"), str) or not code
    three_digit = _text(status, "statusCode") if is_sure else ""
    codes = status_codes.codes_of(kind, code, three_digit or current_code)
    meaning = table.resolve(kind, code, three_digit or current_code)
    milestone = shipment_pb2.Milestone.Value(f"MILESTONE_{meaning.milestone}")
    return tracking_pb2.TrackingEvent(
        carrier_code=carrier_code,
        tracking_number=number,
        milestone=milestone,
        status_type=kind[:MAX_STATUS_TYPE],
        # Both codes, as UPS wrote them: a later table can map them again.
        status_code="/".join(part for part in (code, three_digit) if part)[:MAX_STATUS_CODE],
        description=_text(status, "description")[:MAX_DESCRIPTION],
        event_time=source_time(when),
        place=_place(location),
        exception_reason=meaning.reason,
        native_codes=[types_pb2.NativeCode(type=c.type, code=c.code) for c in codes],
    )


def _current_code(package: Mapping[str, Any]) -> str:
    status = package.get("currentStatus")
    if not isinstance(status, dict):
        return ""
    return status_codes.three_digit(_text(status, "statusCode"), _text(status, "code"))


def _time(holder: Mapping[str, Any], names: ScanTimeNames) -> ScanTime:
    """Date, time, GMT date, GMT time and offset, under the names that this shape has for them."""
    parts = [_text(holder, name) for name in names]
    for name, part, read in zip(names, parts, _TIME_READERS, strict=True):
        try:
            read(part)
        except ValueError as error:
            raise Unreadable(str(error), f"/{name}") from error
    try:
        return read_scan_time(*parts)
    except ValueError as error:
        raise Unreadable(str(error), f"/{names[0]}") from error


def _place(location: Any) -> types_pb2.Place | None:
    """Where a scan happened; often the country alone."""
    if not isinstance(location, dict):
        return None
    country = _text(location, "countryCode") or _text(location, "country")
    city, state = _text(location, "city"), _text(location, "stateProvince")
    return place(city, state, _text(location, "postalCode"), country)


def _latest(package: Mapping[str, Any]) -> str:
    found = ""
    for activity in as_list(package.get("activity")):
        if not isinstance(activity, dict):
            continue
        try:
            day = read_date(_text(activity, "date"))
        except ValueError:
            continue
        if day is not None:
            found = max(found, f"{day:%Y%m%d}{_text(activity, 'time').zfill(6)}")
    return found


def _text(holder: Mapping[str, Any], key: str) -> str:
    """A value as text without the trailing spaces UPS leaves; empty when missing."""
    found = holder.get(key)
    if isinstance(found, int) and not isinstance(found, bool):
        return str(found)
    return found.strip() if isinstance(found, str) else ""
