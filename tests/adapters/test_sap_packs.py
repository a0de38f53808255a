"""What SAP says of a product's alternative units, as unit conversions of the item."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytest_asyncio
from crossdock import contracts
from crossdock.quantities import UNITS, conversion
from crossdock.unit.v1 import unit_service_pb2
from crossdock_adapters.sap import adapter, conformance, inbound, packs, sandbox_master_data
from crossdock_adapters.sap.adapter import ADAPTER
from crossdock_adapters.sdk.mappings import Code, Meaning, Told, Topic, UnreadCodes
from crossdock_adapters.sdk.outcomes import NeedsPerson
from crossdock_adapters.sdk.places import Unreadable
from crossdock_adapters.sdk.work import HeldPayload
from hypothesis import given
from hypothesis import strategies as st
from sap_world import Desk, running
from test_sap_inbound import Notebook

ITEM, OTHER = "SKU-1001", "SKU-1002"
PLACE = "/to_ProductUnitsOfMeasure/results"
WORDS = {"EA": "EA", "CV": "CS", "KI": "CS", "PAL": "PF", "ST": "EA", "PAA": "PR", "DZ": "DZN",
         "KG": "KGM", "G": "GRM", "LB": "LBR", "M": "MTR"}  # fmt: skip
counts = st.integers(min_value=1, max_value=99_999)


class Books(Notebook):
    """A hub that keeps unit conversions, too, and refuses those of `refused` numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[list[str]] = []
        self.refused: set[str] = set()
        self.units = SimpleNamespace(UpsertUnitConversions=self._conversions)

    def said(self) -> dict[str, str]:
        """What is in one of each unit by the number of its conversion."""
        return {
            number: str(Fraction(each.numerator) / Fraction(each.denominator))
            for number, each in self.entries.items()
            if number.count(":") == 2
        }

    async def _conversions(self, request: Any) -> Any:
        self.asked.append([each.unit_conversion.number for each in request.entries])
        answer = unit_service_pb2.UpsertUnitConversionsResponse()
        for entry in request.entries:
            result = answer.results.add()
            if entry.unit_conversion.number in self.refused:
                result.refusal.reason, result.refusal.message = "INVALID_FIELD", "does not agree"
                continue
            self.entries[entry.unit_conversion.number] = entry.unit_conversion
            self.request_ids.add(entry.request_id)
        return answer


@pytest_asyncio.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with running(tmp_path) as found:
        yield found


async def packed(desk: Desk, item: str, **units: Sequence[Any]) -> None:
    """Somebody in SAP says what all alternative units of a product are, or changes it."""
    await desk.command("change", kind="Product", key=item, fields={"packs": units})


async def pull(desk: Desk, hub: Notebook) -> None:
    await adapter.pull_changes(hub.poll(desk), desk.vendor)


def product(base: str, *units: Mapping[str, Any] | tuple[str, Any, Any]) -> dict[str, Any]:
    rows = [
        {"AlternativeUnit": each[0], "QuantityNumerator": each[1], "QuantityDenominator": each[2]}
        if isinstance(each, tuple)
        else each
        for each in units
    ]
    return {"Product": ITEM, "BaseUnit": base, packs.NAVIGATION: {"results": rows}}


def read(document: Mapping[str, Any]) -> packs.Packs:
    return packs.packs_of(document, "etag", "sap", lambda code: WORDS.get(code, ""))


def ratios(found: packs.Packs) -> dict[str, Fraction]:
    """How much one unit is by the number of its conversion."""
    conversions = [entry.unit_conversion for entry in found.entries]
    return {each.number: Fraction(each.numerator) / Fraction(each.denominator)
            for each in conversions}  # fmt: skip


async def test_a_round_tells_the_packs_of_a_product(desk: Desk) -> None:
    """Proves that so many of the base unit are told for one of each alternative one, also where it
    is no whole number, in one request, and the same of what an event tells."""
    await packed(desk, ITEM, CV=["12", "1"], PAL=["480", "1"], KG=["4", "5"])
    hub = Books()
    await pull(desk, hub)
    said = {f"{ITEM}:CS:EA": "12", f"{ITEM}:PF:EA": "480", f"{ITEM}:KGM:EA": "4/5"}
    assert hub.said() == said
    assert (hub.asked, hub.held) == ([list(said)], [])
    told = hub.entries[f"{ITEM}:CS:EA"]
    assert (told.item_number, told.from_unit, told.to_unit) == (ITEM, "CS", "EA")
    heard = Books()
    event = conformance.happened("Product", ITEM)
    await adapter.receive_event(heard.hook(desk, event), desk.vendor)
    assert (heard.said(), heard.held) == (said, [])


