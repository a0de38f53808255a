"""What the simulated Canada Post reads and writes: its XML, its checks, its prices."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from xml.etree import ElementTree

from crossdock_adapters.sdk import vendor_xml
from crossdock_adapters.sdk.places import Unreadable
from crossdock_adapters.sdk.sandbox import VendorError
from crossdock_adapters.sdk.vendor_xml import Element

SHIPMENT_NAMESPACE = "http://www.canadapost.ca/ws/shipment-v8"
MANIFEST_NAMESPACE = "http://www.canadapost.ca/ws/manifest-v8"
TRACK_NAMESPACE = "http://www.canadapost.ca/ws/track-v2"
MESSAGES_NAMESPACE = "http://www.canadapost.ca/ws/messages"
SHIPMENT_TYPE = "application/vnd.cpc.shipment-v8+xml"
MANIFEST_TYPE = "application/vnd.cpc.manifest-v8+xml"
TRACK_TYPE = "application/vnd.cpc.track-v2+xml"
MEDIA_TYPES = {"PDF": "application/pdf", "ZPL": "application/zpl"}
MAX_KILOGRAMS = Decimal(30)
CENT = Decimal("0.01")
# Service: (price of a parcel, price of a kilogram) in CAD. Invented.
TARIFF = {
    "DOM.RP": ("9.80", "1.10"), "DOM.EP": ("10.45", "1.25"), "DOM.XP": ("16.90", "2.05"),
    "DOM.XP.CERT": ("19.40", "2.05"), "DOM.PC": ("28.15", "3.30"), "DOM.LIB": ("1.15", "0.20"),
}  # fmt: skip
TAX = Decimal("0.13")
OPTIONS = frozenset(
    {"SO", "COV", "COD", "PA18", "PA19", "HFP", "DNS", "LAD", "D2PO", "RASE", "RTS", "ABAN", "DC"}
)
CONFLICTS = (("SO", "LAD"), ("DNS", "LAD"), ("HFP", "LAD"), ("HFP", "DNS"))
FORMATS = (("4x6", "PDF"), ("4x6", "ZPL"), ("8.5x11", "PDF"))
PAYMENTS = ("Account", "CreditCard", "SupplierAccount")
# Path of a required text: what the schema allows.
REQUIRED = {
    "requested-shipping-point": r"[A-Z]\d[A-Z]\d[A-Z]\d",
    "delivery-spec/service-code": r".{1,32}",
    "delivery-spec/sender/company": r".{1,44}",
    "delivery-spec/sender/contact-phone": r".{1,25}",
    "delivery-spec/sender/address-details/address-line-1": r".{1,44}",
    "delivery-spec/sender/address-details/city": r".{1,40}",
    "delivery-spec/sender/address-details/prov-state": r".{1,20}",
    "delivery-spec/sender/address-details/country-code": r"[A-Za-z]{2}",
    "delivery-spec/destination/address-details/country-code": r"[A-Za-z]{2}",
    "delivery-spec/parcel-characteristics/weight": r"\d{1,3}(\.\d{1,3})?",
    "delivery-spec/preferences/show-packing-instructions": r"true|false",
    "delivery-spec/settlement-info/intended-method-of-payment": r".{1,15}",
}
OPTIONAL = {
    "customer-request-id": r".{1,35}",
    "group-id": r".{1,32}",
    "transmit-shipment": r"true",
    "cpc-pickup-indicator": r"true",
    "delivery-spec/destination/name": r".{1,44}",
    "delivery-spec/destination/company": r".{1,44}",
    "delivery-spec/destination/address-details/address-line-2": r".{1,44}",
    "delivery-spec/parcel-characteristics/dimensions/length": r"\d{1,3}(\.\d)?",
    "delivery-spec/parcel-characteristics/dimensions/width": r"\d{1,3}(\.\d)?",
    "delivery-spec/parcel-characteristics/dimensions/height": r"\d{1,3}(\.\d)?",
    "delivery-spec/references/customer-ref-1": r".{1,35}",
    "delivery-spec/references/customer-ref-2": r".{1,35}",
    "delivery-spec/settlement-info/contract-id": r"\d{1,10}",
    "delivery-spec/settlement-info/paid-by-customer": r"\d{1,10}",
}
# Of a transmission; other elements are refused, as the schema does.
TRANSMIT_REQUIRED = {
    "group-ids/group-id": r".{1,32}",
    "detailed-manifests": r"true|false",
    "method-of-payment": r".{1,15}",
    "manifest-address/manifest-company": r".{1,44}",
    "manifest-address/phone-number": r".{1,25}",
    "manifest-address/address-details/address-line-1": r".{1,44}",
    "manifest-address/address-details/city": r".{1,40}",
    "manifest-address/address-details/prov-state": r".{1,2}",
    "manifest-address/address-details/postal-zip-code": r"[A-Z]\d[A-Z]\d[A-Z]\d",
}
TRANSMIT_OPTIONAL = {
    "cpc-pickup-indicator": r"true",
    "requested-shipping-point": r"[A-Z]\d[A-Z]\d[A-Z]\d",
    "manifest-address/manifest-name": r".{1,44}",
    "customer-reference": r".{1,12}",
    "excluded-shipments/shipment-id": r".{1,32}",
}


class VendorRefusal(VendorError):
    """A refusal in the one shape of every service; without a code the document is empty."""

    def __init__(self, status: int, code: str = "", description: str = "") -> None:
        super().__init__(status, messages(code, description))
        self.code = code


@dataclass(frozen=True, slots=True)
class ShipOrder:
    """A create request that passed every check. group "": transmitted at creation."""

    request_id: str
    group: str
    service: str
    sender_city: str
    sender_province: str
    name: str
    city: str
    province: str
    weight: Decimal
    flags: tuple[str, ...]
    options: tuple[str, ...]
    output_format: str
    encoding: str
    wants_price: bool

    def price(self) -> Decimal:
        """Before tax, in CAD."""
        base, per_kilogram = TARIFF[self.service]
        billed = max(Decimal(1), self.weight.to_integral_value(rounding="ROUND_CEILING"))
        return (Decimal(base) + Decimal(per_kilogram) * billed).quantize(CENT)


def messages(code: str, description: str) -> bytes:
    """The message document; empty without a code."""
    content = {"message": {"code": code, "description": description}} if code else {}
    return document("messages", content, MESSAGES_NAMESPACE)


def document(name: str, content: Mapping[str, Any], namespace: str) -> bytes:
    """A document of plain values."""
    return vendor_xml.dumps(vendor_xml.build(name, content, namespace))


def with_links(
    name: str, content: Mapping[str, Any], links: Sequence[Mapping[str, str]], namespace: str,
    wrapped: bool = True,
) -> bytes:  # fmt: skip
    """A document that ends with its links, in an element of their own unless not `wrapped`."""
    root = vendor_xml.build(name, content, namespace)
    holder = ElementTree.SubElement(root, "links") if wrapped else root
    for link in links:
        ElementTree.SubElement(holder, "link", dict(link))
    return vendor_xml.dumps(root)


def read_document(body: bytes, name: str, namespace: str) -> Element:
    """The document a caller sent, or the gateway's words for one that breaks the schema."""
    try:
        root = vendor_xml.loads(body)
    except Unreadable as error:
        raise _schema(f"cvc-parse: {error}") from error
    if (root.name, root.namespace) != (name, namespace):
        raise _schema(f"cvc-elt.1: no declaration of element {root.name}")
    return root


