"""Between the contract and Canada Post's words: pure functions, no clock, no network.

A shipment of Canada Post is one parcel: several packages are several shipments. Of a scan the
event's number is compared as a number, because its zeros in front vary from call to call.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any

from crossdock.shipment.v1 import shipment_pb2
from crossdock.tracking.v1 import tracking_pb2
from crossdock.types.v1 import types_pb2

from crossdock_adapters.sdk import carrier_labels, carrier_scans, measures, vendor_xml
from crossdock_adapters.sdk.carrier_scans import History, ScanTime
from crossdock_adapters.sdk.mappings import MAX_CODE, Code, Mappings, Topic, UnsentWord
from crossdock_adapters.sdk.outcomes import Untranslatable
from crossdock_adapters.sdk.places import Unreadable
from crossdock_adapters.sdk.vendor_xml import Element

SHIPMENT_NAMESPACE = "http://www.canadapost.ca/ws/shipment-v8"
MANIFEST_NAMESPACE = "http://www.canadapost.ca/ws/manifest-v8"
HOME = "CA"
KIND = "canada-post"
# The type of the service rows within Canada.
DOMESTIC = "DOM"
BOX = "CUSTOMER_BOX"
AT_DEPARTURE, MANIFEST, AT_CREATION = "at_departure", "manifest", "at_creation"
# Lengths and steps of the shipment schema, version 8.
MAX_NAME = MAX_LINE = MAX_COMPANY = 44
MAX_LINES = 2
MAX_CITY = 40
MAX_PROVINCE = 2
MAX_PHONE = 25
MAX_GROUP = 32
MAX_REFERENCE = 35
# Of a manifest.
MAX_CUSTOMER_REFERENCE = 12
WEIGHT_STEP = Decimal("0.001")
LENGTH_STEP = Decimal("0.1")
SERVICE_CODE = re.compile(r"DOM(\.[A-Z]+)+")
POSTAL_CODE = re.compile(r"[A-Z]\d[A-Z]\d[A-Z]\d", re.ASCII)
PIN = re.compile(r"[0-9A-Z]{11,16}")
DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
TIME = re.compile(r"\d{2}:\d{2}:\d{2}", re.ASCII)
INFORMATION = shipment_pb2.MILESTONE_INFORMATION
# The type of an event together with a text that says that the parcel goes back.
TO_SENDER = "to_sender"
RETURNED = re.compile(
    r"\breturn(?:ed|ing)?\b.*\bsender\b|\b(?:retourn|renvoy)(?:é|er)e?\b.*\bexp(?:\b|éd)",
    re.IGNORECASE,
)
NOT_YET = re.compile(
    r"\b(?:will|would|if|unless|may|can|requested|si|sera|peut|demandé)\b", re.IGNORECASE
)
# Abbreviations of Canadian zones, English and French, in minutes ahead of UTC (National Research
# Council Canada, time zones and daylight saving time).
ZONES = {
    "NST": -210, "NDT": -150, "AST": -240, "ADT": -180, "EST": -300, "EDT": -240,
    "CST": -360, "CDT": -300, "MST": -420, "MDT": -360, "PST": -480, "PDT": -420,
    "HNT": -210, "HAT": -150, "HNA": -240, "HAA": -180, "HNE": -300, "HAE": -240,
    "HNC": -360, "HAC": -300, "HNR": -420, "HAR": -360, "HNP": -480, "HAP": -420,
    "UTC": 0, "GMT": 0,
}  # fmt: skip
# Abbreviations that say the same everywhere: no other country's are spelled so.
ANYWHERE = frozenset({"NST", "NDT", "UTC", "GMT", *(zone for zone in ZONES if zone[0] == "H")})
PROVINCES = frozenset(
    {"AB", "BC", "MB", "NB", "NL", "NS", "NT", "NU", "ON", "PE", "QC", "SK", "YT"}
)


@dataclass(frozen=True, slots=True)
class ShipRules:
    """What a deployment decides about its shipments; made from the endpoint's settings.

    services: word or code of an order to Canada Post's service; package_types: container type of
    the warehouse to a word of the package rows, and packaging: that to Canada Post's flag for it.
    """

    customer_number: str
    contract_id: str = ""
    paid_by: str = ""
    method_of_payment: str = "Account"
    transmission: str = AT_DEPARTURE
    group: str = ""
    shipping_point: str = ""
    collected: bool = False
    options: Sequence[str] = ()
    services: Mapping[str, str] = field(default_factory=dict)
    package_types: Mapping[str, str] = field(default_factory=dict)
    packaging: Mapping[str, str] = field(default_factory=dict)
    output_format: str = "4x6"
    encoding: str = "ZPL"
    contact_phone: str = ""
    cost_centre: str = ""


def shipment_document(
    shipment: shipment_pb2.Shipment, package_id: str, reference: str, rules: ShipRules
) -> bytes:
    """Canada Post's request for the label of one package; Untranslatable says what does not fit."""
    package = carrier_labels.find_package(shipment, package_id)
    origin, destination = shipment.ship_from.address, shipment.ship_to.address
    if origin.country_code != HOME:
        raise Untranslatable("ship from: Canada Post takes parcels in Canada alone")
    if destination.country_code != HOME:
        raise Untranslatable(
            "ship to: Canada Post needs customs data abroad, and a shipment has none"
        )
    group = group_of(shipment, rules)
    content: dict[str, Any] = {
        "customer-request-id": reference,
        "group-id": group or None,
        "transmit-shipment": None if group else True,
        # Written only where it is true: the schema knows no other value.
        "cpc-pickup-indicator": True if rules.collected else None,
        "requested-shipping-point": _postal_code(rules.shipping_point or origin.postal_code),
        "provide-pricing-info": True,
        "delivery-spec": {
            "service-code": service_code(shipment.service_code, rules.services),
            "sender": _sender(shipment.ship_from, rules),
            "destination": _destination(shipment.ship_to),
            "options": {"option": [{"option-code": code} for code in rules.options]}
            if rules.options
            else None,
            "parcel-characteristics": _parcel(package, rules),
            "print-preferences": {
                "output-format": rules.output_format,
                "encoding": rules.encoding,
            },
            "preferences": {"show-packing-instructions": False, "show-postage-rate": False},
            "references": {
                "cost-centre": rules.cost_centre or None,
                "customer-ref-1": shipment.order_number[:MAX_REFERENCE] or None,
                "customer-ref-2": reference,
            },
            "settlement-info": _settlement(rules),
        },
    }
    return _document("shipment", content, SHIPMENT_NAMESPACE)