async def test_the_same_packs_are_the_same_facts_and_others_are_not(desk: Desk) -> None:
    """Proves that a repeat has the ids that it had, that a pack that changed and one that is as it
    was before have new ones, and that one that SAP has no more is told no more."""
    ids: list[set[str]] = []
    hub = Books()
    for size in ("12", "12", "10", "12"):
        await packed(desk, ITEM, CV=[size, "1"], PAL=["480", "1"])
        hub.request_ids.clear()
        await pull(desk, hub)
        assert hub.said()[f"{ITEM}:CS:EA"] == size
        ids.append(set(hub.request_ids))
    # Of the item and its two packs.
    assert [len(each - ids[0]) for each in ids] == [0, 0, 3, 3]
    assert len(ids[3] - ids[2]) == 3
    await packed(desk, ITEM, CV=["12", "1"])
    await pull(desk, hub)
    assert hub.asked[-1] == [f"{ITEM}:CS:EA"]


async def test_packs_of_what_was_read_before_are_told(tmp_path: Path) -> None:
    """Proves that a cursor of a version that read no packs is no reason never to tell those of what
    has not changed since, and that all is read anew once only, also where it was half read."""
    async with running(tmp_path, changes_overlap_seconds=60) as desk:
        await packed(desk, ITEM, CV=["12", "1"])
        desk.sandbox._master._rows["Product"][ITEM]["LastChangeDateTime"] = sandbox_master_data.MADE
        hub = Books()
        await pull(desk, hub)
        known = json.loads(hub.cursor)
        assert known.pop("Product expand") == inbound.KINDS["Product"].expand
        for more in ({}, {"Product begun": known["Product"], "Product after": OTHER}):
            hub.cursor, hub.asked = json.dumps(known | more).encode(), []
            await pull(desk, hub)
            assert hub.asked == [[f"{ITEM}:CS:EA"]]
        await pull(desk, hub)
        assert hub.asked == [[f"{ITEM}:CS:EA"]]


async def test_a_unit_without_a_row_stops_nothing_else(desk: Desk) -> None:
    """Proves that the item and its other packs are told, that the product waits for the codes, and
    that it is read again once one has a row, as it is then."""
    await packed(desk, ITEM, CV=["12", "1"], ZB1=["6", "1"], ZB2=["3", "1"])
    hub = Books()
    await pull(desk, hub)
    assert ITEM in hub.entries and hub.said() == {f"{ITEM}:CS:EA": "12"}
    ((payload, reason, _),) = hub.held
    assert f"{PLACE}/2/AlternativeUnit: unit 'ZB1' has no row" in reason
    assert f"{PLACE}/3/AlternativeUnit: unit 'ZB2' has no row" in reason
    assert hub.codes == [UnreadCodes(Topic.UNIT, (Code("", "ZB1"), Code("", "ZB2")))]
    assert json.loads(payload) == {"kind": "Product", "key": ITEM}
    await packed(desk, ITEM, CV=["12", "1"], ZB1=["8", "1"], ZB2=["3", "1"])
    before = list(ADAPTER.mappings.told().values())
    row = Told(Topic.UNIT, Code("", "ZB1"), Meaning("BX"), True)
    ADAPTER.mappings.replace([*before, row])
    try:
        held = HeldPayload("1", "poll:changes", payload, "application/json", asked=True)
        await adapter.tell_held(hub.poll(desk), held, desk.vendor)
    finally:
        ADAPTER.mappings.replace(before)
    assert hub.said() == {f"{ITEM}:CS:EA": "12", f"{ITEM}:BX:EA": "8"}
    assert hub.codes[1:] == [UnreadCodes(Topic.UNIT, (Code("", "ZB2"),))]


async def test_a_pack_that_the_hub_refuses_is_seen(desk: Desk) -> None:
    """Proves that a person reads which pack was refused and why, and that the others are told."""
    await packed(desk, ITEM, CV=["12", "1"], PAL=["480", "1"])
    await packed(desk, OTHER, CV=["6", "1"])
    hub = Books()
    hub.refused = {f"{ITEM}:PF:EA"}
    await pull(desk, hub)
    assert hub.said() == {f"{ITEM}:CS:EA": "12", f"{OTHER}:CS:EA": "6"}
    ((payload, reason, _),) = hub.held
    assert reason == f"Product {ITEM}: {ITEM}:PF:EA: does not agree"
    assert json.loads(payload)["key"] == ITEM and hub.codes == [None]


@pytest.mark.parametrize("name", ["QuantityNumerator", "QuantityDenominator"])
@pytest.mark.parametrize("value", ["0", "-12", "", None, "twelve", "1.5", "1E+20", "NaN", []])
def test_a_rate_that_is_none_is_told_by_its_place(name: str, value: Any) -> None:
    """Proves that of a unit whose numbers make no rate nothing is told, with the place, and that
    the next unit is."""
    wrong = {"AlternativeUnit": "CV", "QuantityNumerator": "12", "QuantityDenominator": "1"}
    found = read(product("EA", wrong | {name: value}, ("PAL", "480", "1")))
    assert ratios(found) == {f"{ITEM}:PF:EA": 480}
    (problem,) = found.unread
    assert problem.place == f"{PLACE}/0/{name}"
    assert "no whole number greater than zero" in problem.problem and found.codes is None


