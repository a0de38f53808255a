"""Between the contract and Canada Post's words: documents, answers, scans, codes; no network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from crossdock.shipment.v1 import shipment_pb2
from crossdock.types.v1 import types_pb2
from crossdock_adapters.canada_post import conformance, translate
from crossdock_adapters.canada_post.answers import ANSWERS, Means, read_answers
from crossdock_adapters.canada_post.client import Reply, read_info
from crossdock_adapters.canada_post.translate import ShipRules
from crossdock_adapters.sdk import vendor_xml
from crossdock_adapters.sdk.http import Answer
from crossdock_adapters.sdk.manifest import ManifestError
from crossdock_adapters.sdk.mappings import Code, Mappings, Topic, file_of
from crossdock_adapters.sdk.outcomes import Untranslatable
from crossdock_adapters.sdk.places import Unreadable

PAYLOADS = Path(__file__).parent / "payloads/canada-post"
FILE = file_of("crossdock_adapters.canada_post")
MAPPINGS = Mappings(FILE)
RULES = ShipRules("0008880001", services=MAPPINGS.natives(Topic.SERVICE_LEVEL, "DOM"))
MESSAGE = (
    '<messages xmlns="http://www.canadapost.ca/ws/messages"><message><code>{}</code>'
    "<description>{}</description></message></messages>"
)
PIN = "7023210039414604"


# Groups of events as public integrations have them: milestone, reason, confidence.
EVENTS = {
    "CARRIER_ACCEPTED  M": "100-107 1400-1405",
    "OUT_FOR_DELIVERY  M": "174 500",
    "DELIVERED  M": "1408 1409 1421-1434 1441 1442 1496-1499",
    "READY_FOR_COLLECTION  M": "118 156 1407 1410 1435-1438 1479 1488 1701 2410",
    "EXCEPTION OTHER M": "117 120 121 125 127 810 1411 1414 1443 1484 1487 1494 2411 2414 4700",
    "EXCEPTION CARRIER_DELAY M": "159-163 172 173 2412",
    "EXCEPTION OTHER L": (
        "150 154 167-169 179 181-184 190 1100 1415-1420 1450 1481-1483 1491-1493 2600 2802 3001 "
        "4650"
    ),
}
EVENTS["RETURNING  L"] = EVENTS["EXCEPTION OTHER L"]


def numbers(ranges: str) -> list[str]:
    found = []
    for each in ranges.split():
        first, _, last = each.partition("-")
        found += [str(number) for number in range(int(first), int(last or first) + 1)]
    return found


def payload(name: str) -> bytes:
    return (PAYLOADS / name).read_bytes()


def document(shipment: shipment_pb2.Shipment, rules: ShipRules = RULES) -> vendor_xml.Element:
    made = translate.shipment_document(shipment, conformance.PACKAGE_ID, "REFERENCE", rules)
    return vendor_xml.loads(made)


def test_a_package_is_asked_for_in_canada_posts_words() -> None:
    """Proves every element of a request: reference, group, parties, parcel, settlement."""
    root = document(
        conformance.shipment(),
        replace(RULES, options=("SO", "PA18"), contract_id="42", collected=True, cost_centre="CC"),
    )
    assert root.namespace == "http://www.canadapost.ca/ws/shipment-v8"
    said = {
        "customer-request-id": "REFERENCE",
        "group-id": "S-2001",
        "cpc-pickup-indicator": "true",
        "requested-shipping-point": "K1A0B1",
        "provide-pricing-info": "true",
        "delivery-spec/service-code": "DOM.EP",
        "delivery-spec/sender/company": "Northwind Outfitters",
        "delivery-spec/sender/contact-phone": "+1 613 555 0100",
        "delivery-spec/sender/address-details/postal-zip-code": "K1A0B1",
        "delivery-spec/destination/name": "Renée Thériault",
        "delivery-spec/destination/address-details/prov-state": "NS",
        "delivery-spec/destination/address-details/postal-zip-code": "B3H4R2",
        "delivery-spec/parcel-characteristics/weight": "1.9",
        "delivery-spec/parcel-characteristics/dimensions/width": "22.5",
        "delivery-spec/print-preferences/encoding": "ZPL",
        "delivery-spec/references/cost-centre": "CC",
        "delivery-spec/references/customer-ref-1": "SO-2001",
        "delivery-spec/settlement-info/contract-id": "42",
        "delivery-spec/settlement-info/paid-by-customer": "0008880001",
        "delivery-spec/settlement-info/intended-method-of-payment": "Account",
    }
    assert {path: root.text_of(path) for path in said} == said
    codes = [each.text_of("option-code") for each in root.all("delivery-spec/options/option")]
    assert codes == ["SO", "PA18"]
    assert root.find("transmit-shipment") is None


def test_weights_and_lengths_are_exact_and_never_too_small() -> None:
    """Proves that pounds and inches become kilograms and centimetres, rounded up at the step."""
    shipment = conformance.shipment()
    package = shipment.packages[0]
    package.weight.CopyFrom(types_pb2.Quantity(value="4.2", unit="LBR"))
    package.length.CopyFrom(types_pb2.Quantity(value="12", unit="INH"))
    parcel = document(shipment).need("delivery-spec/parcel-characteristics")
    # 4.2 lb are 1.905087954 kg, 12 in are 30.48 cm.
    assert parcel.text_of("weight") == "1.906"
    assert parcel.text_of("dimensions/length") == "30.5"


def test_a_tube_is_flagged_as_the_warehouse_calls_it() -> None:
    """Proves that a container type becomes the flag of its word, that boxes and others have none,
    and that a word without a row is refused, where the parcel went as a box."""
    shipment = conformance.shipment()
    shipment.packages[0].container_type = "TUBE-60"
    types = {"TUBE-60": "CARRIER_TUBE", "DRUM": "DRUM", "BOX-3": "CUSTOMER_BOX"}
    packaging = MAPPINGS.natives(Topic.PACKAGE_TYPE)
    flagged = replace(RULES, package_types=types, packaging=packaging)
    parcel = document(shipment, flagged).need("delivery-spec/parcel-characteristics")
    assert parcel.text_of("mailing-tube") == "true"
    assert document(shipment).find("delivery-spec/parcel-characteristics/mailing-tube") is None
    shipment.packages[0].container_type = "BOX-3"
    assert (
        document(shipment, flagged).find("delivery-spec/parcel-characteristics/mailing-tube")
        is None
    )
    shipment.packages[0].container_type = "DRUM"
    with pytest.raises(Untranslatable, match="map set canada-post PACKAGE_TYPE CODE --means DRUM"):
        document(shipment, flagged)


def _abroad(shipment: shipment_pb2.Shipment) -> None:
    shipment.ship_to.address.country_code = "US"


def _from_abroad(shipment: shipment_pb2.Shipment) -> None:
    shipment.ship_from.address.country_code = "US"


def _no_phone(shipment: shipment_pb2.Shipment) -> None:
    shipment.ship_from.phone = ""


def _no_postal_code(shipment: shipment_pb2.Shipment) -> None:
    shipment.ship_to.address.postal_code = "90210"


def _long_street(shipment: shipment_pb2.Shipment) -> None:
    shipment.ship_to.address.lines[:] = ["word " * 40]


def _odd_letter(shipment: shipment_pb2.Shipment) -> None:
    shipment.ship_to.name = "bell \x07"


def _no_weight(shipment: shipment_pb2.Shipment) -> None:
    shipment.packages[0].weight.value = "0"


def _no_province(shipment: shipment_pb2.Shipment) -> None:
    shipment.ship_to.address.state = ""


def _strange_service(shipment: shipment_pb2.Shipment) -> None:
    shipment.service_code = "TELEPORT"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_abroad, "ship to: .* customs data"),
        (_from_abroad, "ship from: .* in Canada"),
        (_no_phone, "ship from: .* contact_phone"),
        (_no_postal_code, "'90210' is no Canadian postal code"),
        (_long_street, "ship to: the street needs 1 to 2 lines of 44"),
        (_odd_letter, "name has a character that XML cannot say"),
        (_no_weight, "no weight"),
        (_no_province, "ship to: Canada Post wants city and province"),
        (_strange_service, "crossdock map set canada-post SERVICE_LEVEL CODE --type DOM"),
    ],
)
def test_what_cannot_be_said_is_told(
    change: Callable[[shipment_pb2.Shipment], None], words: str
) -> None:
    """Proves that nothing is sent which Canada Post cannot take, and that the reason says why."""
    shipment = conformance.shipment()
    change(shipment)
    with pytest.raises(Untranslatable, match=words):
        document(shipment)


def test_a_shipment_is_read_with_its_links_and_price() -> None:
    """Proves that price, ids and links come as they are written, links with their media type."""
    info = read_info(vendor_xml.loads(payload("shipment_info.xml")))
    assert (info.tracking_pin, info.shipment_id) == (PIN, "404190600000000017")
    assert info.due == Decimal("13.22") and str(info.due) == "13.22"
    label = info.link("label")
    assert label is not None and label.media_type == "application/zpl"
    assert info.link("refund") is None


@pytest.mark.parametrize(
    ("status", "body", "means"),
    [
        (500, payload("messages_throttled.xml"), Means.THROTTLED),
        (400, payload("messages_void_too_late.xml"), Means.TRANSMITTED),
        (404, payload("messages_empty.xml"), Means.NOTHING_THERE),
        (404, b"<html>no such page</html>", Means.UNKNOWN),
        (404, MESSAGE.format("004", "No Pin History"), Means.NOTHING_THERE),
        (400, MESSAGE.format("9118", "Group id was not found"), Means.NOTHING_TO_TRANSMIT),
        (400, MESSAGE.format("9122", "All groups are empty"), Means.NOTHING_TO_TRANSMIT),
        (409, MESSAGE.format("7292", "A refund has already been requested"), Means.DONE_BEFORE),
        (401, MESSAGE.format("E002", "AAA Authentication Failure"), Means.REFUSED_AT_DOOR),
        (401, b"", Means.REFUSED_AT_DOOR),
        (403, MESSAGE.format("AA003", "does not match"), Means.PERSON),
        (403, b"<html>firewall</html>", Means.UNKNOWN),
        (400, MESSAGE.format("9108", "Max labels reached"), Means.PERSON),
        (400, MESSAGE.format("1162", "could not be authorized"), Means.PERSON),
        (400, MESSAGE.format("1156", "Address Line 1 is mandatory"), Means.REJECTED),
        (400, b"<html>bad request</html>", Means.UNKNOWN),
        (412, MESSAGE.format("0", "pre-condition"), Means.UNKNOWN),
        (429, b"", Means.THROTTLED),
        (500, MESSAGE.format("Server", "cvc-simple-type 1: not valid"), Means.REJECTED),
        (500, MESSAGE.format("Server", "backside connection"), Means.UNKNOWN),
        (400, MESSAGE.format("9150", "System error"), Means.UNKNOWN),
        (502, b"<html>Bad gateway</html>", Means.UNKNOWN),
        (503, b'<!DOCTYPE m [<!ENTITY e "x">]><messages/>', Means.UNKNOWN),
    ],
)
def test_answers_mean_what_the_table_says(status: int, body: Any, means: Means) -> None:
    """Proves each row, and that what is no message document of the vendor's proves nothing."""
    raw = body.encode() if isinstance(body, str) else body
    assert Reply(Answer(status, {}, raw)).means is means


