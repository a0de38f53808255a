"""A street of an org's record as lines of an address of the contract: all of it, or not at all."""

from __future__ import annotations

import textwrap
from typing import Any, Final

from crossdock_adapters.sdk.places import Unreadable

ADDRESS_LINES: Final = 4
MAX_LINE: Final = 100


def street_lines(value: Any, place: str) -> list[str]:
    """Its lines as they were written, as far as there is room for them; longer ones are broken
    between words, and too many stand behind each other. Unreadable: there is no room for all."""
    written = [line.strip() for line in str(value or "").splitlines() if line.strip()]
    kept, rest = written[: ADDRESS_LINES - 1], written[ADDRESS_LINES - 1 :]
    ways = (
        [*kept, ", ".join(rest)] if rest else kept,
        _broken(written),
        _broken([", ".join(written)]),
    )
    for lines in ways:
        if len(lines) <= ADDRESS_LINES and all(len(line) <= MAX_LINE for line in lines):
            return lines
    raise Unreadable(f"has more than {ADDRESS_LINES * MAX_LINE} characters", place)


def _broken(lines: list[str]) -> list[str]:
    return [
        part for line in lines for part in textwrap.wrap(line, MAX_LINE, break_on_hyphens=False)
    ]
