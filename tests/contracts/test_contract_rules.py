"""What the compiled rules answer: owners, paths, scopes, validation, redaction; and how fast."""

from __future__ import annotations

from datetime import timedelta

import pytest
from crossdock import contracts
from crossdock.delivery.v1.delivery_pb2 import Dispatch
from crossdock.endpoint.v1.endpoint_pb2 import Endpoint
from crossdock.event.v1.event_pb2 import EventMetadata
from crossdock.fulfillment.v1.fulfillment_events_pb2 import FulfillmentPacked
from crossdock.item.v1.item_pb2 import Item
from crossdock.order.v1.order_pb2 import Order
from crossdock.order.v1.order_service_pb2 import CreateOrderRequest
from crossdock.types.v1.types_pb2 import Address, Party

ORDER = "crossdock.order.v1.Order"
SHIPMENT = "crossdock.shipment.v1.Shipment"


def a_request(lines: int = 5) -> CreateOrderRequest:
    request = CreateOrderRequest(request_id="5f0c1c0e-6a3f-4f9e-9d0b-1c2d3e4f5a6b")
    order = request.order
    order.number, order.business_unit, order.customer_number = "ORD-1", "retail-us", "C-1"
    order.carrier_code, order.service_code = "UPSN", "03"
    order.ship_to.name, order.ship_to.email = "Ada Lovelace", "ada@example.com"
    order.ship_to.address.lines.append("1 Main St")
    order.ship_to.address.city, order.ship_to.address.country_code = "Oakland", "US"
    for number in range(1, lines + 1):
        line = order.lines.add(line_number=number, item_number=f"SKU-{number}")
        line.quantity.value, line.quantity.unit = "2", "EA"
        line.ship_from_location_number = "DC-WEST"
        line.unit_price.amount, line.unit_price.currency = "19.99", "USD"
    return request


def test_an_owner_is_known_for_every_field_of_every_resource(contract: contracts.Contract) -> None:
    """Proves that no field is without an owner, and that foreign fields are what others own."""
    for resource in contract.resources.values():
        owners = contract.owners(resource.message_name)
        assert all(owner in contract.roles for owner in owners.values())
        for role in contract.roles:
            foreign = contract.foreign_fields(resource.message_name, role)
            assert foreign == {name for name, owner in owners.items() if owner != role}
    assert contract.owners(ORDER)["sales_document"] == "ERP"
    assert "packages" in contract.foreign_fields(SHIPMENT, "OMS")


def test_references_are_found_with_their_paths(contract: contracts.Contract) -> None:
    """Proves that nested references are named so that a caller finds them, empty ones left out."""
    paths = contract.reference_paths("crossdock.order.v1.CreateOrderRequest")
    assert contracts.ReferencePath("order.lines.item_number", "item", "number") in paths
    request = a_request(2)
    request.order.customer_number = ""
    found = {(ref.path, ref.kind, ref.by, ref.value) for ref in contract.references(request)}
    assert found == {
        ("order.lines[0].item_number", "item", "number", "SKU-1"),
        ("order.lines[1].item_number", "item", "number", "SKU-2"),
        ("order.lines[0].ship_from_location_number", "location", "number", "DC-WEST"),
        ("order.lines[1].ship_from_location_number", "location", "number", "DC-WEST"),
    }
    assert ("order_id", "order", "id") in {
        (path.path, path.kind, path.by) for path in contract.reference_paths(SHIPMENT)
    }


def test_scopes_are_read_through_embedded_resources(contract: contracts.Contract) -> None:
    """Proves that an event is routed by what its objects say."""
    event = FulfillmentPacked()
    event.fulfillment_request.business_unit = "retail-us"
    event.shipment.business_unit = "retail-us"
    event.shipment.ship_from_location_number = "DC-WEST"
    event.shipment.carrier_code = "UPSN"
    assert contract.scopes(event) == {
        "BUSINESS_UNIT": {"retail-us"},
        "LOCATION": {"DC-WEST"},
        "CARRIER": {"UPSN"},
    }


def test_targets_give_ordering_key_and_items(contract: contracts.Contract) -> None:
    """Proves that a target's paths lead to values: one delivery per package, in shipment order."""
    event = FulfillmentPacked()
    event.shipment.id = "s1"
    event.shipment.packages.add(id="p1")
    event.shipment.packages.add(id="p2")
    targets = contract.events_by_stem["fulfillment.packed"].targets
    buy = next(target for target in targets if target.operation == "buy_label")
    record = next(target for target in targets if target.operation == "record_packed")
    assert contracts.ordering_key_of(buy, event) == "s1"
    assert contracts.items_of(buy, event) == ["p1", "p2"]
    assert contracts.items_of(record, event) == [""]


