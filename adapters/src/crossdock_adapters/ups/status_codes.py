"""From a UPS status (type, two-character code, three-digit code) to a canonical milestone.

The table is data (`status_codes.toml`). Resolution order: three-digit code, then the pair of type
and two-character code, then the type alone. What no row names is UNKNOWN and keeps its raw codes.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, TypeVar

UNKNOWN = "UNKNOWN"
# The names of crossdock.shipment.v1.Milestone without their prefix.
MILESTONES = frozenset(
    {
        "LABEL_CREATED",
        "CARRIER_ACCEPTED",
        "IN_TRANSIT",
        "OUT_FOR_DELIVERY",
        "DELIVERY_ATTEMPTED",
        "READY_FOR_COLLECTION",
        "EXCEPTION",
        "DELIVERED",
        "RETURNING",
        "RETURNED",
        "VOIDED",
        "INFORMATION",
        UNKNOWN,
    }
)
# The words of crossdock.tracking.v1.TrackingEvent.exception_reason that this carrier has codes for.
REASONS = frozenset(
    {
        "ACCESS_RESTRICTED",
        "ADDRESS_PROBLEM",
        "BUSINESS_CLOSED",
        "CARRIER_DELAY",
        "CUSTOMS_CLEARED",
        "CUSTOMS_HOLD",
        "CUSTOMS_INFORMATION",
        "DAMAGED",
        "HOLD_REQUESTED",
        "LOST_OR_INVESTIGATION",
        "OTHER",
        "PAYMENT_REQUIRED",
        "PICKUP_FAILED",
        "RECIPIENT_UNAVAILABLE",
        "REFUSED",
        "SECURITY_OR_REGULATORY",
        "SIGNATURE_REQUIRED",
        "WEATHER",
    }
)
# How sure a row is, for whoever maintains the table: nothing decides by it.
CONFIDENCES = frozenset({"H", "M", "L"})
_Key = TypeVar("_Key", int, tuple[str, str])


@dataclass(frozen=True, slots=True)
class Meaning:
    """What one status means: the milestone, why (may be empty), and which rule said so."""

    milestone: str
    reason: str = ""
    rule: str = "none"

    @property
    def is_mapped(self) -> bool:
        """False for a code that no row names: the caller counts it and keeps it raw."""
        return self.milestone != UNKNOWN


@dataclass(frozen=True, slots=True)
class TypeRule:
    """What a status type says without a code, for an unlisted one, and which tables it reads.

    unlisted_beside_number: for an unlisted code when a three-digit code came that no row names.
    """

    without_code: str
    unlisted: str
    unlisted_beside_number: str
    tables: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StatusTable:
    """One version of the whole table; build it with `read_table`."""

    version: str
    three_digit: Mapping[int, Meaning]
    two_character: Mapping[tuple[str, str], Meaning]
    types: Mapping[str, TypeRule]

    def resolve(self, kind: str, code: str, status_code: str) -> Meaning:
        """The meaning of one status as the vendor wrote it; any part may be empty.

        `code` may hold the three-digit value too: real `currentStatus` objects write it there.
        """
        kind, code = kind.strip().upper(), code.strip().upper()
        number, code = _three_digit_value(status_code, code)
        if number is not None and number in self.three_digit:
            return self.three_digit[number]
        rule = self.types.get(kind)
        if rule is None:
            return Meaning(UNKNOWN)
        for table in rule.tables if code else ():
            found = self.two_character.get((table, code))
            if found is not None:
                return found
        if code:
            milestone = rule.unlisted if number is None else rule.unlisted_beside_number
            return Meaning(milestone, rule=f"type {kind}, any other code")
        if number is not None:
            return Meaning(UNKNOWN)
        return Meaning(rule.without_code, rule=f"type {kind}")


def read_table(text: str) -> StatusTable:
    """Reads a table; raises ValueError when two rows claim one code or a milestone is unknown."""
    raw = tomllib.loads(text)
    three_digit: dict[int, Meaning] = {}
    for row in raw["three_digit"]:
        for number in row["codes"]:
            _claim(three_digit, int(number), _meaning(row, f"code {number:03d}"))
    two_character: dict[tuple[str, str], Meaning] = {}
    for row in raw["two_character"]:
        for code in row["codes"]:
            key = (str(row["table"]), str(code))
            _claim(two_character, key, _meaning(row, f"{key[0]} {key[1]}"))
    types = {kind: _type_rule(entry) for kind, entry in raw["type"].items()}
    return StatusTable(str(raw["version"]), three_digit, two_character, types)


@cache
def shipped_table() -> StatusTable:
    """The table that comes with the adapter."""
    file = resources.files(__package__).joinpath("status_codes.toml")
    return read_table(file.read_text(encoding="utf-8"))


def _three_digit_value(status_code: str, code: str) -> tuple[int | None, str]:
    stripped = status_code.strip()
    if stripped.isascii() and stripped.isdigit():
        return int(stripped), code
    if len(code) == 3 and code.isascii() and code.isdigit():
        return int(code), ""
    return None, code


def _meaning(row: Mapping[str, Any], rule: str) -> Meaning:
    reason = str(row.get("reason", ""))
    if reason and reason not in REASONS:
        raise ValueError(f"{reason!r} is no reason")
    if row.get("confidence", "H") not in CONFIDENCES:
        raise ValueError(f"{row['confidence']!r} is no confidence")
    return Meaning(_known(row["milestone"]), reason, rule)


def _type_rule(entry: Mapping[str, Any]) -> TypeRule:
    unlisted = _known(entry.get("unlisted", UNKNOWN))
    beside_number = _known(entry.get("unlisted_beside_number", unlisted))
    tables = tuple(entry["tables"])
    return TypeRule(_known(entry["without_code"]), unlisted, beside_number, tables)


def three_digit(status_code: str, code: str) -> str:
    """The three-digit code where a status has one, in the field for it or in the other's place."""
    number, _ = _three_digit_value(status_code, code.strip())
    return "" if number is None else f"{number:03d}"


def _known(milestone: object) -> str:
    if milestone not in MILESTONES:
        raise ValueError(f"{milestone!r} is no milestone")
    return str(milestone)


def _claim(table: dict[_Key, Meaning], key: _Key, meaning: Meaning) -> None:
    if key in table:
        raise ValueError(f"{key!r} is claimed by two rows")
    table[key] = meaning
