"""Whom a fulfillment order goes to, in the contract's words. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any, Final

from crossdock.types.v1 import types_pb2

from crossdock_adapters.salesforce.names import Names
from crossdock_adapters.sdk.places import Unreadable

ADDRESS_LINES: Final = 4
MAX_LINE: Final = 100


def ship_to(
    order: Mapping[str, Any], names: Names, countries: Mapping[str, str]
) -> types_pb2.Party:
    """countries: by name to their code. Unreadable: a name, a country or room for the street is
    missing."""
    country = names.text(order, "order.country")
    code = countries.get(country, country)
    if len(code) != 2 or not code.isascii() or not code.isalpha():
        raise Unreadable(
            f"country {country!r} is no code and not in the setting countries",
            names.pointer("order.country"),
        )
    address = types_pb2.Address(
        lines=street_lines(names.get(order, "order.street"), names.pointer("order.street")),
        city=_cut(names.get(order, "order.city"), 60),
        state=_cut(names.get(order, "order.state"), 20),
        postal_code=_cut(names.get(order, "order.postal_code"), 16),
        country_code=code.upper(),
    )
    return types_pb2.Party(
        name=_cut(names.text(order, "order.name"), 100),
        phone=_cut(names.get(order, "order.phone"), 32),
        email=_cut(names.get(order, "order.email"), 254),
        address=address,
    )


def street_lines(value: Any, place: str) -> list[str]:
    """A street's lines as they were written, as far as there is room for them; longer ones are
    broken between words, and too many stand behind each other. Unreadable: there is no room."""
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


def _cut(value: Any, most: int) -> str:
    return value[:most] if isinstance(value, str) else ""