def test_an_event_is_compiled_whole(contract: contracts.Contract) -> None:
    """Proves that every option of an event is there, in words."""
    event = contract.events["crossdock.order.v1.OrderApproved"]
    assert event.cloud_event_type == "dev.crossdock.order.approved.v1"
    assert (set(event.producers), event.milestone, event.object_field) == ({"OMS"}, True, "order")
    assert (event.latency_class, event.criticality) == ("REAL_TIME", "HIGH")
    assert (event.retention, event.replay_policy) == (timedelta(days=400), "UNCONFIRMED_ONLY")
    target = event.targets[0]
    assert (target.role, target.operation, target.on_reject) == (
        "ERP",
        "create_sales_order",
        "BLOCK",
    )


def test_a_method_is_compiled_whole(contract: contracts.Contract) -> None:
    """Proves that single writes, batches of writes and reads are told apart."""
    update = contract.methods["/crossdock.order.v1.OrderService/UpdateOrder"]
    assert (update.mutating, update.has_update_mask, update.has_expected_revision) == (True,) * 3
    assert (update.resource_field, update.fact, update.idempotency) == (
        "order",
        False,
        "IDEMPOTENT",
    )
    upsert = contract.methods["/crossdock.item.v1.ItemService/UpsertItems"]
    assert (upsert.entries_field, upsert.write_type) == ("entries", "crossdock.item.v1.ItemEntry")
    assert upsert.mutating and upsert.resource_field == "item"
    get = contract.methods["/crossdock.order.v1.OrderService/GetOrder"]
    assert (get.mutating, get.idempotency) == (False, "NO_SIDE_EFFECTS")
    assert {"OMS", "WMS"} <= get.callers


def test_a_valid_request_has_no_violation(contract: contracts.Contract) -> None:
    """Proves that validation refuses nothing that is right."""
    data = a_request().SerializeToString()
    assert contract.validate("crossdock.order.v1.CreateOrderRequest", data) == []


def test_all_violations_are_told_with_paths_and_rules(contract: contracts.Contract) -> None:
    """Proves that a caller learns everything at once, rules across fields included."""
    request = a_request()
    request.request_id = "no-uuid"
    request.order.number = ""
    request.order.lines[2].item_number = ""
    request.order.lines[3].line_number = 1
    found = contract.validate("crossdock.order.v1.CreateOrderRequest", request.SerializeToString())
    assert {(violation.field, violation.rule) for violation in found} == {
        ("request_id", "string.uuid"),
        ("order.number", "string.min_len"),
        ("order.lines[2].item_number", "string.min_len"),
        ("order", "order.line_numbers_unique"),
    }
    assert all(violation.description for violation in found)


def test_bytes_that_are_no_message_are_a_value_error(contract: contracts.Contract) -> None:
    """Proves that malformed bytes never pass for a message, and unknown names never for a type."""
    with pytest.raises(ValueError, match=r"crossdock\.order\.v1\.Order"):
        contract.validate(ORDER, b"\xff\xff")
    with pytest.raises(KeyError):
        contract.validate("crossdock.order.v1.Nothing", b"")


def test_sensitive_values_are_masked_and_bytes_measured(contract: contracts.Contract) -> None:
    """Proves that no name, street or encoded payload reaches a log."""
    request = a_request()
    plain = contract.redact(request)
    assert plain["order"]["ship_to"] == {
        "name": "***",
        "email": "***",
        "address": {"lines": ["***"], "city": "Oakland", "country_code": "US"},
    }
    assert plain["order"]["lines"][0]["item_number"] == "SKU-1"
    assert contract.redact(Dispatch(delivery_id="d", event=request.SerializeToString())) == {
        "delivery_id": "d",
        "event": f"({request.ByteSize()} bytes)",
    }
    assert "Ada" not in str(plain)


def test_zeros_are_shown_where_they_are_asked_for(contract: contracts.Contract) -> None:
    """Proves that what is 0, empty or unspecified is there on demand and looks like it, masked
    fields too; what has presence stays absent, and without the demand nothing changes."""
    party = Party(name="Ada", address=Address(city="Oakland"))
    assert contract.redact(party) == {"name": "***", "address": {"city": "Oakland"}}
    shown = contract.redact(party, zeros=True)
    assert (shown["name"], shown["email"], shown["address"]["lines"]) == ("***", "", [])
    assert "address" not in contract.redact(Party(), zeros=True)
    counted = contract.redact(Endpoint(), zeros=True)
    assert (counted["queue_depth"], counted["state"]) == ("0", "ENDPOINT_STATE_UNSPECIFIED")
    assert "oldest_time" not in counted


def test_generated_classes_are_found_by_name() -> None:
    """Proves that a stored message name leads to the stub's class."""
    contract = contracts.load()
    assert contract.generated_class(ORDER) is Order
    assert contract.generated_class("crossdock.item.v1.Item") is Item
    assert contract.generated_class("crossdock.event.v1.EventMetadata") is EventMetadata
