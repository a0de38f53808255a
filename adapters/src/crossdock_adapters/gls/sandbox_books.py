"""The simulated GLS's own books: what a request has to be, shipments, parcels, how they travel.

Nothing here waits or does I/O, so every call is atomic; the caller passes the time in. The books
are what proofs compare with: two shipments of one reference stay visible for ever.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from random import Random
from typing import Any

from crossdock_adapters.sdk.sandbox import VendorError
from crossdock_adapters.sdk.sandbox_parcels import Agenda, Pace

FIRST_NUMBER = 42_249_000_000
TRACK_ID_LETTERS = "0123456789ABCDEFGHJKLMNPQRSTUVWXYZ"
MAX_KILOGRAMS, MIN_KILOGRAMS = Decimal(99), Decimal("0.1")
MAX_UNITS = 99
MAX_REFERENCE = 40
PRODUCTS = ("PARCEL", "EXPRESS", "FREIGHT", "PHARMA", "PHARMAPLUS")
TEMPLATES = ("NONE", "D_200", "PF_4_I", "ZPL_200", "ZPL_300")
REPRINT_TEMPLATES = ("NONE", "ZPL_200", "ZPL_300")
# GLS's name of a label format: what is drawn for it.
FORMATS = {"PDF": "PDF", "ZEBRA": "ZPL", "PNG": "PNG"}
# Field of an address: (whether it is needed, how long it may be).
ADDRESS = {
    "Name1": (True, 40), "Name2": (False, 40), "Name3": (False, 40), "CountryCode": (True, 2),
    "Province": (False, 40), "ZIPCode": (True, 10), "City": (True, 40), "Street": (True, 40),
    "StreetNumber": (False, 40), "eMail": (False, 80), "ContactPerson": (False, 40),
    "MobilePhoneNumber": (False, 35), "FixedLinePhonenumber": (False, 35),
}  # fmt: skip
PARTS = frozenset(
    {"Product", "ShipmentReference", "ShippingDate", "IncotermCode", "Consignee", "Shipper",
     "ShipmentUnit", "Service", "Middleware", "Identifier"}
)  # fmt: skip
# Everything the simulator knows happens at this distance from UTC.
LOCAL = timezone(timedelta(hours=1))
UNKNOWN_STATUS = "INDRONE"


# QAS_0000001 to QAS_0000012 are one parcel for each status, always there.
FIXED_NAME = "QAS_"
FIXED = (
    "PLANNEDPICKUP", "PREADVICE", "INPICKUP", "NOTPICKEDUP", "INTRANSIT", "INWAREHOUSE",
    "INDELIVERY", "DELIVEREDPS", "DELIVERED", "NOTDELIVERED", "CANCELED", "FINAL",
)  # fmt: skip


class ShipitRefusal(VendorError):
    """A refusal of ShipIT: in headers, with no body. args: the field, and what was in it."""

    def __init__(self, code: str, message: str, *args: str) -> None:
        told = {"error": code, "message": message, "args": json.dumps(args)}
        super().__init__(400, None, told)


class VendorRefusal(VendorError):
    """A problem as tracking tells it."""

    def __init__(self, status: int, title: str, detail: str) -> None:
        body = {"type": "about:blank", "title": title, "status": status, "detail": detail}
        super().__init__(status, {**body, "instance": "/tracking/simple"})


@dataclass(frozen=True, slots=True)
class Step:
    """A status and the event that leads to it."""

    status: str
    code: str
    description: str


MADE = Step("PREADVICE", "INTIAL.PREADVICE", "The parcel data was entered into the GLS system.")
CANCELLED = Step("CANCELED", "CANCEL.NORMAL", "The parcel was cancelled by the sender.")
MOVING = (
    Step("INTRANSIT", "INTIAL.NORMAL", "The parcel was handed over to GLS."),
    Step("INWAREHOUSE", "INBOUD.NORMAL", "The parcel has reached the parcel center."),
    Step("INDELIVERY", "OUTDEL.NORMAL", "The parcel is expected to be delivered during the day."),
)
AT_SHOP = Step("DELIVEREDPS", "DELIVD.PARCELSHOP", "The parcel was delivered at the ParcelShop.")
COLLECTED = Step("DELIVERED", "DELIVD.DEL_BY_PSAPP", "The parcel was collected.")
GOES_BACK = Step("INTRANSIT", "OUTBOD.NORMAL", "The parcel has left the parcel center.")
AT_DOOR = Step("DELIVERED", "DELIVD.NORMAL", "The parcel has been delivered.")
BACK_HOME = Step("FINAL", "DELIVD.NORMAL", "The parcel has been delivered to the sender.")
ENDED = Step("FINAL", "DELIVD.NORMAL", "The parcel has been delivered.")
# What becomes of a parcel, by what the sandbox was told to do.
ENDINGS: Mapping[str, Sequence[Step]] = {
    "door": (AT_DOOR,),
    "shop": (AT_SHOP, COLLECTED),
    "not_collected": (AT_SHOP, GOES_BACK, BACK_HOME),
    "final": (ENDED,),
}


@dataclass(frozen=True, slots=True)
class Unit:
    """One parcel of a request that passed every check."""

    references: tuple[str, ...]
    weight: Decimal


@dataclass(frozen=True, slots=True)
class ShipOrder:
    """A request that passed every check."""

    references: tuple[str, ...]
    product: str
    services: tuple[str, ...]
    contact: str
    name: str
    city: str
    postal_code: str
    country: str
    units: tuple[Unit, ...]
    template: str
    label_format: str


@dataclass(slots=True)
class Parcel:
    """One parcel: what happened to it, oldest first, and what is to come."""

    track_id: str
    number: str
    order: ShipOrder
    unit: Unit
    made_at: datetime
    events: list[tuple[datetime, Step]]
    to_come: list[tuple[datetime, Step]] = field(default_factory=list)
    handed_over: bool = False

    @property
    def status(self) -> str:
        return self.events[-1][1].status

    @property
    def cancelled(self) -> bool:
        return self.status == CANCELLED.status

    @property
    def delivered(self) -> bool:
        """Whether its receiver has it; not the sender."""
        went_back = any(step == GOES_BACK for _, step in self.events)
        return self.status in ("DELIVERED", "FINAL") and not went_back

    def shown(self, requested: str) -> dict[str, Any]:
        """As tracking shows it, newest event first; offsets without a colon."""
        order = self.order
        place = {"city": order.city, "postalCode": order.postal_code, "country": order.country}
        events = [
            {
                "code": step.code,
                **place,
                "description": step.description,
                "eventDateTime": _local(at),
            }
            for at, step in reversed(self.events)
        ]
        return {
            "requested": requested,
            "unitno": self.number,
            "status": self.status,
            "statusDateTime": _local(self.events[-1][0]),
            "events": events,
        }


class Books:
    """Everything the simulated GLS knows, in order of creation."""

    def __init__(self, seed: int, pace: Pace) -> None:
        self._random = Random(f"{seed}:numbers")
        self._pace = pace
        self._shipments: list[list[Parcel]] = []
        self._parcels: dict[str, Parcel] = {}
        self._by_number: dict[str, Parcel] = {}
        self._agenda = Agenda()

    def create(self, order: ShipOrder, now: datetime) -> list[Parcel]:
        """Makes a shipment. The same request again makes another: nothing here is idempotent."""
        shipment = []
        for unit in order.units:
            track_id = "00" + "".join(self._random.choice(TRACK_ID_LETTERS) for _ in range(6))
            number = str(FIRST_NUMBER + len(self._parcels))
            parcel = Parcel(track_id, number, order, unit, now, [(now, MADE)])
            self._parcels[track_id] = self._by_number[number] = parcel
            shipment.append(parcel)
            auto = self._pace.auto_handover_seconds
            if auto is not None:
                self._agenda.note(track_id, now + timedelta(seconds=auto))
        self._shipments.append(shipment)
        return shipment

    def parcel(self, number: str) -> Parcel | None:
        """The parcel of a track id or a parcel number."""
        return self._parcels.get(number) or self._by_number.get(number)

    def of_unit(self, reference: str) -> Parcel | None:
        """The one valid parcel that carries this reference itself; None: several, or none."""
        found = [
            each for each in self._parcels.values()
            if reference in each.unit.references and not each.cancelled
        ]  # fmt: skip
        return found[0] if reference and len(found) == 1 else None

    def search(self, reference: str) -> list[Parcel]:
        """The parcels of every shipment with this reference, and those that carry it themselves."""
        return [
            parcel
            for parcel in self._parcels.values()
            if reference in parcel.order.references or reference in parcel.unit.references
        ]

    def cancel(self, parcel: Parcel, now: datetime) -> None:
        """Cancels a parcel that nobody has scanned."""
        parcel.events.append((now, CANCELLED))
        parcel.to_come.clear()

    def hand_over(self, track_ids: Iterable[str], now: datetime, ending: str) -> int:
        """Gives parcels to the driver: their journey begins. Returns how many started."""
        started = 0
        for track_id in track_ids:
            parcel = self._parcels.get(track_id)
            if parcel is None or parcel.handed_over or parcel.cancelled:
                continue
            parcel.handed_over = True
            for position, step in enumerate((*MOVING, *ENDINGS[ending])):
                at = now + timedelta(seconds=self._pace.scan_interval_seconds * position)
                parcel.to_come.append((at, step))
                self._agenda.note(track_id, at)
            started += 1
        return started

    def waiting(self) -> list[str]:
        """Parcels that nobody has handed over."""
        return [
            parcel.track_id
            for parcel in self._parcels.values()
            if not parcel.handed_over and not parcel.cancelled
        ]

    def advance(self, now: datetime, ending: str) -> list[tuple[Parcel, Step]]:
        """Writes every event that is due; what waits by itself is handed over."""
        written = []
        for at, track_id in self._agenda.due(now):
            parcel = self._parcels[track_id]
            if not parcel.handed_over and not parcel.cancelled:
                self.hand_over([track_id], at, ending)
            elif parcel.to_come:
                parcel.events.append(parcel.to_come.pop(0))
                written.append((parcel, parcel.events[-1][1]))
        return written

    def as_json(self) -> dict[str, Any]:
        """Everything, for proofs."""
        parcels = self._parcels.values()
        return {
            "shipments": [[_json(parcel) for parcel in shipment] for shipment in self._shipments],
            "labels_sold": len(parcels),
            "labels_valid": sum(not parcel.cancelled for parcel in parcels),
            "delivered": sum(parcel.delivered for parcel in parcels),
        }


def fixed_parcel(number: str) -> dict[str, Any] | None:
    """The test parcel of this number; None: it is none."""
    names = [f"{FIXED_NAME}{position:07}" for position in range(1, len(FIXED) + 1)]
    if number not in names:
        return None
    status, at = FIXED[names.index(number)], "2026-03-04T09:26:00+0100"
    return {"requested": number, "unitno": number, "status": status, "statusDateTime": at}


def read_order(
    body: Any, contacts: Sequence[str], names: Mapping[str, str], today: date
) -> ShipOrder:
    """A request, checked as the description says; ShipitRefusal for the first thing wrong.

    names: what this installation calls a field, where it is another name.
    """
    shipment = _part(body, "Shipment")
    strange = sorted(set(shipment) - PARTS)
    if strange:
        raise _invalid(f"Unrecognized field {strange[0]}")
    if not shipment.get("Middleware"):
        said = "The Mandatory parameter Shipment.Middleware is not set"
        raise ShipitRefusal("MANDATORY_PARAMETER_NOT_SET", said, "Shipment.Middleware")
    if shipment.get("Product") not in PRODUCTS:
        raise _invalid("Product is not one of the products of the contract")
    try:
        day = date.fromisoformat(str(shipment.get("ShippingDate", today)))
    except ValueError:
        raise _invalid("ShippingDate is no date") from None
    if day < today:
        raise _invalid("ShippingDate is in the past")
    shipper = _part(shipment, "Shipper")
    if shipper.get("ContactID") not in contacts:
        field, said = "Shipment.Shipper.ContactID", "Shipper does not exist or is not available"
        raise ShipitRefusal("INVALID_FIELD_VALUE", f"Invalid field {field}. {said}", field)
    consignee = _part(shipment, "Consignee")
    if consignee.get("Category", "PRIVATE") not in ("BUSINESS", "PRIVATE"):
        raise _invalid("Category is BUSINESS or PRIVATE")
    address = read_address(_part(consignee, "Address"), names)
    units = shipment.get("ShipmentUnit")
    if not isinstance(units, list) or not 1 <= len(units) <= MAX_UNITS:
        raise _invalid(f"ShipmentUnit: 1 to {MAX_UNITS} are needed")
    template, label_format = read_printing(body, TEMPLATES)
    return ShipOrder(
        _references(shipment, "ShipmentReference"),
        shipment["Product"],
        _services(shipment),
        shipper["ContactID"],
        address["Name1"],
        address["City"],
        address["ZIPCode"],
        address["CountryCode"],
        tuple(_unit(unit) for unit in units),
        template,
        label_format,
    )


def read_address(given: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, str]:
    """An address under GLS's own names; every other name is refused, whatever its capitals."""
    known = {names.get(name, name): name for name in ADDRESS}
    strange = sorted(set(given) - set(known))
    if strange:
        raise _invalid(f"Unrecognized field {strange[0]}")
    found = {known[name]: value for name, value in given.items()}
    for name, (needed, longest) in ADDRESS.items():
        value = found.get(name)
        if value is None and not needed:
            continue
        if not isinstance(value, str) or not 1 <= len(value) <= longest:
            raise _invalid(f"{names.get(name, name)}: 1 to {longest} characters")
    return found


