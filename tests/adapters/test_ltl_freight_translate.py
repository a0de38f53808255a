"""LTL freight in words: bills of lading, classes, PRO numbers, statuses and their times."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, time
from decimal import Decimal
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from crossdock.shipment.v1 import shipment_pb2
from crossdock.types.v1 import types_pb2
from crossdock_adapters.ltl_freight import conformance, sandbox_bols, translate, translate_status
from crossdock_adapters.ltl_freight.adapter import ADAPTER
from crossdock_adapters.ltl_freight.pro_numbers import ProRange, plain
from crossdock_adapters.ltl_freight.translate import BolRules
from crossdock_adapters.ltl_freight.translate_status import Status, StatusRules
from crossdock_adapters.sdk.mappings import Topic
from crossdock_adapters.sdk.outcomes import NeedsPerson, Untranslatable
from crossdock_adapters.sdk.places import Unreadable
from crossdock_adapters.sdk.x12 import envelopes
from hypothesis import given
from hypothesis import strategies as st

PAYLOADS = Path(__file__).parent / "payloads" / "ltl-freight"
RULES = BolRules(
    account="NW-1001",
    services={"LTL_GUARANTEED_NOON": "GTD_NOON", "FREIGHT": "STANDARD"},
    package_types={"PALLET": "PALLET", "": "PALLET"},
    packaging=ADAPTER.mappings.natives(Topic.PACKAGE_TYPE),
    units=ADAPTER.mappings.natives(Topic.UNIT),
)
ZONES = {
    "US-OR": "America/Los_Angeles",
    "US-OR-ONTARIO": "America/Boise",
    "US-NV": "America/Los_Angeles",
}
MILESTONES = frozenset(shipment_pb2.Milestone.keys())
# What public guides list of the standard: no code of these may lack a row.
STATUSES = (
    "XB", "OO", "X3", "X8", "L1", "S1", "AF", "CP", "AM", "CL", "P1", "X4", "X6", "R1", "J1",
    "BA", "AR", "RL", "I1", "OA", "B6", "X2", "AG", "AV", "K1", "PR", "AJ", "X1", "X5", "D1",
    "CD", "AH", "AP", "A7", "A9", "SD", "AI", "BC", "CA", "A3", "PA", "CT", "AN", "C1", "CB",
)  # fmt: skip
REASONS = (
    "NS", "NA", "A1", "A2", "A3", "A5", "A6", "AA", "AD", "AE", "AF", "AG", "AH", "AI", "AJ",
    "AK", "AL", "AM", "AN", "AO", "AP", "AQ", "AR", "AS", "AT", "AU", "AV", "AW", "AX", "AY",
    "AZ", "B1", "B2", "B4", "B5", "B8", "B9", "BB", "BC", "BD", "BE", "BF", "BG", "BH", "BI",
    "BJ", "BK", "BL", "BM", "BN", "BO", "BP", "BQ", "BR", "BS", "BT", "C1", "C2", "C3", "C4",
    "C5", "C6", "C7", "C8", "C9", "CA", "CB", "CC", "D1", "D2", "F1", "F2", "HB", "P1", "P2", "P3",
    "P4", "RC", "S1", "T1", "T2", "T3", "T4", "T5", "T6", "T7",
)  # fmt: skip
APPOINTMENTS = (
    "AA", "XA", "AB", "X9", "AC", "EP", "LP", "ED", "LD",
)  # fmt: skip


def told(body: bytes, **changes: Any) -> list[Status]:
    """What each 214 of a payload says."""
    rules = StatusRules("LTL", zones=ZONES, estimates=("AG", "X2"), **changes)
    return [
        translate_status.read(found, group, ADAPTER.mappings, rules)
        for interchange in envelopes.read(body).interchanges
        for group in interchange.groups
        for found in group.sets
    ]


def bill(shipment: shipment_pb2.Shipment, rules: BolRules = RULES) -> dict[str, Any]:
    return translate.bill_of_lading(shipment, "500000001", "REF", date(2026, 3, 5), rules)


def test_a_bill_of_lading_says_the_shipment() -> None:
    """Proves that numbers, whole units rounded up, the class by density, the guarantee as an
    accessorial and both ends stand where the standard wants them, and that it is taken."""
    shipment = conformance.shipment()
    said = bill(shipment, replace(RULES, harmless=frozenset({shipment.packages[0].id})))
    assert said["referenceNumbers"] == {
        "pro": "500000001",
        "shipmentId": "REF",
        "bol": ["S-2001"],
        "po": [
            {
                "number": "SO-2001",
                "pieces": 24,
                "weight": 905,
                "weightUnit": "Pounds",
                "palletized": True,
            }
        ],
    }
    (unit,) = said["commodities"]["handlingUnits"]
    assert (unit["length"], unit["width"], unit["height"], unit["weight"]) == (48, 40, 53, 905)
    (item,) = unit["lineItems"]
    assert (item["classification"], item["pieces"], item["hazardous"]) == ("70", 24, False)
    assert said["accessorials"] == {"codes": ["GTD_NOON"]}
    assert said["destination"]["country"] == "USA"
    assert said["origin"]["contact"] == {"name": "Northwind Outfitters", "phone": "5035550100"}
    assert said["billTo"]["account"] == "NW-1001"
    made = sandbox_bols.Bols("1400", unique_po=False, range_=None).make(said, datetime.now(UTC))
    assert (made.pro, made.weight) == ("500000001", 905)


@pytest.mark.parametrize(
    ("break_it", "told"),
    [
        (lambda s: s.ship_to.address.ClearField("postal_code"), "ship to: city, state and postal"),
        (lambda s: s.ship_from.address.ClearField("lines"), "ship from: the street"),
        (lambda s: s.packages[0].ClearField("height"), "PALLET-1: its class goes by density"),
        (lambda s: s.packages[0].ClearField("weight"), "no number"),
        (lambda s: setattr(s, "service_code", "TELEPORT"), "service 'TELEPORT' has no accessorial"),
    ],
)
def test_what_cannot_be_said_is_told(break_it: Any, told: str) -> None:
    """Proves that each missing part is named, before anything is sent."""
    shipment = conformance.shipment()
    break_it(shipment)
    with pytest.raises(Untranslatable, match=told):
        bill(shipment)


def test_units_are_said_as_their_rows_say() -> None:
    """Proves that the words for pounds and inches are those of the rows that hold now, wherever the
    bill of lading says one, and that without a row nothing is guessed."""
    said = bill(conformance.shipment(), replace(RULES, units={"LBR": "LB9", "INH": "IN9"}))
    (unit,) = said["commodities"]["handlingUnits"]
    weighed = [said["shipmentTotals"], *said["referenceNumbers"]["po"], unit, *unit["lineItems"]]
    assert {each["weightUnit"] for each in weighed} == {"LB9"}
    assert unit["dimensionsUnit"] == "IN9"
    with pytest.raises(Untranslatable, match="map set ltl-freight UNIT WORD --means LBR"):
        bill(conformance.shipment(), replace(RULES, units={}))


def test_a_class_of_the_deployment_needs_no_dimensions() -> None:
    """Proves that a named class holds as it is, that an item number is taken apart, and that a
    container type without a code is refused where no default is."""
    shipment = conformance.shipment()
    shipment.packages[0].ClearField("height")
    rules = BolRules("A", freight_class="92.5", nmfc="049880-02", services=RULES.services,
                     package_types={"PALLET": "SKID"}, packaging=RULES.packaging,
                     units=RULES.units)  # fmt: skip
    (unit,) = bill(shipment, rules)["commodities"]["handlingUnits"]
    (item,) = unit["lineItems"]
    assert (unit["type"], item["classification"]) == ("SKD", "92.5")
    assert (item["nmfc"], item["nmfcSub"]) == ("049880", "02")
    assert "length" not in unit
    shipment.packages[0].container_type = "TANK"
    with pytest.raises(Untranslatable, match="'TANK' has no word in the setting"):
        bill(shipment, rules)


@pytest.mark.parametrize(
    ("pounds", "found"),
    [
        (3200, "50"), (3199, "55"), (2240, "55"), (1920, "60"), (1440, "65"), (960, "70"),
        (768, "85"), (640, "92.5"), (512, "100"), (384, "125"), (256, "175"), (128, "250"),
        (64, "300"), (63, "400"), (1, "400"),
    ],
)  # fmt: skip
def test_the_class_follows_the_density_scale(pounds: int, found: str) -> None:
    """Proves each step of the scale of July 2025 at its edge: a unit of 64 cubic feet."""
    assert translate.density_class(pounds, 48, 48, 48) == found


@given(st.integers(1, 40_000), st.tuples(*[st.integers(1, 120)] * 3))
def test_heavier_is_never_a_higher_class(pounds: int, sides: tuple[int, int, int]) -> None:
    """Proves for any unit that its class is one of the 18, and no higher with a pound more."""
    classes = [Decimal(translate.density_class(each, *sides)) for each in (pounds, pounds + 1)]
    assert classes[1] <= classes[0] and str(classes[0]) in translate.CLASSES


def test_pro_numbers_have_their_check_digit() -> None:
    """Proves the written form of a number by each check, and that both ends of the range hold."""
    assert ProRange(1, 99, 9).written(7) == "000000007"
    assert ProRange(1, 10**8, 8, "0", "modulo_7").written(41234567) == f"041234567{41234567 % 7}"
    # 1*7 + 2*6 + 3*5 + 4*4 + 5*3 + 6*2 = 77; 77 is a multiple of 11.
    assert ProRange(1, 999999, 6, check="modulo_11").written(123456) == "1234560"
    # 1*2 makes 9 to the next multiple, 6*2 makes 10, which is written as X.
    assert ProRange(1, 9, 1, check="modulo_11").written(1) == "19"
    assert ProRange(1, 9, 1, check="modulo_11").written(6) == "6X"
    for number in (0, 100):
        with pytest.raises(NeedsPerson, match="used up"):
            ProRange(1, 99, 9).written(number)
    assert plain("041-234 5678") == "0412345678"


def test_a_batched_message_is_told_scan_by_scan() -> None:
    """Proves of the recorded message that each loop is a scan with its milestone, instant, zone,
    place and reason; that an estimate is told as one, and the day of an appointment as a day; and
    that what nobody reads costs nothing."""
    (found,) = told((PAYLOADS / "status_batched.edi").read_bytes())
    assert found.pro == "0412345678" and not found.errors
    said = [
        (e.status_code, shipment_pb2.Milestone.Name(e.milestone)[10:], e.exception_reason)
        for e in found.events
    ]
    assert said == [
        ("AF", "CARRIER_ACCEPTED", ""), ("X4", "IN_TRANSIT", ""), ("AG", "INFORMATION", ""),
        ("AB", "INFORMATION", ""), ("SD", "EXCEPTION", "WEATHER"), ("D1", "DELIVERED", ""),
    ]  # fmt: skip
    assert instants(found) == [
        "2026-03-05T17:05:00Z", "2026-03-06T08:40:00Z", "", "", "2026-03-06T18:30:00Z",
        "2026-03-08T00:55:30Z",
    ]  # fmt: skip
    picked_up, _, estimate, appointment, delayed, delivered = found.events
    assert picked_up.event_time.zone == types_pb2.TIME_ZONE_SOURCE_FROM_LOCATION
    assert delivered.event_time.zone == types_pb2.TIME_ZONE_SOURCE_GIVEN
    assert estimate.estimated_delivery.start.ToJsonString() == "2026-03-07T23:00:00Z"
    assert estimate.event_time.local == "2026-03-06T19:31:00"
    assert appointment.event_time == estimate.event_time, "the day of the appointment lies ahead"
    assert appointment.description.endswith("for 2026-03-06")
    assert appointment.status_type == "APPOINTMENT" and not appointment.HasField("place")
    assert (delayed.place.city, delayed.place.country_code) == ("LA GRANDE", "US")
    assert [(code.type, code.code) for code in delayed.native_codes] == [("SD", "AO"), ("", "SD")]


def instants(found: Status) -> list[str]:
    """The instants, "" where there is none."""
    times = [event.event_time for event in found.events]
    return [each.instant.ToJsonString() if each.HasField("instant") else "" for each in times]


def test_a_correction_is_a_scan_of_its_own() -> None:
    """Proves that the same status at another minute is told beside the first, later."""
    first, second = told((PAYLOADS / "status_corrected.edi").read_bytes())
    assert instants(first) + instants(second) == ["2026-03-08T00:55:00Z", "2026-03-08T01:10:00Z"]


@pytest.mark.parametrize(
    ("code", "place_zone", "instant"),
    [
        ("LT", "America/New_York", "2026-01-15T17:30:00Z"),
        ("", "America/Denver", "2026-01-15T19:30:00Z"),
        ("LT", "", ""), ("UT", "", "2026-01-15T12:30:00Z"), ("ET", "", "2026-01-15T17:30:00Z"),
        ("ED", "America/Denver", "2026-01-15T16:30:00Z"), ("CT", "", "2026-01-15T18:30:00Z"),
        ("05", "", "2026-01-15T07:30:00Z"), ("19", "", "2026-01-15T18:30:00Z"),
        ("24", "", "2026-01-15T13:30:00Z"), ("NS", "", "2026-01-15T16:00:00Z"),
        ("Q7", "America/Denver", ""),
    ],
)  # fmt: skip
def test_time_codes_are_the_standards(code: str, place_zone: str, instant: str) -> None:
    """Proves local, generic, standard, daylight and numbered codes, and that a code that nobody
    knows leaves the zone unknown."""
    when = translate_status.source_time(date(2026, 1, 15), time(12, 30), code, False, place_zone)
    assert (when.instant.ToJsonString() if when.HasField("instant") else "") == instant
    known = when.zone != types_pb2.TIME_ZONE_SOURCE_UNKNOWN
    assert known == bool(instant) and when.local == "2026-01-15T12:30:00"


def test_a_time_that_no_clock_shows_has_no_instant() -> None:
    """Proves that local times that a clock change skips or shows twice stay without an instant,
    and that a standard or daylight code decides."""
    for day, clock in ((date(2026, 3, 8), time(2, 30)), (date(2026, 11, 1), time(1, 30))):
        for code, zone in (("LT", "America/New_York"), ("ET", "")):
            when = translate_status.source_time(day, clock, code, False, zone)
            assert not when.HasField("instant")
    when = translate_status.source_time(date(2026, 11, 1), time(1, 30), "ES", False, "")
    assert when.instant.ToJsonString() == "2026-11-01T06:30:00Z"


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("AT7*B6*NS***20260310*1300*PS~", "reason NS; for 2026-03-10T13:00:00-08:00"),
        ("AT7*C1*NS***20260310*1300*LT~", "reason NS; for 2026-03-10T13:00:00-07:00"),
        ("AT7***AB*NA*20260310*1300~", "reason NA; for 2026-03-10T13:00:00-07:00"),
        ("AT7***X9*NA*20260310~", "reason NA; for 2026-03-10"),
        # An estimate of a delivery without an hour, or in a zone that nobody knows.
        ("AT7*AG*NS***20260310~", "reason NS; for 2026-03-10"),
        ("AT7*X2*NS***20260310*1300*ZZ~", "reason NS; for 2026-03-10T13:00:00"),
    ],
)
def test_a_time_that_lies_ahead_is_not_when_something_happened(said: str, expected: str) -> None:
    """Proves that an appointment, and when it will be at a terminal, is told as of the time that
    its group was written, with the time that it is about in words."""
    body = conformance.status(1, "AF", "0905").decode()
    written = body.replace("AT7*AF*NS***20260305*0905*PS~", said)
    ((event,),) = [found.events for found in told(written.encode())]
    assert event.event_time.local == "2026-03-05T19:00:00"
    assert not event.event_time.HasField("instant")
    assert not event.HasField("estimated_delivery")
    assert event.description == expected


@pytest.mark.parametrize(
    ("country", "states"),
    [("US", "PR VI GU AS MP AA AE AP"), ("CA", "NF PQ"), ("", "JA NX ZZ")],
)
def test_former_codes_and_territories_have_their_country(country: str, states: str) -> None:
    """Proves that territories and military posts count as of the USA, as carriers address them, and
    former codes of provinces as of Canada, where the country is left out."""
    for state in states.split():
        body = conformance.status(1, "AF", "0905").decode()
        ((event,),) = [
            found.events
            for found in told(body.replace("PORTLAND*OR*US~", f"TOWN*{state}~").encode())
        ]
        assert (event.place.state, event.place.country_code) == (state, country)


def test_the_most_exact_place_gives_the_zone() -> None:
    """Proves that a city goes before its state, and a state before its country."""
    zones = {**ZONES, "CA": "America/Toronto"}
    assert translate.zone_of("ONTARIO", "OR", "US", zones) == "America/Boise"
    assert translate.zone_of("PORTLAND", "OR", "US", zones) == "America/Los_Angeles"
    assert translate.zone_of("SUDBURY", "ON", "CA", zones) == "America/Toronto"
    assert translate.zone_of("DALLAS", "TX", "US", zones) == ""


@pytest.mark.parametrize(
    ("state", "country", "instant"),
    [("NV", "US", "2026-03-05T17:05:00Z"), ("ON", "CA", ""), ("JA", "", "")],
)
def test_a_place_without_its_country_is_where_its_state_is(
    state: str, country: str, instant: str
) -> None:
    """Proves that a province of Canada is no state of the USA where the carrier leaves out the
    country, whose zone its local time would have, and that other places are in no country."""
    body = conformance.status(1, "AF", "0905", zone="LT").decode()
    (found,) = told(body.replace("PORTLAND*OR*US~", f"TOWN*{state}~").encode())
    (event,) = found.events
    assert event.place.country_code == country
    assert instants(found) == [instant]


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ("B10*412345678*", "B10**", r"segment 4 \(B10\), element 1: is missing"),
        ("*EXLA~LX", "~LX", r"segment 4 \(B10\), element 3: is missing"),
        ("*EXLA~LX", "*RLCA~LX", r"segment 4 \(B10\), element 3: is not the carrier"),
        ("B10*", "B11*", r"segment 3 \(ST\): has no B10"),
    ],
)
def test_a_message_about_nothing_is_told_by_its_place(old: str, new: str, place: str) -> None:
    """Proves that a 214 without PRO, carrier or head is unreadable with its place."""
    body = conformance.status(1, "AF", "0905").decode().replace(old, new).encode()
    with pytest.raises(Unreadable, match=place):
        told(body, scacs=("EXLA",))


def test_the_carriers_reference_stands_in_for_a_missing_pro() -> None:
    """Proves that a reference called the carrier's is the PRO where B10 has none."""
    body = conformance.status(1, "AF", "0905", more="L11*0412345678*CN~").decode()
    (found,) = told(body.replace("B10*412345678*", "B10**").encode())
    assert found.pro == "0412345678"


