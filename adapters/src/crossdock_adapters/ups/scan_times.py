"""Reading the times of a UPS scan without ever inventing a time zone.

Tracking writes offsets with a colon ("-05:00"), Track Alert with a dot ("-04.00"); missing values
are absent in one and empty strings in the other; the vendor's own example of a time lacks its
leading zero. A local time whose offset is not given stays local: it is never stamped as UTC.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta, timezone

from crossdock_adapters.sdk.carrier_scans import (
    FIRST_YEAR,
    LAST_YEAR,
    MAX_OFFSET_MINUTES,
    ScanTime,
    read_offset,
)


def read_scan_time(
    local_date: str, local_time: str, gmt_date: str, gmt_time: str, gmt_offset: str
) -> ScanTime:
    """Combines the five parts a scan carries; each may be empty.

    Raises ValueError when a part is present but is no date, time or offset, or when no date is
    given at all: such a scan has no place in a history and is kept raw instead.
    """
    offset = read_offset(gmt_offset)
    local = _combine(local_date, local_time)
    gmt = _combine(gmt_date, gmt_time) if gmt_date.strip() and gmt_time.strip() else None
    if gmt is not None:
        instant = gmt.replace(tzinfo=UTC)
        if local is None:
            return ScanTime(instant, "", offset, day_only=False)
        known = offset if offset is not None else _offset_between(local, gmt)
        return ScanTime(instant, local.isoformat(), known, day_only=False)
    if local is None:
        raise ValueError("the scan carries no date")
    if not local_time.strip():
        return ScanTime(None, local.date().isoformat(), offset, day_only=True)
    if offset is None:
        return ScanTime(None, local.isoformat(), None, day_only=False)
    zone = timezone(timedelta(minutes=offset))
    instant = local.replace(tzinfo=zone).astimezone(UTC)
    return ScanTime(instant, local.isoformat(), offset, day_only=False)


def read_date(text: str) -> date | None:
    """A date written YYYYMMDD (dashes accepted); None when empty, ValueError when it is none."""
    digits = text.strip().replace("-", "")
    if not digits:
        return None
    if len(digits) != 8 or not digits.isascii() or not digits.isdigit():
        raise ValueError(f"{text!r} is no date")
    if not FIRST_YEAR <= int(digits[:4]) <= LAST_YEAR:
        raise ValueError(f"{text!r} is no date of a parcel")
    return date(int(digits[:4]), int(digits[4:6]), int(digits[6:]))


def read_time(text: str) -> time | None:
    """A time written HHMMSS, with lost leading zeros put back and colons accepted."""
    digits = text.strip().replace(":", "")
    if not digits:
        return None
    if len(digits) > 6 or not digits.isascii() or not digits.isdigit():
        raise ValueError(f"{text!r} is no time of day")
    padded = digits.zfill(6)
    return time(int(padded[:2]), int(padded[2:4]), int(padded[4:]))


def _combine(date_text: str, time_text: str) -> datetime | None:
    day = read_date(date_text)
    if day is None:
        return None
    return datetime.combine(day, read_time(time_text) or time())


def _offset_between(local: datetime, gmt: datetime) -> int | None:
    """The offset that explains both clocks, when it is a real one (quarter hours, within a day)."""
    minutes, rest = divmod(int((local - gmt).total_seconds()), 60)
    if rest or minutes % 15 or abs(minutes) > MAX_OFFSET_MINUTES:
        return None
    return minutes