def read_printing(body: Any, templates: Sequence[str]) -> tuple[str, str]:
    """How labels are to be printed: template and format."""
    labels = _part(_part(body, "PrintingOptions"), "ReturnLabels")
    template, label_format = labels.get("TemplateSet"), labels.get("LabelFormat")
    if template not in templates or label_format not in FORMATS:
        raise _invalid("ReturnLabels: TemplateSet or LabelFormat is not available")
    return str(template), str(label_format)


def _unit(unit: Any) -> Unit:
    if not isinstance(unit, dict):
        raise _invalid("ShipmentUnit is no object")
    weight = unit.get("Weight")
    if isinstance(weight, bool) or not isinstance(weight, (int, Decimal)):
        raise _invalid("Weight is no number")
    if not MIN_KILOGRAMS < weight <= MAX_KILOGRAMS:
        raise _invalid(f"Weight: {MIN_KILOGRAMS} to {MAX_KILOGRAMS} kg")
    return Unit(_references(unit, "ShipmentUnitReference"), Decimal(weight))


def _references(holder: Mapping[str, Any], name: str) -> tuple[str, ...]:
    given = holder.get(name, [])
    fits = isinstance(given, list) and all(
        isinstance(each, str) and 1 <= len(each) <= MAX_REFERENCE for each in given
    )
    if not fits:
        raise _invalid(f"{name}: a list of texts of 1 to {MAX_REFERENCE} characters")
    return tuple(given)


