"""Why a database could not be opened, in a sentence that names the setting and what to do; pure.

Callers of a running hub are told what happened; who starts one has to know which setting is wrong.
"""

from __future__ import annotations

import socket

from sqlalchemy import URL, make_url

from crossdock_hub.store.failures import (
    ANSWERS_NOT,
    NO_DATABASE,
    NOT_LET_IN,
    READ_ONLY,
    WRONG_PASSWORD,
    StoreFailure,
    failure_of,
)
from crossdock_hub.store.postgresql import Access


def unopened(error: Exception, url: str, access: Access) -> StoreFailure:
    """What an error means that came while a database was opened."""
    failure = error if isinstance(error, StoreFailure) else failure_of(error)
    parsed = make_url(url)
    what_to_do = _what_to_do(failure.cause, parsed, access)
    if url.startswith("sqlite") or not what_to_do:
        return failure
    why = _reason(error) if failure.cause == ANSWERS_NOT else ""
    told = f"{failure.cause}{why} ({parsed.database} at {_server(parsed)}); {what_to_do}"
    return StoreFailure(told, full=failure.full, away=failure.away, locked=failure.locked)


def _what_to_do(cause: str, url: URL, access: Access) -> str:
    user = url.username or "the user that runs this"
    if cause == WRONG_PASSWORD:
        if access.password_file is None:
            return f"name a file with that of {user} with CROSSDOCK_DATABASE_PASSWORD_FILE"
        return (
            f"see that {user} is meant by CROSSDOCK_DATABASE_URL, and that "
            f"CROSSDOCK_DATABASE_PASSWORD_FILE {access.password_file} holds its password"
        )
    if cause == NOT_LET_IN:
        return f"see that {user} may log in there (pg_hba.conf), or correct CROSSDOCK_DATABASE_URL"
    if cause == NO_DATABASE:
        return (
            f"make it (CREATE DATABASE \"{url.database}\" ENCODING 'UTF8' TEMPLATE template0), or "
            "correct CROSSDOCK_DATABASE_URL"
        )
    if cause == READ_ONLY:
        return f"let {user} write there (default_transaction_read_only)"
    if cause == ANSWERS_NOT:
        return "see that the server runs and can be reached, or correct CROSSDOCK_DATABASE_URL"
    if cause.startswith("the user of the database may not"):
        return f"make {user} the owner of the database, or GRANT ALL ON SCHEMA public to it"
    return "see CROSSDOCK_DATABASE_URL" if "certificate" in cause else ""


def _server(url: URL) -> str:
    host = url.query.get("host") or url.host or "this machine's socket"
    told = host if isinstance(host, str) else ", ".join(host)
    if ":" in told and not url.query:
        told = f"[{told}]"
    return f"{told}:{url.port}" if url.port else told


def _reason(error: Exception) -> str:
    """Why nobody answers, as the system says it."""
    if isinstance(error, socket.gaierror):
        return ": its host has no address"
    if isinstance(error, TimeoutError):
        return " in time"
    return f": {error.strerror}" if isinstance(error, OSError) and error.strerror else ""
