"""Quantities and their units: exact, by UN/ECE Recommendation 20 and by what is said of an item.

Nothing here is a float, and nothing is rounded that was not asked to be.
"""

from crossdock.quantities.conversion import (
    CONVERSIONS_MAX,
    STEPS_MAX,
    Contradiction,
    Conversion,
    NotConvertible,
    Origin,
    Rule,
    conversion,
    disagreement,
)
from crossdock.quantities.decimals import Rounding, exact_decimal, plain, rounded
from crossdock.quantities.units import UNITS, Unit

__all__ = [
    "CONVERSIONS_MAX",
    "STEPS_MAX",
    "UNITS",
    "Contradiction",
    "Conversion",
    "NotConvertible",
    "Origin",
    "Rounding",
    "Rule",
    "Unit",
    "conversion",
    "disagreement",
    "exact_decimal",
    "plain",
    "rounded",
]
