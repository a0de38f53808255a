"""The messages the simulated warehouse sends its host: pick, pack and ship confirms."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from .sandbox_records import Facility, Olpn, Order, OriginalOrder, Shipment

PICK = "PickConfirmed"
PACK = "PackConfirmed"
SHIP = "ShipConfirmed"
UNKNOWN = "OlpnAuditEvent"


def header(
    message_type: str, original: OriginalOrder, facility: Facility, sequence: int, at: datetime
) -> dict[str, Any]:
    """The context every message carries; its time is local to the facility, without offset."""
    return {
        "MessageType": message_type,
        "OrgId": original.organization,
        "FacilityId": facility.id,
        "UserId": "wm-outbound",
        "TransactionSequence": sequence,
        "TransactionDateTime": facility.local(at),
    }


def pick_confirmed(original: OriginalOrder, order: Order) -> dict[str, Any]:
    """Picked and short quantities of every line."""
    lines = []
    for line in order.lines:
        entry: dict[str, Any] = {
            "OriginalOrderLineId": line.id,
            "ItemId": line.item_id,
            "OrderedQuantity": plain(line.ordered),
            "PickedQuantity": plain(line.picked),
            "ShortQuantity": plain(line.short),
            "QuantityUomId": line.unit,
        }
        if line.short:
            entry["ShortReasonCode"] = "NOT_FOUND"
        lines.append(entry)
    return {"Order": [{**_order_keys(original, order), "OrderLine": lines}]}


def pack_confirmed(original: OriginalOrder, order: Order, facility: Facility) -> dict[str, Any]:
    """Every oLPN with contents by original line, actual weight and outer dimensions."""
    units = {line.id: line.unit for line in order.lines}
    return {
        "Order": [
            {
                **_order_keys(original, order),
                "ShipmentId": order.shipment_id,
                "Olpn": [_olpn(olpn, facility, units) for olpn in order.olpns],
            }
        ]
    }


def ship_confirmed(original: OriginalOrder, order: Order, shipment: Shipment) -> dict[str, Any]:
    """Carrier, tracking per oLPN that left, local ship time, shipped against ordered per line."""
    return {
        "Shipment": [
            {
                "ShipmentId": shipment.id,
                "BillOfLadingNumber": shipment.bill_of_lading,
                "CarrierId": original.content.get("DesignatedCarrierId", ""),
                "ServiceLevelId": original.content.get("DesignatedServiceLevelId", ""),
                "ShipDateTime": shipment.ship_local,
                "Order": [
                    {
                        **_order_keys(original, order),
                        "Olpn": [
                            {"OlpnId": olpn.id, "TrackingNumber": olpn.tracking_number}
                            for olpn in order.olpns
                            if olpn.id in shipment.olpn_ids
                        ],
                        "OrderLine": [
                            {
                                "OriginalOrderLineId": line.id,
                                "ItemId": line.item_id,
                                "OrderedQuantity": plain(line.ordered),
                                "ShippedQuantity": plain(shipment.shipped[line.id]),
                                "CancelledQuantity": plain(shipment.cancelled[line.id]),
                                "QuantityUomId": line.unit,
                            }
                            for line in order.lines
                        ],
                    }
                ],
            }
        ]
    }


def olpn_json(olpn: Olpn, facility: Facility) -> dict[str, Any]:
    """An oLPN as a search answers it."""
    return {
        **_olpn(olpn, facility, {}),
        "OrderId": olpn.order_id,
        "OriginalOrderId": olpn.original_order_id,
        "ShipmentId": olpn.shipment_id,
        "Status": str(olpn.status),
        "TrackingNumber": olpn.tracking_number or None,
    }


def plain(value: Decimal) -> Decimal:
    """Without trailing zeros, as a host would write it."""
    normal = value.normalize()
    return normal.quantize(Decimal(1)) if normal == normal.to_integral() else normal


def _order_keys(original: OriginalOrder, order: Order) -> dict[str, Any]:
    return {
        "OrderId": order.id,
        "OriginalOrderId": original.id,
        "Extended": original.content.get("Extended", {}),
    }


def _olpn(olpn: Olpn, facility: Facility, units: Mapping[str, str]) -> dict[str, Any]:
    details = []
    for number, content in enumerate(olpn.carton.contents, start=1):
        detail: dict[str, Any] = {
            "OlpnDetailId": f"{olpn.id}-{number}",
            "OriginalOrderLineId": content.line_id,
            "ItemId": content.item_id,
            "Quantity": plain(content.quantity),
            "QuantityUomId": units.get(content.line_id, "UNIT"),
        }
        if content.line_id in olpn.lots:
            detail["BatchNumber"] = olpn.lots[content.line_id]
        if content.line_id in olpn.serials:
            detail["SerialNumber"] = olpn.serials[content.line_id]
        details.append(detail)
    carton = olpn.carton
    return {
        "OlpnId": olpn.id,
        "ContainerTypeId": carton.type_id,
        "Status": str(olpn.status),
        "Weight": olpn.weight,
        "WeightUomId": facility.weight_unit,
        "Length": facility.length(carton.length),
        "Width": facility.length(carton.width),
        "Height": facility.length(carton.height),
        "DimensionUomId": facility.length_unit,
        "OlpnDetail": details,
    }
