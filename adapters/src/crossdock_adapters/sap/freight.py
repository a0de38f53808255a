"""Finalised freight charges at SAP: booked as supplier invoices, looked for, told to the hub."""

from __future__ import annotations

from dataclasses import replace
from zoneinfo import ZoneInfo

from crossdock_adapters.sap import bills, translate_freight
from crossdock_adapters.sap.client import SapClient
from crossdock_adapters.sap.translate_freight import FreightRules
from crossdock_adapters.sdk.outcomes import Confirmed, NotFound
from crossdock_adapters.sdk.settings import Settings
from crossdock_adapters.sdk.work import Work


def rules_of(settings: Settings) -> FreightRules:
    """What the deployment decided about freight bills."""
    return FreightRules(
        zone=ZoneInfo(settings.text("time_zone")),
        companies=settings.mapping("freight_companies"),
        suppliers=settings.mapping("freight_suppliers"),
        accounts=settings.mapping("freight_accounts"),
        cost_centres=settings.mapping("freight_cost_centres"),
        tax_code=settings.text("freight_tax_code"),
    )


async def book(work: Work, vendor: SapClient) -> Confirmed:
    """Book the charge unless SAP has it. Raises what `bills.book` and `translate_freight.bill_of`
    raise."""
    return _told(work, await bills.book(vendor, _bill(work)))


async def find(work: Work, vendor: SapClient) -> Confirmed | NotFound:
    """The supplier invoice of the charge, if there is one."""
    found = await bills.find(vendor, _bill(work))
    return found if isinstance(found, NotFound) else _told(work, found)


def _bill(work: Work) -> bills.Bill:
    finalised = work.event.metadata.record_time
    return translate_freight.bill_of(work.event.freight_charge, finalised, rules_of(work.settings))


def _told(work: Work, booked: Confirmed) -> Confirmed:
    """With the number as a fact: it goes to the charge as its vendor bill."""
    number = booked.references[0].value
    return replace(
        booked, facts=[translate_freight.vendor_bill(work.event.freight_charge.id, number)]
    )
