"""Unit conversions that contradict each other are refused when they are written."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import pytest
from crossdock.quantities import Contradiction, NotConvertible, conversion
from crossdock.unit.v1 import unit_pb2, unit_service_pb2
from crossdock_hub.objects.unit_rules import rules
from crossdock_hub.unit import Refused
from decisions import ERP, request_id
from first_flow import Flow
from hypothesis import given, settings
from hypothesis import strategies as st

METHOD = "unit.v1.UnitService/UpsertUnitConversions"
UNITS = ("EA", "CS", "PF", "BX", "KGM", "GRM")
RATIOS = st.sampled_from(["1", "2", "10", "12", "24", "1000", "0.5"])


def told(
    from_unit: str, to_unit: str, numerator: str, denominator: str = "1", item: str = "SKU-1"
) -> Any:
    return unit_pb2.UnitConversion(
        number=f"{item}:{from_unit}:{to_unit}",
        item_number=None if item == "*" else item,
        from_unit=from_unit,
        to_unit=to_unit,
        numerator=numerator,
        denominator=denominator,
    )


def write(flow: Flow, *said: Any) -> list[str]:
    """Write them with one request. What each is refused for; "" where it is not."""
    request = unit_service_pb2.UpsertUnitConversionsRequest()
    for each in said:
        entry = request.entries.add(request_id=request_id(), unit_conversion=each)
        fields = ["item_number", "from_unit", "to_unit", "numerator", "denominator"]
        entry.update_mask.paths.extend(fields)
    found = []
    for entry in request.entries:
        one = unit_service_pb2.UpsertUnitConversionsRequest(entries=[entry])
        try:
            flow.call(METHOD, one, ERP, beside=request.entries)
            found.append("")
        except Refused as refused:
            assert refused.refusal.reason == "INVALID_FIELD"
            (violation,) = refused.refusal.violations
            assert violation.field == "unit_conversion.numerator"
            assert violation.rule == "unit_conversion.agrees"
            found.append(violation.description)
    return found


def stored(flow: Flow) -> list[Any]:
    found: list[Any] = flow.all("unit_conversion")
    return found


@pytest.mark.parametrize(
    ("said", "last", "words"),
    [
        (
            [told("CS", "EA", "12")],
            told("EA", "CS", "0.1"),
            "one EA is 1/10 CS, but one EA is 1/12 CS",
        ),
        (
            [told("PF", "CS", "40"), told("CS", "EA", "12")],
            told("PF", "EA", "400"),
            "one PF is 400 EA, but one PF is 480 EA over CS",
        ),
        (
            [told("PF", "CS", "40"), told("PF", "BX", "10"), told("CS", "EA", "12")],
            told("BX", "EA", "9"),
            "one BX is 9 EA, but one BX is 48 EA over PF over CS",
        ),
        (
            [told("BG", "KGM", "25")],
            told("BG", "GRM", "2500"),
            "one BG is 2500 GRM, but one BG is 25000 GRM over KGM",
        ),
        (
            [told("CS", "EA", "12"), told("CS", "PR", "6")],
            told("PR", "EA", "1"),
            "one PR is 1 EA, but one PR is 2 EA over CS",
        ),
    ],
    ids=["turned", "triangle", "square", "with the table", "piece anew"],
)
def test_what_contradicts_is_refused_with_both_ways(said: list[Any], last: Any, words: str) -> None:
    """Proves that the conversion which closes a circle of another product than one is refused, with
    both ways and what to do, in whatever order they come, and that what was there stays."""
    flow = Flow()
    for each in said:
        assert write(flow, each) == [""]
    (refusal,) = write(flow, last)
    assert words in refusal
    assert "write those that are wrong with it in one request" in refusal
    assert len(stored(flow)) == len(said)


@pytest.mark.parametrize(
    ("last", "words"),
    [
        (told("DZN", "PR", "12"), "one DZN is 12 PR, but one DZN is 6 PR over EA"),
        (told("GRM", "LBR", "0.00220462"), "one GRM is 110231/50000000 LBR"),
    ],
    ids=["wrong", "rounded"],
)
def test_what_only_the_table_contradicts_is_to_be_left_out(last: Any, words: str) -> None:
    """Proves that who tells two standard units otherwise than the table, such as rounded, is told
    to leave that out: there may be no way to say it exactly, and it is said already."""
    (refusal,) = write(Flow(), last)
    assert words in refusal
    assert "leave it out: UN/ECE Rec 20 says it, exactly" in refusal


def test_what_agrees_is_written() -> None:
    """Proves that a circle that comes to one, a standard unit said anew by what defines it, what
    other items say, and what every item says otherwise, are no contradictions."""
    flow = Flow()
    flow.learn_item("SKU-2")
    agreeing = [
        told("PF", "CS", "40"),
        told("CS", "EA", "12"),
        told("PF", "EA", "480"),
        told("EA", "PF", "1", "480"),
        told("CS", "EA", "10", item="SKU-2"),
        told("CS", "EA", "6", item="*"),
        told("PR", "EA", "1"),
        told("LBR", "KGM", "0.4536"),
    ]
    for each in agreeing:
        assert write(flow, each) == [""]
    assert len(stored(flow)) == len(agreeing)


def test_those_that_have_to_change_together_change_together() -> None:
    """Proves that a circle, of which no one can be corrected alone, is corrected by one request;
    and that one of it alone is refused."""
    flow = Flow()
    write(flow, told("PF", "CS", "40"), told("CS", "EA", "12"), told("PF", "EA", "480"))
    assert len(stored(flow)) == 3
    (refusal,) = write(flow, told("CS", "EA", "10"))
    assert "one CS is 10 EA, but one CS is 12 EA over PF" in refusal
    assert write(flow, told("CS", "EA", "10"), told("PF", "EA", "400")) == ["", ""]
    assert {each.numerator for each in stored(flow)} == {"40", "10", "400"}


def test_those_that_contradict_each_other_are_refused_both() -> None:
    """Proves that of two that come together and do not agree none is taken for the right one, and
    that one that is refused by itself is not counted."""
    flow = Flow()
    refused = write(flow, told("CS", "EA", "12"), told("EA", "CS", "0.1"))
    assert all("does not agree" in each for each in refused)
    assert stored(flow) == []
    broken = told("EA", "CS", "1")
    broken.ClearField("denominator")
    request = unit_service_pb2.UpsertUnitConversionsRequest()
    entry = request.entries.add(request_id=request_id(), unit_conversion=told("CS", "EA", "12"))
    entry.update_mask.paths.extend(["item_number", "from_unit", "to_unit"])
    entry.update_mask.paths.extend(["numerator", "denominator"])
    beside = unit_service_pb2.UnitConversionEntry(unit_conversion=broken)
    beside.update_mask.paths.extend(entry.update_mask.paths)
    flow.call(METHOD, request, ERP, beside=[entry, beside])
    assert len(stored(flow)) == 1


def test_what_contradicted_before_may_be_told_again() -> None:
    """Proves that a conversion which is stored with a contradiction is no error while it says what
    it said: only its amount is looked at when that changes."""
    flow = Flow()
    write(flow, told("CS", "EA", "12"), told("PF", "CS", "40"), told("PF", "EA", "480"))
    for key, record in list(flow.records.items()):
        if key[0] == "object" and record.number == "SKU-1:PF:CS":
            record.message.numerator = "41"
    assert write(flow, told("CS", "EA", "12.0")) == [""]
    (refusal,) = write(flow, told("CS", "EA", "11"))
    assert "but one CS is 480/41 EA over PF" in refusal
    assert write(flow, told("PF", "CS", "40")) == [""]


@given(
    said=st.lists(
        st.tuples(st.sampled_from(list(combinations(UNITS, 2))), RATIOS, st.booleans()),
        max_size=9,
    ),
    together=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_whatever_is_written_no_stored_item_contradicts_itself(
    said: list[Any], together: bool
) -> None:
    """Proves over any conversions of an item, one by one or in one request, that no way between any
    two of its units disagrees with another one, and that each way, its return, and a way over a
    third unit come to the same."""
    flow = Flow()
    rows = [
        told(other, one, ratio) if turned else told(one, other, ratio)
        for (one, other), ratio, turned in said
    ]
    named = list({each.number: each for each in rows}.values())
    for part in [named] if together else [[each] for each in named]:
        write(flow, *part)
    kept = rules(stored(flow), "SKU-1")
    for one in UNITS:
        for other in UNITS:
            try:
                there = conversion(one, other, kept).ratio
            except NotConvertible:
                continue
            except Contradiction as found:
                raise AssertionError(f"{kept}: {found}") from found
            assert there * conversion(other, one, kept).ratio == 1
            for third in UNITS:
                try:
                    on = conversion(other, third, kept).ratio
                except NotConvertible:
                    continue
                assert there * on == conversion(one, third, kept).ratio
