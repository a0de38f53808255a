"""The OMS's side: what an order looks like, and how it is placed so that no repeat makes a second.

Orders are drawn from the hub's own master data and a seed: the same seed and number give the same
order. Their request ids follow from the order number, and an outbox keeps the orders themselves, so
that a batch can be sent again after a crash and is answered, not written, again.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TypeVar

from google.protobuf import json_format

from crossdock.carrier.v1 import carrier_service_pb2
from crossdock.cli.endpoint import list_endpoints
from crossdock.cli.network.vendor import BUSINESS_UNIT
from crossdock.cli.private_files import write_private
from crossdock.cli.problems import CommandError
from crossdock.cli.together import together
from crossdock.client import HubClient, request_id
from crossdock.customer.v1 import customer_service_pb2
from crossdock.endpoint.v1 import endpoint_pb2
from crossdock.errors import NoAnswerError, TryAgainError
from crossdock.item.v1 import item_pb2, item_service_pb2
from crossdock.location.v1 import location_service_pb2
from crossdock.options.v1 import options_pb2
from crossdock.order.v1 import order_pb2, order_service_pb2
from crossdock.types.v1 import types_pb2

T = TypeVar("T")

OMS: Final = "oms"
PAGE: Final = 500
MAXIMUM_ITEMS: Final = 5_000
PLACED_AT_ONCE: Final = 16
ATTEMPTS: Final = 6
FIRST_PAUSE_SECONDS: Final = 0.2
MAXIMUM_PAUSE_SECONDS: Final = 3.0
MAXIMUM_LINES: Final = 3
MAXIMUM_QUANTITY: Final = 3
SPLIT_SHARE: Final = 0.1
HOME: Final = "US"
HOME_CURRENCY: Final = "USD"
# Invented people at invented addresses in real towns, with the beginning of a phone number there:
# carriers check town, state and postal code, and whether a phone number has all its digits.
_NAMES: Final = (
    "Robin Okonkwo", "Ada Lindqvist", "Sam Rivera", "Mina Tanaka", "Jo Marchetti", "Lee Novak",
    "Priya Shah", "Tom Becker",
)  # fmt: skip
# By the country that is shipped from: street, town, state, postal code, phone, country.
_TOWNS: Final = {
    HOME: (
        ("7 Alder Street", "Portland", "OR", "97205", "+1 503", "US"),
        ("310 Birch Avenue", "Denver", "CO", "80203", "+1 303", "US"),
        ("52 Cedar Lane", "Austin", "TX", "78701", "+1 512", "US"),
        ("18 Dogwood Court", "Atlanta", "GA", "30303", "+1 404", "US"),
        ("940 Elm Road", "Columbus", "OH", "43215", "+1 614", "US"),
        ("61 Fir Place", "Boston", "MA", "02108", "+1 617", "US"),
        ("205 Grove Street", "Chicago", "IL", "60601", "+1 312", "US"),
        ("77 Hazel Way", "Phoenix", "AZ", "85004", "+1 602", "US"),
    ),
    # Within the customs union, where a parcel needs no papers.
    "DE": (
        ("Ahornweg 7", "Köln", "", "50667", "+49 221", "DE"),
        ("Birkenallee 31", "München", "", "80331", "+49 89", "DE"),
        ("Erlenstraße 5", "Hamburg", "", "20095", "+49 40", "DE"),
        ("Fichtengasse 12", "Wien", "", "1010", "+43 1", "AT"),
        ("Wilgenstraat 18", "Amsterdam", "", "1012 AB", "+31 20", "NL"),
    ),
    "CA": (
        ("14 Maple Row", "Toronto", "ON", "M5V 2T6", "+1 416", "CA"),
        ("230 rue des Érables", "Montréal", "QC", "H2Y 1C6", "+1 514", "CA"),
        ("9 Cedar Crescent", "Vancouver", "BC", "V6B 1A1", "+1 604", "CA"),
        ("71 Tamarack Lane", "St. John's", "NL", "A1C 5R6", "+1 709", "CA"),
    ),
}


@dataclass(frozen=True, slots=True)
class Service:
    """A contracted service of a carrier: from which locations (none named: all), in which currency
    its carrier is paid."""

    carrier_code: str
    service_code: str
    locations: tuple[str, ...] = ()
    currency: str = HOME_CURRENCY


@dataclass(frozen=True, slots=True)
class Catalogue:
    """What orders may name: (item, unit), customers with their currency ("": unknown), locations
    that ship with their country, services, and business units with the locations that their ERP
    books for (none named: all)."""

    items: tuple[tuple[str, str], ...]
    customers: Mapping[str, str]
    locations: Mapping[str, str]
    services: tuple[Service, ...]
    business_units: Mapping[str, tuple[str, ...]] = field(
        default_factory=lambda: {BUSINESS_UNIT: ()}
    )


@dataclass(frozen=True, slots=True)
class PlacedOrder:
    """An order that was released: its hub id, number and fulfillment requests."""

    id: str
    number: str
    fulfillment_request_ids: tuple[str, ...]


def narrowed(catalogue: Catalogue, carrier_code: str, business_unit: str) -> Catalogue:
    """What orders for one carrier, or of one business unit, may name; empty: any. CommandError: the
    hub knows no such one, or the two have nothing in common."""
    codes = sorted({each.carrier_code for each in catalogue.services})
    for what, wanted, known in (
        ("carrier", carrier_code, codes),
        ("business unit", business_unit, sorted(catalogue.business_units)),
    ):
        if wanted and wanted not in known:
            raise CommandError(f"no {what} {wanted}", f"there are: {', '.join(known)}")
    units = {
        unit: places
        for unit, places in catalogue.business_units.items()
        if unit == (business_unit or unit)
    }
    services = tuple(
        each
        for each in catalogue.services
        if each.carrier_code == (carrier_code or each.carrier_code)
        and any(_books_for(places, each, catalogue) for places in units.values())
    )
    if not services:
        raise CommandError(
            f"{business_unit} has no order for {carrier_code}",
            "its ERP books for none of the locations where that carrier collects",
            "crossdock endpoint list",
        )
    return replace(catalogue, services=services, business_units=units)


def _docks(service: Service, catalogue: Catalogue) -> list[str]:
    """From where a service may be used."""
    return [each for each in catalogue.locations if each in (service.locations or (each,))]


def _books_for(places: Sequence[str], service: Service, catalogue: Catalogue) -> bool:
    """Whether an ERP with these locations books whatever leaves with a service."""
    return not places or set(_docks(service, catalogue)) <= set(places)


async def read_catalogue(hub: HubClient) -> Catalogue:
    """Master data as the OMS sees it. CommandError: too little to place an order."""
    items = [(each.number, each.base_unit) async for each in _items(hub) if _is_drawn(each)]
    customers = await hub.customers.ListCustomers(
        customer_service_pb2.ListCustomersRequest(page_size=PAGE)
    )
    locations = await hub.locations.ListLocations(
        location_service_pb2.ListLocationsRequest(page_size=PAGE)
    )
    accounts = await hub.carriers.ListCarrierAccounts(
        carrier_service_pb2.ListCarrierAccountsRequest(page_size=PAGE)
    )
    services = [
        Service(
            account.carrier_code,
            service.service_code,
            tuple(account.ship_from_location_numbers),
            account.billing.currency or HOME_CURRENCY,
        )
        for account in accounts.carrier_accounts
        if account.active
        for service in account.services
    ]
    found = Catalogue(
        items=tuple(sorted(items)),
        customers=dict(sorted((each.number, each.currency) for each in customers.customers)),
        locations=dict(
            sorted(
                (each.number, each.address.address.country_code or HOME)
                for each in locations.locations
                if each.active
            )
        ),
        services=tuple(services),
        business_units=await read_business_units(hub),
    )
    for what in ("items", "customers", "locations", "services"):
        if not getattr(found, what):
            raise CommandError(
                f"the hub knows no {what} that an order could name",
                "master data comes from the ERP's adapter, carrier accounts from the shipping desk",
                "crossdock endpoint list; crossdock doctor",
            )
    return found


def draw_order(number: str, catalogue: Catalogue, seed: int, placed: datetime) -> order_pb2.Order:
    """One order; seed and number decide everything but the time.

    The service decides from where it goes, and so to which towns, in which currency and for which
    business units. CommandError: nobody may order a service.
    """
    chance = random.Random(f"{seed}:{number}")
    service = chance.choice(catalogue.services)
    docks, units, customers = _who_may_order(service, catalogue)
    country = catalogue.locations[docks[0]]
    street, city, state, postal_code, phone, to_country = chance.choice(
        _TOWNS.get(country, _TOWNS[HOME])
    )
    order = order_pb2.Order(
        number=number,
        # Of a chance of its own, so that more business units change nothing else.
        business_unit=random.Random(f"{seed}:{number}:business unit").choice(units),
        customer_number=chance.choice(customers),
        customer_reference=f"PO-{chance.randint(10_000, 99_999)}",
        carrier_code=service.carrier_code,
        service_code=service.service_code,
        channel="web",
        ship_to=types_pb2.Party(
            name=chance.choice(_NAMES),
            phone=f"{phone} 555 01{chance.randint(0, 99):02d}",
            address=types_pb2.Address(
                lines=[street],
                city=city,
                state=state,
                postal_code=postal_code,
                country_code=to_country,
            ),
            residential=True,
        ),
    )
    order.order_time.FromDatetime(placed)
    _draw_lines(order, catalogue, docks, service.currency, chance)
    return order


def _who_may_order(
    service: Service, catalogue: Catalogue
) -> tuple[list[str], list[str], list[str]]:
    """Locations, business units and customers of orders that name a service."""
    docks = _docks(service, catalogue)
    units = [
        unit
        for unit, places in catalogue.business_units.items()
        if _books_for(places, service, catalogue)
    ]
    paying: dict[str, list[str]] = {}
    for customer, currency in catalogue.customers.items():
        paying.setdefault(currency, []).append(customer)
    # Customers of whom nobody says how they pay are taken where there is no other.
    customers = paying.get(service.currency) or paying.get("", [])
    if not (docks and units and customers):
        raise CommandError(
            f"no order can name {service.carrier_code} {service.service_code}",
            f"it needs a location, a business unit and a customer that pays {service.currency}",
            "crossdock endpoint list; crossdock doctor",
        )
    return docks, units, customers


def _draw_lines(
    order: order_pb2.Order,
    catalogue: Catalogue,
    docks: Sequence[str],
    currency: str,
    chance: random.Random,
) -> None:
    count = chance.randint(1, min(MAXIMUM_LINES, len(catalogue.items)))
    locations = [chance.choice(docks)] * count
    if count > 1 and len(docks) > 1 and chance.random() < SPLIT_SHARE:
        locations[-1] = next(each for each in docks if each != locations[0])
    chosen = chance.sample(catalogue.items, count)
    for line_number, ((item, unit), location) in enumerate(zip(chosen, locations, strict=True), 1):
        line = order.lines.add(
            line_number=line_number, item_number=item, ship_from_location_number=location
        )
        line.quantity.value = str(chance.randint(1, MAXIMUM_QUANTITY))
        line.quantity.unit = unit
        cents = chance.randint(499, 19_999)
        line.unit_price.amount = f"{cents // 100}.{cents % 100:02d}"
        line.unit_price.currency = currency


async def place_order(hub: HubClient, order: order_pb2.Order) -> PlacedOrder:
    """Create, approve, release; each repeated with its own id until the hub has answered."""
    created = await _repeated(
        lambda: hub.orders.CreateOrder(
            order_service_pb2.CreateOrderRequest(
                request_id=request_id(OMS, order.number, "create"), order=order
            )
        )
    )
    order_id = created.order.id
    await _repeated(
        lambda: hub.orders.ApproveOrder(
            order_service_pb2.ApproveOrderRequest(
                request_id=request_id(OMS, order.number, "approve"), order_id=order_id
            )
        )
    )
    released = await _repeated(
        lambda: hub.orders.ReleaseOrder(
            order_service_pb2.ReleaseOrderRequest(
                request_id=request_id(OMS, order.number, "release"), order_id=order_id
            )
        )
    )
    return PlacedOrder(order_id, order.number, tuple(released.fulfillment_request_ids))


async def place_orders(
    hub: HubClient,
    orders: Sequence[order_pb2.Order],
    rate_per_second: float = 0.0,
    placed: Callable[[PlacedOrder], None] | None = None,
) -> list[PlacedOrder]:
    """Place many, a bounded number at once, not faster than the rate (0: as fast as they go)."""
    gate = asyncio.Semaphore(PLACED_AT_ONCE)
    started = time.monotonic()

    async def place(index: int, order: order_pb2.Order) -> PlacedOrder:
        if rate_per_second > 0:
            await asyncio.sleep(max(0.0, started + index / rate_per_second - time.monotonic()))
        async with gate:
            done = await place_order(hub, order)
        if placed is not None:
            placed(done)
        return done

    return await together(*(place(index, order) for index, order in enumerate(orders)))


class Outbox:
    """What the OMS is about to send, on disk before the first call."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def draw(
        self, count: int, catalogue: Catalogue, seed: int
    ) -> tuple[str, list[order_pb2.Order]]:
        """A new batch of orders, kept. Returns its name and the orders."""
        first = self._take_numbers(count)
        now = datetime.now(UTC).replace(microsecond=0)
        orders = [
            draw_order(f"WEB-{first + index:06d}", catalogue, seed, now) for index in range(count)
        ]
        name = f"batch-{first:06d}"
        self.keep(name, orders)
        return name, orders

    def keep(self, name: str, orders: Iterable[order_pb2.Order]) -> None:
        """Write a batch; one order a line."""
        lines = [
            json_format.MessageToJson(order, indent=None, preserving_proto_field_name=True)
            for order in orders
        ]
        write_private(self._directory / f"{name}.jsonl", "\n".join(lines) + "\n")

    def read(self, name: str) -> list[order_pb2.Order]:
        """A batch that was drawn before. CommandError: there is none."""
        path = self._directory / f"{Path(name).name}.jsonl"
        try:
            lines = path.read_text("utf-8").splitlines()
        except OSError:
            known = ", ".join(sorted(each.stem for each in self._directory.glob("*.jsonl")))
            raise CommandError(
                f"there is no batch {name}", f"there are: {known or 'none'}"
            ) from None
        return [json_format.Parse(line, order_pb2.Order()) for line in lines if line]

    def _take_numbers(self, count: int) -> int:
        path = self._directory / "next.json"
        try:
            first = int(json.loads(path.read_text("utf-8"))["next"])
        except (OSError, ValueError, KeyError):
            first = 1
        write_private(path, json.dumps({"next": first + count}) + "\n")
        return first


