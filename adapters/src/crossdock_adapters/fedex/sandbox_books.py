"""The simulated FedEx's own books: what is open, what was bought and cancelled, where parcels are.

Nothing here waits or does I/O, so every call is atomic; the caller passes the time in. The books
are what proofs compare with: two labels for one reference stay visible for ever.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any

from crossdock_adapters.sdk.sandbox_label_images import draw
from crossdock_adapters.sdk.sandbox_parcels import Agenda, Pace

from . import sandbox_journeys
from .sandbox_journeys import Odds, Step
from .sandbox_ship import FORMATS, PieceOrder, ShipOrder, VendorRefusal

PURGED_AFTER = timedelta(days=5)
FIRST_NUMBER = 790_000_000_000
FIRST_SERIAL_SPAN = 4_000_000


@dataclass(frozen=True, slots=True)
class Scan:
    """One thing that happened to a parcel."""

    tracking_number: str
    happened_at: datetime
    step: Step


@dataclass(slots=True)
class Parcel:
    """One package of an open or confirmed shipment. `label` is set by the confirmation."""

    tracking_number: str
    sequence: int
    shipment: Shipment
    order: PieceOrder
    price: Decimal
    label: bytes = b""
    label_format: str = ""
    scans: list[Scan] = field(default_factory=list)
    to_come: list[tuple[datetime, Step]] = field(default_factory=list)
    handed_over_at: datetime | None = None

    @property
    def delivered(self) -> bool:
        return any(scan.step.event == "DL" for scan in self.scans)


@dataclass(slots=True)
class Shipment:
    """A shipment under the index of its owner; bought once it is confirmed."""

    index: str
    order: ShipOrder
    requested: dict[str, Any]
    opened_at: datetime
    parcels: list[Parcel] = field(default_factory=list)
    confirmed_at: datetime | None = None
    cancelled_at: datetime | None = None

    @property
    def master_number(self) -> str:
        return self.parcels[0].tracking_number


class Books:
    """All shipments of the simulated carrier, in the order in which they were opened."""

    def __init__(self, seed: int, pace: Pace, odds: Odds) -> None:
        self._seed = seed
        self._pace = pace
        self._odds = odds
        self._serial = Random(f"{seed}:serial").randrange(FIRST_SERIAL_SPAN)
        self._shipments: list[Shipment] = []
        self._by_index: dict[str, Shipment] = {}
        self._parcels: dict[str, Parcel] = {}
        self._by_reference: dict[str, list[Parcel]] = defaultdict(list)
        self._agenda = Agenda()

    def open(
        self, index: str, order: ShipOrder, requested: dict[str, Any], now: datetime
    ) -> Shipment:
        """Keeps an open shipment under this index, in place of one that had it. Nothing is sold."""
        shipment = Shipment(index, order, requested, now)
        for sequence, piece in enumerate(order.pieces, start=1):
            self._serial += 1
            number = str(FIRST_NUMBER + self._serial)
            parcel = Parcel(number, sequence, shipment, piece, order.price(piece))
            shipment.parcels.append(parcel)
            self._parcels[number] = parcel
        self._shipments.append(shipment)
        self._by_index[index] = shipment
        return shipment

    def find(self, index: str, account: str, now: datetime) -> Shipment | None:
        """What the account has under an index; an open one is purged after five days."""
        shipment = self._by_index.get(index)
        if shipment is None or shipment.order.account != account:
            return None
        if shipment.confirmed_at is None and now - shipment.opened_at > PURGED_AFTER:
            return None
        return shipment

    def confirm(self, shipment: Shipment, image_type: str, now: datetime) -> None:
        """Sells the labels of an open shipment; one that is confirmed stays as it is."""
        if shipment.confirmed_at is not None:
            return
        shipment.confirmed_at = now
        order = shipment.order
        for parcel in shipment.parcels:
            drawn = FORMATS[image_type][0]
            number = parcel.tracking_number
            parcel.label = draw(drawn, "FedEx", number, order.ship_to_name, order.service)
            parcel.label_format = image_type
            for value in dict.fromkeys(value for _, value in parcel.order.references):
                self._by_reference[value].append(parcel)
            auto = self._pace.auto_handover_seconds
            if auto is not None:
                self._agenda.note(number, now + timedelta(seconds=auto))

    def cancel(self, number: str, account: str, now: datetime) -> Shipment | None:
        """Cancels the shipment of a number; None when it has moved and stays as it is.

        Raises VendorRefusal when there is none, or when it was cancelled before.
        """
        parcel = self._parcels.get(number)
        shipment = None if parcel is None else parcel.shipment
        if shipment is None or shipment.confirmed_at is None or shipment.order.account != account:
            raise VendorRefusal(400, "TRACKINGNUMBER.NOTFOUND", "The shipment was not found.")
        if shipment.cancelled_at is not None:
            raise VendorRefusal(
                400, "SHIPMENT.ALREADY.CANCELLED", "The shipment was cancelled before."
            )
        if any(each.handed_over_at is not None for each in shipment.parcels):
            return None
        shipment.cancelled_at = now
        for each in shipment.parcels:
            self._record(each, now, sandbox_journeys.cancelled_step(shipment.order.origin))
        return shipment

    def tracked(self, number: str, now: datetime) -> Parcel | None:
        """The parcel of a number, as soon as tracking knows it."""
        parcel = self._parcels.get(number)
        return parcel if parcel is not None and self._visible(parcel, now) else None

    def tracked_by(self, reference: str, account: str, now: datetime) -> list[Parcel]:
        """The parcels with this reference that tracking knows."""
        return [
            parcel
            for parcel in self._by_reference.get(reference, [])
            if parcel.shipment.order.account == account and self._visible(parcel, now)
        ]

    def hand_over(self, numbers: Iterable[str], now: datetime) -> int:
        """Gives parcels to the driver: their journey begins now. Returns how many started."""
        started = 0
        for number in numbers:
            parcel = self._parcels.get(number)
            if parcel is None or not self._waits(parcel):
                continue
            self._start(parcel, now)
            started += 1
        return started

    def waiting(self) -> list[str]:
        """Tracking numbers of labels whose parcel has not been handed over, oldest first."""
        return [number for number, parcel in self._parcels.items() if self._waits(parcel)]

    def advance(self, now: datetime) -> list[Scan]:
        """Hands over what is due and writes every scan that is due, in order of time."""
        written: list[Scan] = []
        for at, number in self._agenda.due(now):
            parcel = self._parcels[number]
            if parcel.handed_over_at is None:
                if self._waits(parcel):
                    self._start(parcel, at)
                continue
            if parcel.to_come and parcel.to_come[0][0] <= at:
                written.append(self._record(parcel, *parcel.to_come.pop(0)))
            if parcel.to_come:
                self._agenda.note(number, parcel.to_come[0][0])
        return written

    def insert(self, number: str, step: Step, now: datetime) -> Scan:
        """Writes a scan that was in no script, such as a status nobody documented."""
        return self._record(self._parcels[number], now, step)

    def parcel(self, number: str) -> Parcel:
        """The parcel of a number. KeyError: there is none."""
        return self._parcels[number]

    def as_json(self) -> dict[str, Any]:
        """Everything the carrier knows, for proofs: shipments, and labels per reference."""
        sold = [p for p in self._parcels.values() if p.shipment.confirmed_at is not None]
        return {
            "shipments_opened": len(self._shipments),
            "shipments_confirmed": sum(s.confirmed_at is not None for s in self._shipments),
            "shipments_cancelled": sum(s.cancelled_at is not None for s in self._shipments),
            "labels_sold": len(sold),
            "labels_valid": sum(p.shipment.cancelled_at is None for p in sold),
            "delivered": sum(parcel.delivered for parcel in sold),
            "shipments": [_shipment_json(shipment) for shipment in self._shipments],
            "labels_by_reference": {
                value: {
                    "bought": len(parcels),
                    "valid": sum(p.shipment.cancelled_at is None for p in parcels),
                    "tracking_numbers": [parcel.tracking_number for parcel in parcels],
                }
                for value, parcels in self._by_reference.items()
            },
        }

    def _visible(self, parcel: Parcel, now: datetime) -> bool:
        confirmed_at = parcel.shipment.confirmed_at
        after = timedelta(seconds=self._pace.visible_after_seconds)
        return confirmed_at is not None and confirmed_at + after <= now

    def _waits(self, parcel: Parcel) -> bool:
        shipment = parcel.shipment
        bought = shipment.confirmed_at is not None and shipment.cancelled_at is None
        return bought and parcel.handed_over_at is None

    def _start(self, parcel: Parcel, at: datetime) -> None:
        order = parcel.shipment.order
        random = Random(f"{self._seed}:{parcel.tracking_number}")
        moment = at
        for step in sandbox_journeys.plan(random, order.origin, order.destination, self._odds):
            parcel.to_come.append((moment, step))
            pause = self._pace.scan_interval_seconds * (0.5 + random.random())
            moment += timedelta(seconds=pause)
        parcel.handed_over_at = at
        self._agenda.note(parcel.tracking_number, at)

    def _record(self, parcel: Parcel, at: datetime, step: Step) -> Scan:
        scan = Scan(parcel.tracking_number, at, step)
        parcel.scans.append(scan)
        return scan


def _shipment_json(shipment: Shipment) -> dict[str, Any]:
    return {
        "index": shipment.index,
        "account": shipment.order.account,
        "service": shipment.order.service,
        "comes_back": shipment.order.comes_back,
        "opened_at": shipment.opened_at,
        "confirmed_at": shipment.confirmed_at,
        "cancelled": shipment.cancelled_at is not None,
        "parcels": [
            {
                "tracking_number": parcel.tracking_number,
                "references": [list(pair) for pair in parcel.order.references],
                "pounds": str(parcel.order.weight),
                "price": str(parcel.price),
                "label_bytes": len(parcel.label),
                "delivered": parcel.delivered,
                "scans": [
                    {"at": scan.happened_at, "event": scan.step.event} for scan in parcel.scans
                ],
            }
            for parcel in shipment.parcels
        ],
    }
