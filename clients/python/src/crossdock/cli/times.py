"""Times as people write them on the command line: an age, or a moment with its zone."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from crossdock.cli.problems import EXIT_USED_WRONGLY, CommandError

UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_AGE: Final = re.compile(r"([1-9][0-9]{0,5})([smhd])")


def time_of(text: str, option: str, now: datetime | None = None) -> datetime:
    """ "2h" is two hours ago; a moment has a zone. CommandError: neither of the two."""
    age = _AGE.fullmatch(text.strip())
    if age is not None:
        ago = timedelta(**{UNITS[age.group(2)]: int(age.group(1))})
        return (now or datetime.now(UTC)) - ago
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise CommandError(
            f"{option} {text!r} is no time",
            "a moment without its zone means a different one to everybody",
            "write an age, 30m, 2h or 3d, or a moment such as 2026-01-31T10:00Z",
            EXIT_USED_WRONGLY,
        )
    return found.astimezone(UTC)
