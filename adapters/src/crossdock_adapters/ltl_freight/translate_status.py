"""From a status message (X12 214) to the contract's scans; pure.

Each AT7 is one scan, at the place of the MS1 behind it. Its status has a row in mappings.toml; with
a status that says "delayed" or "attempted" the reason is read first. Exactly one of AT7-01 (status)
and AT7-03 (appointment) is there. Remarks (K1), exceptions of the lading (Q7) and a position in
degrees (MS1) are told in its description; the standard has no element for who signed, so that is
read where a remark says so in words. What other segments say is not read, and stays in the file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Final

from crossdock.shipment.v1 import shipment_pb2
from crossdock.tracking.v1 import tracking_pb2
from crossdock.types.v1 import types_pb2

from crossdock_adapters.ltl_freight import references
from crossdock_adapters.ltl_freight.pro_numbers import plain
from crossdock_adapters.ltl_freight.translate import zone_of
from crossdock_adapters.sdk import carrier_scans, local_times
from crossdock_adapters.sdk.mappings import MAX_CODE, Code, Mappings, Topic
from crossdock_adapters.sdk.places import Unreadable
from crossdock_adapters.sdk.x12.envelopes import Group, TransactionSet
from crossdock_adapters.sdk.x12.segments import (
    BAD_CODE,
    BAD_DATE,
    EXCLUDED,
    MISSING,
    SHORT_DATE,
    Segment,
    SegmentError,
)

SET_ID: Final = "214"
FILE: Final = "file"
APPOINTMENT: Final = "APPOINTMENT"
# Statuses whose time lies ahead, and is not that of the delivery: when it will be at the terminal,
# and when it will leave one. So do the times of appointments.
AHEAD: Final = frozenset({"B6", "C1"})
LOCAL: Final = "LT"
MAX_PRO: Final = 60
MAX_SIGNER: Final = 100
# Data element 145.
MAX_SHIPMENT: Final = 30
_SIGNED: Final = re.compile(
    r"\b(?:signed(?: for)?|signature|received|recd|rcvd|pod)\s*(?:by\b\s*:?|:)\s*([^;]+)",
    re.IGNORECASE,
)
# Words by which a remark says that nobody signed, or not yet; read up to the end of the name.
_UNSIGNED: Final = re.compile(
    r"\b(?:not?|none|nobody|never|pending|awaiting|(?:to|will) (?:be|follow)|without|refus\w*|n/a"
    r"|un(?:able|attended|available|confirmed|known|obtainable|readable|signed))\b",
    re.IGNORECASE,
)
# Data elements 1654 and 1655: degrees, minutes, seconds and, since release 008010, their parts.
_DEGREES: Final = re.compile(r"(\d{3})(\d{2})(\d{2}(?:\.\d{1,2})?)", re.ASCII)
# How exact a position is told: about a metre.
_DEGREE_PLACES: Final = Decimal("0.00001")
# Where AT7 has its time, before its code: release 003070 has the century in front of it.
CLOCK, CLOCK_BEHIND_CENTURY = 6, 7
CENTURIES: Final = ("19", "20")
END_OF_DAY: Final = re.compile(r"24(00){1,3}|24000", re.ASCII)
COUNTRIES: Final[Mapping[str, str]] = {"USA": "US", "CAN": "CA", "MEX": "MX"}
# Of a place whose country is left out its state or province says it; no code is of both. With the
# states their territories, and the posts of their forces; with the provinces two former codes.
STATES: Final = frozenset([
    "AK", "AL", "AR", "AZ", "CA", "CO", "CT", "DC", "DE", "FL", "GA", "HI", "IA", "ID",
    "IL", "IN", "KS", "KY", "LA", "MA", "MD", "ME", "MI", "MN", "MO", "MS", "MT", "NC",
    "ND", "NE", "NH", "NJ", "NM", "NV", "NY", "OH", "OK", "OR", "PA", "RI", "SC", "SD",
    "TN", "TX", "UT", "VA", "VT", "WA", "WI", "WV", "WY",
    "AS", "GU", "MP", "PR", "VI", "AA", "AE", "AP",
])  # fmt: skip
PROVINCES: Final = frozenset([
    "AB", "BC", "MB", "NB", "NL", "NS", "NT", "NU", "ON", "PE", "QC", "SK", "YT", "NF", "PQ",
])  # fmt: skip
# Time codes of X12 (data element 623): hours ahead of UTC; 01 to 24 are offsets, from 13 on behind.
OFFSETS: Final[Mapping[str, str]] = {
    "UT": "+00:00", "GM": "+00:00",
    "ES": "-05:00", "ED": "-04:00", "CS": "-06:00", "CD": "-05:00", "MS": "-07:00",
    "MD": "-06:00", "PS": "-08:00", "PD": "-07:00", "AS": "-09:00", "AD": "-08:00",
    "HS": "-10:00", "HD": "-09:00", "TS": "-04:00", "TD": "-03:00", "NS": "-03:30",
    "ND": "-02:30",
    **{f"{hours:02}": f"+{hours:02}:00" for hours in range(1, 13)},
    **{f"{hours:02}": f"-{25 - hours:02}:00" for hours in range(13, 25)},
}  # fmt: skip
# Those that leave it to the day whether the clocks are put forward.
ZONES: Final[Mapping[str, str]] = {
    "ET": "America/New_York", "CT": "America/Chicago", "MT": "America/Denver",
    "PT": "America/Los_Angeles", "AT": "America/Anchorage", "HT": "Pacific/Honolulu",
    "TT": "America/Halifax", "NT": "America/St_Johns",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class StatusRules:
    """What a deployment knows of its carrier: whose SCACs are its own (none: any), the zone of
    local times by "US-OR", "US" or "US-OR-PORTLAND", which codes tell a delivery to come, and
    whether its times of 24:00 are the end of their day."""

    carrier_code: str
    scacs: Sequence[str] = ()
    zones: Mapping[str, str] = field(default_factory=dict)
    estimates: Sequence[str] = ()
    ends_days: bool = False


@dataclass(frozen=True, slots=True)
class Status:
    """What a 214 says: the scans of one PRO, in its order, and what could not be read.

    shipment: B10-02, the shipment identification number, which is the shipper's; "": not said.
    """

    pro: str
    events: tuple[tracking_pb2.TrackingEvent, ...]
    errors: tuple[Unreadable, ...] = ()
    shipment: str = ""


def read(found: TransactionSet, group: Group, mappings: Mappings, rules: StatusRules) -> Status:
    """Every scan of a 214; one that is wrong costs none of the others.

    SegmentError: it says of no shipment, or of another carrier's.
    """
    head = next((each for each in found.body if each.id == "B10"), None)
    if head is None:
        raise found.header.lacks("B10")
    scac = head.need(3).upper()
    if rules.scacs and scac not in rules.scacs:
        raise head.error("is not the carrier of this endpoint", BAD_CODE, 3)
    pro = _pro(head, found.body)
    events: list[tracking_pb2.TrackingEvent] = []
    errors: list[Unreadable] = []
    for reported in _reported(found.body):
        try:
            events.append(_event(pro, reported, group, mappings, rules))
        except Unreadable as error:
            errors.append(error)
    if not events and not errors:
        errors.append(head.lacks("AT7"))
    # It only helps where the PRO is unknown: what is wrong in it costs nobody a scan.
    shipment = head.delimiters.clean(head.raw(2))[:MAX_SHIPMENT]
    return Status(pro, tuple(events), tuple(errors), shipment)


def source_time(
    day: date, clock: time | None, code: str, precise: bool, zone: str
) -> types_pb2.SourceTime:
    """When something happened. zone: of the place, for local time; "" leaves it unknown.

    A day alone is a day. Codes that the standard does not know leave the zone unknown, too.
    """
    if clock is None:
        return local_times.source_time(day.isoformat(), None)
    digits = "%H:%M:%S" if precise else "%H:%M"
    local = f"{day.isoformat()}T{clock.strftime(digits)}"
    if code in OFFSETS:
        return local_times.source_time(local + OFFSETS[code], None)
    if code in ("", LOCAL):
        return local_times.source_time(local, zone or None)
    return local_times.source_time(local, ZONES.get(code))


def _pro(head: Segment, body: Sequence[Segment]) -> str:
    """B10-01, or the reference that is called the carrier's: by B10-05, or in a segment of its own.

    The standard wants B10-01 or B10-06 (R0106).
    """
    called = head.text(6) if head.text(5).upper() == references.CARRIER else ""
    told = head.text(1) or called or references.text(body, references.CARRIER)
    pro = plain(told)
    if not pro:
        raise head.error("is missing, and no reference is called the carrier's", MISSING, 1)
    if len(pro) > MAX_PRO:
        raise head.error(f"has more than {MAX_PRO} characters", "5", 1)
    return pro


@dataclass(frozen=True, slots=True)
class _Reported:
    """An AT7 with the MS1 that stands before the next one, if any, and the remarks about it."""

    status: Segment
    where: Segment | None = None
    remarks: tuple[str, ...] = ()


def _reported(body: Sequence[Segment]) -> list[_Reported]:
    """Each AT7. A remark in front of all is about the only one, or about none of them."""
    found: list[_Reported] = []
    about_all: tuple[str, ...] = ()
    for each in body:
        if each.id == "AT7":
            found.append(_Reported(each))
        elif each.id == "MS1" and found and found[-1].where is None:
            found[-1] = replace(found[-1], where=each)
        elif said := _words_of(each):
            if found:
                found[-1] = replace(found[-1], remarks=found[-1].remarks + said)
            else:
                about_all += said
    if len(found) == 1:
        found = [replace(found[0], remarks=about_all + found[0].remarks)]
    return found


def _words_of(found: Segment) -> tuple[str, ...]:
    """What a remark says, or an exception of the lading: its code, quantity and packaging form."""
    match found.id:
        case "K1":
            return tuple(filter(None, (_free(found, at) for at in (1, 2))))
        case "Q7":
            told = " ".join(filter(None, (_free(found, at) for at in (1, 3, 2))))
            return (f"lading exception {told}",) if told else ()
    return ()


def _free(found: Segment, element: int) -> str:
    """Free text: what is wrong in it costs nobody a scan."""
    return found.delimiters.clean(found.raw(element))


def _signer(remarks: Sequence[str]) -> str:
    """Who signed, where a remark says so; "" where none does."""
    return next(filter(None, (_signer_of(each) for each in remarks)), "")


def _signer_of(remark: str) -> str:
    """The name in a remark that says who signed. A proof of delivery made of anything else would
    be worse than none: what denies it, or puts it off, or begins with no letter, is no name."""
    found = _SIGNED.search(remark)
    if found is None or _UNSIGNED.search(remark[: found.end()]):
        return ""
    name = found[1].strip()
    return name if name[:1].isalpha() else ""


def _description(reason: str, expected: str, position: str, remarks: Sequence[str]) -> str:
    """The reason's code, a time that lies ahead, a position in degrees, and all remarks: also who
    signed, in the carrier's own words."""
    told = [f"reason {reason}"] if reason else []
    told += [f"for {expected}"] if expected else []
    return "; ".join([*told, *filter(None, [position]), *remarks])


