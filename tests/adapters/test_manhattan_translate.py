"""Between the contract and the warehouse's words: exact, repeatable, and never a guess."""

from __future__ import annotations

import copy
from collections import Counter
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from crossdock.fulfillment.v1 import fulfillment_service_pb2
from crossdock.item.v1 import item_pb2
from crossdock.label.v1 import label_pb2
from crossdock.shipment.v1 import shipment_service_pb2
from crossdock.types.v1 import types_pb2
from crossdock_adapters.manhattan import translate
from crossdock_adapters.manhattan.names import names
from crossdock_adapters.manhattan.sandbox_cartons import ItemSize, Units, cartonise
from crossdock_adapters.manhattan.sandbox_messages import pack_confirmed
from crossdock_adapters.manhattan.sandbox_records import (
    Facility,
    Line,
    Olpn,
    Order,
    OriginalOrder,
)
from crossdock_adapters.manhattan.translate_messages import (
    Context,
    decimal_text,
    facts,
    numbers_to_resolve,
    told_otherwise,
)
from crossdock_adapters.sdk import vendor_json
from crossdock_adapters.sdk.local_times import source_time
from crossdock_adapters.sdk.mappings import (
    Code,
    Mappings,
    Meaning,
    Told,
    Topic,
    UnsentWord,
    file_of,
)
from crossdock_adapters.sdk.outcomes import Untranslatable
from crossdock_adapters.sdk.places import Unreadable
from hypothesis import given
from hypothesis import strategies as st
from manhattan_hub import check
from manhattan_world import FACILITY, REQUEST_ID, ZONE, fulfillment_request, payload

