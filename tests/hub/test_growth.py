"""Copies of flows that the growth case of the bench loads are what the hub itself would have."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from crossdock_hub.store import schema

from tests.load.growth_asking import UNKNOWN, Questions, differing, milliseconds
from tests.load.growth_site import GrownSite
from tests.load.growth_template import FLOW_TABLES

COPIES = 20
SECONDS = 240


@pytest.fixture
async def grown(tmp_path: Path) -> AsyncIterator[GrownSite]:
    """A running hub with copies."""
    site = GrownSite(tmp_path / "grown", COPIES)
    await site.grow()
    site.hub.start()
    yield site
    await site.stop()


def everything_about(path: Path) -> list[str]:
    """What a database says of its tables and indexes, and of what is wrong with them."""
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        made = connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY 1")
        return [row[0] for row in made]


@pytest.mark.timeout(SECONDS)
async def test_copies_are_true(grown: GrownSite) -> None:
    """Proves that the trace of every copy is that of its template but for ids, numbers and times,
    that it is found by every kind of id, that the hub finds nothing to mend or to publish, and that
    tables and indexes stay as they were."""
    site = grown
    async with site.hub.client("operator") as client:
        for number in range(COPIES):
            assert await differing(client, site.loader, number) == ""
        questions = Questions(site.loader, 7)
        for kind in questions.kinds():
            await milliseconds(client, questions.next(kind), known=kind not in UNKNOWN)
    assert site.hub.query("SELECT * FROM bus_differences") == []
    assert site.hub.count("events", "published_at IS NULL") == 0
    assert site.events == sum(site.loader.templates[n % 3].events for n in range(COPIES))
    assert site.hub.stop() == 0
    loaded = everything_about(site.path)
    empty = GrownSite(site.directory.with_name("empty"), 0)
    empty.hub.start()
    assert empty.hub.stop() == 0
    assert loaded == everything_about(empty.path)


@pytest.mark.timeout(SECONDS)
async def test_a_wrong_copy_is_found(grown: GrownSite) -> None:
    """Proves that the comparison notices one value of one row of a copy that is not its own."""
    site = grown
    assert site.hub.stop() == 0
    order = Questions(site.loader, 1).of("order id", 5)
    with contextlib.closing(sqlite3.connect(site.path)) as connection, connection:
        done = connection.execute(
            "UPDATE deliveries SET vendor_references = '[[\"document\",\"D-1\"]]' "
            "WHERE root_id = ? AND operation = 'post_goods_issue'", (order,),
        )  # fmt: skip
        assert done.rowcount == 1
    site.hub.start()
    async with site.hub.client("operator") as client:
        assert "D-1" in await differing(client, site.loader, 5)
        assert await differing(client, site.loader, 6) == ""


def test_every_table_of_a_flow_is_copied() -> None:
    """Proves that no table with rows of a flow is forgotten when a table is added."""
    others = {
        "scan_outbox", "endpoints", "cursors", "held_facts", "mappings", "mapping_kinds",
        "bus_positions", "bus_consumers", "replays", "replay_items", "bus_tie", "bus_tie_parts",
        "bus_differences", "archive_parts", "archived_ids", "dead_letter_groups", "starts",
    }  # fmt: skip
    assert {table.name for table in schema.TABLES} == set(FLOW_TABLES) | others
