"""Between the contract and GLS's words: pure functions, no clock, no network.

A shipment of GLS has all its parcels: one unit for each package, in their order. What tracking
says of a parcel is its status and the events behind it, the newest first. The status is GLS's own
list; it belongs to the newest event, and an event before that has its code alone.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from crossdock.label.v1 import label_pb2
from crossdock.shipment.v1 import shipment_pb2
from crossdock.tracking.v1 import tracking_pb2
from crossdock.types.v1 import types_pb2

from crossdock_adapters.gls.client import Parcel, as_list
from crossdock_adapters.sdk import carrier_scans, local_times, measures, vendor_json
from crossdock_adapters.sdk.carrier_labels import address_lines
from crossdock_adapters.sdk.carrier_scans import History
from crossdock_adapters.sdk.mappings import MAX_CODE, Code, Mappings, Topic, UnsentWord
from crossdock_adapters.sdk.outcomes import Untranslatable
from crossdock_adapters.sdk.places import Unreadable, inside, pointer

# Lengths and weights of ShipIT; more packages than the hub takes facts for do not travel together.
MAX_TEXT = 40
MAX_NOTE = 50
MAX_LINES = 2
MAX_POSTAL_CODE = 10
MAX_PHONE = 35
MAX_EMAIL = 80
MAX_UNITS = 50
# A parcel has to be heavier than 0.10 kg.
WEIGHT_STEP, LIGHTEST = Decimal("0.01"), Decimal("0.11")
# Characters that GLS does not take in a text, and a line break.
REFUSED_CHARACTERS = re.compile(r"[\\\"{},;()|\s]+")
# Types of the service rows: within a country, to a private address, abroad.
SERVICE_TYPES = ("", "PRIVATE", "INT", "ECONOMY")
PRODUCTS = frozenset({"PARCEL", "EXPRESS", "FREIGHT", "PHARMA", "PHARMAPLUS"})
FORMATS = {
    "PDF": label_pb2.LABEL_FORMAT_PDF,
    "ZEBRA": label_pb2.LABEL_FORMAT_ZPL,
    "PNG": label_pb2.LABEL_FORMAT_PNG,
}
# Types of codes: of an event, and of a status together with the event that it came with.
EVENT, STATUS_AND_EVENT = "event", "status/event"
VOIDED = "VOIDED"
# The event of a parcel that its receiver got at a shop.
COLLECTED = "DELIVD.DEL_BY_PSAPP"
ALONE = "/parcels/0"


@dataclass(frozen=True, slots=True)
class ShipRules:
    """What a deployment decides about its shipments; made from the endpoint's settings.

    services: word of an order to GLS's product and the services that go with it, as
    "EXPRESS+service_0900". middleware: the program that ships, which GLS wants to
    know. field_names: a name of the request to what the installation calls it.
    """

    contact_id: str
    middleware: str = "crossdock"
    services: Mapping[str, str] = field(default_factory=dict)
    always: Sequence[str] = ()
    incoterm: str = ""
    template: str = "ZPL_200"
    label_format: str = "ZEBRA"
    field_names: Mapping[str, str] = field(default_factory=dict)

    @property
    def labels(self) -> dict[str, str]:
        """How labels are printed, in GLS's words."""
        return {"TemplateSet": self.template, "LabelFormat": self.label_format}


def units_of(reference: str, count: int) -> list[str]:
    """Our references of a shipment's parcels: by these a parcel is known as one package's."""
    return [f"{reference}-{number}" for number in range(1, count + 1)]


