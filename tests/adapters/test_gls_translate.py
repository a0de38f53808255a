"""Between the contract and GLS's words: recorded payloads, statuses, times, what is sent."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from crossdock.shipment.v1 import shipment_pb2
from crossdock_adapters.gls import conformance, translate
from crossdock_adapters.gls.adapter import ADAPTER
from crossdock_adapters.gls.client import ERRORS, read_created
from crossdock_adapters.gls.sandbox_books import FIXED, fixed_parcel
from crossdock_adapters.sdk import vendor_json
from crossdock_adapters.sdk.mappings import Topic
from crossdock_adapters.sdk.pacing import DailyBudget
from crossdock_adapters.sdk.places import Unreadable
from gls_world import CONTACT, PAYLOADS, REFERENCE

NAMES = {number: name.removeprefix("MILESTONE_") for name, number in
         shipment_pb2.Milestone.items()}  # fmt: skip


def small(value: Any) -> Any:
    """As the client reads an answer: its names in small letters."""
    if isinstance(value, dict):
        return {name.lower(): small(each) for name, each in value.items()}
    return [small(each) for each in value] if isinstance(value, list) else value


def recorded(name: str) -> Any:
    return vendor_json.loads((PAYLOADS / name).read_bytes())


def milestones(history: Any) -> list[str]:
    return [NAMES[event.milestone] for event in history.events]


def test_parcels_belong_to_the_units_that_gls_names() -> None:
    """Proves that an answer in another order than the request gives each package its own parcel,
    each with its own label."""
    parcels = read_created(small(recorded("created_shipment.json")))
    ours, over = translate.assigned(parcels, translate.units_of(REFERENCE, 2))
    assert [parcel.track_id for parcel in ours] == ["00DEMO02", "00DEMO01"] and not over
    assert ours[0].label.image == b"^XA^FDLABEL2^FS^XZ" and ours[0].number == "42249028961"


def test_an_answer_in_other_capitals_is_read() -> None:
    """Proves that an installation which writes its names in another way is understood."""
    (parcel,) = read_created(small(recorded("created_other_capitals.json")))
    assert (parcel.track_id, parcel.number) == ("00DEMO01", "42249028960")
    assert parcel.label.image == b"%PDF-1.4" and parcel.label.format == "PDF"


@pytest.mark.parametrize(
    "spoilt",
    [
        {},
        {"createdshipment": {"parceldata": []}},
        {"createdshipment": {"parceldata": [{"parcelnumber": "1"}]}},
        {"createdshipment": {"parceldata": [{"trackid": "1"}], "printdata": [{"data": ["%"]}]}},
    ],
)
def test_an_answer_that_proves_no_parcel_is_none(spoilt: dict[str, Any]) -> None:
    """Proves that an answer without parcels, a parcel without its id or a label that is none is
    never taken for a purchase."""
    with pytest.raises((KeyError, TypeError, ValueError)):
        read_created(spoilt)


def test_tracking_is_read_whole() -> None:
    """Proves the shop, the way back, the end by its last event and the times, of one answer."""
    parcels = translate.parcels_in((PAYLOADS / "tracking.json").read_bytes())
    asked = ["00DEMO01", "00DEMO02", "00DEMO03", "00DEMO04"]
    *told, missing = parcels
    collected, back, ended = (
        translate.history(each, asked, ADAPTER.mappings, "GLS") for each in told
    )
    assert milestones(collected) == ["CARRIER_ACCEPTED", "READY_FOR_COLLECTION", "DELIVERED"]
    # The status has a time of its own, so it is a scan of its own.
    assert milestones(back) == ["READY_FOR_COLLECTION", "IN_TRANSIT"]
    assert back.events[1].status_code == "INTRANSIT"
    assert milestones(ended) == ["DELIVERED"]
    assert translate.error_of(missing) == "E_404_01"
    first = collected.events[0].event_time
    assert first.utc_offset == "+01:00"
    assert first.instant.ToDatetime(tzinfo=UTC) == datetime(2026, 3, 4, 8, 26, tzinfo=UTC)


def journey(end: str, *codes: str) -> Any:
    """A parcel that was handed over and went out, and these events after that."""
    listed = ["INTIAL.NORMAL", "OUTDEL.NORMAL", *codes]
    events = [conformance.event(code, f"{9 + n:02}:00:00", "") for n, code in enumerate(listed)]
    (parcel,) = translate.parcels_in(conformance.tracked(end, *reversed(events)))
    return translate.history(parcel, (), ADAPTER.mappings, "GLS")


SHOP, LEFT, HOME = "DELIVD.PARCELSHOP", "OUTBOD.NORMAL", "DELIVD.NORMAL"
OUT, COLLECTED = "OUTDEL.NORMAL", "DELIVD.DEL_BY_PSAPP"


@pytest.mark.parametrize("end", ["DELIVERED", "FINAL"])
@pytest.mark.parametrize("way", [[SHOP, LEFT], [SHOP, LEFT, OUT], [SHOP, LEFT, SHOP, LEFT]])
def test_what_is_delivered_after_it_left_the_shop_is_returned(end: str, way: list[str]) -> None:
    """Proves that a parcel which nobody collected is told as returned at the end of its journey,
    whichever of GLS's two words that end has, and nothing before that as of the way back."""
    events = journey(end, *way, HOME).events
    assert events[-1].milestone == shipment_pb2.MILESTONE_DELIVERED
    assert [event.return_leg for event in events] == [False] * (len(events) - 1) + [True]


