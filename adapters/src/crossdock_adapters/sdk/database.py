"""The door to databases of vendors: bounded pools, time limits, and failures as outcomes.

    database = Database(lambda: secrets.text("database_url"), Limits())
    async with database.reading() as connection: ...      Unreachable, Retry
    await database.commit("order SO-1", write)            one transaction; see there

What a failure means is in database_errors.toml. Nothing that goes wrong is told in the words of the
database or its driver: they repeat addresses, passwords and rows. What is told is the kind of
failure, its code, and what the row of that code says.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, TypeVar

from sqlalchemy import CHAR, Date, Numeric, String, event, exc, inspect, make_url
from sqlalchemy.engine import URL, Dialect
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.types import TypeDecorator, TypeEngine

from crossdock_adapters.sdk import database_errors, error_table, exchange
from crossdock_adapters.sdk.error_table import DATABASE_ERRORS, ErrorTable, Word
from crossdock_adapters.sdk.http import check_lease
from crossdock_adapters.sdk.outcomes import (
    NeedsPerson,
    OutcomeUnknown,
    Reject,
    Retry,
    Throttled,
    Unreachable,
)
from crossdock_adapters.sdk.plaintext import plaintext_problem
from crossdock_adapters.sdk.settings import SettingsError

T = TypeVar("T")

FAILURES: Final = (exc.SQLAlchemyError, OSError, TimeoutError)

POOL: Final = "vendor"
# It logs what drivers say when they are closed, in their words.
logging.getLogger(f"sqlalchemy.pool.impl.AsyncAdaptedQueuePool.{POOL}").disabled = True
# Words of an address by which drivers are told to encrypt, and values by which they may not. Of a
# driver that we know only its own: another word would not encrypt, or be refused by it.
ENCRYPTS: Final = frozenset({"ssl", "ssl_ca", "encrypt", "tls"})
ENCRYPTS_BY_DRIVER: Final = {"asyncpg": frozenset({"ssl"})}
PLAIN: Final = frozenset({"disable", "allow", "prefer", "optional", "false", "no", "0", ""})
# What rows a table of errors needs to read any database's failures at all.
NEEDED_ROWS: Final = ("sqlstate", "driver")


class Taken(Exception):
    """A row breaks a rule of the database (a unique key, most likely): nothing was written."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one process: connections at once, seconds to get one, and seconds of one statement."""

    connections: int = 4
    connect_seconds: float = 10.0
    statement_seconds: float = 20.0


class Exact(TypeDecorator[Any]):
    """A number without rounding: NUMERIC by a Decimal; SQLite, which would make a binary float of
    it, is given whole numbers as such and fractions as text."""

    impl = Numeric
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        wanted: TypeEngine[Any] = String() if dialect.name == "sqlite" else Numeric()
        return dialect.type_descriptor(wanted)

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        if isinstance(value, Decimal) and dialect.name == "sqlite":
            return f"{value:f}"
        return value


def type_of(stored: str, length: int = 0) -> TypeEngine[Any]:
    """How a column of a layout is bound."""
    match stored:
        case "number":
            return Exact()
        case "date":
            return Date()
        case "char":
            # Without its length a cast would keep one letter of it.
            return CHAR(length)
    return String()


def type_name(kind: TypeEngine[Any], dialect: Dialect) -> str:
    """A column's type as its database names it. Without the dialect a NUMBER of Oracle's says
    nothing of its digits; with it, a domain of PostgreSQL's is called as somebody liked."""
    return kind.compile(dialect) if isinstance(kind, Numeric) else str(kind)


