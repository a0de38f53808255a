"""What the warehouse calls things: paths, fields and message types, all replaceable, and its units.

The product's schemas are not public and every project extends them, so nothing here is certain.
Letters say how a name is known: P seen in customers' public code, K general knowledge, ? a guess
in the platform's style that a project has to confirm. A deployment overrides single names with
the settings `paths`, `fields`, `message_types` and `units`. Units are rows of the mapping service,
with `mappings.toml` as defaults; what the setting says goes before them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from crossdock_adapters.sdk.mappings import Code, Mappings, Topic, file_of
from crossdock_adapters.sdk.places import pointer
from crossdock_adapters.sdk.settings import Settings, SettingsError

PICK, PACK, SHIP = "pick", "pack", "ship"

PATHS = {
    "original_order_save": "/dcorder/api/dcorder/originalOrder/save",  # P
    "original_order_search": "/dcorder/api/dcorder/originalOrder/search",  # P
    "olpn_save": "/pickpack/api/pickpack/olpn/save",  # P
    "facility_search": "/facility/api/facility/facility/search",  # P
    "item_bulk_import": "/item-master/api/item-master/item/bulkImport",  # P
}

FIELDS = {
    # Original order, out.
    "order.id": "OriginalOrderId",  # P
    "order.facility": "OriginFacilityId",  # P
    "order.type": "OrderType",  # P
    "order.carrier": "DesignatedCarrierId",  # ?
    "order.service": "DesignatedServiceLevelId",  # ?
    "order.earliest_ship": "EarliestShipDateTime",  # ?
    "order.latest_ship": "LatestShipDateTime",  # ?
    "order.instructions": "SpecialInstructions",  # ?
    "order.cancelled": "IsCancelled",  # ?
    "order.host_id": "Extended.HostRequestId",  # ? extension, agreed in the project
    "order.host_order": "Extended.HostOrderNumber",  # ? extension
    "order.maximum_status": "MaximumStatus",  # P
    "order.lines": "OriginalOrderLine",  # P
    "line.id": "OriginalOrderLineId",  # P
    "line.item": "ItemId",  # P
    "line.quantity": "OrderedQuantity",  # P
    "line.unit": "QuantityUomId",  # K
    # Ship-to address block, out.
    "address.name": "DestinationAddress.Name",  # ?
    "address.company": "DestinationAddress.Company",  # ?
    "address.line1": "DestinationAddress.Address1",  # K
    "address.line2": "DestinationAddress.Address2",  # K
    "address.line3": "DestinationAddress.Address3",  # K
    "address.city": "DestinationAddress.City",  # K
    "address.state": "DestinationAddress.State",  # K
    "address.postal_code": "DestinationAddress.PostalCode",  # K
    "address.country": "DestinationAddress.Country",  # K
    "address.phone": "DestinationAddress.Phone",  # K
    "address.email": "DestinationAddress.Email",  # K
    # oLPN, out.
    "olpn.id": "OlpnId",  # P
    "olpn.tracking_number": "TrackingNumber",  # P
    "olpn.label": "Extended.ShippingLabel",  # ? extension
    "olpn.label_format": "Extended.ShippingLabelFormat",  # ? extension
    # Item, out.
    "item.id": "ItemId",  # P
    "item.description": "Description",  # K
    "item.base_unit": "BaseUomId",  # ?
    "item.lots": "TrackBatchNumber",  # ?
    "item.serials": "TrackSerialNumber",  # ?
    "item.packages": "ItemPackage",  # ?
    "item.weight": "Weight",  # K
    "item.weight_unit": "WeightUomId",  # K
    "item.length": "Length",  # K
    "item.width": "Width",  # K
    "item.height": "Height",  # K
    "item.dimension_unit": "DimensionUomId",  # K
    # Facility, in.
    "facility.id": "FacilityId",  # P
    "facility.time_zone": "TimeZone",  # ?
    # Messages, in.
    "message.type": "MessageType",  # P
    "message.facility": "FacilityId",  # P
    "message.sequence": "TransactionSequence",  # ?
    "message.time": "TransactionDateTime",  # ?
    "message.orders": "Order",  # ?
    "message.shipments": "Shipment",  # ?
    "message.order_id": "OrderId",  # P
    "message.original_order_id": "OriginalOrderId",  # P
    "message.host_id": "Extended.HostRequestId",  # ? extension, echoed
    "message.lines": "OrderLine",  # ?
    "message.line_id": "OriginalOrderLineId",  # P
    "message.item": "ItemId",  # P
    "message.unit": "QuantityUomId",  # K
    "message.picked": "PickedQuantity",  # ?
    "message.short": "ShortQuantity",  # ?
    "message.short_reason": "ShortReasonCode",  # ?
    "message.shipment_id": "ShipmentId",  # K
    "message.bill_of_lading": "BillOfLadingNumber",  # K
    "message.ship_time": "ShipDateTime",  # ?
    "message.shipment_orders": "Order",  # ?
    "message.shipped": "ShippedQuantity",  # ?
    "message.not_to_ship": "CancelledQuantity",  # ?
    "message.olpns": "Olpn",  # ?
    "message.olpn_id": "OlpnId",  # P
    "message.olpn_type": "ContainerTypeId",  # ?
    "message.olpn_contents": "OlpnDetail",  # ?
    "message.content_quantity": "Quantity",  # ?
    "message.lot": "BatchNumber",  # P
    "message.serials": "SerialNumber",  # ?
    "message.weight": "Weight",  # K
    "message.weight_unit": "WeightUomId",  # K
    "message.length": "Length",  # K
    "message.width": "Width",  # K
    "message.height": "Height",  # K
    "message.dimension_unit": "DimensionUomId",  # K
}

MESSAGE_TYPES = {PICK: "PickConfirmed", PACK: "PackConfirmed", SHIP: "ShipConfirmed"}  # ?


@dataclass(frozen=True, slots=True)
class Names:
    """The names of one deployment. `units` is the setting, `mappings` has the rows of now."""

    paths: Mapping[str, str]
    fields: Mapping[str, str]
    message_types: Mapping[str, str]
    units: Mapping[str, str]
    mappings: Mappings

    def unit_in(self, word: str) -> str | None:
        """The UN/ECE Recommendation 20 code of a unit of the warehouse's; None: it has no row."""
        found = self.mappings.first(Topic.UNIT, [Code("", word)])
        return self.units.get(word) or (None if found is None else found[1].canonical)

    def unit_out(self, code: str) -> str | None:
        """The warehouse's word for a unit; of several in the setting the last one."""
        own = {ours: word for word, ours in self.units.items()}
        return own.get(code) or self.mappings.natives(Topic.UNIT).get(code)

    def carriers_out(self, code: str) -> list[str]:
        """What the warehouse calls a carrier: the preferred code, else each that the deployment
        gave it; without a row what the contract calls it."""
        preferred = self.mappings.natives(Topic.CARRIER_CODE).get(code)
        if preferred:
            return [preferred]
        given = sorted(
            row.code.code
            for row in self.mappings.told().values()
            if (row.topic, row.code.type) == (Topic.CARRIER_CODE, "")
            and row.by_deployment
            and row.meaning.canonical == code
        )
        return given or [code]

    def put(self, record: dict[str, Any], name: str, value: Any) -> None:
        """Set a field by our name; dots in the vendor's name make nested objects."""
        *parents, last = self.fields[name].split(".")
        for parent in parents:
            record = record.setdefault(parent, {})
        record[last] = value

    def place(self, name: str) -> str:
        """Where a field stands in its record, as a JSON pointer; by our name."""
        return pointer(*self.fields[name].split("."))

    def get(self, record: Mapping[str, Any], name: str) -> Any:
        """A field by our name; None when it or a parent is missing."""
        value: Any = record
        for part in self.fields[name].split("."):
            if not isinstance(value, Mapping):
                return None
            value = value.get(part)
        return value


