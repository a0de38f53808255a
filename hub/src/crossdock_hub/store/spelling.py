"""Numbers and keys without case, spaces and dashes: as they are indexed, and as they are asked for.

Word for word the same in both, without bound values: SQLite and PostgreSQL take an index of an
expression only for that very expression.
"""

from __future__ import annotations

import string
from typing import Any, Final

from sqlalchemy import ColumnElement, TextClause, and_, text


def _squeezed(column: str) -> TextClause:
    return text(f"upper(replace(replace({column}, '-', ''), ' ', ''))")


SQUEEZED_NUMBER = _squeezed("number")
SQUEEZED_VALUE = _squeezed("value")
SQUEEZED_TRACKING_NUMBER = _squeezed("tracking_number")
# Which objects the index of numbers has; queries say so, too.
NUMBERED = text("number IS NOT NULL")
# Which parcels and keys their indexes have: few, as most systems write capitals and digits, and the
# keys of the tables find those.
TRACKING_NUMBER_SPELLED_OTHERWISE = text(f"tracking_number <> {SQUEEZED_TRACKING_NUMBER.text}")
VALUE_SPELLED_OTHERWISE = text(f"value <> {SQUEEZED_VALUE.text}")
_UPPER: Final = str.maketrans(string.ascii_lowercase, string.ascii_uppercase)


def squeezed(wanted: str) -> str:
    """What the expressions make of a text, sign for sign: both databases know the case of ASCII
    letters only, as columns are compared byte by byte."""
    return wanted.replace("-", "").replace(" ", "").translate(_UPPER)


def is_spelled(expression: TextClause, wanted: str) -> Any:
    """The condition that a number or key is this one. wanted: `squeezed`."""
    return text(f"{expression.text} = :wanted").bindparams(wanted=wanted)


def of_tracking_number(column: ColumnElement[str], wanted: str) -> tuple[Any, Any]:
    """Two conditions that find it in every spelling together, each by an index of its own.
    wanted: `squeezed`."""
    otherwise = is_spelled(SQUEEZED_TRACKING_NUMBER, wanted)
    return column == wanted, and_(otherwise, TRACKING_NUMBER_SPELLED_OTHERWISE)


def of_value(column: ColumnElement[str], wanted: str) -> tuple[Any, Any]:
    """The same of the keys of other systems."""
    return column == wanted, and_(is_spelled(SQUEEZED_VALUE, wanted), VALUE_SPELLED_OTHERWISE)
