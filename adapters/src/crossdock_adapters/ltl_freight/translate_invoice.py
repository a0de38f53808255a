"""From a freight invoice (X12 210) to the contract's; pure.

Amounts have implied decimals (N2) and are never rounded. An invoice whose charges do not add up is
not told: whoever has to pay it would not know how much. Elements are those of release 004010.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Final

from crossdock.client import request_id
from crossdock.freight.v1 import freight_pb2, freight_service_pb2

from crossdock_adapters.ltl_freight import references
from crossdock_adapters.ltl_freight.pro_numbers import plain
from crossdock_adapters.sdk.carrier_labels import digest, money
from crossdock_adapters.sdk.x12.envelopes import Group, TransactionSet
from crossdock_adapters.sdk.x12.segments import (
    BAD_CODE,
    MISSING,
    SEGMENT_REPEATED,
    TOO_LONG,
    Segment,
)

INVOICE_ID: Final = "210"
US_DOLLARS: Final = "USD"
CENTS: Final = 2
# Of an L1.
CHARGE, ADVANCE = 4, 5
# What the contract has room for; the standard's own lengths are shorter.
MAX_NUMBER: Final = 64
MAX_CODE: Final = 16
MAX_DESCRIPTION: Final = 100
MAX_CHARGES: Final = 200
_CURRENCY: Final = re.compile("[A-Z]{3}")


@dataclass(frozen=True, slots=True)
class Charge:
    """One line of an invoice. code: of a special charge (fuel, liftgate); "" for the freight."""

    amount: Decimal
    code: str
    description: str = ""


@dataclass(frozen=True, slots=True)
class Invoice:
    """What a carrier bills. It is known by SCAC and number; another amount under them is a
    correction. correction: what the carrier calls it (B3-08), "" for the first bill."""

    scac: str
    number: str
    shipment: str
    pro: str
    day: date
    net: Decimal
    currency: str
    charges: tuple[Charge, ...]
    correction: str = ""

    @property
    def key(self) -> str:
        """By which a second copy of it is known."""
        return f"{self.scac}/{self.number}"

    def told(self) -> str:
        """For people."""
        amount = f"{self.net} {self.currency}"
        return f"freight invoice {self.number} of {self.scac} over {amount} for PRO {self.pro}"


def sending(found: TransactionSet, group: Group) -> str:
    """Which sending of a set this is: by whom and when (ISA05, 06, 09, 10), in which interchange,
    group and set (ISA13, GS06, ST02). The same file read again, or one set of it that was held, is
    the same sending."""
    assert group.isa is not None
    parts = [group.isa.raw(element).strip(" ") for element in (5, 6, 9, 10, 13)]
    return "/".join([*parts, str(group.control_number), found.control_number])


def request(
    billed: Invoice, endpoint: str, carrier_code: str, sent: str
) -> freight_service_pb2.RecordFreightInvoiceRequest:
    """The fact "the carrier billed this", with a request id of its content and of this sending:
    what is sent again the hub judges again, by what has become of the first since."""
    told = freight_pb2.FreightInvoice(
        number=billed.number,
        invoice_date=billed.day.isoformat(),
        amount=money(billed.net, billed.currency),
        lines=[
            freight_pb2.FreightChargeLine(
                code=each.code,
                description=each.description,
                amount=money(each.amount, billed.currency),
            )
            for each in billed.charges
        ],
        issuer=billed.scac,
        shipper_reference=billed.shipment,
        correction_code=billed.correction,
    )
    fact = request_id(endpoint, f"invoice/{billed.key}/{billed.pro}/{sent}", digest(told))
    return freight_service_pb2.RecordFreightInvoiceRequest(
        request_id=fact, carrier_code=carrier_code, tracking_number=billed.pro, invoice=told
    )


def invoice(found: TransactionSet, scacs: Sequence[str] = ()) -> Invoice:
    """What a 210 says. scacs: of the carrier; none: any.

    SegmentError: a part is missing, it is another carrier's, or the charges do not add up.
    """
    head = next((each for each in found.body if each.id == "B3"), None)
    if head is None:
        raise found.header.lacks("B3")
    currency = next((each for each in found.body if each.id == "C3"), None)
    net = head.implied(7, CENTS)
    day = head.date(6)
    if net is None or day is None:
        raise head.error("is missing", MISSING, 7 if net is None else 6)
    charges = _billed(_charges(found), net)
    total = next((each for each in found.body if each.id == "L3"), None)
    _add_up(head, total, net, charges)
    scac = _short(head, 11, MAX_CODE)
    if scacs and scac.upper() not in scacs:
        raise head.error("is not the carrier of this endpoint", BAD_CODE, 11)
    return Invoice(
        scac=scac,
        number=_short(head, 2, MAX_NUMBER),
        shipment=head.text(3)[:MAX_NUMBER],
        pro=_pro(found, head),
        day=day,
        net=net,
        currency=_currency(currency),
        charges=charges,
        correction=head.text(8)[:MAX_CODE],
    )


def _short(head: Segment, element: int, most: int) -> str:
    """An element that has to be there and to fit."""
    text = head.need(element)
    if len(text) > most:
        raise head.error(f"has more than {most} characters", TOO_LONG, element)
    return text


def _currency(named: Segment | None) -> str:
    """C3-01; who leaves it out means US dollars."""
    if named is None:
        return US_DOLLARS
    code = named.need(1).upper()
    if _CURRENCY.fullmatch(code) is None:
        raise named.error("is no code of a currency", BAD_CODE, 1)
    return code


def _charges(found: TransactionSet) -> list[tuple[Charge, bool]]:
    """Each amount of an L1, and whether it is an advance: the charge (element 4) and what the
    carrier laid out (element 5); their special charge is element 8, in words 12."""
    listed: list[tuple[Charge, bool]] = []
    for each in found.body:
        for element in (CHARGE, ADVANCE):
            amount = each.implied(element, CENTS) if each.id == "L1" else None
            # Fields that are filled up with zeros make no second charge of each.
            if amount is None or (element == ADVANCE and not amount):
                continue
            if len(listed) == MAX_CHARGES:
                raise each.error(
                    f"is charge {MAX_CHARGES + 1}: that many are not read", SEGMENT_REPEATED
                )
            code = each.text(8)
            if len(code) > MAX_CODE:
                raise each.error(f"has more than {MAX_CODE} characters", TOO_LONG, 8)
            charge = Charge(amount, code, each.text(12)[:MAX_DESCRIPTION])
            listed.append((charge, element == ADVANCE))
    return listed


def _billed(listed: Sequence[tuple[Charge, bool]], net: Decimal) -> tuple[Charge, ...]:
    """What the net amount is the sum of: advances are in it, or only told beside the charges. An L1
    has one of both at least (R040506), so that one may have an advance alone."""
    every = tuple(charge for charge, _ in listed)
    charges = tuple(charge for charge, is_advance in listed if not is_advance)
    is_all = sum((each.amount for each in every), Decimal(0)) == net
    return every if is_all or not charges else charges


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
    place, element = references.first(found.body, references.CARRIER) or (head, 2)
    pro = plain(place.need(element))
    if not pro:
        raise place.error("has neither a letter nor a digit", BAD_CODE, element)
    if len(pro) > MAX_NUMBER:
        raise place.error(f"has more than {MAX_NUMBER} characters", TOO_LONG, element)
    return pro