class Database:
    """One database. `url` is asked for each time a connection is made, so that it may rotate.

    errors: an endpoint's rows of what failures mean; None: the SDK's.
    """

    def __init__(
        self,
        url: Callable[[], str],
        limits: Limits,
        *,
        allow_plaintext: bool = False,
        errors: ErrorTable | None = None,
    ) -> None:
        table = errors or error_table.shipped(DATABASE_ERRORS)
        self._errors = table.with_rows_of(DATABASE_ERRORS, NEEDED_ROWS)
        self._url = url
        self._limits = limits
        self._allow_plaintext = allow_plaintext
        self._engine = self._made(self._address())

    async def close(self) -> None:
        """Close every connection."""
        await self._engine.dispose()

    @property
    def dialect(self) -> str:
        """What SQLAlchemy calls the kind of database, as sqlite, postgresql, oracle."""
        return str(self._engine.dialect.name)

    @property
    def is_sqlite(self) -> bool:
        return self.dialect == "sqlite"

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """A connection for questions. Unreachable: there is none; Throttled: there are too many;
        Retry: it failed on the way; NeedsPerson: the database does not take the question."""
        async with self._borrowed() as connection:
            try:
                yield connection
            except FAILURES as error:
                raise self._undone(error, writes=False) from None

    async def commit(self, what: str, write: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """One transaction, whose commit is the only step with an effect.

        Before the commit everything that goes wrong is rolled back: Taken, Reject, NeedsPerson or
        Retry by its row, a Retry without one, and NotTried where the lease is over. A commit
        without an answer is OutcomeUnknown, whatever the code.
        """
        async with self._borrowed() as connection:
            try:
                found = await write(connection)
            except FAILURES as error:
                raise self._undone(error, writes=True) from None
            record = exchange.current()
            if record is not None:
                check_lease(record)
                record.effect_left = True
            try:
                async with asyncio.timeout(self._limits.statement_seconds):
                    await connection.commit()
            except FAILURES as error:
                _note(what, f"no answer to the commit ({self._kind(error)})")
                lost = f"{what}: the answer to the commit is lost ({self._kind(error)})"
                raise OutcomeUnknown(lost) from None
            _note(what, "committed")
            return found

    async def run(
        self, connection: AsyncConnection, statement: Any, values: Any = None
    ) -> tuple[list[Any], int]:
        """One statement within its time: (rows, how many rows it changed)."""
        async with asyncio.timeout(self._limits.statement_seconds):
            result = await connection.execute(statement, values)
            return (list(result.all()) if result.returns_rows else []), result.rowcount

    async def columns(self, table: str) -> Mapping[str, str]:
        """The columns of a table with their types as the database names them; none: no table."""
        schema, name = _named(table)

        def asked(connection: Any) -> dict[str, str]:
            looked = inspect(connection)
            if not looked.has_table(name, schema):
                return {}
            found = looked.get_columns(name, schema)
            return {c["name"].upper(): type_name(c["type"], connection.dialect) for c in found}

        async with self.reading() as connection:
            return await connection.run_sync(asked)

    async def is_unique(self, table: str, column: str) -> bool:
        """Whether an index or a key of this column alone refuses a second row."""
        schema, own = _named(table)

        def asked(connection: Any) -> list[list[str]]:
            looked, name = inspect(connection), own
            if self.is_sqlite:
                # There a table is looked for as it was written when it was made.
                names = looked.get_table_names(schema)
                name = next((each for each in names if each.lower() == own.lower()), own)
            found = [looked.get_pk_constraint(name, schema)["constrained_columns"]]
            found += [c["column_names"] for c in looked.get_unique_constraints(name, schema)]
            found += [i["column_names"] for i in looked.get_indexes(name, schema) if i["unique"]]
            return found

        async with self.reading() as connection:
            return [column.upper()] in _upper(await connection.run_sync(asked))

    @asynccontextmanager
    async def _borrowed(self) -> AsyncIterator[AsyncConnection]:
        """A connection of the pool; thrown away where it ended in the middle of something."""
        try:
            async with asyncio.timeout(self._limits.connect_seconds):
                connection = await self._engine.connect()
        except FAILURES as error:
            raise self._no_connection(error) from None
        except SettingsError as wrong:
            # It rotated to one that can't be used: nothing of the work is wrong.
            raise Unreachable(0.0, str(wrong)) from None
        except TypeError:
            raise Unreachable(
                0.0, "database_url has a word that its driver does not know"
            ) from None
        is_idle = False
        try:
            yield connection
            is_idle = True
        finally:
            # Whoever waits for nothing any more rolls back; a commit that runs may still end.
            with suppress(*FAILURES):
                async with asyncio.timeout(self._limits.connect_seconds):
                    if not is_idle:
                        await connection.invalidate()
                    await connection.close()

    def _no_connection(self, error: BaseException) -> Retry:
        """Nothing of the work is wrong, whatever the row: an address and a password may rotate."""
        _, row = self._errors.first(database_errors.codes(error, self.dialect))
        said = f"no connection to the database ({self._kind(error)})"
        kind = Throttled if row.word is Word.THROTTLED else Unreachable
        return kind(row.pause_seconds, said)

    def _undone(self, error: BaseException, *, writes: bool) -> Exception:
        """What a failure before the commit is, by its row: nothing was written. writes: whether it
        is the work that is refused, and not a question."""
        code, row = self._errors.first(database_errors.codes(error, self.dialect))
        told = self._kind(error) + (f": {row.meaning}" if row.meaning else "")
        match row.word:
            case Word.KNOWN:
                return Taken(told)
            case Word.REJECTED if writes:
                own = database_errors.whole(code, error, self.dialect)
                return Reject(own, f"the database refuses it ({told})")
            case Word.PERSON | Word.REJECTED:
                return NeedsPerson(f"the database does not take the statement ({told})")
            case Word.THROTTLED:
                return Throttled(row.pause_seconds, f"the database has too much to do ({told})")
        return Retry(row.pause_seconds, f"the database failed before the commit ({told})")

    def _kind(self, error: BaseException) -> str:
        """For people: the kind of a failure and its code; none of its words."""
        code = next((c for _, c in database_errors.told_codes(error, self.dialect)), "")
        return f"{type(error).__name__} {code}".strip()

    def _address(self) -> URL:
        """As it is now. SettingsError without the address: it holds a password."""
        try:
            url = make_url(self._url())
            url.get_dialect()
        except (exc.ArgumentError, exc.NoSuchModuleError, ValueError):
            raise SettingsError("database_url must be a SQLAlchemy URL of a known driver") from None
        if not self._allow_plaintext:
            _refuse_in_clear(url)
        return url

    def _made(self, url: URL) -> AsyncEngine:
        limits = self._limits
        try:
            engine = create_async_engine(
                url,
                pool_size=limits.connections,
                max_overflow=0,
                pool_timeout=limits.connect_seconds,
                pool_pre_ping=True,
                # A failure would show the rows of a statement.
                hide_parameters=True,
                pool_logging_name=POOL,
                connect_args=_arguments(url, limits),
            )
        except (exc.ArgumentError, exc.InvalidRequestError, ImportError, TypeError):
            raise SettingsError(
                "database_url needs a driver that is installed and asynchronous, as "
                "postgresql+asyncpg or sqlite+aiosqlite"
            ) from None

        @event.listens_for(engine.sync_engine, "do_connect")
        def rotated(dialect: Any, _: Any, positional: Any, named: Any) -> None:
            now, more = dialect.create_connect_args(self._address())
            positional[:] = now
            named.update(more)

        return engine


def _arguments(url: URL, limits: Limits) -> dict[str, Any]:
    """What the driver is told of limits, where it is one that we know."""
    milliseconds = str(int(limits.statement_seconds * 1000))
    if url.drivername == "postgresql+asyncpg":
        return {
            "timeout": limits.connect_seconds,
            "command_timeout": limits.statement_seconds,
            "server_settings": {
                "statement_timeout": milliseconds,
                "lock_timeout": milliseconds,
                "idle_in_transaction_session_timeout": milliseconds,
            },
        }
    if url.drivername.startswith("sqlite"):
        return {"timeout": limits.statement_seconds}
    return {}


def _refuse_in_clear(url: URL) -> None:
    """SettingsError where a password would leave this machine without encryption."""
    words = ENCRYPTS_BY_DRIVER.get(url.get_driver_name(), ENCRYPTS)
    if any(
        name.lower() in words and str(value).lower() not in PLAIN
        for name, value in url.query.items()
    ):
        return
    for host in _hosts(url):
        if plaintext_problem("database_url", f"database://{host}"):
            raise SettingsError(
                "database_url would carry secrets in clear: say in it how its driver encrypts "
                f"({', '.join(sorted(words))}), use a loopback address, or set "
                "allow_plaintext = true where the network itself is encrypted"
            )


def _hosts(url: URL) -> list[str]:
    """Whom an address may lead to; a socket of this machine, or a file, is nobody."""
    named = url.query.get("host", ())
    found = [named] if isinstance(named, str) else list(named)
    found = [one.strip() for each in found for one in each.split(",")]
    if url.host:
        found.append(f"[{url.host}]" if ":" in url.host else url.host)
    return [host for host in found if host and not host.startswith("/")]


def _note(what: str, answer: str) -> None:
    record = exchange.current()
    if record is not None:
        record.note(what, answer)


def _named(table: str) -> tuple[str | None, str]:
    schema, _, name = table.rpartition(".")
    return schema or None, name


def _upper(found: Iterable[Iterable[str | None]]) -> list[list[str]]:
    return [[str(name).upper() for name in each] for each in found]