def group_of(shipment: shipment_pb2.Shipment, rules: ShipRules) -> str:
    """The group in which the parcels of a shipment wait; "": they are transmitted at creation.

    Transmitted as it leaves, each shipment has a group of its own, so that a transmission takes
    nothing along that is still on the dock.
    """
    if rules.transmission == AT_CREATION:
        return ""
    if rules.transmission == AT_DEPARTURE:
        # The number is what people see on the dock; an id without its dashes is 32 characters.
        number = shipment.number
        return number if 0 < len(number) <= MAX_GROUP else shipment.id.replace("-", "")
    group = rules.group or shipment.ship_from_location_number or rules.customer_number
    if len(group) > MAX_GROUP:
        # Cut off, two locations might share a group and be transmitted together.
        raise Untranslatable(f"group {group!r} has more than {MAX_GROUP} characters; set group")
    return group


def transmit_document(
    shipment: shipment_pb2.Shipment, staying: Sequence[str], rules: ShipRules
) -> bytes:
    """Canada Post's request to transmit the group of a shipment, but for what stays on the dock.

    staying: numbers of Canada Post's shipments. Untranslatable says what does not fit.
    """
    sender = _sender(shipment.ship_from, rules)
    number = shipment.number
    content: dict[str, Any] = {
        "group-ids": {"group-id": group_of(shipment, rules)},
        "cpc-pickup-indicator": True if rules.collected else None,
        "requested-shipping-point": _postal_code(
            rules.shipping_point or shipment.ship_from.address.postal_code
        ),
        "detailed-manifests": True,
        "method-of-payment": rules.method_of_payment,
        "manifest-address": {
            "manifest-company": sender["company"],
            "manifest-name": sender["name"],
            "phone-number": sender["contact-phone"],
            "address-details": sender["address-details"],
        },
        # Cut off it would name another shipment.
        "customer-reference": number if 0 < len(number) <= MAX_CUSTOMER_REFERENCE else None,
        "excluded-shipments": {"shipment-id": list(staying)} if staying else None,
    }
    return _document("transmit-set", content, MANIFEST_NAMESPACE)


def refund_document(email: str) -> bytes:
    """Canada Post's request for the price of a transmitted shipment; it answers by e-mail."""
    made = vendor_xml.build("shipment-refund-request", {"email": email}, SHIPMENT_NAMESPACE)
    return vendor_xml.dumps(made)


def service_code(service: str, services: Mapping[str, str]) -> str:
    """Canada Post's code for an ordered service within Canada; its own codes pass."""
    wanted = service.strip().upper()
    found = services.get(wanted)
    if found is None and SERVICE_CODE.fullmatch(wanted):
        found = wanted
    if found is None:
        unsent = UnsentWord(Topic.SERVICE_LEVEL, wanted, (DOMESTIC,))
        problem = f"service {service!r} has no Canada Post code"
        raise Untranslatable.for_want_of(unsent, "canada-post", problem)
    return found


