"""Orders as the OMS draws and sends them: repeatable, valid, and never lost between two starts."""

from __future__ import annotations

import re
import stat
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from crossdock import contracts
from crossdock.carrier.v1 import carrier_service_pb2
from crossdock.cli import orders
from crossdock.cli.orders import (
    Catalogue,
    Outbox,
    Service,
    draw_order,
    narrowed,
    place_order,
    place_orders,
    read_business_units,
    read_catalogue,
)
from crossdock.cli.problems import CommandError
from crossdock.client import request_id
from crossdock.customer.v1 import customer_service_pb2
from crossdock.endpoint.v1 import endpoint_pb2, endpoint_service_pb2
from crossdock.errors import DeadlineError, NotAllowedError, Refusal
from crossdock.item.v1 import item_pb2, item_service_pb2
from crossdock.location.v1 import location_service_pb2
from crossdock.options.v1 import options_pb2
from crossdock.order.v1 import order_pb2, order_service_pb2
from grpc import StatusCode
from hypothesis import given, settings
from hypothesis import strategies as st

CATALOGUE = Catalogue(
    items=(("SKU-1", "EA"), ("SKU-2", "EA"), ("SKU-3", "EA")),
    customers={"CUST-1": "", "CUST-2": ""},
    locations={"WH-EAST": "US", "WH-WEST": "US"},
    services=(Service("UPS", "03"), Service("UPS", "02")),
)
PLACED = datetime(2026, 1, 5, 20, 0, tzinfo=UTC)


@settings(deadline=None)
@given(st.integers(1, 10_000), st.integers(1, 999_999))
def test_every_drawn_order_keeps_the_contract(seed: int, number: int) -> None:
    """Whatever the seed: the hub's own rules find nothing wrong with it, or with its request."""
    order = draw_order(f"WEB-{number:06d}", CATALOGUE, seed, PLACED)
    request = order_service_pb2.CreateOrderRequest(
        request_id=request_id("oms", order.number, "create"), order=order
    )
    for message in (order, request):
        name = message.DESCRIPTOR.full_name
        assert contracts.validate(name, message.SerializeToString()) == []
    foreign = contracts.load().foreign_fields("crossdock.order.v1.Order", "OMS")
    assert foreign.isdisjoint(contracts.load().populated_fields(order))


@settings(deadline=None)
@given(st.integers(1, 10_000))
def test_the_same_seed_draws_the_same_order(seed: int) -> None:
    """A demonstration can be repeated."""
    first, again = (draw_order("WEB-1", CATALOGUE, seed, PLACED) for _ in range(2))
    assert first == again


def test_seeds_and_numbers_differ() -> None:
    """Ten numbers are not ten times the same order, and some ship from two places."""
    drawn = [draw_order(f"WEB-{n}", CATALOGUE, 1, PLACED) for n in range(200)]
    assert len({order.SerializeToString() for order in drawn}) == len(drawn)
    places = [{line.ship_from_location_number for line in order.lines} for order in drawn]
    assert any(len(each) == 2 for each in places)


def test_business_units_share_the_orders_and_change_nothing_else() -> None:
    """Proves that each business unit of a network gets orders, and that a number draws the same
    order in every other respect where there is one business unit only."""
    units = ("outlet-us", "retail-us", "wholesale-us")
    network = replace(CATALOGUE, business_units=dict.fromkeys(units, ()))
    seen = set()
    for number in range(60):
        small, full = (
            draw_order(f"WEB-{number}", each, 1, PLACED) for each in (CATALOGUE, network)
        )
        seen.add(full.business_unit)
        assert small.business_unit == "retail-us"
        full.business_unit = small.business_unit
        assert full == small
    assert seen == set(units)


ABROAD = replace(
    CATALOGUE,
    customers={"CUST-1": "USD", "CUST-2": "EUR", "CUST-3": "CAD"},
    locations={"WH-EAST": "US", "WH-LAKES": "CA", "WH-RHINE": "DE", "WH-WEST": "US"},
    services=(
        Service("UPS", "03", ("WH-EAST", "WH-WEST")),
        Service("GLS", "GROUND", ("WH-RHINE",), "EUR"),
        Service("CANADA_POST", "GROUND", ("WH-LAKES",), "CAD"),
    ),
    business_units={
        "retail-us": (),
        "wholesale-us": ("WH-EAST", "WH-WEST"),
        "retail-eu": ("WH-RHINE",),
        "retail-ca": ("WH-LAKES",),
    },
)
POSTAL_CODES = {
    "US": r"[0-9]{5}", "DE": r"[0-9]{5}", "AT": r"[0-9]{4}", "NL": r"[0-9]{4} [A-Z]{2}",
    "CA": r"[A-Z][0-9][A-Z] [0-9][A-Z][0-9]",
}  # fmt: skip


