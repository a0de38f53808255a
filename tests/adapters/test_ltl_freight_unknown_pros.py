"""LTL freight: statuses under a PRO that no label has, and what they say of our shipment."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from crossdock_adapters.ltl_freight.conformance import PRO, status
from crossdock_adapters.ltl_freight.pro_numbers import ProRange
from ltl_freight_world import REFERENCE, World, pallets, running

OURS, CARRIERS = "500000001", "77-1234567"
OTHER_REFERENCE = "MFRGGZDFMZTWQ2LKNNW7"


def reported(pro: str, shipment: str, number: int = 14) -> bytes:
    """A status of the carrier's under this PRO (B10-01), of the shipment that it names (B10-02)."""
    said = f"B10*{PRO}*S-2001*".encode()
    written = status(number, "AF", "0905", more="K1*LOADED BY CREW B~")
    assert said in written
    return written.replace(said, f"B10*{pro}*{shipment}*".encode())


async def told(world: World, *files: bytes) -> list[tuple[str, str]]:
    """The scans that these files make: their numbers and words."""
    world.hub.scans.clear()
    for at, body in enumerate(files):
        world.put(f"{at}.edi", body)
    await world.look()
    assert not world.hub.held
    return [(scan.tracking_number, scan.description) for scan in world.hub.scans.values()]


async def test_a_scan_of_an_unknown_pro_says_which_shipment_it_names(tmp_path: Path) -> None:
    """Proves that whoever looks at a scan that is held for want of a label finds in its words the
    shipment identification number of its 214, in front of remarks, and asks the hub for no text
    that is no reference of ours."""
    async with running(tmp_path) as world:
        (scan,) = await told(world, reported(CARRIERS, " S-2001 "))
        assert scan == (
            "771234567",
            "shipment identification S-2001; reason NS; LOADED BY CREW B",
        )
        assert not world.hub.traced
        (silent,) = await told(world, reported(CARRIERS, "", 15))
        assert silent == ("771234567", "reason NS; LOADED BY CREW B")
        # A reference that nobody knows is told as any other.
        (strange,) = await told(world, reported(CARRIERS, OTHER_REFERENCE, 16))
        assert strange[0] == "771234567" and OTHER_REFERENCE in strange[1]
        assert world.hub.traced == [OTHER_REFERENCE]


async def test_our_reference_finds_the_freight_under_the_carriers_own_pro(tmp_path: Path) -> None:
    """Proves that what a carrier reports under a PRO of its own is told of each handling unit that
    was booked under the reference that it repeats, and under which PRO it came."""
    async with running(tmp_path) as world:
        await world.buy(pallets(2))
        found = await told(world, reported(CARRIERS, REFERENCE))
        words = "reported under PRO 771234567; reason NS; LOADED BY CREW B"
        assert found == [(OURS, words), (f"{OURS}-002", words)]


async def test_a_known_pro_goes_before_the_shipment_that_is_named(tmp_path: Path) -> None:
    """Proves that a 214 whose B10-02 names another shipment than its PRO moves that one nowhere,
    neither where a label has the PRO nor where it is of our range and has none yet."""
    async with running(tmp_path) as world:
        await world.buy(pallets(1))
        other = pallets(1)
        other.id = other.id[:-2] + "77"
        await world.buy(other, OTHER_REFERENCE)
        words = "reason NS; LOADED BY CREW B"
        assert await told(world, reported(OURS, OTHER_REFERENCE)) == [(OURS, words)]
        named = f"shipment identification {REFERENCE}; {words}"
        assert await told(world, reported("500000003", REFERENCE, 15)) == [("500000003", named)]
        assert not world.hub.traced


RANGE = ProRange(first=41, last=49, digits=6, prefix="EX", check="modulo_7")


def test_each_number_of_the_range_is_ours() -> None:
    """Proves that what is written of a range is recognised as of it, and its neighbours are not."""
    wider = replace(RANGE, first=1, last=99)
    ours = [number for number in range(1, 100) if RANGE.has(wider.written(number))]
    assert ours == list(range(41, 50))


@pytest.mark.parametrize(
    "pro", ["", "EX", "EX000041", "EX0000415", "EX00004166", "0000416", "EX00004\u0661"]
)
def test_what_only_looks_like_a_number_of_the_range_is_not_ours(pro: str) -> None:
    """Proves that prefix, length and check digit (41 % 7 is 6) have to be right."""
    assert RANGE.has("EX0000416")
    assert not RANGE.has(pro)