def _services(shipment: Mapping[str, Any]) -> tuple[str, ...]:
    names = []
    for entry in shipment.get("Service", []):
        name = _part(entry, "Service").get("ServiceName")
        if not isinstance(name, str) or not name.startswith("service_"):
            raise _invalid("ServiceName is not one of the allowed services")
        names.append(name)
    return tuple(names)


def _part(holder: Any, name: str) -> dict[str, Any]:
    found = holder.get(name) if isinstance(holder, dict) else None
    if not isinstance(found, dict):
        raise _invalid(f"{name} is missing")
    return found


def _invalid(detail: str) -> ShipitRefusal:
    return ShipitRefusal("INVALID_FIELD_VALUE", detail)


def _local(at: datetime) -> str:
    return at.astimezone(LOCAL).strftime("%Y-%m-%dT%H:%M:%S%z")


def _json(parcel: Parcel) -> dict[str, Any]:
    return {
        "track_id": parcel.track_id,
        "number": parcel.number,
        "references": list(parcel.order.references),
        "unit_references": list(parcel.unit.references),
        "product": parcel.order.product,
        "services": list(parcel.order.services),
        "contact": parcel.order.contact,
        "weight": str(parcel.unit.weight),
        "status": parcel.status,
        "events": [{"at": at, "code": step.code} for at, step in parcel.events],
    }
