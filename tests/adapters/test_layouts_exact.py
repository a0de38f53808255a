"""Layouts of flat files at their edges: large files, long numbers, marks and control totals."""

from __future__ import annotations

import time
from decimal import Decimal

import pytest
from crossdock_adapters.sdk import layout_files
from crossdock_adapters.sdk.layout import parse
from crossdock_adapters.sdk.layout_files import MAX_RECORDS, LayoutError, Row
from crossdock_adapters.sdk.layout_values import Field, FieldProblem, fitted, from_packed, from_text
from test_layouts import CSV, FIXED

SMALL_ROWS, LARGE_ROWS = 400, 3200
# Eight times the rows take eight times as long where each is looked at once, and 64 times where
# each looks at all the others.
SLOWER_AT_MOST = 24
ELSEWHERE = """
name = "elsewhere"
kind = "{kind}"
encoding = "ascii"
{more}
[records.line]
code = "L"
fields = [{{ name = "amount", type = "decimal", decimals = 3{length}, sign = "leading" }}]
[records.tail]
code = "T"
place = "last"
fields = [{{ name = "sum", type = "integer"{total}, total = "{how}:line.amount" }}]
"""


def amounts(kind: str, how: str) -> str:
    """A layout with one column of amounts, and a total of it."""
    if kind == "fixed":
        more, length, total = "record_length = 60", ", length = 12", ", length = 15"
    else:
        more, length, total = 'delimiter = ";"', "", ""
    return ELSEWHERE.format(kind=kind, more=more, length=length, total=total, how=how)


def seconds_of(rows: int) -> float:
    """Processor time for a file of so many lines."""
    layout = parse(CSV, "movements")
    lines = [Row("line", {"item": "A", "quantity": Decimal(1)}) for _ in range(rows)]
    started = time.process_time()
    layout_files.write(layout, [Row("head", {"sequence": 1}), *lines])
    return time.process_time() - started


def test_a_file_takes_as_long_as_it_has_records() -> None:
    """Proves that control totals are computed once, not anew for each record."""
    small = min(seconds_of(SMALL_ROWS) for _ in range(3))
    assert min(seconds_of(LARGE_ROWS) for _ in range(2)) < SLOWER_AT_MOST * small


def test_too_many_records_are_refused_before_they_are_written() -> None:
    """Proves that the limit is looked at first: a record that cannot be written is never met."""
    wrong = Row("line", {"item": 7, "quantity": Decimal(1)})
    rows = [Row("head", {"sequence": 1}), wrong, *[wrong] * MAX_RECORDS]
    with pytest.raises(LayoutError, match=f"{MAX_RECORDS} records at most"):
        layout_files.write(parse(CSV, "movements"), rows)


def test_a_point_is_no_digit_where_the_mark_is_a_comma() -> None:
    """Proves that "1.250", which means two numbers in two lands, is refused."""
    field = Field("n", "decimal", decimals=3, sign="leading")
    assert from_text(field, "1,250", ",") == Decimal("1.250")
    for text in ("1.250", "1.250,5"):
        with pytest.raises(FieldProblem, match="decimals at most"):
            from_text(field, text, ",")


def test_long_numbers_come_back_digit_by_digit() -> None:
    """Proves that no default of decimal arithmetic rounds a number of 31 digits: text or packed."""
    digits = "1234567890123456789012345678901"
    field = Field("n", "decimal", 1, 31, 2, True)
    assert str(from_text(field, digits)) == f"{digits[:-2]}.{digits[-2:]}"
    packed = from_packed(Field("n", "packed", 1, 16, decimals=2), bytes.fromhex(digits + "f"))
    assert str(packed) == f"{digits[:-2]}.{digits[-2:]}"


def test_sums_are_exact_or_refused() -> None:
    """Proves that a control total keeps every digit, and that one of whole numbers is not cut."""
    layout = parse(CSV, "movements")
    large, small = Decimal("9" * 28), Decimal("0.001")
    rows = [Row("head", {"sequence": 1}), *(Row("line", {"item": "A", "quantity": each})
            for each in (large, small))]  # fmt: skip
    written = layout_files.write(layout, rows)
    assert written.endswith(f"TR;{'9' * 28},001\n".encode())
    assert len(layout_files.read(layout, written)) == 4
    whole = parse(amounts("csv", "sum"), "elsewhere")
    assert layout_files.write(whole, [Row("line", {"amount": Decimal("2.0")})]).endswith(b"T;2\n")
    with pytest.raises(LayoutError, match=r"sum: is a whole number, .* add up to 2\.5"):
        layout_files.write(whole, [Row("line", {"amount": Decimal("2.5")})])


@pytest.mark.parametrize(("kind", "total"), [("fixed", b"2500"), ("csv", b"2500")])
def test_a_hash_total_is_of_what_stands_in_the_file(kind: str, total: bytes) -> None:
    """Proves that a hash total adds up the digits of the columns as they are written, which is all
    that a reader has."""
    layout = parse(amounts(kind, "hash"), "elsewhere")
    written = layout_files.write(layout, [Row("line", {"amount": Decimal("2.5")})])
    assert total in written.splitlines()[-1], written
    assert len(layout_files.read(layout, written)) == 2
    if kind == "csv":
        # Another writer leaves zeros out, and hashes what it wrote.
        assert len(layout_files.read(layout, b"L;2.5\nT;25\n")) == 2
        with pytest.raises(LayoutError, match="add up to 25"):
            layout_files.read(layout, b"L;2.5\nT;2500\n")


def test_a_hash_of_a_text_is_of_what_was_cut() -> None:
    """Proves that letters beyond the column do not count in its hash total."""
    text = FIXED.replace('name = "item", length = 12', 'name = "item", length = 5, cut = true')
    text = text.replace('length = 8\ntotal = "hash', 'length = 8\ntotal = "hash')
    layout = parse(text, "movements")
    rows = [Row("head", {"sequence": 1}), Row("document", {"number": "1"}),
            Row("line", {"item": "AB123456", "quantity": Decimal(1)})]  # fmt: skip
    written = layout_files.write(layout, rows)
    assert b"00000123" in written.splitlines()[-1]
    assert len(layout_files.read(layout, written)) == 4


def test_letters_with_a_stroke_are_fitted() -> None:
    """Proves that a town with a letter that Unicode does not take apart parks no order."""
    assert fitted("Łódź, Đurđevac", "cp1252") == "Lódz, Durdevac"
    assert fitted("Malmø", "ascii") == "Malmo"


def test_no_control_character_stands_in_a_cell() -> None:
    """Proves that a line end inside a value, which many readers of CSV take for a record's, is
    refused."""
    rows = [Row("head", {"sequence": 1}), Row("line", {"item": "A\nB", "quantity": Decimal(1)})]
    with pytest.raises(LayoutError, match="line 2, cell 2, item: must not have control"):
        layout_files.write(parse(CSV, "movements"), rows)
