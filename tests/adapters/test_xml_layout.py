"""Layouts of XML documents: what is written in which order, what is read, what is refused."""

from __future__ import annotations

from decimal import Decimal
from xml.etree import ElementTree

import pytest
from crossdock_adapters.sdk import vendor_xml, xml_layout
from crossdock_adapters.sdk.layout import LayoutProblem
from crossdock_adapters.sdk.layout_files import Row
from crossdock_adapters.sdk.layout_values import FieldProblem
from crossdock_adapters.sdk.places import Unreadable

LAYOUT = """
name = "orders"
namespace = "urn:o"
element = "Order"
left_out = ["package"]
[records.document]
fields = [
  { element = "Number", name = "number", length = 5 },
  { element = "Day", name = "day", type = "date", format = "yyyy-mm-dd", blank = true, nil = true },
  { element = "Note", name = "note", blank = true, nothing = ["-"] },
]
[records.line]
element = "Lines/Line"
fields = [
  { element = "Item", name = "item" },
  { element = "Quantity", name = "quantity", type = "decimal", decimals = 3 },
]
"""


@pytest.fixture
def layout() -> xml_layout.XmlLayout:
    return xml_layout.parse(LAYOUT, "orders.toml")


def test_elements_stand_in_the_order_of_the_layout(layout: xml_layout.XmlLayout) -> None:
    """Proves that order, wrappers and exact numbers are the layout's, that nil is told apart from
    left out, and that rows given out of order do not change it."""
    rows = [
        Row("line", {"item": "a<b", "quantity": Decimal("2")}),
        Row("document", {"number": "SO-1", "day": None}),
        Row("package", {}),
        Row("line", {"item": "c", "quantity": Decimal("0.125")}),
    ]
    made = ElementTree.tostring(xml_layout.written(layout, rows), encoding="unicode")
    assert made == (
        '<Order xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xmlns="urn:o">'
        '<Number>SO-1</Number><Day xsi:nil="true" /><Note>-</Note><Lines>'
        "<Line><Item>a&lt;b</Item><Quantity>2.000</Quantity></Line>"
        "<Line><Item>c</Item><Quantity>0.125</Quantity></Line></Lines></Order>"
    )


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (Row("document", {"number": "SO-123"}), r"document\.Number \(number\) may have 5"),
        (Row("document", {"number": "a\x01"}), r"document\.Number \(number\) has a character"),
        (Row("line", {"item": "a", "quantity": Decimal("0.0001")}), r"line\.Quantity .* round it"),
        (Row("line", {"quantity": Decimal(1)}), r"line\.Item \(item\) must have a value"),
        (Row("ship_to", {}), "ship_to has no element and is not left out"),
    ],
)
def test_what_does_not_fit_is_refused(layout: xml_layout.XmlLayout, row: Row, said: str) -> None:
    """Proves that a value that its element cannot hold, and a record without a place, are refused
    with element and rule."""
    with pytest.raises(FieldProblem, match=said):
        xml_layout.written(layout, [row])


def test_what_is_read_has_values_or_a_place(layout: xml_layout.XmlLayout) -> None:
    """Proves that a value comes back exact, that nil, left out and "nothing" are no value, and that
    what is missing or wrong is told with path, line and column."""
    nil = f'xmlns:x="{xml_layout.INSTANCE}" x:nil="true"'
    root = vendor_xml.loads(
        f"<Order><Number> SO-1 </Number><Day {nil}>junk</Day><Note>-</Note>"
        "<Lines><Line><Item>a</Item><Quantity>2.5</Quantity></Line><Line/></Lines></Order>".encode()
    )
    assert xml_layout.read(layout, root) == {"number": "SO-1", "day": None, "note": None}
    first, second = xml_layout.all_of(layout, root, "line")
    assert xml_layout.read(layout, first, "line") == {"item": "a", "quantity": Decimal("2.500")}
    with pytest.raises(Unreadable, match=r"/Order/Lines/Line\[2\]/Item \(line 1, column \d+\)"):
        xml_layout.read(layout, second, "line")
    long = vendor_xml.loads(b"<Order><Number>SO-123</Number></Order>")
    with pytest.raises(Unreadable, match=r"/Order/Number .*: may have 5"):
        xml_layout.read(layout, long)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ('element = "Order"', "", "element is missing"),
        ("left_out", "left", "left is not known here"),
        ('name = "number", length = 5', "length = 5", "needs an element, and a name"),
        ('element = "Item", name = "item"', 'element = "Quantity", name = "item"', "twice"),
        ("decimals = 3", "decimals = 3, length = 9", "not filled up"),
        ('format = "yyyy-mm-dd"', 'format = "cyy"', "format must be one of"),
        ('type = "decimal"', 'type = "packed"', "type must be one of"),
        ("blank = true, nil = true", "nil = true", "nothing and nil need blank"),
        ("implied", "", ""),
    ],
)
def test_a_layout_that_is_wrong_says_so(before: str, after: str, said: str) -> None:
    """Proves that each mistake in a layout is told with its place, and that without one it is
    taken."""
    text = LAYOUT.replace(before, after)
    if not said:
        assert xml_layout.parse(text, "orders.toml").element == "Order"
        return
    with pytest.raises(LayoutProblem, match=said):
        xml_layout.parse(text, "orders.toml")
