"""A finalised freight charge at the simulated tenant: one supplier invoice, whatever gets lost."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import pytest_asyncio
from crossdock.freight.v1 import freight_events_pb2, freight_pb2
from crossdock_adapters.sap import conformance, translate_freight
from crossdock_adapters.sap.bills import BillLine
from crossdock_adapters.sap.translate_freight import FreightRules
from crossdock_adapters.sdk.outcomes import (
    Confirmed,
    NeedsPerson,
    NotFound,
    OutcomeUnknown,
    Untranslatable,
)
from google.protobuf.timestamp_pb2 import Timestamp
from sap_world import Desk, running

OPERATION = "post_freight_charge"
RULES = FreightRules(
    zone=ZoneInfo("America/New_York"),
    companies={"EAST": "1010", "*": "2020"},
    suppliers={"*": "FREIGHT-*"},
    accounts={"freight": "65100000", "FUE": "65200000"},
    cost_centres={"*": "10101101"},
)
FINALISED = Timestamp()
FINALISED.FromJsonString("2026-03-10T03:00:05Z")


@pytest_asyncio.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with running(tmp_path) as found:
        yield found


def event(**changes: Any) -> freight_events_pb2.FreightChargeFinalised:
    """The charge of the conformance kit. changes: audited amount, number."""
    made: Any = conformance.finalised({})
    if "amount" in changes:
        made.freight_charge.audit.amount.amount = changes["amount"]
        del made.freight_charge.audit.lines[:]
    if "number" in changes:
        made.freight_charge.invoice.number = changes["number"]
    found: freight_events_pb2.FreightChargeFinalised = made
    return found


def held(desk: Desk) -> list[dict[str, Any]]:
    return list(desk.sandbox.books()["supplier_invoices"])


def posted(booked: dict[str, Any]) -> list[tuple[str, str, Decimal]]:
    """Account, side and amount of each line."""
    return [
        (
            each["GLAccount"],
            each["DebitCreditCode"],
            Decimal(each["SupplierInvoiceItemAmount"]),
        )
        for each in booked["lines"]
    ]


async def test_a_charge_is_one_supplier_invoice(desk: Desk) -> None:
    """Proves what is booked: supplier, company, days, charges as debit and discounts as credit;
    that a repeat books nothing; and that the number goes to the charge."""
    done = await desk.do(OPERATION, event())
    (booked,) = held(desk)
    assert booked["SupplierInvoiceIDByInvcgParty"] == "INV-77-1"
    assert (booked["InvoicingParty"], booked["CompanyCode"]) == ("CARRIER-LTL", "1010")
    # Three in the morning UTC is the day before in the company's zone.
    assert (booked["DocumentDate"], booked["PostingDate"]) == (date(2026, 3, 5), date(2026, 3, 9))
    assert booked["InvoiceGrossAmount"] == Decimal("512.40")
    assert posted(booked) == [
        ("65100000", "S", Decimal("462.40")),
        ("65200000", "S", Decimal("70.00")),
        ("65200000", "H", Decimal("20.00")),
    ]
    number = f"{booked['SupplierInvoice']}/2026"
    assert [(each.type, each.value) for each in done.references] == [("supplier_invoice", number)]
    (fact,) = done.facts
    assert fact.freight_charge.id == conformance.CHARGE_ID
    assert fact.freight_charge.vendor_bill == number
    assert list(fact.update_mask.paths) == ["vendor_bill"]
    again = await desk.do(OPERATION, event())
    assert again.references == done.references and again.facts == done.facts
    assert desk.calls("book_invoice") == 1


async def test_a_charge_whose_answer_was_lost_is_found(desk: Desk) -> None:
    """Proves that the look-up adopts what was booked with its fact, and finds nothing before."""
    assert isinstance(await desk.look_up(OPERATION, event()), NotFound)
    desk.fault("reply_lost", operation="book_invoice", count=1)
    with pytest.raises(OutcomeUnknown):
        await desk.do(OPERATION, event())
    found = await desk.look_up(OPERATION, event())
    assert isinstance(found, Confirmed)
    assert found.facts[0].freight_charge.vendor_bill == found.references[0].value  # type: ignore[attr-defined]
    assert len(held(desk)) == 1


@pytest.mark.parametrize(
    ("what", "changed"),
    [
        ("amount", {"InvoiceGrossAmount": Decimal("1.00")}),
        ("currency", {"DocumentCurrency": "CAD"}),
        ("company", {"CompanyCode": "2020"}),
    ],
)
async def test_another_bill_under_the_same_number_is_for_a_person(
    desk: Desk, what: str, changed: dict[str, Any]
) -> None:
    """Proves that a bill which differs in anything that is money is neither adopted nor doubled."""
    await desk.do(OPERATION, event())
    held(desk)[0].update(changed)
    for attempt in (desk.do, desk.look_up):
        with pytest.raises(NeedsPerson, match=f"under this number, of other {what}"):
            await attempt(OPERATION, event())
    assert len(held(desk)) == 1


async def test_less_than_invoiced_is_posted_as_freight(desk: Desk) -> None:
    """Proves that an audit which cut the invoice is booked with its own amount: the invoice's
    charges do not add up to it any more."""
    await desk.do(OPERATION, event(amount="500.00"))
    (booked,) = held(desk)
    assert booked["InvoiceGrossAmount"] == Decimal("500.00")
    assert posted(booked) == [("65100000", "S", Decimal("500.00"))]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"amount": "-20.00"}, "a person books credits"),
        ({"amount": "0"}, "a person books credits"),
        ({"number": "INVOICE-2026-0000815"}, "1 to 16 characters"),
    ],
)
async def test_what_sap_cannot_be_told_is_not_sent(
    desk: Desk, changes: dict[str, str], words: str
) -> None:
    """Proves that credits and numbers that do not fit park with the reason, and reach SAP never."""
    with pytest.raises(Untranslatable, match=words):
        await desk.do(OPERATION, event(**changes))
    assert desk.sandbox.calls == []


def test_settings_decide_where_it_is_posted() -> None:
    """Proves own entries, the "*" of each setting, and that a code without an entry says so."""
    charge = conformance.charge()
    charge.audit.lines.pop()
    charge.audit.amount.amount = "532.40"
    bill = translate_freight.bill_of(charge, FINALISED, RULES)
    assert (bill.company, bill.supplier, bill.text) == ("1010", "FREIGHT-LTL", "500000001")
    assert bill.lines == (
        BillLine("65100000", Decimal("462.40"), "10101101", "freight"),
        BillLine("65200000", Decimal("70.00"), "10101101", "FUE"),
    )
    charge.business_unit = "WEST"
    assert translate_freight.bill_of(charge, FINALISED, RULES).company == "2020"
    charge.audit.lines.add(code="DSC").amount.amount = "-20.00"
    charge.audit.amount.amount = "512.40"
    with pytest.raises(Untranslatable, match="'DSC' has no entry in the setting freight_accounts"):
        translate_freight.bill_of(charge, FINALISED, RULES)


def test_a_charge_of_nothing_is_no_posting() -> None:
    """Proves that a charge that was waived is left out, because SAP posts no amount of nothing."""
    charge = conformance.charge()
    line = freight_pb2.FreightChargeLine(code="FUE")
    line.amount.amount, line.amount.currency = "0.00", "USD"
    charge.audit.lines.append(line)
    rules = FreightRules(RULES.zone, RULES.companies, RULES.suppliers, {"*": "65100000"})
    bill = translate_freight.bill_of(charge, FINALISED, rules)
    assert [each.amount for each in bill.lines] == [
        Decimal("462.40"),
        Decimal("70.00"),
        Decimal("-20.00"),
    ]
