"""The tables of what left the database: the files it went to, and where to look for an id."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, Table

from crossdock_hub.store.column_types import text_of
from crossdock_hub.store.tables import METADATA, Word

# Files that finished flows were written to before they went from here.
archive_parts = Table(
    "archive_parts",
    METADATA,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("name", Word, nullable=False),
    Column("state", text_of(16), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("ended_at", BigInteger),
    *(Column(name, Integer, nullable=False) for name in ("flows", "flows_gone")),
    Column("bytes", BigInteger, nullable=False),
    Column("sha256", text_of(64), nullable=False),
)

# What flows that went were known by: a digest of each id, and the part that they are in.
archived_ids = Table(
    "archived_ids", METADATA, Column("key", LargeBinary(16), primary_key=True),
    Column("part", Integer, primary_key=True, autoincrement=False),
    Index("archived_ids_part", "part"),
)  # fmt: skip
