"""Quantities are converted exactly, by what is nearest, and nothing is guessed."""

from __future__ import annotations

import re
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from random import Random

import pytest
from crossdock.quantities import (
    STEPS_MAX,
    UNITS,
    Contradiction,
    NotConvertible,
    Origin,
    Rounding,
    Rule,
    conversion,
    disagreement,
    exact_decimal,
    plain,
    rounded,
)
from crossdock.quantities.units import units_of
from hypothesis import given
from hypothesis import strategies as st

DIMENSIONS = sorted({unit.dimension for unit in UNITS.values()})
VALUES = st.decimals(-(10**12), 10**12, places=9, allow_nan=False)
PACKS = ("EA", "CS", "BX", "PF", "XLY", "XTR")


def item(from_unit: str, to_unit: str, ratio: object) -> Rule:
    return Rule(from_unit, to_unit, Fraction(str(ratio)), Origin.ITEM, f"SKU:{from_unit}:{to_unit}")


def every(from_unit: str, to_unit: str, ratio: object) -> Rule:
    return Rule(from_unit, to_unit, Fraction(str(ratio)), Origin.EVERY_ITEM)


@st.composite
def units_of_one_dimension(draw: st.DrawFn, count: int) -> list[str]:
    dimension = draw(st.sampled_from(DIMENSIONS))
    among = sorted(unit.code for unit in UNITS.values() if unit.dimension == dimension)
    return draw(st.lists(st.sampled_from(among), min_size=count, max_size=count))


@pytest.mark.parametrize(
    ("value", "from_unit", "to_unit", "expected"),
    [
        ("1", "LBR", "KGM", "0.45359237"),
        ("1", "ONZ", "GRM", "28.349523125"),
        ("1", "STN", "KGM", "907.18474"),
        ("1", "LTN", "KGM", "1016.0469088"),
        ("1", "CWI", "KGM", "50.80234544"),
        ("1", "APZ", "GRM", "31.1034768"),
        ("1", "INH", "CMT", "2.54"),
        ("1", "FOT", "MTR", "0.3048"),
        ("1", "SMI", "MTR", "1609.344"),
        ("1", "FTK", "MTK", "0.09290304"),
        ("1", "HAR", "MTK", "10000"),
        ("1", "FTQ", "LTR", "28.316846592"),
        ("1", "GLL", "LTR", "3.785411784"),
        ("1", "GLI", "LTR", "4.54609"),
        ("1", "BLL", "LTR", "158.987294928"),
        ("8", "OZA", "MLT", "236.5882365"),
        ("3", "GRO", "EA", "432"),
        ("7", "EA", "H87", "7"),
    ],
)
def test_the_table_has_the_defined_values(
    value: str, from_unit: str, to_unit: str, expected: str
) -> None:
    """Factors that are published elsewhere come out of the definitions digit by digit."""
    found = exact_decimal(conversion(from_unit, to_unit).of(Decimal(value)))
    assert found is not None
    assert plain(found) == expected


def test_every_code_can_stand_in_a_quantity() -> None:
    """Each code has the form that the contract asks of a unit."""
    assert len(UNITS) > 70
    assert [code for code in UNITS if not re.fullmatch("[A-Z0-9]{2,3}", code)] == []


@given(units_of_one_dimension(2), VALUES)
def test_there_and_back_is_the_same(units: list[str], value: Decimal) -> None:
    """Nothing is lost on the way through any two units of the table."""
    one, other = units
    there = conversion(one, other).of(value)
    assert there * conversion(other, one).ratio == Fraction(value)


@given(units_of_one_dimension(3))
def test_a_way_over_a_third_unit_is_the_same_way(units: list[str]) -> None:
    """The table agrees with itself."""
    one, two, three = units
    assert conversion(one, two).ratio * conversion(two, three).ratio == conversion(one, three).ratio


def test_units_of_two_dimensions_are_no_multiples_of_each_other() -> None:
    """Litres are no kilograms, unless the item says how heavy one is."""
    with pytest.raises(NotConvertible, match="how much KGM one LTR is"):
        conversion("LTR", "KGM")
    told = conversion("GLL", "LBR", [item("LTR", "KGM", "0.8")])
    assert told.ratio == Fraction("3.785411784") * Fraction("0.8") / Fraction("0.45359237")


def test_packs_are_followed_from_one_to_the_next() -> None:
    """A pallet of 40 cases of 12 is 40 dozen; the answer names each rule that it used."""
    said = [item("PF", "CS", 40), every("CS", "EA", 12)]
    found = conversion("PF", "DZN", said)
    assert found.ratio == 40
    assert [(step.from_unit, step.to_unit, step.origin) for step in found.steps] == [
        ("PF", "CS", Origin.ITEM),
        ("CS", "EA", Origin.EVERY_ITEM),
        ("EA", "DZN", Origin.STANDARD),
    ]