def history(body: bytes, pin: str, mappings: Mappings, carrier_code: str) -> History:
    """Every scan in an answer of Get Tracking Details, oldest first.

    pin: the number that was asked for; "" where nobody knows it any more. A scan that cannot be
    read does not cost the others. Unreadable: the answer is none, or about another parcel.
    """
    root = vendor_xml.loads(body)
    if root.name != "tracking-detail":
        raise Unreadable("a tracking-detail is expected here", root.place)
    number = root.need_text("pin")
    if PIN.fullmatch(number) is None or (pin and number != pin):
        raise Unreadable("is not the number of the parcel", root.need("pin").place)
    events: list[tracking_pb2.TrackingEvent] = []
    problems: list[str] = []
    listed = list(root.all("significant-events/occurrence"))
    most = carrier_scans.MAX_SCANS_PER_REQUEST
    if len(listed) > most:
        problems.append(f"the newest {most} of {len(listed)} scans are told")
    for occurrence in listed[:most]:
        try:
            events.append(_event(number, occurrence, mappings, carrier_code))
        except Unreadable as error:
            problems.append(str(error))
    # Canada Post lists the newest first.
    events.reverse()
    _turn_back(events)
    _sign(events)
    return History(tuple(events), tuple(problems))


def code_of(identifier: str) -> Code:
    """An event's code: a number without zeros in front, anything else as it is written."""
    text = identifier.strip()
    return Code("", (text.lstrip("0") or "0") if text.isascii() and text.isdigit() else text)


def goes_back(text: str) -> bool:
    """Whether an event's text says that the parcel goes to its sender, not that it may: in English
    or in French, whichever the setting `language` asks for.

    Some events are those of a way there and of a way back, and the text alone tells them apart.
    """
    return RETURNED.search(text) is not None and NOT_YET.search(text) is None


def scan_time(day: str, clock: str, zone: str, *, in_canada: bool) -> ScanTime:
    """When a scan happened. ValueError: day or time are none.

    The zone is an abbreviation, and most of Canada's are also those of other parts of the world
    (CST is China's, AST Arabia's): only where the scan is known to be Canada's do they count.
    Elsewhere, and where nobody knows the abbreviation, the time stays local and its zone unknown.
    """
    if DATE.fullmatch(day) is None:
        raise ValueError("is no date")
    there = date.fromisoformat(day)
    if not carrier_scans.FIRST_YEAR <= there.year <= carrier_scans.LAST_YEAR:
        raise ValueError("is no date of a parcel")
    if not clock:
        return ScanTime(None, there.isoformat(), None, day_only=True)
    if TIME.fullmatch(clock) is None:
        raise ValueError("is no time of day")
    local = datetime.combine(there, time.fromisoformat(clock))
    written = zone.strip().upper()
    minutes = ZONES.get(written) if in_canada or written in ANYWHERE else None
    if minutes is None:
        return ScanTime(None, local.isoformat(), None, day_only=False)
    instant = local.replace(tzinfo=timezone(timedelta(minutes=minutes))).astimezone(UTC)
    return ScanTime(instant, local.isoformat(), minutes, day_only=False)


def _event(
    number: str, occurrence: Element, mappings: Mappings, carrier_code: str
) -> tracking_pb2.TrackingEvent:
    code = code_of(occurrence.need_text("event-identifier"))
    site, province = occurrence.text_of("event-site"), occurrence.text_of("event-province").upper()
    in_canada = province in PROVINCES
    # Long texts come with line breaks in them.
    text = " ".join(occurrence.text_of("event-description").split())
    codes = [Code(TO_SENDER, code.code), code] if goes_back(text) else [code]
    found = mappings.first(Topic.STATUS, codes)
    meaning = None if found is None else found[1]
    milestone = "UNKNOWN" if meaning is None else meaning.canonical
    event = tracking_pb2.TrackingEvent(
        carrier_code=carrier_code,
        tracking_number=number,
        milestone=shipment_pb2.Milestone.Value(f"MILESTONE_{milestone}"),
        status_code=code.code[: carrier_scans.MAX_STATUS_CODE],
        description=text[: carrier_scans.MAX_DESCRIPTION],
        event_time=carrier_scans.source_time(_time(occurrence, in_canada)),
        place=carrier_scans.place(site, province, "", HOME if in_canada else ""),
        exception_reason="" if meaning is None else meaning.exception_reason,
        native_codes=[types_pb2.NativeCode(type=c.type, code=c.code[:MAX_CODE]) for c in codes],
        channel=carrier_scans.POLL,
    )
    if event.milestone in carrier_scans.MAY_BE_SIGNED or event.milestone == INFORMATION:
        event.signed_by = occurrence.text_of("signatory-name")[: carrier_scans.MAX_SIGNER]
    return event


