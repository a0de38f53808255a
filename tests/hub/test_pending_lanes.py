"""Stored work of several lanes is asked for at once, and comes as if each had been asked alone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from crossdock_hub.store import Store, rows
from crossdock_hub.store.crossing import write_rows
from crossdock_hub.store.writing import pending_lanes
from databases import KINDS, open_store
from ledger_vendor import Desk

ENDPOINT = "netsuite"
# Of each lane, in the order in which they are stored: its sequence, and whether it waits.
STORED = {
    0: [("01", True)],
    1: [("09", True), ("03", True), ("05", False), ("04", True)],
    2: [],
    3: [("07", True), ("02", True)],
}


@pytest.fixture(params=KINDS)
async def store(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    opened = await open_store(tmp_path, request.param)
    desk = Desk()
    records = []
    for lane, stored in STORED.items():
        for sequence, pending in stored:
            for endpoint in (ENDPOINT, "sap"):
                record = desk.one()
                record.endpoint, record.priority, record.pending = endpoint, lane, pending
                record.sequence, record.state = sequence, "READY" if pending else "CONFIRMED"
                records.append(record)
    async with opened.write() as connection:
        await write_rows(connection, [(rows.DELIVERIES, records)])
    yield opened
    await opened.close()


@pytest.mark.parametrize(
    ("lanes", "most", "expected"),
    [
        ([3, 1, 2], 2, [(3, "02"), (3, "07"), (1, "03"), (1, "04")]),
        ([1], 1, [(1, "03")]),
        ([2], 5, []),
        ([], 5, []),
    ],
)
async def test_each_lane_gives_its_oldest(
    store: Store, lanes: list[int], most: int, expected: list[tuple[int, str]]
) -> None:
    """Proves that each lane gives so many of its own, oldest first, of that endpoint and of what
    waits only."""
    async with store.write() as connection:
        found = await pending_lanes(connection, ENDPOINT, lanes, most)
    assert {each.endpoint for each in found} <= {ENDPOINT}
    told = [(each.priority, each.sequence) for each in found]
    assert sorted(told) == sorted(expected)
    for lane in lanes:
        assert [one for one in told if one[0] == lane] == [o for o in expected if o[0] == lane]
