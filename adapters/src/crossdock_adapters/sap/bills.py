"""Freight bills as supplier invoices: booked once, found by the carrier's number, cancelled.

Each may be repeated, as an operation of class searchable has to be. Nothing asks to cancel one yet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any, Final

from crossdock_adapters.sap import odata
from crossdock_adapters.sap.answers import INVOICE_CODES
from crossdock_adapters.sap.client import RecordMissing, SapClient, Stale
from crossdock_adapters.sdk.outcomes import (
    Confirmed,
    NeedsPerson,
    NotFound,
    OutcomeUnknown,
    Reference,
    Reject,
    Untranslatable,
)

INVOICES: Final = "API_SUPPLIERINVOICE_PROCESS_SRV"
INVOICE: Final = "A_SupplierInvoice"
# SupplierInvoiceIDByInvcgParty: SAP writes it in capitals, and has no room for more.
MAX_CARRIER_NUMBER: Final = 16
MAX_TEXT: Final = 25
STATUS: Final = "SupplierInvoiceStatus"
DEBIT, CREDIT = "S", "H"


@dataclass(frozen=True, slots=True)
class BillLine:
    """One posting of a bill: an account of the general ledger, net, with its cost centre.

    An amount below nothing is a discount, which is posted as a credit.
    """

    account: str
    amount: Decimal
    cost_centre: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True)
class Bill:
    """A carrier's bill. number: the carrier's. supplier: the carrier in SAP. gross: tax included.

    tax_code: SAP calculates the tax by it and checks gross; "" where there is none.
    """

    number: str
    supplier: str
    company: str
    bill_day: date
    posting_day: date
    currency: str
    gross: Decimal
    lines: tuple[BillLine, ...]
    tax_code: str = ""
    credit: bool = False
    text: str = ""


def carrier_number(bill: Bill) -> str:
    """The carrier's number as SAP keeps it. Untranslatable: it does not fit."""
    number = bill.number.strip().upper()
    if not 0 < len(number) <= MAX_CARRIER_NUMBER:
        raise Untranslatable(
            f"bill number {bill.number!r} has to have 1 to {MAX_CARRIER_NUMBER} characters in SAP"
        )
    return number


def invoice(bill: Bill) -> dict[str, Any]:
    """The deep create. Untranslatable: the lines do not add up to the bill."""
    net = sum((line.amount for line in bill.lines), Decimal(0))
    if not bill.lines or bill.gross <= 0 or not all(line.amount for line in bill.lines):
        raise Untranslatable("a bill has lines of some amount, and is above zero in all")
    if not bill.tax_code and net != bill.gross:
        raise Untranslatable(f"the lines add up to {net:f}, the bill without tax to {bill.gross:f}")
    return {
        "CompanyCode": bill.company,
        "DocumentDate": odata.day(bill.bill_day),
        "PostingDate": odata.day(bill.posting_day),
        "InvoicingParty": bill.supplier,
        "SupplierInvoiceIDByInvcgParty": carrier_number(bill),
        "DocumentCurrency": bill.currency,
        "InvoiceGrossAmount": odata.decimal_text(bill.gross),
        "TaxIsCalculatedAutomatically": bool(bill.tax_code),
        "SupplierInvoiceIsCreditMemo": "X" if bill.credit else "",
        "DocumentHeaderText": bill.text[:MAX_TEXT],
        "to_SupplierInvoiceItemGLAcct": {
            "results": [_line(bill, number, line) for number, line in enumerate(bill.lines, 1)]
        },
    }


def _line(bill: Bill, number: int, line: BillLine) -> dict[str, Any]:
    return {
        "SupplierInvoiceItem": f"{number:04d}",
        "CompanyCode": bill.company,
        "GLAccount": line.account,
        "CostCenter": line.cost_centre,
        "DebitCreditCode": DEBIT if line.amount > 0 else CREDIT,
        "DocumentCurrency": bill.currency,
        "SupplierInvoiceItemAmount": odata.decimal_text(abs(line.amount)),
        "SupplierInvoiceItemText": line.text[:50],
        "TaxCode": bill.tax_code,
    }


