"""Times, lists and settings as people at an operations desk read them; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from crossdock_hub.config import SECOND

# How the attempt log marks words that came when nobody waited for them.
LATE = "(late) "
LATER = "; later said "
# How an operator's word says that it rests on a look at the vendor.
LOOKED = "; a person found nothing at the vendor"
_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"))


def duration(microseconds: int) -> str:
    """ "40 s", "3 min", "2 h", "5 d"; the largest unit that fits, rounded down."""
    seconds = max(0, microseconds) // SECOND
    for size, name in _UNITS:
        if seconds >= size:
            return f"{seconds // size} {name}"
    return f"{seconds} s"


def clock(at: int, now: int, *, seconds: bool = False) -> str:
    """ "14:02 UTC", with the date where it is not today's."""
    time = datetime.fromtimestamp(at // SECOND, UTC)
    text = f"{time:%H:%M:%S} UTC" if seconds else f"{time:%H:%M} UTC"
    today = datetime.fromtimestamp(now // SECOND, UTC).date()
    return text if time.date() == today else f"{time:%Y-%m-%d} {text}"


def listed(words: Sequence[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"


def trace_id_of(traceparent: str) -> str:
    """The 32 hexadecimal digits of a W3C traceparent; "" without one."""
    parts = traceparent.split("-")
    return parts[1] if len(parts) == 4 and len(parts[1]) == 32 else ""


def setting_problem(problem: Mapping[str, Any]) -> str:
    """ "CROSSDOCK_ARCHIVE_DAYS: what is wrong", of one error of the settings."""
    name, *inside = (str(part) for part in problem["loc"]) if problem["loc"] else ("settings",)
    where = f" ({'.'.join(inside)})" if inside else ""
    return f"CROSSDOCK_{name.upper()}{where}: {problem['msg']}"
