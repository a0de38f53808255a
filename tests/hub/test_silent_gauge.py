"""The gauge of parcels that nobody asks about any more: what it counts, and what that costs."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, cast

from counted_rows import FEW, HOUR, MANY, NOW, Library, Work, library
from crossdock.label.v1 import label_pb2, label_service_pb2
from crossdock_hub.config import SECOND, Limits
from crossdock_hub.objects.parcel_news import DAY_MICROSECONDS
from crossdock_hub.reading.parcel_metrics import SilentParcels, gauge
from crossdock_hub.records import ObjectRecord, ParcelRecord
from crossdock_hub.store import StoreFailure
from crossdock_hub.store.moving_parcels import silent_by_carrier, silent_counts
from crossdock_hub.store.writing import write
from crossdock_hub.unit import Changes, Identifiers, Key
from decisions import CARRIER, request_id
from first_flow import LABELS, Flow, scan
from sqlalchemy.ext.asyncio import AsyncConnection
from stored_flow import Books, books
from test_moving_pages import plan

__all__ = ["books", "library"]

LIMITS = Limits()
DAYS = int(LIMITS.tracking_poll_limit_days)
SINCE = NOW - DAYS * DAY_MICROSECONDS
OLD = SINCE - 30 * DAY_MICROSECONDS
SILENT = 20


async def told(silent: SilentParcels | None) -> dict[str, float]:
    """What a scrape from another thread is told, by carrier."""
    family = await asyncio.to_thread(gauge, silent)
    assert family.name == "crossdock_silent_parcels"
    return {sample.labels["carrier"]: sample.value for sample in family.samples}


async def test_the_gauge_is_the_length_of_the_list(books: Books) -> None:
    """Proves that of each carrier those labels are counted that the list of silent ones has: not
    what ended, was voided or is asked about; and that a count is told for as long as its limit
    says, however often it is read."""
    flow = Flow()
    flow.labelled(packages=4)
    flow.manifest()
    flow.report(scan("DELIVERED", flow.now, number="1Z1"))
    void = label_service_pb2.ReportLabelVoidedRequest(
        request_id=request_id(), tracking_number="1Z2", carrier_code="UPSN"
    )
    flow.call(f"{LABELS}/ReportLabelVoided", void, CARRIER)
    silent = SilentParcels(
        asyncio.get_running_loop(),
        lambda since, most: silent_by_carrier(books.store, since, most),
        lambda: flow.now,
        LIMITS,
    )
    await books.keep(flow)
    assert not await told(silent)
    flow.now += (DAYS + 1) * DAY_MICROSECONDS
    books.queries.clock = lambda: flow.now
    assert await told(silent) == {"UPSN": 2}
    counted_at = flow.now
    request = label_service_pb2.ListLabelsRequest(silent_only=True)
    listed = await books.ask(f"{LABELS}/ListLabels", request, CARRIER)
    assert [label.tracking_number for label in listed.labels] == ["1Z3", "1Z4"]
    flow.report(scan("IN_TRANSIT", flow.now, number="1Z3"))
    await books.keep(flow)
    flow.now = counted_at + int(LIMITS.silent_count_seconds * SECOND) - 1
    assert await told(silent) == {"UPSN": 2}
    flow.now += 1
    assert await told(silent) == {"UPSN": 1}


async def test_a_store_that_does_not_answer_is_not_asked_at_each_scrape() -> None:
    """Proves that without an answer, and where nobody counts, the name has no values; that many
    scrapes at once ask once, also after a failure; and that a clock that was set back has it
    counted anew."""
    now, asked, answers = NOW, 0, True

    async def count(since: int, most: int) -> Mapping[str, int]:
        nonlocal asked
        asked += 1
        assert most == LIMITS.silent_count_labels_max
        if not answers:
            raise StoreFailure("gone", full=False, away=True)
        return {"UPSN": since}

    assert not await told(None)
    silent = SilentParcels(asyncio.get_running_loop(), count, lambda: now, LIMITS)
    assert await asyncio.gather(*(told(silent) for _ in range(3))) == [{"UPSN": SINCE}] * 3
    assert asked == 1
    now += int(LIMITS.silent_count_seconds * SECOND)
    answers = False
    assert [await told(silent) for _ in range(3)] == [{}] * 3
    assert asked == 2
    now, answers = NOW - HOUR, True
    assert await told(silent) == {"UPSN": SINCE - HOUR}


async def keep(
    library: Library, count: int, *, labelled_at: int, heard_at: int, carrier_code: str = "UPSN"
) -> None:
    """Labels that succeed each other, and their parcels."""
    made: dict[Key, Any] = {}
    identifiers = Identifiers()
    for _ in range(count):
        name = identifiers.next(labelled_at)
        message = cast(Any, label_pb2.Label(id=name))
        made["object", "label", name] = ObjectRecord(
            "label", name, message, 1, "CREATED", name, name, 0, labelled_at, labelled_at
        )
        made["parcel", carrier_code, name] = ParcelRecord(
            carrier_code, name, name, "s", "p", "o", 0, "IN_TRANSIT", None, False, heard_at
        )
    async with library.store.write() as connection:
        await write(connection, Changes(records=made))


def counted(most: int) -> Work:
    """How many are silent, by carrier."""

    async def work(connection: AsyncConnection) -> dict[str, int]:
        found = await connection.execute(silent_counts(SINCE, most))
        return {row.carrier_code: row.labels for row in found}

    return work


async def test_a_count_passes_over_what_is_asked_about(library: Library) -> None:
    """Proves that a count costs the same however many parcels are on their way that have young
    labels, and that it finds old ones in an index alone."""
    await keep(library, SILENT, labelled_at=OLD, heard_at=OLD)
    await keep(library, 1, labelled_at=OLD, heard_at=NOW)
    await keep(library, SILENT, labelled_at=OLD, heard_at=OLD, carrier_code="FDEG")
    costs = []
    for count in (FEW, MANY):
        await keep(library, count, labelled_at=NOW - 2 * HOUR, heard_at=NOW)
        found, cost = await library.cost(counted(1_000))
        assert found == {"UPSN": SILENT, "FDEG": SILENT}
        costs.append(cost)
    assert costs[1] <= costs[0] + 20, costs
    ((statement, values),) = (await library.statements(counted(1_000)))[1]
    steps = await plan(library, statement, values)
    (walk,) = [step for step in steps if "parcels_moving" in step]
    if library.store.dialect == "postgresql":
        assert "Index Only Scan" in walk, steps


async def test_a_count_looks_at_no_more_than_its_limit(library: Library) -> None:
    """Proves that however many are silent a count costs no more than its limit, and that it is the
    newest labels that it looks at."""
    most = 100
    costs = []
    for count, labelled_at in ((FEW, OLD), (MANY, OLD + DAY_MICROSECONDS)):
        await keep(library, count, labelled_at=labelled_at, heard_at=OLD + DAY_MICROSECONDS)
        found, cost = await library.cost(counted(most))
        assert found == {"UPSN": most}
        costs.append(cost)
    assert costs[1] <= costs[0] + 20, costs
    newest = OLD + 2 * DAY_MICROSECONDS
    await keep(library, SILENT, labelled_at=newest, heard_at=newest, carrier_code="FDEG")
    found, _ = await library.cost(counted(most))
    assert found == {"UPSN": most - SILENT, "FDEG": SILENT}
