"""Between the contract and FedEx's words: shipments out, scans in, codes and times."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from crossdock.shipment.v1 import shipment_pb2
from crossdock.types.v1 import types_pb2
from crossdock_adapters.fedex import client, conformance, translate, translate_scans
from crossdock_adapters.fedex.sandbox_ship import read_requested
from crossdock_adapters.fedex.translate import ShipRules
from crossdock_adapters.sdk import vendor_json
from crossdock_adapters.sdk.carrier_scans import History, confirmation_request
from crossdock_adapters.sdk.http import Answer
from crossdock_adapters.sdk.mappings import Code, Mappings, Topic, file_of
from crossdock_adapters.sdk.outcomes import Untranslatable
from crossdock_adapters.sdk.places import Unreadable
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

PAYLOADS = Path(__file__).parent / "payloads" / "fedex"
PACKAGE = "crossdock_adapters.fedex"
MAPPINGS = Mappings(file_of(PACKAGE))
REFERENCE = "ABCDEFGHIJKLMNOPQRST"
RULES = ShipRules(
    conformance.ACCOUNT,
    services={
        **MAPPINGS.natives(Topic.SERVICE_LEVEL),
        **MAPPINGS.natives(Topic.SERVICE_LEVEL, "US-CA"),
    },
    units=MAPPINGS.natives(Topic.UNIT),
    packaging=MAPPINGS.natives(Topic.PACKAGE_TYPE),
)
PORTLAND = {"US-OR": "America/Los_Angeles"}
# The vendor's status codes, as the reference guide lists them for scans and for callbacks.
PUBLISHED = {
    "LABEL_CREATED": "OC",
    "CARRIER_ACCEPTED": "PU PX DO OF IP",
    "IN_TRANSIT": "AR AA AF FD SF DP LO IT IX PM OW EA EO PF PL TR AC AX ED AD CP CC",
    "OUT_FOR_DELIVERY": "OD",
    "READY_FOR_COLLECTION": "HL HP",
    "EXCEPTION": "SE DD DY PD CD DE",
    "RETURNING": "RS",
    "DELIVERED": "DL",
    "VOIDED": "CA",
    "INFORMATION": "OX AO AE RR RM RC HA RT RA PR AS SP CH LP RP RG RD AP EP DR DS LC US IN MD",
}


def payload(name: str) -> Any:
    return vendor_json.loads((PAYLOADS / f"{name}.json").read_bytes())


def request(
    shipment: shipment_pb2.Shipment | None = None, rules: ShipRules = RULES
) -> dict[str, Any]:
    """The requested shipment; proved to pass the simulated vendor's checks."""
    asked = conformance.shipment() if shipment is None else shipment
    made = translate.requested_shipment(asked, list(asked.packages), REFERENCE, rules)
    body = {"accountNumber": {"value": conformance.ACCOUNT}, "requestedShipment": made}
    read_requested(vendor_json.loads(vendor_json.dumps(body)), [conformance.ACCOUNT])
    return made


def history(*scans: dict[str, Any], zones: dict[str, str] | None = None, **more: Any) -> History:
    result = vendor_json.loads(conformance.result(*scans, **more))
    return translate_scans.parcel_history(result, MAPPINGS, "FEDEX", zones or {})


def time_of(when: str, zones: dict[str, str] | None = None) -> types_pb2.SourceTime:
    (event,) = history(conformance.scan("AR", "IT", when), zones=zones).events
    return event.event_time


# Shipments


def test_a_shipment_in_fedexs_words() -> None:
    """Proves the shape: reference on the package, whole inches rounded up, exact pounds."""
    shipment = conformance.shipment()
    shipment.packages[0].length.value = "12.1"
    made = request(shipment)
    (line,) = made["requestedPackageLineItems"]
    assert line["customerReferences"][0]["value"] == REFERENCE
    assert line["dimensions"] == {"length": 13, "width": 9, "height": 4, "units": "IN"}
    assert line["weight"] == {"units": "LB", "value": Decimal("4.2")}
    assert "labelSpecification" not in made, "the confirmation asks for the label"
    assert translate.label_specification(RULES)["labelStockType"] == "STOCK_4X6"
    assert b'"value":4.2' in vendor_json.dumps(line["weight"])