def test_a_unit_without_a_code_is_told_by_its_place() -> None:
    """Proves that a row that names no unit stops no other, and that what is no list is no rows."""
    found = read(product("EA", {"QuantityNumerator": "1"}, ("CV", "12", "1")))
    assert ratios(found) == {f"{ITEM}:CS:EA": 12}
    assert [each.place for each in found.unread] == [f"{PLACE}/0/AlternativeUnit"]
    with pytest.raises(Unreadable, match="/to_ProductUnitsOfMeasure: is no list of units"):
        read({"Product": ITEM, "BaseUnit": "EA", packs.NAVIGATION: {"results": ["CV"]}})


@pytest.mark.parametrize("listed", [None, {"__deferred": {"uri": "…"}}, {"results": []}])
def test_what_is_not_said_is_not_told(listed: Any) -> None:
    """Proves that a product without its units beside it says nothing of them."""
    found = read({"Product": ITEM, "BaseUnit": "EA", packs.NAVIGATION: listed})
    assert (list(found.entries), list(found.unread)) == ([], [])


def test_the_base_unit_is_no_pack() -> None:
    """Proves that the base unit's own row, and another code for it that says the same, are told as
    nothing, and that one that says another quantity is not taken for it."""
    found = read(product("EA", ("EA", "1", "1"), ("ST", "1", "1")))
    assert (list(found.entries), list(found.unread)) == ([], [])
    (problem,) = read(product("EA", ("EA", "1", "1"), ("ST", "10", "1"))).unread
    assert "several of its units mean EA, which would be 1 EA and 10 EA" in problem.problem


def test_two_codes_for_one_unit_have_to_say_the_same() -> None:
    """Proves that of two codes that mean a case neither is guessed where they hold other numbers,
    and that nothing else waits for that."""
    found = read(product("EA", ("CV", "12", "1"), ("KI", "6", "1"), ("PAL", "480", "1")))
    assert ratios(found) == {f"{ITEM}:PF:EA": 480}
    (problem,) = found.unread
    assert "several of its units mean CS, which would be 12 EA and 6 EA" in problem.problem
    found = read(product("EA", ("CV", "12", "1"), ("KI", "24", "2")))
    assert ratios(found) == {f"{ITEM}:CS:EA": 12} and not found.unread


@pytest.mark.parametrize(("base", "unit", "numerator", "denominator", "is_standard"), [
    ("KG", "G", "1", "1000", True),
    ("KG", "LB", "45000", "99999", False),
    ("KG", "LB", "4536", "10000", True),
    ("KG", "LB", "1000", "2205", True),
    ("G", "LB", "454", "1", True),
    ("KG", "LB", "1", "2", False),
    ("EA", "PAA", "1", "1", False),
    ("EA", "DZ", "10", "1", False),
])  # fmt: skip
def test_rounded_rates_of_standard_units_are_the_standard(
    base: str, unit: str, numerator: str, denominator: str, is_standard: bool
) -> None:
    """Proves that what SAP has no more digits for is told as the table has it, exactly, and that
    what is another quantity is told as SAP says it: a pair of one, a pound of 500 grams."""
    (told,) = ratios(read(product(base, (unit, numerator, denominator)))).values()
    exact = conversion(WORDS[unit], WORDS[base]).ratio
    said = Fraction(int(numerator), int(denominator))
    assert told == (exact if is_standard else said)


@given(numerator=counts, denominator=counts, code=st.sampled_from(["CV", "PAL", "G", "PAA"]))
def test_what_is_told_is_what_sap_says(numerator: int, denominator: int, code: str) -> None:
    """Proves for all numbers that SAP can write that the rate is SAP's, exactly where the table
    does not know the units, and else within half a percent of it."""
    base = "KG" if code == "G" else "EA"
    found = read(product(base, (code, str(numerator), str(denominator))))
    (told,) = ratios(found).values()
    said = Fraction(numerator, denominator)
    assert abs(told / said - 1) <= (Fraction(1, 199) if WORDS[code] in UNITS else 0)


def test_the_mask_has_only_fields_of_the_erp() -> None:
    """Proves that every ERP may write what is told: no field of it is another role's."""
    (entry,) = read(product("EA", ("CV", "12", "1"))).entries
    message = "crossdock.unit.v1.UnitConversion"
    assert list(entry.update_mask.paths) == list(packs.PATHS)
    assert not set(packs.PATHS) & set(contracts.load().foreign_fields(message, "ERP"))


async def test_the_sandbox_knows_its_navigations(desk: Desk) -> None:
    """Proves that units are a link until they are asked for, and what a product has not is refused,
    as by the vendor, instead of being left out."""
    row = desk.sandbox._master._rows["Product"][ITEM]
    assert "__deferred" in sandbox_master_data.shown_product(row, ())[packs.NAVIGATION]
    shown = sandbox_master_data.shown_product(row, (packs.NAVIGATION,))
    (base,) = shown[packs.NAVIGATION]["results"]
    assert (base["AlternativeUnit"], base["QuantityNumerator"]) == ("EA", "1")
    with pytest.raises(NeedsPerson, match="Navigation property to_Packs not found"):
        await desk.vendor.query("API_PRODUCT_SRV", "A_Product", {"$expand": "to_Packs"})