def test_every_row_of_the_table_has_a_source() -> None:
    """Proves that nobody put a meaning in without saying where it is written."""
    assert all(row.source for row in ANSWERS)
    assert all(row.status or row.codes or row.words for row in ANSWERS)


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ('status = 400\nmeans = "rejected"\nsource = "hearsay"', "source must be one of"),
        ('status = 400\nmeans = "perhaps"\nsource = "s"', "means must be one of"),
        ('means = "rejected"\nsource = "s"', "give a status, codes or words"),
        ('status = 400\ncode = "1"\nmeans = "rejected"\nsource = "s"', "code is no key"),
    ],
)
def test_a_wrong_row_is_named(row: str, problem: str) -> None:
    """Proves that a row without a source, a meaning or anything to know it by is told with its
    place, and nothing of the table is used."""
    with pytest.raises(ManifestError, match=f"answer 1: .*{problem}"):
        read_answers(f'[sources]\ns = "the code tables"\n[[answer]]\n{row}\n')


def test_a_history_is_read_oldest_first_with_times_as_exact_as_they_are() -> None:
    """Proves order, zones (Newfoundland's half hour, abroad, none), days without a time, and that
    a broken scan is told with its place and costs no other."""
    history = translate.history(payload("tracking_detail.xml"), PIN, MAPPINGS, "CANADA_POST")
    told = [
        (
            each.status_code,
            shipment_pb2.Milestone.Name(each.milestone).removeprefix("MILESTONE_"),
            each.event_time.instant.ToJsonString() if each.event_time.HasField("instant") else "",
            each.event_time.local,
            each.place.country_code,
        )
        for each in history.events
    ]
    assert told == [
        ("1402", "CARRIER_ACCEPTED", "", "2026-03-04", "CA"),
        ("4700", "EXCEPTION", "", "2026-03-05T10:00:00", ""),
        ("9321", "UNKNOWN", "2026-03-08T04:30:00Z", "2026-03-07T23:30:00", "CA"),
        ("174", "OUT_FOR_DELIVERY", "2026-03-09T10:35:00Z", "2026-03-09T08:05:00", "CA"),
        ("1421", "DELIVERED", "2026-03-09T16:42:03Z", "2026-03-09T14:12:03", "CA"),
    ]
    assert [each.event_time.zone for each in history.events][1] == (
        types_pb2.TIME_ZONE_SOURCE_UNKNOWN
    )
    assert history.events[-1].event_time.utc_offset == "-02:30"
    assert history.events[-1].signed_by == "N. TREMBLAY"
    (problem,) = history.problems
    assert problem == (
        "/tracking-detail/significant-events/occurrence[4]/event-date (line 40, column 7): "
        "is no date"
    )