def _event(
    pro: str,
    reported: _Reported,
    group: Group,
    mappings: Mappings,
    rules: StatusRules,
) -> tracking_pb2.TrackingEvent:
    status = reported.status
    code, reason = _code(status)
    # With some statuses the reason says more, where it has a row: of the type that the status is.
    why = Code(code.code, reason)
    codes = [why, code] if mappings.first(Topic.STATUS, [why]) and not code.type else [code]
    row = mappings.first(Topic.STATUS, codes)
    meaning = None if row is None else row[1]
    milestone = "UNKNOWN" if meaning is None else meaning.canonical
    city, state, country, postal_code = _place(reported.where)
    zone = zone_of(city.upper(), state, country, rules.zones)
    when = _time(status, zone, ends_days=rules.ends_days)
    is_estimate = code.code in rules.estimates and not code.type
    is_ahead = code.type == APPOINTMENT or code.code in AHEAD
    # An estimate in a zone that nobody knows has no moment to be told as.
    in_words = is_ahead or (is_estimate and not when.HasField("instant"))
    expected = _told(when) if in_words else ""
    description = _description(reason, expected, _position(reported.where), reported.remarks)
    event = tracking_pb2.TrackingEvent(
        carrier_code=rules.carrier_code,
        tracking_number=pro,
        milestone=shipment_pb2.Milestone.Value(f"MILESTONE_{milestone}"),
        status_type=code.type,
        status_code=code.code[: carrier_scans.MAX_STATUS_CODE],
        description=description[: carrier_scans.MAX_DESCRIPTION],
        event_time=when,
        place=carrier_scans.place(city, state, postal_code, country),
        exception_reason="" if meaning is None else meaning.exception_reason,
        native_codes=[types_pb2.NativeCode(type=each.type, code=each.code) for each in codes],
        channel=FILE,
    )
    if milestone == "DELIVERED":
        event.signed_by = _signer(reported.remarks)[:MAX_SIGNER]
    if is_estimate:
        _estimate(event, when, group)
    elif is_ahead:
        event.event_time.CopyFrom(_written(group))
    return event


