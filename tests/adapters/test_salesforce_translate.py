"""Fulfillment orders as orders, shortages as quantities, events as ids: on recorded payloads."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from crossdock.fulfillment.v1 import fulfillment_pb2
from crossdock.shipment.v1 import shipment_pb2
from crossdock_adapters.salesforce import avro, conformance, translate, translate_events
from crossdock_adapters.salesforce.adapter import ADAPTER
from crossdock_adapters.salesforce.answers import error_of
from crossdock_adapters.salesforce.names import FIELDS, Names
from crossdock_adapters.salesforce.stages import Stages
from crossdock_adapters.salesforce.translate import Found, Rules
from crossdock_adapters.salesforce.translate_events import Place, Window
from crossdock_adapters.sdk import vendor_json
from crossdock_adapters.sdk.outcomes import Untranslatable
from crossdock_adapters.sdk.places import Unreadable

PAYLOADS = Path(__file__).parent / "payloads/salesforce"
NAMES = Names(FIELDS)
RULES = Rules(
    names=NAMES,
    endpoint="salesforce",
    business_unit="EAST",
    number_prefix="SF-",
    default_customer="",
    currency="USD",
    default_unit="EA",
    channel="salesforce",
    unit=lambda word: {"Each": "EA"}.get(word),
    locations={"DC-4": "WH-EAST"},
    delivery_methods={"Standard": "UPS/03"},
    countries={"United States": "US"},
)


def recorded(name: str) -> Any:
    return vendor_json.loads((PAYLOADS / name).read_bytes())


def found() -> Found:
    orders, lines = (
        part["body"]["records"] for part in recorded("composite_order.json")["compositeResponse"]
    )
    return Found(orders[0], lines)


def with_order(name: str, value: Any) -> Found:
    """The recorded one with another value of that name."""
    given = json.loads(json.dumps(found().order))
    *way, last = FIELDS[name].split(".")
    record = given
    for part in way:
        record = record[part]
    record[last] = value
    return replace(found(), order=given)


def test_a_fulfillment_order_becomes_an_order() -> None:
    """Proves that lines keep their place among the rows, a charge is none, quantities and prices
    are exact, and location, country, unit and time are the hub's."""
    order = translate.order_of(found(), RULES)
    assert (order.number, order.customer_number) == ("SF-FO-0000000042", "CUST-1003")
    assert (order.carrier_code, order.service_code) == ("UPS", "03")
    assert [
        (line.line_number, line.item_number, line.quantity.value, line.quantity.unit)
        for line in order.lines
    ] == [(1, "SKU-1001", "2", "EA"), (3, "SKU-1002", "5", "EA")]
    assert [line.unit_price.amount for line in order.lines] == ["12.5", "0.1"]
    assert {line.ship_from_location_number for line in order.lines} == {"WH-EAST"}
    assert list(order.ship_to.address.lines) == ["7 Alder Street", "Unit 2"]
    assert order.ship_to.address.country_code == "US"
    assert order.order_time.ToJsonString() == "2026-03-02T09:14:07Z"
    assert translate.category_of(found(), NAMES) == "ACTIVATED"
    assert translate.status_of(found(), NAMES) == "Allocated"


def test_prices_are_in_the_currency_of_their_order() -> None:
    """Proves that in an org of several currencies, whose field is named, each order's prices are in
    its own, and that what is no currency is held instead of told in another."""
    rules = replace(RULES, names=Names({**FIELDS, "order.currency": "CurrencyIsoCode"}))
    euros = replace(found(), order={**found().order, "CurrencyIsoCode": "EUR"})
    prices = [line.unit_price for line in translate.order_of(euros, rules).lines]
    assert [(price.amount, price.currency) for price in prices] == [("12.5", "EUR"), ("0.1", "EUR")]
    for wrong in (None, "euro"):
        strange = replace(found(), order={**found().order, "CurrencyIsoCode": wrong})
        with pytest.raises(Unreadable, match="/CurrencyIsoCode"):
            translate.order_of(strange, rules)


