"""What the hub asks about old events, messages and facts costs the same, however many there are."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest
from counted_rows import (
    FEW,
    HELD,
    HOUR,
    MANY,
    NOW,
    Library,
    OneConnection,
    Work,
    library,
)
from crossdock_hub.config import SECOND
from crossdock_hub.reading.finding import MATCHES_MAX, Finder, Match
from crossdock_hub.records import (
    DeliveryRecord,
    EndpointRecord,
    HeldFactRecord,
    QuarantineRecord,
)
from crossdock_hub.retention import ages
from crossdock_hub.store import Reader, Store
from crossdock_hub.store.bus_rows import hot_events
from crossdock_hub.store.dead_letters import held_facts
from crossdock_hub.store.event_contents import FIRST, past_events
from crossdock_hub.store.reading import DeliveryFilter
from crossdock_hub.store.unrouted_reading import OLDEST, unrouted_page
from crossdock_hub.store.writing import (
    awaited_page,
    dispatch_state,
    pending,
    pending_lanes,
    restart_leases,
    write,
)
from crossdock_hub.unit import Changes, Key
from relay_parts import CONTRACT, HOT_HOURS, LIMITS, event
from replayed_flows import ENDPOINT, delivery
from sqlalchemy.ext.asyncio import AsyncConnection

__all__ = ["library"]

# More than a search of the newest ones would look at.
MANY_SHIPMENTS = 20_500
AGES = ages(CONTRACT, HOT_HOURS, LIMITS)
REFUSED = QuarantineRecord("/crossdock.label.v1.LabelService/CreateLabel", b"", b"")
HOT = 7


async def pass_over_everything(connection: AsyncConnection) -> list[int]:
    """One slice of each type of event: the numbers of what is to go."""
    found: list[int] = []
    for kind, age in AGES.items():
        found += (await past_events(connection, kind, NOW - age, FIRST, 500)).past
    return found


async def test_a_pass_does_not_read_what_is_not_due(library: Library) -> None:
    """Proves that a pass for old content reads neither events whose content is gone, nor those
    that are too young: it costs the same with eight times as many of both."""
    (age,) = {AGES[event().type]}
    costs = []
    for count in (FEW, MANY - FEW):
        await library.add(count, at=NOW - 2 * age, emptied=True)
        await library.add(count, at=NOW - age + HOUR, emptied=False)
        found, cost = await library.cost(pass_over_everything)
        assert found == []
        costs.append(cost)
    assert costs[1] <= costs[0] + 20, costs
    await library.add(3, at=NOW - age - HOUR, emptied=False)
    found, cost = await library.cost(pass_over_everything)
    assert len(found) == 3
    assert cost <= costs[0] + 500, "only those"


async def test_a_new_stream_does_not_read_what_is_cold(library: Library) -> None:
    """Proves that what a lost stream has to get back is counted without reading older events."""

    async def hot(connection: AsyncConnection) -> int:
        return await hot_events(connection, NOW - HOUR, 10**9)

    costs = []
    for count, hours in ((FEW, 9), (MANY - FEW, 8)):
        await library.add(count, at=NOW - hours * HOUR, emptied=False)
        found, cost = await library.cost(hot)
        assert found == 0
        costs.append(cost)
    assert costs[1] <= costs[0] + 20, costs
    await library.add(HOT, at=NOW, emptied=False)
    found, cost = await library.cost(hot)
    assert found == HOT
    assert cost <= costs[0] + 500, "only those"


@pytest.mark.parametrize("endpoint", [None, HELD.endpoint], ids=["all", "one"])
async def test_a_list_of_dead_letters_does_not_read_facts_that_ended(
    library: Library, endpoint: str | None
) -> None:
    """Proves that what is held, of an endpoint and of all, is found without reading what was
    applied or discarded."""

    async def held(connection: AsyncConnection) -> list[HeldFactRecord]:
        return await held_facts(connection, FEW, endpoint)

    costs = []
    for count, hours in ((FEW, 9), (MANY - FEW, 8)):
        await library.hold(count, at=NOW - hours * HOUR, state="APPLIED")
        await library.hold(count, at=NOW - hours * HOUR + count, state="DISCARDED")
        found, cost = await library.cost(held)
        assert found == []
        costs.append(cost)
    assert costs[1] <= costs[0] + 20, costs
    await library.hold(HOT, at=NOW, state="HELD")
    found, cost = await library.cost(held)
    assert [fact.created_at for fact in found] == list(range(NOW, NOW + HOT))[::-1]
    assert cost <= costs[0] + 500, "only those"


@pytest.mark.parametrize("states", [(), ("CONFIRMED",)], ids=["any state", "one state"])
async def test_a_list_of_refused_facts_does_not_read_deliveries_without(
    library: Library, states: tuple[str, ...]
) -> None:
    """Proves that the deliveries with refused facts are found without reading those that have none,
    and are told newest first."""
    wanted = DeliveryFilter(ENDPOINT, states, newest_first=True, quarantined_only=True)

    async def refused(connection: AsyncConnection) -> list[DeliveryRecord]:
        reader: Any = Reader(cast("Store", OneConnection(library.store, connection)))
        return list(await reader.delivery_page(wanted, FEW))

    costs = []
    for first, count in ((0, FEW), (FEW, MANY - FEW)):
        await library.deliver(first, count, [])
        found, cost = await library.cost(refused)
        assert found == []
        costs.append(cost)
    assert costs[1] <= costs[0] + 20, costs
    await library.deliver(MANY, HOT, [REFUSED])
    found, cost = await library.cost(refused)
    assert [record.id for record in found] == [f"d-{MANY + n}" for n in range(HOT)][::-1]
    assert cost <= costs[0] + 2_500, "only those"


@pytest.mark.parametrize("library", ["sqlite"], indirect=True)
async def test_a_start_does_not_read_deliveries_that_are_done(library: Library) -> None:
    """Proves that a start finds leases and dispatches of before without reading what was done, and
    that what was dispatched waits again."""

    async def start(connection: AsyncConnection) -> None:
        await restart_leases(connection, NOW, NOW + 10 * SECOND)

    costs = []
    for first, count in ((0, FEW), (FEW, MANY - FEW)):
        await library.deliver(first, count, [])
        _, cost = await library.cost(start)
        costs.append(cost)
    assert costs[1] <= costs[0] + 20, costs
    await library.deliver(MANY, HOT, [], "DISPATCHED", pending=False)
    async with library.store.write() as connection:
        await start(connection)
        waiting = await pending(connection, ENDPOINT, MANY)
    assert [record.state for record in waiting] == ["READY"] * HOT


async def test_a_pick_does_not_read_deliveries_that_are_done(library: Library) -> None:
    """Proves that what goes next at an endpoint, of all lanes and of one, is found without reading
    what was done there before."""

    async def pick(connection: AsyncConnection) -> list[DeliveryRecord]:
        of_a_lane = await pending_lanes(connection, ENDPOINT, [0, 1], HOT)
        return [*await pending(connection, ENDPOINT, HOT), *of_a_lane]

    costs = []
    for first, count in ((0, FEW), (FEW, MANY - FEW)):
        await library.deliver(first, count, [])
        found, cost = await library.cost(pick)
        assert found == []
        costs.append(cost)
    assert costs[1] <= costs[0] + 20, costs
    await library.deliver(MANY, HOT, [], "READY")
    found, cost = await library.cost(pick)
    assert [record.id for record in found] == [f"d-{MANY + n}" for n in range(HOT)] * 2
    assert cost <= costs[0] + 5_000, "only those"


async def test_what_a_leader_looks_at_does_not_grow(library: Library) -> None:
    """Proves that what is on its way, and which endpoints have work that waits, is found without
    reading what is done, what waits behind the next one, or doubts that wait for a slot: a leader
    asks at each commit of another hub."""
    names = (ENDPOINT, "idle", "doubtful")
    endpoints: dict[Key, Any] = {
        ("endpoint", name): EndpointRecord(name, "ERP", (), (), (), "ACTIVE", b"") for name in names
    }
    async with library.store.write() as connection:
        await write(connection, Changes(records=endpoints))
    costs = []
    for first, count in ((0, FEW), (FEW, MANY - FEW)):
        await library.deliver(first, count, [], endpoint="idle")
        await library.deliver(MANY + first, count, [], "READY")
        await library.deliver(2 * MANY + first, count, [], "RESOLVING", "doubtful", pending=True)
        (found, waiting), cost = await library.cost(dispatch_state)
        assert (found, waiting) == ([], {ENDPOINT, "doubtful"})
        costs.append(cost)
    assert costs[1] <= costs[0] + 20, costs
    await library.deliver(3 * MANY, 1, [], "IN_FLIGHT", "idle", lease_until=NOW)
    await library.deliver(3 * MANY + 1, HOT, [], "DISPATCHED", "idle")
    (found, waiting), cost = await library.cost(dispatch_state)
    ids = [f"d-{3 * MANY + n}" for n in range(HOT + 1)]
    assert sorted(way.delivery_id for way in found) == ids
    assert {way.endpoint for way in found} == {"idle"}
    assert [way.delivery_id for way in found if way.begun] == ids[:1]
    assert cost <= costs[0] + 500, "only those"


async def test_a_page_of_unrouted_work_costs_the_same(library: Library) -> None:
    """Proves that the next page of what nobody serves is found without reading the rest of it,
    wherever it begins and whoever it was for, so that a pass through all of it costs as much more
    as there is more of it."""
    gone: dict[Key, Any] = {
        ("endpoint", "gone"): EndpointRecord("gone", "ERP", (), (), (), "REMOVED", b"")
    }
    async with library.store.write() as connection:
        await write(connection, Changes(records=gone))

    async def page(connection: AsyncConnection) -> tuple[list[str], str]:
        return await unrouted_page(connection, OLDEST, HOT)

    async def everything(connection: AsyncConnection) -> list[str]:
        seen: list[str] = []
        place = OLDEST
        while True:
            roots, place = await unrouted_page(connection, place, HOT)
            seen += roots
            if place == OLDEST:
                return seen

    costs, passes = [], []
    for first, count in ((0, FEW), (FEW, MANY - FEW)):
        made: dict[Key, Any] = {}
        for number in range(first, first + count):
            here = {"endpoint": "gone" if number % 2 else "", "root_id": f"flow-{number // HOT}"}
            record = delivery(number, "book", "UNROUTED", **here)
            made["delivery", record.id] = record
        async with library.store.write() as connection:
            await write(connection, Changes(records=made))
        _found, cost = await library.cost(page)
        costs.append(cost)
        seen, cost = await library.cost(everything)
        assert list(dict.fromkeys(seen)) == [f"flow-{n}" for n in range(-(-(first + count) // HOT))]
        passes.append(cost / (first + count))
    assert costs[1] <= costs[0] + 20, costs
    assert passes[1] <= 1.1 * passes[0], passes


async def test_a_page_of_what_is_waited_for_costs_the_same(library: Library) -> None:
    """Proves that the next page of what held facts wait for is found without reading the others,
    wherever it begins and however many facts wait for each; and that pages have all of it."""

    def page(after: str) -> Work:
        async def work(connection: AsyncConnection) -> list[str]:
            return await awaited_page(connection, after, HOT)

        return work

    costs: list[int] = []
    for first, count in ((0, FEW), (FEW, MANY - FEW)):
        held: dict[Key, Any] = {}
        for number in range(first, first + count):
            fact = f"fact-{number:06}"
            # Half of them wait for one thing, the others for one each.
            awaits = f"parcel:UPS/{number:06}" if number % 2 else "parcel:UPS/000100"
            state = "HELD" if number % 10 else "APPLIED"
            held["held_fact", fact] = replace(HELD, id=fact, awaits=awaits, state=state)
        async with library.store.write() as connection:
            await write(connection, Changes(records=held))
        ends = ["", "parcel:UPS/000099", f"parcel:UPS/{first:06}"]
        looked = [await library.cost(page(end)) for end in ends]
        costs.append(sum(cost for _, cost in looked))
    assert costs[1] <= costs[0] + 20, costs
    seen: list[str] = []
    async with library.store.read() as connection:
        while found := await awaited_page(connection, seen[-1] if seen else "", HOT):
            seen += found
    odd = {f"parcel:UPS/{number:06}" for number in range(1, MANY, 2)}
    assert seen == sorted(odd | {"parcel:UPS/000100"})


async def test_another_spelling_is_found_without_reading_every_number(library: Library) -> None:
    """Proves that a number, a key and a tracking number are found without their case, spaces and
    dashes, and that this costs the same however many there are, also when nothing is found."""

    def spelled(squeezed: str) -> Work:
        async def work(connection: AsyncConnection) -> Any:
            reader = Reader(cast(Store, OneConnection(library.store, connection)))
            parcels = await reader.parcels_spelled_like(squeezed, HOT)
            found = [(parcel.label_id, parcel.tracking_number) for parcel in parcels]
            return await reader.spelled_like(squeezed, HOT) + found

        return work

    costs = []
    for first, count in ((0, FEW), (FEW, MANY - FEW)):
        await library.number(first, count)
        by_number, one = await library.cost(spelled("SKU7"))
        by_key, other = await library.cost(spelled("KEY8"))
        by_plain_key, sixth = await library.cost(spelled("KEY9"))
        nothing, none = await library.cost(spelled("NOBODY"))
        assert (by_number, by_key, nothing) == ([("sku-7", "sku-7")], [("sku-8", "key-8")], [])
        assert by_plain_key == [("sku-9", "KEY9")]
        as_it_is, fourth = await library.cost(spelled("1Z9"))
        otherwise, fifth = await library.cost(spelled("1Z8"))
        assert (as_it_is, otherwise) == ([("sku-9", "1Z9")], [("sku-8", "1z 8")])
        costs.append(one + other + none + fourth + fifth + sixth)
    assert costs[1] <= costs[0] + 20, costs


async def test_a_package_is_found_without_reading_shipments(library: Library) -> None:
    """Proves that a package number is found exactly and in another spelling however many shipments
    came after it, that one which all of them have leads to the newest, and that this costs the same
    however many there are, also when nothing is found."""

    def traced(number: str) -> Work:
        async def work(connection: AsyncConnection) -> list[Match]:
            reader = Reader(cast(Store, OneConnection(library.store, connection)))
            return await Finder(reader, CONTRACT).find(number)

        return work

    costs = []
    for first, count in ((0, FEW), (FEW, MANY_SHIPMENTS - FEW)):
        await library.pack(first, count)
        exactly, one = await library.cost(traced("Kü-7"))
        spelled, other = await library.cost(traced("kü 8"))
        nobody, none = await library.cost(traced("NOBODY"))
        assert exactly == [Match("package number", "order-000007", "shipment-000007")]
        assert spelled == [Match("package number, as 'Kü-8'", "order-000008", "shipment-000008")]
        assert nobody == []
        costs.append(one + other + none)
    assert costs[1] <= costs[0] + 100, costs
    everybodys, shared = await library.cost(traced("1"))
    newest = range(MANY_SHIPMENTS - 1, MANY_SHIPMENTS - 1 - MATCHES_MAX, -1)
    assert [match.root_id for match in everybodys] == [f"order-{place:06}" for place in newest]
    # Of PostgreSQL these are rows: of packages, and the shipments that they lead to.
    assert shared <= max(costs[0], 2 * MATCHES_MAX), "only the newest"
