"""Every reading method over a real database: what is found, in which order, and who may see it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from crossdock.carrier.v1 import carrier_service_pb2
from crossdock.delivery.v1 import delivery_pb2, delivery_service_pb2
from crossdock.endpoint.v1 import endpoint_pb2, endpoint_service_pb2, held_fact_pb2
from crossdock.inventory.v1 import inventory_pb2, inventory_service_pb2
from crossdock.item.v1 import item_pb2, item_service_pb2
from crossdock.label.v1 import label_service_pb2
from crossdock.lineage.v1 import lineage_service_pb2
from crossdock.order.v1 import order_pb2, order_service_pb2
from crossdock.shipment.v1 import shipment_service_pb2
from crossdock.tracking.v1 import tracking_service_pb2
from crossdock_hub.config import Limits
from crossdock_hub.identity import Caller, Scope
from crossdock_hub.reading import listing
from crossdock_hub.reading.catalogue import QUERIES
from crossdock_hub.records import occupies
from crossdock_hub.store.reading import OPEN_STATES
from crossdock_hub.verbs import DECISIONS
from crossdock_hub.verbs.master_data import UPSERTS
from databases import on_sqlite_only
from decisions import CARRIER, CONTRACT, ERP, OPERATOR, WMS, request_id
from first_flow import LABELS, ORDERS, SHIPMENTS, TRACKING, Flow, order, scan
from stored_flow import Books, books, played, refusal

__all__ = ["books"]

DELIVERIES = "delivery.v1.DeliveryService"
ENDPOINTS = "endpoint.v1.EndpointService"
LINEAGE = "lineage.v1.LineageService"
ELSEWHERE = replace(WMS, scope=Scope(location_numbers=frozenset({"DC9"})))
# What is not a query: calls of adapters, and the stream.
NOT_QUERIES = {
    "/crossdock.delivery.v1.DeliveryService/BeginAttempts",
    "/crossdock.delivery.v1.DeliveryService/RenewLeases",
    "/crossdock.delivery.v1.DeliveryService/CompleteAttempts",
    "/crossdock.lineage.v1.LineageService/Tail",
    # Replays are read and planned apart, from tables of their own.
    "/crossdock.replay.v1.ReplayService/GetReplay",
    "/crossdock.replay.v1.ReplayService/ListReplays",
    "/crossdock.replay.v1.ReplayService/ListReplayItems",
    # What codes mean, and a backfill, which reads and then decides.
    "/crossdock.mapping.v1.MappingService/ListMappings",
    "/crossdock.mapping.v1.MappingService/GetMapping",
    "/crossdock.mapping.v1.MappingService/GetMappingCoverage",
    "/crossdock.mapping.v1.MappingService/BackfillMappings",
    # The hub's own status is no row of the books.
    "/crossdock.hub.v1.HubService/GetHubStatus",
}


async def pages(books: Books, method: str, request: Any, field: str, **asked: Any) -> list[Any]:
    """Every entry of a list, page by page."""
    found: list[Any] = []
    while True:
        answer = await books.ask(method, request, **asked)
        found += getattr(answer, field)
        if not answer.next_page_token:
            return found
        request.page_token = answer.next_page_token


def test_every_method_of_the_contract_is_somebody_s() -> None:
    """Proves that no reading method is forgotten and none is both read and decided."""
    assert set(CONTRACT.methods) == {*QUERIES, *DECISIONS, *UPSERTS, *NOT_QUERIES}
    assert not set(QUERIES) & {*DECISIONS, *UPSERTS}


# Objects


@pytest.mark.parametrize("method", listing.GETS)
async def test_get_by_id_and_number(books: Books, method: str) -> None:
    """Proves that each kind is read by its id and by its number, and only as its own kind."""
    flow, _ = played()
    flow.prove()
    await books.keep(flow)
    kind = listing.GETS[method]
    records = [r for k, r in flow.records.items() if k[:2] == ("object", kind)]
    rule = CONTRACT.methods[method]
    request_type: Any = CONTRACT.generated_class(rule.request_type)
    name = method.removeprefix("/crossdock.")
    for record in records:
        answer = await books.ask(name, request_type(id=record.id))
        assert getattr(answer, kind) == record.message
        if record.number:
            answer = await books.ask(name, request_type(number=record.number))
            assert getattr(answer, kind).id == record.id
    other = "label" if kind != "label" else "shipment"
    stranger = next(r for k, r in flow.records.items() if k[:2] == ("object", other))
    for unknown in (request_id(), stranger.id):
        found = await refusal(books, name, request_type(id=unknown))
        assert (found.reason, found.metadata["kind"]) == ("OBJECT_NOT_FOUND", kind)


async def test_a_label_is_found_by_its_tracking_number(books: Books) -> None:
    """Proves that the number on the parcel leads to its label."""
    flow, _ = played()
    await books.keep(flow)
    request = label_service_pb2.GetLabelRequest(tracking_number="1Z2")
    answer = await books.ask(f"{LABELS}/GetLabel", request)
    assert answer.label.package_number == "LPN-2"


@pytest.mark.parametrize("method", listing.LISTS)
async def test_every_list_holds_its_kind(books: Books, method: str) -> None:
    """Proves that each list answers with every object of its kind, oldest first."""
    flow, _ = played()
    flow.prove()
    await books.keep(flow)
    spec = listing.LISTS[method]
    request_type: Any = CONTRACT.generated_class(CONTRACT.methods[method].request_type)
    answer = await books.ask(method.removeprefix("/crossdock."), request_type())
    expected = sorted(r.id for k, r in flow.records.items() if k[:2] == ("object", spec.kind))
    assert [message.id for message in getattr(answer, spec.field)] == expected


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
async def test_pages_hold_everything_once(books: Books, size: int) -> None:
    """Proves that pages of any size give every object exactly once, in order."""
    flow = Flow()
    ids = [flow.create(order(f"SO-{index}")).id for index in range(7)]
    await books.keep(flow)
    request = order_service_pb2.ListOrdersRequest(page_size=size)
    found = await pages(books, f"{ORDERS}/ListOrders", request, "orders")
    assert [message.id for message in found] == ids


async def test_filters_of_columns_and_of_content(books: Books) -> None:
    """Proves that states, orders, statuses, carriers and shipments narrow their lists."""
    flow, shipment = played()
    other = flow.create(order("SO-9"))
    await books.keep(flow)
    created = order_service_pb2.ListOrdersRequest(state=order_pb2.ORDER_STATE_CREATED)
    answer = await books.ask(f"{ORDERS}/ListOrders", created)
    assert [message.id for message in answer.orders] == [other.id]
    of_order = shipment_service_pb2.ListShipmentsRequest(order_id=shipment.order_id)
    assert len((await books.ask(f"{SHIPMENTS}/ListShipments", of_order)).shipments) == 1
    of_order.order_id = other.id
    assert not (await books.ask(f"{SHIPMENTS}/ListShipments", of_order)).shipments
    for carrier, count in (("UPSN", 2), ("FDXG", 0)):
        labels = label_service_pb2.ListLabelsRequest(shipment_id=shipment.id, carrier_code=carrier)
        assert len((await books.ask(f"{LABELS}/ListLabels", labels)).labels) == count
    items = item_service_pb2.ListItemsRequest(status=item_pb2.ITEM_STATUS_ACTIVE)
    assert not (await books.ask("item.v1.ItemService/ListItems", items)).items
    accounts = carrier_service_pb2.ListCarrierAccountsRequest(carrier_code="UPSN")
    assert not (
        await books.ask("carrier.v1.CarrierService/ListCarrierAccounts", accounts)
    ).carrier_accounts
    reservations = inventory_service_pb2.ListInventoryReservationsRequest(
        state=inventory_pb2.INVENTORY_RESERVATION_STATE_CREATED
    )
    answer = await books.ask(
        "inventory.v1.InventoryService/ListInventoryReservations", reservations
    )
    assert not answer.inventory_reservations


async def test_moving_labels_are_those_on_their_way(books: Books) -> None:
    """Proves that arrived and voided parcels are not polled for any more."""
    flow, shipment = played()
    flow.report(scan("DELIVERED", flow.now, number="1Z1"))
    await books.keep(flow)
    books.queries.clock = lambda: flow.now
    moving = label_service_pb2.ListLabelsRequest(moving_only=True, page_size=1)
    found = await pages(books, f"{LABELS}/ListLabels", moving, "labels", caller=CARRIER)
    assert [label.tracking_number for label in found] == ["1Z2"]
    voided = label_service_pb2.ReportLabelVoidedRequest(
        request_id=request_id(), tracking_number="1Z2", carrier_code="UPSN"
    )
    flow.call(f"{LABELS}/ReportLabelVoided", voided, CARRIER)
    await books.keep(flow)
    moving = label_service_pb2.ListLabelsRequest(moving_only=True, shipment_id=shipment.id)
    assert not (await books.ask(f"{LABELS}/ListLabels", moving)).labels


async def test_a_list_ends_before_its_message_is_too_large(books: Books) -> None:
    """Proves that large objects make short pages, and that no page is empty because of them."""
    flow, _ = played()
    await books.keep(flow)
    books.queries.limits = Limits(message_bytes_max=100)
    request = label_service_pb2.ListLabelsRequest()
    answer = await books.ask(f"{LABELS}/ListLabels", request)
    assert len(answer.labels) == 1
    assert len(await pages(books, f"{LABELS}/ListLabels", request, "labels")) == 2


@pytest.mark.parametrize("token", ["x", "%%%", "AAAA", "AAAAAAAAAAAA", "ü"])
async def test_a_made_up_page_token_is_refused(books: Books, token: str) -> None:
    """Proves that rubbish in page_token is the caller's mistake, not a fault of the hub."""
    request = order_service_pb2.ListOrdersRequest(page_token=token)
    found = await refusal(books, f"{ORDERS}/ListOrders", request)
    assert (found.reason, found.violations[0].field) == ("INVALID_FIELD", "page_token")