def test_an_address_says_nothing_empty_or_too_long() -> None:
    """Proves that a country without states or postal codes has neither in the request, and that an
    e-mail address of more than 80 characters, which FedEx refuses, is left out."""
    shipment = conformance.shipment()
    for party in (shipment.ship_from, shipment.ship_to):
        party.address.country_code, party.address.state, party.address.postal_code = "IE", "", ""
    shipment.ship_to.email = f"{'a' * 70}@mail.example"
    (recipient,) = request(shipment)["recipients"]
    assert sorted(recipient["address"]) == ["city", "countryCode", "residential", "streetLines"]
    assert "emailAddress" not in recipient["contact"]


def test_a_shipment_has_the_packaging_of_its_container_types() -> None:
    """Proves that packaging goes by the container type and the rows, the setting for those not
    named, that packages of two kinds are no one shipment, and that a word without a row and a unit
    without one are refused with the command that gives them one."""
    shipment = conformance.shipment()
    shipment.service_code, shipment.packages[0].container_type = "FEDEX_2_DAY", "TUBE-3"
    rules = replace(RULES, package_types={"TUBE-3": "CARRIER_TUBE"})
    assert request(shipment, rules)["packagingType"] == "FEDEX_TUBE"
    assert request(shipment)["packagingType"] == "YOUR_PACKAGING"
    second = shipment.packages.add(id="x", number="OLPN-2", container_type="CTN")
    second.weight.CopyFrom(types_pb2.Quantity(value="1", unit="LBR"))
    with pytest.raises(Untranslatable, match=r"FEDEX_TUBE, YOUR_PACKAGING.* multi_piece = false"):
        request(shipment, rules)
    with pytest.raises(Untranslatable, match="map set fedex PACKAGE_TYPE CODE --means HATBOX"):
        request(shipment, replace(RULES, package_types={"CTN": "HATBOX"}))
    with pytest.raises(Untranslatable, match="map set fedex UNIT WORD --means LBR"):
        request(conformance.shipment(), replace(RULES, units={}))


def test_pieces_add_up_in_one_system() -> None:
    """Proves that kilograms among pounds become pounds, and that the weight adds up."""
    shipment = conformance.shipment()
    second = shipment.packages.add(id="x", number="OLPN-2")
    second.weight.CopyFrom(types_pb2.Quantity(value="1.91", unit="KGM"))
    made = request(shipment)
    assert (len(made["requestedPackageLineItems"]), made["totalWeight"]) == (2, Decimal("8.5"))
    assert {line["weight"]["units"] for line in made["requestedPackageLineItems"]} == {"LB"}


@pytest.mark.parametrize(
    ("ordered", "residential", "to_country", "service"),
    [
        ("GROUND", False, "US", "FEDEX_GROUND"),
        ("GROUND", True, "US", "GROUND_HOME_DELIVERY"),
        ("GROUND", True, "CA", "FEDEX_GROUND"),
        ("NEXT_DAY", False, "US", "PRIORITY_OVERNIGHT"),
        ("INTL_EXPRESS", False, "DE", "FEDEX_INTERNATIONAL_PRIORITY"),
        ("FEDEX_2_DAY", False, "US", "FEDEX_2_DAY"),
    ],
)
def test_services(ordered: str, residential: bool, to_country: str, service: str) -> None:
    """Proves that an ordered service becomes FedEx's, ground by who receives it and where."""
    shipment = conformance.shipment()
    shipment.service_code = ordered
    shipment.ship_to.residential = residential
    shipment.ship_to.address.country_code = to_country
    assert translate.service_type(shipment, RULES.services) == service


