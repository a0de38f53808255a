"""The mark that a move leaves in both databases, so that a hub never starts on the wrong one.

    old database      new database     a hub may start on    the move, run again
    no mark           COPYING, COPIED  the old one           copies once more from the beginning
    MOVED             COPIED           none                  ends what is left
    MOVED             ARRIVED          the new one           is done
    MOVED             no mark          the new one           is done, and a hub has run since

COPIED is written when both were compared, MOVED after it, ARRIVED last: each is on disk before the
next is written.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Final

from crossdock.errors import CrossdockError
from sqlalchemy import BigInteger, Column, Connection, SmallInteger, Table, delete, insert, inspect
from sqlalchemy import select as selecting

from crossdock_hub.store.column_types import text_of
from crossdock_hub.store.tables import METADATA

COPYING: Final = "COPYING"
COPIED: Final = "COPIED"
ARRIVED: Final = "ARRIVED"
MOVED: Final = "MOVED"
_ROW_ID: Final = 1
_SECOND: Final = 1_000_000

moves = Table(
    "moves",
    METADATA,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    Column("state", text_of(16), nullable=False),
    Column("move_id", text_of(36), nullable=False),
    Column("place", text_of(), nullable=False),
    Column("at", BigInteger, nullable=False),
)


@dataclass(frozen=True, slots=True)
class Mark:
    """How a database takes part in a move. place: the other one; at: since when, microseconds."""

    state: str
    move_id: str
    place: str
    at: int

    @property
    def moment(self) -> str:
        """Since when, for people."""
        return datetime.fromtimestamp(self.at / _SECOND, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


class DatabaseMoved(CrossdockError):
    """A hub must not start on the database; the sentence says which one, or what to finish."""


def read_mark(connection: Connection) -> Mark | None:
    """The mark; None: the database takes part in no move."""
    if not inspect(connection).has_table(moves.name):
        return None
    row = connection.execute(selecting(moves)).mappings().one_or_none()
    return None if row is None else Mark(row["state"], row["move_id"], row["place"], row["at"])


def write_mark(connection: Connection, mark: Mark | None) -> None:
    """Replace the mark, or take it away."""
    connection.execute(delete(moves))
    if mark is not None:
        connection.execute(insert(moves).values(id=_ROW_ID, **asdict(mark)))


def enter(connection: Connection) -> None:
    """A hub starts on the database: refuse it, or note that it has. Raises DatabaseMoved."""
    mark = read_mark(connection)
    if mark is None:
        return
    if mark.state == ARRIVED:
        write_mark(connection, None)
    elif mark.state == MOVED:
        raise DatabaseMoved(
            f"this database moved to {mark.place} at {mark.moment}; set CROSSDOCK_DATABASE_URL to "
            "that one, or take the move back with: crossdock hub move --undo"
        )
    else:
        raise DatabaseMoved(
            f"this database is not complete: a move from {mark.place} was interrupted; run "
            "crossdock hub move again, or start the hub on the one it moves from"
        )
