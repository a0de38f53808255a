"""What may still be needed does not leave the database, whenever it is found out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from archive_house import DAYS, House
from crossdock.dead_letter.v1 import dead_letter_service_pb2
from crossdock.endpoint.v1 import held_fact_pb2
from crossdock_hub.archive import parts, settling
from crossdock_hub.archive.archiver import Outcome
from crossdock_hub.archive.records import LettingGo
from crossdock_hub.delivery import ledger
from crossdock_hub.delivery.causes import DeadLetterRecord
from crossdock_hub.replay.records import ReplayItemRecord, ReplayRecord
from crossdock_hub.store import archiving
from crossdock_hub.unit import Unit
from decisions import ERP, OPERATOR, request_id

OLD = DAYS["order"] + 1


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with House(tmp_path / "data") as made:
        yield made


@pytest.fixture
def flow(house: House) -> str:
    """An old flow that may go, and a young one behind it."""
    root = house.delivered("1")
    house.days_pass(OLD)
    house.delivered("2")
    return root


def put(house: House, *records: tuple[Any, Any]) -> None:
    def decide(unit: Unit) -> None:
        for key, record in records:
            unit.put(key, record)

    house.decide(OPERATOR, "put", decide)


def execute(house: House, statement: str) -> None:
    async def write() -> None:
        async with house.store.write() as connection:
            await connection.exec_driver_sql(statement)

    house.run(write())


def stays(house: House, root: str, why: str) -> None:
    """Nothing of it goes, and the reason is told."""
    before = house.rows_about(root)
    assert house.look().stays == {why: 1}
    assert house.archive().flows == 0
    assert house.rows_about(root) == before


def test_nothing_in_the_way(house: House, flow: str) -> None:
    """Proves that what the other tests hold back would go."""
    assert house.look().stays == {}
    assert house.archive().flows == 1
    assert not house.rows_about(flow)


@pytest.mark.parametrize("state", sorted(ledger.OPEN_STATES | {"UNROUTED", "REJECTED"}))
def test_work_that_is_not_done_keeps_its_flow(house: House, flow: str, state: str) -> None:
    """Proves for every state but the three of work that is done that one delivery holds all."""
    execute(
        house,
        f"UPDATE deliveries SET state = '{state}' WHERE id = "
        f"(SELECT min(id) FROM deliveries WHERE root_id = '{flow}')",
    )
    dead = state in ("PARKED", "REJECTED", "UNROUTED")
    stays(house, flow, settling.DEAD_LETTER if dead else settling.OPEN_DELIVERY)


def test_an_open_dead_letter_keeps_its_flow(house: House, flow: str) -> None:
    """Proves that a letter that is settled with a delivery of the flow holds it until it is."""
    ((carrier,),) = house.database.query("SELECT min(id) FROM deliveries WHERE root_id = ?", flow)
    letter = DeadLetterRecord("c" * 32, carrier, flow, False, 1, 1, carrier=carrier)
    key = ("dead_letter", letter.cause, letter.id)
    put(house, (key, letter))
    stays(house, flow, settling.DEAD_LETTER)
    put(house, (key, replace(letter, settled_at=2, settlement="CONFIRMED")))
    assert house.archive().flows == 1


def test_what_is_held_keeps_what_it_names(house: House, flow: str) -> None:
    """Proves that a payload which names the order's number holds its flow until it is closed."""
    held = held_fact_pb2.HoldPayloadRequest(
        request_id=request_id(), payload=b'{"order": "SO-1"}', source="/hook", reason="no JSON"
    )
    fact = house.call("endpoint.v1.EndpointService/HoldPayload", held, ERP).receipt.held_fact_id
    stays(house, flow, settling.HELD_FACT)
    discard = dead_letter_service_pb2.DiscardHeldFactRequest(
        request_id=request_id(), held_fact_id=fact, reason="a test of theirs"
    )
    house.call("dead_letter.v1.DeadLetterService/DiscardHeldFact", discard, OPERATOR)
    assert house.archive().flows == 1