@pytest.mark.parametrize(
    ("ordered", "flagged", "residential"),
    [
        ("GROUND_RESIDENTIAL", False, True),
        ("GROUND_HOME_DELIVERY", False, True),
        ("GROUND", True, True),
        ("GROUND", False, False),
    ],
)
def test_home_delivery_is_to_a_home(ordered: str, flagged: bool, residential: bool) -> None:
    """Proves that an address is a residence where the service is home delivery, which FedEx sells
    to no other, though the address does not say so."""
    shipment = conformance.shipment()
    shipment.service_code, shipment.ship_to.residential = ordered, flagged
    (recipient,) = request(shipment)["recipients"]
    assert recipient["address"]["residential"] is residential


def test_a_return_goes_to_no_home() -> None:
    """Proves that the way back to a warehouse is ground where ground to a home is ordered."""
    shipment = conformance.shipment()
    shipment.service_code = "GROUND_RESIDENTIAL"
    made = translate.requested_return(shipment, REFERENCE, RULES)
    address = made["recipients"][0]["address"]
    assert (made["serviceType"], address["residential"]) == ("FEDEX_GROUND", False)
    assert shipment.service_code == "GROUND_RESIDENTIAL"


def test_what_does_not_fit_is_not_cut() -> None:
    """Proves that too many packages, a long street and an unknown format wait for a person."""
    many, long = conformance.shipment(), conformance.shipment()
    for number in range(40):
        many.packages.add(id=str(number), number=f"P-{number}").CopyFrom(many.packages[0])
    long.ship_to.address.lines[0] = "x" * 120
    for shipment in (many, long):
        with pytest.raises(Untranslatable):
            translate.requested_shipment(shipment, list(shipment.packages), REFERENCE, RULES)
    with pytest.raises(Untranslatable, match="label_format"):
        request(rules=replace(RULES, label_format="GIF"))


# Errors


def test_placeholders_of_an_error_are_filled() -> None:
    """Proves that people read FedEx's sentence, and programs its code."""
    problem = client.problem_of(Answer(400, {}, (PAYLOADS / "error_body.json").read_bytes()))
    assert problem.code == "RATE.SERVICEPACKAGECOMBINATION.INVALID"
    assert problem.message == "Service FEDEX_GROUND does not go with packaging FEDEX_PAK."


@pytest.mark.parametrize("body", [b"", b"<html></html>", b"[]", b'{"errors": {"code": "X"}}'])
def test_what_is_no_error_object_has_no_code(body: bytes) -> None:
    """Proves that a gateway's page is never taken for FedEx's word."""
    assert client.problem_of(Answer(400, {}, body)).code == ""


# Codes


@pytest.mark.parametrize(("milestone", "codes"), PUBLISHED.items())
def test_every_published_status_code_has_its_meaning(milestone: str, codes: str) -> None:
    """Proves that the rows are complete for the vendor's table, each in the right place."""
    for code in codes.split():
        found = MAPPINGS.first(Topic.STATUS, [Code("scan", code)])
        assert found is not None and found[1].canonical == milestone, code


def test_no_other_status_code_has_a_row() -> None:
    """Proves that no code has a row that the vendor does not list."""
    file = file_of(PACKAGE)
    assert file is not None
    rows = {row.code.code for row in file.rows if row.code.type == "scan"}
    assert rows == {code for codes in PUBLISHED.values() for code in codes.split()}


