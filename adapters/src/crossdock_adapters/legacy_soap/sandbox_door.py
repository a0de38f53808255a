"""What the simulated ERP checks of a message before it works: addressing, credentials, schema.

By names of its own, in full: what the adapter has wrong must not pass because both have it from the
same place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from crossdock_adapters.sdk.vendor_xml import Element

ENVELOPES: Final = {
    "1.1": "http://schemas.xmlsoap.org/soap/envelope/",
    "1.2": "http://www.w3.org/2003/05/soap-envelope",
}
WSA: Final = "http://www.w3.org/2005/08/addressing"
_OASIS: Final = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-"
WSSE: Final = f"{_OASIS}wssecurity-secext-1.0.xsd"
WSU: Final = f"{_OASIS}wssecurity-utility-1.0.xsd"
BY_DIGEST: Final = f"{_OASIS}username-token-profile-1.0#PasswordDigest"
BY_TEXT: Final = f"{_OASIS}username-token-profile-1.0#PasswordText"
# The sequences of its schema: a question mark says that an element may be missing, a plus that it
# may come several times.
_ISSUE_LINE: Final = ("LineNumber", "Item", "Quantity", "Unit")
_DETAIL: Final = ("LineNumber", "PackageNumber", "Lot?", "SerialNumber?", "Quantity")
_SHIP_TO: Final = (
    "Name", "CompanyName?", "Street?", "Street2?", "City?", "State?", "PostalCode?", "Country?",
)  # fmt: skip
SCHEMA: Final[Mapping[str, Sequence[str]]] = {
    "PostSalesOrder": (
        "Reference", "Action", "OrderNumber", "Company?", "Customer", "CustomerReference?",
        "OrderDate?", "PromiseDate", "Carrier?", "Service?", "Currency?", "ShipTo?", "Lines?",
    ),
    "PostSalesOrder/ShipTo": _SHIP_TO,
    "PostSalesOrder/Lines": ("Line+",),
    "PostSalesOrder/Lines/Line": (*_ISSUE_LINE, "Warehouse?", "Price?"),
    "PostGoodsIssue": (
        "Reference", "Action", "ShipmentNumber", "Departure?", "OrderNumber", "Warehouse?",
        "ShipDate", "Carrier?", "Service?", "TrackingNumber?", "BillOfLading?", "Packages?",
        "Lines?", "Details?",
    ),
    "PostGoodsIssue/Packages": ("Package+",),
    "PostGoodsIssue/Packages/Package": (
        "PackageNumber", "TrackingNumber?", "Weight", "WeightUnit",
    ),
    "PostGoodsIssue/Lines": ("Line+",),
    "PostGoodsIssue/Lines/Line": _ISSUE_LINE,
    "PostGoodsIssue/Details": ("Detail+",),
    "PostGoodsIssue/Details/Detail": _DETAIL,
    "GetDocument": ("Reference",),
    "GetItemChanges": ("After", "Most"),
}  # fmt: skip


class Faulted(Exception):
    """It answers with a fault. code: its own; "" where only the blame is told."""

    def __init__(self, code: str, text: str, blames: str = "Client") -> None:
        super().__init__(text)
        self.code, self.text, self.blames = code, text, blames


@dataclass(frozen=True, slots=True)
class Token:
    """Who calls, as the message says. password: by text, or the digest of it."""

    username: str
    password: str = field(repr=False)
    nonce: str
    created: str
    expires: str
    by_text: bool


def token(root: Element, version: str) -> Token:
    """The token of a message. Faulted: there is none, or it is none of the profile's."""
    security = _header(root, version, WSSE, "Security")
    found = _child(security, WSSE, "UsernameToken")
    password = _child(found, WSSE, "Password")
    if security is None or found is None or password is None:
        raise Faulted("InvalidSecurity", "a token is needed")
    must = security.attributes.get(f"{{{ENVELOPES[version]}}}mustUnderstand")
    kind = password.attributes.get("Type", BY_TEXT)
    if must not in ("1", "true") or kind not in (BY_DIGEST, BY_TEXT):
        raise Faulted("InvalidSecurity", "the header must be understood, its password be typed")
    return Token(
        _text(_child(found, WSSE, "Username")),
        _text(password),
        _text(_child(found, WSSE, "Nonce")),
        _text(_child(found, WSU, "Created")),
        _text(_child(_child(security, WSU, "Timestamp"), WSU, "Expires")),
        kind == BY_TEXT,
    )


def message_id(root: Element, version: str, action: str, address: str) -> str:
    """The message id. Faulted: WS-Addressing 1.0 is spoken without the action that the HTTP header
    names, or to another address than this; or a message has no id."""
    said = {
        name: _text(_header(root, version, WSA, name)) for name in ("MessageID", "Action", "To")
    }
    if not said["MessageID"] or not said["Action"]:
        raise Faulted("MessageAddressingHeaderRequired", "MessageID and Action are needed")
    if said["Action"] != action or said["To"] not in ("", address):
        raise Faulted("InvalidAddressingHeader", f"expected {action} to {address}")
    return said["MessageID"]


def check_schema(element: Element, namespace: str, path: str = "") -> None:
    """Faulted: an element is missing, strange, of another namespace, or out of its order."""
    path = f"{path}/{element.name}" if path else element.name
    if element.namespace != namespace:
        raise Faulted("", f"{element.path} is not of {namespace}")
    rest = list(element.children)
    for wanted in SCHEMA.get(path, ()):
        name = wanted.rstrip("?+")
        if rest and rest[0].name == name:
            check_schema(rest.pop(0), namespace, path)
            while wanted.endswith("+") and rest and rest[0].name == name:
                check_schema(rest.pop(0), namespace, path)
        elif not wanted.endswith("?"):
            raise Faulted("", f"{element.path}: {name} is missing or out of order")
    if rest:
        raise Faulted("", f"{element.path}: {rest[0].name} is strange or out of order")


def _header(root: Element, version: str, namespace: str, name: str) -> Element | None:
    return _child(_child(root, ENVELOPES[version], "Header"), namespace, name)


def _child(parent: Element | None, namespace: str, name: str) -> Element | None:
    """The first element of exactly this namespace and name."""
    children = () if parent is None else parent.children
    wanted = (namespace, name)
    return next((each for each in children if (each.namespace, each.name) == wanted), None)


def _text(element: Element | None) -> str:
    return "" if element is None else element.text.strip()