@pytest.mark.parametrize(
    ("street", "lines"),
    [
        ("7 Alder Street\nUnit 2", ["7 Alder Street", "Unit 2"]),
        ("a\nb\nc\nd\ne", ["a", "b", "c", "d, e"]),
        (f"{'Long ' * 19}Alder Street, Unit 2", [("Long " * 19 + "Alder"), "Street, Unit 2"]),
        ("x" * 130, ["x" * 100, "x" * 30]),
        (f"a\nb\nc\nd\n{'y ' * 70}Unit 2", [f"a, b, c, d, {'y ' * 43}y", f"{'y ' * 26}Unit 2"]),
    ],
)
def test_no_part_of_a_street_is_left_out(street: str, lines: list[str]) -> None:
    """Proves that a street of more or longer lines than an address of the hub has is broken into
    them, and not cut: what is behind the hundredth letter may be whose door it is."""
    order = translate.order_of(with_order("order.street", street), RULES)
    assert list(order.ship_to.address.lines) == lines


def test_a_street_without_end_is_held() -> None:
    """Proves that a street for which there is no room is told by its place, and not cut."""
    with pytest.raises(Unreadable, match=r"/FulfilledToStreet: .*400"):
        translate.order_of(with_order("order.street", "x" * 401), RULES)


@pytest.mark.parametrize(
    ("name", "value", "place"),
    [
        ("order.delivery_method", "Drone", "/DeliveryMethod/Name: .*'Drone'"),
        ("order.customer", None, "/OrderSummary/Account/AccountNumber"),
        ("order.location", "", "/FulfilledFromLocation/ExternalReference"),
        ("order.country", "Atlantis", "/FulfilledToCountry: .*'Atlantis'"),
        ("order.placed", "2026-03-02T09:14:07", "/OrderSummary/OrderedDate: .*without a zone"),
        ("order.name", None, "/FulfilledToName"),
    ],
)
def test_what_an_order_lacks_is_told_with_its_place(name: str, value: Any, place: str) -> None:
    """Proves that nothing that an order needs is guessed: its place is told, and the raw value."""
    with pytest.raises(Unreadable, match=place):
        translate.order_of(with_order(name, value), RULES)


@pytest.mark.parametrize(
    ("field", "value", "place"),
    [
        ("Quantity", Decimal("1E+999999999"), "/FulfillmentOrderLineItem/0/Quantity"),
        ("Quantity", -1, "/FulfillmentOrderLineItem/0/Quantity"),
        ("Quantity", "2", "/FulfillmentOrderLineItem/0/Quantity"),
        ("Product2", None, "/FulfillmentOrderLineItem/0/Product2/StockKeepingUnit"),
    ],
)
def test_a_row_that_is_none_is_told_with_its_place(field: str, value: Any, place: str) -> None:
    """Proves that a quantity which is none, or none of this world, never becomes one."""
    lines = [{**found().lines[0], field: value}, *found().lines[1:]]
    with pytest.raises(Unreadable, match=place):
        translate.order_of(replace(found(), lines=lines), RULES)


def short(number: int, quantity: str) -> fulfillment_pb2.FulfillmentRequest:
    request = fulfillment_pb2.FulfillmentRequest()
    line = request.short.add(line_number=number)
    line.quantity.value, line.quantity.unit = quantity, "EA"
    return request


def test_what_is_cancelled_already_is_not_cancelled_again() -> None:
    """Proves that only what is left of a shortage is asked for, by what the row had and has."""
    row = "0a45f9000000001AAA"
    assert translate.short_rows(found(), short(1, "1"), RULES) == {}
    assert translate.short_rows(found(), short(1, "2"), RULES) == {row: Decimal(1)}
    assert translate.remaining(found(), row, Decimal(1), NAMES) == Decimal("1.0")


@pytest.mark.parametrize(
    ("picked", "lacking"), [((), "2"), (("1",), "2"), (("1", "1"), "1"), (("1", "2"), None)]
)
def test_what_another_pick_found_is_not_cancelled(
    picked: tuple[str, ...], lacking: str | None
) -> None:
    """Proves that of three that were asked for, two of which one pick was short of, no more is
    cancelled than no pick has found."""
    request = short(1, "2")
    asked = request.lines.add(line_number=1)
    asked.quantity.value, asked.quantity.unit = "3", "EA"
    for each in picked:
        line = request.picked.add(line_number=1)
        line.quantity.value, line.quantity.unit = each, "EA"
    lines = [{**found().lines[0], "Quantity": 3, "OriginalQuantity": 3}, *found().lines[1:]]
    expected = {} if lacking is None else {"0a45f9000000001AAA": Decimal(lacking)}
    assert translate.short_rows(replace(found(), lines=lines), request, RULES) == expected