@pytest.mark.parametrize(
    ("event", "reason", "delay", "milestone", "why"),
    [
        ("DE", "07", "", "DELIVERY_ATTEMPTED", "RECIPIENT_UNAVAILABLE"),
        ("DE", "007", "", "DELIVERY_ATTEMPTED", "RECIPIENT_UNAVAILABLE"),
        ("DE", "08", "", "DELIVERY_ATTEMPTED", "RECIPIENT_UNAVAILABLE"),
        ("DE", "03", "", "EXCEPTION", "ADDRESS_PROBLEM"),
        ("DE", "083", "", "DELIVERY_ATTEMPTED", "ACCESS_RESTRICTED"),
        ("SE", "083", "", "EXCEPTION", "ACCESS_RESTRICTED"),
        ("SE", "099", "", "EXCEPTION", "OTHER"),
        ("DE", "77", "", "EXCEPTION", ""),
        ("SE", "A12", "", "EXCEPTION", "CUSTOMS_HOLD"),
        ("SE", "A25", "", "IN_TRANSIT", "CUSTOMS_INFORMATION"),
        ("DE", "A47", "", "INFORMATION", ""),
        ("DY", "", "WEATHER", "EXCEPTION", "WEATHER"),
        ("DY", "84", "WEATHER", "EXCEPTION", "CARRIER_DELAY"),
        ("DY", "", "OPERATIONAL", "EXCEPTION", "CARRIER_DELAY"),
        ("CD", "", "", "EXCEPTION", "CUSTOMS_HOLD"),
        ("CC", "", "", "IN_TRANSIT", "CUSTOMS_CLEARED"),
        ("HL", "", "", "READY_FOR_COLLECTION", "HOLD_REQUESTED"),
    ],
)
def test_why_a_parcel_is_held_up(
    event: str, reason: str, delay: str, milestone: str, why: str
) -> None:
    """Proves that the exception code, then the kind of delay say more than the event alone, in
    all the ways in which FedEx writes a code."""
    more: dict[str, Any] = {"exceptionCode": reason}
    if delay:
        more["delayDetail"] = {"type": delay, "status": "DELAYED"}
    (found,) = history(conformance.scan(event, "", "2026-03-05T09:00:00-08:00", **more)).events
    assert shipment_pb2.Milestone.Name(found.milestone) == f"MILESTONE_{milestone}"
    assert found.exception_reason == why


def test_unknown_codes_stay_raw() -> None:
    """Proves that a code without a row is UNKNOWN with its own letters, and that FedEx's own
    summary is used where it gives one."""
    when = "2026-03-05T09:00:00-08:00"
    (strange,) = history(conformance.scan("Q9", "Z9", when, exceptionCode="017Z")).events
    assert strange.milestone == shipment_pb2.MILESTONE_UNKNOWN
    assert (strange.status_type, strange.status_code) == ("Z9", "Q9/017Z")
    assert [(c.type, c.code) for c in strange.native_codes] == [
        ("reason", "Q9/17Z"),
        ("scan", "Q9"),
        ("derived", "Z9"),
    ]
    (summed_up,) = history(conformance.scan("Q9", "IT", when)).events
    assert summed_up.milestone == shipment_pb2.MILESTONE_IN_TRANSIT


# Scans


def test_a_history_in_order_with_what_each_scan_means() -> None:
    """Proves a whole reply: oldest first, EA twice with two meanings, the attempt, the receiver."""
    ours, missing = [result for _, result in translate_scans.results_in(payload("track_delivered"))]
    told = translate_scans.parcel_history(ours, MAPPINGS, "FEDEX", {})
    assert told.problems == ()
    names = [
        shipment_pb2.Milestone.Name(e.milestone).removeprefix("MILESTONE_") for e in told.events
    ]
    assert names == [
        "CARRIER_ACCEPTED",
        "IN_TRANSIT",
        "IN_TRANSIT",
        "DELIVERY_ATTEMPTED",
        "OUT_FOR_DELIVERY",
        "DELIVERED",
    ]
    assert [e.exception_reason for e in told.events[1:3]] == ["", "CUSTOMS_INFORMATION"]
    assert [e.signed_by for e in told.events] == ["", "", "", "", "", "R.RIVERA"]
    assert translate_scans.error_of(missing)[0] == "TRACKING.TRACKINGNUMBER.NOTFOUND"


def test_a_shipment_without_scans_is_a_label() -> None:
    """Proves that data without a parcel is one event, with the day and no invented time."""
    told = translate_scans.parcel_history(payload("track_label_only"), MAPPINGS, "FEDEX", PORTLAND)
    (event,) = told.events
    assert event.milestone == shipment_pb2.MILESTONE_LABEL_CREATED
    assert event.event_time.precision == types_pb2.TIME_PRECISION_DAY
    assert not event.event_time.HasField("instant")


