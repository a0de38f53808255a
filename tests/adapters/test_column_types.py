"""Columns of databases that no test has here, by what SQLAlchemy tells of them."""

from __future__ import annotations

from typing import Any

import pytest
from crossdock_adapters.sdk.database import type_name
from crossdock_adapters.sdk.staging_tables import rounds
from sqlalchemy.dialects import mssql, mysql, oracle, postgresql

ORACLE: Any = oracle
MYSQL: Any = mysql
MSSQL: Any = mssql
POSTGRESQL: Any = postgresql


@pytest.mark.parametrize(
    ("kind", "of", "expected"),
    [
        (ORACLE.NUMBER(12, 2), ORACLE, "is NUMBER(12, 2) and"),
        (ORACLE.NUMBER(12, -2), ORACLE, "is NUMBER(12, -2) and"),
        (ORACLE.NUMBER(12, 4), ORACLE, ""),
        (ORACLE.NUMBER(), ORACLE, ""),
        (ORACLE.FLOAT(126), ORACLE, ""),
        (MYSQL.DECIMAL(12, 2, unsigned=True), MYSQL, "is DECIMAL(12, 2) UNSIGNED and"),
        (MYSQL.DECIMAL(12, 4, unsigned=True), MYSQL, ""),
        (MSSQL.FLOAT(53), MSSQL, "would hold binary"),
        (POSTGRESQL.DOMAIN("int_price", POSTGRESQL.NUMERIC(24, 4)), POSTGRESQL, ""),
    ],
)
def test_a_column_is_judged_by_the_digits_that_its_database_tells(
    kind: Any, of: Any, expected: str
) -> None:
    """Proves that a column with room for fewer than four decimals is named, and that one with
    enough, or that says no number of them, is taken."""
    dialect = of.dialect()
    found = rounds(type_name(kind, dialect), 4, dialect.name)
    assert found[: len(expected) or 1] == expected