def outbox_directory(workplace_directory: Path | None) -> Path:
    """Beside dev's data; else in the user's own state directory."""
    if workplace_directory is not None:
        return workplace_directory / "outbox"
    state = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    path = Path(state) / "crossdock" / "outbox"
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


async def read_business_units(hub: HubClient) -> dict[str, tuple[str, ...]]:
    """Those that the ERPs are told apart by, with the locations that theirs books for (none named:
    all); else the one of all orders."""
    found = {
        unit: tuple(endpoint.scope.location_numbers)
        for endpoint in await list_endpoints(hub)
        if endpoint.role == options_pb2.SYSTEM_ROLE_ERP
        and endpoint.state != endpoint_pb2.ENDPOINT_STATE_REMOVED
        for unit in endpoint.scope.business_units
    }
    return dict(sorted(found.items())) or {BUSINESS_UNIT: ()}


def _is_drawn(item: item_pb2.Item) -> bool:
    """Whether orders are drawn of it: in use, counted in pieces, and no dangerous goods, whose
    bookings the carriers' adapters leave to a person."""
    in_use = item.status in (item_pb2.ITEM_STATUS_UNSPECIFIED, item_pb2.ITEM_STATUS_ACTIVE)
    return in_use and item.base_unit == "EA" and not item.hazardous_material.hazardous


async def _items(hub: HubClient) -> AsyncIterator[item_pb2.Item]:
    token, seen = "", 0
    while True:
        page = await hub.items.ListItems(
            item_service_pb2.ListItemsRequest(page_size=PAGE, page_token=token)
        )
        for item in page.items:
            yield item
        seen += len(page.items)
        token = page.next_page_token
        if not token or seen >= MAXIMUM_ITEMS:
            return


async def _repeated(call: Callable[[], Awaitable[T]]) -> T:
    pause = FIRST_PAUSE_SECONDS
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return await call()
        except (NoAnswerError, TryAgainError) as error:
            if attempt == ATTEMPTS:
                raise
            wait = error.refusal.retry_after_seconds or pause
        await asyncio.sleep(min(wait, MAXIMUM_PAUSE_SECONDS))
        pause *= 2
    raise AssertionError("unreachable")