def test_a_delivery_without_its_scan_is_not_dated_by_the_label() -> None:
    """Proves that a status of later than the label, told without any scan, is held and not a proof
    of delivery on the day that the label was made."""
    result = payload("track_label_only")
    result["latestStatusDetail"] |= {"code": "DL", "derivedCode": "DL"}
    told = translate_scans.parcel_history(result, MAPPINGS, "FEDEX", PORTLAND)
    assert told.events == ()
    assert "DL comes without its scan" in told.problems[0]


def test_delivered_on_the_way_back_is_on_the_return_leg() -> None:
    """Proves that what follows a return to the shipper is told as the way back, no more, and that
    whoever signed there proves no delivery."""
    told = history(
        conformance.scan("DL", "DL", "2026-03-09T10:00:00-08:00"),
        conformance.scan("RS", "RS", "2026-03-07T10:00:00-08:00"),
        conformance.scan("DE", "DE", "2026-03-06T10:00:00-08:00", exceptionCode="08"),
    )
    assert [event.return_leg for event in told.events] == [False, False, True]
    signed = told.events[-1]
    signed.signed_by = "THE SENDER"
    assert confirmation_request("fedex", signed) is None
    signed.return_leg = False
    assert confirmation_request("fedex", signed) is not None


def test_one_broken_scan_does_not_cost_the_others() -> None:
    """Proves that a scan that cannot be read is named by its place, beside those that can."""
    good = conformance.scan("AR", "IT", "2026-03-05T11:05:00-08:00")
    told = history(good, {**good, "date": "yesterday"}, good | {"eventType": None})
    assert len(told.events) == 1
    assert "/scanEvents/1/date" in told.problems[0]
    assert "/scanEvents/2/eventType" in told.problems[1]


@pytest.mark.parametrize("key", ["trackResults", "completeTrackResults", "output"])
def test_a_callback_may_be_wrapped_as_an_answer_of_track_is(key: str) -> None:
    """Proves that results are found alone and in the envelope, and their place is told."""
    bare = vendor_json.loads(conformance.result({"date": "never"}))
    body: dict[str, Any] = {"trackResults": [bare]}
    body = {"completeTrackResults": [body]} if key != "trackResults" else body
    body = {"output": body} if key == "output" else body
    ((place, found),) = translate_scans.results_in(body)
    assert found == bare
    assert place.endswith("/trackResults/0")
    with pytest.raises(Unreadable):
        translate_scans.results_in({"nothing": []})


# Times


def test_an_offset_is_an_instant_and_stays_as_written() -> None:
    """Proves that offset and local time are both kept, and neither is thrown away."""
    when = time_of("2026-03-04T09:26:00-07:00")
    assert when.instant.ToJsonString() == "2026-03-04T16:26:00Z"
    assert (when.local, when.utc_offset) == ("2026-03-04T09:26:00", "-07:00")
    assert when.zone == types_pb2.TIME_ZONE_SOURCE_GIVEN


def test_a_time_without_an_offset_is_of_no_known_zone() -> None:
    """Proves that a local time is never stamped as UTC, whatever the state it was in."""
    when = time_of("2026-03-04T09:26:00")
    assert when.zone == types_pb2.TIME_ZONE_SOURCE_UNKNOWN
    assert not when.HasField("instant")
    assert when.local == "2026-03-04T09:26:00"


@pytest.mark.parametrize("key", ["PDXA", "US-OR", "US"])
def test_a_site_that_the_deployment_knows_lends_its_zone(key: str) -> None:
    """Proves that a scan's location, its state or its country gives the zone, as configured."""
    when = time_of("2026-07-04T09:26:00", {key: "America/Los_Angeles"})
    assert when.instant.ToJsonString() == "2026-07-04T16:26:00Z"
    assert when.zone == types_pb2.TIME_ZONE_SOURCE_FROM_LOCATION


@pytest.mark.parametrize("twice_or_never", ["2026-11-01T01:30:00", "2026-03-08T02:30:00"])
def test_a_clock_change_leaves_two_instants_possible_and_none_told(twice_or_never: str) -> None:
    """Proves that a local time that a clock change shows twice, or skips, is not guessed."""
    when = time_of(twice_or_never, PORTLAND)
    assert when.zone == types_pb2.TIME_ZONE_SOURCE_UNKNOWN
    assert not when.HasField("instant")


