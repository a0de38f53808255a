"""`crossdock dev --network full`: orders of several business units, each at an ERP and with a
carrier of its own, compared with the books of every simulated vendor; once on a quiet evening, and
once with every vendor in trouble and adapters that are killed."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal

import pytest
import pytest_asyncio
from crossdock.cli.installation import Installation
from crossdock.cli.network import FULL, salesforce
from crossdock.cli.workplace import Workplace
from fixtures_nats import eventually
from network_books import ERP_READERS, sold
from network_evening import (
    ACCOUNTS,
    CARRIERS,
    ERPS,
    GOODS_ISSUE,
    ORDER,
    PACE,
    TROUBLES,
    Evening,
    spend,
)

COMMAND_SECONDS = 180.0
pytestmark = [pytest.mark.timeout(900), pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(
    scope="module", loop_scope="module", params=[False, True], ids=["quiet", "in trouble"]
)
async def evening(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Evening]:
    """The full network, from its start to the last parcel."""
    workplace = Workplace(tmp_path_factory.mktemp("network") / "data", FULL)
    installation = Installation(workplace, PACE, print)
    try:
        await installation.start()
        yield await spend(installation, request.param)
    finally:
        await installation.stop()


async def test_every_endpoint_was_in_trouble(evening: Evening) -> None:
    """Proves that each fault struck as often as it was told to, at each endpoint of the network,
    and that the adapters died; on the quiet evening, that nothing did."""
    assert {each.endpoint for each in TROUBLES} == set(FULL.vendor_ids)
    assert not any(evening.left.values()), evening.left
    assert evening.kills == (2 if evening.in_trouble else 0)


@pytest.mark.parametrize("unit", sorted(ERPS))
async def test_each_business_unit_is_booked_at_its_own_erp_once(
    evening: Evening, unit: str
) -> None:
    """Proves by the ERP's own books that it was asked once for each order and goods issue of its
    business unit and for nobody else's, and that its document numbers are in the lineage."""
    erp, ids = ERPS[unit].endpoint, evening.of_unit(unit)
    booked = ERP_READERS[erp](evening.books[erp])
    keys = {each if erp == "netsuite" else evening.drawn[each].number for each in ids}
    assert dict(booked.orders) == dict.fromkeys(keys, 1)
    assert booked.issues == len([each for each in evening.view.shipments if each.order_id in ids])
    for order_id in ids:
        postings = [
            each
            for each in evening.lineages[order_id].postings
            if each.operation in (ORDER, GOODS_ISSUE)
        ]
        assert {each.operation for each in postings} == {ORDER, GOODS_ISSUE}
        for each in postings:
            assert (each.endpoint, each.confirmed) == (erp, 1)
            told = {reference.value.rpartition("/")[2] for reference in each.vendor_references}
            assert told & booked.numbers, f"no document number of {erp} in {told}"


async def test_the_warehouse_has_each_order_once(evening: Evening) -> None:
    """Proves by Manhattan's own books that each fulfillment request is one original order there,
    and that every carton that left is a package at the hub."""
    books = evening.books["manhattan"]
    released = Counter(each["OriginalOrderId"] for each in books["original_orders"])
    wanted = [
        each
        for lineage in evening.lineages.values()
        for each in lineage.postings
        if each.operation == "release_order"
    ]
    assert {each.confirmed for each in wanted} == {1}
    told = Counter(reference.value for each in wanted for reference in each.vendor_references)
    assert released == Counter(dict.fromkeys(told, 1))
    assert released.total() == len(wanted)
    assert len(books["olpns"]) == len(evening.view.packages)


@pytest.mark.parametrize("code", sorted(CARRIERS))
async def test_each_package_has_one_label_of_the_carrier_that_was_named(
    evening: Evening, code: str
) -> None:
    """Proves by the carrier's own books that each package of the orders that name it has one label
    there, and that it sold no other; that its number is in the order's lineage; and that tracking
    has brought each to its door."""
    carrier = CARRIERS[code]
    packages = []
    for shipment in evening.view.shipments:
        if evening.drawn[shipment.order_id].carrier_code != code:
            continue
        lineage = evening.lineages[shipment.order_id]
        scanned = {each.tracking_number for each in lineage.scans}
        for package in shipment.packages:
            packages.append(package.tracking_number)
            assert package.tracking_number in scanned
            assert package.milestone == "DELIVERED"
    assert packages
    assert all(packages)
    assert sold(carrier, evening.books[carrier]) == Counter(packages)


async def test_what_left_for_canada_post_is_transmitted_once(evening: Evening) -> None:
    """Proves by Canada Post's own books that each parcel that left is on one manifest, which was
    made, and that the numbers of the manifests are in the lineage of their orders."""
    books = evening.books["canada-post"]
    listed = Counter(each for manifest in books["manifests"].values() for each in manifest)
    assert listed == Counter(dict.fromkeys([e["shipment_id"] for e in books["shipments"]], 1))
    assert books["manifests_made"] == sorted(books["manifests"])
    told = Counter(
        reference.value
        for lineage in evening.lineages.values()
        for posting in lineage.postings
        if posting.operation == "close_manifest"
        for reference in posting.vendor_references
        if reference.type == "manifest"
    )
    assert told == Counter(dict.fromkeys(books["manifests"], 1))


async def test_what_a_parcel_cost_is_in_the_currency_of_its_carrier(evening: Evening) -> None:
    """Proves that each label with a price has the currency of its carrier's account, and that
    Canada Post's prices are those of its own books with tax; GLS and LTL freight tell none."""
    sums: dict[str, Decimal] = {}
    for label in evening.labels:
        if label.price.amount:
            assert label.price.currency == ACCOUNTS[label.carrier_code].currency
            amount = sums.get(label.carrier_code, Decimal(0)) + Decimal(label.price.amount)
            sums[label.carrier_code] = amount
    assert set(sums) == {"UPS", "FEDEX", "CANADA_POST"}
    bare = sum(Decimal(each["price"]) for each in evening.books["canada-post"]["shipments"])
    assert bare < sums["CANADA_POST"] < bare * Decimal("1.2")