async def test_a_token_of_another_query_is_refused(books: Books) -> None:
    """Proves that a token only fits the filters it came from; the page size may change."""
    flow = Flow()
    for index in range(3):
        flow.create(order(f"SO-{index}"))
    await books.keep(flow)
    request = order_service_pb2.ListOrdersRequest(page_size=1)
    token = (await books.ask(f"{ORDERS}/ListOrders", request)).next_page_token
    wider = order_service_pb2.ListOrdersRequest(page_size=2, page_token=token)
    assert len((await books.ask(f"{ORDERS}/ListOrders", wider)).orders) == 2
    other = order_service_pb2.ListOrdersRequest(
        page_token=token, state=order_pb2.ORDER_STATE_CREATED
    )
    found = await refusal(books, f"{ORDERS}/ListOrders", other)
    assert found.violations[0].field == "page_token"
    shipments = shipment_service_pb2.ListShipmentsRequest(page_token=token)
    assert (await refusal(books, f"{SHIPMENTS}/ListShipments", shipments)).reason == "INVALID_FIELD"


async def test_outside_the_scope_nothing_exists(books: Books) -> None:
    """Proves that another warehouse's shipment is unknown, in Get, List, scans and Trace alike."""
    flow, shipment = played()
    await books.keep(flow)
    get = shipment_service_pb2.GetShipmentRequest(id=shipment.id)
    assert (await books.ask(f"{SHIPMENTS}/GetShipment", get, WMS)).shipment.id == shipment.id
    found = await refusal(books, f"{SHIPMENTS}/GetShipment", get, ELSEWHERE)
    assert found.reason == "OBJECT_NOT_FOUND"
    everything = shipment_service_pb2.ListShipmentsRequest()
    answer = await books.ask(f"{SHIPMENTS}/ListShipments", everything, ELSEWHERE)
    assert not answer.shipments
    scans = tracking_service_pb2.ListTrackingEventsRequest(shipment_id=shipment.id)
    found = await refusal(books, f"{TRACKING}/ListTrackingEvents", scans, ELSEWHERE)
    assert found.reason == "OBJECT_NOT_FOUND"
    trace = lineage_service_pb2.TraceRequest(id="SHP-1")
    found = await refusal(books, f"{LINEAGE}/Trace", trace, ELSEWHERE)
    assert found.reason == "OBJECT_NOT_FOUND"


