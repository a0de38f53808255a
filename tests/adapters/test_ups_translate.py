"""Between the contract and UPS's payloads: labels out, scans in, nothing invented."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from crossdock import contracts
from crossdock.label.v1 import label_pb2
from crossdock.shipment.v1 import shipment_pb2
from crossdock.types.v1 import types_pb2
from crossdock_adapters.sdk import carrier_labels, carrier_scans, vendor_json
from crossdock_adapters.sdk.carrier_labels import Purchase
from crossdock_adapters.sdk.http import Answer
from crossdock_adapters.sdk.mappings import Mappings, Topic, file_of
from crossdock_adapters.sdk.outcomes import Untranslatable
from crossdock_adapters.sdk.places import Unreadable
from crossdock_adapters.ups import adoption, client, status_codes, translate, translate_scans
from crossdock_adapters.ups.sandbox_ship import read_ship_request
from crossdock_adapters.ups.translate import ShipRules
from hypothesis import given
from hypothesis import strategies as st
from ups_world import ACCOUNT, PACKAGE_ID, packed_shipment

PAYLOADS = Path(__file__).parent / "payloads" / "ups"
NUMBER = "1ZA1B2C30300123452"
REFERENCE = "ABCDEFGHIJKLMNOPQRST"
MAPPINGS = Mappings(file_of("crossdock_adapters.ups"))
RULES = ShipRules(
    ACCOUNT,
    services={"GROUND": "03", "CA:GROUND": "11"},
    packaging=MAPPINGS.natives(Topic.PACKAGE_TYPE),
    units=MAPPINGS.natives(Topic.UNIT),
)
TABLE = status_codes.shipped_table()


def payload(name: str) -> Any:
    return vendor_json.loads((PAYLOADS / f"{name}.json").read_bytes())


def shipment_of(request: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = request["ShipmentRequest"]["Shipment"]
    return found


def test_a_domestic_request_passes_the_vendors_checks() -> None:
    """Reference on the package, pounds and inches, and the simulator accepts it."""
    request = translate.ship_request(packed_shipment(), PACKAGE_ID, REFERENCE, RULES)
    order = read_ship_request(json.loads(json.dumps(request)), [ACCOUNT])
    assert order.packages[0].references[0] == ("TN", REFERENCE)
    assert order.packages[0].unit == "LBS"
    assert order.references == ()
    assert order.service == "03"


def test_a_foreign_destination_moves_the_reference_to_the_shipment() -> None:
    """Outside US and PR a package reference would be refused."""
    shipment = packed_shipment()
    shipment.ship_to.address.country_code = "CA"
    shipment.ship_to.address.postal_code = "V6B 1A1"
    request = translate.ship_request(shipment, PACKAGE_ID, REFERENCE, RULES)
    assert shipment_of(request)["ReferenceNumber"][0]["Value"] == REFERENCE
    assert "ReferenceNumber" not in shipment_of(request)["Package"][0]
    assert read_ship_request(request, [ACCOUNT]).references[0] == ("TN", REFERENCE)


@pytest.mark.parametrize(
    ("container", "code"), [("TUBE-3", "03"), ("CTN", "02"), ("", "02"), ("ODD", None)]
)
def test_a_container_type_is_the_packaging_of_its_row(container: str, code: str | None) -> None:
    """Proves that packaging goes by the container type, the setting for those not named, and that
    a word without a row is refused with the command that gives it one."""
    shipment = packed_shipment()
    shipment.packages[0].container_type = container
    rules = replace(RULES, package_types={"TUBE-3": "CARRIER_TUBE", "ODD": "HATBOX"})
    if code is None:
        with pytest.raises(Untranslatable, match="map set ups PACKAGE_TYPE CODE --means HATBOX"):
            translate.ship_request(shipment, PACKAGE_ID, REFERENCE, rules)
        return
    (parcel,) = shipment_of(translate.ship_request(shipment, PACKAGE_ID, REFERENCE, rules))[
        "Package"
    ]
    assert parcel["Packaging"] == {"Code": code}


def test_units_are_said_as_their_rows_say() -> None:
    """Proves that UPS's words for pounds and inches are those of the rows that hold now, and that
    without a row nothing is guessed."""
    rules = replace(RULES, units={"LBR": "LB9", "INH": "IN9"})
    (parcel,) = shipment_of(
        translate.ship_request(packed_shipment(), PACKAGE_ID, REFERENCE, rules)
    )["Package"]
    assert parcel["PackageWeight"]["UnitOfMeasurement"] == {"Code": "LB9"}
    assert parcel["Dimensions"]["UnitOfMeasurement"] == {"Code": "IN9"}
    with pytest.raises(Untranslatable, match="map set ups UNIT WORD --means LBR"):
        translate.ship_request(packed_shipment(), PACKAGE_ID, REFERENCE, replace(RULES, units={}))


def test_kilograms_from_the_us_become_pounds_rounded_up() -> None:
    """Nothing is declared lighter than it is, and systems are not mixed."""
    shipment = packed_shipment()
    shipment.packages[0].weight.CopyFrom(types_pb2.Quantity(value="1.91", unit="KGM"))
    shipment.packages[0].length.CopyFrom(types_pb2.Quantity(value="30", unit="CMT"))
    parcel = shipment_of(translate.ship_request(shipment, PACKAGE_ID, REFERENCE, RULES))["Package"]
    assert parcel[0]["PackageWeight"]["Weight"] == "4.3"
    assert parcel[0]["Dimensions"]["Length"] == "12"
    assert parcel[0]["Dimensions"]["UnitOfMeasurement"]["Code"] == "IN"


GRAMS = {"KGM": "1000", "GRM": "1", "LBR": "453.59237", "ONZ": "28.349523125"}


@given(st.decimals("0.001", "60", places=3), st.sampled_from(sorted(GRAMS)))
def test_any_weight_is_a_decimal_the_vendor_takes(value: Decimal, unit: str) -> None:
    """At most six characters, never zero, never too light, never an exponent."""
    shipment = packed_shipment()
    shipment.packages[0].weight.CopyFrom(types_pb2.Quantity(value=f"{value:f}", unit=unit))
    request = translate.ship_request(shipment, PACKAGE_ID, REFERENCE, RULES)
    written = shipment_of(request)["Package"][0]["PackageWeight"]["Weight"]
    assert len(written) <= 6
    assert Decimal(written) > 0
    exact = Fraction(value) * Fraction(GRAMS[unit]) / Fraction(GRAMS["LBR"])
    assert 0 <= Fraction(Decimal(written)) - exact < Fraction("0.1")


def test_long_streets_are_wrapped_and_never_cut() -> None:
    """Every word of the street is on the label, or a person decides."""
    shipment = packed_shipment()
    street = "Building 17 North Entrance, 4410 Old Lighthouse Harbour Road East"
    shipment.ship_to.address.lines[:] = [street]
    address = shipment_of(translate.ship_request(shipment, PACKAGE_ID, REFERENCE, RULES))
    lines = address["ShipTo"]["Address"]["AddressLine"]
    assert " ".join(lines) == street
    assert all(len(line) <= 35 for line in lines)
    shipment.ship_to.address.lines[:] = [street, street]
    with pytest.raises(Untranslatable):
        translate.ship_request(shipment, PACKAGE_ID, REFERENCE, RULES)


@pytest.mark.parametrize(
    ("service", "origin", "code"),
    [("GROUND", "US", "03"), ("ground", "PR", "03"), ("GROUND", "CA", "11"), ("59", "US", "59")],
)
def test_services_depend_on_the_origin(service: str, origin: str, code: str) -> None:
    """The same word is another code from Canada."""
    assert translate.service_code(service, origin, RULES.services) == code


def test_every_published_service_and_packaging_has_a_row() -> None:
    """Proves that UPS's lists are complete, but for packaging 00, with which nothing is shipped."""
    services = """01 02 03 07 08 11 12 13 14 17 54 59 65 70 71 72 74 75 82 83 84 85 86 92 93 94 95
        96 C6 C7 C8 M2 M3 M4 M5 M6 M7 T0 T1"""
    packaging = "01 02 03 04 21 2a 2b 2c 24 25 30 56 57 58 59 60 61 62 63 64 65 66 67"
    file = file_of("crossdock_adapters.ups")
    assert file is not None
    for topic, published in ((Topic.SERVICE_LEVEL, services), (Topic.PACKAGE_TYPE, packaging)):
        rows = {row.code.code for row in file.rows if row.topic is topic}
        assert set(published.split()) == rows