def test_the_item_goes_before_every_item_and_both_before_the_table() -> None:
    """The nearest rule holds: of the item, of every item, of the table."""
    assert conversion("CS", "EA", [every("CS", "EA", 10), item("CS", "EA", 12)]).ratio == 12
    assert conversion("EA", "CS", [every("CS", "EA", 10), item("CS", "EA", 12)]).ratio == Fraction(
        1, 12
    )
    assert conversion("PR", "EA", [every("PR", "EA", 1)]).ratio == 1
    assert conversion("PR", "EA").ratio == 2


def test_a_unit_that_the_item_redefines_is_redefined_on_every_way() -> None:
    """Where one pair is one piece, a dozen pieces are a dozen pairs, not six."""
    said = [item("PR", "EA", 1)]
    assert conversion("DZN", "PR", said).ratio == 12
    assert conversion("DZN", "PR").ratio == 6
    turned = [item("EA", "PR", 1)]
    assert conversion("DZN", "PR", turned).ratio == 12
    assert conversion("GRO", "DZN", turned).ratio == 12


def test_what_the_item_says_over_others_goes_before_a_rule_for_every_item() -> None:
    """A case of twelve and a pack of two make six packs a case, whatever cases usually hold."""
    said = [item("CS", "EA", 12), item("PK", "EA", 2), every("CS", "PK", 4)]
    assert conversion("CS", "PK", said).ratio == 6
    assert conversion("PK", "CS", said).ratio == Fraction(1, 6)
    single = [item("PR", "EA", 1), every("DZN", "PR", 6)]
    assert conversion("DZN", "PR", single).ratio == 12
    # Where the item says nothing of both, the common rule holds, its other rules or not.
    assert conversion("PR", "EA", [item("CS", "EA", 12), every("PR", "EA", 1)]).ratio == 1
    assert conversion("CS", "EA", [item("CS", "PR", 6), every("PR", "EA", 1)]).ratio == 6


def test_what_is_defined_by_a_redefined_unit_follows_it() -> None:
    """Where a pair is one piece, a dozen pairs are twelve pairs still, and so twelve pieces."""
    said = [item("PR", "EA", 1)]
    assert conversion("DPR", "PR", said).ratio == 12
    assert conversion("DPR", "EA", said).ratio == 12
    assert conversion("NPR", "EA", said).ratio == 1
    assert conversion("DPR", "EA").ratio == 24
    rounded_pounds = [every("KGM", "LBR", "2.20462")]
    assert conversion("ONZ", "LBR", rounded_pounds).ratio == Fraction(1, 16)
    assert conversion("KGM", "ONZ", rounded_pounds).ratio == Fraction("2.20462") * 16


@pytest.mark.parametrize("turned", [False, True])
def test_of_two_units_that_are_no_base_nobody_knows_which_is_meant(turned: bool) -> None:
    """A dozen of twelve pairs is a dozen of 24 or a pair of one: in either direction, a refusal."""
    rule = item("DZN", "PR", 12)
    said = [rule.turned() if turned else rule]
    assert conversion("DZN", "PR", said).ratio == 12
    for unit in ("DZN", "PR"):
        with pytest.raises(Contradiction):
            conversion(unit, "EA", said)
    assert conversion("DZN", "EA", [*said, item("PR", "EA", 1)]).ratio == 12


def test_what_is_said_twice_and_does_not_agree_is_not_guessed() -> None:
    """Two ways that differ are told both, and neither is taken."""
    both = [item("CS", "EA", 12), item("EA", "CS", "0.1")]
    with pytest.raises(Contradiction, match="one CS is 12 EA, but one CS is 10 EA"):
        conversion("CS", "EA", both)
    around = [item("PF", "CS", 40), item("CS", "EA", 12), item("PF", "BX", 10), item("BX", "EA", 9)]
    with pytest.raises(Contradiction, match="is 480 EA over CS, but one PF is 90 EA over BX"):
        conversion("PF", "EA", around)


def test_a_rule_that_names_both_units_has_to_agree_with_the_ways_around_it() -> None:
    """Proves that the shortest rule is not taken where what is said beside it denies it, and that
    it is where the quarrel is about another unit."""
    of_both = [item("CS", "IP", 4), every("IP", "EA", 3), every("CS", "EA", 10)]
    with pytest.raises(Contradiction, match="one CS is 10 EA, but one CS is 12 EA over IP"):
        conversion("CS", "EA", of_both)
    weights = [item("CS", "LBR", 10), item("CS", "KGM", 10)]
    for unit in ("LBR", "KGM", "GRM"):
        with pytest.raises(Contradiction):
            conversion("CS", unit, weights)
    elsewhere = [item("CS", "BX", 2), item("CS", "PF", 3), item("BX", "PF", 9)]
    assert conversion("CS", "EA", [item("CS", "EA", 12), *elsewhere]).ratio == 12


