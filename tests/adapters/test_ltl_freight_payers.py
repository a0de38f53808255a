"""LTL freight and who pays for it: the shipper, the consignee, or a third party."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from crossdock_adapters.ltl_freight import adapter, conformance, payer, translate, translate_tender
from crossdock_adapters.ltl_freight.translate import BolRules
from crossdock_adapters.ltl_freight.translate_tender import TenderRules
from crossdock_adapters.sdk.settings import SettingsError
from crossdock_adapters.sdk.x12.segments import USUAL
from ltl_freight_world import running
from test_ltl_freight_translate import RULES, bill

PARENT = {
    "name": "Parent Holdings",
    "line": "9 Ledger Lane",
    "city": "Boise",
    "state": "ID",
    "postal_code": "83702",
    "phone": "208-555-0142",
}


def billed(rules: BolRules) -> dict[str, Any]:
    """Who is billed by a bill of lading of these rules, and its ends."""
    said = bill(conformance.shipment(), rules)
    return {"payer": said["billTo"], "from": said["origin"], "to": said["destination"]}


def test_the_bill_goes_to_whom_the_terms_name() -> None:
    """Proves that by Prepaid the shipper is billed by our account, by Collect the consignee and not
    by our account, and by Third Party whoever the deployment names, who may also pay for Prepaid:
    a headquarters, for example."""
    told = billed(RULES)
    assert told["payer"] == {**told["from"], "account": "NW-1001"}
    told = billed(replace(RULES, terms="Collect"))
    assert told["payer"] == told["to"] and "account" not in told["payer"]
    for terms in ("Third Party", "Prepaid"):
        told = billed(replace(RULES, terms=terms, payer=payer.named(PARENT)))
        assert told["payer"] == {
            "name": "Parent Holdings", "address1": "9 Ledger Lane", "city": "Boise",
            "stateProvince": "ID", "postalCode": "83702", "country": "USA",
            "contact": {"name": "", "phone": "2085550142"}, "account": "NW-1001",
        }  # fmt: skip


def test_a_tender_names_the_payer_where_the_deployment_does() -> None:
    """Proves that a load tender has the party that is billed (N1, BT) in front of its stops, and
    none where the terms name it."""
    rules = TenderRules("EXLA", "Third Party", notes=True, payer=payer.named(PARENT))
    shipment = conformance.shipment()
    shipment.service_code = "STANDARD"
    rules = replace(rules, services={"STANDARD": "STANDARD"})
    now = datetime(2026, 3, 5, tzinfo=UTC)

    def parties(rules: TenderRules) -> list[str]:
        made = translate_tender.tender(
            shipment, "REF", "500000001", now, date(2026, 3, 5), rules, USUAL
        )
        found = [each for each in made.body if each.id in ("N1", "S5")]
        return [each.text(1) for each in found]

    assert parties(rules) == ["BT", "1", "SF", "2", "ST"]
    assert parties(replace(rules, terms="Collect", payer=None)) == ["1", "SF", "2", "ST"]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"terms": "Third Party"}, "say who pays in bill_to, by name, line, city"),
        ({"terms": "Third Party", "bill_to": {**PARENT, "city": " "}}, "bill_to lacks city"),
        ({"bill_to": {**PARENT, "street": "9"}}, "street is none of name, line"),
        ({"bill_to": {**PARENT, "country": "DE"}}, "country is none of US, CA, MX"),
        ({"terms": "Collect", "bill_to": PARENT}, "the consignee pays: leave bill_to"),
    ],
)
async def test_a_payer_that_nobody_could_bill_is_told_at_the_start(
    tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    """Proves that terms without their payer, and a payer that is not whole, are no shipments of a
    wrong one."""
    with pytest.raises(SettingsError, match=told):
        async with running(tmp_path, **changes):
            pass


async def test_the_setting_is_what_is_said(tmp_path: Path) -> None:
    """Proves that both ways of booking take their payer from bill_to."""
    async with running(tmp_path, terms="Third Party", bill_to=PARENT) as world:
        rules = adapter.bol_rules(world.settings), adapter.tender_rules(world.settings)
        assert [each.payer for each in rules] == [payer.named(PARENT)] * 2
        assert rules[0].terms == rules[1].terms == "Third Party"


@pytest.mark.parametrize(
    ("types", "palletized"), [(["PALLET", "SKID"], True), (["PALLET", "CRATE"], False)]
)
def test_what_stands_on_no_pallet_is_not_palletized(types: list[str], palletized: bool) -> None:
    """Proves that a purchase order is called palletized only where all of it is."""
    shipment = conformance.shipment()
    shipment.packages.add().CopyFrom(shipment.packages[0])
    for package, type_ in zip(shipment.packages, types, strict=True):
        package.container_type = type_
    rules = replace(RULES, package_types={type_: type_ for type_ in types})
    (order,) = translate.bill_of_lading(shipment, "5", "REF", date(2026, 3, 5), rules)[
        "referenceNumbers"
    ]["po"]
    assert order["palletized"] is palletized
