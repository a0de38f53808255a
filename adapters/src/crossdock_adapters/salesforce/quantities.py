"""Numbers of an org's records: quantities and prices, exactly as they came."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from crossdock_adapters.salesforce.names import Names
from crossdock_adapters.sdk.places import Unreadable

MAX_QUANTITY: Final = Decimal("1e15")
# Digits and exponents beyond this are no amount of anything that can be picked.
MAX_DIGITS: Final = 30


def quantity(
    row: Mapping[str, Any], name: str, names: Names, default: Decimal | None = None
) -> Decimal:
    """A row's quantity of that name, or the default where it has none. Unreadable: it is none."""
    value = names.get(row, name)
    if value is None and default is not None:
        return default
    found = decimal_of(value, names.pointer(name))
    if not 0 <= found < MAX_QUANTITY:
        raise Unreadable("is no quantity", names.pointer(name))
    return found


def decimal_of(value: Any, place: str) -> Decimal:
    """A number that came as JSON. Unreadable: it is none, or of no amount in this world."""
    if isinstance(value, bool) or not isinstance(value, (int, Decimal)):
        raise Unreadable("is no number", place)
    try:
        found = Decimal(value)
        digits, exponent = len(found.as_tuple().digits), found.as_tuple().exponent
    except InvalidOperation:
        raise Unreadable("is no number", place) from None
    if not isinstance(exponent, int) or digits > MAX_DIGITS or abs(exponent) > MAX_DIGITS:
        raise Unreadable("is no number of this world", place)
    return found
