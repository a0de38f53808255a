"""The adapter of a carrier in the yard, on the real SDK: it buys labels and voids them.

A purchase is of the class that the endpoint is for, a void is done twice as once. What the carrier
sold (number, price, the label itself) goes to the hub as a fact in the completion, as the adapters
of real carriers have it.
"""

from __future__ import annotations

import base64
from decimal import Decimal
from typing import Any

from crossdock.label.v1 import label_pb2
from crossdock_adapters.sdk import carrier_labels, carrier_reports
from crossdock_adapters.sdk.adapter import Adapter
from crossdock_adapters.sdk.carrier_labels import LabelImage, Purchase
from crossdock_adapters.sdk.manifest import parse
from crossdock_adapters.sdk.outcomes import Confirmed, NotFound, Reference
from crossdock_adapters.sdk.settings import Secrets, Settings
from crossdock_adapters.sdk.work import Work

from tests.faults.yard.adapter import YardClient, die_maybe, manifest_of, operation
from tests.faults.yard.label_books import BUY, VOID

# A label is bought once or twice, never made anew in its place.
PURCHASES = ("searchable", "keyed", "none", "two_step")
CURRENCY = "USD"


def carrier_name(kind: str) -> str:
    """What the carrier's adapter of one class is called."""
    return f"yard-carrier-{kind.replace('_', '-')}"


def carrier_manifest(kind: str) -> str:
    """The adapter.toml of one class of purchase."""
    operations = operation(BUY, kind) + operation(VOID, "natural")
    return manifest_of(carrier_name(kind), f"Yard carrier ({kind})", "CARRIER", operations)


def carrier_adapter(kind: str) -> Adapter:
    """The carrier's adapter of one class."""
    adapter = Adapter(parse(carrier_manifest(kind)), carrier_name(kind))

    @adapter.connect
    async def connect(settings: Settings, secrets: Secrets) -> YardClient:
        return YardClient(settings.text("base_url"))

    @adapter.operation(BUY)
    async def buy(work: Work, vendor: YardClient) -> Confirmed:
        die_maybe("before", work)
        sold = await (vendor.confirm(work) if work.draft else vendor.sell(work))
        die_maybe("after", work)
        return _bought(work, sold)

    @adapter.operation(VOID)
    async def void(work: Work, vendor: YardClient) -> Confirmed:
        label = await carrier_reports.label_of(work.hub, work.event.shipment.id, work.item)
        if label is None:
            return Confirmed(note="no label was bought for this package: nothing to void")
        die_maybe("before", work)
        await vendor.void(work, label.tracking_number)
        die_maybe("after", work)
        number = label.tracking_number
        fact = carrier_labels.void_request(work.endpoint, label.carrier_code, number)
        return Confirmed([Reference("voided_tracking_number", number)], [fact])

    if kind == "searchable":

        @adapter.look_up(BUY)
        async def find(work: Work, vendor: YardClient) -> Confirmed | NotFound:
            found = await vendor.find(work)
            return _bought(work, found[0]) if found else NotFound("not there")

    if kind == "two_step":

        @adapter.draft(BUY)
        async def draft(work: Work, vendor: YardClient) -> str:
            die_maybe("before", work, "a draft")
            made = await vendor.draft(work)
            die_maybe("after", work, "a draft")
            return made

    return adapter


def _bought(work: Work, sold: dict[str, Any]) -> Confirmed:
    """The purchase as proof, and the label as the fact that goes with it."""
    image = LabelImage(sold["number"], "ZPL", base64.b64decode(sold["document"]))
    purchase = Purchase(image, "", Decimal(sold["price"]), CURRENCY, carrier_reports.bought_now())
    fact = carrier_labels.label_request(
        work.endpoint,
        work.event.shipment.carrier_code,
        work.event.shipment,
        work.item,
        work.reference,
        purchase,
        label_pb2.LABEL_FORMAT_ZPL,
    )
    return Confirmed([Reference("tracking_number", sold["number"])], [fact])
