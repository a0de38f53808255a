"""What a restart does to leases: they keep what was left, never less than the grace."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import pytest
from crossdock_hub.config import SECOND
from crossdock_hub.store import rows
from crossdock_hub.store.crossing import write_rows
from crossdock_hub.store.writing import restart_leases
from databases import KINDS, open_store
from decisions import START
from fixtures_hub import Lane, RunningHub
from ledger_vendor import Desk
from played_endpoint import PlayedEndpoint
from sqlalchemy.ext.asyncio import AsyncConnection
from story import Story

BOOKING = {"create_sales_order": "SEARCHABLE"}


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
            await write_rows(connection, [(rows.DELIVERIES, [record])])
            until, longest = now + 10 * SECOND, 600 * SECOND
            await restart_leases(connection, now, until, away * SECOND, longest)
            found = await connection.exec_driver_sql("SELECT lease_until, due_at FROM deliveries")
            assert found.one() == (now + left * SECOND, now + left * SECOND)
    finally:
        await store.close()


async def test_start_after_start_counts_a_time_away_once(own_hub: RunningHub) -> None:
    """Proves that hubs which start and die, and store nothing else, lengthen a lease by the time
    that has passed: each counts from the start before it."""
    lane = Lane(1)
    async with Story(own_hub, lane) as story, PlayedEndpoint(own_hub, lane.erp, BOOKING) as erp:
        await story.approved()
        await erp.begin(await erp.take(), lease_seconds=60.0)
    seen = []
    for _ in range(3):
        own_hub.kill()
        own_hub.start()
        (lease,) = own_hub.query("SELECT lease_until FROM deliveries WHERE state = 'IN_FLIGHT'")
        (started,) = own_hub.query("SELECT started_at FROM starts")
        seen.append((lease[0], started[0]))
    for before, after in itertools.pairwise(seen):
        assert after[1] - before[1] > 0
        assert after[0] - before[0] <= after[1] - before[1]


@pytest.mark.parametrize("kind", KINDS)
async def test_only_leases_of_some_endpoints_start_anew(tmp_path: Path, kind: str) -> None:
    """Proves that where only some endpoints have a new leader only their leases and dispatches
    start anew, and that none does where there are no such endpoints."""
    desk = Desk()
    until = START + 600 * SECOND
    records = []
    for number in range(2):
        for begun in (True, False):
            record = desk.one(key=f"{number} {begun}")
            if begun:
                desk.take(record)
                record = desk.fresh(record)
                record.lease_until = record.due_at = START
            else:
                record = replace(record, state="DISPATCHED", pending=False)
            records.append(replace(record, endpoint=f"erp-{number}"))
    store = await open_store(tmp_path, kind)
    try:
        async with store.write() as connection:
            await write_rows(connection, [(rows.DELIVERIES, records)])
            before = await _leases(connection)
            await restart_leases(connection, START, until, endpoints=[])
            assert await _leases(connection) == before
            await restart_leases(connection, START, until, endpoints=["erp-1"])
            found = await _leases(connection)
            assert [each for each in found if each[0] == "erp-0"] == before[:2]
            theirs = [each for each in found if each[0] == "erp-1"]
            assert theirs == [("erp-1", "READY", None), ("erp-1", "IN_FLIGHT", until)]
            assert ("erp-0", "DISPATCHED") in {each[:2] for each in found}
    finally:
        await store.close()


async def _leases(connection: AsyncConnection) -> list[tuple[str, str, int | None]]:
    """(endpoint, state, until when) of each delivery."""
    asked = "SELECT endpoint, state, lease_until FROM deliveries ORDER BY 1, state DESC, 3"
    return [tuple(row) for row in await connection.exec_driver_sql(asked)]
