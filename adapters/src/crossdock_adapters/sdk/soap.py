"""SOAP 1.1 and 1.2: envelopes with a WS-Security UsernameToken and a message id, and answers.

    data = soap.envelope(body, token, message_id="urn:uuid:…", action=action, to=url)
    headers = soap.headers(action)                                 what the bytes are posted with
    data = soap.message_in(content_type, answer.body)              of an answer of several parts
    said = soap.read(data)                                         what is in the Body, or a Fault

The version is that of `version=`, 1.1 where it is not given; answers are read in either. Pure:
nonce and time are given. What is read has no document type, and so no entities (`vendor_xml`);
what cannot be read says where.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import policy
from email.parser import BytesParser
from typing import Final
from xml.etree import ElementTree

from crossdock_adapters.sdk import local_times, vendor_xml
from crossdock_adapters.sdk.places import Unreadable
from crossdock_adapters.sdk.vendor_xml import Element

CONTENT_TYPE = "text/xml; charset=utf-8"
ENVELOPE = "http://schemas.xmlsoap.org/soap/envelope/"
ENVELOPE_12 = "http://www.w3.org/2003/05/soap-envelope"
# The namespace of each version of the protocol.
VERSIONS: Final[Mapping[str, str]] = {"1.1": ENVELOPE, "1.2": ENVELOPE_12}
ADDRESSING = "http://www.w3.org/2005/08/addressing"
_OASIS = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-"
SECURITY = f"{_OASIS}wssecurity-secext-1.0.xsd"
UTILITY = f"{_OASIS}wssecurity-utility-1.0.xsd"
PASSWORD_DIGEST = f"{_OASIS}username-token-profile-1.0#PasswordDigest"
PASSWORD_TEXT = f"{_OASIS}username-token-profile-1.0#PasswordText"
BASE64 = f"{_OASIS}soap-message-security-1.0#Base64Binary"
NONCE_BYTES = 16
_START = re.compile(r';\s*start\s*=\s*("[^"]*"|[^;\s]+)', re.IGNORECASE)
for _prefix, _name in (
    ("soap", ENVELOPE), ("soap12", ENVELOPE_12), ("wsa", ADDRESSING), ("wsse", SECURITY),
    ("wsu", UTILITY),
):  # fmt: skip
    ElementTree.register_namespace(_prefix, _name)


@dataclass(frozen=True, slots=True)
class UsernameToken:
    """Who calls. digest: of the password, a fresh nonce and the time (UTC); in a token by text the
    password itself. expires: when the whole message ends; "" leaves that out."""

    username: str
    digest: str = field(repr=False)
    nonce: str
    created: str
    expires: str = ""
    by_text: bool = False


@dataclass(frozen=True, slots=True)
class Fault:
    """A refusal. code: the vendor's own in the detail where it has one, else the innermost
    subcode (1.2), else the faultcode, without its prefix. blames: whom, as Client or Server, in 1.2
    Sender or Receiver; "" where there was no fault to read. wider: the codes between the two, which
    say less and less: subcodes, and in 1.1 what is before each dot of the faultcode."""

    code: str
    text: str
    blames: str = ""
    wider: tuple[str, ...] = ()

    @property
    def codes(self) -> tuple[str, ...]:
        """All of them, the one that says most first."""
        return tuple(dict.fromkeys(filter(None, (self.code, *self.wider, self.blames))))


def username_token(
    username: str,
    password: str,
    nonce: bytes,
    created: datetime,
    *,
    by_text: bool = False,
    life: timedelta = timedelta(0),
) -> UsernameToken:
    """A token of the UsernameToken Profile 1.0. created: aware.

    by_text: PasswordText, for services that keep no password from which they could make a digest;
    over TLS only. life: how long the message is good for, told as a Timestamp; 0: not told.
    """
    at = _instant(created)
    said = password if by_text else password_digest(nonce, at, password)
    expires = _instant(created + life) if life else ""
    return UsernameToken(username, said, base64.b64encode(nonce).decode(), at, expires, by_text)


def password_digest(nonce: bytes, created: str, password: str) -> str:
    """Base64 of SHA-1 of nonce, time and password: what the profile prescribes."""
    joined = nonce + created.encode() + password.encode()
    return base64.b64encode(hashlib.sha1(joined).digest()).decode()


def headers(action: str, version: str = "1.1") -> dict[str, str]:
    """The HTTP headers of a message: 1.1 has SOAPAction, 1.2 a parameter of the content type."""
    if version == "1.1":
        return {"Content-Type": CONTENT_TYPE, "SOAPAction": f'"{action}"'}
    return {"Content-Type": f'application/soap+xml; charset=utf-8; action="{action}"'}


def envelope(
    body: ElementTree.Element,
    token: UsernameToken | None = None,
    *,
    message_id: str = "",
    action: str = "",
    to: str = "",
    relates_to: str = "",
    created: datetime | None = None,
    version: str = "1.1",
) -> bytes:
    """The document to post. ValueError: a text has what XML cannot say.

    A message with an id has an action, too, the same as in its HTTP headers: WS-Addressing 1.0
    (core, section 3.2) takes none without it. to: the address.

    relates_to and created are what answers have: the message that is answered, and the answerer's
    time.
    """
    space = VERSIONS[version]
    root = ElementTree.Element(f"{{{space}}}Envelope")
    header = ElementTree.SubElement(root, f"{{{space}}}Header")
    if token is not None:
        _add_token(header, token, space)
    if created is not None:
        _add_timestamp(_security(header, space), _instant(created), "")
    addressed = {"To": to, "Action": action, "MessageID": message_id, "RelatesTo": relates_to}
    for name, text in addressed.items():
        if text:
            ElementTree.SubElement(header, f"{{{ADDRESSING}}}{name}").text = text
    ElementTree.SubElement(root, f"{{{space}}}Body").append(body)
    return vendor_xml.dumps(root)


def fault(
    code: str,
    text: str,
    *,
    blames: str = "Client",
    relates_to: str = "",
    created: datetime | None = None,
    version: str = "1.1",
) -> bytes:
    """An answer that refuses, as a simulated vendor gives it. blames: Client or Server, whose
    fault it is; 1.2 calls them Sender and Receiver. code: the vendor's own; "": it has none."""
    space = VERSIONS[version]
    made = ElementTree.Element(f"{{{space}}}Fault")
    if version == "1.1":
        ElementTree.SubElement(made, "faultcode").text = f"soap:{blames}"
        ElementTree.SubElement(made, "faultstring").text = text
        detail = ElementTree.SubElement(made, "detail") if code else None
    else:
        whose = ElementTree.SubElement(made, f"{{{space}}}Code")
        said = {"Client": "Sender", "Server": "Receiver"}.get(blames, blames)
        ElementTree.SubElement(whose, f"{{{space}}}Value").text = f"soap12:{said}"
        reason = ElementTree.SubElement(made, f"{{{space}}}Reason")
        ElementTree.SubElement(reason, f"{{{space}}}Text").text = text
        detail = ElementTree.SubElement(made, f"{{{space}}}Detail") if code else None
    if detail is not None:
        ElementTree.SubElement(detail, "code").text = code
    return envelope(made, relates_to=relates_to, created=created, version=version)


