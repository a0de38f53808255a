"""From a finalised freight charge to the bill that SAP books as a supplier invoice: pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date
from decimal import Decimal
from typing import Final
from zoneinfo import ZoneInfo

from crossdock.freight.v1 import freight_pb2, freight_service_pb2
from google.protobuf.timestamp_pb2 import Timestamp

from crossdock_adapters.sap.bills import Bill, BillLine
from crossdock_adapters.sap.translate import amount
from crossdock_adapters.sdk.outcomes import Untranslatable

# Of a setting's keys: whatever has no entry of its own.
ANY_OTHER: Final = "*"
# How the freight itself is called, which has no code of a special charge.
FREIGHT: Final = "freight"


@dataclass(frozen=True, slots=True)
class FreightRules:
    """What the deployment decided about freight bills; "*" is any other key.

    companies, cost_centres: by business unit. suppliers: by carrier code. accounts: by code of the
    charge, "freight" for the freight itself. tax_code: of every line; "" for none.
    """

    zone: ZoneInfo
    companies: Mapping[str, str] = field(default_factory=dict)
    suppliers: Mapping[str, str] = field(default_factory=dict)
    accounts: Mapping[str, str] = field(default_factory=dict)
    cost_centres: Mapping[str, str] = field(default_factory=dict)
    tax_code: str = ""


def bill_of(charge: freight_pb2.FreightCharge, finalised: Timestamp, rules: FreightRules) -> Bill:
    """The bill of what the audit agreed to. finalised: decides the posting day.

    Untranslatable: a setting has no entry, or a credit is due, which is for a person.
    """
    money = charge.audit.amount
    gross = amount(money.amount)
    if gross <= 0:
        due = f"{money.amount} {money.currency}"
        raise Untranslatable(f"{due} are to be paid: a person books credits, then skips this")
    unit = charge.business_unit
    centre = rules.cost_centres.get(unit, rules.cost_centres.get(ANY_OTHER, ""))
    return Bill(
        number=charge.invoice.number,
        supplier=_needed(charge.carrier_code, rules.suppliers, "freight_suppliers"),
        company=_needed(unit, rules.companies, "freight_companies"),
        bill_day=date.fromisoformat(charge.invoice.invoice_date),
        posting_day=finalised.ToDatetime(tzinfo=UTC).astimezone(rules.zone).date(),
        currency=money.currency,
        gross=gross,
        lines=tuple(_line(each, centre, rules) for each in _parts(charge)),
        tax_code=rules.tax_code,
        text=charge.tracking_number,
    )


def _parts(charge: freight_pb2.FreightCharge) -> Sequence[freight_pb2.FreightChargeLine]:
    """What the audit's amount is made of: its own lines, or the invoice's while they add up to it,
    or the amount as freight. A charge of nothing is no posting."""
    audit = charge.audit
    for lines in (audit.lines, charge.invoice.lines):
        parts = [each for each in lines if amount(each.amount.amount)]
        total = sum((amount(each.amount.amount) for each in parts), Decimal(0))
        if parts and total == amount(audit.amount.amount):
            return parts
    return [freight_pb2.FreightChargeLine(amount=audit.amount, description=audit.reason)]


def _line(part: freight_pb2.FreightChargeLine, cost_centre: str, rules: FreightRules) -> BillLine:
    code = part.code or FREIGHT
    return BillLine(
        account=_needed(code, rules.accounts, "freight_accounts"),
        amount=amount(part.amount.amount),
        cost_centre=cost_centre,
        text=part.description or code,
    )


def _needed(key: str, known: Mapping[str, str], setting: str) -> str:
    found = known.get(key, known.get(ANY_OTHER, ""))
    if not found:
        raise Untranslatable(f"{key!r} has no entry in the setting {setting}")
    return found.replace(ANY_OTHER, key)


def vendor_bill(charge_id: str, number: str) -> freight_service_pb2.UpdateFreightChargeRequest:
    """The fact that SAP booked the charge under a number."""
    request = freight_service_pb2.UpdateFreightChargeRequest()
    request.freight_charge.id = charge_id
    request.freight_charge.vendor_bill = number
    request.update_mask.paths.append("vendor_bill")
    return request
