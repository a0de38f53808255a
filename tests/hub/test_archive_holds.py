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
from crossdock_hub.archive.archiver import Archiver, Outcome
from crossdock_hub.archive.lines import lines_of
from crossdock_hub.archive.naming import Named
from crossdock_hub.archive.records import LettingGo, Moment, Pruning, WrittenFlow
from crossdock_hub.delivery import ledger
from crossdock_hub.delivery.causes import DeadLetterRecord
from crossdock_hub.records import HeldFactRecord
from crossdock_hub.replay.records import ReplayItemRecord, ReplayRecord
from crossdock_hub.store import archiving, writing
from crossdock_hub.unit import Unit
from decisions import CONTRACT, ERP, OPERATOR, request_id

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


def test_a_replay_that_tells_its_items_keeps_what_it_made(house: House, flow: str) -> None:
    """Proves that a flow stays while an item of a replay that is over tells by the row of its
    delivery what became of it, and goes when the items have gone."""
    ((made,),) = house.database.query("SELECT min(id) FROM deliveries WHERE root_id = ?", flow)
    replay = ReplayRecord(request_id(), "netsuite", "ALL", b"", "DONE", 1, 2, items=1, ended_at=3)
    item = ReplayItemRecord(
        replay_id=replay.id, number=1, flow=1, event_id="e", event_type="", object_id=flow,
        root_id=flow, operation="", item="", earlier="", verdict="", why="", approved_verdict="",
        approved_why="", delivery_id=made, decided_at=3,
    )  # fmt: skip
    put(house, (("replay", replay.id), replay), (("replay_item", replay.id, 1), item))
    execute(house, f"UPDATE deliveries SET replay_id = '{replay.id}' WHERE id = '{made}'")
    stays(house, flow, settling.REPLAY)
    execute(house, f"DELETE FROM replay_items WHERE replay_id = '{replay.id}'")
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
    stored = house.database.query("SELECT state, flows_gone FROM archive_parts")
    known = [tuple(row) for row in stored]
    if what == "held":
        assert outcome.flows == 0
        assert house.rows_about(flow) == before
        assert known == []
        assert parts.names_in(house.directory) == [], "a file that nothing relies on"
    else:
        assert outcome.flows == 1, "written anew as it is now"
        assert known == [("DONE", 1)]
        assert len(parts.names_in(house.directory)) == 1


def written(house: House) -> tuple[Any, WrittenFlow, Moment]:
    """A part that is written, its flow, and what was known then."""
    archiver = house.new_archiver()
    part, _ = house.run(archiver._write_part("order", "", Outcome()))
    (head,) = parts.flows_in(parts.data_path(house.directory, part.name))

    async def moment() -> Moment:
        async with house.store.read() as connection:
            return Moment("", await archiving.replays_under_way(connection))

    return part, head, house.run(moment())


def let_go(house: House, going: LettingGo) -> None:
    """Delete in a transaction, as the archiver does."""

    def decide(unit: Unit) -> None:
        unit.changes.archived.append(going)

    house.decide(OPERATOR, "archive", decide)


def hold(house: House, payload: bytes) -> None:
    """Keep a payload that nobody can read."""
    held = held_fact_pb2.HoldPayloadRequest(
        request_id=request_id(), payload=payload, source="/hook", reason="no JSON"
    )
    house.call("endpoint.v1.EndpointService/HoldPayload", held, ERP)


@pytest.mark.parametrize("named", [True, False])
def test_what_is_held_since_is_seen_where_it_is_deleted(
    house: House, flow: str, named: bool
) -> None:
    """Proves within the transaction that deletes: a fact that came since the flows were judged
    keeps those that it names, and no others."""
    part, head, moment = written(house)
    going = LettingGo(part.number, [head], moment, CONTRACT)
    hold(house, b"about 1Z1" if named else b"about 1Z9")
    before = house.rows_about(flow)
    let_go(house, going)
    assert (going.outdated, going.gone) == (False, [] if named else [flow])
    assert (house.rows_about(flow) == before) == named


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE objects SET revision = revision + 1 WHERE root_id = '{}'",
        "UPDATE deliveries SET attempts = 9 WHERE root_id = '{}'",
    ],
)
def test_what_changed_since_is_seen_where_it_is_deleted(
    house: House, flow: str, change: str
) -> None:
    """Proves within the transaction that deletes: a flow whose rows are no longer those of its part
    stays as it is, whoever looked before."""
    part, head, moment = written(house)
    going = LettingGo(part.number, [head], moment, CONTRACT)
    execute(house, change.format(flow))
    before = house.rows_about(flow)
    let_go(house, going)
    assert (going.outdated, going.gone) == (False, [])
    assert house.rows_about(flow) == before