@pytest.mark.parametrize("end", ["DELIVERED", "FINAL"])
@pytest.mark.parametrize(
    "story",
    [
        [HOME],
        [SHOP, HOME],
        [SHOP, COLLECTED],
        [SHOP, OUT, HOME],
        [SHOP, LEFT, SHOP, COLLECTED],
        [SHOP, LEFT, SHOP, HOME],
        [SHOP, LEFT, COLLECTED],
    ],
)
def test_what_its_receiver_gets_is_delivered(end: str, story: list[str]) -> None:
    """Proves that neither a second shop nor the way from a shop to the door is one back, and that
    what was collected at a shop never is."""
    events = journey(end, *story).events
    assert events[-1].milestone == shipment_pb2.MILESTONE_DELIVERED
    assert not any(event.return_leg for event in events)


@pytest.mark.parametrize(
    ("status", "milestone", "reason"),
    [
        ("PLANNEDPICKUP", "LABEL_CREATED", ""),
        ("PREADVICE", "LABEL_CREATED", ""),
        ("INPICKUP", "LABEL_CREATED", ""),
        ("NOTPICKEDUP", "EXCEPTION", "PICKUP_FAILED"),
        ("INTRANSIT", "IN_TRANSIT", ""),
        ("INWAREHOUSE", "IN_TRANSIT", ""),
        ("INDELIVERY", "OUT_FOR_DELIVERY", ""),
        ("DELIVEREDPS", "READY_FOR_COLLECTION", ""),
        ("DELIVERED", "DELIVERED", ""),
        ("NOTDELIVERED", "DELIVERY_ATTEMPTED", ""),
        ("CANCELED", "VOIDED", ""),
        ("FINAL", "UNKNOWN", ""),
    ],
)
def test_every_status_of_the_list_is_what_it_says(status: str, milestone: str, reason: str) -> None:
    """Proves the vendor's whole list, by its own fixed test parcels; FINAL says nothing alone."""
    parcel = fixed_parcel(f"QAS_{FIXED.index(status) + 1:07}")
    history = translate.history(parcel, (), ADAPTER.mappings, "GLS")
    assert milestones(history) == [milestone] and not history.problems
    (event,) = history.events
    assert event.exception_reason == reason
    assert event.native_codes[-1].code == status and event.event_time.utc_offset == "+01:00"


