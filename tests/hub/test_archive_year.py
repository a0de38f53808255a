"""A year goes by in an accelerated hub, and no table grows for longer than its ages say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from archive_house import DAYS, LIMITS, House
from crossdock.dead_letter.v1 import dead_letter_service_pb2
from crossdock.endpoint.v1 import held_fact_pb2
from crossdock_hub.archive import parts
from crossdock_hub.replay.records import ReplayRecord
from crossdock_hub.unit import Unit
from decisions import ERP, OPERATOR, request_id

DAYS_OF_A_YEAR = 365
STEP_DAYS = 10
SECONDS = 400
# Of dead letters, which each discarded payload was.
HISTORY = 6
# By then flows have been archived for as long as their ids are known.
EVEN_FROM_DAY = int(DAYS["order"] + DAYS["archived_id"]) + 2 * STEP_DAYS
# Rows of one step more or less: what is pruned with this pass or with the next.
STEPS_OF_PLAY = 1
FLOW_TABLES = {
    "objects", "events", "deliveries", "attempts", "requests", "parcels", "scans",
    "external_references", "package_numbers",
}  # fmt: skip
OTHER_TABLES = {"operator_words", "held_facts", "replays"}


def a_step(house: House, name: str) -> None:
    """What a few days bring: an order from end to end, a payload that nobody could read, a replay
    that ended."""
    house.delivered(name)
    held = held_fact_pb2.HoldPayloadRequest(
        request_id=request_id(), payload=name.encode() * 20, source="/hook", reason="no JSON"
    )
    fact = house.call("endpoint.v1.EndpointService/HoldPayload", held, ERP).receipt.held_fact_id
    discard = dead_letter_service_pb2.DiscardHeldFactRequest(
        request_id=request_id(), held_fact_id=fact, reason="a test of theirs"
    )
    house.call("dead_letter.v1.DeadLetterService/DiscardHeldFact", discard, OPERATOR)
    replay = ReplayRecord(request_id(), "netsuite", "ALL", b"", "DONE", house.now, house.now)

    def end(unit: Unit) -> None:
        unit.put(("replay", replay.id), replace(replay, ended_at=unit.now))

    house.decide(OPERATOR, "end a replay", end)


def a_year(house: House) -> tuple[set[str], dict[int, dict[str, int]]]:
    """The numbers of all orders, and how many rows each table had on each day, once archived."""
    sizes: dict[int, dict[str, int]] = {}
    for day in range(0, DAYS_OF_A_YEAR, STEP_DAYS):
        a_step(house, str(day))
        house.archive()
        sizes[day] = house.counts() if day <= STEP_DAYS or day >= EVEN_FROM_DAY else {}
        house.days_pass(STEP_DAYS)
    return {f"SO-{day}" for day in sizes}, sizes


def still_growing(sizes: dict[int, dict[str, int]]) -> dict[str, tuple[int, int]]:
    """Tables that get larger after every age was reached: the most rows before and after."""
    even = [sizes[day] for day in sizes if day >= EVEN_FROM_DAY]
    halves = even[: len(even) // 2], even[len(even) // 2 :]
    first, then = ({name: max(size[name] for size in half) for name in even[0]} for half in halves)
    a_step_of = {name: sizes[STEP_DAYS][name] - sizes[0][name] for name in first}
    return {
        name: (first[name], then[name])
        for name in first
        if then[name] > first[name] + STEPS_OF_PLAY * max(0, a_step_of[name])
    }


@pytest.mark.timeout(SECONDS)
@pytest.mark.parametrize("days", [DAYS, {}], ids=["archived", "kept"])
def test_a_year_of_orders(tmp_path: Path, days: dict[str, float]) -> None:
    """Proves over a year of orders, payloads and replays with the real decisions and a real store
    that every table stays as large as it was when its ages were reached for the first time, and
    that without archiving it does not; and that every order of the year is in the database or in a
    part."""
    limits = replace(LIMITS, dead_letter_history_max=HISTORY)
    with House(tmp_path / "data", days=days, limits=limits) as house:
        orders, sizes = a_year(house)
        grown = still_growing(sizes)
        if not days:
            assert FLOW_TABLES <= set(grown) <= FLOW_TABLES | OTHER_TABLES, grown
            return
        assert not grown, f"rows then and later: {grown}"
        stored = {row[0] for row in house.database.query("SELECT number FROM objects")}
        filed = {
            number
            for name in parts.names_in(house.directory)
            for flow in parts.flows_in(parts.data_path(house.directory, name))
            for _, number in flow.numbers
        }
        assert orders <= stored | filed
        assert stored.isdisjoint(orders & filed)
        assert len(orders & stored) <= DAYS["order"] / STEP_DAYS + 2
