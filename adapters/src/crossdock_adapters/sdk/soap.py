"""SOAP 1.1: envelopes with a WS-Security UsernameToken and a message id, and answers with faults.

    data = soap.envelope(body, token, message_id="urn:uuid:…")     bytes to post
    said = soap.read(answer.body)                                  what is in the Body, or a Fault

Pure: nonce and time are given. What is read has no document type, and so no entities
(`vendor_xml`); what cannot be read says where.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from xml.etree import ElementTree

from crossdock_adapters.sdk import vendor_xml
from crossdock_adapters.sdk.places import Unreadable
from crossdock_adapters.sdk.vendor_xml import Element

CONTENT_TYPE = "text/xml; charset=utf-8"
ENVELOPE = "http://schemas.xmlsoap.org/soap/envelope/"
ADDRESSING = "http://www.w3.org/2005/08/addressing"
_OASIS = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-"
SECURITY = f"{_OASIS}wssecurity-secext-1.0.xsd"
UTILITY = f"{_OASIS}wssecurity-utility-1.0.xsd"
PASSWORD_DIGEST = f"{_OASIS}username-token-profile-1.0#PasswordDigest"
BASE64 = f"{_OASIS}soap-message-security-1.0#Base64Binary"
NONCE_BYTES = 16
for _prefix, _name in (
    ("soap", ENVELOPE), ("wsa", ADDRESSING), ("wsse", SECURITY), ("wsu", UTILITY),
):  # fmt: skip
    ElementTree.register_namespace(_prefix, _name)


@dataclass(frozen=True, slots=True)
class UsernameToken:
    """Who calls: the password goes as a digest of itself, a fresh nonce and the time, UTC."""

    username: str
    digest: str
    nonce: str
    created: str


@dataclass(frozen=True, slots=True)
class Fault:
    """A refusal. code: the vendor's own in the detail where it has one, else the faultcode."""

    code: str
    text: str


def username_token(username: str, password: str, nonce: bytes, created: datetime) -> UsernameToken:
    """A token of the UsernameToken Profile 1.0 with PasswordDigest. created: aware."""
    at = created.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    digest = password_digest(nonce, at, password)
    return UsernameToken(username, digest, base64.b64encode(nonce).decode(), at)


def password_digest(nonce: bytes, created: str, password: str) -> str:
    """Base64 of SHA-1 of nonce, time and password: what the profile prescribes."""
    joined = nonce + created.encode() + password.encode()
    return base64.b64encode(hashlib.sha1(joined).digest()).decode()


def envelope(
    body: ElementTree.Element, token: UsernameToken | None = None, *, message_id: str = ""
) -> bytes:
    """The document to post. ValueError: a text has what XML cannot say."""
    root = ElementTree.Element(f"{{{ENVELOPE}}}Envelope")
    header = ElementTree.SubElement(root, f"{{{ENVELOPE}}}Header")
    if token is not None:
        _add_token(header, token)
    if message_id:
        ElementTree.SubElement(header, f"{{{ADDRESSING}}}MessageID").text = message_id
    ElementTree.SubElement(root, f"{{{ENVELOPE}}}Body").append(body)
    return vendor_xml.dumps(root)


def fault(code: str, text: str) -> bytes:
    """An answer that refuses, as a simulated vendor gives it."""
    made = ElementTree.Element(f"{{{ENVELOPE}}}Fault")
    ElementTree.SubElement(made, "faultcode").text = "soap:Client"
    ElementTree.SubElement(made, "faultstring").text = text
    detail = ElementTree.SubElement(made, "detail")
    ElementTree.SubElement(detail, "code").text = code
    return envelope(made)


def read(data: bytes) -> Element | Fault:
    """What is in the Body of an envelope. Unreadable: it is no envelope, and where."""
    return content(opened(data))


def opened(data: bytes) -> Element:
    """An envelope, with its Header. Unreadable: it is none."""
    root = vendor_xml.loads(data)
    if (root.name, root.namespace) != ("Envelope", ENVELOPE):
        raise Unreadable("is no SOAP 1.1 envelope", root.place)
    return root


def content(root: Element) -> Element | Fault:
    """What is in the Body of an opened envelope. Unreadable: it holds nothing, or several."""
    body = root.need("Body")
    if len(body.children) != 1:
        raise Unreadable(f"has {len(body.children)} elements and not one", body.place)
    (found,) = body.children
    if (found.name, found.namespace) != ("Fault", ENVELOPE):
        return found
    code = found.text_of("detail/code") or found.text_of("faultcode").rpartition(":")[2]
    return Fault(code, found.text_of("faultstring"))


def token_of(root: Element) -> UsernameToken | None:
    """The token in an opened envelope, for a simulated vendor to check; None: there is none."""
    found = root.find("Header/Security/UsernameToken")
    if found is None:
        return None
    parts = [found.text_of(name) for name in ("Username", "Password", "Nonce", "Created")]
    return UsernameToken(*parts)


def _add_token(header: ElementTree.Element, token: UsernameToken) -> None:
    security = ElementTree.SubElement(header, f"{{{SECURITY}}}Security")
    security.set(f"{{{ENVELOPE}}}mustUnderstand", "1")
    made = ElementTree.SubElement(security, f"{{{SECURITY}}}UsernameToken")
    ElementTree.SubElement(made, f"{{{SECURITY}}}Username").text = token.username
    password = ElementTree.SubElement(made, f"{{{SECURITY}}}Password", Type=PASSWORD_DIGEST)
    password.text = token.digest
    nonce = ElementTree.SubElement(made, f"{{{SECURITY}}}Nonce", EncodingType=BASE64)
    nonce.text = token.nonce
    ElementTree.SubElement(made, f"{{{UTILITY}}}Created").text = token.created