async def test_orders_abroad_keep_their_currency(evening: Evening) -> None:
    """Proves by the rows in the Canadian ERP's own tables that its orders are in its dollars."""
    rows = evening.books["legacy-table"]["orders"]
    assert [each["CURRENCY"] for each in rows] == ["CAD"] * len(evening.of_unit("retail-ca"))


async def test_times_of_every_dock_are_the_same_utc(evening: Evening) -> None:
    """Proves that departures from docks in four time zones, and scans of every carrier, are told as
    instants of this evening: a zone that was left out, or taken twice, is hours away."""
    left = {
        each.ship_from_location_number: each.manifest_time.instant.ToDatetime(UTC)
        for each in evening.shipments
    }
    assert set(left) == set(FULL.docks)
    scanned = {
        evening.drawn[order_id].carrier_code: scan.event_time.ToDatetime(UTC)
        for order_id, lineage in evening.lineages.items()
        for scan in lineage.scans
        if scan.HasField("event_time")
    }
    assert set(scanned) == set(CARRIERS)
    # X12 tells a 214's times to the minute.
    began, ended = evening.began.replace(second=0, microsecond=0), datetime.now(UTC)
    for place, at in {**left, **scanned}.items():
        assert began <= at <= ended, f"{place}: {at}"


async def test_orders_of_a_second_oms_are_written_back_once(evening: Evening) -> None:
    """Proves by Salesforce's own books that each of its orders is fulfilled there with one invoice
    and a shipment for each package, and that nothing was written for the other OMS's orders."""
    books = evening.books["salesforce"]
    ids = {
        each for each, order in evening.drawn.items()
        if order.number.startswith(salesforce.NUMBER_PREFIX)
    }  # fmt: skip
    orders = books["fulfillment_orders"]
    assert [each["Status"] for each in orders] == ["Fulfilled"] * len(ids)
    assert len(books["invoices"]) == len(ids)
    packages = [
        package.tracking_number
        for shipment in evening.view.shipments
        if shipment.order_id in ids
        for package in shipment.packages
    ]
    assert Counter(each["TrackingNumber"] for each in books["shipments"]) == Counter(packages)


def crossdock(evening: Evening, *arguments: str) -> str:
    """What a command prints that finds the installation by its data directory."""
    done = subprocess.run(
        [sys.executable, "-m", "crossdock.cli", *arguments, "--data", str(evening.data)],
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


async def test_an_operator_follows_one_order(evening: Evening) -> None:
    """Proves by the commands that the README shows that an order of Salesforce is traced by its
    number, by its tracking number and by its document number at the ERP, each time through every
    system that had a part in it; and that an order for one carrier and business unit goes there."""
    order_id = next(each for each, order in evening.drawn.items() if order.number == "SF-0001")
    lineage = evening.lineages[order_id]
    document = next(
        reference.value
        for each in lineage.postings
        if each.operation == ORDER
        for reference in each.vendor_references
        if reference.type == "sales_order"
    )
    for number in ("SF-0001", document, lineage.scans[0].tracking_number):
        told = await asyncio.to_thread(crossdock, evening, "trace", number)
        assert told.startswith("Complete: delivered")
        for endpoint in ("salesforce", "netsuite", "manhattan", "ups"):
            assert endpoint in told
    one = ("--carrier", "GLS", "--business-unit", "retail-eu", "--follow")
    told = await asyncio.to_thread(crossdock, evening, "trigger", "order", *one)
    assert "Complete: delivered" in told
    assert "legacy-soap" in told
    assert "gls" in told


async def test_a_carriers_invoice_is_audited_and_booked(evening: Evening) -> None:
    """Proves by the commands that the README shows that an X12 invoice of the LTL carrier is a
    charge of its order, that the audit's words move it, and that SAP has it as one supplier invoice
    which the invoice's number leads to."""

    async def run(*words: str) -> str:
        return await asyncio.to_thread(crossdock, evening, *words)

    one = ("--carrier", "LTL", "--business-unit", "wholesale-us", "--follow")
    number = re.search(r"WEB-\d+", await run("trigger", "order", *one))
    assert number is not None
    lineage = json.loads(await run("trace", number.group(), "--json"))
    pro = lineage["scans"][0]["tracking_number"]
    lines = {"": "480.25", "LFT": "45.00"}
    invoice = json.dumps({"pro": pro, "net": "525.25", "lines": lines})
    await run("sandbox", "command", "ltl-freight", "invoice", invoice)

    async def listed() -> bool:
        return f"INV{pro}" in await run("freight", "list", "--state", "invoiced")

    await eventually(listed, "the invoice", COMMAND_SECONDS)
    assert "APPROVED" in await run("freight", "approve", f"INV{pro}")
    assert "FINALISED" in await run("freight", "finalise", f"INV{pro}")

    async def posted() -> bool:
        told = await run("trace", f"INV{pro}")
        booked_once = f"freight invoice INV{pro} of LTL posted to sap once"
        return told.startswith("Complete: ") and booked_once in told

    await eventually(posted, "the supplier invoice", COMMAND_SECONDS)
    books = json.loads(await run("sandbox", "books", "sap", "supplier_invoices"))
    (booked,) = [each for each in books if each["SupplierInvoiceIDByInvcgParty"] == f"INV{pro}"]
    assert Decimal(booked["InvoiceGrossAmount"]) == Decimal("525.25")
