"""What this adapter says to the hub and asks it outside of deliveries: scans, proofs, labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from crossdock.confirmation.v1 import confirmation_service_pb2
from crossdock.errors import AlreadyUsedError, InvalidRequestError, PreconditionError
from crossdock.label.v1 import label_pb2, label_service_pb2
from crossdock.tracking.v1 import tracking_service_pb2

if TYPE_CHECKING:
    from crossdock.client import HubClient

MAX_LABELS_OF_A_SHIPMENT = 500


class Refusal(Exception):
    """The hub will never take this as it is; the payload behind it is kept raw instead."""


async def scans(hub: HubClient, request: tracking_service_pb2.ReportTrackingEventsRequest) -> None:
    """Reports scans; durable on return, applied or held. Refusal when the hub never will."""
    try:
        await hub.tracking.ReportTrackingEvents(request)
    except AlreadyUsedError:
        # The id names these scans: the hub has them already.
        return
    except (InvalidRequestError, PreconditionError) as error:
        raise Refusal(str(error)) from error


async def proof(
    hub: HubClient, request: confirmation_service_pb2.CreateDeliveryConfirmationRequest
) -> None:
    """Reports a proof of delivery; one already known is not told twice."""
    try:
        await hub.confirmations.CreateDeliveryConfirmation(request)
    except AlreadyUsedError:
        return
    except (InvalidRequestError, PreconditionError) as error:
        raise Refusal(str(error)) from error


async def moving_labels(
    hub: HubClient, carrier_code: str, page_size: int, page_token: str
) -> tuple[Sequence[label_pb2.Label], str]:
    """A page of labels whose parcel is under way, oldest first, and the next page's token."""
    request = label_service_pb2.ListLabelsRequest(
        page_size=page_size, page_token=page_token, moving_only=True, carrier_code=carrier_code
    )
    try:
        answer = await hub.labels.ListLabels(request)
    except InvalidRequestError as error:
        raise Refusal(str(error)) from error
    return list(answer.labels), answer.next_page_token


async def tracking_number(hub: HubClient, shipment_id: str, package_id: str) -> str:
    """The number of a package's label as the hub stores it; empty when none is bought."""
    request = label_service_pb2.ListLabelsRequest(
        page_size=MAX_LABELS_OF_A_SHIPMENT, shipment_id=shipment_id
    )
    answer = await hub.labels.ListLabels(request)
    for label in answer.labels:
        if label.package_id == package_id and label.state != label_pb2.LABEL_STATE_VOIDED:
            return str(label.tracking_number)
    return ""
