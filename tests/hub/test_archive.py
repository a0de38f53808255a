"""Finished flows leave the database for files that say everything, and nothing else leaves."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from archive_house import DAYS, House
from crossdock.errors import ConfigurationError
from crossdock.lineage.v1 import lineage_service_pb2
from crossdock.order.v1 import order_service_pb2
from crossdock_hub.archive import parts, settling
from crossdock_hub.archive.lines import TABLES, rows_from
from crossdock_hub.archive.settling import rules_of
from crossdock_hub.store.archiving import read_flows
from crossdock_hub.unit import Refused
from databases import KINDS, database_of
from decisions import CONTRACT, OMS, WMS, request_id
from first_flow import ORDERS, order
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

TRACE = "lineage.v1.LineageService/Trace"
OLD = DAYS["order"] + 1


@pytest.fixture(params=KINDS)
def house(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[House]:
    with House(tmp_path / "data", kind=request.param) as made:
        yield made


@pytest.fixture
def one(tmp_path: Path) -> Iterator[House]:
    with House(tmp_path / "data") as made:
        yield made


def rows_of(house: House, root_id: str) -> dict[str, list[dict[str, Any]]]:
    async def read() -> Any:
        async with house.store.read() as connection:
            return await read_flows(connection, [root_id])

    found: dict[str, list[dict[str, Any]]] = house.run(read())[root_id]
    return found


def refusal_of(work: Any) -> Any:
    with pytest.raises(Refused) as refused:
        work()
    return refused.value.refusal


def test_a_finished_flow_goes_whole_and_stands_in_its_part(house: House) -> None:
    """Proves that every row of an old flow is in the file as it was in the database, readable by
    gzip and JSON alone, that none of them is left, and that a younger flow has lost nothing."""
    old = house.delivered("1")
    house.days_pass(OLD)
    young = house.delivered("2")
    before, kept = rows_of(house, old), rows_of(house, young)
    assert {name for name in TABLES if not before[name]} <= {"operator_words", "delivery_contents"}
    outcome = house.archive()
    assert (outcome.flows, len(outcome.parts)) == (1, 1)
    path = parts.data_path(house.directory, outcome.parts[0])
    with gzip.open(path, "rt", encoding="utf-8") as file:
        lines = [line.encode() for line in file]
    assert rows_from(lines, CONTRACT) == before
    assert json.loads(lines[1])["row"]["message"]["json"]["number"] == "SO-1"
    manifest = json.loads((house.directory / f"{outcome.parts[0]}.manifest.json").read_text())
    assert manifest["sha256"] == parts.digest_of(path)
    assert (manifest["flows"], manifest["kind"], manifest["version"]) == (1, "order", 1)
    assert rows_of(house, young) == kept
    ids = [row["id"] for name in ("objects", "events", "deliveries") for row in before[name]]
    left = house.rows_about(old, *ids)
    assert not left, left


def test_what_was_archived_is_not_unknown(house: House) -> None:
    """Proves that a trace by any id of the flow names the part, that its order number and its
    request ids are refused with ARCHIVED and not used anew, and that others are not in the way."""
    create = order_service_pb2.CreateOrderRequest(request_id=request_id(), order=order("SO-X"))
    first = house.call(f"{ORDERS}/CreateOrder", create, OMS).order
    house.cancel(first.id)
    house.settle_all()
    old = house.delivered("1")
    rows = rows_of(house, old)
    house.days_pass(OLD)
    house.delivered("2")
    (part,) = house.archive().parts
    names = [old, "SO-1", "so-1", "SHP-1", "1Z1", "LPN-1", first.id, "SO-X", create.request_id]
    names += [row["id"] for name in ("events", "deliveries") for row in rows[name]]
    for name in names:
        request = lineage_service_pb2.TraceRequest(id=name)
        refusal = refusal_of(lambda asked=request: house.ask(TRACE, asked))
        assert (refusal.reason, refusal.metadata["part"]) == ("ARCHIVED", part), name
        told = refusal_of(lambda asked=request: house.ask(TRACE, asked, WMS))
        assert told.reason == "OBJECT_NOT_FOUND", "its scope has not everything"
    again = refusal_of(lambda: house.call(f"{ORDERS}/CreateOrder", create, OMS))
    assert (again.reason, again.metadata["part"]) == ("ARCHIVED", "1")
    taken = refusal_of(lambda: house.create(order("SO-1")))
    assert taken.reason == "ARCHIVED"
    assert house.create(order("SHP-1")).number == "SHP-1", "the number of another kind is free"


def test_looking_changes_nothing_and_says_why_the_rest_stays(one: House) -> None:
    """Proves that a dry run counts what would go and, by reason, what would not, writes no row and
    no file, and that the pass after it does what it said."""
    one.delivered("1")
    open_order = one.create(order("SO-OPEN")).id
    stuck = one.delivered("3")
    _state(one, stuck, "REJECTED")
    one.days_pass(OLD)
    one.delivered("2")
    before = one.counts()
    looked = one.look()
    assert looked.flows == 1
    assert looked.stays == {settling.OPEN_OBJECT: 1, settling.DEAD_LETTER: 1}
    assert (one.counts(), one.directory.exists()) == (before, False)
    done = one.archive()
    assert (done.flows, done.stays) == (looked.flows, looked.stays)
    for kept in (open_order, stuck):
        assert one.rows_about(kept)


def _state(house: House, root_id: str, state: str) -> None:
    async def write() -> None:
        async with house.store.write() as connection:
            await connection.exec_driver_sql(
                f"UPDATE deliveries SET state = '{state}' WHERE root_id = '{root_id}' AND id = "
                f"(SELECT min(id) FROM deliveries WHERE root_id = '{root_id}')"
            )

    house.run(write())


@pytest.mark.parametrize(
    ("days", "told"),
    [
        ({"orders": 10.0}, "there is no orders; there are order"),
        ({"order": 0.0}, "order must be above 0"),
        ({"request": float("nan")}, "request must be above 0"),
        ({"order": 1e9}, "at most 36,500 days"),
    ],
)
def test_an_impossible_age_stops_the_start(days: dict[str, float], told: str) -> None:
    """Proves that a mistyped kind or age is told by name before anything is started."""
    with pytest.raises(ConfigurationError, match=told):
        rules_of(days, {})


def test_nothing_is_archived_unless_somebody_says_so(tmp_path: Path) -> None:
    """Proves that without a setting no flow, no request and no held fact ever goes."""
    with House(tmp_path / "data", days={}) as house:
        house.delivered("1")
        house.days_pass(10_000)
        house.delivered("2")
        before = house.counts()
        outcome = house.archive()
        assert (outcome.flows, outcome.pruned.total()) == (0, 0)
        assert house.counts() == before


def test_a_flow_that_another_hub_is_changing_stays(tmp_path: Path) -> None:
    """Proves that a flow which another connection has locked, as a hub beside this one would, is
    neither waited for nor deleted, and goes with a later pass."""
    with House(tmp_path / "data", kind="postgresql") as house:
        locked, free = house.delivered("1"), house.delivered("2")
        house.days_pass(OLD)
        house.delivered("3")

        async def hold() -> tuple[Any, Any]:
            engine = create_async_engine(database_of(tmp_path / "data", "postgresql").url)
            connection = await engine.connect()
            asked = text("SELECT id FROM objects WHERE id = :id FOR UPDATE")
            await connection.execute(asked, {"id": locked})
            return engine, connection

        async def let_go(engine: Any, connection: Any) -> None:
            await connection.close()
            await engine.dispose()

        held = house.run(hold())
        try:
            assert house.archive().flows == 1
            assert not house.rows_about(free)
            assert rows_of(house, locked)["objects"]
        finally:
            house.run(let_go(*held))
        assert house.archive().flows == 1
        assert not house.rows_about(locked)
