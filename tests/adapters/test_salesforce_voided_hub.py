"""Salesforce at a real hub: a departure that cannot be told before its shipment is voided."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from crossdock.client import HubClient
from crossdock.customer.v1 import customer_service_pb2
from crossdock.delivery.v1 import delivery_pb2, delivery_service_pb2
from crossdock.fulfillment.v1 import fulfillment_service_pb2
from crossdock.item.v1 import item_service_pb2
from crossdock.location.v1 import location_service_pb2
from crossdock.shipment.v1 import shipment_service_pb2
from crossdock_adapters.salesforce import conformance
from crossdock_adapters.salesforce.adapter import ADAPTER
from crossdock_adapters.salesforce.sandbox import SalesforceSandbox
from crossdock_adapters.sdk.sandbox import SandboxConfig
from fixtures_hub import RunningHub
from fixtures_nats import eventually
from hosted_adapter import asking_soon, hosted
from story import at, item_entry, package, party, request_id, state_of

pytestmark = pytest.mark.timeout(300)

ENDPOINTS = {
    "salesforce": {"role": "OMS"},
    "netsuite": {"role": "ERP"},
    "manhattan": {"role": "WMS"},
    "operator": {"role": "OPERATOR"},
}
ITEM, CUSTOMER, DOCK = "SKU-1001", "CUST-1003", "WH-EAST"
WAIT_SECONDS = 60.0


@pytest.fixture
def own_hub(tmp_path: Path) -> Iterator[RunningHub]:
    running = RunningHub(tmp_path / "hub", ENDPOINTS).start()
    yield running
    running.kill()


@asynccontextmanager
async def org(hub: RunningHub, folder: Path, **more: Any) -> AsyncIterator[SalesforceSandbox]:
    """A simulated org, and its endpoint as a process hosts it, with more settings; master data is
    at the hub."""
    await master_data(hub)
    kept = ("organization_id", "client_id")
    given = {name: conformance.CONFORMANCE.sandbox_settings[name] for name in kept}
    async with SalesforceSandbox(SandboxConfig("salesforce", settings=given)) as sandbox:
        home = folder / "salesforce"
        home.mkdir()
        settings = {**conformance.settings(sandbox, home), **more}
        async with hosted(hub, "salesforce", asking_soon(ADAPTER, 1.0), settings):
            yield sandbox


async def master_data(hub: RunningHub) -> None:
    customer = customer_service_pb2.CustomerEntry(request_id=request_id())
    customer.customer.number, customer.customer.legal_name = CUSTOMER, "Analytical Engines"
    customer.update_mask.paths.append("legal_name")
    dock = location_service_pb2.LocationEntry(request_id=request_id())
    dock.location.number = DOCK
    dock.location.address.CopyFrom(party("Dock"))
    dock.update_mask.paths.append("address")
    async with hub.client("netsuite") as erp:
        await erp.items.UpsertItems(item_service_pb2.UpsertItemsRequest(entries=[item_entry(ITEM)]))
        customers = customer_service_pb2.UpsertCustomersRequest(entries=[customer])
        await erp.customers.UpsertCustomers(customers)
        docks = location_service_pb2.UpsertLocationsRequest(entries=[dock])
        await erp.locations.UpsertLocations(docks)


async def request_of(caller: HubClient, number: str) -> str:
    """The fulfillment request of the only order, once it is released."""
    found: list[str] = []

    async def there() -> bool:
        request = fulfillment_service_pb2.ListFulfillmentRequestsRequest()
        listed = (await caller.fulfillments.ListFulfillmentRequests(request)).fulfillment_requests
        found[:] = [each.id for each in listed if number in each.order_number]
        return bool(found)

    await eventually(there, f"order {number} is released", WAIT_SECONDS)
    return found[0]


async def packed(hub: RunningHub, request: str, number: str, pieces: str = "1") -> str:
    """The id of a shipment of one carton."""
    carton = package(item=ITEM)
    carton.contents[0].quantity.value = pieces
    report = fulfillment_service_pb2.ReportPackedRequest(
        request_id=request_id(),
        fulfillment_request_id=request,
        shipment_number=number,
        packages=[carton],
        pack_time=at(),
    )
    async with hub.client("manhattan") as warehouse:
        return str((await warehouse.fulfillments.ReportPacked(report)).shipment.id)


async def leaves(hub: RunningHub, shipment: str, short: str = "") -> None:
    """short: what the confirm says will not be shipped of the line."""
    confirm = shipment_service_pb2.ManifestShipmentRequest(
        request_id=request_id(), shipment_id=shipment, manifest_time=at()
    )
    if short:
        row = confirm.cancelled.add(line_number=1)
        row.quantity.value, row.quantity.unit = short, "EA"
    async with hub.client("manhattan") as warehouse:
        await warehouse.shipments.ManifestShipment(confirm)


async def void(hub: RunningHub, shipment: str) -> None:
    request = shipment_service_pb2.VoidShipmentRequest(
        request_id=request_id(), shipment_id=shipment, reason="the trailer came back"
    )
    async with hub.client("manhattan") as warehouse:
        await warehouse.shipments.VoidShipment(request)


async def delivery(caller: HubClient, shipment: str, operation: str) -> delivery_pb2.Delivery:
    request = delivery_service_pb2.ListDeliveriesRequest(
        object_id=shipment, operation=operation, with_attempts=True
    )
    (found,) = (await caller.deliveries.ListDeliveries(request)).deliveries
    return found


async def reaches(caller: HubClient, shipment: str, operation: str, state: str) -> None:
    async def there() -> bool:
        return state_of(await delivery(caller, shipment, operation)) == state

    await eventually(there, f"{operation} is {state}", WAIT_SECONDS)


async def test_a_departure_that_is_repeated_after_its_void_tells_nothing(
    own_hub: RunningHub, tmp_path: Path
) -> None:
    """Proves at a real hub that a departure which Salesforce fails to take until its shipment is
    voided leaves no shipment there, that the delivery says why, that the void behind it goes
    through, and that what is packed in its place is told, fulfilled and invoiced once."""
    async with (
        org(own_hub, tmp_path, shipment_items=False) as sandbox,
        own_hub.client("operator") as caller,
    ):
        order: Any = {"number": "1", "lines": [[ITEM, "2", "Each"]]}
        await sandbox.commands()["fulfillment_order"](order)
        request = await request_of(caller, "1")
        first, second = [await packed(own_hub, request, f"SHP-{each}") for each in (1, 2)]
        sandbox.faults.add({"kind": "error_before", "operation": "upsert_shipment"})
        await leaves(own_hub, first)

        async def tried() -> bool:
            found = await delivery(caller, first, "confirm_shipment")
            return found.attempts > 0 and state_of(found) != "IN_FLIGHT"

        await eventually(tried, "a first attempt", WAIT_SECONDS)
        await void(own_hub, first)
        sandbox.faults.clear()
        await reaches(caller, first, "reverse_shipment", "CONFIRMED")
        confirmed = await delivery(caller, first, "confirm_shipment")
        assert state_of(confirmed) == "CONFIRMED"
        assert "the shipment was voided since" in str(confirmed)
        books = sandbox.books()
        assert (books["shipments"], books["invoices"]) == ([], [])
        again = await packed(own_hub, request, "SHP-3")
        for each in (again, second):
            await leaves(own_hub, each)
            await reaches(caller, each, "confirm_shipment", "CONFIRMED")
        books = sandbox.books()
        assert len(books["invoices"]) == 1
        assert {each["key"].partition("-LPN")[0] for each in books["shipments"]} == {again, second}
        assert [each["Status"] for each in books["fulfillment_orders"]] == ["Fulfilled"]


async def test_what_is_packed_again_is_billed_once_it_has_left(
    own_hub: RunningHub, tmp_path: Path
) -> None:
    """Proves at a real hub that Salesforce has an order, of which one shipment was voided and the
    rest left, fulfilled and billed only once what was in that one left, too."""
    async with org(own_hub, tmp_path) as sandbox, own_hub.client("operator") as caller:
        order: Any = {"number": "1", "lines": [[ITEM, "2", "Each"]]}
        await sandbox.commands()["fulfillment_order"](order)
        request = await request_of(caller, "1")
        first, second = [await packed(own_hub, request, f"SHP-{each}") for each in (1, 2)]
        await leaves(own_hub, first)
        await reaches(caller, first, "confirm_shipment", "CONFIRMED")
        await void(own_hub, first)
        await reaches(caller, first, "reverse_shipment", "CONFIRMED")
        await leaves(own_hub, second)
        await reaches(caller, second, "confirm_shipment", "CONFIRMED")
        assert sandbox.books()["invoices"] == []
        again = await packed(own_hub, request, "SHP-3")
        await leaves(own_hub, again)
        await reaches(caller, again, "confirm_shipment", "CONFIRMED")
        books = sandbox.books()
        (invoice,) = books["invoices"]
        assert list(dict(invoice["billed"]).values()) == [2]
        there = [each for each in books["shipments"] if not each.get("IsDeleted")]
        assert {each["key"].partition("-LPN")[0] for each in there} == {second, again}


async def test_what_was_voided_is_not_cancelled_with_what_is_short(
    own_hub: RunningHub, tmp_path: Path
) -> None:
    """Proves at a real hub, whose warehouse says with each of four ship confirms that 4 pieces of
    the line are short, that Salesforce cancels nothing while the 4 of a voided shipment have not
    left again, and then the 4 that are short, once, so that what left is billed."""
    async with org(own_hub, tmp_path) as sandbox, own_hub.client("operator") as caller:
        order: Any = {"number": "1", "lines": [[ITEM, "20", "Each"]]}
        await sandbox.commands()["fulfillment_order"](order)
        request = await request_of(caller, "1")
        first, *others = [await packed(own_hub, request, f"SHP-{n}", "4") for n in range(1, 5)]
        await leaves(own_hub, first, "4")
        await reaches(caller, first, "confirm_shipment", "CONFIRMED")
        await void(own_hub, first)
        await reaches(caller, first, "reverse_shipment", "CONFIRMED")
        for each in others:
            await leaves(own_hub, each, "4")
            await reaches(caller, each, "confirm_shipment", "CONFIRMED")
        told = str(await delivery(caller, others[-1], "confirm_shipment"))
        assert "4 of line 1 was in SHP-1, which was voided, and has not left since" in told
        books = sandbox.books()
        assert (books["cancellations"], books["invoices"]) == ([], [])
        again = await packed(own_hub, request, "SHP-5", "4")
        await leaves(own_hub, again, "4")
        await reaches(caller, again, "confirm_shipment", "CONFIRMED")
        books = sandbox.books()
        assert [each["quantity"] for each in books["cancellations"]] == [4]
        (invoice,) = books["invoices"]
        assert list(dict(invoice["billed"]).values()) == [16]
