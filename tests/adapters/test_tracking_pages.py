"""The round of a tracking poll goes on behind parcels that a carrier cannot tell of."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from crossdock.label.v1 import label_pb2
from crossdock_adapters.sdk import carrier_reports
from crossdock_adapters.sdk.outcomes import OutcomeUnknown, Retry, Throttled, VendorOutcome
from crossdock_adapters.sdk.work import Poll
from fedex_world import World, fedex

PAGE = 2
NUMBERS = [f"79999999{n:04d}" for n in range(5)]


class Carrier:
    """Tracking that fails as long as it is asked about one parcel, by what it is told to raise."""

    def __init__(self, world: World, bad: str, failure: VendorOutcome) -> None:
        self._world, self._bad, self._failure = world, bad, failure
        self._cursor = b""
        self.told: list[str] = []
        world.hub.stored[:] = [
            label_pb2.Label(tracking_number=each, carrier_code="FEDEX") for each in NUMBERS
        ]

    async def ask(self, labels: Sequence[label_pb2.Label]) -> None:
        numbers = [label.tracking_number for label in labels]
        if self._bad in numbers:
            raise self._failure
        self.told += numbers

    async def run(self) -> None:
        """One run of the poll, from where the last one ended."""
        poll: Poll = self._world.poll(self._cursor)
        self._world.cursor = self._cursor
        try:
            await carrier_reports.ask_about_moving(poll, PAGE, self.ask)
        finally:
            self._cursor = self._world.cursor


@pytest.mark.parametrize("failure", [Retry(0.0, "HTTP 500"), OutcomeUnknown("no answer")])
@pytest.mark.parametrize("bad", [NUMBERS[0], NUMBERS[2], NUMBERS[4]])
async def test_a_parcel_that_fails_for_ever_holds_up_no_others(
    tmp_path: Path, bad: str, failure: VendorOutcome
) -> None:
    """Proves that a page which fails each time is asked again, told as a failure, and passed after
    three times, wherever it stands: the pages behind it, and the next round, are asked about."""
    async with fedex(tmp_path, tracking_parcels_per_poll=10) as world:
        carrier = Carrier(world, bad, failure)
        failures = 0
        for _ in range(3 * carrier_reports.PAGE_FAILURES_MAX):
            try:
                await carrier.run()
            except VendorOutcome as failed:
                assert failed is failure
                failures += 1
        at = NUMBERS.index(bad) // PAGE * PAGE
        others = [each for each in NUMBERS if each not in NUMBERS[at : at + PAGE]]
        assert set(carrier.told) == set(others)
        assert min(carrier.told.count(each) for each in others) >= 2, "the next round as well"
        assert failures >= 2 * carrier_reports.PAGE_FAILURES_MAX, "each time it is told"


async def test_a_carrier_that_wants_a_rest_is_no_parcels_fault(tmp_path: Path) -> None:
    """Proves that no page is passed while the carrier takes no calls, however long."""
    async with fedex(tmp_path, tracking_parcels_per_poll=10) as world:
        carrier = Carrier(world, NUMBERS[0], Throttled(60.0, "too many calls"))
        for _ in range(carrier_reports.PAGE_FAILURES_MAX + 2):
            with pytest.raises(Throttled):
                await carrier.run()
        assert not carrier.told


async def test_failures_that_pass_cost_no_page(tmp_path: Path) -> None:
    """Proves that only failures one after another count: two and an answer are no third."""
    async with fedex(tmp_path, tracking_parcels_per_poll=10) as world:
        carrier = Carrier(world, NUMBERS[0], Retry(0.0, "HTTP 500"))
        for _ in range(2):
            for _ in range(carrier_reports.PAGE_FAILURES_MAX - 1):
                with pytest.raises(Retry):
                    await carrier.run()
            bad, carrier._bad = carrier._bad, ""
            await carrier.run()
            carrier._bad = bad
        assert carrier.told == NUMBERS * 2


@pytest.mark.parametrize(("most", "ends_at"), [(10, b""), (1, b"~1")])
async def test_empty_pages_are_no_place_to_keep(tmp_path: Path, most: int, ends_at: bytes) -> None:
    """Proves that a poll of a carrier with nothing under way leaves its cursor as it is, so that it
    writes nothing to the hub; and that a run which ends among empty pages is gone on from there."""
    async with fedex(tmp_path, tracking_parcels_per_poll=most) as world:
        carrier = Carrier(world, "", Retry(0.0, "never"))
        world.hub.stored.clear()
        poll = world.poll(b"")
        put: list[bytes] = []

        async def keep(value: bytes) -> None:
            put.append(value)

        poll.put_cursor = keep
        await carrier_reports.ask_about_moving(poll, PAGE, carrier.ask)
        assert not carrier.told
        assert set(put) == {ends_at}