@pytest.mark.parametrize(("service", "origin"), [("GROUND", "DE"), ("PIGEON", "US"), ("", "US")])
def test_unknown_services_need_a_person(service: str, origin: str) -> None:
    """A service is never guessed."""
    with pytest.raises(Untranslatable):
        translate.service_code(service, origin, RULES.services)


def test_a_ship_reply_gives_number_image_and_what_the_account_pays() -> None:
    """The negotiated total wins over the published one, as an exact decimal."""
    booking = client.read_booking(payload("ship_reply"))
    assert booking.shipment_number == NUMBER
    assert booking.labels[0].image.startswith(b"^XA")
    assert (booking.amount, booking.currency) == (Decimal("9.72"), "USD")
    assert booking.alerts[0].startswith("120900")


@pytest.mark.parametrize("without", [None, {}, {"TotalCharge": None}])
def test_a_ship_reply_without_the_negotiated_price_has_the_published_one(without: Any) -> None:
    """Proves that a price that is null or empty costs neither the label nor the other price."""
    reply = payload("ship_reply")
    results = reply["ShipmentResponse"]["ShipmentResults"]
    results["NegotiatedRateCharges"] = without
    results["ShipmentCharges"] = {"TotalCharges": {"CurrencyCode": "USD", "MonetaryValue": "12.40"}}
    booking = client.read_booking(reply)
    assert (booking.amount, booking.currency) == (Decimal("12.40"), "USD")
    results["ShipmentCharges"] = None
    assert client.read_booking(reply).amount is None