def read_transmission(root: Element) -> tuple[list[str], list[str]]:
    """The groups of a transmission and the shipments that it leaves out, checked as its schema and
    the carrier's rules say."""
    _check_texts(root, TRANSMIT_REQUIRED, TRANSMIT_OPTIONAL)
    known = {path.partition("/")[0] for path in (*TRANSMIT_REQUIRED, *TRANSMIT_OPTIONAL)}
    if strange := sorted({child.name for child in root.children} - known):
        raise _schema(f"cvc-complex-type: element {strange[0]} is not expected")
    if root.text_of("method-of-payment") not in PAYMENTS:
        raise VendorRefusal(400, "1711", "Invalid Method of Payment")
    groups = [each.text.strip() for each in root.all("group-ids/group-id")]
    return groups, [each.text.strip() for each in root.all("excluded-shipments/shipment-id")]


def read_shipment(root: Element, customers: Sequence[str]) -> ShipOrder:
    """A create request, checked as the schema and the carrier's rules say."""
    _check_texts(root, REQUIRED, OPTIONAL)
    spec = root.need("delivery-spec")
    group, at_once = root.text_of("group-id"), root.text_of("transmit-shipment")
    if bool(group) == bool(at_once):
        raise _schema("cvc-complex-type: one of group-id and transmit-shipment is needed")
    _check_rules(spec, customers)
    parcel = spec.need("parcel-characteristics")
    return ShipOrder(
        request_id=root.text_of("customer-request-id"),
        group=group,
        service=spec.text_of("service-code"),
        sender_city=spec.text_of("sender/address-details/city"),
        sender_province=spec.text_of("sender/address-details/prov-state"),
        name=spec.text_of("destination/name") or spec.text_of("destination/company"),
        city=spec.text_of("destination/address-details/city"),
        province=spec.text_of("destination/address-details/prov-state"),
        weight=Decimal(parcel.text_of("weight")),
        flags=tuple(child.name for child in parcel.children if child.text == "true"),
        options=tuple(each.text_of("option-code") for each in spec.all("options/option")),
        output_format=spec.text_of("print-preferences/output-format", "8.5x11"),
        encoding=spec.text_of("print-preferences/encoding", "PDF"),
        wants_price=root.text_of("provide-pricing-info") == "true",
    )


