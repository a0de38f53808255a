"""From exact fractions to decimals: exactly where that is possible, else as it was asked."""

from __future__ import annotations

from decimal import Decimal
from enum import Enum
from fractions import Fraction
from typing import Final

# Of a quantity in the contract: `crossdock.types.v1.Quantity.value`.
DIGITS_BEFORE_MAX: Final = 18
DIGITS_AFTER_MAX: Final = 9


class Rounding(Enum):
    """Where to what lies between two steps goes."""

    UP = "UP"  # away from zero: nothing is told smaller than it is
    DOWN = "DOWN"  # towards zero: nothing is told larger than it is
    HALF_EVEN = "HALF_EVEN"  # to the nearer one; from the middle to the even one


def exact_decimal(value: Fraction) -> Decimal | None:
    """The value as a decimal of a quantity's digits, or None where it has none.

    A third of a dozen kilograms has no decimal at all, a tenth of a milligram in tonnes too many
    digits after the point, and a great number too many before it.
    """
    scaled = value * 10**DIGITS_AFTER_MAX
    if scaled.denominator != 1 or abs(value) >= 10**DIGITS_BEFORE_MAX:
        return None
    return _decimal(scaled.numerator, -DIGITS_AFTER_MAX)


def rounded(value: Fraction, step: Decimal, rounding: Rounding) -> Decimal:
    """The value as a multiple of `step`, which is greater than zero."""
    steps = value / Fraction(step)
    down, rest = divmod(abs(steps), 1)
    away = {
        Rounding.UP: rest > 0,
        Rounding.DOWN: False,
        Rounding.HALF_EVEN: rest > Fraction(1, 2) or (rest == Fraction(1, 2) and down % 2 == 1),
    }[rounding]
    count = (int(down) + away) * (-1 if steps < 0 else 1)
    whole = Fraction(step) * count
    places = max(0, -_exponent(step))
    return _decimal(int(whole * 10**places), -places)


def plain(value: Decimal) -> str:
    """A decimal without exponent and without trailing zeros: 4.20 is 4.2, 5.0 is 5."""
    text = f"{value:f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text == "-0" else text


def _exponent(value: Decimal) -> int:
    exponent = value.as_tuple().exponent
    if not isinstance(exponent, int):
        raise ValueError(f"{value} is no number")
    return exponent


def _decimal(digits: int, exponent: int) -> Decimal:
    """digits x 10^exponent, however many digits: a context would round."""
    sign = 1 if digits < 0 else 0
    return Decimal((sign, tuple(map(int, str(abs(digits)))), exponent))