def test_an_image_in_lines_and_in_png_is_read() -> None:
    """Proves that folded base64 is read, and PNG, with which UPS answers an order of GIF."""
    reply = payload("ship_reply")
    (piece,) = client.as_list(reply["ShipmentResponse"]["ShipmentResults"]["PackageResults"])
    piece["ShippingLabel"] = {
        "ImageFormat": {"Code": "PNG"}, "GraphicImage": "iVBORw0K\nGgo=\n",
    }  # fmt: skip
    (label,) = client.read_booking(reply).labels
    assert label.image == b"\x89PNG\r\n\x1a\n"
    assert translate.FORMATS[label.format] == label_pb2.LABEL_FORMAT_PNG


def test_a_recovered_label_that_is_shown_with_another_is_none_of_its_own() -> None:
    """Proves that a label that recovery names without an image costs none of the others, and is
    a candidate whose image has to be asked for."""
    image = {"LabelImageFormat": {"Code": "PDF"}, "GraphicImage": "JVBERg=="}
    results = [{"TrackingNumber": NUMBER, "LabelImage": image}, {"TrackingNumber": "1Z2"}]
    images = client.read_recovery({"LabelRecoveryResponse": {"LabelResults": results}})
    found = adoption.candidates(REFERENCE, images, [], [], TABLE)
    assert [(each.tracking_number, each.image) for each in found] == [
        ("1Z2", None),
        (NUMBER, images[0]),
    ]


def test_a_format_in_small_letters_is_the_same_format() -> None:
    """Proves that UPS's code of an image's format is read in either case, when it sells a label and
    when it shows one again: else nobody knew what to send to the printer."""
    shown = {"LabelImageFormat": {"Code": "zpl"}, "GraphicImage": "XlhB"}
    results = {"LabelResults": {"TrackingNumber": NUMBER, "LabelImage": shown}}
    reply = payload("ship_reply")
    (piece,) = client.as_list(reply["ShipmentResponse"]["ShipmentResults"]["PackageResults"])
    piece["ShippingLabel"]["ImageFormat"] = {"Code": "gif"}
    (again,) = client.read_recovery({"LabelRecoveryResponse": results})
    (sold,) = client.read_booking(reply).labels
    assert (again.format, sold.format) == ("ZPL", "GIF")


