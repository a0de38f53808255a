"""A report that is decided before its batch comes to what it would come to within it."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest
from crossdock.tracking.v1 import tracking_service_pb2
from crossdock_hub.commands import Command
from crossdock_hub.committer import Committer
from crossdock_hub.config import Limits
from crossdock_hub.delivery.dispatching import Picker
from crossdock_hub.foresight import LEAST_WEIGHT
from crossdock_hub.identity import Caller
from crossdock_hub.records import EndpointRecord, HeldFactRecord, ParcelRecord, ScanRecord
from crossdock_hub.store import Store, StoreFailure
from crossdock_hub.unit import Changes, Key, NotLoaded, Unit, View
from crossdock_hub.verbs import PREPARATIONS
from databases import open_store
from decisions import CARRIER, CONTRACT
from first_flow import Flow, scan, seconds
from hypothesis import given, settings
from hypothesis import strategies as st

UPS = Caller("ups", "CARRIER")
Answer = tracking_service_pb2.StreamTrackingEventsResponse
REPORT = "/crossdock.tracking.v1.TrackingService/ReportTrackingEvents"
PARCELS = 4


def parcel_key(number: int) -> Key:
    return ("parcel", "UPSN", f"1Z{number}")


def counted(unit: Unit, number: int) -> int:
    """Count once more on a parcel, whose time of its milestone is the count: what it was."""
    key = parcel_key(number)
    known: ParcelRecord = unit.get(key) or ParcelRecord(
        "UPSN", f"1Z{number}", f"label-{number}", "", "", "", 0, "LABEL_CREATED", 0, False, 0
    )
    before = known.milestone_time or 0
    unit.put(key, replace(known, milestone_time=before + 1))
    return before


class Counting:
    """A decision that counts on some parcels and notes how often it was made."""

    def __init__(self, numbers: list[int]) -> None:
        self.numbers = numbers
        self.made = 0

    def decide(self, unit: Unit) -> Iterator[None]:
        self.made += 1
        unit.require(parcel_key(number) for number in self.numbers)
        seen = []
        for number in self.numbers:
            seen.append(counted(unit, number))
            yield
        return Answer(request_id=" ".join(map(str, seen)))  # type: ignore[return-value]


def command(decide: Any, *, weight: int = 1, request_id: str = "") -> Command:
    answer = asyncio.get_running_loop().create_future()
    return Command(
        "/a/Method", UPS, decide, answer, request_id=request_id, digest=b"1",
        response_type=Answer, weight=weight, bulk=weight > 1,
    )  # fmt: skip


@asynccontextmanager
async def running(directory: Path) -> AsyncIterator[tuple[Committer, Store]]:
    """A committer that leads, on a database of its own, whose reports rest at every step."""
    store = await open_store(directory)
    limits = Limits().with_changes({"intake_turn_seconds": 0.0})
    committer = Committer(store, CONTRACT, limits, Picker(limits))
    committer.start([])
    committer._authority.lead(lambda: True)
    try:
        # Somebody has called lately.
        await committer.submit(command(lambda unit: Answer()))
        yield committer, store
    finally:
        await committer.stop()
        await store.close()


async def report(
    committer: Committer, counting: Counting, rest: Callable[[], Awaitable[None]], **more: Any
) -> str:
    """The answer of a report that is foreseen with these rests."""

    async def beside(work: Any) -> None:
        await work(rest)

    made = command(counting.decide, weight=LEAST_WEIGHT, **more)
    answer: Any = await committer.foresights.answered(made, beside, committer.submit)
    return str(answer.request_id)


async def no_rest() -> None:
    """Nobody has a turn."""


async def counts(store: Store) -> dict[str, int]:
    async with store.read() as connection:
        rows = await connection.exec_driver_sql(
            "SELECT tracking_number, milestone_time FROM parcels ORDER BY tracking_number"
        )
        return {row.tracking_number: row.milestone_time for row in rows}


@settings(deadline=None, max_examples=25)
@given(
    plans=st.lists(
        st.lists(st.integers(0, PARCELS - 1), min_size=1, max_size=3, unique=True),
        min_size=1,
        max_size=4,
    ),
    share=st.floats(0.0, 1.0),
    seed=st.integers(0, 2**32),
)
def test_nothing_counted_beside_a_report_is_lost(
    plans: list[list[int]], share: float, seed: int
) -> None:
    """Proves for reports at once, and callers who change the same parcels at any of their rests,
    that each parcel has counted everybody once, and that what each was told is as if they had come
    one after another."""
    chance = Random(seed)
    expected = dict.fromkeys((f"1Z{n}" for n in range(PARCELS)), 0)
    told: dict[int, list[int]] = {n: [] for n in range(PARCELS)}

    async def play(committer: Committer, store: Store) -> None:
        async def rest() -> None:
            await asyncio.sleep(0)
            if chance.random() < share:
                number = chance.randrange(PARCELS)
                expected[f"1Z{number}"] += 1
                await committer.submit(
                    command(lambda unit: Answer(request_id=str(told_of(unit, number))))
                )

        def told_of(unit: Unit, number: int) -> int:
            seen = counted(unit, number)
            told[number].append(seen)
            return seen

        async def one(numbers: list[int], index: int) -> None:
            for number in numbers:
                expected[f"1Z{number}"] += 1
            said = await report(committer, Counting(numbers), rest, request_id=f"report-{index}")
            for number, seen in zip(numbers, said.split(), strict=True):
                told[number].append(int(seen))

        await asyncio.gather(*(one(numbers, index) for index, numbers in enumerate(plans)))
        found = await counts(store)
        assert {name: found.get(name, 0) for name in expected} == expected
        for each in told.values():
            assert sorted(set(each)) == sorted(each) == list(range(len(each)))

    async def run() -> None:
        with tempfile.TemporaryDirectory() as directory:
            async with running(Path(directory) / "hub") as (committer, store):
                await play(committer, store)

    asyncio.run(run())


async def test_a_report_beside_others_is_decided_once(tmp_path: Path) -> None:
    """Proves that what callers change of other parcels spoils nothing: the report is decided once,
    outside of its batch, which reads nothing for it but its request."""
    async with running(tmp_path / "hub") as (committer, store):
        counting = Counting([0, 1])

        async def rest() -> None:
            await committer.submit(command(lambda unit: Answer(request_id=str(counted(unit, 3)))))

        assert await report(committer, counting, rest, request_id="once") == "0 0"
        # Once to learn what it reads, once with that.
        assert counting.made == 2
        assert (await counts(store))["1Z0"] == 1
        assert await report(committer, Counting([0]), no_rest, request_id="once") == "0 0"
        assert (await counts(store))["1Z0"] == 1


async def test_a_batch_that_failed_spoils_what_was_foreseen(tmp_path: Path) -> None:
    """Proves that after a batch of which nobody knows how it ended a report is decided anew: what
    it read may be stored otherwise."""
    async with running(tmp_path / "hub") as (committer, _store):
        counting = Counting([0])
        failed = False

        def lost(unit: Unit) -> Any:
            raise StoreFailure("lost on its way", full=False, uncertain=True)

        async def rest() -> None:
            nonlocal failed
            if not failed:
                failed = True
                with pytest.raises(Exception, match="HUB_UNAVAILABLE"):
                    await committer.submit(command(lost))

        assert await report(committer, counting, rest) == "0"
        # To learn what it reads, with that, and in its batch: to learn it again, and with it.
        assert counting.made == 4


async def test_what_its_batch_changes_before_it_counts(tmp_path: Path) -> None:
    """Proves that a report that was foreseen is decided anew behind a caller of its own batch who
    changed what it read, on all that it wants, which nobody had read for it."""
    async with running(tmp_path / "hub") as (committer, store):
        counting = Counting([0])

        def counts_on_its_keys(unit: Unit) -> Any:
            assert unit.knows(parcel_key(0)), "its batch was to read what it wants"
            return counting.decide(unit)

        made = command(counts_on_its_keys, weight=LEAST_WEIGHT)
        made.keys = frozenset([parcel_key(0)])
        await committer.foresights.foresee(made, no_rest)
        caller = command(lambda unit: Answer(request_id=str(counted(unit, 0))))
        caller.keys = made.keys
        await committer._commit_safely([caller, made])
        assert (caller.answer.result().request_id, made.answer.result().request_id) == ("0", "1")
        assert (await counts(store))["1Z0"] == 2


async def test_whose_caller_went_meanwhile_is_read_for(tmp_path: Path) -> None:
    """Proves that a report whose caller goes once its batch is under way, which has read nothing
    for it, asks for all that it wants at once."""
    async with running(tmp_path / "hub") as (committer, _store):
        made = command(Counting([0, 1]).decide, weight=LEAST_WEIGHT)
        made.keys = frozenset([parcel_key(0), parcel_key(1)])
        foresights, view = committer.foresights, View()
        await foresights.foresee(made, no_rest)
        assert foresights.keys_of([made]) == {("request", "")}
        foresights.let_go(made)
        with pytest.raises(NotLoaded) as missing:
            foresights.recall(made, view, foresights.unit(made, view, 1))
        assert missing.value.keys == made.keys


async def test_what_reads_more_than_rows_is_decided_in_its_batch(tmp_path: Path) -> None:
    """Proves that a decision that asks for what is not known to change by one row is not
    foreseen, and that nothing is read for it before its batch."""
    async with running(tmp_path / "hub") as (committer, _store):
        made = 0

        def decide(unit: Unit) -> Any:
            nonlocal made
            made += 1
            unit.get(("held", "parcel:UPSN/1Z0"))
            return Answer(request_id="done")

        counting = Counting([])
        counting.decide = decide  # type: ignore[method-assign,assignment]
        assert await report(committer, counting, no_rest) == "done"
        assert made == 3


async def test_it_is_foreseen_for_callers_only(tmp_path: Path) -> None:
    """Proves that nothing is foreseen where nobody has called lately, where a hub does not lead,
    where bulk waits, and of what is small: a batch decides as it always did."""
    async with running(tmp_path / "hub") as (committer, _store):
        large = command(Counting([0]).decide, weight=LEAST_WEIGHT)
        worth = committer.foresights.is_worth_it
        assert worth(large)
        assert not worth(command(Counting([0]).decide, weight=LEAST_WEIGHT - 1))
        committer._authority.follow()
        assert not worth(large)
        committer._authority.lead(lambda: True)
        committer.lanes.add(large)
        assert not worth(large)
        assert committer.lanes.take() == [large]
        assert not worth(large)
        committer.lanes.took([large], 0.001)
        assert worth(large)
        committer.lanes._called_at = float("-inf")
        assert not worth(large)


def _told_of(flow: Flow) -> Any:
    """A report of a carrier: parcels that move, some of them twice, and one that nobody knows."""
    events = [scan("IN_TRANSIT", flow.now + seconds(number)) for number in range(LEAST_WEIGHT)]
    events += [scan("OUT_FOR_DELIVERY", flow.now + seconds(100)), events[0]]
    events[-2].native_codes.add(type="I", code="QQ")
    events.append(scan("DELIVERED", flow.now + seconds(200)))
    events.append(scan("IN_TRANSIT", flow.now + seconds(1), number="1ZNOBODYS"))
    return tracking_service_pb2.ReportTrackingEventsRequest(
        request_id="00000000-0000-4000-8000-000000000001", tracking_events=events
    )


async def _left(store: Store) -> list[Any]:
    """What a report has left, without ids and times of the hub."""
    async with store.read() as connection:
        found = [
            [tuple(row) for row in await connection.exec_driver_sql(f"SELECT {what} ORDER BY 1, 2")]
            for what in (
                "dedupe_key, milestone, event_time FROM scans",
                "tracking_number, milestone, milestone_time FROM parcels",
                "kind, state, revision FROM objects",
                "endpoint, operation, state FROM deliveries",
                "awaits, state FROM held_facts",
            )
        ]
        # In the order in which they are published.
        for told in ("type, partition, object_id FROM events", "partition, count FROM scan_outbox"):
            rows = await connection.exec_driver_sql(f"SELECT {told} ORDER BY sequence")
            found.append([tuple(row) for row in rows])
        return found


async def test_a_report_leaves_what_it_would_leave(tmp_path: Path) -> None:
    """Proves with a real report, of scans that move their parcel, scans that are known, and one of
    a parcel that nobody knows, that foreseen it is answered and stored as without it."""
    flow = Flow()
    flow.labelled()
    request = _told_of(flow)
    prepared = PREPARATIONS[REPORT](request)
    found = []
    for name in ("foreseen", "in its batch"):
        async with running(tmp_path / name) as (committer, store):
            await committer.submit(command(partial(_keep, flow)))
            made = command(prepared.decide, weight=LEAST_WEIGHT, request_id=request.request_id)
            made.caller, made.keys = CARRIER, prepared.keys
            if name == "foreseen":
                await committer.foresights.foresee(made, no_rest)
                assert committer.foresights.keys_of([made]) == {("request", made.request_id)}
            answer: Any = await committer.submit(made)
            found.append(([each.outcome for each in answer.receipts], await _left(store)))
    assert found[0] == found[1]


def _keep(flow: Flow, unit: Unit) -> Any:
    """Store everything that a company in memory knows of its shipment."""
    for key, record in flow.records.items():
        if key[0] in ("object", "parcel", "delivery"):
            unit.put(key, record)
    return Answer()


class Rooted:
    """A record of a root's."""

    def __init__(self, root_id: str) -> None:
        self.root_id = root_id


