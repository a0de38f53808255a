"""Units of the legacy ERPs: rows of the mapping service, a setting before them."""

from __future__ import annotations

import pytest
from crossdock.item.v1 import item_pb2
from crossdock_adapters.legacy_soap import translate
from crossdock_adapters.sdk import erp_items
from crossdock_adapters.sdk.adapter import Adapter
from crossdock_adapters.sdk.erp_documents import BOOK, Rules, order_rows
from crossdock_adapters.sdk.erp_units import ErpUnits
from crossdock_adapters.sdk.mappings import Code, Meaning, Told, Topic
from crossdock_adapters.sdk.outcomes import Untranslatable
from crossdock_adapters.sdk.places import Unreadable
from crossdock_adapters.sdk.settings import Settings
from legacy_file_world import approved

KINDS = ["legacy_file", "legacy_soap", "legacy_table"]
# The units that these adapters knew before units were rows.
KNOWN = {"EA": "EA", "PR": "PR", "PK": "PK", "CS": "CS", "KGM": "KG", "LBR": "LB", "MTR": "M"}


def units_sent(rules: Rules) -> list[object]:
    rows = order_rows(approved(), BOOK, "R", rules)
    return [row.values["unit"] for row in rows if row.record == "line"]


def rules_of(adapter: Adapter, **units: str) -> Rules:
    settings = Settings({"time_zone": "", "units": units, "warehouses": {}})
    return Rules.of(settings, adapter.mappings, adapter.name)


@pytest.mark.parametrize("kind", KINDS)
def test_units_are_rows_with_a_source(kind: str) -> None:
    """Proves that each legacy ERP's units are rows with a source, the manifest holds none of them,
    and every code that was known before is sent and read as before."""
    adapter = Adapter.load(f"crossdock_adapters.{kind}")
    assert adapter.manifest.settings["units"].default == {}
    rules = rules_of(adapter)
    assert {code: rules.units.out(code) for code in KNOWN} == KNOWN
    assert {rules.units.back(word, "unit"): word for word in KNOWN.values()} == KNOWN
    assert adapter.mappings.file is not None
    assert all(
        row.source and row.topic in (Topic.UNIT, Topic.ITEM_STATUS)
        for row in adapter.mappings.file.rows
    )


@pytest.mark.parametrize("kind", KINDS)
def test_what_an_operator_says_holds_at_once_and_a_setting_goes_before(kind: str) -> None:
    """Proves that rules made before an operator's row send and read by it, and that a word of the
    setting is sent and read instead of a row."""
    adapter = Adapter.load(f"crossdock_adapters.{kind}")
    rules, own = rules_of(adapter), rules_of(adapter, EA="STK")
    assert units_sent(rules) == ["EA", "EA"]
    said = Told(Topic.UNIT, Code("", "PCE"), Meaning("EA", preferred=True), True)
    adapter.mappings.replace([*adapter.mappings.of_file(), said])
    assert (units_sent(rules), rules.units.back("PCE", "unit")) == (["PCE", "PCE"], "EA")
    assert (units_sent(own), own.units.back("STK", "unit")) == (["STK", "STK"], "EA")
    assert own.units.back("PCE", "unit") == "EA"


@pytest.mark.parametrize("kind", KINDS)
def test_a_unit_without_a_row_says_which_command_gives_it_one(kind: str) -> None:
    """Proves that neither way a unit without a row is guessed, and the problem names the command of
    this kind of endpoint."""
    adapter = Adapter.load(f"crossdock_adapters.{kind}")
    units = rules_of(adapter).units
    with pytest.raises(Untranslatable, match=f"map set {adapter.name} UNIT WORD --means PF"):
        units.out("PF")
    with pytest.raises(Unreadable, match=rf"'FURLONG' .*map set {adapter.name} UNIT"):
        units.back("FURLONG", "unit")


def test_an_items_units_are_read_by_rows() -> None:
    """Proves that an item's unit and weight unit are the contract's, by the rows of now."""
    adapter = Adapter.load("crossdock_adapters.legacy_table")
    values = {
        "number": "SKU-1", "change": 1, "description": "Lamp", "status": "A", "unit": "PCE",
        "weight": None, "weight_unit": None,
    }  # fmt: skip
    units = ErpUnits({}, adapter.mappings, adapter.name)
    with pytest.raises(Unreadable, match="PCE"):
        erp_items.item_entry(values, "erp", units)
    said = Told(Topic.UNIT, Code("", "PCE"), Meaning("EA"), True)
    adapter.mappings.replace([*adapter.mappings.of_file(), said])
    entry = erp_items.item_entry(values, "erp", units)
    assert (entry.item.base_unit, entry.item.status) == ("EA", item_pb2.ITEM_STATUS_ACTIVE)


def test_a_table_that_nobody_reads_is_told() -> None:
    """Proves that a deployment whose file still says what statuses of items mean, which are rows of
    the mapping service, does not start without knowing it."""
    row = 'A = { word = "ACTIVE", meaning = "may be ordered", source = "the list" }'
    with pytest.raises(ValueError, match=r"\[statuses\] is no table of it.*map set"):
        translate.answers_table(f"[statuses]\n{row}\n", "answers.toml")