@pytest.mark.parametrize(
    ("identifier", "text", "milestone"),
    [
        ("1415", "Item being returned to sender", "RETURNING"),
        ("1415", "Item refused by the addressee, returned to Sender", "RETURNING"),
        ("1483", "Receiver not located at address provided. Item being returned to sender.",
         "RETURNING"),
        ("1415", "Attempted delivery. Notice card left", "EXCEPTION"),
        ("1415", "Item will be returned to sender if not collected within 10 days", "EXCEPTION"),
        ("1479", "Final notice; item will be returned to sender", "READY_FOR_COLLECTION"),
        ("1421", "Item successfully delivered, returned to sender", "DELIVERED"),
        ("9321", "Item being returned to sender", "UNKNOWN"),
    ],
)  # fmt: skip
def test_what_goes_back_is_told_by_its_text(identifier: str, text: str, milestone: str) -> None:
    """Proves that the events of which only the text says more are read by it, that what may happen
    some day is nothing that happens, and that the text gives no other event a meaning."""
    body = conformance.detail(conformance.occurrence(identifier, "11:05:00", text))
    (event,) = translate.history(body, "", MAPPINGS, "CANADA_POST").events
    assert shipment_pb2.Milestone.Name(event.milestone) == f"MILESTONE_{milestone}"
    assert event.native_codes[-1].code == identifier and event.native_codes[-1].type == ""


