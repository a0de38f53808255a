"""The adapter's side of the hub for these tests: a plain class that keeps what it is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
from crossdock.customer.v1 import customer_service_pb2
from crossdock.errors import InvalidRequestError, Refusal
from crossdock.item.v1 import item_service_pb2
from crossdock.location.v1 import location_service_pb2
from crossdock.order.v1 import order_pb2, order_service_pb2
from crossdock.shipment.v1 import shipment_pb2, shipment_service_pb2
from crossdock.types.v1 import types_pb2
from crossdock.unit.v1 import unit_service_pb2
from crossdock_adapters.netsuite.adapter import ADAPTER
from crossdock_adapters.netsuite.sandbox import (
    DEFAULT_CERTIFICATE_ID,
    DEFAULT_CLIENT_ID,
    DEFAULT_TIME_ZONE,
)
from crossdock_adapters.sdk.cursors import CursorMoved
from crossdock_adapters.sdk.settings import Secrets, Settings, check
from crossdock_adapters.sdk.work import Poll, Work
from netsuite_account import Account

ENDPOINT = "netsuite"
REFERENCE = "ABCDEFGHIJKLMNOPQRST"


def settings_for(
    account: Account, key_file: Path | None = None, **given: Any
) -> tuple[Settings, Secrets]:
    """Checked settings of the endpoint, pointing at the simulated account."""
    return check(
        ADAPTER.manifest.settings,
        {
            "base_url": account.sandbox.vendor_url,
            "client_id": DEFAULT_CLIENT_ID,
            "certificate_id": DEFAULT_CERTIFICATE_ID,
            "account_time_zone": DEFAULT_TIME_ZONE,
            "private_key": f"file:{key_file or account.key_file}",
            **given,
        },
    )


class HubNotebook:
    """Keeps upserted master data by kind and number; refuses what it is told to.

    `poison` numbers are refused inside an answer, `unbearable` ones make the whole request fail.
    """

    def __init__(self) -> None:
        self.known: dict[str, dict[str, Any]] = {}
        self.request_ids: dict[str, int] = {}
        self.batches: list[int] = []
        self.cursor = b""
        self.held: list[tuple[bytes, str, str]] = []
        self.poison: set[str] = set()
        self.unbearable: set[str] = set()
        self.items = SimpleNamespace(UpsertItems=self._items)
        self.customers = SimpleNamespace(UpsertCustomers=self._customers)
        self.locations = SimpleNamespace(UpsertLocations=self._locations)
        self.units = SimpleNamespace(UpsertUnitConversions=self._units)
        self.shipment = shipment_pb2.Shipment()
        self.shipments = SimpleNamespace(GetShipment=self._shipment)
        self.order = order_pb2.Order()
        self.orders = SimpleNamespace(GetOrder=self._order)

    def poll(self, settings: Settings) -> Poll:
        """A run of the master data poll from where the last one ended."""

        async def put(cursor: bytes, expected: bytes = self.cursor) -> None:
            if self.cursor not in (expected, poll.cursor):
                raise CursorMoved
            self.cursor = cursor

        async def hold(
            payload: bytes, content_type: str, reason: str, key: str, *_: object
        ) -> None:
            self.held.append((payload, reason, key))

        hub: Any = self
        poll = Poll("master_data", ENDPOINT, self.cursor, settings, hub, put, hold)
        return poll

    def work(self, operation: str, event: Any, settings: Settings, attempt: int = 1) -> Work:
        """A delivery whose master data this notebook knows."""
        hub: Any = self
        return Work(
            delivery_id="3f1c7a52-58cb-5c1e-8f66-3f8a2f0f9a01",
            endpoint=ENDPOINT,
            operation=operation,
            item="",
            reference=REFERENCE,
            attempt=attempt,
            event=event,
            settings=settings,
            hub=hub,
            look_up_numbers=self._numbers,
        )

    async def _numbers(self, kind: str, numbers: Sequence[str]) -> dict[str, str]:
        held: Mapping[str, Any] = self.known.get(kind, {})
        return {
            number: reference.value
            for number in numbers
            if number in held
            for reference in held[number].references
            if reference.system == ENDPOINT
        }

    async def _shipment(self, request: Any) -> Any:
        assert request.id == self.shipment.id
        return shipment_service_pb2.GetShipmentResponse(shipment=self.shipment)

    async def _order(self, request: Any) -> Any:
        return order_service_pb2.GetOrderResponse(order=self.order)

    async def _items(self, request: Any) -> Any:
        results = self._upsert("item", request, item_service_pb2.ItemResult)
        return item_service_pb2.UpsertItemsResponse(results=results)

    async def _customers(self, request: Any) -> Any:
        results = self._upsert("customer", request, customer_service_pb2.CustomerResult)
        return customer_service_pb2.UpsertCustomersResponse(results=results)

    async def _locations(self, request: Any) -> Any:
        results = self._upsert("location", request, location_service_pb2.LocationResult)
        return location_service_pb2.UpsertLocationsResponse(results=results)

    async def _units(self, request: Any) -> Any:
        results = self._upsert("unit_conversion", request, unit_service_pb2.UnitConversionResult)
        return unit_service_pb2.UpsertUnitConversionsResponse(results=results)

    def _upsert(self, kind: str, request: Any, result: Any) -> list[Any]:
        numbers = [getattr(entry, kind).number for entry in request.entries]
        self.batches.append(len(numbers))
        if self.unbearable & set(numbers):
            refusal = Refusal("INVALID_FIELD", "an entry is malformed")
            raise InvalidRequestError(refusal, grpc.StatusCode.INVALID_ARGUMENT)
        results = []
        for entry, number in zip(request.entries, numbers, strict=True):
            self.request_ids[entry.request_id] = self.request_ids.get(entry.request_id, 0) + 1
            if number in self.poison:
                no = types_pb2.Refusal(reason="INVALID_FIELD", message="not acceptable")
                results.append(result(refusal=no))
                continue
            self.known.setdefault(kind, {})[number] = entry
            results.append(result(id="x", created=True))
        return results
