"""What a database did not take or give, in the hub's words; the driver's text may hold data."""

from __future__ import annotations

import sqlite3
import ssl
from typing import Any

from sqlalchemy.exc import DBAPIError, OperationalError

READ_ONLY = "the database is read-only"
STANDBY = "the database server is a standby that is not promoted"
NOT_LET_IN = "the database does not let this user in"
WRONG_PASSWORD = "the database does not accept the password"
NO_DATABASE = "the database does not exist"
ANSWERS_NOT = "the database does not answer"
_LOCK_NOT_AVAILABLE = "55P03"
_MAY_NOT = "42501"
# SQLSTATE, or its class, to what is told. Full: there is no room, or nothing may be written.
_FULL = {
    "53100": "the volume of the database is full",
    "25006": READ_ONLY,
}
_AWAY = {
    "08": "the connection to the database is lost",
    "53300": "the database takes no more connections",
    "57P": "the database is stopping or starting",
}
_OTHER = {
    "28000": NOT_LET_IN,
    "28P01": WRONG_PASSWORD,
    "3D000": NO_DATABASE,
    "40001": "another transaction was in the way",
    "40P01": "another transaction was in the way",
    _LOCK_NOT_AVAILABLE: "the database is locked by another process",
    "57014": "the database was asked for longer than a statement may take",
}
# The server's function that ends a statement whose time to wait has run out.
_ENDS_A_WAIT = "ProcessInterrupts"


class PasswordUnreadable(OSError):
    """The file of the password can't be read, or holds none; the sentence names the setting."""


class StoreFailure(Exception):
    """The database did not take or give something.

    full: there is no room, or it is read-only. away: nobody could be asked, so asking for less at
    once is no use. uncertain: it was lost while it committed; whether it did is not known.
    locked: a lock was waited for as long as any may be.
    """

    def __init__(
        self,
        cause: str,
        *,
        full: bool,
        away: bool = False,
        uncertain: bool = False,
        locked: bool = False,
    ) -> None:
        super().__init__(cause)
        self.cause = cause
        self.full = full
        self.away = away
        self.uncertain = uncertain
        self.locked = locked


def failure_of(error: Exception, *, committing: bool = False) -> StoreFailure:
    """The failure that an error of a driver means. committing: it came in answer to a commit."""
    cause: Any = error.orig or error if isinstance(error, DBAPIError) else error
    state = getattr(cause, "sqlstate", None)
    if isinstance(state, str):
        return _of_state(error, state, committing)
    if isinstance(cause, sqlite3.Error):
        return _of_sqlite(error, cause)
    if isinstance(error, DBAPIError) and not error.connection_invalidated:
        return StoreFailure(_refused(error), full=False)
    if isinstance(cause, PasswordUnreadable):
        return StoreFailure(str(cause), full=False, away=True)
    if isinstance(cause, ssl.SSLCertVerificationError):
        why = f"the certificate of the database server is not accepted: {cause.verify_message}"
        return StoreFailure(why, full=False, away=True)
    # A socket that broke, or a connection that was closed under us: nothing with a state.
    return StoreFailure(ANSWERS_NOT, full=False, away=True, uncertain=committing)


def is_row_taken(error: DBAPIError) -> bool:
    """Whether PostgreSQL refused a row's lock at once, as NOWAIT asks it to.

    A wait that ran out has the same state. A statement with NOWAIT waits too: for its tables.
    """
    cause: Any = error.orig
    if getattr(cause, "sqlstate", "") != _LOCK_NOT_AVAILABLE:
        return False
    # What came past SQLAlchemy is the driver's own, else it is in front of that.
    told = cause.__cause__ or cause
    return getattr(told, "server_source_function", _ENDS_A_WAIT) != _ENDS_A_WAIT


def _of_state(error: Exception, state: str, committing: bool) -> StoreFailure:
    if state in _FULL:
        return StoreFailure(_FULL[state], full=True)
    for start, told in _AWAY.items():
        if state.startswith(start):
            return StoreFailure(told, full=False, away=True, uncertain=committing)
    locked = state == _LOCK_NOT_AVAILABLE
    if state == _MAY_NOT:
        return StoreFailure(_not_allowed(error), full=False)
    return StoreFailure(_OTHER.get(state) or _refused(error, state), full=False, locked=locked)


def _not_allowed(error: Exception) -> str:
    # Of this state the server's text names what it is about, and holds no data.
    asked: Any = error.orig if isinstance(error, DBAPIError) else error
    said = getattr(asked.__cause__, "message", None) or getattr(asked, "message", None)
    return f"the user of the database may not do what the hub has to: {said or _MAY_NOT}"


def _refused(error: Exception, state: str = "") -> str:
    kind = type(error).__name__
    return f"the database refused a statement ({f'{kind}, {state}' if state else kind})"


def _of_sqlite(error: Exception, cause: sqlite3.Error) -> StoreFailure:
    text = str(cause).lower()
    if "full" in text or "no space" in text:
        return StoreFailure("the volume of the database is full", full=True)
    if "readonly" in text or "read-only" in text:
        return StoreFailure("the database is read-only", full=True)
    if not isinstance(error, OperationalError) and not isinstance(cause, sqlite3.OperationalError):
        return StoreFailure(_refused(error), full=False)
    if "locked" in text:
        return StoreFailure("the database is locked by another process", full=False)
    return StoreFailure(ANSWERS_NOT, full=False)