def test_an_end_that_no_row_names_is_not_guessed() -> None:
    """Proves that FINAL after a hand-over is neither that nor a delivery: it is kept with both
    codes for whoever says what it means."""
    parcel = {
        "requested": "1", "status": "FINAL", "statusDateTime": "2026-03-05T12:00:00+0100",
        "events": [{"code": "INTIAL.NORMAL", "eventDateTime": "2026-03-05T12:00:00+0100"}],
    }  # fmt: skip
    history = translate.history(parcel, (), ADAPTER.mappings, "GLS")
    assert milestones(history) == ["UNKNOWN"]
    codes = [(code.type, code.code) for code in history.events[0].native_codes]
    assert codes == [("status/event", "FINAL/INTIAL.NORMAL"), ("", "FINAL")]


@pytest.mark.parametrize(
    ("status_time", "newest", "oldest", "told", "place"),
    [
        # An event of long ago without a code, or without a time, for ever in the list.
        ("T14:00:00+0100", "OUTDEL.NORMAL", {"code": ""}, ["OUT_FOR_DELIVERY", "DELIVERED"],
         "/events/1/code"),
        ("T14:00:00+0100", "OUTDEL.NORMAL", {"eventDateTime": "soon"},
         ["OUT_FOR_DELIVERY", "DELIVERED"], "/events/1/eventDateTime"),
        # The status has a time of its own, and it is none.
        ("soon", "OUTDEL.NORMAL", {}, ["CARRIER_ACCEPTED", "OUT_FOR_DELIVERY"],
         "/statusDateTime"),
        # Whether the status is that of an event without a code, nobody knows.
        ("T14:00:00+0100", "", {}, ["CARRIER_ACCEPTED"], "/events/0/code"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_costs_neither_status_nor_events(
    status_time: str, newest: str, oldest: dict[str, str], told: list[str], place: str
) -> None:
    """Proves that a delivery which is told by the status alone is not lost behind an old event that
    cannot be read, nor the events behind a time of the status that cannot."""
    parcel = {
        "requested": "1", "status": "DELIVERED", "statusDateTime": f"2026-03-05{status_time}",
        "events": [
            {"code": newest, "eventDateTime": "2026-03-05T11:05:00+0100"},
            {"code": "INTIAL.NORMAL", "eventDateTime": "2026-03-05T09:00:00+0100", **oldest},
        ],
    }  # fmt: skip
    history = translate.history(parcel, (), ADAPTER.mappings, "GLS")
    assert milestones(history) == told
    (problem,) = history.problems
    assert place in problem


@pytest.mark.parametrize(
    ("body", "place"),
    [
        (b'{"parcels": {}}', "/parcels"),
        (b'{"parcels": [', "line 1 column"),
        (b"[]", "/parcels"),
    ],
)
def test_what_is_no_answer_says_where(body: bytes, place: str) -> None:
    """Proves that an answer which is none is refused with its place."""
    with pytest.raises(Unreadable, match=place):
        translate.parcels_in(body)


def test_the_request_says_it_in_gls_words() -> None:
    """Proves product, services, category, lines and weights; what is empty is left out, and the
    lightest parcel is declared no lighter than GLS takes."""
    shipment = conformance.shipment()
    shipment.service_code = "NEXT_DAY_EARLY"
    shipment.ship_to.company = "Aulnes SARL"
    shipment.ship_to.address.lines.append("Bâtiment C")
    shipment.packages[0].weight.value, shipment.packages[0].weight.unit = "5", "GRM"
    rules = translate.ShipRules(
        CONTACT,
        services=ADAPTER.mappings.natives(Topic.SERVICE_LEVEL),
        always=["service_flexdelivery", "service_0900"],
        incoterm="20",
    )
    request = translate.shipment_request(shipment, REFERENCE, "2026-03-04", rules)["Shipment"]
    assert request["Product"] == "EXPRESS" and request["IncotermCode"] == "20"
    assert request["Service"] == [
        {"Service": {"ServiceName": "service_0900"}},
        {"Service": {"ServiceName": "service_flexdelivery"}},
    ]
    assert request["Consignee"]["Category"] == "BUSINESS"
    address = request["Consignee"]["Address"]
    assert (address["Name1"], address["Name2"], address["Name3"]) == (
        "Aulnes SARL", "Aurélie Fontaine", "Bâtiment C",
    )  # fmt: skip
    assert "Province" not in address and "eMail" not in address
    assert address["ZIPCode"] == shipment.ship_to.address.postal_code
    assert request["ShipmentUnit"][0]["Weight"] == Decimal("0.11")
    assert request["Middleware"] == "crossdock"


def test_characters_that_gls_does_not_take_are_blanks() -> None:
    """Proves that brackets, commas and what else GLS refuses in a text never leave, and that
    nothing else of a name, a street or an order's number is changed."""
    shipment = conformance.shipment()
    shipment.service_code = "GROUND"
    shipment.order_number = "SO|2001;{A}"
    shipment.ship_to.name = 'Fontaine, Aurélie ("Auri")'
    shipment.ship_to.phone = "+49 (0)201 / 55-0100"
    shipment.ship_to.address.lines[:] = ["Rue des Aulnes 7, bâtiment C"]
    request = translate.shipment_request(
        shipment, REFERENCE, "2026-03-04",
        translate.ShipRules(CONTACT, services=ADAPTER.mappings.natives(Topic.SERVICE_LEVEL)),
    )["Shipment"]  # fmt: skip
    address = request["Consignee"]["Address"]
    assert address["Name1"] == "Fontaine Aurélie Auri"
    assert address["Street"] == "Rue des Aulnes 7 bâtiment C"
    assert address["FixedLinePhonenumber"] == "+49 0 201 / 55-0100"
    assert request["ShipmentUnit"][0]["Note1"] == "SO 2001 A"


def test_one_parcel_alone_in_other_capitals_is_read() -> None:
    """Proves that a parcel that is no list, a number that is no text, and a status and a code in
    small letters are read as what they are."""
    body = vendor_json.dumps({"parcels": {
        "requested": 42249028960, "status": "delivered",
        "statusDateTime": "2026-03-05T12:00:00+0100",
        "events": {"code": "delivd.normal", "eventDateTime": "2026-03-05T12:00:00+0100"},
    }})  # fmt: skip
    (parcel,) = translate.parcels_in(body)
    history = translate.history(parcel, ["42249028960"], ADAPTER.mappings, "GLS")
    assert milestones(history) == ["DELIVERED"] and not history.problems
    assert history.events[0].tracking_number == "42249028960"


def test_the_day_of_a_parcel_is_that_of_its_oldest_event() -> None:
    """Proves that a label is asked for again with the day on which GLS made it, local to GLS."""
    parcel = {"events": [
        {"eventDateTime": "2026-03-05T00:10:00+0100"},
        {"eventDateTime": "2026-03-04T00:10:00+0100"},
    ]}  # fmt: skip
    assert translate.day_made(parcel, "2026-03-09") == "2026-03-04"
    assert translate.day_made({"events": ["strange"]}, "2026-03-09") == "2026-03-09"


def test_every_row_of_the_errors_has_a_source() -> None:
    """Proves that the table says where each of its rows is written."""
    assert len(ERRORS.rows) > 20
    assert all(row.source for row in ERRORS.rows.values())


def test_a_days_budget_begins_anew_with_the_day() -> None:
    """Proves that calls are counted by day: spent they are refused, the next day has its own."""
    today = date(2026, 3, 4)
    budget = DailyBudget(2, lambda: today)
    assert [budget.spend() for _ in range(3)] == [True, True, False] and budget.left() == 0
    today = date(2026, 3, 5)
    assert budget.left() == 2 and budget.spend()