OBJECT: Key = ("object", "shipment", "s")


def _endpoint(**changed: Any) -> EndpointRecord:
    return replace(EndpointRecord("ups", "CARRIER", (), (), (), "ACTIVE", b""), **changed)


@pytest.mark.parametrize(
    ("read", "changes", "holds"),
    [
        (parcel_key(0), Changes(records={parcel_key(0): None}), False),
        (parcel_key(0), Changes(records={parcel_key(1): None}), True),
        (("scan", b"1"), Changes(records={("scan", b"1"): True}), False),
        (("mapping", "m"), Changes(records={parcel_key(1): None}), True),
        (("mapping", "m"), Changes(records={("mapping_row", "m"): None}), False),
        (("flow", "root"), Changes(records={("delivery", "d"): Rooted("root")}), False),
        (("flow", "root"), Changes(records={("delivery", "d"): Rooted("other")}), True),
        (("children", "shipment", "root"), Changes(records={OBJECT: Rooted("root")}), False),
        (("children", "shipment", "root"), Changes(records={OBJECT: Rooted("other")}), True),
        (parcel_key(0), Changes(archived=[None]), False),  # type: ignore[list-item]
        (parcel_key(0), Changes(pruned=[None]), False),  # type: ignore[list-item]
        (parcel_key(0), Changes(events_past=[1]), False),
        (parcel_key(0), Changes(records={("mapping_row", "m"): None}), False),
        (parcel_key(0), Changes(records={("endpoint", "ups"): _endpoint(state="PAUSED")}), False),
        (parcel_key(0), Changes(records={("endpoint", "ups"): _endpoint(heartbeat_at=1)}), True),
        (parcel_key(0), Changes(records={("endpoint", "new"): _endpoint()}), False),
    ],
)
async def test_what_spoils_it(tmp_path: Path, read: Key, changes: Changes, holds: bool) -> None:
    """Proves row by row, and for what is not known row by row, what a commit between makes of what
    was foreseen; that an endpoint was heard of again is nothing."""
    async with running(tmp_path / "hub") as (committer, _store):
        made = command(lambda unit: Answer(request_id=str(unit.get(read))), weight=LEAST_WEIGHT)
        await committer.foresights.foresee(made, no_rest)
        view = View()
        view.add(("endpoint", "ups"), _endpoint())
        view.changes = changes
        committer.foresights.committed(view, [])
        assert (committer.foresights.keys_of([made]) == {("request", "")}) is holds


