"""The tables that tell the hub what the bus was told, and what it was seen to have."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Table

from crossdock_hub.store.column_types import text_of
from crossdock_hub.store.tables import METADATA, Key, Word

# How far a stream has come: its newest message that is certainly stored, and the row that it is.
bus_positions = Table(
    "bus_positions",
    METADATA,
    Column("stream", Word, primary_key=True),
    Column("stream_sequence", BigInteger, nullable=False),
    Column("record_sequence", BigInteger, nullable=False),
    Column("complete_since", BigInteger, nullable=False),
)

bus_consumers = Table(
    "bus_consumers",
    METADATA,
    Column("stream", Word, primary_key=True),
    Column("name", text_of(200), primary_key=True),
    Column("configuration", text_of(), nullable=False),
    Column("stream_sequence", BigInteger, nullable=False),
)

# Which database this is, how far its ledger has come, and how much of that the bus was told.
bus_tie = Table(
    "bus_tie", METADATA, Column("database", Key, primary_key=True),
    *(Column(name, BigInteger, nullable=False) for name in ("generation", "told")),
)  # fmt: skip

# The same of each further part of the ledger, where several hubs begin calls. One row would be a
# lock that all of them wait for.
bus_tie_parts = Table(
    "bus_tie_parts",
    METADATA,
    Column("part", BigInteger, primary_key=True, autoincrement=False),
    Column("generation", BigInteger, nullable=False),
    Column("told", BigInteger, nullable=False),
)

bus_differences = Table(
    "bus_differences",
    METADATA,
    Column("kind", Word, primary_key=True),
    Column("sentence", text_of(), nullable=False),
    Column("count", BigInteger, nullable=False),
    Column("first_at", BigInteger, nullable=False),
    Column("last_at", BigInteger, nullable=False),
    Column("seen_at", BigInteger),
)