def message_in(content_type: str, body: bytes) -> bytes:
    """The document of an answer, whose envelope may come as the root of several parts (MTOM, SOAP
    with Attachments). Unreadable: it says that it has parts, and its root is none of them.

    What other parts hold, such as images, is left out.
    """
    if not content_type.strip().lower().startswith("multipart/related"):
        return body
    head = f"Content-Type: {' '.join(content_type.split())}\r\n\r\n".encode()
    whole = BytesParser(policy=policy.HTTP).parsebytes(head + body)
    # Its parameter says which part is the root; without it the first one is (RFC 2387). Some
    # services leave out the quotes that it needs, or the angle brackets that belong to an id.
    start = _START.search(content_type)
    root_id = _bare(start[1].strip('"')) if start else ""
    for part in whole.iter_parts():
        if root_id in ("", _bare(str(part.get("Content-ID", "")))):
            found = part.get_payload(decode=True)
            return found if isinstance(found, bytes) else b""
    raise Unreadable(f"has no part {root_id or 'at all'}", "the answer of several parts")


def read(data: bytes, code_at: str = "code") -> Element | Fault:
    """What is in the Body of an envelope. Unreadable: it is no envelope, and where."""
    return content(opened(data), code_at)


def opened(data: bytes) -> Element:
    """An envelope, with its Header. Unreadable: it is none."""
    root = vendor_xml.loads(data)
    if root.name != "Envelope" or root.namespace not in VERSIONS.values():
        raise Unreadable("is no SOAP envelope", root.place)
    return root


