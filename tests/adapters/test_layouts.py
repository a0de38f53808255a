"""Layouts of flat files: what is written is read back, and what breaks a rule is named."""

from __future__ import annotations

import string
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pytest
from crossdock_adapters.sdk import layout_files
from crossdock_adapters.sdk.layout import Layout, LayoutProblem, parse
from crossdock_adapters.sdk.layout_files import LayoutError, Row
from crossdock_adapters.sdk.layout_values import (
    DATE_FORMATS,
    DATETIME_FORMATS,
    Field,
    FieldProblem,
    Value,
    fitted,
    from_packed,
    from_text,
    to_packed,
    to_text,
)
from hypothesis import given
from hypothesis import strategies as st

FIXED = """
name = "movements"
kind = "fixed"
encoding = "cp1252"
line_end = "crlf"
record_length = 40
[records.head]
code = "HD"
place = "first"
fields = [{ name = "sequence", type = "integer", length = 8 }]
[records.document]
code = "DO"
fields = [
  { name = "number", length = 10 },
  { name = "day", type = "date", format = "yyyymmdd", length = 8, blank = true, nothing = ["0"] },
]
[records.line]
code = "LI"
within = "document"
fields = [
  { name = "item", length = 12 },
  { name = "quantity", type = "decimal", length = 9, decimals = 3, sign = "trailing" },
  { name = "price", type = "decimal", length = 9, decimals = 2, blank = true, start = 30 },
]
[records.tail]
code = "TR"
place = "last"
[[records.tail.fields]]
name = "lines"
type = "integer"
length = 6
total = "count:line"
[[records.tail.fields]]
name = "quantity"
type = "decimal"
length = 12
decimals = 3
sign = "trailing"
total = "sum:line.quantity"
[[records.tail.fields]]
name = "items"
type = "integer"
length = 8
total = "hash:line.item"
"""
CSV = """
name = "movements"
kind = "csv"
encoding = "utf-8"
line_end = "lf"
delimiter = ";"
decimal_mark = ","
[records.head]
code = "HD"
place = "first"
fields = [{ name = "sequence", type = "integer" }]
[records.line]
code = "LI"
fields = [
  { name = "item" },
  { name = "quantity", type = "decimal", decimals = 3, sign = "leading" },
  { name = "day", type = "date", format = "cyyddd", blank = true },
]
[records.tail]
code = "TR"
place = "last"
[[records.tail.fields]]
name = "quantity"
type = "decimal"
decimals = 3
sign = "leading"
total = "sum:line.quantity"
"""


def movements() -> list[Row]:
    """A file with every kind of record, written by hand."""
    return [
        Row("head", {"sequence": 42}),
        Row("document", {"number": "SO-1", "day": date(2026, 1, 31)}),
        Row("line", {"item": "SKU-1001", "quantity": Decimal("12.5"), "price": Decimal("9.99")}),
        Row("line", {"item": "SKU-1002", "quantity": Decimal("-3"), "price": None}),
    ]


def test_a_fixed_width_file_is_what_the_specification_says() -> None:
    """Proves columns, filling, implied decimals, signs, blank against zero, and control totals, by
    a file that was counted out by hand."""
    written = layout_files.write(parse(FIXED, "movements"), movements())
    assert written == (
        b"HD00000042" + b" " * 30 + b"\r\n"
        b"DOSO-1      20260131" + b" " * 20 + b"\r\n"
        b"LISKU-1001    00012500+      000000999  \r\n"
        b"LISKU-1002    00003000-                 \r\n"
        b"TR00000200000009500+00002003" + b" " * 12 + b"\r\n"
    )