def test_a_carrier_abroad_gets_orders_that_it_can_carry() -> None:
    """Proves that an order which names a regional carrier leaves from a dock of that carrier, goes
    to its region with a postal code of that country, pays in its currency, and is of a customer and
    a business unit for which all that holds; and that each carrier and unit gets some."""
    home = {"UPS": ("US", "USD"), "GLS": ("DE", "EUR"), "CANADA_POST": ("CA", "CAD")}
    seen: set[tuple[str, str]] = set()
    for number in range(200):
        order = draw_order(f"WEB-{number}", ABROAD, 1, PLACED)
        country, currency = home[order.carrier_code]
        docks = {line.ship_from_location_number for line in order.lines}
        assert {ABROAD.locations[each] for each in docks} == {country}
        assert {line.unit_price.currency for line in order.lines} == {currency}
        assert ABROAD.customers[order.customer_number] == currency
        places = ABROAD.business_units[order.business_unit]
        assert not places or docks <= set(places)
        address = order.ship_to.address
        assert re.fullmatch(POSTAL_CODES[address.country_code], address.postal_code)
        assert (address.country_code in ("DE", "AT", "NL")) == (order.carrier_code == "GLS")
        seen.add((order.business_unit, order.carrier_code))
    assert seen == {
        ("retail-us", "UPS"), ("retail-us", "GLS"), ("retail-us", "CANADA_POST"),
        ("wholesale-us", "UPS"), ("retail-eu", "GLS"), ("retail-ca", "CANADA_POST"),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("carrier", "unit", "pairs"),
    [
        ("GLS", "", {("GLS", "retail-us"), ("GLS", "retail-eu")}),
        ("", "retail-ca", {("CANADA_POST", "retail-ca")}),
        ("UPS", "wholesale-us", {("UPS", "wholesale-us")}),
    ],
)
def test_orders_can_be_for_one_carrier_or_business_unit(
    carrier: str, unit: str, pairs: set[tuple[str, str]]
) -> None:
    """Proves that who asks for one gets orders for that one, with whatever goes with it."""
    known = narrowed(ABROAD, carrier, unit)
    drawn = [draw_order(f"WEB-{number}", known, 1, PLACED) for number in range(60)]
    assert {(each.carrier_code, each.business_unit) for each in drawn} == pairs


@pytest.mark.parametrize(
    ("carrier", "unit", "words"),
    [
        ("DHL", "", "no carrier DHL"),
        ("", "retail-uk", "no business unit retail-uk"),
        ("GLS", "wholesale-us", "wholesale-us has no order for GLS"),
    ],
)
def test_a_wish_that_no_order_meets_is_told(carrier: str, unit: str, words: str) -> None:
    """Proves that a misspelt carrier or unit, or a pair that has nothing in common, is no random
    order but an error that says what there is."""
    with pytest.raises(CommandError) as caught:
        narrowed(ABROAD, carrier, unit)
    assert words in caught.value.what
    assert caught.value.why


def test_a_service_that_nobody_may_order_is_told() -> None:
    """Proves that a service without a customer who pays its currency is no order that somebody else
    refuses later, but an error that names the service and what it lacks."""
    nobody = replace(ABROAD, customers={"CUST-1": "USD"}, services=ABROAD.services[1:2])
    with pytest.raises(CommandError) as caught:
        draw_order("WEB-1", nobody, 1, PLACED)
    assert "GLS GROUND" in caught.value.what


@pytest.mark.parametrize(
    ("scopes", "expected"),
    [
        ([("ERP", [])], {"retail-us": ()}),
        (
            [("ERP", ["east"]), ("ERP", ["west", "south"]), ("WMS", ["north"])],
            {
                "east": ("WH-EAST",),
                "south": ("WH-SOUTH", "WH-WEST"),
                "west": ("WH-SOUTH", "WH-WEST"),
            },
        ),
    ],
)
async def test_business_units_are_those_that_erps_are_told_apart_by(
    scopes: list[tuple[str, list[str]]], expected: dict[str, tuple[str, ...]]
) -> None:
    """Proves that orders are drawn for the business units of the hub's own ERPs, and of no other
    role, from the locations that each books for; where no ERP has a share, for the one of all
    orders."""

    class Hub:
        @property
        def endpoints(self) -> Hub:
            return self

        async def ListEndpoints(self, request: Any) -> Any:
            return endpoint_service_pb2.ListEndpointsResponse(
                endpoints=[
                    endpoint_pb2.Endpoint(
                        id=f"e{position}",
                        role=options_pb2.SystemRole.Value(f"SYSTEM_ROLE_{role}"),
                        scope=endpoint_pb2.Scope(
                            business_units=units,
                            location_numbers=sorted(f"WH-{unit.upper()}" for unit in units),
                        ),
                    )
                    for position, (role, units) in enumerate(scopes)
                ]
            )

    hub: Any = Hub()
    assert await read_business_units(hub) == expected