@pytest.mark.parametrize("alone", [True, False])
def test_parcels_that_share_a_reference_are_candidates_whose_labels_are_asked_for(
    alone: bool,
) -> None:
    """Proves that what recovery calls candidates, where several parcels have the reference, is not
    read as "knows no label", which would buy another one."""
    named = [{"TrackingNumber": NUMBER}, {"TrackingNumber": "1Z2", "DestinationCountryCode": "US"}]
    response = {"LabelResults": [], "TrackingCandidate": named[0] if alone else named}
    images = client.read_recovery({"LabelRecoveryResponse": response})
    found = adoption.candidates(REFERENCE, images, [], [], TABLE)
    expected = [(NUMBER, None)] if alone else [("1Z2", None), (NUMBER, None)]
    assert [(each.tracking_number, each.image) for each in found] == expected


def test_a_parcel_that_recovery_names_twice_is_one() -> None:
    """Proves that a label that is shown and named as a candidate too is one label."""
    image = {"LabelImageFormat": {"Code": "ZPL"}, "GraphicImage": "XlhB"}
    response = {
        "LabelResults": {"TrackingNumber": NUMBER, "LabelImage": image},
        "TrackingCandidate": [{"TrackingNumber": NUMBER}],
    }
    (label,) = client.read_recovery({"LabelRecoveryResponse": response})
    assert (label.tracking_number, label.image) == (NUMBER, b"^XA")


@pytest.mark.parametrize("name", ["PackageLevelResults", "PackageLevelResult"])
@pytest.mark.parametrize("alone", [True, False])
def test_a_void_of_some_packages_is_told_by_package(name: str, alone: bool) -> None:
    """Proves that the result of each package wins over the summary, under either of the names that
    UPS's versions have for it, in a list or alone."""
    result = {"TrackingNumber": NUMBER, "Status": {"Code": "0"}}
    response = {"SummaryResult": {"Status": {"Code": "1"}}, name: result if alone else [result]}
    assert client.read_void({"VoidShipmentResponse": response}).voided == {NUMBER: False}


def test_label_facts_repeat_their_id_and_change_it_with_their_content() -> None:
    """A restart repeats the same fact; other content is another fact."""
    label = client.read_booking(payload("ship_reply")).labels[0]

    def fact(amount: str | None) -> Any:
        price = None if amount is None else Decimal(amount)
        purchase = Purchase(label, NUMBER, price, "USD", None)
        return carrier_labels.label_request(
            "ups",
            "UPS",
            packed_shipment(),
            PACKAGE_ID,
            REFERENCE,
            purchase,
            translate.FORMATS[label.format],
        )

    first = fact("9.72")
    assert first == fact("9.72")
    assert first.request_id != fact(None).request_id
    assert first.label.price.amount == "9.72"
    assert first.label.format == label_pb2.LABEL_FORMAT_ZPL
    assert first.label.package_id == PACKAGE_ID
    assert first.label.purchase_reference == REFERENCE
    assert not first.label.HasField("carrier_shipment_number")
    assert not fact(None).label.HasField("price")


def test_error_bodies_and_pages_are_told_apart() -> None:
    """Every error of the object is read; HTML, nothing and other JSON are no errors."""
    found = client.read_errors(Answer(400, {}, (PAYLOADS / "error_body.json").read_bytes()))
    assert [code for code, _ in found] == ["120202", "120206"]
    for body in (b"<html></html>", b"", b"[]", b'{"response": 1}'):
        assert client.read_errors(Answer(404, {}, body)) == []


def test_not_found_as_a_warning_is_no_package() -> None:
    """A 200 with TW0001 is an answer without parcels."""
    assert client.read_packages(payload("track_not_found")) == []


def test_the_code_of_not_found_is_a_row_with_its_source() -> None:
    """Proves that the code by which Track knows nothing is written down with the other errors."""
    assert client.ERRORS.names(404, client.NOT_FOUND_CODE)
    assert client.ERRORS.row(404, client.NOT_FOUND_CODE).source.startswith("UPS Tracking API")


def history() -> carrier_scans.History:
    package = client.read_packages(payload("track_details"))[0]
    return translate_scans.package_history(package, TABLE, "UPS")