def test_a_csv_file_is_what_the_specification_says() -> None:
    """Proves delimiter, decimal comma, quoting and days of the century."""
    rows = [
        Row("head", {"sequence": 7}),
        Row("line", {"item": 'A;"B"', "quantity": Decimal("-0.125"), "day": date(2026, 1, 1)}),
        Row("line", {"item": "Ä", "quantity": Decimal(2), "day": None}),
    ]
    written = layout_files.write(parse(CSV, "movements"), rows)
    assert written.decode() == ('HD;7\nLI;"A;""B""";-0,125;126001\nLI;Ä;2,000;\nTR;1,875\n')


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        # COBOL overpunch: the last digit carries the sign.
        (Field("n", "decimal", 1, 9, 2, True, "overpunch"), Decimal("12.50"), "00000125{"),
        (Field("n", "decimal", 1, 9, 2, True, "overpunch"), Decimal("-12.57"), "00000125P"),
        (Field("n", "integer", 1, 4, sign="overpunch"), -10, "001}"),
        # PIC 9(7)V99.
        (Field("n", "decimal", 1, 9, 2, True), Decimal("12.5"), "000001250"),
        (Field("n", "decimal", 1, 9, 2, False), Decimal("12.5"), "000012.50"),
        (Field("n", "integer", 1, 6, sign="leading"), -12, "-00012"),
        (Field("n", "integer", 1, 6, sign="trailing"), 12, "00012+"),
        # JD Edwards: century, year, day of the year; 2028 is a leap year.
        (Field("d", "date", 1, 6, format="cyyddd"), date(2028, 12, 31), "128366"),
        (Field("d", "date", 1, 6, format="cyyddd"), date(1999, 3, 1), "099060"),
        (Field("d", "date", 1, 8, format="ddmmyyyy"), date(2026, 7, 4), "04072026"),
    ],
)
def test_a_value_is_written_as_its_convention_says(field: Field, value: Value, text: str) -> None:
    """Proves each convention of the trade by a vector of its own, in both directions."""
    assert to_text(field, value) == text
    assert from_text(field, text) == value


def test_packed_decimals_are_read_and_written() -> None:
    """Proves COMP-3: two digits a byte, C, D and F in the last half byte, others refused."""
    field = Field("n", "packed", 1, 4, decimals=2, sign="trailing")
    assert to_packed(field, Decimal("12345.67")) == bytes.fromhex("1234567c")
    assert to_packed(field, Decimal("-0.05")) == bytes.fromhex("0000005d")
    assert from_packed(field, bytes.fromhex("1234567f")) == Decimal("12345.67")
    for wrong in ("12345671", "12a4567c"):
        with pytest.raises(FieldProblem, match="packed decimal"):
            from_packed(field, bytes.fromhex(wrong))


def test_ebcdic_without_line_ends() -> None:
    """Proves a mainframe's file: code page 037, records one after another, packed amounts."""
    layout = parse(
        'name = "m"\nkind = "fixed"\nencoding = "cp037"\nline_end = "none"\nrecord_length = 8\n'
        '[records.line]\ncode = "L"\nfields = [{ name = "item", length = 4 }, '
        '{ name = "amount", type = "packed", length = 3, decimals = 2, sign = "trailing" }]',
        "m",
    )
    data = layout_files.write(layout, [Row("line", {"item": "A1", "amount": Decimal("-1.5")})])
    assert data == bytes.fromhex("d3 c1f1 4040 00150d")
    assert layout_files.read(layout, data)[0].values == {"item": "A1", "amount": Decimal("-1.50")}
    with pytest.raises(LayoutError, match="cut off"):
        layout_files.read(layout, data[:-1])


def test_letters_are_fitted_to_the_code_page() -> None:
    """Proves that an accent is dropped where the page has none, and nothing is dropped in
    silence."""
    assert fitted("Zoë Škoda", "cp1252") == "Zoë Škoda"
    assert fitted("Zoë Škoda", "ascii") == "Zoe Skoda"
    assert fitted("Čapek", "cp1252") == "Capek"
    with pytest.raises(FieldProblem, match="code page ascii"):
        fitted("東京", "ascii")


WRONG_FILES = [
    (b"LISKU", b"LXSKU", "line 3: begins with none of the codes"),
    (b"00012500+", b"00012A00+", "line 3, columns 15-23, quantity: must be digits only"),
    (b"00012500+", b"00012600+", "line 5, columns 9-20, quantity: says 9.500, and the records"),
    (b"TR000002", b"TR000003", "line 5, columns 3-8, lines: says 3, and the records before"),
    (b"00002003", b"00002004", "items: says 2004"),
    (b"20260131", b"20260231", "line 2, columns 13-20, day: must be written as yyyymmdd"),
    (b"HD00000042", b"HD0000 042", "line 1, columns 3-10, sequence: must be digits only"),
    (b"DOSO-1      ", b"DO          ", "line 2, columns 3-12, number: must not be blank"),
    (b"  \r\nDO", b"\r\nDO", "line 1: the record has 38 bytes, not 40"),
    (b"DOSO-1", b"HDSO-1", "line 2, columns 3-10, sequence"),
]


@pytest.mark.parametrize(("there", "wrong", "rule"), WRONG_FILES)
def test_what_breaks_a_rule_is_named_with_its_place(there: bytes, wrong: bytes, rule: str) -> None:
    """Proves that each kind of damage is refused with line, columns, field and rule."""
    layout = parse(FIXED, "movements")
    good = layout_files.write(layout, movements())
    assert good.count(there) >= 1
    with pytest.raises(LayoutError, match=rule):
        layout_files.read(layout, good.replace(there, wrong, 1))