def shipment_request(
    shipment: shipment_pb2.Shipment, reference: str, day: str, rules: ShipRules
) -> dict[str, Any]:
    """GLS's request for the labels of all packages; Untranslatable says what does not fit."""
    packages = shipment.packages
    if len(packages) > MAX_UNITS:
        raise Untranslatable(f"the shipment has {len(packages)} packages, at most {MAX_UNITS} fit")
    product, *services = service_of(shipment.service_code, rules.services).split("+")
    abroad = shipment.ship_from.address.country_code != shipment.ship_to.address.country_code
    services = list(dict.fromkeys([*services, *rules.always]))
    body = {
        "Product": product,
        "ShipmentReference": [reference],
        "ShippingDate": day,
        "IncotermCode": rules.incoterm if abroad else "",
        "Middleware": rules.middleware,
        "Consignee": _consignee(shipment.ship_to),
        "Shipper": {"ContactID": rules.contact_id},
        "ShipmentUnit": [
            {
                "ShipmentUnitReference": [unit],
                "Weight": max(measures.weight_in(package.weight, "KGM", WEIGHT_STEP), LIGHTEST),
                "Note1": plain(shipment.order_number)[:MAX_NOTE],
            }
            for unit, package in zip(units_of(reference, len(packages)), packages, strict=True)
        ],
        "Service": [{"Service": {"ServiceName": name}} for name in services],
    }
    request = {"Shipment": body, "PrintingOptions": {"ReturnLabels": rules.labels}}
    named: dict[str, Any] = _named(request, rules.field_names)
    return named


def plain(text: str) -> str:
    """A text without the characters that GLS does not take; each is a blank."""
    return REFUSED_CHARACTERS.sub(" ", text).strip()


def service_of(service: str, services: Mapping[str, str]) -> str:
    """GLS's product for an ordered service, with its services; GLS's own words pass."""
    wanted = service.strip().upper()
    found = services.get(wanted, wanted if wanted in PRODUCTS else None)
    if found is None:
        unsent = UnsentWord(Topic.SERVICE_LEVEL, wanted, SERVICE_TYPES)
        raise Untranslatable.for_want_of(unsent, "gls", f"service {service!r} has no GLS product")
    return found


def assigned(parcels: Sequence[Parcel], units: Sequence[str]) -> tuple[list[Parcel], list[Parcel]]:
    """The parcel of each unit, and those that are over. ValueError: a unit has none.

    By the unit's reference, the first of several; in order where GLS shows none at all.
    """
    if any(parcel.units for parcel in parcels):
        named = [next((p for p in parcels if unit in p.units), None) for unit in units]
        ours = [parcel for parcel in named if parcel is not None]
    else:
        ours = list(parcels[: len(units)])
    if len(ours) < len(units):
        raise ValueError(f"{len(ours)} parcels for {len(units)} packages")
    return ours, [parcel for parcel in parcels if parcel not in ours]


def is_voided(parcel: Mapping[str, Any], mappings: Mappings) -> bool:
    """Whether tracking says that a parcel is cancelled."""
    found = mappings.first(Topic.STATUS, [Code("", str(parcel.get("status", "")).upper())])
    return found is not None and found[1].canonical == VOIDED


def day_made(parcel: Mapping[str, Any], today: str) -> str:
    """The day on which a parcel was made, as its oldest event has it; today where it has none."""
    events = [event for event in as_list(parcel.get("events")) if isinstance(event, dict)]
    told = str(events[-1].get("eventDateTime", "")) if events else ""
    told = told or str(parcel.get("statusDateTime", ""))
    try:
        return local_times.source_time(told, None).local[:10]
    except ValueError:
        return today


def parcels_in(body: bytes) -> list[Any]:
    """What an answer of tracking lists. Unreadable: it is none."""
    try:
        content = vendor_json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"is no JSON ({error})") from error
    parcels = content.get("parcels") if isinstance(content, dict) else None
    if isinstance(parcels, dict) and parcels:
        return [parcels]
    if not isinstance(parcels, list):
        raise Unreadable("is missing or not a list", "/parcels")
    return parcels


def error_of(parcel: Any) -> str:
    """The error code of a parcel in an answer; empty where it is told of."""
    code = parcel.get("errorCode") if isinstance(parcel, dict) else None
    return code if isinstance(code, str) else ""