@pytest.mark.parametrize(
    ("status", "told_at"),
    [
        ("AT7*X1*NS*AB**20260305*1340*PS", r"segment 6 \(AT7\), element 3: stands beside"),
        ("AT7*****20260305*1340*PS", r"segment 6 \(AT7\), element 1: is missing"),
        ("AT7*X1*NS****1340*PS", r"segment 6 \(AT7\), element 5: is missing"),
        ("AT7*X1*NS***09991231*1340*PS", r"segment 6 \(AT7\), element 5: is in no year"),
    ],
)
def test_a_wrong_scan_costs_no_other(status: str, told_at: str) -> None:
    """Proves that an AT7 that breaks a rule of the standard is told by element, and that the next
    one is a scan."""
    body = conformance.status(1, "AF", "0905", more=f"{status}~LX*2~AT7*D1*NS***20260305*1655*PS~")
    body = body.replace(b"AT7*AF*NS***20260305*0905*PS~MS1*PORTLAND*OR*US~MS2*CDCK*000017~", b"")
    (found,) = told(body.replace(b"SE*10*", b"SE*7*"))
    (error,) = found.errors
    assert [event.status_code for event in found.events] == ["D1"]
    with pytest.raises(Unreadable, match=told_at):
        raise error


@pytest.mark.parametrize(
    ("type_", "codes"),
    [
        ("", STATUSES), ("APPOINTMENT", APPOINTMENTS), ("SD", REASONS), ("AH", REASONS),
        ("AP", REASONS), ("AI", ("BT",)),
    ],
)  # fmt: skip
def test_every_published_code_has_a_row(type_: str, codes: Sequence[str]) -> None:
    """Proves that the table is complete for the standard's codes, each with a milestone of the
    contract and a source."""
    text = resources.files("crossdock_adapters.ltl_freight").joinpath("mappings.toml").read_text()
    rows = [row for row in tomllib.loads(text)["status"] if row.get("type", "") == type_]
    known = [code for row in rows for code in row["codes"]]
    assert sorted(known) == sorted(codes)
    for row in rows:
        assert f"MILESTONE_{row['means']}" in MILESTONES


