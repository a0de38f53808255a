"""Types of columns that are the same in every database.

Ids and words are compared byte by byte everywhere, so that order and pages do not depend on where
a database was made. How long a text may be is the contract's business: PostgreSQL would refuse what
SQLite takes, so it is told no length.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Integer, String, Text
from sqlalchemy.types import TypeEngine


def text_of(length: int | None = None) -> TypeEngine[str]:
    """Text. length: characters that the contract allows, for who reads the schema."""
    plain: TypeEngine[str] = Text() if length is None else String(length)
    return plain.with_variant(Text(collation="C"), "postgresql")


def counter() -> TypeEngine[int]:
    """A number that the database counts up, never giving one twice."""
    # SQLite only counts up by itself in a column of exactly this type.
    return BigInteger().with_variant(Integer(), "sqlite")
