"""The simulated FedEx's answers: open shipments, confirmations, track results, callbacks."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from .sandbox_books import Parcel, Scan, Shipment
from .sandbox_journeys import DAY_ONLY, WITHOUT_OFFSET, Step

MONEY = "USD"


def envelope(output: Mapping[str, Any], transaction: str) -> dict[str, Any]:
    """A success; the caller's transaction id comes back and means nothing."""
    return {
        "transactionId": "624deea6-b709-470c-8c39-4b5511281492",
        "customerTransactionId": transaction,
        "output": dict(output),
    }


def created(shipment: Shipment) -> dict[str, Any]:
    """An open shipment was made: it has its master number, and no label."""
    shown = {
        "masterTrackingNumber": shipment.master_number,
        "serviceType": shipment.order.service,
        "alerts": [],
    }
    return {"index": shipment.index, "transactionShipments": [shown], "alerts": []}


def retrieved(shipment: Shipment) -> dict[str, Any]:
    """An open shipment as it was requested."""
    return {"requestedShipment": shipment.requested, "alerts": []}


def confirmed(shipment: Shipment) -> dict[str, Any]:
    """A confirmed shipment with its labels."""
    shown = {
        "masterTrackingNumber": shipment.master_number,
        "serviceType": shipment.order.service,
        "shipDatestamp": f"{shipment.opened_at:%Y-%m-%d}",
        "pieceResponses": [_piece(parcel) for parcel in shipment.parcels],
        "alerts": [],
    }
    note = {"code": "SHIPMENT.NOTE", "alertType": "NOTE", "message": "Simulated shipment"}
    return {"transactionShipments": [shown], "alerts": [note]}


def cancelled(done: bool) -> dict[str, Any]:
    """The answer to a cancellation: a success even when nothing was cancelled."""
    message = "Success" if done else "Shipment has been tendered and cannot be cancelled"
    return {"cancelledShipment": done, "cancelledHistory": done, "message": message, "alerts": []}


def track_output(groups: Sequence[tuple[str, Sequence[Any]]]) -> dict[str, Any]:
    """Track results by the number that was asked for."""
    listed = [{"trackingNumber": n, "trackResults": list(results)} for n, results in groups]
    return {"alerts": [], "completeTrackResults": listed}


def not_found(number: str, code: str = "TRACKING.TRACKINGNUMBER.NOTFOUND") -> dict[str, Any]:
    """A number that nobody knows: an error inside a success."""
    return {
        "trackingNumberInfo": {"trackingNumber": number, "carrierCode": ""},
        "error": {"code": code, "message": "Tracking number cannot be found."},
    }


def track_result(parcel: Parcel, scans: Sequence[Scan] | None = None) -> dict[str, Any]:
    """A parcel as tracking shows it; one without scans has its latest status alone.

    `scans`: show these instead of all, as a callback does.
    """
    shown = parcel.scans if scans is None else scans
    shipment = parcel.shipment
    newest = shown[-1].step if shown else None
    created_at = shipment.confirmed_at or shipment.opened_at
    result: dict[str, Any] = {
        "trackingNumberInfo": {
            "trackingNumber": parcel.tracking_number,
            "trackingNumberUniqueId": f"2461{parcel.tracking_number[-6:]}"
            f"~{parcel.tracking_number}~FX",
            "carrierCode": "FDXG" if "GROUND" in shipment.order.service else "FDXE",
        },
        "latestStatusDetail": {
            "code": newest.event if newest else "OC",
            "derivedCode": newest.derived if newest else "IN",
            "description": newest.description if newest else "Shipment information sent to FedEx",
        },
        "scanEvents": [_scan(scan) for scan in reversed(shown)],
        "dateAndTimes": [
            {"type": "SHIP", "dateTime": _written(created_at, parcel.shipment.order.origin)}
        ],
        "packageDetails": {
            "count": str(len(shipment.parcels)),
            "sequenceNumber": str(parcel.sequence),
        },
        "additionalTrackingInfo": {
            "packageIdentifiers": [
                {"type": kind, "values": [value]} for kind, value in parcel.order.references
            ]
        },
        "serviceDetail": {"type": shipment.order.service},
    }
    signer = next((scan.step.received_by for scan in shown if scan.step.received_by), "")
    if signer:
        result["deliveryDetails"] = {"receivedByName": signer, "deliveryAttempts": "0"}
    if not shown:
        del result["scanEvents"]
    return result


def _scan(scan: Scan) -> dict[str, Any]:
    step, place = scan.step, scan.step.place
    shown: dict[str, Any] = {
        "date": _date(scan.happened_at, step),
        "eventType": step.event,
        "eventDescription": step.description,
        "exceptionCode": step.exception_code,
        "exceptionDescription": step.exception,
        "scanLocation": {
            "city": place.city,
            "stateOrProvinceCode": place.state,
            "postalCode": place.postal_code,
            "countryCode": place.country,
            "residential": False,
        },
        "locationId": f"{place.city[:3]}A",
        "derivedStatusCode": step.derived,
    }
    if step.delay:
        shown["delayDetail"] = {"type": step.delay, "status": "DELAYED"}
    return shown


def _date(at: datetime, step: Step) -> str:
    with_offset = _written(at, step.place)
    if step.written == DAY_ONLY:
        return f"{with_offset[:10]}T00:00:00"
    return with_offset[:19] if step.written == WITHOUT_OFFSET else with_offset


def _written(at: datetime, place: Any) -> str:
    """A time as the clock on the wall has it, with its offset."""
    minutes = place.offset_minutes
    local = at + timedelta(minutes=minutes)
    hours, rest = divmod(abs(minutes), 60)
    return f"{local:%Y-%m-%dT%H:%M:%S}{'-' if minutes < 0 else '+'}{hours:02d}:{rest:02d}"


def _piece(parcel: Parcel) -> dict[str, Any]:
    document = {
        "contentType": "LABEL",
        "docType": parcel.label_format,
        "copiesToPrint": 1,
        "encodedLabel": base64.b64encode(parcel.label).decode(),
    }
    return {
        "trackingNumber": parcel.tracking_number,
        "masterTrackingNumber": parcel.shipment.master_number,
        "packageSequenceNumber": parcel.sequence,
        "netChargeAmount": parcel.price,
        "currency": MONEY,
        "packageDocuments": [document],
    }
