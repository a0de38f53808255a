"""How a hub uses PostgreSQL: what each connection is told, and the claim that one hub writes, or
several that agreed to share.

Whoever writes holds an advisory lock, and holds it with the connection that writes: a hub whose
connection is gone has no lock and cannot write either. Each claim counts one further. A hub that
finds, on a new connection, that the count has moved was away while another one wrote; what it holds
in memory is no longer true, and it ends. Hubs that share a database hold the lock shared, each
with the connection that it writes with; the first of them, while it still has the lock for itself,
brings the tables up to date and counts a claim for all of them.
"""

from __future__ import annotations

import os
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from crossdock.errors import ConfigurationError, CrossdockError
from sqlalchemy import URL, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from crossdock_hub.store import tables as t
from crossdock_hub.store.failures import PasswordUnreadable

SERVER_VERSION_MIN: Final = 150_000
CONNECT_SECONDS: Final = 5
# One statement of the hub; what is longer is ended by the server, at the latest by us.
STATEMENT_SECONDS: Final = 30
STATEMENT_MARGIN_SECONDS: Final = 5
LOCK_SECONDS: Final = 10
# Of a command whose whole batch has waited in vain: 512 of them wait as long as the batch did.
BRIEF_LOCK_SECONDS: Final = 0.02
IDLE_IN_TRANSACTION_SECONDS: Final = 60
# Where hubs share a database, one that is stopped amid a batch must not keep its rows from the
# others for as long as those wait for a lock.
SHARED_IDLE_SECONDS: Final = 5
# A writer whose machine is gone is given up by the server after idle + interval * count.
KEEPALIVE_IDLE_SECONDS: Final = 2
KEEPALIVE_INTERVAL_SECONDS: Final = 1
KEEPALIVE_COUNT: Final = 2
# How long a connection of ours that was lost may take to end once the server is asked to end it.
END_SECONDS: Final = 5
# Of a connection; of more, which the combinations of tables that batches write could be, the one
# that was not used for the longest time goes, and costs one preparing when it comes again.
PREPARED_STATEMENTS: Final = 500
# A batch is one statement, which has more signs the more tables it writes to. The driver keeps none
# of more than 15 KiB by itself, and the largest batches would be prepared and planned each time.
PREPARED_STATEMENT_SIGNS_MAX: Final = 65_536
# "crossdock" in eight bytes: the advisory lock of the hub that writes, in each database its own.
CLAIM_LOCK: Final = int.from_bytes(b"crossdck", "big", signed=True)
# How the version of hubs ends that divide systems: they and others are not for one database.
DIVIDED: Final = " and CROSSDOCK_DIVIDE_SYSTEMS=true"

_MILLISECONDS: Final = 1000
_PORT_MAX: Final = 65_535


class DatabaseInUse(CrossdockError):
    """Another hub writes to the database. holder: how that one names itself; "": unknown. shares:
    whether it would let others in that share it too; wanted_shared: whether this one would."""

    def __init__(self, holder: str, *, shares: bool = False, wanted_shared: bool = False) -> None:
        self.holder = holder
        who = holder or "another hub"
        if shares:
            told = (
                f"the database is shared by hubs, one of them {who}; stop them all, or start with "
                "CROSSDOCK_SHARED_DATABASE=true to join them"
            )
        elif wanted_shared:
            told = (
                f"the database is in use by {who}, which has it for itself; stop it, and start it "
                "with CROSSDOCK_SHARED_DATABASE=true, as every hub that shares a database"
            )
        else:
            told = (
                f"the database is in use by {who}; stop it, or start with another "
                "CROSSDOCK_DATABASE_URL: one hub writes to a database"
            )
        super().__init__(told)