def history(parcel: Any, asked: Collection[str], mappings: Mappings, carrier_code: str) -> History:
    """The scans of one parcel of an answer, oldest first; one that is broken costs no other.

    asked: the numbers that were asked for; empty where nobody knows them any more. Unreadable: it
    is about no parcel, or about none that was asked for. Places are those of an answer with this
    parcel alone, which is what is held of it.
    """
    with inside(ALONE):
        if not isinstance(parcel, dict):
            raise Unreadable("is not an object")
        number, status = _text(parcel, "requested"), _text(parcel, "status").upper()
        if asked and number not in asked:
            raise Unreadable("is none of the numbers that were asked for", "/requested")
    reader = _Reader(number, status, mappings, carrier_code)
    listed = as_list(parcel.get("events"))[: carrier_scans.MAX_SCANS_PER_REQUEST - 1]
    newest = listed[0] if listed else None
    at = parcel.get("statusDateTime") or entry_time(newest)
    events: list[tracking_pb2.TrackingEvent] = []
    problems: list[str] = []
    newest_is_read = True
    for position, entry in enumerate(listed):
        try:
            with inside(ALONE + pointer("events", position)):
                events.append(reader.event(entry, position == 0 and entry_time(entry) == at))
        except Unreadable as error:
            newest_is_read = newest_is_read and position > 0
            problems.append(f"parcel {number[:MAX_TEXT]}: {error}")
    # Of a newest event that cannot be read nobody knows whether the status is its own.
    if newest_is_read and (newest is None or entry_time(newest) != at):
        try:
            with inside(ALONE):
                events.insert(0, reader.status_alone(parcel, newest))
        except Unreadable as error:
            problems.append(f"parcel {number[:MAX_TEXT]}: {error}")
    events.reverse()
    _turn_back(events)
    return History(tuple(events), tuple(problems))


def _turn_back(events: Sequence[tracking_pb2.TrackingEvent]) -> None:
    """A delivery is one to the sender where the parcel waited at a shop and was in transit again
    after that, and not at a shop once more.

    GLS has no status for that. Only the end of it is told as a return: what leaves a shop for
    another one moves like what nobody collected, and the hub takes nothing of a way back again.
    """
    waited = back = False
    for event in events:
        if event.milestone == shipment_pb2.MILESTONE_READY_FOR_COLLECTION:
            waited, back = True, False
        elif event.milestone == shipment_pb2.MILESTONE_IN_TRANSIT:
            back = waited
        elif event.status_code == COLLECTED:
            waited = back = False
        event.return_leg = back and event.milestone == shipment_pb2.MILESTONE_DELIVERED


def entry_time(entry: Any) -> Any:
    """When an event happened, as GLS wrote it."""
    return entry.get("eventDateTime") if isinstance(entry, dict) else None


