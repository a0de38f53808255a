"""The simulated vendors' own books, reduced to what proofs ask of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

# The custom field in which the ERP holds the order's number; see the adapter's settings.
ORDER_FIELD: Final = "custbody_crossdock_order"
_LABEL_ENTRIES: Final = frozenset({"M", "MV"})


@dataclass(frozen=True, slots=True)
class ErpBooks:
    """What the ERP posted. Keys are external ids without their prefix: hub ids."""

    sales_orders: Mapping[str, Mapping[str, Any]]
    fulfillments: Mapping[str, Mapping[str, Any]]
    made: Mapping[str, int]
    orders_by_number: Mapping[str, int]

    @classmethod
    def read(cls, books: Mapping[str, Any], prefix: str) -> ErpBooks:
        """From GET /books. made: how often a record was created under a key, deleted included."""
        orders = _by_key(books["sales_orders"], prefix)
        fulfillments = _by_key(books["item_fulfillments"], prefix)
        made: Counter[str] = Counter()
        for part in ("sales_orders_by_external_id", "item_fulfillments_by_external_id"):
            for key, counts in books[part].items():
                made[key.removeprefix(prefix)] += counts["created"]
        numbers = Counter(
            str(record["fields"].get(ORDER_FIELD, "")) for record in books["sales_orders"]
        )
        return cls(orders, fulfillments, made, numbers)


@dataclass(frozen=True, slots=True)
class Parcel:
    """A label that the carrier sold. `scans`: entries about a real parcel, not about its label."""

    tracking_number: str
    references: tuple[str, ...]
    weight: str
    voided: bool
    delivered: bool
    scans: int


@dataclass(frozen=True, slots=True)
class CarrierBooks:
    """Every label sold, by tracking number, and numbers by the reference on the parcel."""

    parcels: Mapping[str, Parcel]
    by_reference: Mapping[str, tuple[str, ...]]

    @classmethod
    def read(cls, books: Mapping[str, Any]) -> CarrierBooks:
        """From GET /books."""
        parcels = [
            _parcel(parcel) for shipment in books["shipments"] for parcel in shipment["parcels"]
        ]
        by_reference: dict[str, tuple[str, ...]] = {}
        for parcel in parcels:
            for reference in parcel.references:
                found = by_reference.get(reference, ())
                by_reference[reference] = (*found, parcel.tracking_number)
        return cls({parcel.tracking_number: parcel for parcel in parcels}, by_reference)


@dataclass(frozen=True, slots=True)
class WarehouseBooks:
    """oLPNs by number, and oLPN numbers of every shipment that left, by shipment number."""

    olpns: Mapping[str, Mapping[str, Any]]
    shipped: Mapping[str, frozenset[str]]

    @classmethod
    def read(cls, books: Mapping[str, Any]) -> WarehouseBooks:
        """From GET /books."""
        return cls(
            {str(olpn["OlpnId"]): olpn for olpn in books["olpns"]},
            {str(each["ShipmentId"]): frozenset(each["OlpnIds"]) for each in books["shipments"]},
        )


@dataclass(frozen=True, slots=True)
class Call:
    """One call in a sandbox's own log."""

    operation: str
    key: str
    start: datetime
    end: datetime
    effect: bool
    fault: str

    @classmethod
    def read_all(cls, rows: Iterable[Mapping[str, Any]]) -> list[Call]:
        """From GET /calls; calls that still run are left out."""
        return [
            cls(
                str(row["operation"]),
                str(row["key"]),
                datetime.fromisoformat(row["start"]),
                datetime.fromisoformat(row["end"]),
                bool(row["effect"]),
                str(row["fault"]),
            )
            for row in rows
            if row["end"] is not None
        ]


def most_at_once(calls: Iterable[Call]) -> int:
    """The most calls that ran at one moment; one that ends as another begins does not count."""
    moments = [moment for call in calls for moment in ((call.start, 1), (call.end, -1))]
    running = most = 0
    for _, step in sorted(moments):
        running += step
        most = max(most, running)
    return most


def _by_key(records: Iterable[Mapping[str, Any]], prefix: str) -> dict[str, Mapping[str, Any]]:
    return {
        str(record["external_id"]).removeprefix(prefix): record
        for record in records
        if not record["deleted"]
    }


def _parcel(parcel: Mapping[str, Any]) -> Parcel:
    return Parcel(
        tracking_number=str(parcel["tracking_number"]),
        references=tuple(str(value) for _, value in parcel["references"]),
        weight=str(parcel["weight"]),
        voided=bool(parcel["voided"]),
        delivered=bool(parcel["delivered"]),
        scans=sum(scan["type"] not in _LABEL_ENTRIES for scan in parcel["scans"]),
    )