class VersionsDiffer(CrossdockError):
    """Hubs of another version share the database, which would not understand each other's rows, or
    hubs that divide its systems beside one that leads everything."""

    def __init__(self, theirs: str, own: str) -> None:
        if theirs == own + DIVIDED:
            told = (
                "the database is shared by hubs with CROSSDOCK_DIVIDE_SYSTEMS=true; start this one "
                "with it too, or stop them all and start every hub without it"
            )
        elif own == theirs + DIVIDED:
            told = (
                "the database is shared by hubs without CROSSDOCK_DIVIDE_SYSTEMS=true; start this "
                "one without it too, or stop them all and start every hub with it"
            )
        else:
            told = (
                "the database is shared by hubs of another version "
                f"({theirs or 'other tables'}, this one is {own}); stop them all, then start hubs "
                "of one version"
            )
        super().__init__(told)


class DatabaseUnfit(CrossdockError):
    """The database server would lose or mix up what it is given; the sentence says how."""


@dataclass(frozen=True, slots=True)
class Backend:
    """The server's end of a connection. began: microseconds UTC; process ids are used again."""

    pid: int
    began: int


@dataclass(frozen=True, slots=True)
class Access:
    """How a server is reached. password_file: read for each connection, so that it may change.
    ca_file: PEM of who signs its certificate; allow_plaintext: also off this machine."""

    password_file: Path | None = None
    ca_file: Path | None = None
    allow_plaintext: bool = False

    def check(self, url: URL) -> None:
        """Refuse secrets in a setting, and business data in clear. Raises ConfigurationError."""
        if url.password is not None:
            raise ConfigurationError(
                "CROSSDOCK_DATABASE_URL holds a password; put it into a file and name that with "
                "CROSSDOCK_DATABASE_PASSWORD_FILE"
            )
        if not url.database:
            # Else the driver takes that of PGDATABASE, or of the user's name.
            raise ConfigurationError(
                "CROSSDOCK_DATABASE_URL names no database; end it with /DATABASE"
            )
        if url.port is not None and not 0 < url.port <= _PORT_MAX:
            raise ConfigurationError(
                f"CROSSDOCK_DATABASE_URL has the port {url.port}; ports are 1 to {_PORT_MAX}"
            )
        self._check_files()
        if set(url.query) - {"host"}:
            raise ConfigurationError(
                "CROSSDOCK_DATABASE_URL takes no options but host; the hub states the others itself"
            )
        host = str(url.query.get("host") or url.host or "")
        local = host.startswith("/") or host in ("", "127.0.0.1", "localhost", "::1")
        if not local and self.ca_file is None and not self.allow_plaintext:
            raise ConfigurationError(
                f"CROSSDOCK_DATABASE_URL leads to {host}; name who signs its certificate with "
                "CROSSDOCK_DATABASE_CA_FILE, or CROSSDOCK_ALLOW_PLAINTEXT=true in a network you "
                "trust"
            )

    def _check_files(self) -> None:
        for name, path in (("PASSWORD", self.password_file), ("CA", self.ca_file)):
            if path is not None and not path.is_file():
                raise ConfigurationError(f"CROSSDOCK_DATABASE_{name}_FILE {path} is no file")
        try:
            self.arguments()
            if self.password_file is not None:
                _password_in(self.password_file)
        except PasswordUnreadable as unreadable:
            raise ConfigurationError(str(unreadable)) from None
        except OSError as error:
            spoilt = isinstance(error, ssl.SSLError)
            why = "it holds no certificate in PEM" if spoilt else error.strerror
            raise ConfigurationError(
                f"CROSSDOCK_DATABASE_CA_FILE {self.ca_file} can't be used: {why}"
            ) from None

    def arguments(self) -> dict[str, Any]:
        """What the driver is told. Raises OSError: the file of the authority can't be used."""
        told: dict[str, Any] = {}
        path = self.password_file
        if path is not None:
            told["password"] = lambda: _password_in(path)
        if self.ca_file is not None:
            told["ssl"] = ssl.create_default_context(cafile=str(self.ca_file))
        return told