@pytest.mark.parametrize("text", ["2026-03-04", "2026-03-04T00:00:00"])
def test_a_day_is_no_instant_in_any_zone(text: str) -> None:
    """Proves that a day, or the midnight that stands for one, stays a day even in a known zone."""
    when = time_of(text, PORTLAND)
    assert (when.precision, when.local[:10]) == (types_pb2.TIME_PRECISION_DAY, "2026-03-04")
    assert not when.HasField("instant")


def test_midnight_with_an_offset_is_a_time() -> None:
    """Proves that who says his offset means the minute."""
    assert time_of("2026-03-04T00:00:00-08:00").instant.ToJsonString() == "2026-03-04T08:00:00Z"


# Which of the parcels of a number


def test_the_newest_result_of_our_own_is_taken() -> None:
    """Proves that other numbers, errors and what was over before we bought are left out."""

    def shown(when: str) -> dict[str, Any]:
        scan = conformance.scan("AR", "IT", when)
        found: dict[str, Any] = vendor_json.loads(conformance.result(scan))
        return found

    old, new = shown("2021-03-04T09:26:00-07:00"), shown("2026-03-04T09:26:00-07:00")
    number = conformance.NUMBER
    bought = date(2026, 3, 1)
    assert translate_scans.newest_result([old, new], number, bought) is new
    assert translate_scans.newest_result([old], number, bought) is None
    assert translate_scans.newest_result([old], number, None) is old
    assert translate_scans.newest_result([new], "790000000000", None) is None
    wrong = {"error": {"code": "X"}}
    assert translate_scans.newest_result([new | wrong | {"scanEvents": []}], number, None) is None
    remarked = new | wrong
    assert translate_scans.newest_result([remarked], number, None) is remarked


def test_only_our_exact_reference_counts() -> None:
    """Proves that a look-up by reference keeps what carries it, and no void label."""

    def tracked(number: str, value: str, code: str) -> dict[str, Any]:
        identifiers = [{"type": "CUSTOMER_REFERENCE", "values": [value]}]
        return {
            "trackingNumberInfo": {"trackingNumber": number},
            "latestStatusDetail": {"code": code},
            "packageDetails": {"sequenceNumber": number[-1]},
            "additionalTrackingInfo": {"packageIdentifiers": identifiers},
        }

    results = [
        tracked("792", REFERENCE, "OC"),
        tracked("791", REFERENCE, "OC"),
        tracked("793", REFERENCE[:-1], "OC"),
        tracked("794", REFERENCE, "CA"),
    ]
    found = translate_scans.pieces_with(results, REFERENCE, MAPPINGS)
    assert found == [(1, "791"), (2, "792")]


@pytest.mark.parametrize("change", ["no pieces", "no label", "two shipments", "not base64"])
def test_what_proves_no_purchase_is_none(change: str) -> None:
    """Proves that a confirmation without every label is never read as one."""
    document = {"docType": "ZPLII", "encodedLabel": "XlhB" if change != "not base64" else "^"}
    piece: dict[str, Any] = {"trackingNumber": "790", "packageDocuments": [document]}
    if change == "no label":
        piece["packageDocuments"] = [{"docType": "ZPLII"}]
    shipment = {"masterTrackingNumber": "790", "pieceResponses": [piece]}
    if change == "no pieces":
        shipment["pieceResponses"] = []
    output = {"transactionShipments": [shipment] * (2 if change == "two shipments" else 1)}
    with pytest.raises((KeyError, TypeError, ValueError)):
        client.read_booking(output)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
FIELDS = ["date", "eventType", "exceptionCode", "delayDetail", "scanLocation", "derivedStatusCode"]


@hypothesis_settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(FIELDS), JSON)
def test_any_scan_is_read_or_named(field: str, value: Any) -> None:
    """Proves that whatever stands in a scan, it becomes an event or a problem, never an error."""
    scan = conformance.scan("AR", "IT", "2026-03-05T11:05:00-08:00") | {field: value}
    told = history(scan)
    assert len(told.events) + len(told.problems) == 1