NAMES = names()
CONTEXT = Context("manhattan", NAMES, {FACILITY: ZONE, "NO-ZONE": None})
Pick = fulfillment_service_pb2.ReportPickRequest
Packed = fulfillment_service_pb2.ReportPackedRequest
Manifest = shipment_service_pb2.ManifestShipmentRequest

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.decimals(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


def one(name: str, context: Context = CONTEXT) -> Any:
    (fact,) = facts(payload(name), context)
    check(fact)
    return fact


def test_a_released_request_becomes_one_original_order() -> None:
    """The whole content, our number as business key, nothing invented, nothing left out."""
    order = translate.original_order(fulfillment_request(), FACILITY, "CustomerOrder", NAMES)
    assert vendor_json.loads(vendor_json.dumps(order)) == payload("original_order")
    cancelled = translate.cancellation(fulfillment_request(), FACILITY, "CustomerOrder", NAMES)
    assert cancelled == {**order, "IsCancelled": True}


def test_an_address_is_never_cut() -> None:
    """A fourth street line shares the last field."""
    request = fulfillment_request()
    request.ship_to.address.lines[:] = ["one", "two", "three", "four"]
    order = translate.original_order(request, FACILITY, "X", NAMES)
    assert order["DestinationAddress"]["Address3"] == "three, four"


def test_an_unknown_unit_is_refused_before_anything_is_sent() -> None:
    """A unit without a name at the warehouse stops the release, and says what to configure."""
    request = fulfillment_request()
    request.lines[0].quantity.unit = "XBX"
    with pytest.raises(Untranslatable, match="map set manhattan UNIT NAME --means XBX"):
        translate.original_order(request, FACILITY, "X", NAMES)


def test_a_unit_of_a_row_is_read_and_sent_at_once() -> None:
    """Proves that what an operator says of a unit holds for the next message and the next order,
    without a restart, that no word is guessed before, and that the setting goes before rows."""
    mappings = Mappings(file_of("crossdock_adapters.manhattan"))
    known = names(mappings=mappings, units={"BX": "XBX"})
    assert known.unit_in("TOTE") is None and known.unit_out("H87") is None
    row = Told(Topic.UNIT, Code("", "TOTE"), Meaning("H87", preferred=True), True)
    other = Told(Topic.UNIT, Code("", "BX"), Meaning("CT"), True)
    mappings.replace([*mappings.of_file(), row, other])
    assert known.unit_in("TOTE") == "H87" and known.unit_out("H87") == "TOTE"
    assert known.unit_in("BX") == "XBX"


def test_a_carrier_is_called_as_the_warehouse_calls_it() -> None:
    """Proves that a row says at once what the warehouse calls a carrier, and that one without a row
    goes by the contract's code."""
    mappings = Mappings(file_of("crossdock_adapters.manhattan"))
    known = names(mappings=mappings)
    request = fulfillment_request()
    request.carrier_code = "UPS"
    order = translate.original_order(request, FACILITY, "X", known)
    assert order["DesignatedCarrierId"] == "UPS"
    word = Meaning("UPS", preferred=True)
    row = Told(Topic.CARRIER_CODE, Code("", "UPSN"), word, by_deployment=True)
    mappings.replace([*mappings.of_file(), row])
    order = translate.original_order(request, FACILITY, "X", known)
    assert order["DesignatedCarrierId"] == "UPSN"
    request.carrier_code = "GLS"
    order = translate.original_order(request, FACILITY, "X", known)
    assert order["DesignatedCarrierId"] == "GLS"


def test_a_carriers_only_code_is_sent_however_it_was_set() -> None:
    """Proves that a code which a deployment gave a carrier without saying that it is preferred is
    sent where it is the only one, that of several nobody guesses, and that the preferred one is
    sent beside any others. To stop an order nobody has to choose."""
    mappings = Mappings(file_of("crossdock_adapters.manhattan"))
    known = names(mappings=mappings)
    request = fulfillment_request()
    request.carrier_code = "UPS"

    def sent(*codes: str, preferred: str = "") -> Any:
        rows = [
            Told(
                Topic.CARRIER_CODE,
                Code("", code),
                Meaning("UPS", preferred=code == preferred),
                True,
            )
            for code in codes
        ]
        mappings.replace([*mappings.of_file(), *rows])
        return translate.original_order(request, FACILITY, "X", known)["DesignatedCarrierId"]

    assert (sent(), sent("UPSN"), sent("UPSA", "UPSN", preferred="UPSA")) == ("UPS", "UPSN", "UPSA")
    with pytest.raises(Untranslatable, match="CARRIER_CODE UPSA --means UPS --preferred") as parked:
        sent("UPSN", "UPSA")
    assert parked.value.unsent == UnsentWord(Topic.CARRIER_CODE, "UPS")
    stopped = translate.cancellation(request, FACILITY, "X", known)
    assert (stopped["IsCancelled"], stopped["DesignatedCarrierId"]) == (True, "UPSA")


def test_every_unit_is_sent_and_read_as_the_same() -> None:
    """Proves that for each unit of the rows one word is sent, and means the same when read."""
    file = file_of("crossdock_adapters.manhattan")
    assert file is not None
    for row in file.rows:
        word = NAMES.unit_out(row.meaning.canonical)
        assert word is not None and NAMES.unit_in(word) == row.meaning.canonical


def test_a_label_travels_as_text_or_base64() -> None:
    """Printer languages go as they are, images as base64, both with their tracking number."""
    label = label_pb2.Label(
        package_number="0001", tracking_number="1ZX", image=b"^XA^XZ",
        format=label_pb2.LABEL_FORMAT_ZPL,
    )  # fmt: skip
    olpn = translate.label_on_olpn(label, NAMES)
    assert olpn == {
        "OlpnId": "0001",
        "TrackingNumber": "1ZX",
        "Extended": {"ShippingLabelFormat": "ZPL", "ShippingLabel": "^XA^XZ"},
    }
    label.format, label.image = label_pb2.LABEL_FORMAT_PNG, b"\x89PNG"
    assert translate.label_on_olpn(label, NAMES)["Extended"]["ShippingLabel"] == "iVBORw=="


def test_an_item_carries_what_the_floor_needs() -> None:
    """Weight and sides with their units; sides in different units are left out, not mixed."""
    item = item_pb2.Item(number="A-1", base_unit="EA", lot_controlled=True)
    item.weight.CopyFrom(types_pb2.Quantity(value="1.250", unit="KGM"))
    for side in ("length", "width", "height"):
        getattr(item, side).CopyFrom(types_pb2.Quantity(value="10", unit="CMT"))
    record = translate.item_record(item, NAMES)
    assert record["TrackBatchNumber"] is True and record["BaseUomId"] == "UNIT"
    assert record["ItemPackage"][0]["Weight"] == Decimal("1.250")
    assert record["ItemPackage"][0]["DimensionUomId"] == "CM"
    item.width.unit = "INH"
    assert "Length" not in translate.item_record(item, NAMES)["ItemPackage"][0]


def test_a_pick_is_told_line_by_line() -> None:
    """Picked and short by the order's line numbers, exact, with the warehouse's reason."""
    fact = one("pick")
    assert fact.fulfillment_request_id == REQUEST_ID
    picked = [(q.line_number, q.quantity.value, q.quantity.unit) for q in fact.picked]
    assert picked == [(1, "28", "EA"), (2, "1.5", "KGM")]
    short = [(q.line_number, q.quantity.value, q.reason_code) for q in fact.short]
    assert short == [(1, "2", "NOT_FOUND"), (3, "4", "DAMAGED")]
    assert fact.pick_number == NAMES.get(payload("pick")["Order"][0], "message.order_id")
    assert fact.pick_time.local == "2026-03-02T09:14:07"
    assert fact.pick_time.instant.ToDatetime(tzinfo=UTC) == datetime(
        2026, 3, 2, 14, 14, 7, tzinfo=UTC
    )


def test_a_pack_is_told_carton_by_carton() -> None:
    """Contents by line with lots and serials, weight and sides as exact text with their unit."""
    fact = one("pack")
    assert fact.shipment_number == "SHDC-EAST-SO-1001-1"
    first, second = fact.packages
    assert (first.number, first.container_type) == ("00001000004711", "CTN-L")
    assert (first.weight.value, first.weight.unit) == ("31.2", "LBR")
    assert (first.length.value, first.length.unit) == ("24", "INH")
    assert (second.weight.value, second.contents[0].lot) == ("14.05", "LOT7742")
    assert list(second.contents[1].serial_numbers) == ["SN00A1B2C3"]
    assert sum(int(p.contents[0].quantity.value) for p in fact.packages) == 28


def test_a_ship_confirm_manifests_the_shipment() -> None:
    """Named by the warehouse's number, at the local time of the dock, never stamped UTC."""
    fact = one("ship")
    assert (fact.shipment_number, fact.bill_of_lading) == ("SHDC-EAST-SO-1001-1", "BOL0048377")
    assert fact.manifest_time.utc_offset == "-05:00"
    assert fact.manifest_time.zone == types_pb2.TIME_ZONE_SOURCE_FROM_LOCATION


@pytest.mark.parametrize("name", ["pick", "pack", "ship"])
def test_a_facility_without_a_zone_has_no_instant(name: str) -> None:
    """Local time of an unknown zone stays local time."""
    message = {**payload(name), "FacilityId": "NO-ZONE"}
    (fact,) = facts(message, CONTEXT)
    check(fact)
    told = next(
        getattr(fact, f) for f in ("pick_time", "pack_time", "manifest_time") if _has(fact, f)
    )
    assert told.zone == types_pb2.TIME_ZONE_SOURCE_UNKNOWN and not told.HasField("instant")
    assert told.local.startswith("2026-03-02T")


def _has(fact: Any, field: str) -> bool:
    return field in fact.DESCRIPTOR.fields_by_name


@pytest.mark.parametrize("name", ["pick", "pack", "ship"])
def test_a_retrigger_is_the_same_fact(name: str) -> None:
    """Same transaction, same id and content; another sequence, endpoint or key is another fact."""
    told = one(name)
    again = {**payload(name), "UserId": "supervisor"}
    assert facts(again, CONTEXT)[0] == told
    later = {**payload(name), "TransactionSequence": 99_999}
    assert facts(later, CONTEXT)[0].request_id != told.request_id
    elsewhere = Context("manhattan-2", NAMES, CONTEXT.zones)
    assert one(name, elsewhere).request_id != told.request_id


@pytest.mark.parametrize("name", ["pick", "pack", "ship"])
def test_a_message_that_reads_otherwise_by_now_has_another_id_for_that(name: str) -> None:
    """The same transaction has one id however it reads, and for each other reading one of its own,
    the same each time."""
    unplaced = Context("manhattan", NAMES, dict.fromkeys(CONTEXT.zones))
    told, again = facts(payload(name), unplaced)[0], one(name)
    assert told != again
    assert told.request_id == again.request_id
    other = [told_otherwise(each, "manhattan") for each in (told, again, again)]
    ids = [each.request_id for each in other]
    assert ids[1] == ids[2] and len({told.request_id, *ids}) == 3
    for fact in other:
        check(fact)
        fact.request_id = told.request_id
    assert other == [told, again, again]


def test_without_a_sequence_the_content_makes_the_id() -> None:
    """An interface that numbers nothing still tells the same pick once, and a changed one anew."""
    message = payload("pick")
    del message["TransactionSequence"]
    changed = copy.deepcopy(message)
    changed["Order"][0]["OrderLine"][0]["PickedQuantity"] = 27
    first, again, other = (facts(m, CONTEXT)[0].request_id for m in (message, message, changed))
    assert first == again != other


def test_a_message_without_our_id_is_resolved_by_number() -> None:
    """A tenant without the extension field works through the number, or says who is missing."""
    message = payload("pack")
    del message["Order"][0]["Extended"]
    assert numbers_to_resolve(message, NAMES) == ["SO-1001-1"]
    with pytest.raises(Unreadable, match="SO-1001-1"):
        facts(message, CONTEXT)
    known = Context("manhattan", NAMES, CONTEXT.zones, {"SO-1001-1": REQUEST_ID})
    assert facts(message, known)[0].fulfillment_request_id == REQUEST_ID  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("path", "value", "word"),
    [
        (("MessageType",), "OlpnAuditEvent", "OlpnAuditEvent"),
        (("FacilityId",), "DC-NORTH", "DC-NORTH"),
        (("TransactionDateTime",), "yesterday", "TransactionDateTime"),
        (("Order",), [], "without content"),
        (("Order", 0, "Olpn"), [], "without an oLPN"),
        (("Order", 0, "Olpn", 0, "Weight"), None, "weight"),
        (("Order", 0, "Olpn", 0, "Weight"), "heavy", "heavy"),
        (("Order", 0, "Olpn", 0, "Weight"), Decimal("1E+999999999"), "range"),
        (("Order", 0, "Olpn", 0, "Weight"), -1, "negative"),
        (("Order", 0, "Olpn", 0, "WeightUomId"), "STONE", "STONE"),
        (("Order", 0, "Olpn", 0, "OlpnDetail"), [], "empty"),
        (("Order", 0, "Olpn", 0, "OlpnDetail", 0, "OriginalOrderLineId"), "1/2", "1/2"),
        (("Order", 0, "ShipmentId"), None, "ShipmentId"),
    ],
)
def test_what_cannot_be_read_says_why(path: tuple[Any, ...], value: Any, word: str) -> None:
    """Each fault of a message is named, so that the person at the dead letter can act."""
    message = payload("pack")
    record: Any = message
    for step in path[:-1]:
        record = record[step]
    record[path[-1]] = value
    with pytest.raises(Unreadable, match=word):
        facts(message, CONTEXT)


