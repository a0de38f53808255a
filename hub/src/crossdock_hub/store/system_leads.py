"""Which hub leads the deliveries of which system, where several hubs on a database share them."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Integer, Table

from crossdock_hub.store.column_types import text_of
from crossdock_hub.store.tables import METADATA

# seat: who leads it, in a term of that seat; NULL: nobody. wanted: the seat that is to lead it, the
# same while nothing moves. since: microseconds by the database's clock.
system_leads = Table(
    "system_leads",
    METADATA,
    Column("system", text_of(), primary_key=True),
    Column("seat", Integer),
    Column("seat_term", BigInteger, nullable=False),
    Column("wanted", Integer, nullable=False),
    Column("since", BigInteger, nullable=False),
)
