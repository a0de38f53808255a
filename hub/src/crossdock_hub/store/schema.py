"""All tables there are: whoever goes through the whole schema begins here, or misses some."""

from __future__ import annotations

from typing import Final

from crossdock_hub.store import (
    archive_tables,
    bus_tables,
    leadership,
    moves,
    package_numbers,
    system_leads,
)
from crossdock_hub.store.tables import METADATA, claims

# Each of them puts its tables into METADATA when it is imported.
WITH_TABLES = (archive_tables, bus_tables, leadership, moves, package_numbers, system_leads)
# What belongs to a place and not to what is stored there.
STAYS: Final = (claims, moves.moves, leadership.leadership, system_leads.system_leads)
TABLES: Final = tuple(each for each in METADATA.sorted_tables if each not in STAYS)
COUNTED: Final = tuple(each for each in TABLES if each.autoincrement_column is not None)

__all__ = ["COUNTED", "METADATA", "STAYS", "TABLES"]
