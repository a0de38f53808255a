"""What held facts wait for is looked through page by page, for what another hub's news missed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from crossdock.tracking.v1 import tracking_service_pb2
from crossdock_hub.commands import Command
from crossdock_hub.committer import Committer
from crossdock_hub.config import Limits
from crossdock_hub.delivery.dispatching import Picker
from crossdock_hub.driving import Driver
from crossdock_hub.identity import HUB
from crossdock_hub.records import HeldFactRecord
from crossdock_hub.store import rows
from crossdock_hub.store.crossing import write_rows
from crossdock_hub.unit import Unit
from decisions import CARRIER, CONTRACT, request_id
from first_flow import TRACKING, scan
from fixtures_nats import eventually
from stored_flow import Books, books, played

__all__ = ["books"]

METHOD = f"/crossdock.{TRACKING}/ReportTrackingEvents"
PAGE = 3


def held(fact: str, parcel: str) -> HeldFactRecord:
    """A scan that waits for its parcel."""
    seen = scan("IN_TRANSIT", 1_700_000_000_000_000, number=parcel)
    report = tracking_service_pb2.ReportTrackingEventsRequest(
        request_id=request_id(), tracking_events=[seen]
    )
    payload = report.SerializeToString()
    awaits = f"parcel:UPSN/{parcel}"
    return HeldFactRecord(
        fact, CARRIER.endpoint, METHOD, payload, "", b"", "HELD", awaits, report.request_id, 1
    )


class Listening(Driver):
    """One that tells what it looked at."""

    def __init__(self, books: Books, committer: Committer, limits: Limits) -> None:
        super().__init__(books.store, committer, limits)
        self.looks: list[list[str]] = []

    async def _drive_in_parts(self, awaited_keys: Sequence[str]) -> None:
        await super()._drive_in_parts(awaited_keys)
        self.looks.append([key.rpartition("/")[2] for key in awaited_keys])


async def test_every_page_comes_and_then_the_first_again(books: Books) -> None:
    """Proves that one look decides anew what waits for the things of one page and of no more, that
    the next look goes on behind it, so that a fact far behind is written too, and that behind the
    last page it begins again with the first. What waits for an adapter is not driven."""
    limits = replace(Limits(), held_page=PAGE)
    flow, _shipment = played()
    await books.keep(flow)
    committer = Committer(books.store, CONTRACT, limits, Picker(limits))
    committer.start([record for key, record in flow.records.items() if key[0] == "endpoint"])
    driver = Listening(books, committer, limits)
    driver.start()

    async def keep(*facts: HeldFactRecord) -> None:
        async with books.store.write() as connection:
            await write_rows(connection, [(rows.HELD_FACTS, facts)])

    async def look() -> list[str]:
        before = len(driver.looks)
        driver.look_through_page()
        driver.look_through_page()  # what is asked for already is asked for once
        await eventually(lambda: len(driver.looks) > before, "a look")
        return driver.looks[before]

    async def written(fact: str) -> bool:
        async with books.store.read() as connection:
            found = await connection.exec_driver_sql(
                f"SELECT state FROM held_facts WHERE id = '{fact}'"
            )
            return bool(found.scalar_one() == "APPLIED")

    try:
        await eventually(lambda: driver.looks == [[]], "the look of the start")
        unknown = [f"0{number}" for number in range(5)]
        await keep(*(held(f"fact-{number}", number) for number in unknown))
        await keep(
            held("ours", "1Z1"), replace(held("raw", ""), method="", awaits="translation:/x")
        )
        assert await look() == ["00", "01", "02"]
        assert not await written("ours")
        assert await look() == ["03", "04", "1Z1"]
        assert await written("ours")
        assert await look() == []
        await keep(held("late", "1Z2"))
        assert await look() == ["00", "01", "02"]
        assert await look() == ["03", "04", "1Z2"]
        assert await written("late")
        assert not await written("fact-00")
    finally:
        await driver.stop()
        await committer.stop()


async def test_what_waits_as_before_is_not_stored_and_not_forgotten(books: Books) -> None:
    """Proves that looks at a fact which waits for the same as before store nothing of it, and that
    it is looked at again as soon as what it waits for comes."""
    limits = replace(Limits(), held_page=PAGE)
    flow, _shipment = played()
    await books.keep(flow)
    committer = Committer(books.store, CONTRACT, limits, Picker(limits))
    committer.start([record for key, record in flow.records.items() if key[0] == "endpoint"])
    driver = Listening(books, committer, limits)
    committer.listeners.append(driver.committed)
    driver.start()

    async def drives() -> list[int]:
        async with books.store.read() as connection:
            found = await connection.exec_driver_sql("SELECT drives FROM held_facts")
            return list(found.scalars())

    try:
        await eventually(lambda: driver.looks == [[]], "the look of the start")
        async with books.store.write() as connection:
            await write_rows(connection, [(rows.HELD_FACTS, [held("fact", "00")])])
        for looks in (2, 3, 4):
            driver.look_through_page()
            await eventually(lambda looks=looks: len(driver.looks) == looks, "a look")
            # The first one stores why it waits.
            assert await drives() == [1]
        decide = partial(Unit.satisfy, awaits="parcel:UPSN/00")
        answer = asyncio.get_running_loop().create_future()
        await committer.submit(Command("arrival", HUB, decide, answer))
        await eventually(lambda: len(driver.looks) == 5, "a look at what came")
        assert driver.looks[1:] == [["00"]] * 4
        assert await drives() == [1]
    finally:
        await driver.stop()
        await committer.stop()