@pytest.mark.parametrize("source", [FIXED, CSV])
def test_half_a_file_is_never_read(source: str) -> None:
    """Proves that a file cut off anywhere is refused: by its line end, its trailer or its sums."""
    layout = parse(source, "movements")
    rows = movements() if source is FIXED else [Row("head", {"sequence": 1}), Row("line", {
        "item": "A", "quantity": Decimal(1)})]  # fmt: skip
    whole = layout_files.write(layout, rows)
    for end in range(len(whole)):
        with pytest.raises(LayoutError):
            layout_files.read(layout, whole[:end])


def test_what_is_wrong_with_a_layout_is_told_at_once() -> None:
    """Proves that every mistake of a layout file is found when it is loaded, all together."""
    with pytest.raises(LayoutProblem) as told:
        parse(
            'kind = "fixed"\nencoding = "utf-8"\nrecord_length = 10\ncolour = "red"\n'
            '[records.a]\ncode = "A"\nfields = [{ name = "x", length = 12 }, '
            '{ name = "x", type = "date", length = 2 }]\n'
            '[records.b]\ncode = "AB"\nwithin = "c"\nfields = [{ name = "y", length = 1, '
            'total = "sum:a.z" }]',
            "wrong",
        )
    text = "; ".join(told.value.problems)
    for rule in (
        "colour is not known", "encoding 'utf-8'", "overlap", "declared twice", "format must be",
        "code 'A' is not the only one", "within names no record", "total: count", "name is missing",
    ):  # fmt: skip
        assert rule in text, (rule, text)


def test_a_reject_layout_is_its_parent_and_the_error_columns() -> None:
    """Proves that a layout extends another: the same columns, then its own."""
    child = parse(
        'extends = "movements"\nname = "rejects"\nrecord_length = 60\n[append.line]\n'
        'fields = [{ name = "error", length = 10, start = 41 }]',
        "rejects",
        lambda name: {"movements": FIXED}[name],
    )
    rows = movements()
    rows[2] = Row("line", {**rows[2].values, "error": "E210"})
    rows[3] = Row("line", {**rows[3].values, "error": "E211"})
    read = layout_files.read(child, layout_files.write(child, rows))
    assert [row.text("error") for row in read if row.record == "line"] == ["E210", "E211"]


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        ("1234567890123", "12 characters at most"),
        ("A\nB", "control characters"),
        (" A", "begin or end with a space"),
        ("", "must have a value"),
        (7, "of type text"),
    ],
)
def test_what_cannot_be_written_is_refused(value: Value, rule: str) -> None:
    """Proves that nothing is cut, blanked or turned in silence."""
    rows = movements()
    rows[2] = Row("line", {**rows[2].values, "item": value})
    with pytest.raises(LayoutError, match=f"line 3, columns 3-14, item: .*{rule}"):
        layout_files.write(parse(FIXED, "movements"), rows)


OPENED = 'name = "opened"\nkind = "csv"\n{more}[records.line]\nfields = [{{ name = "lot" }}]\n'


@pytest.mark.parametrize("begin", "=+-@")
def test_no_cell_is_a_formula(begin: str) -> None:
    """Proves that a text which a spreadsheet would reckon is refused in CSV and written by nobody,
    that numbers and phones are not taken for one, and that a layout of files that nobody opens may
    say so."""
    rows = [Row("line", {"lot": f"{begin}HYPERLINK(A1)"})]
    with pytest.raises(LayoutError, match="line 1, cell 1, lot: begins like a formula"):
        layout_files.write(parse(OPENED.format(more=""), "opened"), rows)
    unread = parse(OPENED.format(more="formulas = true\n"), "opened")
    assert layout_files.write(unread, rows) == f"{begin}HYPERLINK(A1)\n".encode()
    phones = ("+1 208-555-0142", "+1 (208) 555.0142 ext. 12", "+49 30/12345 x7", "-", "+")
    for plain in ("-12", "+1.5", "A=1", *phones):
        data = layout_files.write(
            parse(OPENED.format(more=""), "opened"), [Row("line", {"lot": plain})]
        )
        assert data == f"{plain}\n".encode()