def _turn_back(events: Sequence[tracking_pb2.TrackingEvent]) -> None:
    """A delivery behind a scan of the way back is one to the sender, who is no consignee."""
    back = False
    for event in events:
        back = back or event.milestone == shipment_pb2.MILESTONE_RETURNING
        event.return_leg = back and event.milestone == shipment_pb2.MILESTONE_DELIVERED


def _sign(events: Sequence[tracking_pb2.TrackingEvent]) -> None:
    """Who signed, at the delivery that it is of: the event that delivers names nobody. The name
    comes with one of its own, which tells that a signature can be seen: at the same time, or later
    and before the next delivery."""
    ends = [each for each in events if each.milestone == shipment_pb2.MILESTONE_DELIVERED]
    named = [each for each in events if each.milestone == INFORMATION and each.signed_by]
    for end, following in zip(ends, [*ends[1:], None], strict=False):
        until = following.event_time.local if following is not None else "~"
        after = (each for each in named if end.event_time.local <= each.event_time.local < until)
        end.signed_by = end.signed_by or next((each.signed_by for each in after), "")


def _time(occurrence: Element, in_canada: bool) -> ScanTime:
    day = occurrence.need_text("event-date")
    clock, zone = occurrence.text_of("event-time"), occurrence.text_of("event-time-zone")
    try:
        scan_time(day, "", "", in_canada=in_canada)
    except ValueError as error:
        raise Unreadable(str(error), occurrence.need("event-date").place) from error
    try:
        return scan_time(day, clock, zone, in_canada=in_canada)
    except ValueError as error:
        raise Unreadable(str(error), occurrence.need("event-time").place) from error


def _document(name: str, content: Mapping[str, Any], namespace: str) -> bytes:
    try:
        return vendor_xml.dumps(vendor_xml.build(name, content, namespace))
    except ValueError as error:
        raise Untranslatable(str(error)) from error


def _settlement(rules: ShipRules) -> dict[str, Any]:
    return {
        "paid-by-customer": rules.paid_by or rules.customer_number,
        "contract-id": rules.contract_id or None,
        "intended-method-of-payment": rules.method_of_payment,
    }


def _sender(party: types_pb2.Party, rules: ShipRules) -> dict[str, Any]:
    phone = party.phone.strip() or rules.contact_phone
    if not phone:
        raise Untranslatable("ship from: Canada Post wants a telephone; set contact_phone")
    return {
        "name": party.name[:MAX_NAME] or None,
        # Wanted of every sender, where a name need not be there.
        "company": (party.company or party.name)[:MAX_COMPANY],
        "contact-phone": phone[:MAX_PHONE],
        "address-details": _address(party.address, "ship from"),
    }


def _destination(party: types_pb2.Party) -> dict[str, Any]:
    return {
        "name": party.name[:MAX_NAME] or None,
        "company": party.company[:MAX_COMPANY] or None,
        "client-voice-number": party.phone.strip()[:MAX_PHONE] or None,
        "address-details": _address(party.address, "ship to"),
    }


def _address(address: types_pb2.Address, role: str) -> dict[str, Any]:
    province = address.state.strip().upper()
    if not address.city.strip() or not province:
        raise Untranslatable(f"{role}: Canada Post wants city and province")
    if len(address.city) > MAX_CITY or len(province) > MAX_PROVINCE:
        raise Untranslatable(f"{role}: city or province is longer than Canada Post takes")
    lines = carrier_labels.address_lines(list(address.lines), role, MAX_LINE, MAX_LINES)
    return {
        "address-line-1": lines[0],
        "address-line-2": lines[1] if len(lines) > 1 else None,
        "city": address.city,
        "prov-state": province,
        "country-code": address.country_code,
        "postal-zip-code": _postal_code(address.postal_code),
    }


def _postal_code(code: str) -> str:
    plain = code.replace(" ", "").replace("-", "").upper()
    if POSTAL_CODE.fullmatch(plain) is None:
        raise Untranslatable(f"{code!r} is no Canadian postal code")
    return plain


def _parcel(package: shipment_pb2.Package, rules: ShipRules) -> dict[str, Any]:
    parcel: dict[str, Any] = {
        "weight": measures.plain(measures.weight_in(package.weight, "KGM", WEIGHT_STEP))
    }
    if all(package.HasField(side) for side in ("length", "width", "height")):
        parcel["dimensions"] = {
            side: measures.plain(measures.length_in(getattr(package, side), "CMT", LENGTH_STEP))
            for side in ("length", "width", "height")
        }
    flag = carrier_labels.packaging_of(
        package.container_type, rules.package_types, {**rules.packaging, BOX: ""}, "", KIND
    )
    if flag:
        parcel[flag] = True
    return parcel
