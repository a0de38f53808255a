"""The codes of a database's failure, the most telling first, as database_errors.toml has rows of.

A failure is looked for by what its driver calls it alone, then by the database's own code, then by
its SQLSTATE and that one's class, then by the kind of failure that every driver knows (PEP 249).
Of its words nothing is told: they repeat addresses, passwords and rows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

# What SQLAlchemy calls a kind of database, and whose codes the table has for it.
VENDORS: Final = {
    "sqlite": "sqlite",
    "oracle": "oracle",
    "mssql": "sqlserver",
    "mysql": "mysql",
    "mariadb": "mysql",
    "db2": "db2",
    "ibm_db_sa": "db2",
}
MAX_CODE_CHARACTERS: Final = 48
MAX_CODES: Final = 8
CLASS: Final = "*"
MANY: Final = "+"
FOR_MANY: Final = (CLASS, MANY)
# Of SQL Server: from here on an error is one that somebody's procedure or trigger raised.
RAISED_BY_SOMEBODY: Final = 50_000
# Names that say no more than a code does; others are one driver's own.
_PEP_249: Final = frozenset(
    {
        "Error",
        "InterfaceError",
        "DatabaseError",
        "DataError",
        "OperationalError",
        "IntegrityError",
        "InternalError",
        "ProgrammingError",
        "NotSupportedError",
    }
)
_SQLSTATE: Final = re.compile(r"[0-9A-Z]{5}")
_ORACLE: Final = re.compile(r"\b((?:ORA|DPY|DPI|TNS)-\d{4,5})\b")
# How ODBC ends each of its messages: the database's own number, then the function or the next one.
_ODBC_NUMBER: Final = re.compile(r"\((-?\d{1,9})\)(?= \(SQL\w+\)|; \[)")


def codes(error: BaseException, dialect: str) -> Iterator[tuple[str, str]]:
    """(type, code) of a failure as SQLAlchemy or the driver raised it. dialect: SQLAlchemy's."""
    original = getattr(error, "orig", None) or error
    if (name := type(original).__name__) not in _PEP_249:
        yield "driver", name
    yield from told_codes(error, dialect)
    for kind in type(error).__mro__:
        yield "driver", kind.__name__


def told_codes(error: BaseException, dialect: str) -> Iterator[tuple[str, str]]:
    """Of `codes` those that the database itself told."""
    original = getattr(error, "orig", None) or error
    vendor = VENDORS.get(dialect, "")
    for code in _own(original, vendor):
        yield vendor, code[:MAX_CODE_CHARACTERS]
    if state := _sqlstate(original):
        yield "sqlstate", state
        yield "sqlstate", state[:2] + CLASS


def whole(code: str, error: BaseException, dialect: str) -> str:
    """The failure's own code where `code` stands for many, as "ORA-20*" of ORA-20101."""
    own = code
    for _, each in told_codes(error, dialect):
        if each == code:
            return own if each.endswith(FOR_MANY) else code
        own = each
    return code


def _own(original: BaseException, vendor: str) -> Iterator[str]:
    match vendor:
        case "sqlite":
            if name := str(getattr(original, "sqlite_errorname", "") or ""):
                yield name
                # SQLITE_IOERR_FSYNC is a SQLITE_IOERR.
                yield "_".join(name.split("_")[:2])
        case "oracle":
            # Several of a stack: the first that has a row says most, as ORA-00018 below ORA-00604.
            for code in _ORACLE.findall(str(original))[:MAX_CODES]:
                yield code
                if code.startswith("ORA-20") and len(code) == len("ORA-20000"):
                    # Of RAISE_APPLICATION_ERROR: a trigger or procedure of the ERP's.
                    yield "ORA-20" + CLASS
        case "mysql":
            number = next(iter(original.args), None)
            if isinstance(number, int):
                yield str(number)
        case "sqlserver" | "db2":
            for text in original.args[1:2]:
                for number in _ODBC_NUMBER.findall(str(text))[:MAX_CODES]:
                    yield str(number)
                    if vendor == "sqlserver" and int(number) >= RAISED_BY_SOMEBODY:
                        yield f"{RAISED_BY_SOMEBODY}{MANY}"


def _sqlstate(original: BaseException) -> str:
    """Where drivers have it: an attribute, or with ODBC the first of the arguments."""
    for told in (
        getattr(original, "sqlstate", None),
        getattr(original, "pgcode", None),
        *original.args[:1],
    ):
        if isinstance(told, str) and _SQLSTATE.fullmatch(told):
            return told
    return ""
