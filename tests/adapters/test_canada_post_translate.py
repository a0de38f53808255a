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
from crossdock_adapters.sdk import carrier_scans, vendor_xml
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


# Events by what they mean: type, milestone, reason, confidence.
EVENTS = {
    " LABEL_CREATED  H": "3000",
    " CARRIER_ACCEPTED  H": "1300-1302 2300",
    " CARRIER_ACCEPTED  M": "1400-1404",
    " IN_TRANSIT  H": (
        "100 102 104-107 113-116 170 175 400 405 410 700 701 800 804 815 1240 1241 1244 1480 1490 "
        "1703 1705 2500 2501 2601 4000 4100 4202 4310 4311 4330 4400 4550 4600 4900 4950 8901"
    ),
    " IN_TRANSIT  L": "101 103 610-620",
    " IN_TRANSIT CUSTOMS_CLEARED H": "130 900 910 4450 4500 5201",
    " OUT_FOR_DELIVERY  H": "174 500",
    " DELIVERED  H": (
        "1406 1408 1409 1421-1434 1441 1442 1461-1463 1465-1469 1471-1473 1475 1476 1496 1498"
    ),
    " DELIVERED  M": "1497 1499",
    " READY_FOR_COLLECTION  H": "156 1407 1435-1438 1479 1488 1701 2407",
    " READY_FOR_COLLECTION  M": "1405",
    " DELIVERY_ATTEMPTED BUSINESS_CLOSED H": "1411 2411",
    " DELIVERY_ATTEMPTED  H": "1443",
    " EXCEPTION HOLD_REQUESTED H": "1410 2410",
    " EXCEPTION ADDRESS_PROBLEM H": "120 171 173 1412 2412",
    " EXCEPTION REFUSED H": "121",
    " EXCEPTION CUSTOMS_INFORMATION H": "117",
    " EXCEPTION CUSTOMS_HOLD H": "127 810 1487 1495",
    " EXCEPTION WEATHER H": "159",
    " EXCEPTION CARRIER_DELAY H": "160-163 172 621-628 1414 1444 2414",
    " EXCEPTION DAMAGED H": "710",
    " EXCEPTION OTHER H": "118 150 179 190 629 630 1245 1450 1483 1484 1493 1494 4650 4700",
    " EXCEPTION OTHER M": "125 154",
    " RETURNING  H": "167-169 181-184 1100 1415-1420 1481 1482 1491 1492 2600 2802 3001",
    " RETURNING  L": "1303",
    " INFORMATION  H": (
        "20 21 152 198 1200 1203 1210 1214-1216 1220 1221 1223-1225 1230 1232 1234 2001 2101 3002"
    ),
    "to_sender RETURNING  M": (
        "100 154 174 179 500 1412 1450 1479 1483 1493 1703 2412 4450 4650 4700"
    ),
    "to_sender RETURNED  M": "1408 1409 1496-1499",
}


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
        ("1483", "Item refused by the addressee, returned to Sender", "RETURNING"),
        ("174", "Item that returns to sender is out for delivery", "OUT_FOR_DELIVERY"),
        ("174", "The returned item is out for delivery to its sender", "RETURNING"),
        ("174", "L'article retourné à l'expéditeur est en livraison", "RETURNING"),
        ("1479", "Essai de renvoyer l'article à l'exp. Carte laissée", "RETURNING"),
        ("1496", "Article renvoyé à son expéditeur avec succès", "RETURNED"),
        ("1496", "Item delivered", "DELIVERED"),
        ("1493", "Undeliverable. Being\n   returned to the\n   sender", "RETURNING"),
        ("1415", "Adresse incomplète", "RETURNING"),
        ("1483", "Item cannot be delivered", "EXCEPTION"),
        ("1483", "Item will be returned to sender if not collected within 10 days", "EXCEPTION"),
        ("1479", "Final notice; item will be returned to sender", "READY_FOR_COLLECTION"),
        ("156", "Avis final; retourné à l'exp. si personne ne le ramasse", "READY_FOR_COLLECTION"),
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


def test_who_signed_is_told_with_the_delivery_that_it_is_of() -> None:
    """Proves that a name which comes with the event of its signature is the delivery's: of two
    deliveries each has its own, whichever stands first in the list, and none that came before."""
    history = translate.history(
        conformance.detail(
            conformance.occurrence("20", "16:00:00", "Signature available", "M. OKAFOR"),
            conformance.occurrence("1496", "15:59:00", "Delivered"),
            conformance.occurrence("1496", "14:12:03", "Delivered"),
            conformance.occurrence("0020", "14:12:03", "Signature available", "N. TREMBLAY"),
            conformance.occurrence("21", "09:00:00", "Verbal signature", "NOBODY YET"),
        ),
        "",
        MAPPINGS,
        "CANADA_POST",
    )
    proofs = [carrier_scans.confirmation_request("canada-post", each) for each in history.events]
    assert [proof.delivery_confirmation.signed_by for proof in proofs if proof is not None] == [
        "N. TREMBLAY",
        "M. OKAFOR",
    ]
    assert [each.milestone for each in history.events].count(
        shipment_pb2.MILESTONE_INFORMATION
    ) == 3


def test_a_sender_who_signs_for_what_comes_back_proves_no_delivery() -> None:
    """Proves that a delivery behind a scan of the way back is none to the consignee."""
    body = conformance.detail(
        conformance.occurrence("1496", "14:12:03", "Delivered", "OUR OWN DOCK"),
        conformance.occurrence("1419", "09:00:00", "Unclaimed; item being returned to sender"),
    )
    history = translate.history(body, "", MAPPINGS, "CANADA_POST")
    (_, end) = history.events
    assert end.milestone == shipment_pb2.MILESTONE_DELIVERED and end.return_leg
    assert carrier_scans.confirmation_request("canada-post", end) is None


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
            means = row.meaning
            word = f"{row.code.type} {means.canonical} {means.exception_reason} {row.confidence}"
            statuses.setdefault(word, set()).add(row.code.code)
    assert statuses == {word: set(numbers(ranges)) for word, ranges in EVENTS.items()}
    assert dict(RULES.services) == {
        "GROUND": "DOM.EP", "GROUND_ECONOMY": "DOM.RP", "TWO_DAY": "DOM.XP", "NEXT_DAY": "DOM.PC",
    }  # fmt: skip
    assert MAPPINGS.natives(Topic.PACKAGE_TYPE) == {
        "CARRIER_TUBE": "mailing-tube",
        "UNPACKAGED": "unpackaged",
    }
