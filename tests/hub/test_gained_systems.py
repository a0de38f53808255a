"""What a hub knows of a system that it leads only now, from a real PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from crossdock_hub.committer import Committed, Committer, no_ties
from crossdock_hub.config import Limits, Settings
from crossdock_hub.delivery.dispatching import Picker
from crossdock_hub.dividing import Dividing
from crossdock_hub.store import Store, system_leads
from crossdock_hub.store.crossing import write_rows
from crossdock_hub.store.rows import ENDPOINTS
from databases import ServerDatabase
from decisions import CONTRACT
from fixtures_nats import eventually
from overlapping_commands import SHARED_BY
from test_silence import BARE
from test_system_leads import seated

LIMITS = Limits()


@pytest.fixture
async def store(database: ServerDatabase) -> AsyncIterator[Store]:
    """Of a hub that divides systems with others: its endpoint is active."""
    opened = await Store.open(database.url, CONTRACT, shared_by=SHARED_BY)
    async with opened.write() as connection:
        await write_rows(connection, [(ENDPOINTS, [BARE])])
    yield opened
    await opened.close()


@pytest.fixture
async def committer(store: Store) -> AsyncIterator[Committer]:
    """The hub's, which takes part in deciding."""
    made = Committer(store, CONTRACT, LIMITS, Picker(LIMITS))
    made.follow()
    made.start([BARE])
    yield made
    await made.stop()


async def paused_elsewhere(store: Store) -> None:
    """The hub that led its system has paused the endpoint, and told nobody."""
    async with store.write() as connection:
        await write_rows(connection, [(ENDPOINTS, [replace(BARE, state="PAUSED")])])


def knows(committer: Committer) -> bool:
    return [each.takes_work for each in committer.endpoints] == [False]


async def test_a_change_of_who_leads_has_endpoints_read_again(
    database: ServerDatabase, store: Store, committer: Committer
) -> None:
    """Proves that a hub which learns that others lead systems than before reads its endpoints
    before it decides anything more: a pause by the hub that led one until now holds here too."""
    unused: Any = None
    dividing = Dividing(
        Settings(database_url=database.url),
        LIMITS,
        store,
        committer,
        unused,
        unused,
        unused,
        "a hub",
        lambda: None,
        lambda: None,
        lambda _picker: None,
    )
    committer.lead_systems(Picker(LIMITS), no_ties, frozenset, lambda: True)
    batches: list[Committed] = []
    committer.listeners.append(batches.append)
    committer.poke()
    await eventually(lambda: batches != [], "a first batch")
    assert not knows(committer)
    await paused_elsewhere(store)
    await seated(store, 1, 4, 60.0)
    async with store.write() as connection:
        await system_leads.insert(connection, ["erp"])
        await connection.exec_driver_sql("UPDATE system_leads SET seat = 1, seat_term = 4")
    await dividing.systems.look()
    committer.look_again()
    await eventually(lambda: knows(committer), "the pause", 5.0)


async def test_a_seat_is_taken_up_with_endpoints_as_they_are(
    store: Store, committer: Committer
) -> None:
    """Proves that a hub which takes a seat up reads its endpoints before it dispatches."""
    await paused_elsewhere(store)
    committer.lead_systems(Picker(LIMITS), no_ties, frozenset, lambda: True)
    committer.poke()
    await eventually(lambda: knows(committer), "the pause", 5.0)