def test_a_replay_that_is_not_over_keeps_its_flows(house: House, flow: str) -> None:
    """Proves that an item of a running replay holds its flow until the replay ends."""
    replay = ReplayRecord(request_id(), "netsuite", "ALL", b"", "RUNNING", 1, 2, items=1)
    item = ReplayItemRecord(
        replay_id=replay.id, number=1, flow=1, event_id="e", event_type="", object_id=flow,
        root_id=flow, operation="", item="", earlier="", verdict="", why="", approved_verdict="",
        approved_why="",
    )  # fmt: skip
    put(house, (("replay", replay.id), replay), (("replay_item", replay.id, 1), item))
    stays(house, flow, settling.REPLAY)
    done = replace(replay, state="DONE", ended_at=house.now)
    put(house, (("replay", replay.id), done))
    assert house.archive().flows == 1


def test_an_event_is_kept_as_long_as_its_retention(tmp_path: Path) -> None:
    """Proves that an age below the retention of an event does not shorten it."""
    with House(tmp_path / "data", days={"order": 1.0}) as house:
        house.delivered("1")
        house.days_pass(20.5)
        house.delivered("2")
        assert house.look().stays == {settling.RETENTION: 1}
        house.days_pass(0.6)
        house.delivered("3")
        assert house.archive().flows == 1


def test_an_event_that_is_not_sent_keeps_its_flow(house: House, flow: str) -> None:
    """Proves that nothing leaves before the bus has its events."""
    execute(house, f"UPDATE events SET published_at = NULL WHERE root_id = '{flow}'")
    stays(house, flow, settling.UNSENT)


def test_the_newest_event_stays(house: House) -> None:
    """Proves that a hub that has nothing else keeps the flow by which it knows how far it came."""
    root = house.delivered("1")
    house.days_pass(OLD)
    stays(house, root, settling.NEWEST)


@pytest.mark.parametrize("what", ["row", "delivery", "held"])
def test_what_changes_after_it_was_written_stays(house: House, flow: str, what: str) -> None:
    """Proves that a flow which is not, row for row, what stands in the file is not deleted, nor one
    that something began to hold meanwhile; and that it goes by a later part."""
    archiver = house.new_archiver()
    written = house.run(archiver._write_part("order", "", Outcome()))
    assert written[0].state == "WRITTEN"
    if what == "row":
        execute(house, f"UPDATE objects SET revision = revision + 1 WHERE id = '{flow}'")
    elif what == "delivery":
        execute(house, f"UPDATE deliveries SET attempts = 9 WHERE root_id = '{flow}'")
    else:
        held = held_fact_pb2.HoldPayloadRequest(
            request_id=request_id(), payload=b"1Z1", source="/hook", reason="no JSON"
        )
        house.call("endpoint.v1.EndpointService/HoldPayload", held, ERP)
    before = house.rows_about(flow)
    outcome = house.archive()
    assert house.database.query("SELECT state, flows_gone FROM archive_parts")[0][1] == 0
    if what == "held":
        assert outcome.flows == 0
        assert house.rows_about(flow) == before
    else:
        assert outcome.flows == 1, "written anew as it is now"
        assert len(parts.names_in(house.directory)) == 2


def test_a_slice_whose_moment_has_passed_deletes_nothing(house: House, flow: str) -> None:
    """Proves within the transaction that deletes: what came to hold flows since they were judged
    is seen, and nothing goes."""
    archiver = house.new_archiver()
    part, _ = house.run(archiver._write_part("order", "", Outcome()))
    (head,) = parts.flows_in(parts.data_path(house.directory, part.name))

    async def moment() -> Any:
        async with house.store.read() as connection:
            return await archiving.moment(connection)

    going = LettingGo(part.number, [head], house.run(moment()))
    held = held_fact_pb2.HoldPayloadRequest(
        request_id=request_id(), payload=b"x", source="/hook", reason="no JSON"
    )
    house.call("endpoint.v1.EndpointService/HoldPayload", held, ERP)
    before = house.rows_about(flow)

    def let_go(unit: Unit) -> None:
        unit.changes.archived.append(going)

    house.decide(OPERATOR, "archive", let_go)
    assert (going.outdated, going.gone) == (True, [])
    assert house.rows_about(flow) == before
