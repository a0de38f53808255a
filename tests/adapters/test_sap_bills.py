"""Freight bills and customer returns at the simulated tenant: once, whatever gets lost."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
import pytest_asyncio
from crossdock_adapters.sap import bills, returns
from crossdock_adapters.sap.bills import Bill, BillLine
from crossdock_adapters.sap.returns import CustomerReturn, ReturnLine
from crossdock_adapters.sdk import exchange
from crossdock_adapters.sdk.outcomes import (
    Confirmed,
    NeedsPerson,
    NotFound,
    OutcomeUnknown,
    Reject,
    Untranslatable,
)
from sap_world import Desk, approved, running

BILL = Bill(
    number="inv-2026/0815",
    supplier="CARRIER-1",
    company="1010",
    bill_day=date(2026, 3, 5),
    posting_day=date(2026, 3, 9),
    currency="USD",
    gross=Decimal("118.40"),
    lines=(
        BillLine("65100000", Decimal("100.00"), "10101101", "Linehaul"),
        BillLine("65100000", Decimal("18.40"), "10101101", "Fuel surcharge"),
    ),
)


@pytest_asyncio.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with running(tmp_path) as found:
        with exchange.recording():
            yield found


async def test_a_bill_is_booked_once_and_found_in_capitals(desk: Desk) -> None:
    """Proves that the carrier's number finds it as SAP writes it, and that nothing is doubled."""
    assert isinstance(await bills.find(desk.vendor, BILL), NotFound)
    booked = await bills.book(desk.vendor, BILL)
    (held,) = desk.sandbox.books()["supplier_invoices"]
    assert held["SupplierInvoiceIDByInvcgParty"] == "INV-2026/0815"
    assert booked.references[0].value == f"{held['SupplierInvoice']}/2026"
    again = await bills.book(desk.vendor, BILL)
    assert again.references == booked.references
    assert desk.calls("book_invoice") == 1


async def test_a_bill_whose_answer_was_lost_is_found(desk: Desk) -> None:
    """Proves that a lost answer is unknown, and that the look-up adopts what was booked."""
    desk.fault("reply_lost", operation="book_invoice", count=1)
    with pytest.raises(OutcomeUnknown):
        await bills.book(desk.vendor, BILL)
    found = await bills.find(desk.vendor, BILL)
    assert isinstance(found, Confirmed)
    assert len(desk.sandbox.books()["supplier_invoices"]) == 1


async def test_a_cancelled_bill_may_be_booked_again(desk: Desk) -> None:
    """Proves that a cancellation is done once, and that what is cancelled is not found."""
    await bills.book(desk.vendor, BILL)
    day = date(2026, 3, 10)
    cancelled = await bills.cancel(desk.vendor, BILL, "01", day)
    assert cancelled.references[0].type == "cancelling_invoice"
    nothing = await bills.cancel(desk.vendor, BILL, "01", day)
    assert "nothing to cancel" in nothing.note
    await bills.book(desk.vendor, BILL)
    assert len(desk.sandbox.books()["supplier_invoices"]) == 2


async def test_another_amount_under_the_same_number_is_for_a_person(desk: Desk) -> None:
    """Proves that a corrected bill is neither adopted nor booked beside the first."""
    await bills.book(desk.vendor, BILL)
    other = replace(BILL, gross=Decimal("100"), lines=BILL.lines[:1])
    with pytest.raises(NeedsPerson, match="of other amount"):
        await bills.book(desk.vendor, other)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"SupplierInvoiceStatus": "A"}, "which is not posted: A"),
        ({"SupplierInvoiceStatus": "Q"}, "which is not posted: Q"),
        ({"SupplierInvoiceIsCreditMemo": "X"}, "of other kind"),
    ],
)
async def test_what_is_no_posted_invoice_is_for_a_person(
    desk: Desk, fields: dict[str, str], said: str
) -> None:
    """Proves that what somebody parked, or credited under the number, is not taken for the bill."""
    await bills.book(desk.vendor, BILL)
    desk.sandbox._bills.invoices[0].update(fields)
    with pytest.raises(NeedsPerson, match=said):
        await bills.book(desk.vendor, BILL)
    assert desk.calls("book_invoice") == 1


async def test_a_deleted_invoice_is_not_there(desk: Desk) -> None:
    """Proves that a parked invoice that somebody deleted does not stand for the bill."""
    await bills.book(desk.vendor, BILL)
    desk.sandbox._bills.invoices[0]["SupplierInvoiceStatus"] = "2"
    assert isinstance(await bills.find(desk.vendor, BILL), NotFound)


async def test_a_bill_that_cannot_be_said_is_not_sent(desk: Desk) -> None:
    """Proves that long numbers and sums that do not agree never reach SAP, nor a closed period."""
    with pytest.raises(Untranslatable, match="1 to 16 characters"):
        await bills.book(desk.vendor, replace(BILL, number="INVOICE-2026-0000815"))
    with pytest.raises(Untranslatable, match="add up to"):
        await bills.book(desk.vendor, replace(BILL, gross=Decimal("118.41")))
    assert desk.sandbox.calls == []
    await desk.command("close_period", through="2026-03-31")
    with pytest.raises(NeedsPerson, match="posting period is closed"):
        await bills.book(desk.vendor, BILL)


async def test_a_return_is_opened_once(desk: Desk) -> None:
    """Proves that a return refers to its sales order and is found by its number: one, not two."""
    booked = await desk.do("create_sales_order", approved({}))
    wanted = CustomerReturn(
        number="RMA-1",
        return_type="CBAR",
        sales_area=("1010", "10", "00"),
        sold_to="CUST-1003",
        sales_order=booked.references[0].value,
        order_reason="101",
        lines=(ReturnLine(10, "SKU-1001", Decimal(1), "EA", "001", "0001"),),
    )
    desk.fault("error_after", operation="open_return", count=1)
    with pytest.raises(OutcomeUnknown):
        await returns.open_return(desk.vendor, wanted)
    opened = await returns.open_return(desk.vendor, wanted)
    (held,) = desk.sandbox.books()["customer_returns"]
    assert [(each.type, each.value) for each in opened.references] == [
        ("customer_return", held["CustomerReturn"])
    ]
    more = replace(wanted, number="RMA-2", lines=(replace(wanted.lines[0], quantity=Decimal(9)),))
    with pytest.raises(Reject, match="More comes back"):
        await returns.open_return(desk.vendor, more)
    serials = replace(wanted.lines[0], serial_numbers=("SN-1", "SN-2"))
    with pytest.raises(Untranslatable, match="2 serial numbers, and 1 come back"):
        await returns.open_return(desk.vendor, replace(wanted, lines=(serials,)))