def _code(status: Segment) -> tuple[Code, str]:
    """The status or the appointment, and its reason."""
    own, appointment = status.text(1).upper(), status.text(3).upper()
    if own and appointment:
        raise status.error("stands beside a status; only one may be there", EXCLUDED, 3)
    if not own and not appointment:
        raise status.error("is missing, and so is element 3", "2", 1)
    element, code = (1, Code("", own)) if own else (3, Code(APPOINTMENT, appointment))
    if len(code.code) > MAX_CODE:
        raise status.error("is too long for a code", "5", element)
    return code, status.text(element + 1).upper()[:MAX_CODE]


def _place(where: Segment | None) -> tuple[str, str, str, str]:
    """City, state, two-letter country and postal code of an MS1."""
    if where is None:
        return "", "", "", ""
    country = _free(where, 3).upper()
    country = COUNTRIES.get(country, country)
    state = _free(where, 2).upper()
    return _free(where, 1), state, country or _country_of(state), _free(where, 8)


def _position(where: Segment | None) -> str:
    """Latitude and longitude of an MS1, which stand in place of a city; "" where it says none."""
    if where is None:
        return ""
    # The last are decimal degrees, of release 007040 and later.
    latitude = _degrees(_free(where, 5), _free(where, 7)) or _free(where, 10)
    longitude = _degrees(_free(where, 4), _free(where, 6)) or _free(where, 9)
    if not (latitude and longitude):
        return ""
    return f"latitude {latitude}, longitude {longitude}"


