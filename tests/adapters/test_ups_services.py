"""Which service UPS is asked for, by the contract's word and the country of origin."""

from __future__ import annotations

import pytest
from crossdock_adapters.sdk.outcomes import Untranslatable
from crossdock_adapters.ups import adapter, conformance, translate
from ups_world import checked_settings

RULES = adapter.ship_rules(checked_settings("https://ups.invalid")[0])


def code_of(word: str, origin: str) -> str:
    """The code that is sent by the rows that come with the adapter."""
    return translate.service_code(word, origin, RULES.services, RULES.service_choices)


@pytest.mark.parametrize(
    ("origin", "codes"),
    [
        (
            "US",
            "GROUND 03 GROUND_RESIDENTIAL 03 NEXT_DAY 01 INTL_EXPRESS 07 INTL_GROUND 11 "
            "INTL_EXPEDITED 08",
        ),
        (
            "CA",
            "GROUND 11 GROUND_RESIDENTIAL 11 TWO_DAY 02 NEXT_DAY 01 NEXT_DAY_SAVER 13 "
            "NEXT_DAY_EARLY 14 INTL_EXPRESS 07 "
            "INTL_EXPEDITED 08 INTL_EXPRESS_EARLY 54 INTL_EXPRESS_SAVER 65 INTL_GROUND 11",
        ),
        (
            "DE",
            "GROUND 11 NEXT_DAY 07 NEXT_DAY_EARLY 54 NEXT_DAY_SAVER 65 INTL_EXPRESS 07 "
            "INTL_EXPEDITED 08 INTL_EXPRESS_EARLY 54 INTL_EXPRESS_SAVER 65 INTL_GROUND 11",
        ),
        ("PL", "GROUND 11 GROUND_RESIDENTIAL 11 NEXT_DAY 07 SAME_DAY 82 84 84 INTL_EXPRESS 07"),
        ("MX", "INTL_EXPRESS 07 INTL_EXPEDITED 08 INTL_GROUND 11 74 74"),
    ],
)
def test_each_origin_has_the_services_that_ups_sells_there(origin: str, codes: str) -> None:
    """Proves that a word is the code of its origin, within the country and abroad, and that a code
    is sent as it is."""
    listed = codes.split()
    expected = dict(zip(listed[::2], listed[1::2], strict=True))
    assert {word: code_of(word, origin) for word in expected} == expected


@pytest.mark.parametrize(
    ("word", "origin", "said"),
    [
        ("INTL_ECONOMY", "US", "UPS sells it as 17 or 72: say it with crossdock map set ups"),
        ("INTL_ECONOMY", "CA", "UPS sells it as 17 or 72: say it with crossdock map set ups"),
        ("AIR_FREIGHT", "MX", "UPS sells it as 96 or 71; say it in the setting services"),
        ("SAME_DAY", "US", "UPS sells it as C6 or C7 or C8: say it with"),
        ("SAME_DAY", "DE", "'SAME_DAY' from DE has no UPS code: say it with"),
        ("GROUND_RESIDENTIAL", "MX", 'in the setting services, as "MX:GROUND_RESIDENTIAL"'),
        ("GROUND", "MX", 'no UPS code; say it in the setting services, as "MX:GROUND"'),
        ("THREE_DAY", "FR", "'THREE_DAY' from FR has no UPS code"),
    ],
)
def test_what_ups_sells_under_several_codes_or_none_is_not_guessed(
    word: str, origin: str, said: str
) -> None:
    """Proves that a service that is no single code waits for a person, who is told the codes."""
    with pytest.raises(Untranslatable) as raised:
        code_of(word, origin)
    assert said in raised.value.reason


@pytest.mark.parametrize(
    ("service", "residential", "home"),
    [("GROUND_RESIDENTIAL", False, True), ("GROUND", True, True), ("GROUND", False, False)],
)
def test_ground_to_a_home_is_ground_to_an_address_that_is_one(
    service: str, residential: bool, home: bool
) -> None:
    """Proves that ground to a home is sold, which UPS knows by the address alone, that the order's
    word is enough for that, and that a warehouse to which a return comes is no home."""
    shipment = conformance.shipment()
    shipment.service_code, shipment.ship_to.residential = service, residential
    made = translate.ship_request(shipment, shipment.packages[0].id, "REF", RULES)
    body = made["ShipmentRequest"]["Shipment"]
    assert body["Service"]["Code"] == "03"
    assert ("ResidentialAddressIndicator" in body["ShipTo"]["Address"]) is home
    shipment.ship_to.residential = False
    back = translate.return_request(shipment, "REF", RULES)["ShipmentRequest"]["Shipment"]
    assert "ResidentialAddressIndicator" not in back["ShipTo"]["Address"]


def test_a_code_of_its_own_goes_before_ground() -> None:
    """Proves that a deployment may say another code for ground to a home."""
    services = {**RULES.services, "US:GROUND_RESIDENTIAL": "93"}
    assert translate.service_code("GROUND_RESIDENTIAL", "US", services) == "93"
