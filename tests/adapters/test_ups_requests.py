"""What UPS's Shipping API publishes of a label request, rule by rule, and what is sent by it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from crossdock.types.v1 import types_pb2
from crossdock_adapters.sdk.mappings import Mappings, Topic, file_of
from crossdock_adapters.ups import translate
from crossdock_adapters.ups.sandbox_ship import VendorRefusal, read_ship_request
from crossdock_adapters.ups.translate import ShipRules
from ups_world import ACCOUNT, PACKAGE_ID, packed_shipment

MAPPINGS = Mappings(file_of("crossdock_adapters.ups"))
RULES = ShipRules(ACCOUNT, units=MAPPINGS.natives(Topic.UNIT))
REFERENCE = "ABCDEFGHIJKLMNOPQRST"
VANCOUVER = types_pb2.Address(
    lines=["1 Water Street"], city="Vancouver", state="BC", postal_code="v6b-1a1", country_code="CA"
)
DUBLIN = types_pb2.Address(lines=["1 Grafton Street"], city="Dublin", country_code="IE")
SAN_JUAN = types_pb2.Address(
    lines=["1 Calle Sol"], city="San Juan", state="PR", postal_code="00901", country_code="PR"
)


def sent(
    address: types_pb2.Address | None = None, service: str = "11", rules: ShipRules = RULES
) -> dict[str, Any]:
    """The shipment that is sent to an address, proved to pass the simulated carrier's checks."""
    shipment = packed_shipment()
    shipment.service_code = service
    if address is not None:
        shipment.ship_to.address.CopyFrom(address)
    request = translate.ship_request(shipment, PACKAGE_ID, REFERENCE, rules)
    read_ship_request(request, [ACCOUNT])
    found: dict[str, Any] = request["ShipmentRequest"]
    return found


@pytest.mark.parametrize(("address", "service"), [(VANCOUVER, "11"), (None, "14")])
def test_somebody_is_named_at_both_ends_where_ups_wants_it(
    address: types_pb2.Address | None, service: str
) -> None:
    """Proves that a party with a name alone has it as the person to ask for as well, abroad and
    with Next Day Air Early: UPS refuses these without an attention name."""
    shipment = sent(address, service)["Shipment"]
    assert shipment["Shipper"]["AttentionName"] == "Northwind Outfitters"
    assert shipment["ShipTo"]["AttentionName"] == "R. Okonkwo"
    del shipment["ShipTo"]["AttentionName"]
    with pytest.raises(VendorRefusal) as refused:
        read_ship_request({"ShipmentRequest": {**sent(), "Shipment": shipment}}, [ACCOUNT])
    assert refused.value.code == "120204"


def test_nobody_is_named_twice_within_a_country() -> None:
    """Proves that a domestic label, which needs no attention name, does not repeat the name."""
    assert "AttentionName" not in sent(service="03")["Shipment"]["ShipTo"]


def test_a_return_from_abroad_names_somebody_at_each_end() -> None:
    """Proves the same of the way back, where the customer is the ship-from."""
    shipment = packed_shipment()
    shipment.service_code = "11"
    shipment.ship_from.address.CopyFrom(VANCOUVER)
    request = translate.return_request(shipment, REFERENCE, replace(RULES, label_format="GIF"))
    body = request["ShipmentRequest"]["Shipment"]
    named = [body[end]["AttentionName"] for end in ("Shipper", "ShipFrom", "ShipTo")]
    assert named == ["R. Okonkwo", "Northwind Outfitters", "R. Okonkwo"]


def test_a_phone_number_has_no_country_code_where_ups_takes_none() -> None:
    """Proves the layouts: area code and seven digits in North America, all digits elsewhere."""
    abroad = sent(DUBLIN)["Shipment"]
    assert abroad["Shipper"]["Phone"] == {"Number": "7755550100"}
    assert abroad["ShipTo"]["Phone"] == {"Number": "17755550100"}


def test_a_postal_code_of_canada_is_six_characters() -> None:
    """Proves that blanks, hyphens and small letters go: UPS takes the form A1A1A1 alone."""
    assert sent(VANCOUVER)["Shipment"]["ShipTo"]["Address"]["PostalCode"] == "V6B1A1"


def test_no_empty_code_is_sent() -> None:
    """Proves that a country without states or postal codes has neither in the request: each of
    them has one character at least."""
    address = sent(DUBLIN)["Shipment"]["ShipTo"]["Address"]
    assert sorted(address) == ["AddressLine", "City", "CountryCode"]


def test_sides_are_whole_and_the_longest_is_the_length() -> None:
    """Proves that a side has three characters at most, rounded up, and that length is the longest
    side, whichever the warehouse measured as that."""
    shipment = packed_shipment()
    package = shipment.packages[0]
    for side, value in (("length", "4.1"), ("width", "9"), ("height", "11.3")):
        getattr(package, side).CopyFrom(types_pb2.Quantity(value=value, unit="INH"))
    request = translate.ship_request(shipment, PACKAGE_ID, REFERENCE, replace(
        RULES, services={"GROUND": "03"}))  # fmt: skip
    (parcel,) = request["ShipmentRequest"]["Shipment"]["Package"]
    sides = {name: parcel["Dimensions"][name] for name in ("Length", "Width", "Height")}
    assert sides == {"Length": "12", "Width": "9", "Height": "5"}


def test_a_reference_to_puerto_rico_is_of_the_shipment() -> None:
    """Proves that from the US to PR, other than within each, the reference stands where UPS takes
    it: on the package it would be refused, and no look-up would find the label."""
    shipment = sent(SAN_JUAN)["Shipment"]
    assert shipment["ReferenceNumber"][0]["Value"] == REFERENCE
    assert "ReferenceNumber" not in shipment["Package"][0]


def test_a_stock_size_is_of_thermal_labels() -> None:
    """Proves that an image is asked for without the size that UPS has for ZPL and EPL alone."""
    image = sent(rules=replace(RULES, label_format="GIF"))["LabelSpecification"]
    assert image == {"LabelImageFormat": {"Code": "GIF"}, "HTTPUserAgent": "Mozilla/4.5"}
    assert sent()["LabelSpecification"]["LabelStockSize"] == {"Height": "6", "Width": "4"}
