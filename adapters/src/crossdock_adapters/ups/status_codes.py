"""From a UPS status (type, two-character code, three-digit code) to a canonical milestone.

What codes mean is data (`mappings.toml`, and what the hub has of it); here is in which order the
codes of a status are looked up: the three-digit code, then the two-character code in the tables of
its type; the type alone where there is no code. What no row names is UNKNOWN and keeps its
raw codes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final

from crossdock_adapters.sdk.mappings import MAX_CODE, MAX_TYPE, Code, Mappings, Topic, file_of

UNKNOWN: Final = "UNKNOWN"
THREE_DIGIT: Final = "three_digit"
# A status type, and the vendor's tables in which its two-character codes are looked up.
TABLES: Final[Mapping[str, tuple[str, ...]]] = {
    "D": ("D", "X"),
    "I": ("I",),
    "M": ("M",),
    "MV": ("MV", "M"),
    "X": ("X", "D"),
    "U": ("U",),
    "DO": ("I",),
    "DD": ("I",),
    "W": ("I",),
    "P": ("I",),
    "O": ("I",),
    "RS": ("X",),
}
# "Ready for UPS", and where it contradicts itself: an exception or a delivery is not that.
READY: Final = 3
AFTER_READY: Final = frozenset({"X", "D"})
# A longer number is no three-digit code, however many zeros it begins with.
MAX_NUMBER_DIGITS: Final = 9


@dataclass(frozen=True, slots=True)
class Meaning:
    """What one status means: the milestone, why (may be empty), and the code that said so."""

    milestone: str
    reason: str = ""
    code: Code | None = None

    @property
    def is_mapped(self) -> bool:
        """False for a code that no row names: the caller counts it and keeps it raw."""
        return self.milestone != UNKNOWN


@dataclass(frozen=True, slots=True)
class StatusTable:
    """What statuses mean by the rows that hold now."""

    mappings: Mappings

    def resolve(self, kind: str, code: str, status_code: str) -> Meaning:
        """The meaning of one status as the vendor wrote it; any part may be empty."""
        found = self.mappings.first(Topic.STATUS, codes_of(kind, code, status_code))
        if found is None:
            return Meaning(UNKNOWN)
        code_found, meaning = found
        return Meaning(meaning.canonical, meaning.exception_reason, code_found)


def codes_of(kind: str, code: str, status_code: str) -> tuple[Code, ...]:
    """The codes by which a status is read, the most telling first; at least one.

    `code` may hold the three-digit value too: real `currentStatus` objects write it there.
    """
    kind, code = kind.strip().upper()[:MAX_TYPE], code.strip().upper()
    number, code = _three_digit_value(status_code, code)
    code = code[:MAX_CODE]
    found = [] if number is None else [Code(THREE_DIGIT, f"{number:03d}")]
    tables = TABLES.get(kind)
    if tables is None:
        return (*found, Code(kind, code)) if code or not found else tuple(found)
    if code:
        letters = [Code(table, code) for table in tables]
        first = number == READY and kind in AFTER_READY
        found = [*letters, *found] if first else [*found, *letters]
    elif number is None:
        found.append(Code(kind, ""))
    return tuple(found)


@cache
def shipped_table() -> StatusTable:
    """The table as it comes with the adapter, whatever a hub says."""
    return StatusTable(Mappings(file_of(__package__)))


def three_digit(status_code: str, code: str) -> str:
    """The three-digit code where a status has one, in the field for it or in the other's place."""
    number, _ = _three_digit_value(status_code, code.strip())
    return "" if number is None else f"{number:03d}"


def _three_digit_value(status_code: str, code: str) -> tuple[int | None, str]:
    stripped = status_code.strip()
    if stripped.isascii() and stripped.isdigit() and len(stripped) <= MAX_NUMBER_DIGITS:
        return int(stripped), code
    if len(code) == 3 and code.isascii() and code.isdigit():
        return int(code), ""
    return None, code