# The sheet of reasons for every carrier.
WORDS = {
    "ADDRESS_PROBLEM": "A2 A5 A6",
    "RECIPIENT_UNAVAILABLE": "AQ AG",
    "BUSINESS_CLOSED": "B1 AN B9 C4 C5",
    "PAYMENT_REQUIRED": "B4 C2 C8 C9",
    "REFUSED": "BS",
    "LOST_OR_INVESTIGATION": "S1",
    "WEATHER": "AO",
    "CARRIER_DELAY": "AI AA P1 AJ D1 AY A1 AF AH AL AW AX BE BF BH BI BM BO BP BR "
    "D2 P4 T1 T2 T3 T4 T5 T6 T7",
    "CUSTOMS_INFORMATION": "AS BC AR AT",
    "CUSTOMS_HOLD": "BD CA F1",
    "HOLD_REQUESTED": "B5 C1 AD HB BB BK C3 C6 C7",
    "SECURITY_OR_REGULATORY": "AU AE",
    "ACCESS_RESTRICTED": "B8",
    "DAMAGED": "AK",
    "OTHER": "BG AM BT RC A3 AP AV AZ B2 BJ BL BN BQ CB CC F2 P2 P3",
}


@pytest.mark.parametrize(
    ("status", "milestone"),
    [("SD", "EXCEPTION"), ("AH", "DELIVERY_ATTEMPTED"), ("AP", "DELIVERY_ATTEMPTED")],
)
def test_a_reason_is_the_same_word_beside_each_status(status: str, milestone: str) -> None:
    """Proves that what is short is looked for, a holiday is a closed business, and every other
    reason has its word, whichever status it stands beside."""
    assert {code for codes in WORDS.values() for code in codes.split()} == {*REASONS} - {"NS", "NA"}
    for word, codes in WORDS.items():
        for code in codes.split():
            body = conformance.status(1, status, "1000").replace(b"*NS*", f"*{code}*".encode())
            ((event,),) = [found.events for found in told(body)]
            assert (event.milestone, event.exception_reason) == (
                shipment_pb2.Milestone.Value(f"MILESTONE_{milestone}"), word,
            ), code  # fmt: skip


def test_the_tables_send_what_the_standard_takes() -> None:
    """Proves that every package row is a code that the simulated carrier knows, and every service
    row an accessorial of the standard."""
    text = resources.files("crossdock_adapters.ltl_freight").joinpath("mappings.toml").read_text()
    tables = tomllib.loads(text)
    sent = {code for row in tables["package_type"] for code in row["codes"]}
    assert sent == sandbox_bols.UNIT_TYPES
    services = {code for row in tables["service_level"] for code in row["codes"]}
    assert services - {translate.NO_ACCESSORIAL} <= translate.ACCESSORIALS