@pytest.mark.parametrize(("has", "left"), [(8, Decimal(1)), (7, None)])
def test_what_was_taken_out_before_it_was_placed_is_no_shortage(has: int, left: Any) -> None:
    """Proves that of a row which had ten and was placed with eight a shortage of one is taken out,
    once: what the OMS took out before was never asked of the warehouse."""
    request = short(1, "1")
    for lines, quantity in ((request.lines, "8"), (request.picked, "7")):
        line = lines.add(line_number=1)
        line.quantity.value, line.quantity.unit = quantity, "EA"
    rows = [{**found().lines[0], "Quantity": has, "OriginalQuantity": 10}, *found().lines[1:]]
    expected = {} if left is None else {"0a45f9000000001AAA": left}
    assert translate.short_rows(replace(found(), lines=rows), request, RULES) == expected


def item_of(quantity: str, *packed: tuple[str, str, list[str]]) -> dict[str, Any]:
    """The item of a departure of so much of line 1, packed as (quantity, lot, serial numbers)."""
    shipment = two_cartons()
    for amount, lot, serials in packed:
        content = shipment.packages[0].contents.add(line_number=1, item_number="SKU-1001", lot=lot)
        content.serial_numbers.extend(serials)
        content.quantity.value, content.quantity.unit = amount, "EA"
    row = shipment.departures.add(package_numbers=["C-1"]).shipped.add(line_number=1)
    row.quantity.value, row.quantity.unit = quantity, "EA"
    lines = [{**each, "Product2Id": "01t5f9000000001AAA"} for each in found().lines]
    rows = translate.shipment_item_rows(shipment, replace(found(), lines=lines), RULES, "Key__c")
    return rows["s-1-C-1-1"]


def test_an_item_names_no_piece_that_stayed() -> None:
    """Proves that a carton of which less left than was packed names neither serial numbers nor
    lots that may have stayed, and that of many numbers none is told by half."""
    assert item_of("2", ("2", "L-1", ["S-1", "S-2"]))["Description"] == (
        "lot L-1, serial S-1, serial S-2"
    )
    one = item_of("1", ("2", "L-1", ["S-1", "S-2"]))
    assert (one["Quantity"], one["Description"]) == (Decimal(1), "lot L-1")
    assert "Description" not in item_of("3", ("2", "L-1", []), ("2", "L-2", []))
    assert "Description" not in item_of("3", ("2", "L-1", []), ("2", "", []))
    many = [f"S-{number:04}" for number in range(40)]
    told = item_of("40", ("40", "", many))["Description"]
    assert len(told) <= 255 and told.endswith("serial S-0015 and 24 more")


@pytest.mark.parametrize(("number", "quantity"), [(9, "1"), (1, "4")])
def test_a_shortage_of_what_is_not_there_is_no_shortage(number: int, quantity: str) -> None:
    """Proves that a line nobody has, or more than it ever had, is refused before anything left."""
    with pytest.raises(Untranslatable):
        translate.short_rows(found(), short(number, quantity), RULES)


def two_cartons() -> shipment_pb2.Shipment:
    shipment = shipment_pb2.Shipment(id="s-1", carrier_code="UPS")
    shipment.ship_to.name = "R. Okonkwo"
    for number in ("C-1", "C-2"):
        shipment.packages.add(id=f"id-{number}", number=number)
        shipment.progress.add(package_id=f"id-{number}", tracking_number=f"1Z-{number}")
    return shipment


def test_each_carton_that_left_is_a_shipment_of_its_own() -> None:
    """Proves that a departure writes its own cartons with their own tracking numbers, under a key
    that is the same each time."""
    shipment = two_cartons()
    shipment.departures.add(package_numbers=["C-1"])
    first = translate.shipment_rows(shipment, "0a3", "Shipped", NAMES)
    assert list(first) == ["s-1-C-1"]
    assert first["s-1-C-1"]["TrackingNumber"] == "1Z-C-1"
    shipment.departures.add(package_numbers=["C-2"])
    assert list(translate.shipment_rows(shipment, "0a3", "Shipped", NAMES)) == ["s-1-C-2"]


def test_a_delivery_is_expected_at_the_end_of_its_window() -> None:
    """Proves that a window without an end says no time, and one with an end says that."""
    shipment = two_cartons()
    shipment.estimated_delivery.start.FromJsonString("2026-03-04T08:00:00Z")
    row = translate.shipment_rows(shipment, "0a3", "Shipped", NAMES)["s-1-C-1"]
    assert "ExpectedDeliveryDate" not in row
    shipment.estimated_delivery.end.FromJsonString("2026-03-04T17:00:00Z")
    row = translate.shipment_rows(shipment, "0a3", "Shipped", NAMES)["s-1-C-1"]
    assert row["ExpectedDeliveryDate"] == "2026-03-04T17:00:00.000Z"


