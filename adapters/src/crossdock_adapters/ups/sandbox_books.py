"""The simulated carrier's own books: what it sold, what it voided, where each parcel is.

Nothing here waits or does I/O, so every call is atomic; the caller passes the time in. The books
are what proofs compare with: two labels for one reference stay visible for ever.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any

from crossdock_adapters.sdk.sandbox_label_images import draw
from crossdock_adapters.sdk.sandbox_parcels import Agenda, Pace, Place

from . import sandbox_journeys, tracking_number
from .sandbox_journeys import Odds, Step
from .sandbox_ship import FORMATS, RECOVERY_FORMATS, ShipOrder, VendorRefusal

FIRST_SERIAL_SPAN = 4_000_000


@dataclass(frozen=True, slots=True)
class Scan:
    """One thing that happened to a parcel; `sequence` counts from 0 (its label)."""

    tracking_number: str
    sequence: int
    happened_at: datetime
    step: Step


@dataclass(slots=True)
class Parcel:
    """One label sold, whether or not a parcel ever follows."""

    tracking_number: str
    shipment: Shipment
    weight: Decimal
    unit: str
    price: Decimal
    references: tuple[tuple[str, str], ...]
    label: bytes
    scans: list[Scan] = field(default_factory=list)
    to_come: list[tuple[datetime, Step]] = field(default_factory=list)
    voided_at: datetime | None = None
    handed_over_at: datetime | None = None

    @property
    def delivered(self) -> bool:
        return any(scan.step.kind == "D" for scan in self.scans)

    @property
    def physical_scans(self) -> int:
        """Scans of a real parcel, without label and void entries."""
        return sum(scan.step.kind not in ("M", "MV") for scan in self.scans)

    def drawn(self, image_format: str) -> bytes:
        """The label in one of the formats of recovery, whichever was ordered."""
        order, number = self.shipment.order, self.tracking_number
        drawn = RECOVERY_FORMATS[image_format]
        return draw(drawn, "UPS", number, order.ship_to_name, order.service)


@dataclass(slots=True)
class Shipment:
    """One ship call that was booked; its id is the number of its first parcel."""

    shipment_id: str
    order: ShipOrder
    booked_at: datetime
    parcels: list[Parcel] = field(default_factory=list)

    def reference_values(self) -> tuple[str, ...]:
        """Each reference value of the shipment and of its parcels, in the order of the request."""
        pairs = [*self.order.references]
        for parcel in self.parcels:
            pairs += parcel.references
        return tuple(dict.fromkeys(value for _, value in pairs))


class Books:
    """All shipments of the simulated carrier, in order of booking."""

    def __init__(self, seed: int, pace: Pace, odds: Odds) -> None:
        self._seed = seed
        self._pace = pace
        self._odds = odds
        self._serial = Random(f"{seed}:serial").randrange(FIRST_SERIAL_SPAN)
        self._shipments: dict[str, Shipment] = {}
        self._parcels: dict[str, Parcel] = {}
        self._by_reference: dict[str, list[Shipment]] = defaultdict(list)
        self._agenda = Agenda()

    def book(self, order: ShipOrder, now: datetime) -> Shipment:
        """Sells labels. The same order again sells new labels: nothing here is idempotent."""
        shipment: Shipment | None = None
        for package in order.packages:
            self._serial += 1
            number = tracking_number.build(order.account, order.service, self._serial)
            if shipment is None:
                shipment = Shipment(number, order, now)
            drawn = FORMATS[order.label_format]
            label = draw(drawn, "UPS", number, order.ship_to_name, order.service)
            parcel = Parcel(
                tracking_number=number,
                shipment=shipment,
                weight=package.weight,
                unit=package.unit,
                price=order.price(package),
                references=package.references,
                label=label,
            )
            parcel.scans.append(Scan(number, 0, now, sandbox_journeys.label_step(order.origin)))
            shipment.parcels.append(parcel)
            self._parcels[number] = parcel
            auto = self._pace.auto_handover_seconds
            if auto is not None:
                self._agenda.note(number, now + timedelta(seconds=auto))
        assert shipment is not None, "an order that passed its checks has a package"
        self._shipments[shipment.shipment_id] = shipment
        for value in shipment.reference_values():
            self._by_reference[value].append(shipment)
        return shipment

    def by_reference(self, value: str, account: str, now: datetime) -> list[Shipment]:
        """Shipments with this reference that can be seen by now, oldest first."""
        visible = timedelta(seconds=self._pace.visible_after_seconds)
        return [
            shipment
            for shipment in self._by_reference.get(value, [])
            if shipment.order.account == account and shipment.booked_at + visible <= now
        ]

    def parcel(self, number: str) -> Parcel | None:
        """The parcel with this tracking number."""
        return self._parcels.get(number)

    def void(self, shipment_id: str, numbers: Sequence[str], now: datetime) -> dict[str, bool]:
        """Voids a shipment, or only some of its parcels: number -> voided (now or before).

        Raises VendorRefusal when nothing of it exists, or when everything asked for has moved.
        """
        shipment = self._shipments.get(shipment_id)
        if shipment is None:
            raise VendorRefusal(404, "190102", "No shipment found within the allowed void period")
        own = {parcel.tracking_number: parcel for parcel in shipment.parcels}
        wanted = list(numbers) or list(own)
        foreign = [number for number in wanted if number not in own]
        if foreign:
            raise VendorRefusal(400, "190104", "A tracking number is not part of the shipment")
        results = {number: self._void_parcel(own[number], now) for number in wanted}
        if not any(results.values()):
            raise VendorRefusal(400, "190117", "The shipment has been picked up, no void possible")
        return results

    def _void_parcel(self, parcel: Parcel, now: datetime) -> bool:
        if parcel.voided_at is not None:
            return True
        if parcel.physical_scans:
            return False
        parcel.voided_at = now
        parcel.to_come.clear()
        self._record(parcel, now, sandbox_journeys.void_step(parcel.shipment.order.origin))
        return True

    def hand_over(self, numbers: Iterable[str], now: datetime, even_voided: bool = False) -> int:
        """Gives parcels to the driver: their journey begins now. Returns how many started."""
        started = 0
        for number in numbers:
            parcel = self._parcels.get(number)
            if parcel is None or parcel.handed_over_at is not None:
                continue
            if parcel.voided_at is not None and not even_voided:
                continue
            self._start(parcel, now)
            started += 1
        return started

    def waiting(self) -> list[str]:
        """Tracking numbers of labels whose parcel has not been handed over, oldest first."""
        return [
            number
            for number, parcel in self._parcels.items()
            if parcel.handed_over_at is None and parcel.voided_at is None
        ]

    def advance(self, now: datetime) -> list[Scan]:
        """Hands over what is due and writes every scan that is due, in order of time."""
        written: list[Scan] = []
        for at, number in self._agenda.due(now):
            parcel = self._parcels[number]
            if parcel.handed_over_at is None:
                if parcel.voided_at is None:
                    self._start(parcel, at)
                continue
            if parcel.to_come and parcel.to_come[0][0] <= at:
                happened_at, step = parcel.to_come.pop(0)
                written.append(self._record(parcel, happened_at, step))
            if parcel.to_come:
                self._agenda.note(number, parcel.to_come[0][0])
        return written

    def insert(self, parcel: Parcel, step: Step, now: datetime) -> Scan:
        """Writes a scan that was in no script, such as a status nobody documented."""
        return self._record(parcel, now, step)

    def as_json(self) -> dict[str, Any]:
        """Everything the carrier knows, for proofs: shipments, parcels, labels per reference."""
        shipments = [_shipment_json(shipment) for shipment in self._shipments.values()]
        references = {
            value: {
                "bought": len(found),
                "valid": sum(parcel.voided_at is None for parcel in parcels),
                "tracking_numbers": [parcel.tracking_number for parcel in parcels],
            }
            for value, found in self._by_reference.items()
            if (parcels := [parcel for shipment in found for parcel in shipment.parcels])
        }
        return {
            "labels_sold": len(self._parcels),
            "labels_valid": sum(p.voided_at is None for p in self._parcels.values()),
            "delivered": sum(p.delivered for p in self._parcels.values()),
            "shipments": shipments,
            "labels_by_reference": references,
        }

    def _start(self, parcel: Parcel, at: datetime) -> None:
        order = parcel.shipment.order
        random = Random(f"{self._seed}:{parcel.tracking_number}")
        steps = sandbox_journeys.plan(random, order.origin, order.destination, self._odds)
        moment = at
        for step in steps:
            parcel.to_come.append((moment, step))
            pause = self._pace.scan_interval_seconds * (0.5 + random.random())
            moment += timedelta(seconds=pause)
        parcel.handed_over_at = at
        self._agenda.note(parcel.tracking_number, at)

    def _record(self, parcel: Parcel, at: datetime, step: Step) -> Scan:
        scan = Scan(parcel.tracking_number, len(parcel.scans), at, step)
        parcel.scans.append(scan)
        return scan


def _shipment_json(shipment: Shipment) -> dict[str, Any]:
    order = shipment.order
    return {
        "shipment_id": shipment.shipment_id,
        "account": order.account,
        "service": order.service,
        "context": order.context,
        "comes_back": order.comes_back,
        "booked_at": shipment.booked_at,
        "references": [list(pair) for pair in order.references],
        "parcels": [_parcel_json(parcel) for parcel in shipment.parcels],
    }


def _parcel_json(parcel: Parcel) -> dict[str, Any]:
    return {
        "tracking_number": parcel.tracking_number,
        "references": [list(pair) for pair in parcel.references],
        "weight": str(parcel.weight),
        "unit": parcel.unit,
        "price": str(parcel.price),
        "label_format": parcel.shipment.order.label_format,
        "label_bytes": len(parcel.label),
        "voided": parcel.voided_at is not None,
        "handed_over_at": parcel.handed_over_at,
        "delivered": parcel.delivered,
        "scans": [_scan_json(scan) for scan in parcel.scans],
    }


def _scan_json(scan: Scan) -> dict[str, Any]:
    step = scan.step
    return {
        "at": scan.happened_at,
        "type": step.kind,
        "code": step.code,
        "status_code": step.status_code,
        "city": step.place.city,
        "received_by": step.received_by,
    }


def place_json(place: Place) -> dict[str, str]:
    """A place in the words of the carrier's payloads."""
    return {
        "city": place.city,
        "stateProvince": place.state,
        "postalCode": place.postal_code,
        "country": place.country,
    }
