"""After a lost answer GLS's tracking may not show a parcel by our reference: ShipIT itself is asked
for it, as its OpenAPI description has it, by the reference of its unit and the day it was made."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest
from crossdock_adapters.gls import adapter, finding
from crossdock_adapters.sdk.outcomes import Confirmed, NeedsPerson, NotFound, OutcomeUnknown
from gls_world import REFERENCE, World, labels_of, running

# Longer than any test: tracking never knows the parcels.
UNTRACKED = {"tracked_after_seconds": 3600}


@pytest.mark.parametrize("not_found_codes", [[], ["E_404_01"]])
async def test_what_tracking_does_not_show_shipit_prints_again(not_found_codes: list[str]) -> None:
    """Proves that parcels of a lost answer are adopted whole, each with its label, for its own
    package, and neither left to a person nor bought once more, whatever tracking's "not found" is
    taken for."""
    async with running(UNTRACKED, not_found_codes=not_found_codes) as world:
        bought = labels_of(await adapter.buy_label(world.packed(2), world.client))
        found = await adapter.find_label(world.packed(2), world.client)
        labels = labels_of(found)
        assert [each.tracking_number for each in labels] == [b.tracking_number for b in bought]
        assert [each.package_id for each in labels] == [b.package_id for b in bought]
        assert all(each.image for each in labels) and "tracking does not show" in found.note
        assert isinstance(found, Confirmed) and found.found_by == REFERENCE
        assert len(world.shipments()) == 1


async def made_of(world: World, packages: int) -> None:
    await adapter.buy_label(world.packed(packages), world.client)


@pytest.mark.parametrize(
    ("made", "said"),
    [("one of two", "shows 1 parcels for 2 packages"), ("no units", "with parcel")],
)
async def test_what_shipit_shows_in_part_is_not_bought_again(made: str, said: str) -> None:
    """Proves that a parcel for some of the packages, and one that does not repeat the reference
    that was asked for, are neither adopted nor taken for nothing, whatever tracking's "not found"
    is taken for, and are for a person in the end."""
    async with running(UNTRACKED, not_found_codes=["E_404_01"]) as world:
        await made_of(world, 1 if made == "one of two" else 2)
        if made == "no units":
            await world.misbehave("no_units")
        with pytest.raises(OutcomeUnknown, match=said):
            await adapter.find_label(world.packed(2), world.client)
        last = replace(world.packed(2), attempt=adapter.ATTEMPTS_FOR_LABEL)
        with pytest.raises(NeedsPerson, match=f"{said}.*see at GLS"):
            await adapter.find_label(last, world.client)


@pytest.mark.parametrize("made", ["nothing", "twice"])
async def test_what_shipit_does_not_show_proves_nothing(made: str) -> None:
    """Proves that the look-up says what tracking said where ShipIT has no parcel, or refuses for
    several of one reference."""
    async with running(UNTRACKED, not_found_codes=[]) as world:
        for _ in range(2 if made == "twice" else 0):
            await made_of(world, 2)
        with pytest.raises(OutcomeUnknown, match="E_404_01"):
            await adapter.find_label(world.packed(2), world.client)
    async with running(UNTRACKED) as world:
        assert isinstance(await adapter.find_label(world.packed(2), world.client), NotFound)


async def test_a_cancelled_parcel_is_not_printed_again() -> None:
    """Proves that parcels which tracking shows as cancelled are not asked for in ShipIT: they are
    there, and nothing is to be adopted."""
    async with running() as world:
        await made_of(world, 1)
        ((parcel,),) = world.shipments()
        await world.client.cancel(parcel["track_id"])
        before = [call.operation for call in world.sandbox.calls].count("reprint")
        assert isinstance(await adapter.find_label(world.packed(), world.client), NotFound)
        asked = [call.operation for call in world.sandbox.calls]
        assert asked.count("reprint") == before


@pytest.mark.parametrize(
    ("packed_at", "days"),
    [
        ("", ["2026-03-06"]),
        ("2026-03-06T08:00:00Z", ["2026-03-06"]),
        ("2026-03-04T23:30:00Z", ["2026-03-06", "2026-03-05"]),
        ("2026-02-01T08:00:00Z", ["2026-03-06", "2026-03-05", "2026-03-04"]),
        ("2026-03-07T08:00:00Z", ["2026-03-06"]),
    ],
)
async def test_the_days_are_those_of_the_purchase(packed_at: str, days: list[str]) -> None:
    """Proves that ShipIT is asked for each day since the packing, by the calendar of the docks,
    three at most, the newest first."""
    async with running() as world:
        work = world.packed()
        if packed_at:
            work.event.metadata.record_time.FromJsonString(packed_at)
        told = finding.days_of(work, date(2026, 3, 6))
        assert [each.isoformat() for each in told] == days