class _Reader:
    """Reads the scans of one parcel."""

    def __init__(self, number: str, status: str, mappings: Mappings, carrier_code: str) -> None:
        self._number = number
        self._status = status
        self._mappings = mappings
        self._carrier_code = carrier_code

    def event(self, entry: Any, is_status: bool) -> tracking_pb2.TrackingEvent:
        """One event; is_status: the parcel's status is what it led to."""
        if not isinstance(entry, dict):
            raise Unreadable("is not an object")
        code = _text(entry, "code").upper()
        when = _time(entry, "eventDateTime")
        codes = self._of_status(code) if is_status else [Code(EVENT, code[:MAX_CODE])]
        return self._scan(code, codes, when, entry)

    def status_alone(self, parcel: Mapping[str, Any], newest: Any) -> tracking_pb2.TrackingEvent:
        """The status at a time of its own: no event is behind it, or none that is listed."""
        code = _text(newest, "code").upper() if isinstance(newest, dict) else ""
        when = _time(parcel, "statusDateTime")
        return self._scan(self._status, self._of_status(code), when, {})

    def _of_status(self, event: str) -> list[Code]:
        """The status, and before it what status and event say together: FINAL says nothing alone,
        and why a parcel was not delivered stands in its event."""
        together = [Code(STATUS_AND_EVENT, f"{self._status}/{event}"[:MAX_CODE])] if event else []
        return [*together, Code("", self._status[:MAX_CODE])]

    def _scan(
        self, raw: str, codes: list[Code], when: types_pb2.SourceTime, entry: Mapping[str, Any]
    ) -> tracking_pb2.TrackingEvent:
        found = self._mappings.first(Topic.STATUS, codes)
        milestone = "UNKNOWN" if found is None else found[1].canonical
        place = [str(entry.get(name) or "") for name in ("city", "postalCode", "country")]
        return tracking_pb2.TrackingEvent(
            carrier_code=self._carrier_code,
            tracking_number=self._number,
            milestone=shipment_pb2.Milestone.Value(f"MILESTONE_{milestone}"),
            status_code=raw[: carrier_scans.MAX_STATUS_CODE],
            description=str(entry.get("description") or "")[: carrier_scans.MAX_DESCRIPTION],
            event_time=when,
            place=carrier_scans.place(place[0], "", place[1], place[2]),
            exception_reason="" if found is None else found[1].exception_reason,
            native_codes=[types_pb2.NativeCode(type=code.type, code=code.code) for code in codes],
            channel=carrier_scans.POLL,
        )


def _time(holder: Mapping[str, Any], name: str) -> types_pb2.SourceTime:
    """GLS writes its offsets without a colon: 2026-03-04T09:26:00+0100."""
    text = _text(holder, name)
    try:
        return local_times.source_time(text, None)
    except ValueError as error:
        raise Unreadable("is no time", pointer(name)) from error


def _consignee(party: types_pb2.Party) -> dict[str, Any]:
    address = party.address
    names = [name[:MAX_TEXT] for name in map(plain, (party.company, party.name)) if name]
    city = plain(address.city)
    if not names or not city or len(city) > MAX_TEXT:
        raise Untranslatable(f"ship to: GLS wants a name, and a city of {MAX_TEXT} characters")
    if not address.postal_code or len(address.postal_code) > MAX_POSTAL_CODE:
        raise Untranslatable(f"ship to: GLS wants a postal code of {MAX_POSTAL_CODE} characters")
    lines = address_lines(list(map(plain, address.lines)), "ship to", MAX_TEXT, MAX_LINES)
    return {
        "Category": "BUSINESS" if party.company and not party.residential else "PRIVATE",
        "Address": {
            "Name1": names[0],
            "Name2": names[1] if len(names) > 1 else "",
            "Name3": lines[1] if len(lines) > 1 else "",
            "CountryCode": address.country_code,
            "Province": plain(address.state)[:MAX_TEXT],
            "ZIPCode": address.postal_code,
            "City": city,
            "Street": lines[0],
            "eMail": party.email if len(party.email) <= MAX_EMAIL else "",
            "FixedLinePhonenumber": plain(party.phone)[:MAX_PHONE],
        },
    }


def _named(value: Any, names: Mapping[str, str]) -> Any:
    """The request in the names of the installation, without what is empty."""
    if isinstance(value, dict):
        filled = {name: each for name, each in value.items() if each not in ("", [], None)}
        return {names.get(name, name): _named(each, names) for name, each in filled.items()}
    return [_named(each, names) for each in value] if isinstance(value, list) else value


def _text(holder: Mapping[str, Any], name: str) -> str:
    """A text that has to be there; a number counts as one."""
    found = holder.get(name)
    if isinstance(found, int) and not isinstance(found, bool):
        return str(found)
    if not isinstance(found, str) or not found.strip():
        raise Unreadable("is missing or not text", pointer(name))
    return found.strip()