@given(st.sampled_from(["pick", "pack", "ship"]), st.data())
def test_no_message_breaks_the_translation(name: str, data: st.DataObject) -> None:
    """Whatever a field holds, the answer is facts that pass the contract, or Unreadable."""
    message = payload(name)
    record: Any = message
    while True:
        key = data.draw(st.sampled_from(sorted(record)))
        inner = record[key]
        if isinstance(inner, list) and inner and isinstance(inner[0], dict):
            inner = inner[0]
        if isinstance(inner, dict) and inner and data.draw(st.booleans()):
            record = inner
            continue
        record[key] = data.draw(json_values)
        break
    try:
        told = facts(message, CONTEXT)
    except Unreadable:
        return
    for fact in told:
        fact.SerializeToString()


@given(
    st.lists(st.tuples(st.integers(1, 60), st.integers(1, 400)), min_size=1, max_size=8),
    st.booleans(),
)
def test_what_is_packed_is_what_is_told(lines: list[tuple[int, int]], metric: bool) -> None:
    """Through cartonisation, message and translation, every unit of every line arrives once."""
    sizes = {
        f"I{n}": ItemSize(Decimal(ounces) / 16, Decimal(4), Decimal(4), Decimal(4))
        for n, (_, ounces) in enumerate(lines)
    }
    facility = Facility(FACILITY, "East", ZONE, metric)
    order = Order("O_1", "O", [], "SH-1")
    order.lines = [
        Line(str(n + 1), f"I{n}", Decimal(q), "UNIT", Decimal(q)) for n, (q, _) in enumerate(lines)
    ]
    cartons = cartonise([Units(line.id, line.item_id, line.picked) for line in order.lines], sizes)
    order.olpns = [
        Olpn(f"P{n}", FACILITY, "ACME", order.id, "O", "SH-1", carton,
             facility.weight(carton.net_weight + carton.tare), {}, {})
        for n, carton in enumerate(cartons)
    ]  # fmt: skip
    content = {"Extended": {"HostRequestId": REQUEST_ID}}
    original = OriginalOrder("ACME", FACILITY, "O", content, [order], datetime.now(UTC))
    message = {
        "MessageType": "PackConfirmed", "FacilityId": FACILITY, "TransactionSequence": 1,
        "TransactionDateTime": "2026-03-02T10:00:00",
        **pack_confirmed(original, order, facility),
    }  # fmt: skip
    (fact,) = facts(vendor_json.loads(vendor_json.dumps(message)), CONTEXT)
    assert isinstance(fact, Packed)
    check(fact)
    told: Counter[int] = Counter()
    for package in fact.packages:
        assert package.weight.unit == ("KGM" if metric else "LBR")
        for each in package.contents:
            told[each.line_number] += int(each.quantity.value)
    assert told == {n + 1: quantity for n, (quantity, _) in enumerate(lines)}