def _password_in(path: Path) -> str:
    """The password that a file holds. Raises PasswordUnreadable."""
    name = f"CROSSDOCK_DATABASE_PASSWORD_FILE {path}"
    try:
        password = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise PasswordUnreadable(f"{name} can't be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise PasswordUnreadable(f"{name} holds no UTF-8 text; write the password to it") from None
    if len(password.splitlines()) != 1:
        found = "more than one line" if password else "nothing"
        raise PasswordUnreadable(f"{name} holds {found}; write the password to it, one line")
    return password


def engine_options(access: Access, *, writes: bool, shared: bool = False) -> dict[str, Any]:
    """What SQLAlchemy is told of connections that write, or that only read. shared: beside those of
    other hubs."""
    idle_seconds = SHARED_IDLE_SECONDS if shared else IDLE_IN_TRANSACTION_SECONDS
    settings = {
        "application_name": name_of_hub(),
        "synchronous_commit": "on",
        "timezone": "UTC",
        "jit": "off",
        "statement_timeout": str(STATEMENT_SECONDS * _MILLISECONDS),
        "lock_timeout": str(LOCK_SECONDS * _MILLISECONDS),
        "idle_in_transaction_session_timeout": str(idle_seconds * _MILLISECONDS),
        "tcp_keepalives_idle": str(KEEPALIVE_IDLE_SECONDS),
        "tcp_keepalives_interval": str(KEEPALIVE_INTERVAL_SECONDS),
        "tcp_keepalives_count": str(KEEPALIVE_COUNT),
    }
    if not writes:
        settings["default_transaction_read_only"] = "on"
    return {
        # Several reads of one transaction see one moment; the one writer needs no such thing.
        "isolation_level": "READ COMMITTED" if writes else "REPEATABLE READ",
        "connect_args": {
            "timeout": CONNECT_SECONDS,
            "command_timeout": STATEMENT_SECONDS + STATEMENT_MARGIN_SECONDS,
            "prepared_statement_cache_size": PREPARED_STATEMENTS,
            # The driver keeps those that go straight to it, SQLAlchemy all others.
            "statement_cache_size": PREPARED_STATEMENTS,
            "max_cacheable_statement_size": PREPARED_STATEMENT_SIGNS_MAX,
            "max_cached_statement_lifetime": 0,
            "server_settings": settings,
            **access.arguments(),
        },
    }


def migration_options(access: Access) -> dict[str, Any]:
    """The same for bringing the schema up to date, which takes as long as it takes."""
    options = engine_options(access, writes=True)
    del options["connect_args"]["command_timeout"]
    options["connect_args"]["server_settings"]["statement_timeout"] = "0"
    return options


def name_of_hub() -> str:
    """How this process names itself to the database."""
    return f"crossdock-hub {socket.gethostname()[:40]}:{os.getpid()}"


async def check(connection: AsyncConnection) -> None:
    """Refuse a server that would lose commits or text. Raises DatabaseUnfit."""
    driver: Any = (await connection.get_raw_connection()).driver_connection
    row = (await connection.execute(text(_FACTS))).one()
    if row.pid != driver.get_server_pid():
        raise DatabaseUnfit(
            "CROSSDOCK_DATABASE_URL leads to a connection pool, which gives each transaction "
            "another connection and with it the lock of the hub that writes to others; "
            "name the PostgreSQL server itself"
        )
    if row.version < SERVER_VERSION_MIN:
        raise DatabaseUnfit(
            f"PostgreSQL {row.version // 10_000} is too old; the hub needs "
            f"{SERVER_VERSION_MIN // 10_000} or newer"
        )
    for name, found in (("fsync", row.fsync), ("full_page_writes", row.full_page_writes)):
        if found != "on":
            raise DatabaseUnfit(
                f"the PostgreSQL server runs with {name}={found} and loses commits when its "
                f"machine fails; set {name}=on"
            )
    if row.encoding != "UTF8":
        raise DatabaseUnfit(f"the database holds {row.encoding}; make one with ENCODING 'UTF8'")


_FACTS = """
SELECT pg_backend_pid() AS pid, current_setting('server_version_num')::int AS version,
       current_setting('fsync') AS fsync, current_setting('full_page_writes') AS full_page_writes,
       current_setting('server_encoding') AS encoding
"""
_HOLDER = """
SELECT a.application_name AS name, l.mode = 'ShareLock' AS shares
FROM pg_locks AS l JOIN pg_stat_activity AS a ON a.pid = l.pid
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND (l.classid::bigint << 32) + l.objid::bigint = :lock AND l.pid <> pg_backend_pid()
LIMIT 1
"""


async def wait_briefly(connection: AsyncConnection) -> None:
    """Let no statement of this transaction wait long for a lock. SQLite waits when it begins."""
    if connection.dialect.name == "postgresql":
        milliseconds = int(BRIEF_LOCK_SECONDS * _MILLISECONDS)
        await connection.exec_driver_sql(f"SET LOCAL lock_timeout = {milliseconds}")


async def is_in_recovery(connection: AsyncConnection) -> bool:
    """Whether the server is a standby: it may not have replayed yet what it was sent."""
    return bool(await connection.scalar(text("SELECT pg_is_in_recovery()")))


async def take_lock(connection: AsyncConnection) -> bool:
    """Whether this connection is the one that writes from now on, until it ends."""
    taken = await connection.scalar(text("SELECT pg_try_advisory_lock(:lock)"), _LOCK)
    return bool(taken)


async def share_lock(connection: AsyncConnection) -> bool:
    """Whether this connection is one of several that write from now on, until it ends."""
    shared = await connection.scalar(text("SELECT pg_try_advisory_lock_shared(:lock)"), _LOCK)
    return bool(shared)


async def let_others_in(connection: AsyncConnection) -> None:
    """Share the lock that this connection has for itself; nobody comes in between."""
    await connection.execute(text("SELECT pg_advisory_lock_shared(:lock)"), _LOCK)
    await connection.execute(text("SELECT pg_advisory_unlock(:lock)"), _LOCK)


async def holder(connection: AsyncConnection) -> tuple[str, bool]:
    """How a hub that writes names itself, and whether it shares; "": it has just let go, or may not
    be seen."""
    row = (await connection.execute(text(_HOLDER), _LOCK)).one_or_none()
    return (str(row.name), bool(row.shares)) if row is not None else ("", False)


_LOCK = {"lock": CLAIM_LOCK}
BEGAN: Final = "(extract(epoch FROM backend_start) * 1000000)::bigint"
_OWN_BACKEND = f"SELECT pid, {BEGAN} AS began FROM pg_stat_activity WHERE pid = pg_backend_pid()"
_END_BACKEND = f"""
SELECT bool_and(pg_terminate_backend(pid, :milliseconds)) FROM pg_stat_activity
WHERE pid = :pid AND {BEGAN} = :began AND pid <> pg_backend_pid()
"""


async def backend_of(connection: AsyncConnection) -> Backend:
    """The server's end of a connection."""
    row = (await connection.execute(text(_OWN_BACKEND))).one()
    return Backend(row.pid, row.began)


async def end(connection: AsyncConnection, lost: Backend, seconds: float = END_SECONDS) -> bool:
    """End what the server still has of a connection that is lost here, and with it its lock: the
    server may not know for some seconds, or while a statement runs. False: it has not ended yet."""
    milliseconds = int(seconds * _MILLISECONDS)
    asked = {"pid": lost.pid, "began": lost.began, "milliseconds": milliseconds}
    return await connection.scalar(text(_END_BACKEND), asked) is not False


async def count_claim(connection: AsyncConnection, version: str = "") -> int:
    """Count one claim further; the count is the claim's number. version: of the hubs that share."""
    who, c = version or name_of_hub(), t.claims.c
    moved = update(t.claims).values(number=c.number + 1, holder=who).returning(c.number)
    number = await connection.scalar(moved)
    if number is None:
        first = insert(t.claims).values(id=1, number=1, holder=who)
        await connection.execute(first)
        return 1
    return int(number)


async def last_claim(connection: AsyncConnection) -> int:
    """The number of the newest claim."""
    return int(await connection.scalar(select(t.claims.c.number)) or 0)


async def shared_claim(connection: AsyncConnection) -> tuple[int, str]:
    """The number of the claim that hubs share, and their version."""
    row = (await connection.execute(select(t.claims.c.number, t.claims.c.holder))).one_or_none()
    return (int(row.number), str(row.holder)) if row is not None else (0, "")