def test_a_history_comes_oldest_first_with_its_meanings() -> None:
    """Types give one code two meanings, and raw codes stay beside the milestone."""
    events = history().events
    assert [shipment_pb2.Milestone.Name(event.milestone) for event in events] == [
        "MILESTONE_LABEL_CREATED",
        "MILESTONE_IN_TRANSIT",
        "MILESTONE_EXCEPTION",
        "MILESTONE_OUT_FOR_DELIVERY",
        "MILESTONE_DELIVERED",
    ]
    assert [event.status_code for event in events] == ["MP/003", "DP", "OT", "OT/021", "FS/011"]
    assert [event.signed_by for event in events] == ["", "", "", "", "RIVERA"]


def test_times_keep_what_was_given() -> None:
    """GMT gives the instant, local time alone gives none."""
    events = history().events
    unknown, padded, delivered = events[1].event_time, events[2].event_time, events[4].event_time
    assert not unknown.HasField("instant")
    assert unknown.zone == types_pb2.TIME_ZONE_SOURCE_UNKNOWN
    assert unknown.local == "2026-03-03T22:10:00"
    assert padded.instant.ToJsonString() == "2026-03-04T08:15:00Z"
    assert delivered.instant.ToJsonString() == "2026-03-05T22:12:03Z"
    assert delivered.utc_offset == "-08:00"


@pytest.mark.parametrize(("alert", "position"), [("alert_delivered", 4), ("alert_without_gmt", 1)])
def test_push_and_poll_tell_the_same_scan(alert: str, position: int) -> None:
    """Everything that identifies a scan is equal whichever way it was heard."""
    pushed = translate_scans.alert_event(payload(alert), TABLE, "UPS")
    polled = history().events[position]
    assert (pushed.channel, polled.channel) == ("webhook", "poll")
    for event in (pushed, polled):
        event.channel = ""
    assert pushed == polled


def test_proof_of_delivery_is_one_fact_whichever_way_it_came() -> None:
    """Callback and poll give one confirmation with one id, and another signer one with another."""
    pushed = translate_scans.alert_event(payload("alert_delivered"), TABLE, "UPS")
    polled = history().events[-1]
    first = carrier_scans.confirmation_request("ups", pushed)
    assert first is not None
    assert first == carrier_scans.confirmation_request("ups", polled)
    assert first.delivery_confirmation.signed_by == "RIVERA"
    assert carrier_scans.confirmation_request("ups", history().events[0]) is None
    pushed.signed_by = "RIVERA-SMITH"
    second = carrier_scans.confirmation_request("ups", pushed)
    assert second is not None
    assert second.request_id != first.request_id, "it would be refused as one that was told"


def test_reports_repeat_their_id() -> None:
    """The same scans make the same request, other scans another."""
    events = history().events
    first = carrier_scans.tracking_request("ups", events)
    assert first == carrier_scans.tracking_request("ups", events)
    assert first.request_id != carrier_scans.tracking_request("ups", events[:2]).request_id


def test_a_broken_activity_does_not_cost_the_others() -> None:
    """What cannot be read is named; the rest is reported."""
    package = client.read_packages(payload("track_details"))[0]
    package["activity"][1]["date"] = "soon"
    found = translate_scans.package_history(package, TABLE, "UPS")
    assert len(found.events) == 4
    assert len(found.problems) == 1


def test_scans_that_are_cut_are_said() -> None:
    """Proves that scans beyond what is read of one parcel are a problem with its place."""
    package = client.read_packages(payload("track_details"))[0]
    package["activity"] = [package["activity"][0]] * 501
    found = translate_scans.package_history(package, TABLE, "UPS")
    assert len(found.events) == 500
    (problem,) = found.problems
    assert "/activity/500: only the first 500 of 501 scans are read" in problem


@pytest.mark.parametrize(
    "changes",
    [
        {"trackingNumber": ""},
        {"activityStatus": None},
        {"localActivityDate": "", "gmtActivityDate": ""},
    ],
)
def test_callbacks_that_are_no_scan_are_unreadable(changes: dict[str, Any]) -> None:
    """They are kept raw by the caller."""
    with pytest.raises(Unreadable):
        translate_scans.alert_event({**payload("alert_delivered"), **changes}, TABLE, "UPS")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(sorted(payload("alert_delivered"))), JSON))
