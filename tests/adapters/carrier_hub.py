"""A hub small enough to read: it keeps what a carrier's adapter reports and lists labels."""

from __future__ import annotations

from typing import Any

import grpc
from crossdock import contracts
from crossdock.confirmation.v1 import confirmation_service_pb2
from crossdock.errors import InvalidRequestError, NotFoundError, Refusal
from crossdock.item.v1 import item_pb2, item_service_pb2
from crossdock.label.v1 import label_pb2, label_service_pb2
from crossdock.location.v1 import location_pb2, location_service_pb2
from crossdock.returns.v1 import return_pb2, return_service_pb2
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
        self.places: dict[str, location_pb2.Location] = {}
        self.returns_known: dict[str, return_pb2.Return] = {}
        self.tracking = self.confirmations = self.labels = self.items = self.shipments = self
        self.locations = self.returns = self

    def learn(self, *known: Message) -> None:
        """Know these items and locations from now on."""
        for each in known:
            if isinstance(each, item_pb2.Item):
                self.goods[each.number] = each
            if isinstance(each, location_pb2.Location):
                self.places[each.number] = each

    def note_return(self, request: return_service_pb2.UpdateReturnRequest) -> None:
        """A carrier wrote the label of a return."""
        known = self.returns_known.setdefault(request.customer_return.id, return_pb2.Return())
        known.id = request.customer_return.id
        known.label.CopyFrom(request.customer_return.label)

    def give_back(self, label: label_pb2.Label) -> None:
        """A label that this hub has of a package is that of a return, which a desk had sold."""
        self.stored.remove(label)
        known = return_pb2.Return(id="0190f7a2-0000-7e5f-8a6b-0000000000ff")
        known.label.carrier_code = label.carrier_code
        known.label.tracking_number = label.tracking_number
        self.returns_known[known.id] = known

    async def GetReturn(
        self, request: return_service_pb2.GetReturnRequest
    ) -> return_service_pb2.GetReturnResponse:
        check(request)
        if request.id not in self.returns_known:
            raise NotFoundError(Refusal("OBJECT_NOT_FOUND", "no return"), grpc.StatusCode.NOT_FOUND)
        known = self.returns_known[request.id]
        return return_service_pb2.GetReturnResponse(customer_return=known)

    async def ListReturns(
        self, request: return_service_pb2.ListReturnsRequest
    ) -> return_service_pb2.ListReturnsResponse:
        """Every return is initiated; those with voided labels are listed, as by an older hub."""
        check(request)
        assert request.moving_only, "returns that are over, or silent, are nobody's to ask about"
        found = self.returns_known.values()
        return return_service_pb2.ListReturnsResponse(customer_returns=found)

    async def GetLocation(
        self, request: location_service_pb2.GetLocationRequest
    ) -> location_service_pb2.GetLocationResponse:
        check(request)
        return location_service_pb2.GetLocationResponse(location=self.places[request.number])

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
