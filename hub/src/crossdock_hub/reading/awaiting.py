"""Waiting for the label of a package: answered as soon as it is bought, refused, or time is up."""

from __future__ import annotations

import time
from collections.abc import Callable

from crossdock.errors import Refusal, to_message
from crossdock.label.v1 import label_service_pb2
from crossdock.types.v1 import types_pb2

from crossdock_hub.config import Limits
from crossdock_hub.identity import Caller
from crossdock_hub.records import DeliveryRecord, ObjectRecord
from crossdock_hub.refusals import not_found
from crossdock_hub.store import Reader
from crossdock_hub.waiting import Waiters

BUY_LABEL = "buy_label"
# "Still pending" has to reach the caller before its deadline does.
MARGIN_SECONDS_MAX = 0.5
MARGIN_SHARE = 0.2
POLL_SECONDS_MAX = 2.0

Sees = Callable[[Caller, ObjectRecord], bool]


async def await_label(
    reader: Reader,
    waiters: Waiters,
    limits: Limits,
    sees: Sees,
    caller: Caller,
    request: label_service_pb2.AwaitLabelRequest,
    seconds_left: float,
) -> label_service_pb2.AwaitLabelResponse:
    """The label, the refusal, or neither while it is pending when the deadline is near.

    Raises Refused with OBJECT_NOT_FOUND when there is no such package.
    """
    margin = min(MARGIN_SECONDS_MAX, seconds_left * MARGIN_SHARE)
    until = time.monotonic() + seconds_left - margin
    poll_seconds = limits.await_poll_seconds
    with waiters.watching(request.package_id) as watch:
        while True:
            answer = await _look(reader, sees, caller, request.package_id)
            left = until - time.monotonic()
            if answer.WhichOneof("result") or left <= 0 or waiters.closed:
                return answer
            # Commits wake us, those of other hubs over the bus; what was not heard is looked for.
            await watch.wait(min(left, poll_seconds))
            poll_seconds = min(poll_seconds * 2, POLL_SECONDS_MAX)


async def _look(
    reader: Reader, sees: Sees, caller: Caller, package_id: str
) -> label_service_pb2.AwaitLabelResponse:
    parcels = await reader.parcels(package_id=package_id)
    labels = await reader.objects([parcel.label_id for parcel in parcels])
    asked = [d for d in await reader.deliveries_of_item(package_id) if d.operation == BUY_LABEL]
    purchase = asked[-1] if asked else None
    state = _in_words(purchase)
    if labels:
        if not sees(caller, labels[-1]):
            raise not_found("package", package_id)
        bought = [label for label in labels if label.state == "CREATED"]
        if bought:
            return label_service_pb2.AwaitLabelResponse(label=bought[-1].message, state=state)
        return label_service_pb2.AwaitLabelResponse(
            refusal=_refusal(purchase, "VOIDED", "the label was voided and must not be used"),
            state=state,
        )
    if purchase is None:
        raise not_found("package", package_id)
    about = await reader.object(purchase.object_id)
    if about is None or not sees(caller, about):
        raise not_found("package", package_id)
    return label_service_pb2.AwaitLabelResponse(refusal=_verdict(purchase), state=state)


def _in_words(purchase: DeliveryRecord | None) -> str:
    if purchase is None:
        return "bought without a delivery"
    where = f"{purchase.state} at {purchase.endpoint}" if purchase.endpoint else purchase.state
    return f"{where}: {purchase.waiting_on}" if purchase.waiting_on else where


def _verdict(purchase: DeliveryRecord) -> types_pb2.Refusal | None:
    """Why there will be no label without somebody's help; None while it is on its way."""
    who, why = purchase.endpoint, purchase.waiting_on or "no reason was given"
    if purchase.state == "REJECTED":
        return _refusal(purchase, "REJECTED", f"{who} refused to sell a label: {why}")
    if purchase.state == "PARKED":
        return _refusal(purchase, "PARKED", f"a person has to look at the purchase at {who}: {why}")
    if purchase.state == "UNROUTED":
        return _refusal(purchase, "UNROUTED", f"nobody is there to sell a label: {why}")
    if purchase.state == "SUPERSEDED":
        return _refusal(purchase, "SUPERSEDED", f"the label is no longer wanted: {why}")
    if purchase.state == "SKIPPED":
        return _refusal(purchase, "SKIPPED", f"an operator ended the purchase at {who}: {why}")
    if purchase.state == "CONFIRMED" and purchase.quarantined:
        # The carrier sold it, and the hub could not write what it reported.
        return types_pb2.Refusal.FromString(purchase.quarantined[-1].refusal)
    return None


def _refusal(purchase: DeliveryRecord | None, state: str, message: str) -> types_pb2.Refusal:
    metadata = {"state": state, "verb": BUY_LABEL}
    if purchase is not None:
        metadata |= {"endpoint": purchase.endpoint, "delivery": purchase.id}
    return to_message(Refusal("STATE_TRANSITION", message, metadata))
