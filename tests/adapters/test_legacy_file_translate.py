"""The legacy ERP's files and answers: what an event becomes, and what answers come to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from crossdock_adapters.legacy_file import adapter, translate
from crossdock_adapters.legacy_file.translate import Said
from crossdock_adapters.sdk import layout_files
from crossdock_adapters.sdk.erp_documents import BOOK, DOCUMENTS, issue_rows, order_rows
from crossdock_adapters.sdk.erp_units import ErpUnits
from crossdock_adapters.sdk.layout_files import LayoutError
from crossdock_adapters.sdk.outcomes import Confirmed, NeedsPerson, Reject, Untranslatable
from legacy_file_world import ANSWERS, CREATED, RULES, approved, file_of, order, shipped

PAYLOADS = Path(__file__).parent / "payloads" / "legacy-file"


@pytest.mark.parametrize(
    ("operation", "event"),
    [("create_sales_order", approved()), ("post_goods_issue", shipped())],
)
def test_an_event_becomes_the_file_that_was_written_by_hand(operation: str, event: Any) -> None:
    """Proves columns, day in the ERP's zone, accents, lots and serial numbers, weights in
    the ERP's unit, and control totals, byte for byte."""
    assert file_of(operation, event) == (PAYLOADS / f"{operation}.dat").read_bytes()


def test_days_without_a_zone_are_left_blank() -> None:
    """Proves that nobody guesses the day of an order at a site of unknown zone; the day that a dock
    wrote itself is taken."""
    rules = replace(RULES, zone=None)
    document = order_rows(approved(), BOOK, "R", rules)[0]
    assert document.values["ordered"] is None
    event = shipped()
    assert issue_rows(event, BOOK, "R", rules)[0].values["shipped"] is None
    event.shipment.manifest_time.Clear()
    event.shipment.manifest_time.local = "2026-03-05T22:00"
    assert str(issue_rows(event, BOOK, "R", rules)[0].values["shipped"]) == "2026-03-05"


def test_a_second_departure_is_a_goods_issue_of_its_own() -> None:
    """Proves that what a dock left behind gets a number, packages and quantities of its own."""
    event = shipped()
    for carton, line in (("CARTON-1", 10), ("CARTON-2", 20)):
        left = event.shipment.departures.add(package_numbers=[carton], bill_of_lading=carton)
        row = left.shipped.add(line_number=line)
        row.quantity.value, row.quantity.unit = "2", "EA"
    rows = issue_rows(event, BOOK, "R", RULES)
    assert (rows[0].values["document"], rows[0].values["departure"]) == ("SHP-1", 2)
    assert [row.text("package") for row in rows if row.record == "package"] == ["CARTON-2"]
    assert [row.values["line"] for row in rows if row.record == "line"] == [20]


A10, A20 = Said(10, "A", erp_document="L1"), Said(20, "A", erp_document="L1")
KNOWN = Said(10, "R", "E110", erp_document="L1", document="SO-1")
R10, R20 = Said(10, "R", "E102", "no item"), Said(20, "R", "E104", "no quantity")


@pytest.mark.parametrize(
    ("said", "outcome"),
    [
        ([], None),
        ([A10], None),
        ([A10, A20], Confirmed),
        ([A10, A20, A20], Confirmed),
        ([Said(0, "A", erp_document="L1")], Confirmed),
        ([A10, replace(A20, status="W", text="over the limit")], Confirmed),
        ([R10, R20], Reject),
        ([Said(0, "R", "E101")], Reject),
        ([A10, R20], NeedsPerson),
        ([A10, A20, R20], NeedsPerson),
        ([A10, Said(20, "X")], NeedsPerson),
        ([A10, Said(20, "R", "E999")], NeedsPerson),
        ([KNOWN, replace(KNOWN, line=20)], Confirmed),
        ([Said(10, "A"), replace(KNOWN, line=20)], Confirmed),
        # Known under a key that is not ours, that the ERP cut, or that it does not tell.
        ([replace(KNOWN, line=0, document="SO-12")], NeedsPerson),
        ([replace(KNOWN, line=0, departure="2")], NeedsPerson),
        ([replace(KNOWN, line=0, document="")], NeedsPerson),
        # Our own record, given back: the result is still to come.
        ([Said(0, "R", "E110", given_back=True)], None),
        ([Said(0, "R", "E110", given_back=True), replace(KNOWN, line=0)], Confirmed),
    ],
)
def test_what_the_erp_says_comes_to_one_outcome(said: list[Said], outcome: Any) -> None:
    """Proves the whole table of answers by line: waiting, done, refused, in part, contradictory."""
    document = DOCUMENTS["create_sales_order"]
    try:
        found: Any = translate.verdict(document, approved(), said, ANSWERS)
    except (Reject, NeedsPerson) as raised:
        found = raised
    assert type(found) is (outcome or type(None))


def test_every_answer_has_a_word_and_a_source() -> None:
    """Proves that the table of answers is checked, and what is missing is named."""
    with pytest.raises(ValueError, match=r"results\.Q needs meaning, source"):
        translate.answers_table('[results]\nQ = { word = "perhaps" }', "answers.toml")