def _check_texts(root: Element, required: Mapping[str, str], optional: Mapping[str, str]) -> None:
    for path, pattern in {**required, **optional}.items():
        found = list(root.all(path))
        if not found and path in required:
            raise _schema(f"cvc-complex-type: element {path} is missing")
        if any(re.fullmatch(pattern, each.text) is None for each in found):
            raise _schema(f"cvc-simple-type 1: element {path} value is not valid")


def _check_rules(spec: Element, customers: Sequence[str]) -> None:
    destination = spec.need("destination/address-details")
    if destination.text_of("country-code") != "CA":
        raise VendorRefusal(400, "8718", "A valid value for Non-Delivery Handling is required")
    for path, code, what in (
        ("address-line-1", "1156", "Address Line 1 is mandatory"),
        ("city", "1157", "City is mandatory for Canada or USA"),
        ("prov-state", "1159", "Province/State is mandatory for Canada or USA"),
    ):
        if not destination.text_of(path):
            raise VendorRefusal(400, code, what)
    if spec.text_of("service-code") not in TARIFF:
        raise VendorRefusal(400, "10028", "Invalid Product Service ID specified")
    if Decimal(spec.text_of("parcel-characteristics/weight")) > MAX_KILOGRAMS:
        raise VendorRefusal(400, "9111", "The weight exceeds 30 kg")
    options = [each.text_of("option-code") for each in spec.all("options/option")]
    if unknown := sorted(set(options) - OPTIONS):
        raise VendorRefusal(400, "3001", f"Option {unknown[0]} is not available")
    if any(one in options and other in options for one, other in CONFLICTS):
        raise VendorRefusal(400, "3002", "Conflicting options are selected")
    output = spec.text_of("print-preferences/output-format", "8.5x11")
    if (output, spec.text_of("print-preferences/encoding", "PDF")) not in FORMATS:
        raise VendorRefusal(400, "9191", "ZPL is for thermal printers only")
    if spec.text_of("settlement-info/intended-method-of-payment") not in PAYMENTS:
        raise VendorRefusal(400, "1711", "Invalid Method of Payment")
    payer = spec.text_of("settlement-info/paid-by-customer")
    if payer and payer not in customers:
        raise VendorRefusal(400, "1702", "Contract Number not associated to customer")


def _schema(description: str) -> VendorRefusal:
    return VendorRefusal(500, "Server", description)