def content(root: Element, code_at: str = "code") -> Element | Fault:
    """What is in the Body of an opened envelope. Unreadable: it holds nothing, or several.

    code_at: where in the detail of a fault the vendor's own code stands.
    """
    body = root.need("Body")
    if len(body.children) != 1:
        raise Unreadable(f"has {len(body.children)} elements and not one", body.place)
    (found,) = body.children
    if (found.name, found.namespace) != ("Fault", root.namespace):
        return found
    if root.namespace == ENVELOPE:
        own, text = found.text_of(f"detail/{code_at}"), found.text_of("faultstring")
        told = _dotted(_local(found.text_of("faultcode")))
    else:
        own, text = found.text_of(f"Detail/{code_at}"), found.text_of("Reason/Text")
        told = _subcodes(found.find("Code"))
    code, *wider = dict.fromkeys(filter(None, (own, *told))) or [""]
    blames = told[-1] if told else ""
    return Fault(code, text, blames, tuple(each for each in wider if each != blames))


def version_of(root: Element) -> str:
    """The version of an opened envelope."""
    return next(version for version, space in VERSIONS.items() if space == root.namespace)


def told_time(root: Element) -> datetime | None:
    """When an opened envelope was made, by the clock of who made it; None: it does not say."""
    return local_times.moment_in(root.text_of("Header/Security/Timestamp/Created"))


def _subcodes(code: Element | None) -> list[str]:
    """The code of 1.2 with all its subcodes, the deepest first."""
    told: list[str] = []
    while code is not None:
        told.insert(0, _local(code.text_of("Value")))
        code = code.find("Subcode")
    return told


def _dotted(code: str) -> list[str]:
    """The faultcode of 1.1 with what is before each of its dots (section 4.4.1)."""
    parts = code.split(".")
    return [".".join(parts[:length]) for length in range(len(parts), 0, -1)]


def _bare(content_id: str) -> str:
    return content_id.strip().removeprefix("<").removesuffix(">")


def _local(name: str) -> str:
    return name.rpartition(":")[2]


def _instant(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _security(header: ElementTree.Element, space: str) -> ElementTree.Element:
    found = ElementTree.SubElement(header, f"{{{SECURITY}}}Security")
    found.set(f"{{{space}}}mustUnderstand", "1" if space == ENVELOPE else "true")
    return found


def _add_timestamp(security: ElementTree.Element, created: str, expires: str) -> None:
    made = ElementTree.SubElement(security, f"{{{UTILITY}}}Timestamp")
    ElementTree.SubElement(made, f"{{{UTILITY}}}Created").text = created
    if expires:
        ElementTree.SubElement(made, f"{{{UTILITY}}}Expires").text = expires


def _add_token(header: ElementTree.Element, token: UsernameToken, space: str) -> None:
    security = _security(header, space)
    if token.expires:
        _add_timestamp(security, token.created, token.expires)
    made = ElementTree.SubElement(security, f"{{{SECURITY}}}UsernameToken")
    ElementTree.SubElement(made, f"{{{SECURITY}}}Username").text = token.username
    kind = PASSWORD_TEXT if token.by_text else PASSWORD_DIGEST
    password = ElementTree.SubElement(made, f"{{{SECURITY}}}Password", Type=kind)
    password.text = token.digest
    nonce = ElementTree.SubElement(made, f"{{{SECURITY}}}Nonce", EncodingType=BASE64)
    nonce.text = token.nonce
    ElementTree.SubElement(made, f"{{{UTILITY}}}Created").text = token.created
