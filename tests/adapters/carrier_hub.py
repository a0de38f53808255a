"""A hub small enough to read: it keeps what a carrier's adapter reports and lists labels."""

from __future__ import annotations

from typing import Any

import grpc
from crossdock import contracts
from crossdock.confirmation.v1 import confirmation_service_pb2
from crossdock.errors import InvalidRequestError, NotFoundError, Refusal
from crossdock.item.v1 import item_pb2, item_service_pb2
from crossdock.label.v1 import label_pb2, label_service_pb2
from crossdock.shipment.v1 import shipment_pb2, shipment_service_pb2
from crossdock.tracking.v1 import tracking_pb2, tracking_service_pb2
from google.protobuf.message import Message


class SmallHub:
    """The services a carrier uses; scans and proofs are known once by their id."""

    def __init__(self) -> None:
        self.scans: dict[tuple[Any, ...], tracking_pb2.TrackingEvent] = {}
        self.proofs: dict[str, Any] = {}
        self.stored: list[label_pb2.Label] = []
        self.held: list[tuple[bytes, str]] = []
        self.heard = 0
        self.refuse_scans = False
        self.refuse_voids: Exception | None = None
        self.goods: dict[str, item_pb2.Item] = {}
        self.items_read: list[str] = []
        self.voided: set[str] = set()
        self.tracking = self.confirmations = self.labels = self.items = self.shipments = self

    async def ReportTrackingEvents(
        self, request: tracking_service_pb2.ReportTrackingEventsRequest
    ) -> tracking_service_pb2.ReportTrackingEventsResponse:
        check(request)
        if self.refuse_scans:
            raise refusal("invented")
        for event in request.tracking_events:
            self.heard += 1
            self.scans.setdefault(identity(event), event)
        return tracking_service_pb2.ReportTrackingEventsResponse()

    async def CreateDeliveryConfirmation(
        self, request: confirmation_service_pb2.CreateDeliveryConfirmationRequest
    ) -> confirmation_service_pb2.CreateDeliveryConfirmationResponse:
        check(request)
        known = self.proofs.setdefault(request.request_id, request)
        assert known == request, "one id, two contents"
        return confirmation_service_pb2.CreateDeliveryConfirmationResponse()

    async def ListLabels(
        self, request: label_service_pb2.ListLabelsRequest
    ) -> label_service_pb2.ListLabelsResponse:
        check(request)
        if request.page_token == "lost":
            raise refusal("no such page")
        labels = [label for label in self.stored if request.shipment_id in ("", label.shipment_id)]
        start = int(request.page_token or 0)
        end = start + request.page_size
        token = str(end) if end < len(labels) else ""
        return label_service_pb2.ListLabelsResponse(labels=labels[start:end], next_page_token=token)

    async def ReportLabelVoided(
        self, request: label_service_pb2.ReportLabelVoidedRequest
    ) -> label_service_pb2.ReportLabelVoidedResponse:
        check(request)
        if self.refuse_voids is not None:
            raise self.refuse_voids
        for label in self.stored:
            if label.tracking_number == request.tracking_number:
                label.state = label_pb2.LABEL_STATE_VOIDED
        return label_service_pb2.ReportLabelVoidedResponse()

    async def GetShipment(
        self, request: shipment_service_pb2.GetShipmentRequest
    ) -> shipment_service_pb2.GetShipmentResponse:
        """Any shipment, as far as its state: voided if it is one of `voided`, else it left."""
        check(request)
        states = shipment_pb2.SHIPMENT_STATE_MANIFESTED, shipment_pb2.SHIPMENT_STATE_VOIDED
        found = shipment_pb2.Shipment(id=request.id, state=states[request.id in self.voided])
        return shipment_service_pb2.GetShipmentResponse(shipment=found)

    async def GetItem(
        self, request: item_service_pb2.GetItemRequest
    ) -> item_service_pb2.GetItemResponse:
        check(request)
        self.items_read.append(request.number)
        if request.number not in self.goods:
            raise NotFoundError(Refusal("OBJECT_NOT_FOUND", "no item"), grpc.StatusCode.NOT_FOUND)
        return item_service_pb2.GetItemResponse(item=self.goods[request.number])

    async def hold(
        self, payload: bytes, content_type: str, reason: str, key: str, *_: object
    ) -> None:
        self.held.append((payload, reason))

    def milestones(self, number: str) -> list[int]:
        return [event.milestone for event in self.scans.values() if event.tracking_number == number]


def check(request: Message) -> None:
    """Fails the test when a request breaks a rule of the contract."""
    violations = contracts.validate(request.DESCRIPTOR.full_name, request.SerializeToString())
    assert not violations, violations


def refusal(why: str) -> InvalidRequestError:
    return InvalidRequestError(Refusal("INVALID_FIELD", why), grpc.StatusCode.INVALID_ARGUMENT)


def identity(event: tracking_pb2.TrackingEvent) -> tuple[Any, ...]:
    """What makes two reports one scan: never the text, never the channel."""
    return (
        event.tracking_number,
        event.status_type,
        event.status_code,
        event.event_time.SerializeToString(deterministic=True),
        event.place.SerializeToString(deterministic=True),
    )
