"""Freight invoices (X12 210) as they come in; pure.

Amounts have implied decimals (N2) and are never rounded. The contract has no freight charges yet:
the adapter checks what a 210 says, acknowledges it, and has the hub hold it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Final

from crossdock_adapters.ltl_freight.pro_numbers import plain
from crossdock_adapters.sdk.x12.envelopes import TransactionSet
from crossdock_adapters.sdk.x12.segments import BAD_CODE, MISSING, Segment

INVOICE_ID: Final = "210"
US_DOLLARS: Final = "USD"
CENTS: Final = 2


@dataclass(frozen=True, slots=True)
class Charge:
    """One line of an invoice. code: of a special charge (fuel, liftgate); "" for the freight."""

    amount: Decimal
    code: str


@dataclass(frozen=True, slots=True)
class Invoice:
    """What a carrier bills. It is known by SCAC and number; another amount under them is a
    correction."""

    scac: str
    number: str
    shipment: str
    pro: str
    day: date
    net: Decimal
    currency: str
    charges: tuple[Charge, ...]

    @property
    def key(self) -> str:
        """By which a second copy of it is known."""
        return f"{self.scac}/{self.number}"

    def told(self) -> str:
        """For people."""
        amount = f"{self.net} {self.currency}"
        return f"freight invoice {self.number} of {self.scac} over {amount} for PRO {self.pro}"


def invoice(found: TransactionSet) -> Invoice:
    """What a 210 says. SegmentError: a part is missing, or the charges do not add up."""
    head = next((each for each in found.body if each.id == "B3"), None)
    if head is None:
        raise found.header.error("has no B3", "3")
    currency = next((each for each in found.body if each.id == "C3"), None)
    net = head.implied(7, CENTS)
    day = head.date(6)
    if net is None or day is None:
        raise head.error("is missing", MISSING, 7 if net is None else 6)
    charges = tuple(_charges(found))
    total = next((each for each in found.body if each.id == "L3"), None)
    _add_up(head, total, net, charges)
    return Invoice(
        scac=head.need(11),
        number=head.need(2),
        shipment=head.text(3),
        pro=_pro(found, head),
        day=day,
        net=net,
        currency=currency.need(1) if currency is not None else US_DOLLARS,
        charges=charges,
    )


def _charges(found: TransactionSet) -> list[Charge]:
    """Each L1 that has an amount (element 4); its special charge code is element 8."""
    listed = []
    for each in found.body:
        if each.id == "L1":
            amount = each.implied(4, CENTS)
            if amount is not None:
                listed.append(Charge(amount, each.text(8)))
    return listed


def _add_up(
    head: Segment, total: Segment | None, net: Decimal, charges: tuple[Charge, ...]
) -> None:
    """The net amount against the total and the lines, where the carrier gives them."""
    said = total.implied(5, CENTS) if total is not None else None
    if total is not None and said is not None and said != net:
        raise total.error("is not the net amount of the invoice", BAD_CODE, 5)
    if charges and sum((each.amount for each in charges), Decimal(0)) != net:
        raise head.error("is not the sum of its charges", BAD_CODE, 7)


def _pro(found: TransactionSet, head: Segment) -> str:
    """The reference that is called the carrier's, else the invoice's number: often the PRO."""
    named = (each for each in found.body if each.id in ("N9", "L11"))
    for each in named:
        qualifier, value = (1, 2) if each.id == "N9" else (2, 1)
        if each.text(qualifier) == "CN":
            return plain(each.need(value))
    return plain(head.need(2))
