"""What left with a departure is what the warehouse said, piece by piece, or nobody is told."""

from __future__ import annotations

from decimal import Decimal

import pytest
from crossdock.shipment.v1 import shipment_pb2
from crossdock_adapters.sdk.departures import lines_that_left, packages_that_left
from crossdock_adapters.sdk.outcomes import Untranslatable
from hypothesis import given
from hypothesis import strategies as st

LOTS = st.sampled_from(["L-1", "L-2", "L-3"])
PACKED = st.lists(
    st.tuples(st.integers(0, 2), st.integers(1, 3), LOTS, st.integers(1, 50)),
    min_size=1,
    max_size=12,
)


def shipment(*packed: tuple[int, int, str, int]) -> shipment_pb2.Shipment:
    """Package, line, lot, quantity."""
    made = shipment_pb2.Shipment(id="s")
    for number in range(3):
        made.packages.add(number=f"P-{number}")
    for package, line, lot, quantity in packed:
        content = made.packages[package].contents.add(line_number=line, item_number=f"I-{line}")
        content.lot, content.quantity.value, content.quantity.unit = lot, str(quantity), "EA"
    return made


def depart(made: shipment_pb2.Shipment, line: int, quantity: str, *packages: str) -> None:
    """So much of one line left with these packages."""
    departure = made.departures.add(package_numbers=packages or ["P-0", "P-1", "P-2"])
    shipped = departure.shipped.add(line_number=line)
    shipped.quantity.value, shipped.quantity.unit = quantity, "EA"


@given(PACKED)
def test_lots_add_up_to_what_left_of_a_line(packed: list[tuple[int, int, str, int]]) -> None:
    """Proves that nothing packed is lost or counted twice, by line and by lot, however it is
    spread over packages."""
    left = lines_that_left(shipment(*packed))
    assert [each.line_number for each in left] == sorted({line for _, line, _, _ in packed})
    for each in left:
        own = [row for row in packed if row[1] == each.line_number]
        assert each.quantity == sum(row[3] for row in own) == sum(each.lots.values())
        assert each.lots == {
            lot: sum(row[3] for row in own if row[2] == lot) for lot in {row[2] for row in own}
        }


@given(PACKED, st.integers(0, 2))
def test_two_departures_are_together_what_was_packed(
    packed: list[tuple[int, int, str, int]], first: int
) -> None:
    """Proves that packages which leave apart are told apart, and that both are all of it."""
    made, told = shipment(*packed), dict.fromkeys(("L-1", "L-2", "L-3"), Decimal(0))
    for packages in ({first}, {0, 1, 2} - {first}):
        names = [f"P-{number}" for number in sorted(packages)]
        departure = made.departures.add(package_numbers=names)
        for package, line, _, quantity in packed:
            if package in packages:
                row = departure.shipped.add(line_number=line)
                row.quantity.value, row.quantity.unit = str(quantity), "EA"
        assert [each.number for each in packages_that_left(made)] == names
        if departure.shipped:
            for each in lines_that_left(made):
                for lot, quantity_of_lot in each.lots.items():
                    told[lot] += quantity_of_lot
    assert told == {lot: sum(row[3] for row in packed if row[2] == lot) for lot in told}


def test_what_nobody_said_is_not_guessed() -> None:
    """Proves that a departure of less than several lots, of no goods, in two units, or with a
    serial number packed twice is refused with its line to who asks which; one lot alone is
    cut to what left."""
    one = shipment((0, 1, "L-1", 5))
    depart(one, 1, "3")
    assert lines_that_left(one)[0].lots == {"L-1": Decimal(3)}
    several = shipment((0, 1, "L-1", 5), (1, 1, "L-2", 5))
    depart(several, 1, "8")
    with pytest.raises(Untranslatable, match="line 1: the packages name lots of 10, and 8 left"):
        _ = lines_that_left(several)[0].lots
    depart(several, 1, "0")
    with pytest.raises(Untranslatable, match="nothing of the shipment left"):
        lines_that_left(several)
    units = shipment((0, 1, "L-1", 5))
    units.packages[0].contents[0].quantity.unit = "CS"
    depart(units, 1, "5")
    with pytest.raises(Untranslatable, match="line 1: EA left, and lot L-1 is packed in CS"):
        _ = lines_that_left(units)[0].lots
    serials = shipment((0, 1, "", 2))
    serials.packages[0].contents[0].serial_numbers.extend(["S-1", "S-1"])
    with pytest.raises(Untranslatable, match="serial number S-1 is packed twice"):
        _ = lines_that_left(serials)[0].serial_numbers
    serials.packages[0].contents[0].serial_numbers.append("S-2")
    with pytest.raises(Untranslatable, match="3 serial numbers, and 2 left"):
        _ = lines_that_left(serials)[0].serial_numbers
    # Who books neither is refused nothing.
    assert lines_that_left(serials)[0].quantity == 2
    assert lines_that_left(units)[0].quantity == 5


@pytest.mark.parametrize("left", ["3", "4", "5"])
def test_pieces_without_a_lot_beside_a_lot_are_no_part_of_it(left: str) -> None:
    """Proves that of a line packed with a lot and without one nobody is told a quantity of the lot,
    whatever left: neither where as many left as are of the lot, nor where more were packed."""
    made = shipment((0, 1, "L-1", 3), (1, 1, "", 2))
    depart(made, 1, left)
    with pytest.raises(Untranslatable, match="line 1: the packages name lots of 3 among 5"):
        _ = lines_that_left(made)[0].lots


def test_pieces_without_a_serial_number_are_not_told_by_one() -> None:
    """Proves that as many serial numbers as left say nothing where pieces without one were packed
    beside them."""
    made = shipment((0, 1, "", 2), (1, 1, "", 2))
    made.packages[0].contents[0].serial_numbers.extend(["S-1", "S-2"])
    depart(made, 1, "2")
    with pytest.raises(Untranslatable, match="line 1: 2 serial numbers, and pieces without one"):
        _ = lines_that_left(made)[0].serial_numbers