# Deliveries and endpoints


async def deliveries(books: Books, caller: Caller = OPERATOR, **filters: Any) -> list[Any]:
    request = delivery_service_pb2.ListDeliveriesRequest(**filters)
    return await pages(books, f"{DELIVERIES}/ListDeliveries", request, "deliveries", caller=caller)


async def test_an_endpoint_sees_its_own_deliveries(books: Books) -> None:
    """Proves that only operators see others' deliveries and those that nobody serves."""
    flow = Flow()
    del flow.records["endpoint", "ups"]
    _, (part,) = flow.released()
    flow.pack(part)
    await books.keep(flow)
    assert {d.endpoint for d in await deliveries(books)} == {"netsuite", "manhattan", ""}
    assert {d.endpoint for d in await deliveries(books, ERP)} == {"netsuite"}
    assert not await deliveries(books, ERP, endpoint="manhattan")
    unrouted = await deliveries(books, states=[delivery_pb2.DELIVERY_STATE_UNROUTED])
    assert [d.operation for d in unrouted] == ["buy_label"]
    get = delivery_service_pb2.GetDeliveryRequest(id=unrouted[0].id)
    assert (await books.ask(f"{DELIVERIES}/GetDelivery", get)).delivery.id == get.id
    found = await refusal(books, f"{DELIVERIES}/GetDelivery", get, CARRIER)
    assert found.reason == "OBJECT_NOT_FOUND"