def names(
    *,
    paths: Mapping[str, str] | None = None,
    fields: Mapping[str, str] | None = None,
    message_types: Mapping[str, str] | None = None,
    units: Mapping[str, str] | None = None,
    mappings: Mappings | None = None,
) -> Names:
    """The defaults with single names replaced. SettingsError when an override names nothing."""
    return Names(
        _replaced("paths", PATHS, paths),
        _replaced("fields", FIELDS, fields),
        _replaced("message_types", MESSAGE_TYPES, message_types),
        units or {},
        mappings or Mappings(file_of(__package__ or "")),
    )


def names_from(settings: Settings, mappings: Mappings | None = None) -> Names:
    """The names a deployment's settings ask for; mappings: its rows, left out: the defaults."""
    return names(
        paths=settings.mapping("paths"),
        fields=settings.mapping("fields"),
        message_types=settings.mapping("message_types"),
        units=settings.mapping("units"),
        mappings=mappings,
    )


def _replaced(
    setting: str, defaults: Mapping[str, str], given: Mapping[str, str] | None
) -> dict[str, str]:
    unknown = sorted(set(given or {}) - set(defaults))
    if unknown:
        raise SettingsError(f"{setting}: {', '.join(unknown)} can't be replaced: not a known name")
    return {**defaults, **(given or {})}
