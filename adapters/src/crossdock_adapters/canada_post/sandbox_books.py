"""The simulated Canada Post's own books: shipments, groups, manifests, refunds, scans.

Nothing here waits or does I/O, so every call is atomic; the caller passes the time in. The books
are what proofs compare with: two shipments of one request id stay visible for ever.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from typing import Any

from crossdock_adapters.sdk.sandbox_parcels import Agenda, Pace

from . import sandbox_journeys
from .sandbox_documents import ShipOrder, VendorRefusal
from .sandbox_journeys import Odds, Step

CREATED, TRANSMITTED = "created", "transmitted"
FIRST_NUMBER = 7_023_210_000_000_000


@dataclass(slots=True)
class Parcel:
    """One shipment: one parcel. `voided_at`, `refund_ticket`, `manifest` say what became of it."""

    shipment_id: str
    pin: str
    order: ShipOrder
    created_at: datetime
    status: str
    voided_at: datetime | None = None
    refund_ticket: str = ""
    manifest: str = ""
    handed_over_at: datetime | None = None
    scans: list[tuple[datetime, Step]] = field(default_factory=list)
    to_come: list[tuple[datetime, Step]] = field(default_factory=list)
    asked: int = 0

    @property
    def valid(self) -> bool:
        """Whether its label may be used: neither voided nor to be refunded."""
        return self.voided_at is None and not self.refund_ticket

    @property
    def delivered(self) -> bool:
        return any(step.delivers for _, step in self.scans)


class Books:
    """Everything the simulated Canada Post knows, in order of creation."""

    def __init__(
        self, seed: int, pace: Pace, odds: Odds, label_ready_after_seconds: float = 0.0
    ) -> None:
        self._seed = seed
        self._label_ready_after = timedelta(seconds=label_ready_after_seconds)
        self._pace = pace
        self._odds = odds
        self._parcels: dict[str, Parcel] = {}
        self._by_pin: dict[str, Parcel] = {}
        self._manifests: dict[str, list[str]] = {}
        self._made: set[str] = set()
        self._refunds = 0
        # What to look at when: (time, tie-breaker, shipment id).
        self._agenda = Agenda()

    def create(self, order: ShipOrder, now: datetime) -> Parcel:
        """Makes a shipment. The same request again makes another: nothing here is idempotent."""
        number = FIRST_NUMBER + 97 * len(self._parcels) + self._seed % 97
        shipment_id = f"{Random(f'{self._seed}:{number}').randrange(10**17, 10**18)}"
        status = CREATED if order.group else TRANSMITTED
        parcel = Parcel(shipment_id, str(number), order, now, status)
        self._parcels[shipment_id] = parcel
        self._by_pin[parcel.pin] = parcel
        if self._pace.auto_handover_seconds is not None:
            later = timedelta(seconds=self._pace.auto_handover_seconds)
            self._agenda.note(shipment_id, now + later)
        return parcel

    def shipment(self, shipment_id: str) -> Parcel:
        """A shipment that is there; one that was voided is not."""
        parcel = self._parcels.get(shipment_id)
        if parcel is None or parcel.voided_at is not None:
            raise VendorRefusal(404)
        return parcel

    def label_ready(self, parcel: Parcel, now: datetime) -> bool:
        return parcel.created_at + self._label_ready_after <= now

    def by_pin(self, pin: str) -> Parcel | None:
        """The parcel of a tracking number, voided or not."""
        return self._by_pin.get(pin)

    def search(
        self, now: datetime, *, request_id: str = "", pin: str = "", group: str = ""
    ) -> list[Parcel]:
        """Shipments that can be seen by now and are not void, oldest first."""
        visible = timedelta(seconds=self._pace.visible_after_seconds)
        return [
            parcel
            for parcel in self._parcels.values()
            if parcel.voided_at is None
            and parcel.created_at + visible <= now
            and (not request_id or parcel.order.request_id == request_id)
            and (not pin or parcel.pin == pin)
            and (not group or (parcel.order.group == group and parcel.status == CREATED))
        ]

    def groups(self) -> list[str]:
        """Groups that wait for their manifest."""
        return sorted({p.order.group for p in self._parcels.values() if p.status == CREATED})

    def void(self, shipment_id: str, now: datetime) -> None:
        """Voids a shipment that was not transmitted."""
        parcel = self.shipment(shipment_id)
        if parcel.status != CREATED:
            raise VendorRefusal(
                400, "8064", "A shipment can only be void if it is in a PROCESSED or PRINTED state."
            )
        parcel.voided_at = now
        parcel.to_come.clear()

    def refund(self, shipment_id: str) -> str:
        """Takes a request for the price of a transmitted shipment; the service ticket's number."""
        parcel = self.shipment(shipment_id)
        if parcel.status != TRANSMITTED:
            raise VendorRefusal(400, "7291", "The shipment has not been transmitted: void it")
        if parcel.refund_ticket:
            raise VendorRefusal(
                409, "7292", "A refund has already been requested for this shipment."
            )
        self._refunds += 1
        parcel.refund_ticket = f"GA{self._refunds:07d}"
        return parcel.refund_ticket

    def transmit(self, groups: Iterable[str], excluded: Iterable[str] = ()) -> str:
        """Closes groups: their shipments can no longer be voided. The manifest's PO number."""
        wanted, left_out = set(groups), set(excluded)
        if wanted - {parcel.order.group for parcel in self._parcels.values()}:
            raise VendorRefusal(
                400,
                "9118",
                "Group id was not found for transmission; please remove or correct.",
            )
        closed = [
            parcel
            for parcel in self._parcels.values()
            if parcel.order.group in wanted
            and parcel.shipment_id not in left_out
            and parcel.status == CREATED
            and parcel.voided_at is None
        ]
        if not closed:
            raise VendorRefusal(400, "9122", "All groups are empty or all shipments excluded")
        number = f"P{len(self._manifests) + 1:09d}"
        self._manifests[number] = [parcel.shipment_id for parcel in closed]
        for parcel in closed:
            parcel.status, parcel.manifest = TRANSMITTED, number
        return number

    def manifest(self, number: str) -> list[str]:
        """The shipments of a manifest, which is made when it is first asked for."""
        if number not in self._manifests:
            raise VendorRefusal(404)
        self._made.add(number)
        return self._manifests[number]

    def manifests(self) -> list[str]:
        """The numbers of all manifests, oldest first."""
        return list(self._manifests)

    def hand_over(self, pins: Iterable[str], now: datetime, *, voided_too: bool = False) -> int:
        """Gives parcels to the driver: their journey begins now. Returns how many started."""
        started = 0
        for pin in pins:
            parcel = self._by_pin.get(pin)
            if parcel is None or parcel.handed_over_at is not None:
                continue
            if parcel.voided_at is not None and not voided_too:
                continue
            self._start(parcel, now)
            started += 1
        return started

    def waiting(self) -> list[str]:
        """Numbers of labels whose parcel has not been handed over, oldest first."""
        return [p.pin for p in self._parcels.values() if p.handed_over_at is None and p.valid]

    def advance(self, now: datetime) -> list[tuple[Parcel, Step]]:
        """Hands over what is due and writes every scan that is due, in order of time."""
        written: list[tuple[Parcel, Step]] = []
        for at, shipment_id in self._agenda.due(now):
            parcel = self._parcels[shipment_id]
            if parcel.handed_over_at is None:
                if parcel.valid:
                    self._start(parcel, at)
                continue
            if parcel.to_come and parcel.to_come[0][0] <= at:
                happened_at, step = parcel.to_come.pop(0)
                parcel.scans.append((happened_at, step))
                written.append((parcel, step))
            if parcel.to_come:
                self._agenda.note(shipment_id, parcel.to_come[0][0])
        return written

    def as_json(self) -> dict[str, Any]:
        """Everything, for proofs: shipments, labels per reference, manifests, refunds."""
        parcels = self._parcels.values()
        references: dict[str, list[Parcel]] = {}
        for parcel in parcels:
            if parcel.order.request_id:
                references.setdefault(parcel.order.request_id, []).append(parcel)
        return {
            "labels_sold": len(parcels),
            "labels_valid": sum(parcel.valid for parcel in parcels),
            "delivered": sum(parcel.delivered for parcel in parcels),
            "shipments": [_json(parcel) for parcel in parcels],
            "manifests": self._manifests,
            "manifests_made": sorted(self._made),
            "refunds": self._refunds,
            "labels_by_reference": {
                reference: {
                    "bought": len(found),
                    "valid": sum(parcel.valid for parcel in found),
                    "tracking_numbers": [parcel.pin for parcel in found],
                }
                for reference, found in references.items()
            },
        }

    def _start(self, parcel: Parcel, at: datetime) -> None:
        random = Random(f"{self._seed}:{parcel.pin}")
        moment = at
        for step in sandbox_journeys.plan(random, parcel.order, self._odds):
            parcel.to_come.append((moment, step))
            moment += timedelta(seconds=self._pace.scan_interval_seconds * (0.5 + random.random()))
        parcel.handed_over_at = at
        self._agenda.note(parcel.shipment_id, at)


def _json(parcel: Parcel) -> dict[str, Any]:
    order = parcel.order
    return {
        "shipment_id": parcel.shipment_id,
        "tracking_number": parcel.pin,
        "customer_request_id": order.request_id,
        "group": order.group,
        "status": parcel.status,
        "service": order.service,
        "weight": str(order.weight),
        "flags": list(order.flags),
        "options": list(order.options),
        "price": str(order.price()),
        "created_at": parcel.created_at,
        "voided": parcel.voided_at is not None,
        "refund_ticket": parcel.refund_ticket,
        "manifest": parcel.manifest,
        "handed_over_at": parcel.handed_over_at,
        "delivered": parcel.delivered,
        "scans": [{"at": at, "code": step.code, "city": step.city} for at, step in parcel.scans],
    }
