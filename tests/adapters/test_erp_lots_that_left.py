"""Goods issues of legacy ERPs say how much left of each lot, also of less than was packed."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from crossdock_adapters.legacy_file import adapter, translate
from crossdock_adapters.sdk import layout_files, table_layout, xml_layout
from crossdock_adapters.sdk.erp_documents import BOOK, issue_rows
from crossdock_adapters.sdk.layout_files import Row
from crossdock_adapters.sdk.outcomes import Untranslatable
from hypothesis import given
from hypothesis import strategies as st
from legacy_file_world import CREATED, RULES, shipped

# By carton: pieces of line 10, each pick with its quantity.
PICKS = st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=3), min_size=1, max_size=4)


def left_of_line_10(quantity: object, *cartons: tuple[tuple[object, str], ...]) -> Any:
    """A departure of so much of line 10 in these cartons, each with picks of quantity and lot."""
    event = shipped()
    del event.shipment.packages[:]
    left = event.shipment.departures.add()
    for number, picks in enumerate(cartons, start=1):
        package = event.shipment.packages.add(number=f"CARTON-{number}")
        package.weight.value, package.weight.unit = "2.5", "KGM"
        left.package_numbers.append(package.number)
        for amount, lot in picks:
            content = package.contents.add(line_number=10, item_number="SKU-1001", lot=lot)
            content.quantity.value, content.quantity.unit = str(amount), "EA"
    row = left.shipped.add(line_number=10)
    row.quantity.value, row.quantity.unit = str(quantity), "EA"
    return event


def details(event: Any) -> list[tuple[str, str, str]]:
    """Package, lot and quantity of each row of a goods issue that names a lot."""
    return [
        (row.text("package"), row.text("lot"), str(row.values["quantity"]))
        for row in issue_rows(event, BOOK, "R", RULES)
        if row.record == "detail"
    ]


def written_by(name: str, rows: list[Row]) -> str:
    """The rows of a goods issue as that adapter's own layout writes them."""
    if name == "legacy_file":
        told = [translate.head(1, CREATED, RULES), *rows]
        return layout_files.write(adapter.loaded_layouts("")["goods_issues"], told).decode()
    folder = Path(adapter.__file__).parents[1] / name / "layouts"
    text = (folder / "goods_issues.toml").read_text("utf-8")
    if name == "legacy_table":
        return str(table_layout.rows_of(table_layout.parse(text, name), rows))
    return ElementTree.tostring(xml_layout.written(xml_layout.parse(text, name), rows)).decode()


@pytest.mark.parametrize("name", ["legacy_file", "legacy_table", "legacy_soap"])
def test_less_of_one_lot_in_several_packages_is_told_by_lot(name: str) -> None:
    """Proves that less than was packed of one lot in several packages is issued as so much of the
    lot, of no package, since nobody knows out of which of them something was taken, and that the
    layout of each ERP writes it."""
    event = left_of_line_10("3", (("2", "L-1"),), (("2", "L-1"),))
    assert details(event) == [("", "L-1", "3")]
    rows = issue_rows(event, BOOK, "R", RULES)
    packages = [row.text("package") for row in rows if row.record == "package"]
    assert packages == ["CARTON-1", "CARTON-2"]
    assert "L-1" in written_by(name, rows)


@given(PICKS, st.data())
def test_one_lot_is_told_of_whatever_left(picks: list[list[int]], data: st.DataObject) -> None:
    """Proves that however one lot is spread over packages and picks, what is told of it adds up to
    what left, by package where all of it left or there is one package, and never otherwise."""
    packed = sum(map(sum, picks))
    left = data.draw(st.integers(1, packed))
    told = details(left_of_line_10(left, *(tuple((each, "L-1") for each in own) for own in picks)))
    assert {lot for _, lot, _ in told} == {"L-1"}
    assert sum(Decimal(quantity) for _, _, quantity in told) == left
    if left == packed:
        cartons = {f"CARTON-{number}": sum(own) for number, own in enumerate(picks, start=1)}
        by_carton: dict[str, Decimal] = {}
        for carton, _, quantity in told:
            by_carton[carton] = by_carton.get(carton, Decimal(0)) + Decimal(quantity)
        assert by_carton == cartons
    else:
        assert [carton for carton, _, _ in told] == ["CARTON-1" if len(picks) == 1 else ""]


@pytest.mark.parametrize("other", ["lot L-2", "no lot"])
def test_less_of_several_lots_says_what_a_person_does(other: str) -> None:
    """Proves that where nobody can know which lot stayed, it is said what was packed in which
    package, and what to do at the ERP and then here."""
    lot = other.removeprefix("lot ") if other != "no lot" else ""
    event = left_of_line_10("3", (("2", "L-1"),), (("2", lot),))
    with pytest.raises(Untranslatable) as refused:
        issue_rows(event, BOOK, "R", RULES)
    assert str(refused.value) == (
        "line 10: 4 are packed and 3 left, and nobody says which lots or serial numbers did: find "
        "out, post the goods issue in the ERP by hand, then say so with crossdock resolve ID "
        "--reference goods_issue=NUMBER --reason …; packed are 2 EA of lot L-1 in CARTON-1, "
        f"2 EA of {other} in CARTON-2"
    )


def test_cases_beside_pieces_of_a_lot_are_not_added_up() -> None:
    """Proves that a case of no lot and two pieces of one are not taken for three pieces, although
    three left: it is for a person."""
    event = left_of_line_10("3", (("2", "L-1"),), (("1", ""),))
    event.shipment.packages[1].contents[0].quantity.unit = "CS"
    with pytest.raises(Untranslatable, match="is packed in 'CS'") as refused:
        issue_rows(event, BOOK, "R", RULES)
    assert "2 EA of lot L-1 in CARTON-1, 1 CS of no lot in CARTON-2" in str(refused.value)