def _degrees(told: str, direction: str) -> str:
    """An angle in decimal degrees with its direction; as it stands there in any other form."""
    found = _DEGREES.fullmatch(told)
    if found is not None:
        degrees, minutes, seconds = (Decimal(each) for each in found.groups())
        exact = degrees + minutes / 60 + seconds / 3600
        told = f"{exact.quantize(_DEGREE_PLACES)}"
    return f"{told} {direction}".strip() if told else ""


def _country_of(state: str) -> str:
    """The country of a state or province; "" where it is of neither country, or of none."""
    if state in STATES:
        return "US"
    return "CA" if state in PROVINCES else ""


def _time(status: Segment, zone: str, *, ends_days: bool) -> types_pb2.SourceTime:
    """When a status was. ends_days: 24:00, which the standard does not know (data element 337 has
    the hours 00 to 23), is the first moment of the next day."""
    day = status.date(5)
    if day is None:
        raise status.error("is missing", MISSING, 5)
    at = _clock_of(status)
    is_end = ends_days and END_OF_DAY.fullmatch(status.text(at)) is not None
    if is_end and day < date.max:
        day += timedelta(days=1)
    clock = time() if is_end else status.time(at)
    precise = len(status.text(at)) > len("HHMM")
    try:
        return source_time(day, clock, status.text(at + 1).upper(), precise, zone)
    except ValueError as error:
        raise status.error("is in no year of business", BAD_DATE, 5) from error


def _clock_of(status: Segment) -> int:
    """Which element is the time. A day without its century is of a release before 004010, and there
    the century may stand before the time, or its empty place: behind that is a time only what has
    four characters at least, for it may be a zone that was given without a time."""
    said, behind = status.text(CLOCK), status.text(CLOCK_BEHIND_CENTURY)
    is_moved = said in CENTURIES or (not said and len(behind) >= len("HHMM"))
    is_short = len(status.text(5)) == SHORT_DATE
    return CLOCK_BEHIND_CENTURY if is_short and is_moved else CLOCK


def _estimate(
    event: tracking_pb2.TrackingEvent, expected: types_pb2.SourceTime, group: Group
) -> None:
    """A delivery to come: AT7 has its time, and the group says when that was written."""
    if expected.HasField("instant"):
        event.estimated_delivery.start.CopyFrom(expected.instant)
        event.estimated_delivery.end.CopyFrom(expected.instant)
    event.event_time.CopyFrom(_written(group))


def _told(when: types_pb2.SourceTime) -> str:
    """A time for people, as exact as it was said."""
    if when.precision == types_pb2.TIME_PRECISION_DAY:
        return when.local.partition("T")[0]
    return f"{when.local}{when.utc_offset}"


def _written(group: Group) -> types_pb2.SourceTime:
    """When the group was written, by the sender's clock, of whose zone nobody says anything."""
    day = group.header.date(4)
    if day is None:
        raise group.header.error("is missing", MISSING, 4)
    try:
        clock = group.header.time(5)
    except SegmentError:
        # Such as 2400: the day is told, and no scan of the group is lost for its hour.
        clock = None
    local = datetime.combine(day, clock or time())
    precision = "seconds" if clock is not None and clock.second else "minutes"
    written = local.isoformat(timespec=precision) if clock is not None else day.isoformat()
    try:
        return local_times.source_time(written, None)
    except ValueError as error:
        raise group.header.error("is in no year of business", BAD_DATE, 4) from error
