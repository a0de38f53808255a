"""A whole hub on PostgreSQL: work flows, both sides are killed, and a second hub stays outside."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from crossdock.errors import CallError, TryAgainError
from databases import ServerDatabase
from fixtures_hub import QUICK_LIMITS, Lane, RunningHub, deployment
from fixtures_nats import PATIENCE_SECONDS, eventually
from fixtures_postgres import PostgresProcess
from played_endpoint import ERP_OPERATIONS, PlayedEndpoint
from story import Story, create_order, seed_master_data

EXIT_UNAVAILABLE, EXIT_CONFIGURATION, EXIT_REPLACED = 69, 78, 70


@pytest.fixture
def postgres_hub(tmp_path: Path) -> Iterator[RunningHub]:
    """A hub of the test's own on a database of the session's server."""
    running = RunningHub(
        tmp_path / "hub", deployment(1), database="postgresql", limits=json.dumps(QUICK_LIMITS)
    ).start()
    asyncio.run(seed_master_data(running))
    yield running
    running.kill()


async def test_work_goes_on_after_a_kill(postgres_hub: RunningHub) -> None:
    """Proves that orders reach an ERP once over a `kill -9` of the hub, that events are on the bus
    once, and that the killed hub's lock does not stand in the way of the next."""
    async with PlayedEndpoint(postgres_hub, Lane(1).erp, ERP_OPERATIONS) as erp:
        async with Story(postgres_hub, Lane(1)) as story:
            first = await story.approved()
            await erp.work("CONFIRMED", references={"sales_order": "1"})
            second = await story.approved()
        postgres_hub.restart()
        async with Story(postgres_hub, Lane(1)) as story:
            # The dispatch of before the kill may have arrived; its number is an old one.
            dispatch = await erp.take()
            while (begun := await erp.try_begin(dispatch)).HasField("refusal"):
                assert begun.refusal.reason == "LEASE_LOST"
                dispatch = await erp.take()
            await erp.complete(dispatch.delivery_id, begun.token, "CONFIRMED")
            states = {
                order: (await story.delivery(order, "create_sales_order")).state
                for order in (first, second)
            }
    assert len(set(states.values())) == 1
    assert postgres_hub.count("deliveries", "state = 'CONFIRMED'") == 2
    unpublished = "published_at IS NULL"
    await eventually(lambda: postgres_hub.count("events", unpublished) == 0, "publishing")


async def test_a_second_hub_is_refused(postgres_hub: RunningHub, tmp_path: Path) -> None:
    """Proves that a second hub on the database, with a directory of its own, ends with one sentence
    and leaves the first alone."""
    second = RunningHub(tmp_path / "second", database_url=postgres_hub.database.url)
    code, said = second.run_to_its_end()
    assert code == EXIT_UNAVAILABLE
    assert f":{postgres_hub.pid}; stop it" in said
    async with postgres_hub.client("oms") as oms:
        await oms.orders.CreateOrder(create_order())


def test_a_password_in_the_setting_is_refused(unstarted_hub: RunningHub) -> None:
    """Proves that secrets come from files, and that the refusal does not repeat one."""
    url = "postgresql+asyncpg://crossdock:hunter2@127.0.0.1/x"
    code, said = unstarted_hub.run_to_its_end(database_url=url)
    assert code == EXIT_CONFIGURATION
    assert "CROSSDOCK_DATABASE_PASSWORD_FILE" in said and "hunter2" not in said


async def test_the_server_goes_and_comes_back(
    own_postgres_server: PostgresProcess, tmp_path: Path
) -> None:
    """Proves that a hub outlives its server: callers are told to repeat, what was accepted is
    there, and it writes again by itself."""
    database = ServerDatabase(own_postgres_server)
    hub = RunningHub(tmp_path / "hub", deployment(1), database_url=database.url).start()
    try:
        await seed_master_data(hub)
        async with hub.client("oms") as oms:
            kept = create_order()
            await oms.orders.CreateOrder(kept)
            own_postgres_server.kill()
            later = create_order()
            with pytest.raises(TryAgainError, match="repeat with the same request_id"):
                await oms.orders.CreateOrder(later)
            own_postgres_server.start()
            await oms.orders.CreateOrder(later, timeout=PATIENCE_SECONDS)
        found = {row[0] for row in database.query("SELECT number FROM objects WHERE kind='order'")}
        assert found == {kept.order.number, later.order.number}
        assert hub.stop() == 0
    finally:
        hub.kill()


async def test_a_hub_that_was_replaced_ends(postgres_hub: RunningHub, tmp_path: Path) -> None:
    """Proves that a hub which lost its connection, and finds that another one has taken over, ends
    instead of deciding by what is no longer so."""
    database = postgres_hub.database
    assert isinstance(database, ServerDatabase)
    holds = f"datname = '{database.name}' AND application_name LIKE 'crossdock-hub %'"
    ended = f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE {holds}"
    postgres_hub.freeze()
    database.server.ask("postgres", ended)
    second = RunningHub(tmp_path / "second", database_url=database.url).start()
    try:
        postgres_hub.thaw()
        assert postgres_hub.process is not None
        async with postgres_hub.client("oms") as oms:
            with pytest.raises(CallError):
                await oms.orders.CreateOrder(create_order(), timeout=5)
        await eventually(lambda: not postgres_hub.runs, "its end")
        assert postgres_hub.process.returncode == EXIT_REPLACED
        assert "not as this hub left it" in postgres_hub.log()
        assert second.runs
    finally:
        second.kill()
