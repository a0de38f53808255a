"""`crossdock dev --network full`: orders of several business units, each at an ERP and with a
carrier of its own, compared with the books of every simulated vendor."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio
from crossdock.cli.demo.views import HubView, read_objects
from crossdock.cli.installation import Installation
from crossdock.cli.network import FULL, salesforce
from crossdock.cli.network.vendor import BUSINESS_UNIT, SandboxPace
from crossdock.cli.orders import draw_order, place_orders, read_catalogue
from crossdock.cli.workplace import Workplace
from crossdock.lineage.v1 import lineage_pb2, lineage_service_pb2
from crossdock.order.v1 import order_pb2
from fixtures_nats import eventually

SEED = 11
WAIT_SECONDS = 120.0
MAXIMUM_DRAWN = 1_000
PACE = SandboxPace(
    floor_seconds=0.1, handover_seconds=0.3, scan_seconds=0.1, poll_seconds=5.0, seed=SEED
)
ERPS = {
    unit: vendor.endpoint
    for vendor in FULL.vendors
    if vendor.role == "ERP"
    for unit in vendor.scope["business_units"]
}
CARRIERS = {
    account.carrier_code: vendor.endpoint
    for vendor in FULL.vendors
    for account in vendor.carrier_accounts
}
ORDER, GOODS_ISSUE = "create_sales_order", "post_goods_issue"
pytestmark = [pytest.mark.timeout(900), pytest.mark.asyncio(loop_scope="module")]


@dataclass(frozen=True)
class Booked:
    """What an ERP's own books say. orders: how often it was asked for an order, by our number (in
    NetSuite by our id); issues: goods issues; numbers: every document number that it gave."""

    orders: Mapping[str, int]
    issues: int
    numbers: frozenset[str]


def in_netsuite(books: Mapping[str, Any]) -> Booked:
    """By external ids, deleted records included."""
    made = {
        part: Counter({
            key.removeprefix("xd-"): counts["created"]
            for key, counts in books[f"{part}_by_external_id"].items()
        })
        for part in ("sales_orders", "item_fulfillments")
    }  # fmt: skip
    return Booked(
        made["sales_orders"],
        made["item_fulfillments"].total(),
        frozenset(map(str, books["document_numbers"])),
    )


def in_sap(books: Mapping[str, Any]) -> Booked:
    """By the property that carries our number; a material document may have several items."""
    left = {
        each["MaterialDocument"]
        for each in books["material_documents"]
        if each["GoodsMovementType"] == "601"
    }
    orders = books["sales_orders"]
    numbers = {each["SalesOrder"] for each in orders}
    numbers |= {each["DeliveryDocument"] for each in books["deliveries"]}
    return Booked(
        Counter(each["PurchaseOrderByCustomer"] for each in orders),
        len(left),
        frozenset(numbers | left),
    )


def in_legacy_file(books: Mapping[str, Any]) -> Booked:
    """By what its files asked for, whatever became of it."""
    asked = [each for each in books["documents"] if each["action"] == "I"]
    documents = [*books["sales_orders"], *books["goods_issues"]]
    return Booked(
        Counter(each["document"] for each in asked if each["layout"] == "sales_orders"),
        sum(each["layout"] == "goods_issues" for each in asked),
        frozenset(str(each["number"]) for each in documents),
    )


READERS = {"netsuite": in_netsuite, "sap": in_sap, "legacy-file": in_legacy_file}


def sold(carrier: str, books: Mapping[str, Any]) -> Counter[str]:
    """Labels that a carrier sold, by tracking number: UPS lists none that it did not sell, FedEx
    lists open shipments too, and freight has one number with a count behind it."""
    if carrier == "ltl-freight":
        return Counter(
            bol["pro"] if unit == 1 else f"{bol['pro']}-{unit:03}"
            for bol in books["bols"]
            for unit in range(1, bol["units"] + 1)
        )
    return Counter(
        str(parcel["tracking_number"])
        for shipment in books["shipments"]
        if carrier != "fedex" or shipment["confirmed_at"]
        for parcel in shipment["parcels"]
    )


@dataclass(frozen=True)
class Placed:
    """An order by our number, and who books and carries it."""

    number: str
    business_unit: str
    carrier_code: str


@dataclass(frozen=True)
class Evening:
    """What was placed, and what the hub and every vendor say of it at the end."""

    drawn: dict[str, Placed]
    lineages: dict[str, lineage_pb2.Lineage]
    view: HubView
    books: dict[str, dict[str, Any]]

    def of_unit(self, unit: str) -> list[str]:
        """Ids of a business unit's orders."""
        return [each for each, order in self.drawn.items() if order.business_unit == unit]