@given(st.decimals(min_value=0, max_value=10**12, places=9))
def test_numbers_keep_every_digit(value: Decimal) -> None:
    """Text of the contract and number of the message are the same number."""
    assert Decimal(decimal_text(value)) == value


@given(st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)))
def test_local_times_are_placed_or_left_alone(local: datetime) -> None:
    """An instant given for a local time is shown as that local time by the zone's clocks."""
    from zoneinfo import ZoneInfo

    told = source_time(local.replace(microsecond=0).isoformat(), ZONE)
    assert told.local == local.replace(microsecond=0).isoformat()
    if told.zone == types_pb2.TIME_ZONE_SOURCE_FROM_LOCATION:
        shown = told.instant.ToDatetime(tzinfo=UTC).astimezone(ZoneInfo(ZONE))
        assert shown.replace(tzinfo=None) == local.replace(microsecond=0)
    else:
        assert not told.HasField("instant")


def test_clock_changes_are_not_guessed() -> None:
    """A time that a zone shows twice, or never, has no instant; with an offset it has."""
    twice, never = "2026-11-01T01:30:00", "2026-03-08T02:30:00"
    for text in (twice, never):
        told = source_time(text, ZONE)
        assert told.zone == types_pb2.TIME_ZONE_SOURCE_UNKNOWN and not told.HasField("instant")
    given = source_time(twice + "-05:00", None)
    assert given.zone == types_pb2.TIME_ZONE_SOURCE_GIVEN
    assert given.instant.ToDatetime() == datetime(2026, 11, 1, 6, 30)
    assert source_time("2026-03-02T09:14", ZONE).precision == types_pb2.TIME_PRECISION_MINUTE
    assert source_time("2026-03-02", ZONE).precision == types_pb2.TIME_PRECISION_DAY
    for bad in ("", "02/03/2026", "0001-01-01T00:00:00+14:00", "2026-02-30T00:00:00"):
        with pytest.raises(ValueError):
            source_time(bad, ZONE)
