"""What a restart does to leases: they keep what was left, never less than the grace."""

from __future__ import annotations

from pathlib import Path

import pytest
from crossdock_hub.config import SECOND
from crossdock_hub.store.writing import restart_leases, write_deliveries
from databases import open_store
from decisions import START
from ledger_vendor import Desk


@pytest.mark.parametrize(
    ("lease", "away", "left"),
    [(40, 0, 40), (40, 3600, 40), (5, 3600, 10), (-30, 0, 10), (-30, 5, 10), (900, 3600, 600)],
)
async def test_a_lease_keeps_what_was_left(
    tmp_path: Path, lease: int, away: int, left: int
) -> None:
    """Proves for clocks set forward, downtimes and leases long over what is left at the start."""
    desk = Desk()
    record = desk.one()
    desk.take(record)
    record = desk.fresh(record)
    record.lease_until = record.due_at = START + lease * SECOND
    now = START + away * SECOND
    store = await open_store(tmp_path)
    try:
        async with store.write() as connection:
            await write_deliveries(connection, [record])
            until, longest = now + 10 * SECOND, 600 * SECOND
            await restart_leases(connection, now, until, away * SECOND, longest)
            found = await connection.exec_driver_sql("SELECT lease_until, due_at FROM deliveries")
            assert found.one() == (now + left * SECOND, now + left * SECOND)
    finally:
        await store.close()