def draw(catalogue: Any) -> list[order_pb2.Order]:
    """An order for every pair of a business unit and a carrier."""
    now = datetime.now(UTC).replace(microsecond=0)
    found: dict[tuple[str, str], order_pb2.Order] = {}
    for number in range(MAXIMUM_DRAWN):
        order = draw_order(f"NET-{number:03}", catalogue, SEED, now)
        found.setdefault((order.business_unit, order.carrier_code), order)
    assert set(found) == {(unit, carrier) for unit in ERPS for carrier in CARRIERS}
    return list(found.values())


async def from_the_oms(installation: Installation) -> dict[str, Placed]:
    """Orders that the OMS places, by their ids."""
    async with installation.client("oms") as oms:
        drawn = {order.number: order for order in draw(await read_catalogue(oms))}
        placed = await place_orders(oms, list(drawn.values()))
    return {
        each.id: Placed(each.number, order.business_unit, order.carrier_code)
        for each in placed
        for order in [drawn[each.number]]
    }


async def from_salesforce(installation: Installation) -> dict[str, Placed]:
    """Orders that people place in Salesforce, one for each way of delivery, once the hub has
    them."""
    wanted: dict[str, Placed] = {}
    for index, (method, ordered) in enumerate(salesforce.DELIVERY_METHODS.items(), 1):
        given = {"number": f"{index:04}", "delivery_method": method}
        await installation.sandbox("salesforce").command("fulfillment_order", given)
        number = f"{salesforce.NUMBER_PREFIX}{index:04}"
        wanted[number] = Placed(number, BUSINESS_UNIT, ordered.partition("/")[0])
    found: dict[str, Placed] = {}

    async def arrived() -> bool:
        async with installation.client("operator") as operator:
            view = await read_objects(operator)
        found.update(
            {each.id: wanted[each.number] for each in view.orders if each.number in wanted}
        )
        return len(found) == len(wanted)

    await eventually(arrived, "the orders of Salesforce are at the hub", WAIT_SECONDS)
    return found


async def lineages(
    installation: Installation, placed: dict[str, Placed]
) -> dict[str, lineage_pb2.Lineage]:
    """What became of each order, once all of it is complete."""
    found: dict[str, lineage_pb2.Lineage] = {}
    waiting: list[str] = []

    async def complete() -> bool:
        async with installation.client("operator") as operator:
            for order_id, order in placed.items():
                if order_id in found:
                    continue
                request = lineage_service_pb2.TraceRequest(id=order_id)
                lineage = (await operator.lineage.Trace(request)).lineage
                if lineage.verdict == lineage_pb2.VERDICT_COMPLETE:
                    found[order_id] = lineage
                else:
                    waiting.append(f"{order.number}: {lineage.sentence}")
        return len(found) == len(placed)

    try:
        await eventually(complete, "every order is complete", WAIT_SECONDS)
    except AssertionError:
        pytest.fail("\n".join(waiting[len(found) - len(placed) :]))
    return found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def evening(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Evening]:
    """The full network, from its start to the last parcel."""
    workplace = Workplace(tmp_path_factory.mktemp("network") / "data", FULL)
    installation = Installation(workplace, PACE, print)
    try:
        await installation.start()
        placed = await from_the_oms(installation) | await from_salesforce(installation)
        told = await lineages(installation, placed)
        async with installation.client("operator") as operator:
            view = await read_objects(operator)
        books = {each: await installation.sandbox(each).books() for each in FULL.vendor_ids}
        yield Evening(placed, told, view, books)
    finally:
        await installation.stop()


@pytest.mark.parametrize("unit", sorted(ERPS))
async def test_each_business_unit_is_booked_at_its_own_erp_once(
    evening: Evening, unit: str
) -> None:
    """Proves by the ERP's own books that it was asked once for each order and goods issue of its
    business unit and for nobody else's, and that its document numbers are in the lineage."""
    erp, ids = ERPS[unit], evening.of_unit(unit)
    booked = READERS[erp](evening.books[erp])
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


@pytest.mark.parametrize("code", sorted(CARRIERS))
async def test_each_package_has_one_label_of_the_carrier_that_was_named(
    evening: Evening, code: str
) -> None:
    """Proves by the carrier's own books that each package of the orders that name it has one label
    there, and that it sold no other."""
    carrier = CARRIERS[code]
    packages = [
        package.tracking_number
        for shipment in evening.view.shipments
        if evening.drawn[shipment.order_id].carrier_code == code
        for package in shipment.packages
    ]
    assert packages
    assert all(packages)
    assert sold(carrier, evening.books[carrier]) == Counter(packages)


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
