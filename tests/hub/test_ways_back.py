"""A parcel that its carrier takes back to the sender, in the words of each carrier, at the hub."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations
from typing import Any

import pytest
from crossdock.tracking.v1 import tracking_pb2
from crossdock_adapters.canada_post import conformance as canada_post
from crossdock_adapters.canada_post import translate as canada_post_translate
from crossdock_adapters.canada_post.adapter import ADAPTER as CANADA_POST
from crossdock_adapters.fedex import conformance as fedex
from crossdock_adapters.fedex import translate_scans as fedex_translate
from crossdock_adapters.fedex.adapter import ADAPTER as FEDEX
from crossdock_adapters.gls import conformance as gls
from crossdock_adapters.gls import translate as gls_translate
from crossdock_adapters.gls.adapter import ADAPTER as GLS
from crossdock_adapters.ltl_freight import conformance as ltl_freight
from crossdock_adapters.ltl_freight import translate_status
from crossdock_adapters.ltl_freight.adapter import ADAPTER as LTL_FREIGHT
from crossdock_adapters.ltl_freight.translate_status import StatusRules
from crossdock_adapters.sdk import carrier_scans, vendor_json
from crossdock_adapters.sdk.x12 import envelopes
from crossdock_adapters.ups import conformance as ups
from crossdock_adapters.ups import translate_scans as ups_translate
from crossdock_adapters.ups.status_codes import shipped_table
from decisions import CARRIER
from first_flow import CONFIRMATIONS, Flow

Told = list[tracking_pb2.TrackingEvent]


def told_by_ups(back: str, end: str) -> Told:
    lines = [
        ups.activity(end, "D", "DELIVERED", "221203"),
        ups.activity(back, "X", "Returning to shipper", "190500"),
        ups.activity("PU", "I", "Pickup Scan", "170000"),
    ]
    package = vendor_json.loads(ups.package(*lines))
    package["deliveryInformation"] = {"receivedBy": "THE SENDER"}
    return list(ups_translate.package_history(package, shipped_table(), "UPSN").events)


def told_by_fedex() -> Told:
    scans = [
        fedex.scan("DL", "DL", "2026-03-09T10:00:00-08:00"),
        fedex.scan("RS", "RS", "2026-03-07T10:00:00-08:00"),
        fedex.scan("PU", "PU", "2026-03-06T10:00:00-08:00"),
    ]
    details = {"deliveryDetails": {"receivedByName": "THE SENDER"}}
    result = vendor_json.loads(fedex.result(*scans, **details))
    mappings = FEDEX.mappings
    return list(fedex_translate.parcel_history(result, mappings, "UPSN", {}).events)


def told_by_gls() -> Told:
    codes = ["INTIAL.NORMAL", "DELIVD.PARCELSHOP", "OUTBOD.NORMAL", "DELIVD.NORMAL"]
    events = [gls.event(code, f"{9 + n:02}:00:00", "") for n, code in enumerate(codes)]
    (parcel,) = gls_translate.parcels_in(gls.tracked("DELIVERED", *reversed(events)))
    return list(gls_translate.history(parcel, (), GLS.mappings, "UPSN").events)


def told_by_canada_post() -> Told:
    occurrences = [
        canada_post.occurrence("1421", "14:12:03", "Item successfully delivered", "THE SENDER"),
        canada_post.occurrence("1415", "11:05:00", "Item refused. Item being returned to sender"),
        canada_post.occurrence("1402", "09:00:00", "Item accepted at the Post Office"),
    ]
    body = canada_post.detail(*occurrences)
    mappings = CANADA_POST.mappings
    return list(canada_post_translate.history(body, "", mappings, "UPSN").events)


def told_by_ltl_freight(back: str, zone: str = "PS") -> Told:
    told: Told = []
    for number, (code, clock) in enumerate([("AF", "0900"), (back, "1100"), ("D1", "1400")], 1):
        body = ltl_freight.status(number, code, clock, zone=zone).replace(b"AI*NS*", b"AI*BT*")
        for group in (each for one in envelopes.read(body).interchanges for each in one.groups):
            rules = StatusRules("UPSN")
            read = translate_status.read(group.sets[0], group, LTL_FREIGHT.mappings, rules)
            told += read.events
    return told


CARRIERS: dict[str, Callable[[], Told]] = {
    "UPS by numbers": lambda: told_by_ups("035", "011"),
    "UPS by letters": lambda: told_by_ups("UF", "FS"),
    "FedEx": told_by_fedex,
    "GLS": told_by_gls,
    "Canada Post": told_by_canada_post,
    "LTL, returned": lambda: told_by_ltl_freight("A3"),
    "LTL, reconsigned": lambda: told_by_ltl_freight("AI"),
}


def heard(flow: Flow, events: Told) -> None:
    """The hub hears scans and proofs as a carrier's adapter reports them, one after the other."""
    for event in events:
        proof: Any = carrier_scans.confirmation_request("ups-us", event)
        event = tracking_pb2.TrackingEvent.FromString(event.SerializeToString())
        event.tracking_number = "1Z1"
        del event.native_codes[:]
        flow.report(event)
        if proof is not None:
            proof.delivery_confirmation.tracking_number = "1Z1"
            flow.call(f"{CONFIRMATIONS}/CreateDeliveryConfirmation", proof, CARRIER)


@pytest.mark.parametrize("carrier", CARRIERS)
def test_a_parcel_that_comes_back_is_no_delivery(carrier: str) -> None:
    """Proves that "delivered" at the end of a way back, for which no carrier has a word of its own,
    is a return by every carrier's own codes: no delivery is told and nothing is proven."""
    events = CARRIERS[carrier]()
    assert len(events) >= 3
    flow = Flow()
    shipment = flow.labelled()
    flow.manifest()
    heard(flow, events)
    assert flow.records["parcel", "UPSN", "1Z1"].milestone == "RETURNED"
    assert flow.state("shipment", shipment.id) == "RETURNED"
    assert flow.state("order", shipment.order_id) == "SHIPPED"
    assert "tracking.delivered" not in flow.told()
    assert flow.all("delivery_confirmation") == []


@pytest.mark.parametrize("carrier", CARRIERS)
def test_a_way_back_ends_alike_in_any_order(carrier: str) -> None:
    """Proves that the parcel ends as returned however the scans of its way back arrive."""
    events = CARRIERS[carrier]()
    for order in permutations(events):
        flow = Flow()
        shipment = flow.labelled()
        heard(flow, list(order))
        assert flow.records["parcel", "UPSN", "1Z1"].milestone == "RETURNED", order
        assert flow.state("shipment", shipment.id) == "RETURNED"


def test_times_without_a_zone_are_taken_as_they_come() -> None:
    """Proves that freight that was returned to its shipper is so, too, where its carrier does not
    say in which zone its times are."""
    flow = Flow()
    shipment = flow.labelled()
    events = told_by_ltl_freight("A3", zone="LT")
    assert not any(event.event_time.HasField("instant") for event in events)
    heard(flow, events)
    assert flow.state("shipment", shipment.id) == "RETURNED"
