"""Numbers and keys without case, spaces and dashes: as they are indexed, and as they are asked for.

Word for word the same in both, without bound values: SQLite and PostgreSQL take an index of an
expression only for that very expression.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import TextClause, text


def _squeezed(column: str) -> TextClause:
    return text(f"upper(replace(replace({column}, '-', ''), ' ', ''))")


SQUEEZED_NUMBER = _squeezed("number")
SQUEEZED_VALUE = _squeezed("value")
# Which objects the index of numbers has; queries say so, too.
NUMBERED = text("number IS NOT NULL")


def is_spelled(squeezed: TextClause, wanted: str) -> Any:
    """The condition that a number or key is this one. wanted: upper case, no spaces or dashes."""
    return text(f"{squeezed.text} = :wanted").bindparams(wanted=wanted)