@pytest.mark.parametrize(
    ("written", "code"),
    [("0174", "174"), ("174", "174"), (" 174 ", "174"), ("0000", "0"), ("D-12", "D-12")],
)
def test_identifiers_are_compared_as_numbers(written: str, code: str) -> None:
    """Proves that zeros in front say nothing, and that what is no number stays as it is."""
    assert translate.code_of(written) == Code("", code)


@pytest.mark.parametrize(
    ("zone", "offset"),
    [("NST", -210), ("ndt", -150), ("HNE", -300), ("PDT", -420), ("", None), ("ISRAEL", None)],
)
def test_zones_are_canadas_or_unknown(zone: str, offset: int | None) -> None:
    """Proves that an abbreviation that is none of Canada's leaves the zone unknown."""
    when = translate.scan_time("2026-03-09", "08:00:00", zone, in_canada=True)
    assert when.utc_offset_minutes == offset
    assert when.zone_known == (offset is not None)


@pytest.mark.parametrize(
    ("zone", "known"),
    [("CST", False), ("AST", False), ("PDT", False), ("NST", True), ("HAE", True), ("UTC", True)],
)
def test_a_scan_without_a_province_may_be_anywhere(zone: str, known: bool) -> None:
    """Proves that letters which mean China's time, or Arabia's, as well as Canada's are no zone
    where no province says so, and that those which only Canada writes are one."""
    body = conformance.detail(
        {
            "event-identifier": "174",
            "event-date": "2026-03-09",
            "event-time": "08:00:00",
            "event-time-zone": zone,
        }
    )
    (event,) = translate.history(body, "", MAPPINGS, "CANADA_POST").events
    assert event.event_time.HasField("instant") == known
    assert event.event_time.local == "2026-03-09T08:00:00"