def test_a_number_is_never_rounded() -> None:
    """Proves that a quantity with more decimals than its field is refused, not rounded."""
    rows = movements()
    rows[2] = Row("line", {**rows[2].values, "quantity": Decimal("0.0005")})
    with pytest.raises(LayoutError, match="3 decimals at most"):
        layout_files.write(parse(FIXED, "movements"), rows)


PLAIN = st.text(st.sampled_from(string.ascii_letters + string.digits + "-_/äöüß"), min_size=1)


@st.composite
def fields_with_value(draw: st.DrawFn, fixed: bool) -> tuple[dict[str, Any], Value]:
    """A field as a layout declares it, and a value that fits it."""
    kind = draw(st.sampled_from(["text", "integer", "decimal", "date", "datetime"]))
    field: dict[str, Any] = {"type": kind, "blank": draw(st.booleans())}
    if field["blank"] and draw(st.booleans()):
        return {**field, **({"length": 26} if fixed else {}), **_format(draw, kind)}, None
    if kind == "text":
        value: Value = draw(PLAIN)
        length = len(str(value))
    elif kind in ("integer", "decimal"):
        decimals = draw(st.integers(0, 6)) if kind == "decimal" else 0
        signs = ["leading", "trailing", "overpunch"] if fixed else ["leading", "trailing"]
        field |= {"decimals": decimals, "sign": draw(st.sampled_from(signs))}
        if draw(st.booleans()):
            field["implied"] = draw(st.booleans())
        whole = draw(st.integers(-(10**12), 10**12))
        value = Decimal(whole).scaleb(-decimals) if kind == "decimal" else whole
        length = 18
    elif kind == "date":
        value = draw(st.dates(date(1900, 1, 1), date(2899, 12, 31)))
        length = 10
    else:
        # Minutes are what every format has.
        value = draw(st.datetimes(datetime(1900, 1, 1))).replace(second=0, microsecond=0)
        length = 19
    field |= {
        **_format(draw, kind),
        **({"length": length + draw(st.integers(0, 4))} if fixed else {}),
    }
    return field, value


def _format(draw: st.DrawFn, kind: str) -> dict[str, str]:
    known = {"date": DATE_FORMATS, "datetime": DATETIME_FORMATS}.get(kind)
    return {"format": draw(st.sampled_from(sorted(known)))} if known else {}


@st.composite
def files(draw: st.DrawFn) -> tuple[Layout, list[Row]]:
    """Any layout, and rows for it."""
    fixed = draw(st.booleans())
    found = draw(st.lists(fields_with_value(fixed), min_size=1, max_size=6))
    page = draw(st.sampled_from(["cp1252", "cp500"] if fixed else ["utf-8", "utf-8-sig", "cp1252"]))
    ends = ["crlf", "lf", "none"] if fixed and page != "cp500" else ["none"] if fixed else ["lf"]
    text = [
        f'name = "drawn"\nkind = "{"fixed" if fixed else "csv"}"\nencoding = "{page}"',
        f'line_end = "{draw(st.sampled_from(ends))}"',
        "record_length = 400"
        if fixed
        else f'delimiter = "{draw(st.sampled_from(";,|"))}"\nformulas = true',
        '[records.line]\ncode = "L"\nfields = [',
        *(
            "{ " + ", ".join(f"{k} = {_toml(v)}" for k, v in {"name": f"f{n}", **f}.items()) + " },"
            for n, (f, _) in enumerate(found)
        ),
        ']\n[records.tail]\ncode = "T"\nplace = "last"\nfields = [{ name = "lines", '
        'type = "integer", length = 9, total = "count" }]',
    ]
    values = {f"f{number}": value for number, (_, value) in enumerate(found)}
    rows = [Row("line", values)] * draw(st.integers(1, 3))
    return parse("\n".join(text), "drawn"), rows


def _toml(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else repr(value).replace("'", '"')


@given(files())
def test_whatever_is_written_is_read_back(drawn: tuple[Layout, list[Row]]) -> None:
    """Proves the round trip for any layout of any field types: the same values, exactly."""
    layout, rows = drawn
    data = layout_files.write(layout, rows)
    read = layout_files.read(layout, data)
    assert [row.values for row in read[:-1]] == [row.values for row in rows]
    assert read[-1].values == {"lines": len(rows)}
    assert layout_files.write(layout, read) == data


@given(st.binary(max_size=400), st.sampled_from([FIXED, CSV]))
def test_noise_is_refused_and_nothing_else(noise: bytes, source: str) -> None:
    """Proves that no bytes make the reader fail in another way than with a LayoutError."""
    with pytest.raises(LayoutError):
        layout_files.read(parse(source, "movements"), noise)