@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize("size", [1, 2, 100])
async def test_deliveries_come_in_the_order_of_their_events(
    books: Books, size: int, newest_first: bool
) -> None:
    """Proves that pages of deliveries are complete, ordered and without repeats, both ways."""
    flow, _ = played()
    await books.keep(flow)
    expected = [r.id for r in sorted(flow.deliveries(), key=lambda r: (r.sequence, r.id))]
    found = await deliveries(books, page_size=size, newest_first=newest_first)
    assert [d.id for d in found] == (expected[::-1] if newest_first else expected)


async def test_deliveries_of_an_object_flow_or_package(books: Books) -> None:
    """Proves that an id of a flow, of one object in it, or of a package narrows the list."""
    flow, shipment = played()
    flow.released(order("SO-2"))
    await books.keep(flow)

    async def operations(object_id: str) -> list[str]:
        return sorted(d.operation for d in await deliveries(books, object_id=object_id))

    assert await operations(shipment.packages[0].id) == ["buy_label"]
    assert await operations(shipment.id) == [
        "buy_label",
        "buy_label",
        "post_goods_issue",
        "print_label",
        "print_label",
    ]
    assert len(await operations(shipment.order_id)) == 7
    assert await operations(request_id()) == []
    sold = await deliveries(books, operation="buy_label", endpoint="ups")
    assert {d.item for d in sold} == {p.id for p in shipment.packages}


async def test_attempts_come_where_they_are_asked_for(books: Books) -> None:
    """Proves that the attempt log is complete and in order, and left out unless asked for."""
    flow = Flow()
    flow.released()
    record = flow.delivery("netsuite", "create_sales_order")
    flow.settle(record, "RETRY", reason="connection refused")
    flow.pass_time(40)
    flow.settle(record, references=[("sales_order", "SO-77")])
    await books.keep(flow)
    get = delivery_service_pb2.GetDeliveryRequest(id=record.id)
    found = (await books.ask(f"{DELIVERIES}/GetDelivery", get, ERP)).delivery
    outcomes = [attempt.outcome for attempt in found.attempt_log]
    assert outcomes == [
        delivery_pb2.ATTEMPT_OUTCOME_RETRY,
        delivery_pb2.ATTEMPT_OUTCOME_CONFIRMED,
    ]
    assert found.vendor_references[0].value == "SO-77"
    assert not (await deliveries(books, ERP))[0].attempt_log
    assert len((await deliveries(books, ERP, with_attempts=True))[0].attempt_log) == 2


async def test_a_pause_and_a_used_up_budget_are_told(books: Books) -> None:
    """Proves that what is ready says which endpoint it waits for, and why."""
    flow = Flow()
    for index in range(6):
        flow.approve(flow.create(order(f"SO-{index}")).id)
    for record in flow.deliveries()[:4]:
        flow.take(record)
    await books.keep(flow)
    ready = [delivery_pb2.DELIVERY_STATE_READY]
    waiting = (await deliveries(books, states=ready))[0]
    assert waiting.hold_reason == delivery_pb2.HOLD_REASON_BUDGET
    assert waiting.waiting_on == "all 4 calls at once that netsuite takes are in use"
    pause = endpoint_service_pb2.PauseEndpointRequest(
        request_id=request_id(), endpoint="netsuite", reason="lunch"
    )
    flow.call(f"{ENDPOINTS}/PauseEndpoint", pause, OPERATOR)
    await books.keep(flow)
    waiting = (await deliveries(books, states=ready))[0]
    assert waiting.hold_reason == delivery_pb2.HOLD_REASON_PAUSE
    assert waiting.waiting_on == "endpoint netsuite is paused: lunch"
    moving = (await deliveries(books, states=[delivery_pb2.DELIVERY_STATE_IN_FLIGHT]))[0]
    assert moving.hold_reason == delivery_pb2.HOLD_REASON_UNSPECIFIED