async def book(vendor: SapClient, bill: Bill) -> Confirmed:
    """Book the bill unless SAP has it: its own check of duplicates is a switch of each supplier."""
    body = invoice(bill)
    found = await find(vendor, bill)
    if isinstance(found, Confirmed):
        return found
    try:
        reply = await vendor.create(INVOICES, INVOICE, body)
    except (Stale, RecordMissing) as odd:
        raise NeedsPerson(f"SAP answered a create with {odd}") from odd
    content = reply.content if isinstance(reply.content, Mapping) else {}
    if not content.get("SupplierInvoice"):
        raise OutcomeUnknown("SAP booked a supplier invoice and did not say its number")
    return Confirmed([_reference(content)], note="; ".join(map(str, reply.messages)))


async def find(vendor: SapClient, bill: Bill) -> Confirmed | NotFound:
    """Look for the bill by the carrier and its number; what was cancelled or deleted is not there.

    One of another amount, currency or company under the same number is for a person: it is another
    bill, or a typo. So is a credit memo for an invoice, and what somebody parked and did not post.
    """
    held = await _invoices(vendor, bill)
    if not held:
        return NotFound(f"SAP knows no bill {carrier_number(bill)} of {bill.supplier}")
    for row in held:
        for what, same in (
            ("amount", odata.number(row.get("InvoiceGrossAmount", "0")) == bill.gross),
            ("currency", row.get("DocumentCurrency") == bill.currency),
            ("company", row.get("CompanyCode") == bill.company),
            ("kind", bool(row.get("SupplierInvoiceIsCreditMemo")) == bill.credit),
        ):
            if not same:
                found = _reference(row).value
                raise NeedsPerson(f"SAP has {found} under this number, of other {what}")
        status = odata.said(row, STATUS)
        # SAP may leave it unsaid.
        if status and vendor.answers.word(INVOICE_CODES, status) != "posted":
            found = _reference(row).value
            raise NeedsPerson(f"SAP has {found} under this number, which is not posted: {status}")
    duplicates = [_reference(row) for row in held[1:]]
    return Confirmed([_reference(held[0])], duplicates=duplicates, note="found by its number")


async def cancel(vendor: SapClient, bill: Bill, reason: str, day: date) -> Confirmed:
    """Cancel what is booked of the bill; nothing is there: nothing to do."""
    references = []
    for row in await _invoices(vendor, bill):
        number, year = str(row["SupplierInvoice"]), str(row["FiscalYear"])
        reply = await vendor.call(
            INVOICES,
            "Cancel",
            {
                "SupplierInvoice": odata.text(number),
                "FiscalYear": odata.text(year),
                "ReversalReason": odata.text(reason),
                "PostingDate": f"datetime'{day.isoformat()}T00:00:00'",
            },
            "",
        )
        answer = reply.content[0] if reply.content else {}
        if not answer.get("Success"):
            failure = vendor.failure(reply.messages, effect=True)
            raise failure or Reject("not_cancelled", f"SAP did not cancel {number}/{year}")
        value = f"{answer.get('ReverseDocument')}/{answer.get('FiscalYear')}"
        references.append(Reference("cancelling_invoice", value))
    return Confirmed(references, note="" if references else "nothing is booked: nothing to cancel")


async def _invoices(vendor: SapClient, bill: Bill) -> Sequence[Mapping[str, Any]]:
    number = carrier_number(bill)
    rows = await vendor.query(
        INVOICES,
        INVOICE,
        {
            "$filter": f"{odata.equals('SupplierInvoiceIDByInvcgParty', number)} and "
            f"{odata.equals('InvoicingParty', bill.supplier)}",
            "$orderby": "FiscalYear,SupplierInvoice",
        },
    )
    return [
        row
        for row in rows
        if str(row.get("SupplierInvoiceIDByInvcgParty", "")).upper() == number
        and not row.get("ReverseDocument")
        and vendor.answers.word(INVOICE_CODES, odata.said(row, STATUS)) != "deleted"
    ]


def _reference(row: Mapping[str, Any]) -> Reference:
    return Reference("supplier_invoice", f"{row.get('SupplierInvoice')}/{row.get('FiscalYear')}")
