"""OData V2 as SAP Gateway writes it: addresses, literals and values. Pure.

Decimals and 64-bit integers travel as strings, calendar dates as UTC midnight in milliseconds, and
the `;` of a versioned service must reach the server as it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, Final
from urllib.parse import quote

ROOT: Final = "/sap/opu/odata/sap"
ITEM_DIGITS: Final = 6
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
# The initial date of ABAP, which stands for none: the first day of the year 1, by the calendar of
# Julius and by that of Gregory.
_INITIAL: Final = frozenset({-62_135_769_600_000, -62_135_596_800_000})
_MILLISECONDS: Final = re.compile(r"/Date\((-?[0-9]{1,15})([+-][0-9]{1,4})?\)/")
# What may stand in a query beside letters and digits: it is written by us, not by a browser.
_QUERY_SAFE: Final = "$'(),:/=-_.~"


def text(value: str) -> str:
    """A string literal: single quotes, an inner quote doubled."""
    return "'" + value.replace("'", "''") + "'"


def decimal(value: Decimal) -> str:
    """A decimal literal of a query or key, with the suffix M."""
    return f"{value:f}M"


def datetime_literal(moment: datetime) -> str:
    """An Edm.DateTime literal: no zone, UTC."""
    return f"datetime'{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S}'"


def offset_literal(moment: datetime) -> str:
    """An Edm.DateTimeOffset literal in UTC."""
    return f"datetimeoffset'{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}'"


def key(**properties: str) -> str:
    """A key predicate; a single property stands without its name."""
    if len(properties) == 1:
        return f"({_encoded(text(next(iter(properties.values()))))})"
    pairs = ",".join(f"{name}={_encoded(text(value))}" for name, value in properties.items())
    return f"({pairs})"


def equals(property_name: str, value: str) -> str:
    """A filter for one value of a string property."""
    return f"{property_name} eq {text(value)}"


def query(options: Mapping[str, str]) -> str:
    """The query of an address, encoded: blanks as %20, because `+` is a plus sign in OData."""
    return "&".join(
        f"{quote(name, safe='$')}={quote(value, safe=_QUERY_SAFE)}"
        for name, value in options.items()
    )


def day(value: date) -> str:
    """A calendar date as Edm.DateTime in JSON: UTC midnight, whatever the zone is called."""
    moment = datetime(value.year, value.month, value.day, tzinfo=UTC)
    return f"/Date({(moment - _EPOCH) // timedelta(milliseconds=1)})/"


def moment(value: object) -> datetime | None:
    """The instant in an Edm.DateTime or DateTimeOffset; None where there is none, which a field of
    SAP's says with null, with nothing or with the initial date.

    The offset behind the milliseconds is for display, they count from 1970 UTC. ValueError: it is
    no date.
    """
    if value in (None, ""):
        return None
    found = _MILLISECONDS.fullmatch(str(value))
    if found is None:
        raise ValueError(f"{str(value)[:40]!r} is no date of OData")
    milliseconds = int(found[1])
    if milliseconds in _INITIAL:
        return None
    try:
        return _EPOCH + timedelta(milliseconds=milliseconds)
    except OverflowError:
        raise ValueError(f"{str(value)[:40]!r} is no day of the years 1 to 9999") from None


def number(value: object) -> Decimal:
    """A decimal that came as a JSON string, or as a number. ValueError: it is neither."""
    try:
        found = Decimal(str(value).strip())
    except InvalidOperation:
        raise ValueError(f"{str(value)[:40]!r} is no decimal") from None
    if not found.is_finite() or abs(found.adjusted()) > 30:
        raise ValueError(f"{str(value)[:40]!r} is no decimal of a document")
    return found


def said(row: Mapping[str, Any], name: str) -> str:
    """A property as text; "" where the row has none, or null."""
    value = row.get(name)
    return "" if value is None else str(value)


def decimal_text(value: Decimal) -> str:
    """A decimal for a JSON body: a string, without trailing zeros."""
    plain = f"{value:f}"
    return plain.rstrip("0").rstrip(".") if "." in plain else plain


def bare(number: str) -> str:
    """A document's or item's number without zeros before it, which SAP shows and hides as it likes:
    `10` for an item of a sales order, `000010` for one of a delivery."""
    return number.lstrip("0")


def item_number(shown: object) -> str:
    """An item's number as it is compared: six digits, however SAP shows it; "" where it is none."""
    found = bare(str(shown or ""))
    return found and found.zfill(ITEM_DIGITS)


def with_zeros(key: str, width: int) -> str:
    """A key as SAP keeps and sorts it: a number with zeros before it up to the width of its field,
    so that 9 comes before 10; what is no number as it is, and it stands among the digits."""
    return key.zfill(width) if key.isascii() and key.isdecimal() else key


def by_number(text: str) -> tuple[int, str]:
    """The order of document numbers, which are texts: 9 comes before 10."""
    return len(text.lstrip("0")), text


def feed(content: Any) -> Sequence[Mapping[str, Any]] | None:
    """The rows of a collection; None: it is none, and says nothing about what there is."""
    listed = content.get("results") if isinstance(content, Mapping) else content
    if not isinstance(listed, list) or not all(isinstance(row, Mapping) for row in listed):
        return None
    return listed


def rows(content: Any) -> Sequence[Mapping[str, Any]]:
    """What a `d` holds as a list: a feed, a bare list, or a single object."""
    if isinstance(content, Mapping) and isinstance(content.get("results"), list):
        content = content["results"]
    if isinstance(content, list):
        return [row for row in content if isinstance(row, Mapping)]
    return [content] if isinstance(content, Mapping) else []


def inner(row: Mapping[str, Any], navigation: str) -> Sequence[Mapping[str, Any]]:
    """The rows of an expanded navigation; none where it is only a link."""
    found = row.get(navigation)
    if isinstance(found, Mapping) and "__deferred" in found:
        return []
    return rows(found)


def _encoded(literal: str) -> str:
    return quote(literal, safe="'")