def test_any_callback_is_a_scan_or_unreadable(changes: dict[str, Any]) -> None:
    """Nothing a sender can put into a field breaks the translation."""
    try:
        event = translate_scans.alert_event({**payload("alert_delivered"), **changes}, TABLE, "UPS")
    except Unreadable:
        return
    assert event.tracking_number


@pytest.mark.parametrize(
    ("status", "milestone"),
    [
        ({"type": "I", "code": "OT", "descriptionCode": 17}, "OUT_FOR_DELIVERY"),
        ({"type": "D", "code": "FS", "descriptionCode": 9}, "DELIVERED"),
        ({"type": "I", "descriptionCode": 21}, "OUT_FOR_DELIVERY"),
        ({"type": "X", "code": 48, "descriptionCode": None}, "DELIVERY_ATTEMPTED"),
    ],
)
def test_codes_and_times_may_be_numbers(status: dict[str, Any], milestone: str) -> None:
    """Proves that values written as numbers are read, and that three digits which have lost their
    zeros do not overrule the letters."""
    callback = payload("alert_delivered") | {
        "activityStatus": status, "localActivityDate": 20260305, "localActivityTime": 91203,
        "gmtActivityDate": 20260305, "gmtActivityTime": 171203,
        "activityLocation": {"city": "Portland", "postalCode": 97201, "country": "US"},
    }  # fmt: skip
    event = translate_scans.alert_event(callback, TABLE, "UPS")
    assert shipment_pb2.Milestone.Name(event.milestone) == f"MILESTONE_{milestone}"
    assert event.event_time.instant.ToJsonString() == "2026-03-05T17:12:03Z"
    assert event.place.postal_code == "97201"


def test_the_newest_use_of_a_number_counts() -> None:
    """Numbers are reused over the years."""
    old = {"trackingNumber": NUMBER, "activity": [{"date": "20190101", "time": "120000"}]}
    new = {"trackingNumber": NUMBER, "activity": [{"date": "20260101", "time": "80000"}]}
    other = {"trackingNumber": "1ZOTHER", "activity": [{"date": "20270101"}]}
    assert translate_scans.newest_package([old, new, other], NUMBER) is new
    assert translate_scans.newest_package([other], NUMBER) is None


def test_the_current_status_reads_the_newest_activity_and_no_other() -> None:
    """A newest activity without its three-digit code is read by the package's; it stays the same
    scan, and older activities keep their own meaning."""
    status = {"type": "I", "description": "x", "code": "QZ"}
    activities = [
        {"status": status, "date": "20260305", "time": "141203"},
        {"status": status, "date": "20260304", "time": "101010"},
    ]
    package = {"trackingNumber": NUMBER, "activity": activities}
    for current in ({"code": "011"}, {"code": "D", "statusCode": "11"}):
        found = translate_scans.package_history({**package, "currentStatus": current}, TABLE, "UPS")
        older, newest = found.events
        assert newest.milestone == shipment_pb2.MILESTONE_DELIVERED
        assert older.milestone == shipment_pb2.MILESTONE_UNKNOWN
        assert newest.status_code == "QZ"


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        ({"type": "X", "code": "A5"}, "ADDRESS_PROBLEM"),
        ({"type": "X", "code": "48", "statusCode": "022"}, "RECIPIENT_UNAVAILABLE"),
        ({"type": "X", "code": "0A"}, ""),
        ({"type": "I", "code": "DP"}, ""),
    ],
)
def test_a_scan_says_why_it_is_an_exception(status: dict[str, str], reason: str) -> None:
    """The table's reason reaches the contract; what it does not know stays empty."""
    activity = {"status": status, "date": "20260305", "time": "141203"}
    package = {"trackingNumber": "1ZA1B2C30300123452", "activity": [activity]}
    (event,) = translate_scans.package_history(package, TABLE, "UPS").events
    assert event.exception_reason == reason
    names = "crossdock.tracking.v1.TrackingEvent"
    assert not contracts.validate(names, event.SerializeToString())
