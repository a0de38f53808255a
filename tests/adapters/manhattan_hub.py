"""A hub small enough to read: it keeps what the Manhattan adapter reports, once per request id."""

from __future__ import annotations

from typing import Any

import grpc
from crossdock import contracts
from crossdock.errors import (
    AlreadyUsedError,
    InvalidRequestError,
    NotFoundError,
    Refusal,
    TryAgainError,
)
from crossdock.fulfillment.v1 import fulfillment_pb2, fulfillment_service_pb2
from crossdock.item.v1 import item_pb2, item_service_pb2
from crossdock.location.v1 import location_pb2, location_service_pb2
from crossdock.shipment.v1 import shipment_service_pb2
from crossdock.types.v1 import types_pb2
from google.protobuf.message import Message


class SmallHub:
    """The services the adapter uses. Every request is checked against the contract's rules."""

    def __init__(self) -> None:
        self.facts: dict[str, Any] = {}
        self.heard = 0
        self.held: dict[str, tuple[bytes, str]] = {}
        self.items_by_number: dict[str, item_pb2.Item] = {}
        self.places: dict[str, location_pb2.Location] = {}
        self.requests: dict[str, fulfillment_pb2.FulfillmentRequest] = {}
        self.away = 0
        self.refuse = False
        self.item_reads = 0
        self.location_writes = 0
        self.fulfillments = self.shipments = self.items = self.locations = self

    async def ReportPick(
        self, request: fulfillment_service_pb2.ReportPickRequest
    ) -> fulfillment_service_pb2.ReportPickResponse:
        self._keep(request)
        return fulfillment_service_pb2.ReportPickResponse()

    async def ReportPacked(
        self, request: fulfillment_service_pb2.ReportPackedRequest
    ) -> fulfillment_service_pb2.ReportPackedResponse:
        self._keep(request)
        return fulfillment_service_pb2.ReportPackedResponse()

    async def ManifestShipment(
        self, request: shipment_service_pb2.ManifestShipmentRequest
    ) -> shipment_service_pb2.ManifestShipmentResponse:
        self._keep(request)
        return shipment_service_pb2.ManifestShipmentResponse()

    async def GetFulfillmentRequest(
        self, request: fulfillment_service_pb2.GetFulfillmentRequestRequest
    ) -> fulfillment_service_pb2.GetFulfillmentRequestResponse:
        found = self.requests.get(request.number)
        if found is None:
            raise missing()
        return fulfillment_service_pb2.GetFulfillmentRequestResponse(fulfillment_request=found)

    async def GetItem(
        self, request: item_service_pb2.GetItemRequest
    ) -> item_service_pb2.GetItemResponse:
        self.item_reads += 1
        if self.away > 0:
            self.away -= 1
            raise overloaded()
        found = self.items_by_number.get(request.number)
        if found is None:
            raise missing()
        return item_service_pb2.GetItemResponse(item=found)

    async def GetLocation(
        self, request: location_service_pb2.GetLocationRequest
    ) -> location_service_pb2.GetLocationResponse:
        found = self.places.get(request.number)
        if found is None:
            raise missing()
        return location_service_pb2.GetLocationResponse(location=found)

    async def UpsertLocations(
        self, request: location_service_pb2.UpsertLocationsRequest
    ) -> location_service_pb2.UpsertLocationsResponse:
        check(request)
        for entry in request.entries:
            assert list(entry.update_mask.paths) == ["time_zone"], "the WMS owns no more of it"
            place = self.places[entry.location.number]
            assert entry.expected_revision == place.revision
            place.time_zone = entry.location.time_zone
            place.revision += 1
            self.location_writes += 1
        return location_service_pb2.UpsertLocationsResponse(
            results=[location_service_pb2.LocationResult() for _ in request.entries]
        )

    async def hold(
        self, payload: bytes, content_type: str, reason: str, key: str, *_: object
    ) -> None:
        self.held.setdefault(key, (payload, reason))

    def of(self, kind: type[Any]) -> list[Any]:
        """The facts of one kind, in the order they first came."""
        return [fact for fact in self.facts.values() if isinstance(fact, kind)]

    def add_items(self, *numbers: str) -> None:
        for number in numbers:
            item = item_pb2.Item(number=number, revision=1, description=f"Item {number}")
            item.base_unit = "EA"
            item.weight.CopyFrom(types_pb2.Quantity(value="1.25", unit="LBR"))
            for side, value in (("length", "6"), ("width", "4"), ("height", "2")):
                getattr(item, side).CopyFrom(types_pb2.Quantity(value=value, unit="INH"))
            self.items_by_number[number] = item

    def _keep(self, request: Any) -> None:
        check(request)
        self.heard += 1
        if self.away > 0:
            self.away -= 1
            raise overloaded()
        if self.refuse:
            raise InvalidRequestError(
                Refusal("INVALID_FIELD", "invented"), grpc.StatusCode.INVALID_ARGUMENT
            )
        known = self.facts.setdefault(request.request_id, request)
        if known != request:
            raise AlreadyUsedError(
                Refusal("REQUEST_ID_REUSED", "told before with other content"),
                grpc.StatusCode.ALREADY_EXISTS,
            )


def check(request: Message) -> None:
    """Fails the test when a request breaks a rule of the contract."""
    violations = contracts.validate(request.DESCRIPTOR.full_name, request.SerializeToString())
    assert not violations, violations


def missing() -> NotFoundError:
    return NotFoundError(Refusal("OBJECT_NOT_FOUND", "no such object"), grpc.StatusCode.NOT_FOUND)


def overloaded() -> TryAgainError:
    return TryAgainError(
        Refusal("HUB_OVERLOADED", "come again"), grpc.StatusCode.RESOURCE_EXHAUSTED
    )