def test_a_weight_without_a_unit_of_the_erp_is_not_written() -> None:
    """Proves that a weight goes out in the ERP's unit or not at all."""
    rules = replace(RULES, units=ErpUnits({"EA": "EA"}))
    with pytest.raises(Untranslatable, match="unit 'KGM'"):
        issue_rows(shipped(), BOOK, "R", rules)


def test_lots_and_serial_numbers_add_up_to_their_line() -> None:
    """Proves that a lot in another unit than its line, or a piece without its serial number, is
    refused instead of written."""
    event = shipped()
    content = event.shipment.packages[0].contents[0]
    content.serial_numbers.pop()
    with pytest.raises(Untranslatable, match="line 10 has 1 serial numbers for a quantity of 2"):
        issue_rows(event, BOOK, "R", RULES)
    event = shipped()
    left = event.shipment.departures.add(package_numbers=["CARTON-1"])
    row = left.shipped.add(line_number=10)
    row.quantity.value, row.quantity.unit = "1", "CS"
    with pytest.raises(Untranslatable, match=r"line 10 left in 'CS', .* packed in 'EA'"):
        issue_rows(event, BOOK, "R", RULES)


def test_a_number_is_written_in_its_own_letters_or_not_at_all() -> None:
    """Proves that an item's number with a letter that the code page has not is refused, because in
    plain letters it may be another item's, that one without a plain form is told with its field,
    and that words for people are written in plain ones."""
    layout = adapter.loaded_layouts("")["sales_orders"]
    made = order((10, "SKU-\u0141", "1"))
    with pytest.raises(Untranslatable, match=r"line\.item: .*cp1252"):
        translate.refuse_respelled(layout, order_rows(approved(made), BOOK, "R", RULES))
    made = order((10, "SKU-\u5317", "1"))
    rows = [translate.head(1, CREATED, RULES), *order_rows(approved(made), BOOK, "R", RULES)]
    translate.refuse_respelled(layout, rows)
    with pytest.raises(LayoutError, match=r"line 4, columns .*, item: .*cp1252"):
        layout_files.write(layout, rows)
    made = order()
    made.customer_reference, made.ship_to.name = "\u0141\u00f3d\u017a", "\u0141ukasz"
    rows = order_rows(approved(made), BOOK, "R", RULES)
    translate.refuse_respelled(layout, rows)
    written = layout_files.write(layout, [translate.head(1, CREATED, RULES), *rows])
    assert b"L\xf3dz" in written and b"Lukasz" in written


def left_of_line_10(quantity: str, *packed: tuple[str, str, list[str]]) -> Any:
    """A departure of so much of line 10, which is packed as these (quantity, lot, serials)."""
    event = shipped()
    package = event.shipment.packages[0]
    del package.contents[:]
    for amount, lot, serials in packed:
        content = package.contents.add(line_number=10, item_number="SKU-1001", lot=lot)
        content.serial_numbers.extend(serials)
        content.quantity.value, content.quantity.unit = amount, "EA"
    row = event.shipment.departures.add(package_numbers=["CARTON-1"]).shipped.add(line_number=10)
    row.quantity.value, row.quantity.unit = quantity, "EA"
    return event


@pytest.mark.parametrize(
    ("left", "packed", "problem"),
    [
        ("1", [("2", "", ["SN-1", "SN-2"])], "line 10: 2 are packed and 1 left"),
        ("3", [("2", "L-1", []), ("2", "L-2", [])], "line 10: 4 are packed and 3 left"),
        ("3", [("2", "L-1", []), ("2", "", [])], "line 10: 4 are packed and 3 left"),
        ("2", [("2", "", ["SN-1", "SN-1"])], "line 10: a serial number is packed twice"),
    ],
)
def test_lots_and_pieces_that_did_not_leave_are_not_issued(
    left: str, packed: list[tuple[str, str, list[str]]], problem: str
) -> None:
    """Proves that a ship confirm of less than was packed writes no lot and no serial number that
    stayed: which of them left is nobody's guess."""
    with pytest.raises(Untranslatable, match=problem):
        issue_rows(left_of_line_10(left, *packed), BOOK, "R", RULES)


def test_what_left_of_the_only_lot_is_of_that_lot() -> None:
    """Proves that less than was packed of one lot is issued as so much of the lot, also where the
    warehouse told the package by several picks of it, and that a lot beside pieces without one
    stays as it is where all of it left."""
    rows = issue_rows(left_of_line_10("3", ("2", "L-1", []), ("2", "L-1", [])), BOOK, "R", RULES)
    assert [str(row.values["quantity"]) for row in rows if row.record == "detail"] == ["3"]
    rows = issue_rows(left_of_line_10("1.5", ("2", "L-1", [])), BOOK, "R", RULES)
    assert [str(row.values["quantity"]) for row in rows if row.record == "detail"] == ["1.5"]
    rows = issue_rows(left_of_line_10("5", ("2", "L-1", []), ("3", "", [])), BOOK, "R", RULES)
    assert [str(row.values["quantity"]) for row in rows if row.record == "detail"] == ["2"]


@pytest.mark.parametrize("operation", ["change_order", "cancel_order"])
def test_only_a_booking_can_be_known_already(operation: str) -> None:
    """Proves that an ERP which knows a change already has misunderstood something."""
    document = DOCUMENTS[operation]
    with pytest.raises(NeedsPerson, match="does not say that it is this one"):
        translate.verdict(document, approved(), [replace(KNOWN, line=0)], ANSWERS)