def test_the_first_part_that_failed_says_why() -> None:
    """Proves that a list, an object, an output with errors, and none, are read for their code."""
    parts = recorded("composite_rolled_back.json")["compositeResponse"]
    assert error_of(parts[1]["body"])[0] == "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY"
    assert error_of(recorded("action_with_errors.json"))[0] == "INVALID_INPUT"
    output = {"success": False, "errors": [{"errorCode": "INVALID_STATUS", "message": "Closed."}]}
    outer = {"enhancedErrorType": None, "message": "It failed.", "output": output}
    assert error_of([outer]) == error_of(outer) == ("INVALID_STATUS", "Closed.")
    assert error_of([{"errorCode": "NOT_FOUND", "output": None}])[0] == "NOT_FOUND"
    assert error_of(None) == ("", "")
    alone = {"success": False, "errors": {"statusCode": "DUPLICATE_VALUE", "message": "There."}}
    assert error_of(alone) == ("DUPLICATE_VALUE", "There.")
    assert error_of({**alone, "errors": {}}) == ("", "")


@pytest.mark.parametrize("inner", [{"Name": ["is empty"]}, [{"Name": "is empty"}], "is empty", []])
def test_errors_that_name_no_code_hide_none(inner: Any) -> None:
    """Proves that what stands beside errors which name fields, and no code, is read all the same: a
    call of which nothing is known is another thing than one that was refused."""
    told = {"errorCode": "INVALID_FIELD", "message": "No such field.", "errors": inner}
    assert error_of(told) == error_of([told]) == ("INVALID_FIELD", "No such field.")


IS_IDLE = Stages(ADAPTER.mappings).is_idle
ORDER_ID = "0a35f9000000001AAA"


@pytest.mark.parametrize("category", ["Activated", "ACTIVATED", "Canceled", "CANCELLED", "New One"])
def test_a_status_that_means_something_is_read(category: str) -> None:
    """Proves that both spellings are heard in any case, and an unknown one is not passed by."""
    record = {"FulfillmentOrderId": ORDER_ID, "NewStatusCategory": category}
    assert translate_events.change_of("E", record, IS_IDLE).ids == (ORDER_ID,)


def test_a_status_that_means_nothing_costs_no_call() -> None:
    """Proves that our own status writes, which come back as events, are passed over with a note."""
    record = {"FulfillmentOrderId": ORDER_ID, "NewStatusCategory": "Fulfilling"}
    change = translate_events.change_of("E", record, IS_IDLE)
    assert change.ids == () and change.note


@pytest.mark.parametrize("kind", ["CREATE", "UPDATE", "GAP_UPDATE", "GAP_CREATE", "SOMETHING_NEW"])
def test_a_change_with_ids_is_read_again(kind: str) -> None:
    """Proves that a gap of known records, and a kind nobody documented, are read like a change."""
    header = {"entityName": "FulfillmentOrder", "changeType": kind, "recordIds": [ORDER_ID] * 2}
    change = translate_events.change_of("E", {"ChangeEventHeader": header}, IS_IDLE)
    assert change.ids == (ORDER_ID,)


def test_an_overflow_is_about_everything() -> None:
    """Proves that a gap which names no records asks for all that changed."""
    header = {"entityName": "FulfillmentOrder", "changeType": "GAP_OVERFLOW", "recordIds": []}
    assert translate_events.change_of("E", {"ChangeEventHeader": header}, IS_IDLE).everything


@pytest.mark.parametrize("value", [None, "", "x' OR Id != '", "0a35f90000", 7])
def test_what_is_no_id_goes_into_no_query(value: Any) -> None:
    """Proves that an id that is none is refused with its place, whatever it would do in a query."""
    record = {"FulfillmentOrderId": value, "NewStatusCategory": "Activated"}
    with pytest.raises(Unreadable, match="/FulfillmentOrderId"):
        translate_events.change_of("E", record, IS_IDLE)


def test_a_place_is_kept_as_it_was() -> None:
    """Proves that any bytes of a replay id, and the time, come back; other content is refused."""
    place = Place(bytes(range(256)), datetime(2026, 3, 2, 9, 14, 7, tzinfo=UTC))
    assert translate_events.place_of(translate_events.place_bytes(place)) == place
    assert translate_events.place_of(b"") == Place()
    with pytest.raises(ValueError, match="no place"):
        translate_events.place_of(b'{"other": 1}')


