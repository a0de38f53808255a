"""Weights and lengths in the units a carrier takes: exact decimals, never a float.

Units are codes of UN/ECE Recommendation 20. What is rounded is rounded up, so that nothing is
declared lighter or smaller than it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import ROUND_UP, Decimal, InvalidOperation

from crossdock.types.v1 import types_pb2

from crossdock_adapters.sdk.outcomes import Untranslatable

# Code: (kilograms or centimetres in one, exactly).
KILOGRAMS: Mapping[str, Decimal] = {
    "KGM": Decimal(1),
    "GRM": Decimal("0.001"),
    "LBR": Decimal("0.45359237"),
    "ONZ": Decimal("0.028349523125"),
}
CENTIMETRES: Mapping[str, Decimal] = {
    "CMT": Decimal(1),
    "MMT": Decimal("0.1"),
    "MTR": Decimal(100),
    "INH": Decimal("2.54"),
    "FOT": Decimal("30.48"),
}


def weight_in(quantity: types_pb2.Quantity, unit: str, step: Decimal) -> Decimal:
    """A weight in `unit`, rounded up to a multiple of `step`. Untranslatable: it has none."""
    value = _converted(quantity, unit, KILOGRAMS).quantize(step, rounding=ROUND_UP)
    if value <= 0:
        raise Untranslatable("the package has no weight")
    return value


def length_in(quantity: types_pb2.Quantity, unit: str, step: Decimal) -> Decimal:
    """A length in `unit`, rounded up to a multiple of `step`."""
    return _converted(quantity, unit, CENTIMETRES).quantize(step, rounding=ROUND_UP)


def plain(value: Decimal) -> str:
    """A decimal without exponent and without trailing zeros: 4.20 is 4.2, 5.0 is 5."""
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _converted(quantity: types_pb2.Quantity, unit: str, factors: Mapping[str, Decimal]) -> Decimal:
    try:
        value = Decimal(quantity.value)
    except InvalidOperation:
        raise Untranslatable(f"{quantity.value!r} is no number") from None
    if quantity.unit not in factors:
        raise Untranslatable(f"unit {quantity.unit!r} is not known to carriers")
    if quantity.unit == unit:
        return value
    return value * factors[quantity.unit] / factors[unit]