def test_a_way_around_is_not_walked_through_the_unit_that_is_asked_for() -> None:
    """Proves that a long way around is compared with a rule that names both units, whose own other
    side does not hide it: a box of 9, and a tenth of a pallet of 40 cases of 12."""
    square = [item("BX", "EA", 9), item("PF", "CS", 40), item("PF", "BX", 10), item("CS", "EA", 12)]
    for one, other in (("BX", "EA"), ("EA", "BX")):
        with pytest.raises(Contradiction, match=r"over PF over CS|over CS over PF"):
            conversion(one, other, square)
        assert disagreement(square[0], square[1:]) is not None


def test_a_way_that_is_too_long_says_so() -> None:
    """Proves that a chain of more conversions than are followed is refused by that limit, and that
    what closes it to a circle is compared however long it is."""
    units = [f"X{letter}" for letter in "ABCDEFGHIJKLMNO"]
    chain = [item(one, other, 2) for one, other in pairwise(units)]
    assert conversion("XA", units[STEPS_MAX], chain).ratio == 2**STEPS_MAX
    with pytest.raises(NotConvertible, match="takes 14 conversions, and at most 12 are followed"):
        conversion("XA", "XO", chain)
    assert disagreement(item("XA", "XO", 2**14), chain) is None
    assert disagreement(item("XA", "XO", 2**13), chain) is not None


def test_a_contradiction_elsewhere_keeps_nobody_from_the_table() -> None:
    """Pounds stay pounds for an item whose cases are said wrongly."""
    both = [item("CS", "EA", 12), item("EA", "CS", "0.1")]
    assert conversion("LBR", "KGM", both).ratio == Fraction("0.45359237")


@given(
    st.dictionaries(st.sampled_from(PACKS), st.integers(1, 50), min_size=len(PACKS)),
    st.permutations(PACKS),
    st.randoms(use_true_random=False),
)
def test_the_order_in_which_rules_are_said_changes_nothing(
    sizes: dict[str, int], chain: list[str], chance: Random
) -> None:
    """Rules that agree give one ratio, in whatever order and direction they are written down."""
    rules = []
    for one, other in pairwise(chain):
        rule = item(one, other, Fraction(sizes[one], sizes[other]))
        rules.append(rule if chance.random() < 0.5 else rule.turned())
    chance.shuffle(rules)
    found = conversion(chain[0], chain[-1], rules)
    assert found.ratio == Fraction(sizes[chain[0]], sizes[chain[-1]])
    ratio = Fraction(1)
    for step in found.steps:
        ratio *= step.ratio
    assert ratio == found.ratio


def test_a_ratio_of_nothing_is_refused() -> None:
    """No unit is zero of another."""
    with pytest.raises(ValueError, match="greater than zero"):
        item("CS", "EA", 0)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Fraction(1, 3), None),
        (Fraction(1, 8), Decimal("0.125")),
        (Fraction(1, 10**9), Decimal("0.000000001")),
        (Fraction(1, 10**10), None),
        (Fraction(10**18), None),
        (Fraction(10**18 - 1), Decimal(10**18 - 1)),
        (Fraction(-5, 2), Decimal("-2.5")),
        (Fraction(0), Decimal(0)),
    ],
)
def test_a_decimal_is_exact_or_there_is_none(value: Fraction, expected: Decimal | None) -> None:
    """What has no decimal of a quantity's digits is told as none, never as nearly one."""
    assert exact_decimal(value) == expected


@given(
    st.fractions(-(10**9), 10**9, max_denominator=10**6),
    st.sampled_from([Decimal(s) for s in ("1", "0.1", "0.01", "0.5", "0.000000001", "5", "1E+1")]),
)
def test_rounding_keeps_its_direction_and_its_distance(value: Fraction, step: Decimal) -> None:
    """Up is never nearer to zero, down never further, the half never further than half a step."""
    up, down, half = (rounded(value, step, each) for each in Rounding)
    assert abs(Fraction(down)) <= abs(value) <= abs(Fraction(up))
    assert abs(Fraction(up) - Fraction(down)) <= Fraction(step)
    assert abs(Fraction(half) - value) <= Fraction(step) / 2
    for each in (up, down, half):
        assert (Fraction(each) / Fraction(step)).denominator == 1


@pytest.mark.parametrize(
    ("value", "expected"), [("2.5", "2"), ("3.5", "4"), ("-2.5", "-2"), ("2.51", "3"), ("0.4", "0")]
)
def test_from_the_middle_it_goes_to_the_even_one(value: str, expected: str) -> None:
    """Half to even, so that sums of rounded halves do not drift."""
    found = rounded(Fraction(value), Decimal(1), Rounding.HALF_EVEN)
    assert plain(found) == expected


@pytest.mark.parametrize(
    ("units", "wrong"),
    [
        ({"AA": "2 BB", "BB": "3 AA"}, "AA is defined by itself"),
        ({"AA": "2 CC"}, "CC is not defined; AA needs it"),
        ({"XX": "2 XX"}, "XX is defined twice"),
    ],
)
def test_a_wrong_table_is_named(units: dict[str, str], wrong: str) -> None:
    """A row that goes in a circle, into nowhere or over the base unit says which one it is."""
    with pytest.raises(ValueError, match=wrong):
        units_of({"count": {"base": "XX", "units": units}})