def test_what_has_to_be_read_again_is_kept_as_it_was() -> None:
    """Proves that two windows are kept as one around both, and that a closed one is none."""
    late, early = (datetime(2026, 3, day, 9, 14, 7, tzinfo=UTC) for day in (3, 2))
    both = Window(late, late).and_(Window(early, early)).and_(None)
    assert both == Window(early, late)
    assert translate_events.window_of(translate_events.window_bytes(both)) == both
    assert translate_events.window_of(translate_events.window_bytes(None)) is None
    for wrong in (b"x", b"{}", b'{"since": "yesterday", "until": ""}'):
        with pytest.raises(ValueError):
            translate_events.window_of(wrong)


def test_each_org_and_topic_has_a_cursor_of_its_own() -> None:
    """Proves that names fit into what the hub takes, and long ones are not cut to the same."""
    long = [f"/event/{'Custom' * 12}{end}__e" for end in ("A", "B")]
    names = [translate_events.cursor_name("00D5f000000ORGAAA1", topic) for topic in long]
    assert len({*names}) == 2
    assert all(len(name) <= 64 for name in names)


NULLS = conformance.NULLS
RECORD = {"type": "record", "name": "E", "fields": [{"name": "text", "type": "string"}]}


@pytest.mark.parametrize(
    ("field", "why"),
    [
        ({"type": "array", "items": "null"}, "no byte"),
        ({"type": "array", "items": {"type": "record", "name": "N", "fields": []}}, "no byte"),
        (["null", "E"], "contains itself"),
        ({"type": "array", "items": "E"}, "contains itself"),
        ({"type": "array", "items": NULLS}, "few bytes become many"),
        ({"type": "map", "values": NULLS}, "few bytes become many"),
        ({"type": "array", "items": ["null", NULLS]}, "few bytes become many"),
        ("Nowhere", "does not say what Nowhere is"),
    ],
)
def test_a_schema_that_could_exhaust_the_reader_is_refused(field: Any, why: str) -> None:
    """Proves that lists of nothing and records inside themselves are refused before any payload."""
    schema = {**RECORD, "fields": [{"name": "f", "type": field}]}
    with pytest.raises(Unreadable, match=why):
        avro.schema_of(json.dumps(schema))


@pytest.mark.parametrize("leaf", ["null", "int"])
def test_a_record_that_doubles_by_name_is_refused(leaf: str) -> None:
    """Proves that types which only refer to each other cannot make a short schema into 2 ** 40
    values, and a chain of them not into endless nesting."""
    for references, why in ((2, "more than 10000 values"), (1, "nests deeper")):
        with pytest.raises(Unreadable, match=why):
            avro.schema_of(json.dumps(conformance.levels(40, references, leaf)))


def test_what_events_are_made_of_is_read() -> None:
    """Proves that hundreds of optional fields, a record used twice, lists of them and of text, and
    decimals pass: the limits are for bombs."""
    address = {"type": "record", "name": "Address", "fields": [_optional("a"), _optional("b")]}
    fields = [
        *(_optional(f"f{number}") for number in range(800)),
        {"name": "home", "type": ["null", address]},
        {"name": "work", "type": ["null", "Address"]},
        {"name": "all", "type": {"type": "array", "items": "Address"}},
        {"name": "names", "type": {"type": "map", "values": ["null", "string"]}},
        {"name": "ids", "type": {"type": "array", "items": "string"}},
    ]
    schema = avro.schema_of(json.dumps({**RECORD, "fields": fields}))
    told = {"work": {"a": "1"}, "all": [{"b": "2"}], "names": {"x": None}, "ids": ["1"]}
    read = avro.decode(schema, avro.encode(schema, told))
    assert read["all"] == [{"a": None, "b": "2"}] and read["work"]["a"] == "1"


def _optional(name: str) -> dict[str, Any]:
    return {"name": name, "type": ["null", "string"], "default": None}


def test_a_payload_says_where_it_ends_too_soon() -> None:
    """Proves that a record is read whole or not at all, with the field at which it breaks off."""
    schema = avro.schema_of(json.dumps(RECORD))
    payload = avro.encode(schema, {"text": "abc"})
    assert avro.decode(schema, payload) == {"text": "abc"}
    with pytest.raises(Unreadable, match="/text"):
        avro.decode(schema, payload[:-1])
    with pytest.raises(Unreadable, match="1 bytes are left"):
        avro.decode(schema, payload + b"\0")