async def test_figures_are_those_of_the_ledger(books: Books) -> None:
    """Proves that depth, age, use, doubt and what is parked of each endpoint equal a recount of its
    deliveries, and that what is parked is not told as doubt."""
    flow, _ = played()
    flow.take(flow.deliveries("netsuite")[0])
    parked = replace(flow.deliveries("netsuite")[1], state="PARKED", pending=False)
    flow.records["delivery", parked.id] = parked
    flow.settle(flow.deliveries("ups")[0], "UNKNOWN")
    flow.settle(flow.deliveries("ups")[1])
    await books.keep(flow)
    answer = await books.ask(
        f"{ENDPOINTS}/ListEndpoints", endpoint_service_pb2.ListEndpointsRequest()
    )
    assert [e.id for e in answer.endpoints] == sorted(e.id for e in answer.endpoints)
    for endpoint in answer.endpoints:
        own = [r for r in flow.deliveries(endpoint.id) if r.state in OPEN_STATES]
        oldest = min((r.created_at for r in own), default=0)
        assert endpoint.queue_depth == len(own)
        assert endpoint.oldest_time.ToMicroseconds() == oldest
        assert endpoint.in_use == sum(occupies(r) for r in own)
        assert endpoint.in_doubt == sum(r.state in ("UNKNOWN", "RESOLVING") for r in own)
        assert endpoint.parked == sum(r.state == "PARKED" for r in own)
    one = await books.ask(
        f"{ENDPOINTS}/GetEndpoint", endpoint_service_pb2.GetEndpointRequest(id="ups")
    )
    assert (one.endpoint.in_doubt, one.endpoint.parked) == (1, 0)
    two = await books.ask(
        f"{ENDPOINTS}/GetEndpoint", endpoint_service_pb2.GetEndpointRequest(id="netsuite")
    )
    assert (two.endpoint.in_doubt, two.endpoint.parked) == (0, 1)
    assert one.endpoint.state == endpoint_pb2.ENDPOINT_STATE_ACTIVE
    unknown = endpoint_service_pb2.GetEndpointRequest(id="sap")
    assert (await refusal(books, f"{ENDPOINTS}/GetEndpoint", unknown)).reason == "OBJECT_NOT_FOUND"


async def test_endpoints_come_in_pages(books: Books) -> None:
    """Proves that endpoints are paged like everything else."""
    await books.keep(Flow())
    request = endpoint_service_pb2.ListEndpointsRequest(page_size=2)
    found = await pages(books, f"{ENDPOINTS}/ListEndpoints", request, "endpoints")
    assert [e.id for e in found] == sorted(
        ["oms", "netsuite", "manhattan", "ups", "shipping-desk", "operator"]
    )


async def test_a_cursor_is_its_endpoint_s_own(books: Books) -> None:
    """Proves that a cursor begins at version 0 and is read by the endpoint that moved it."""
    flow = Flow()
    put = endpoint_service_pb2.PutCursorRequest(request_id=request_id(), name="items", value=b"\1")
    flow.call(f"{ENDPOINTS}/PutCursor", put, ERP)
    await books.keep(flow)
    get = endpoint_service_pb2.GetCursorRequest(name="items")
    mine = await books.ask(f"{ENDPOINTS}/GetCursor", get, ERP)
    other = await books.ask(f"{ENDPOINTS}/GetCursor", get, WMS)
    assert [(mine.value, mine.version), (other.value, other.version)] == [(b"\1", 1), (b"", 0)]