@pytest.mark.parametrize("what", ["replay", "facts"])
def test_a_slice_whose_moment_has_passed_deletes_nothing(
    house: House, flow: str, what: str
) -> None:
    """Proves within the transaction that deletes: where a replay moved, or more came to be held
    than it looks at, nothing goes."""
    part, head, moment = written(house)
    going = LettingGo(part.number, [head], moment, CONTRACT)
    if what == "replay":
        replay = ReplayRecord(request_id(), "netsuite", "ALL", b"", "RUNNING", 1, 2, items=1)
        put(house, (("replay", replay.id), replay))
    else:
        for number in range(3):
            hold(house, bytes([number]) * (archiving.NEWER_FACTS_BYTES_MAX // 2))
    before = house.rows_about(flow)
    let_go(house, going)
    assert (going.outdated, going.gone) == (True, [])
    assert house.rows_about(flow) == before


def test_a_steady_inflow_of_held_facts_lets_flows_go(
    house: House, flow: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that facts which are held all the time, between judging and deleting, keep nothing
    that they do not name."""
    submit = Archiver._submit
    came = []

    async def with_a_fact(self: Archiver, decide: Any, weight: int) -> None:
        came.append(request_id())
        record = HeldFactRecord(
            came[-1], "netsuite", "", came[-1].encode(), "text/plain", b"", "HELD",
            "translation:/x", "", house.now,
        )  # fmt: skip
        fact = replace(record, id=house.committer._identifiers.next(house.now))
        await submit(self, lambda unit: unit.put(("held_fact", fact.id), fact), 1)
        await submit(self, decide, weight)

    monkeypatch.setattr(Archiver, "_submit", with_a_fact)
    assert house.archive().flows == 1
    assert came
    assert not house.rows_about(flow)


def test_what_holds_flows_changes_always(
    house: House, flow: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that a pass which never comes to delete what it wrote writes it once, and that a later
    one goes on with it."""

    async def moved(connection: Any, wanted: LettingGo) -> None:
        wanted.gone, wanted.outdated = [], True

    with monkeypatch.context() as patched:
        patched.setattr(writing, "let_flows_go", moved)
        assert house.archive().flows == 0
        assert house.archive().flows == 0
    assert len(parts.names_in(house.directory)) == 1
    assert house.archive().flows == 1
    assert len(parts.names_in(house.directory)) == 1


@pytest.mark.parametrize(
    "payload",
    [
        b"SO-1",
        b"order so 1, please",
        b"<Order>SO/1</Order>",
        b"SO1",
        "S\u00f6 SO-1".encode("utf-16-le"),
        b"\xff\xfe\x00 1z1",
        b"1Z1",
    ],
)
def test_however_a_payload_writes_a_name_it_holds_its_flow(
    house: House, flow: str, payload: bytes
) -> None:
    """Proves that a name is found at the very start of a payload, in any case, with other signs
    between its parts, and in texts of two bytes for each letter."""
    hold(house, payload)
    stays(house, flow, settling.HELD_FACT)


def test_names_with_spaces_and_zeros_are_found() -> None:
    """Proves that numbers with spaces and colons, and such as stand padded in a field of fixed
    width, are found in a payload, and that others are not."""
    request = held_fact_pb2.HoldPayloadRequest(
        payload=b"HDR0000012345ABC;order PO 17:4/B;ref 0190a1b2-0000-7000-8000-00000000beef",
        key="K-77",
    )
    fact = HeldFactRecord(
        "1", "erp", "", request.SerializeToString(), "text/plain", b"", "HELD", "translation:/x",
        "", 0,
    )  # fmt: skip
    named = Named()
    named.add([fact], CONTRACT)
    for name in (
        "12345", "0012345", "PO 17:4", "po-17-4-b", "PO 17:4/B", "K-77",
        "0190A1B2-0000-7000-8000-00000000BEEF",
    ):  # fmt: skip
        assert named.has_any([name]), name
    assert not named.has_any(["PO 18:4", "2345", "0190a1b2-0000-7000-8000-00000000bee0", "", "-"])


def test_a_flow_that_nobody_can_read_keeps_no_other_one(
    house: House, flow: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that one flow which can't be told stays, is counted and leaves the others free."""
    house.days_pass(OLD)
    house.delivered("3")

    def told(rows: Any, contract: Any) -> bytes:
        if rows["objects"][0]["root_id"] == flow:
            raise ValueError("no JSON can say that")
        return lines_of(rows, contract)

    with monkeypatch.context() as patched:
        patched.setattr("crossdock_hub.archive.archiver.lines_of", told)
        outcome = house.archive()
    assert (outcome.flows, outcome.stays) == (1, {settling.UNREADABLE: 1})
    assert house.rows_about(flow)
    assert house.archive().flows == 1


def test_what_goes_by_its_age_goes_in_bytes(house: House) -> None:
    """Proves that a transaction deletes at most so many bytes of payloads, and that all go."""
    size = archiving.PRUNED_BYTES_MAX // 10
    for number in range(25):
        hold(house, bytes([number]) * size)
    execute(house, "UPDATE held_facts SET state = 'APPLIED'")
    house.days_pass(DAYS["held_fact"] + 1)
    counts = []

    async def one() -> int:
        pruning = Pruning("held_fact", house.now - int(DAYS["held_fact"] * settling.DAY), 500)
        async with house.store.write() as connection:
            await archiving.prune(connection, pruning)
        counts.append(pruning.count)
        return pruning.more

    while house.run(one()):
        assert len(counts) < 25
    assert counts == [9, 9, 7]
    assert house.counts()["held_facts"] == 0