def test_more_scans_than_are_told_are_not_passed_over_in_silence() -> None:
    """Proves that of a history without end the newest scans are told, and that it is said."""
    scan = conformance.occurrence("174", "11:05:00", "Item out for delivery")
    history = translate.history(conformance.detail(*[scan] * 501), "", MAPPINGS, "CANADA_POST")
    assert len(history.events) == 500
    assert history.problems == ("the newest 500 of 501 scans are told",)


@pytest.mark.parametrize(
    ("amount", "due"),
    [("13.22", Decimal("13.22")), ("0", Decimal(0)), ("-1", None), ("", None), ("NaN", None),
     ("1e9", None), ("free", None)],
)  # fmt: skip
def test_what_is_no_amount_is_no_price(amount: str, due: Decimal | None) -> None:
    """Proves that a price is what is written, and never zero because it could not be read."""
    body = payload("shipment_info.xml").replace(b"13.22", amount.encode())
    assert read_info(vendor_xml.loads(body)).due == due


@pytest.mark.parametrize(
    ("day", "clock"),
    [("", ""), ("2026-02-30", ""), ("20260309", ""), ("1999-01-01", ""), ("2026-03-09", "8:00"),
     ("2026-03-09", "25:00:00"), ("٢٠٢٦-03-09", "")],
)  # fmt: skip
def test_what_is_no_time_is_refused(day: str, clock: str) -> None:
    """Proves that neither a day nor a time of day is guessed."""
    with pytest.raises(ValueError):
        translate.scan_time(day, clock, "EST", in_canada=True)


@pytest.mark.parametrize(
    ("body", "place"),
    [
        (b"<tracking-summary/>", "/tracking-summary"),
        (b"<tracking-detail/>", "/tracking-detail/pin"),
        (b"<tracking-detail><pin>1</pin></tracking-detail>", "/tracking-detail/pin"),
        (b"<tracking-detail><pin>", "line 1, column 23"),
    ],
)
def test_what_is_no_history_is_refused_with_its_place(body: bytes, place: str) -> None:
    """Proves that an answer of another kind is never taken for "nothing scanned"."""
    with pytest.raises(Unreadable) as refused:
        translate.history(body, "", MAPPINGS, "CANADA_POST")
    assert refused.value.place.startswith(place)


def test_the_rows_are_those_of_the_published_lists() -> None:
    """Proves that every service and every event of the published groups has one row and means what
    its group means, and that a word which is sent within Canada has one code."""
    assert FILE is not None
    codes = {topic: {row.code.code for row in FILE.rows if row.topic is topic} for topic in Topic}
    services = (
        "DOM.RP DOM.EP DOM.XP DOM.XP.CERT DOM.PC DOM.LIB USA.EP USA.XP USA.TP USA.TP.LVM "
        "USA.SP.AIR USA.PW.ENV USA.PW.PAK USA.PW.PARCEL INT.XP INT.IP.AIR INT.IP.SURF INT.SP.AIR "
        "INT.SP.SURF INT.TP INT.PW.ENV INT.PW.PAK INT.PW.PARCEL"
    )
    assert codes[Topic.SERVICE_LEVEL] == set(services.split())
    statuses: dict[str, set[str]] = {}
    for row in FILE.rows:
        if row.topic is Topic.STATUS:
            word = f"{row.meaning.canonical} {row.meaning.exception_reason} {row.confidence}"
            statuses.setdefault(word, set()).add(row.code.code)
    assert statuses == {word: set(numbers(ranges)) for word, ranges in EVENTS.items()}
    assert dict(RULES.services) == {
        "GROUND": "DOM.EP", "GROUND_ECONOMY": "DOM.RP", "TWO_DAY": "DOM.XP", "NEXT_DAY": "DOM.PC",
    }  # fmt: skip
    assert MAPPINGS.natives(Topic.PACKAGE_TYPE) == {
        "CARRIER_TUBE": "mailing-tube",
        "UNPACKAGED": "unpackaged",
    }