class MasterData:
    """A hub that knows one customer, dock and carrier account, no endpoint, and these items."""

    def __init__(self, *items: item_pb2.Item) -> None:
        self.known = items
        self.items = self.customers = self.locations = self.carriers = self.endpoints = self

    async def ListItems(self, request: Any) -> Any:
        return item_service_pb2.ListItemsResponse(items=self.known)

    async def ListCustomers(self, request: Any) -> Any:
        answer = customer_service_pb2.ListCustomersResponse()
        answer.customers.add(number="CUST-1")
        return answer

    async def ListLocations(self, request: Any) -> Any:
        answer = location_service_pb2.ListLocationsResponse()
        answer.locations.add(number="WH-EAST", active=True)
        return answer

    async def ListCarrierAccounts(self, request: Any) -> Any:
        answer = carrier_service_pb2.ListCarrierAccountsResponse()
        account = answer.carrier_accounts.add(carrier_code="UPS", active=True)
        account.services.add(service_code="03")
        return answer

    async def ListEndpoints(self, request: Any) -> Any:
        return endpoint_service_pb2.ListEndpointsResponse()


async def test_no_order_is_drawn_of_dangerous_goods() -> None:
    """Proves that an item which the ERP calls hazardous, whose shipment would park at every
    carrier, is not drawn, and one that is said to be harmless or of which nothing is said is."""
    materials = [item_pb2.HazardousMaterial(hazardous=each) for each in (True, False)]
    items = [
        item_pb2.Item(number=f"SKU-{at}", base_unit="EA", hazardous_material=each)
        for at, each in enumerate([*materials, None], start=1)
    ]
    hub: Any = MasterData(*items)
    assert (await read_catalogue(hub)).items == (("SKU-2", "EA"), ("SKU-3", "EA"))


class FakeOrders:
    """Answers as the hub does; the first calls of each method fail as told."""

    def __init__(self, failures: list[Exception]) -> None:
        self.failures = failures
        self.requests: list[Any] = []

    async def _answer(self, request: Any, answer: Any) -> Any:
        self.requests.append(request)
        if self.failures:
            raise self.failures.pop(0)
        return answer

    async def CreateOrder(self, request: Any) -> Any:
        order = order_pb2.Order(id=f"id-{request.order.number}", number=request.order.number)
        return await self._answer(request, order_service_pb2.CreateOrderResponse(order=order))

    async def ApproveOrder(self, request: Any) -> Any:
        return await self._answer(request, order_service_pb2.ApproveOrderResponse())

    async def ReleaseOrder(self, request: Any) -> Any:
        answer = order_service_pb2.ReleaseOrderResponse(fulfillment_request_ids=["f1"])
        return await self._answer(request, answer)


class FakeHub:
    def __init__(self, *failures: Exception) -> None:
        self.orders = FakeOrders(list(failures))


def no_answer() -> DeadlineError:
    return DeadlineError(Refusal("DEADLINE", "too late"), StatusCode.DEADLINE_EXCEEDED)


async def test_a_call_without_an_answer_is_repeated_with_its_own_id(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It may have taken effect: only the same request_id makes the repeat harmless."""
    monkeypatch.setattr(orders, "FIRST_PAUSE_SECONDS", 0.001)
    hub: Any = FakeHub(no_answer(), no_answer())
    placed = await place_order(hub, draw_order("WEB-1", CATALOGUE, 1, PLACED))
    assert placed.fulfillment_request_ids == ("f1",)
    ids = [request.request_id for request in hub.orders.requests]
    assert ids[0] == ids[1] == ids[2]
    assert len(set(ids)) == 3
    assert hub.orders.requests[0] == hub.orders.requests[2]


async def test_a_refusal_is_not_repeated_and_comes_out_as_itself() -> None:
    """One refused order ends the batch with the hub's own reason, not a group of errors."""
    refused = NotAllowedError(Refusal("METHOD_NOT_ALLOWED", "no"), StatusCode.PERMISSION_DENIED)
    hub: Any = FakeHub(refused)
    drawn = [draw_order(f"WEB-{n}", CATALOGUE, 1, PLACED) for n in range(3)]
    with pytest.raises(NotAllowedError):
        await place_orders(hub, drawn)


def test_the_outbox_keeps_orders_and_never_a_number_twice(tmp_path: Path) -> None:
    """What was drawn is on disk, private, and reads back as it was."""
    name, first = Outbox(tmp_path).draw(3, CATALOGUE, 1)
    _, second = Outbox(tmp_path).draw(2, CATALOGUE, 1)
    numbers = [order.number for order in (*first, *second)]
    assert numbers == [f"WEB-{n:06d}" for n in range(1, 6)]
    assert Outbox(tmp_path).read(name) == first
    for path in tmp_path.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_an_unknown_batch_names_those_there_are(tmp_path: Path) -> None:
    """A path is no way out of the outbox either."""
    name, _ = Outbox(tmp_path).draw(1, CATALOGUE, 1)
    with pytest.raises(CommandError, match=name):
        Outbox(tmp_path).read("../../etc/passwd")
