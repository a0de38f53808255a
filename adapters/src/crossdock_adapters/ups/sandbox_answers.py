"""The simulated carrier's answers: ship, void, recovery, tracking and Track Alert payloads."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from .sandbox_books import Parcel, Scan, Shipment, place_json
from .sandbox_ship import ShipOrder

ARRAYS_SINCE_VERSION = 2403


def ship_reply(shipment: Shipment, version: str, negotiated: bool) -> dict[str, Any]:
    """The answer to a booking; lists of one become bare objects in versions before v2403."""
    order = shipment.order
    total = sum((parcel.price for parcel in shipment.parcels), Decimal(0))
    results: dict[str, Any] = {
        "Disclaimer": [],
        "ShipmentCharges": {
            "BaseServiceCharge": _usd(total),
            "TransportationCharges": _usd(total),
            "ServiceOptionsCharges": _usd(Decimal("0.00")),
            "TotalCharges": _usd(total),
        },
        "BillingWeight": _billing_weight(order),
        "ShipmentIdentificationNumber": shipment.shipment_id,
        "PackageResults": _listed(version, [_package_result(p) for p in shipment.parcels]),
    }
    if negotiated and order.wants_negotiated:
        charge = {"TotalCharge": _usd(order.negotiated_total())}
        results["NegotiatedRateCharges"] = charge
    return {
        "ShipmentResponse": {
            "Response": _response(order.context),
            "ShipmentResults": results,
        }
    }


def void_reply(results: dict[str, bool], version: str) -> dict[str, Any]:
    """The answer to a void: 1 for voided now or before, 0 for not voided."""
    packages = [
        {"TrackingNumber": number, "Status": _void_status(voided)}
        for number, voided in results.items()
    ]
    return {
        "VoidShipmentResponse": {
            "Response": _response(""),
            "SummaryResult": {"Status": _void_status(all(results.values()))},
            "PackageLevelResults": _listed(version, packages),
        }
    }


def recovery_reply(parcels: Sequence[Parcel], version: str, image_format: str) -> dict[str, Any]:
    """The images of labels bought before, in the format asked for."""
    labels = [
        {
            "TrackingNumber": parcel.tracking_number,
            "LabelImage": {
                "LabelImageFormat": {"Code": image_format},
                "GraphicImage": base64.b64encode(parcel.drawn(image_format)).decode(),
            },
        }
        for parcel in parcels
    ]
    return {
        "LabelRecoveryResponse": {
            "Response": _response(""),
            "ShipmentIdentificationNumber": parcels[0].shipment.shipment_id,
            "LabelResults": _listed(version, labels),
        }
    }


def recovery_candidates(parcels: Sequence[Parcel], version: str) -> dict[str, Any]:
    """The parcels that share a reference, without their labels: each is asked for by its number."""
    named = [{"TrackingNumber": parcel.tracking_number} for parcel in parcels]
    return {
        "LabelRecoveryResponse": {
            "Response": _response(""),
            "TrackingCandidate": _listed(version, named),
        }
    }


def track_reply(groups: Sequence[tuple[str, Sequence[Parcel]]]) -> dict[str, Any]:
    """Tracking details: one `shipment` entry for each inquiry number and its parcels."""
    shipments = [
        {
            "inquiryNumber": inquiry,
            "userRelation": ["SHIPPER"],
            "package": [_package(parcel) for parcel in parcels],
        }
        for inquiry, parcels in groups
    ]
    return {"trackResponse": {"shipment": shipments}}


def track_nothing(inquiry: str) -> dict[str, Any]:
    """The answer "not found" as a success that carries a warning."""
    warning = {"code": "TW0001", "message": "Tracking Information Not Found"}
    return {"trackResponse": {"shipment": [{"inquiryNumber": inquiry, "warnings": [warning]}]}}


def alert_payload(scan: Scan, scheduled: datetime) -> dict[str, Any]:
    """One Track Alert callback: flat, a dot in the offset, missing values as empty strings."""
    step, local = scan.step, _local(scan)
    gmt = scan.happened_at
    delivered = step.kind == "D"
    return {
        "trackingNumber": scan.tracking_number,
        "localActivityDate": f"{local:%Y%m%d}",
        "localActivityTime": f"{local:%H%M%S}",
        "activityLocation": place_json(step.place),
        "activityStatus": {
            "type": step.kind,
            "code": step.code,
            "description": step.description,
            "descriptionCode": step.status_code if step.shows_status_code else "",
        },
        "scheduledDeliveryDate": "" if delivered else f"{scheduled:%Y%m%d}",
        "actualDeliveryDate": f"{local:%Y%m%d}" if delivered else "",
        "actualDeliveryTime": f"{local:%H%M%S}" if delivered else "",
        "gmtActivityDate": f"{gmt:%Y%m%d}" if step.shows_gmt else "",
        "gmtActivityTime": f"{gmt:%H%M%S}" if step.shows_gmt else "",
        "gmtOffset": _offset(step.place.offset_minutes, ".") if step.shows_gmt else "",
        "deliveryStartTime": "",
        "deliveryEndTime": "",
        "deliveryTimeDescription": "",
        "deliveryPhoto": "",
        "receivedBy": step.received_by,
        "alternateTrackingNumber": "",
    }


def _package(parcel: Parcel) -> dict[str, Any]:
    order = parcel.shipment.order
    newest = parcel.scans[-1]
    scheduled = parcel.shipment.booked_at + timedelta(days=3)
    dates = [{"type": "SDD", "date": f"{scheduled:%Y%m%d}"}]
    package: dict[str, Any] = {
        "trackingNumber": parcel.tracking_number,
        "currentStatus": {
            "description": newest.step.description,
            # Real replies write the three-digit value here.
            "code": newest.step.status_code or newest.step.code,
        },
        "activity": [_activity(scan) for scan in reversed(parcel.scans)],
        "packageCount": len(parcel.shipment.parcels),
        "weight": {"unitOfMeasurement": parcel.unit, "weight": str(parcel.weight)},
        "service": {"code": "518", "levelCode": "011", "description": f"UPS {order.service}"},
        "referenceNumber": [
            {"type": code or "REF", "number": value}
            for code, value in (*order.references, *parcel.references)
        ],
    }
    if newest.step.kind == "D":
        local = _local(newest)
        dates = [{"type": "DEL", "date": f"{local:%Y%m%d}"}]
        package["deliveryTime"] = {"type": "DEL", "endTime": f"{local:%H%M%S}"}
        package["deliveryInformation"] = {
            "location": "Front Door",
            "receivedBy": newest.step.received_by,
        }
    package["deliveryDate"] = dates
    return package


def _activity(scan: Scan) -> dict[str, Any]:
    step, local = scan.step, _local(scan)
    status = {"type": step.kind, "description": step.description, "code": step.code}
    if step.shows_status_code:
        status["statusCode"] = step.status_code
    place = place_json(step.place)
    address = {key: value for key, value in place.items() if value}
    activity: dict[str, Any] = {
        "location": {"address": {**address, "countryCode": step.place.country}},
        "status": status,
        "date": f"{local:%Y%m%d}",
        "time": f"{local:%H%M%S}",
    }
    if step.shows_gmt:
        activity["gmtDate"] = f"{scan.happened_at:%Y%m%d}"
        # The vendor's own example drops the leading zero, and so do some replies.
        activity["gmtTime"] = f"{scan.happened_at:%H%M%S}".removeprefix("0")
        activity["gmtOffset"] = _offset(step.place.offset_minutes, ":")
    return activity


def _local(scan: Scan) -> datetime:
    return scan.happened_at + timedelta(minutes=scan.step.place.offset_minutes)


def _offset(minutes: int, separator: str) -> str:
    hours, rest = divmod(abs(minutes), 60)
    return f"{'-' if minutes < 0 else '+'}{hours:02d}{separator}{rest:02d}"


def _package_result(parcel: Parcel) -> dict[str, Any]:
    return {
        "TrackingNumber": parcel.tracking_number,
        "BaseServiceCharge": _usd(parcel.price),
        "ServiceOptionsCharges": _usd(Decimal("0.00")),
        "ShippingLabel": {
            "ImageFormat": {
                "Code": parcel.shipment.order.label_format,
                "Description": parcel.shipment.order.label_format,
            },
            "GraphicImage": base64.b64encode(parcel.label).decode(),
        },
    }


def _billing_weight(order: ShipOrder) -> dict[str, Any]:
    total = sum((package.weight for package in order.packages), Decimal(0))
    return {"UnitOfMeasurement": {"Code": order.packages[0].unit}, "Weight": str(total)}


def _response(context: str) -> dict[str, Any]:
    return {
        "ResponseStatus": {"Code": "1", "Description": "Success"},
        "TransactionReference": {"CustomerContext": context},
    }


def _void_status(voided: bool) -> dict[str, str]:
    if voided:
        return {"Code": "1", "Description": "Voided"}
    return {"Code": "0", "Description": "Not Voided"}


def _usd(amount: Decimal) -> dict[str, str]:
    return {"CurrencyCode": "USD", "MonetaryValue": f"{amount:.2f}"}


def _listed(version: str, entries: list[Any]) -> Any:
    if len(entries) == 1 and _version_number(version) < ARRAYS_SINCE_VERSION:
        return entries[0]
    return entries


def _version_number(version: str) -> int:
    digits = version.lstrip("v")
    return int(digits) if digits.isdigit() else 0
