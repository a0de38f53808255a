"""Times as vendors write them, with an offset or not: a SourceTime, or a moment; never a guess."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from crossdock.types.v1 import types_pb2

FIRST_YEAR, LAST_YEAR = 1990, 2200

_TIME = re.compile(
    r"(?P<day>\d{4}-\d{2}-\d{2})"
    r"(?:[T ](?P<minute>\d{2}:\d{2})(?::(?P<second>\d{2})(?:[.,]\d{1,9})?)?)?"
    r"\s*(?P<offset>Z|[+-]\d{2}:?\d{2})?"
)


def source_time(text: str, zone: str | None) -> types_pb2.SourceTime:
    """What a message says about when. ValueError when it is no time at all.

    `zone` is the facility's IANA zone; None or an unknown name leaves the instant unset. So does
    a local time that a clock change skips or shows twice: two instants are possible, and nobody
    knows which.
    """
    match = _TIME.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text[:40]!r} is not a time")
    second = match["second"] or "00"
    minute = match["minute"] or "00:00"
    local = datetime.fromisoformat(f"{match['day']}T{minute}:{second}")
    answer = types_pb2.SourceTime(local=local.isoformat(), precision=_precision(match))
    if not FIRST_YEAR <= local.year <= LAST_YEAR:
        raise ValueError(f"{text[:40]!r} is in no year of business")
    if match["offset"] and match["minute"]:
        given = _offset(match["offset"])
        answer.zone = types_pb2.TIME_ZONE_SOURCE_GIVEN
        _place(answer, local, given)
        return answer
    offset = _offset_at(local, zone)
    if offset is None:
        answer.zone = types_pb2.TIME_ZONE_SOURCE_UNKNOWN
        return answer
    answer.zone = types_pb2.TIME_ZONE_SOURCE_FROM_LOCATION
    _place(answer, local, offset)
    return answer


def moment_in(text: str, zone: ZoneInfo | None = None) -> datetime | None:
    """A moment in ISO format, in UTC; None: the text does not say one.

    zone: of a time that names none; without it that is nobody's moment. Of an hour that comes twice
    it is the second. A year of no business says none: 0001-01-01 and 9999-12-31 are how programs
    write "nothing", and have no moment in some zones.
    """
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    if found.tzinfo is None and zone is not None:
        found = found.replace(tzinfo=zone, fold=1)
    if found.tzinfo is None or not FIRST_YEAR <= found.year <= LAST_YEAR:
        return None
    return found.astimezone(UTC)


def known_zone(name: str | None) -> str | None:
    """The name when it is an IANA zone this machine knows, else None."""
    if not name:
        return None
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None
    return name


def _precision(match: re.Match[str]) -> types_pb2.TimePrecision.ValueType:
    if match["second"]:
        return types_pb2.TIME_PRECISION_SECOND
    return types_pb2.TIME_PRECISION_MINUTE if match["minute"] else types_pb2.TIME_PRECISION_DAY


def _offset(text: str) -> timedelta:
    if text == "Z":
        return timedelta(0)
    hours, minutes = int(text[1:3]), int(text[-2:])
    if hours > 14 or minutes > 59:
        raise ValueError(f"{text} is not an offset from UTC")
    size = timedelta(hours=hours, minutes=minutes)
    return -size if text[0] == "-" else size


def _offset_at(local: datetime, zone: str | None) -> timedelta | None:
    """The zone's offset at a local time; None when the zone or the offset is not certain."""
    if known_zone(zone) is None or zone is None:
        return None
    info = ZoneInfo(zone)
    earlier = local.replace(tzinfo=info, fold=0).utcoffset()
    later = local.replace(tzinfo=info, fold=1).utcoffset()
    return earlier if earlier == later else None


def _place(answer: types_pb2.SourceTime, local: datetime, offset: timedelta) -> None:
    answer.instant.FromDatetime(local.replace(tzinfo=timezone(offset)).astimezone(UTC))
    sign = "-" if offset < timedelta(0) else "+"
    minutes = abs(offset) // timedelta(minutes=1)
    answer.utc_offset = f"{sign}{minutes // 60:02d}:{minutes % 60:02d}"
