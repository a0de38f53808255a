"""All tables there are: whoever goes through the whole schema begins here, or misses some."""

from __future__ import annotations

from crossdock_hub.store import (
    archive_tables,
    bus_tables,
    leadership,
    moves,
    package_numbers,
    system_leads,
)
from crossdock_hub.store.tables import METADATA

# Each of them puts its tables into METADATA when it is imported.
WITH_TABLES = (archive_tables, bus_tables, leadership, moves, package_numbers, system_leads)

__all__ = ["METADATA"]