async def test_held_facts_are_listed_with_what_they_await(books: Books) -> None:
    """Proves that waiting facts and raw payloads are seen by their endpoint and by operators."""
    flow = Flow()
    flow.report(scan("IN_TRANSIT", flow.now, number="1Z9"))
    raw = held_fact_pb2.HoldPayloadRequest(
        request_id=request_id(),
        payload=b"<x/>",
        content_type="text/xml",
        source="/ups/track-alert",
        reason="no JSON",
    )
    flow.call(f"{ENDPOINTS}/HoldPayload", raw, CARRIER)
    await books.keep(flow)
    listed = held_fact_pb2.ListHeldFactsRequest(page_size=1)
    found = await pages(books, f"{ENDPOINTS}/ListHeldFacts", listed, "held_facts", caller=CARRIER)
    assert [fact.awaits for fact in found] == [
        "parcel:UPSN/1Z9",
        "translation:/ups/track-alert",
    ]
    assert (found[1].payload, found[1].content_type) == (b"<x/>", "text/xml")
    assert found[0].refusal.reason == "OBJECT_NOT_FOUND"
    everything = held_fact_pb2.ListHeldFactsRequest(state=held_fact_pb2.HELD_FACT_STATE_HELD)
    assert len((await books.ask(f"{ENDPOINTS}/ListHeldFacts", everything)).held_facts) == 2
    for request_of, caller in (
        (held_fact_pb2.ListHeldFactsRequest(), ERP),
        (held_fact_pb2.ListHeldFactsRequest(endpoint="ups"), ERP),
        (held_fact_pb2.ListHeldFactsRequest(state=held_fact_pb2.HELD_FACT_STATE_APPLIED), CARRIER),
    ):
        answer = await books.ask(f"{ENDPOINTS}/ListHeldFacts", request_of, caller)
        assert not answer.held_facts


# Scans and references


async def test_scans_come_in_the_order_they_happened(books: Books) -> None:
    """Proves that late scans take their place by event time, of a parcel and of a shipment."""
    flow, shipment = played()
    hour = 3_600_000_000
    flow.report(scan("OUT_FOR_DELIVERY", flow.now, number="1Z1"))
    flow.report(scan("IN_TRANSIT", flow.now - hour, number="1Z1"))
    flow.report(scan("CARRIER_ACCEPTED", flow.now - 2 * hour, number="1Z2"))
    await books.keep(flow)
    method = f"{TRACKING}/ListTrackingEvents"
    one = tracking_service_pb2.ListTrackingEventsRequest(tracking_number="1Z1", page_size=1)
    found = await pages(books, method, one, "tracking_events")
    assert [s.status_code for s in found] == ["IN_TRANSIT", "OUT_FOR_DELIVERY"]
    both = tracking_service_pb2.ListTrackingEventsRequest(shipment_id=shipment.id, page_size=2)
    found = await pages(books, method, both, "tracking_events")
    assert [s.tracking_number for s in found] == ["1Z2", "1Z1", "1Z1"]
    unknown = tracking_service_pb2.ListTrackingEventsRequest(tracking_number="1Z8")
    assert (await refusal(books, method, unknown)).reason == "OBJECT_NOT_FOUND"


async def test_references_translate_both_ways(books: Books) -> None:
    """Proves that numbers and ids become keys and keys become numbers, each in its own system."""
    flow = Flow()
    for number in ("SKU-1", "SKU-2"):
        entry = item_service_pb2.ItemEntry(request_id=request_id())
        entry.item.number, entry.item.description = number, f"Thing {number}"
        entry.update_mask.paths.append("description")
        entry.references.add(system="netsuite", type="item_id", value=f"7{number[-1]}")
        request = item_service_pb2.UpsertItemsRequest(entries=[entry])
        flow.call("item.v1.ItemService/UpsertItems", request, ERP)
    await books.keep(flow)
    second = flow.records["number", "item", "SKU-2"]
    asked = lineage_service_pb2.LookUpReferencesRequest(
        kind="item", numbers=["SKU-1", second, "SKU-9"], values=["72"]
    )
    answer = await books.ask(f"{LINEAGE}/LookUpReferences", asked, ERP)
    found = {match.number: match.reference.value for match in answer.matches}
    assert found == {"SKU-1": "71", "SKU-2": "72"}
    assert len(answer.matches) == 2
    asked.system = "manhattan"
    assert not (await books.ask(f"{LINEAGE}/LookUpReferences", asked, ERP)).matches


@on_sqlite_only
async def test_look_ups_use_their_indexes(books: Books) -> None:
    """Proves that polling for moving parcels and asking for a package never read a whole table."""
    statements = {
        "SELECT label_id FROM parcels WHERE parcels.milestone NOT IN ('DELIVERED', 'RETURNED') "
        "AND parcels.label_id > '' ORDER BY parcels.label_id LIMIT 5": "parcels_moving",
        "SELECT id FROM deliveries WHERE deliveries.item = 'x' AND deliveries.item <> ''": (
            "deliveries_item"
        ),
    }
    async with books.store.read() as connection:
        for statement, index in statements.items():
            plan = await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}")
            assert index in str(plan.all())
