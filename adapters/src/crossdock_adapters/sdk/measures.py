"""Weights and lengths in the units a vendor takes: exact decimals, never a float.

Units are codes of UN/ECE Recommendation 20. What a carrier is told is rounded up, so that nothing
is declared lighter or smaller than it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Final

from crossdock.quantities import UNITS, Rounding, conversion, plain, rounded
from crossdock.types.v1 import types_pb2

from crossdock_adapters.sdk.mappings import Topic, UnsentWord
from crossdock_adapters.sdk.outcomes import Untranslatable

__all__ = ["exactly_in", "length_in", "plain", "weight_in", "word_of"]

MASS: Final = "mass"
LENGTH: Final = "length"


def weight_in(quantity: types_pb2.Quantity, unit: str, step: Decimal) -> Decimal:
    """A weight in `unit`, rounded up to a multiple of `step`. Untranslatable: it has none."""
    value = rounded(exactly_in(quantity, unit, MASS), step, Rounding.UP)
    if value <= 0:
        raise Untranslatable("the package has no weight")
    return value


def length_in(quantity: types_pb2.Quantity, unit: str, step: Decimal) -> Decimal:
    """A length in `unit`, rounded up to a multiple of `step`."""
    return rounded(exactly_in(quantity, unit, LENGTH), step, Rounding.UP)


def word_of(unit: str, units: Mapping[str, str], kind: str) -> str:
    """A carrier's word for a unit. units: by the contract's code; kind: of the endpoint, as
    `crossdock map` calls it. Untranslatable: it has no row that is sent."""
    found = units.get(unit)
    if found is None:
        unsent = UnsentWord(Topic.UNIT, unit)
        raise Untranslatable.for_want_of(
            unsent, kind, f"unit {unit} has no row that is sent", "WORD"
        )
    return found


def exactly_in(quantity: types_pb2.Quantity, unit: str, dimension: str) -> Fraction:
    """A quantity in `unit`, exactly. Untranslatable: it is no number, or measures something else.

    unit: of that dimension, one of `crossdock.quantities.UNITS`.
    """
    try:
        value = Fraction(Decimal(quantity.value))
    except (InvalidOperation, ValueError, OverflowError):
        raise Untranslatable(f"{quantity.value!r} is no number") from None
    known = UNITS.get(quantity.unit)
    if known is None or known.dimension != dimension:
        raise Untranslatable(f"unit {quantity.unit!r} is no unit of {dimension}")
    return value * conversion(quantity.unit, unit).ratio