async def test_the_scans_of_a_parcel_keep_their_order(tmp_path: Path) -> None:
    """Proves that a scan that was stored meanwhile of a parcel that it did not move spoils what was
    foreseen of that parcel: the report's scans, which have earlier ids, would be before it."""
    async with running(tmp_path / "hub") as (committer, _store):
        made = command(Counting([0]).decide, weight=LEAST_WEIGHT)
        await committer.foresights.foresee(made, no_rest)
        view = View()
        view.changes.scans.append(
            ScanRecord("s", b"1", "UPSN", "1Z0", "", "IN_TRANSIT", None, 1, b"")
        )
        committer.foresights.committed(view, [])
        assert committer.foresights.keys_of([made]) == set(made.keys)


async def test_what_fails_beside_callers_reaches_none(tmp_path: Path) -> None:
    """Proves that a fault in what is done before its batch is no caller's: the batch decides."""
    async with running(tmp_path / "hub") as (committer, store):

        async def fails() -> None:
            raise RuntimeError("a reader that was closed")

        assert await report(committer, Counting([0]), fails) == "0"
        assert (await counts(store))["1Z0"] == 1
        assert not committer.foresights._open


async def test_endpoints_that_were_in_doubt_spoil_it(tmp_path: Path) -> None:
    """Proves that a report that was foreseen with endpoints as they were known is decided anew by
    a batch that reads them, as after a commit of which nobody knows how it ended."""
    async with running(tmp_path / "hub") as (committer, _store):
        counting = Counting([0])
        committer._known.doubt()
        assert await report(committer, counting, no_rest) == "0"
        assert counting.made == 4


async def test_facts_that_wait_for_a_parcel_keep_their_order(tmp_path: Path) -> None:
    """Proves that a fact that was held meanwhile for a parcel that nobody knows spoils what was
    foreseen of that parcel: the report's facts, which have earlier ids, would be driven first."""
    async with running(tmp_path / "hub") as (committer, _store):
        for number, holds in ((0, False), (1, True)):
            made = command(Counting([number]).decide, weight=LEAST_WEIGHT)
            await committer.foresights.foresee(made, no_rest)
            view = View()
            fact = HeldFactRecord(
                id="f", endpoint="ups", method="", payload=b"", content_type="", refusal=b"",
                state="HELD", awaits="parcel:UPSN/1Z0", request_id="", created_at=1,
            )  # fmt: skip
            view.changes.records[("held_fact", "f")] = fact
            committer.foresights.committed(view, [])
            assert (committer.foresights.keys_of([made]) == {("request", "")}) is holds
