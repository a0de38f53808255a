"""The door of a simulated SOAP service: what it checks before it works, and how it answers.

By names of its own, in full: what an adapter has wrong must not pass because both have it from the
same place. It takes a message in its version of SOAP, addressed as WS-Addressing 1.0 has it, with a
user's token whose nonce is new and whose time is near its clock, and elements as its schema has
them.
"""

from __future__ import annotations

import base64
import binascii
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from crossdock_adapters.sdk import soap, vendor_xml
from crossdock_adapters.sdk.adapter import same_secret
from crossdock_adapters.sdk.places import Unreadable
from crossdock_adapters.sdk.vendor_xml import Element

ENVELOPES: Final = {
    "1.1": "http://schemas.xmlsoap.org/soap/envelope/",
    "1.2": "http://www.w3.org/2003/05/soap-envelope",
}
MEDIA: Final = {"1.1": "text/xml", "1.2": "application/soap+xml"}
WSA: Final = "http://www.w3.org/2005/08/addressing"
_OASIS: Final = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-"
WSSE: Final = f"{_OASIS}wssecurity-secext-1.0.xsd"
WSU: Final = f"{_OASIS}wssecurity-utility-1.0.xsd"
BY_DIGEST: Final = f"{_OASIS}username-token-profile-1.0#PasswordDigest"
BY_TEXT: Final = f"{_OASIS}username-token-profile-1.0#PasswordText"
MAX_NONCES: Final = 10_000
SERVER_ERROR: Final = 500
# By the path of an element: its children in their order. A question mark says that one may be
# missing, a plus that it may come several times.
Schema = Mapping[str, Sequence[str]]


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


@dataclass(frozen=True, slots=True)
class Message:
    """What came in. asked: the element of the operation."""

    asked: Element
    id: str
    token: Token


@dataclass
class SoapDoor:
    """One service's. username, password: of the user that it knows. clock: its own, aware.

    nonces: those that were used; a sandbox that goes on after a restart keeps them.
    """

    username: str
    password: str = field(repr=False)
    clock: Callable[[], datetime]
    schema: Schema
    version: str = "1.1"
    tolerance: timedelta = timedelta(seconds=300)
    nonces: deque[str] = field(default_factory=lambda: deque(maxlen=MAX_NONCES))

    async def opened(self, request: Request, operation: str, namespace: str) -> Message:
        """A call of an operation. Faulted: something of it is not as it has to be."""
        action = f"{namespace}/{operation}"
        root = self._root(await request.body())
        self._check_headers(request, action)
        caller = self._checked_token(root)
        message_id = self._message_id(root, action, str(request.url))
        try:
            asked = soap.content(root)
        except Unreadable as error:
            raise Faulted("", str(error)) from None
        if not isinstance(asked, Element) or (asked.name, asked.namespace) != (
            operation, namespace,
        ):  # fmt: skip
            raise Faulted("", f"here is {operation} of {namespace}")
        check_schema(asked, namespace, self.schema)
        return Message(asked, message_id, caller)

    def answer(
        self, operation: str, namespace: str, said: Mapping[str, Any], message: Message
    ) -> Response:
        """The answer to a message; said: its elements."""
        response = vendor_xml.build(f"{operation}Response", said, namespace)
        body = soap.envelope(
            response,
            action=f"{namespace}/{operation}Response",
            relates_to=message.id,
            version=self.version,
        )
        return self.response(body)

    def fault(
        self,
        fault: Faulted,
        status: int = SERVER_ERROR,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """A fault, with the time by its clock."""
        body = soap.fault(
            fault.code,
            fault.text,
            blames=fault.blames,
            created=self.clock(),
            version=self.version,
        )
        return self.response(body, status, headers)

    def response(
        self, body: bytes, status: int = 200, headers: Mapping[str, str] | None = None
    ) -> Response:
        """These bytes, in the media type of its version."""
        return Response(body, status, dict(headers or {}), media_type=MEDIA[self.version])

    def _root(self, data: bytes) -> Element:
        try:
            root = soap.opened(data)
        except Unreadable as error:
            raise Faulted("", str(error)) from None
        if soap.version_of(root) != self.version:
            raise Faulted("", f"SOAP {self.version} is spoken here", "VersionMismatch")
        return root

    def _check_headers(self, request: Request, action: str) -> None:
        """1.1 has SOAPAction, 1.2 a parameter of the content type."""
        media = request.headers.get("content-type", "")
        said = request.headers.get("soapaction", "") if self.version == "1.1" else media
        wanted = MEDIA[self.version]
        if not media.startswith(wanted) or f'"{action}"' not in said:
            raise Faulted("", f"expected {wanted} and the action {action}")

    def _checked_token(self, root: Element) -> Token:
        """Name and digest are right, the time is near, and nobody plays an old call again."""
        said = token(root, self.version)
        now = self.clock()
        try:
            nonce = base64.b64decode(said.nonce, validate=True)
            created = datetime.fromisoformat(said.created)
            expires = datetime.fromisoformat(said.expires) if said.expires else now
            if created.tzinfo is None or expires.tzinfo is None:
                raise ValueError("a time without its zone")
        except (binascii.Error, ValueError):
            raise Faulted("InvalidSecurityToken", "nonce or time cannot be read") from None
        wanted = self.password
        if not said.by_text:
            wanted = soap.password_digest(nonce, said.created, self.password)
        if said.username != self.username or not same_secret(said.password, wanted):
            raise Faulted("FailedAuthentication", "who is that?")
        if abs(created - now) > self.tolerance or expires < now - self.tolerance:
            raise Faulted("MessageExpired", "the message is too old, or of a time to come")
        if said.nonce in self.nonces:
            raise Faulted("InvalidSecurityToken", "the nonce was used")
        self.nonces.append(said.nonce)
        return said

    def _message_id(self, root: Element, action: str, address: str) -> str:
        """WS-Addressing 1.0 is spoken, with the action that the HTTP header names, to here."""
        names = ("MessageID", "Action", "To")
        said = {name: _text(_header(root, self.version, WSA, name)) for name in names}
        if not said["MessageID"] or not said["Action"]:
            raise Faulted("MessageAddressingHeaderRequired", "MessageID and Action are needed")
        if said["Action"] != action or said["To"] not in ("", address):
            raise Faulted("InvalidAddressingHeader", f"expected {action} to {address}")
        return said["MessageID"]


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


def check_schema(element: Element, namespace: str, schema: Schema, path: str = "") -> None:
    """Faulted: an element is missing, strange, of another namespace, or out of its order."""
    path = f"{path}/{element.name}" if path else element.name
    if element.namespace != namespace:
        raise Faulted("", f"{element.path} is not of {namespace}")
    rest = list(element.children)
    for wanted in schema.get(path, ()):
        name = wanted.rstrip("?+")
        if rest and rest[0].name == name:
            check_schema(rest.pop(0), namespace, schema, path)
            while wanted.endswith("+") and rest and rest[0].name == name:
                check_schema(rest.pop(0), namespace, schema, path)
        elif not wanted.endswith("?"):
            raise Faulted("", f"{element.path}: {name} is missing or out of order")
    if rest:
        raise Faulted("", f"{element.path}: {rest[0].name} is strange or out of order")


def gateway_page(status: int) -> Response:
    """What a gateway before the service answers by itself: a page for people."""
    return HTMLResponse("<!DOCTYPE html><html><body>Bad gateway<br></body></html>", status)


def _header(root: Element, version: str, namespace: str, name: str) -> Element | None:
    return _child(_child(root, ENVELOPES[version], "Header"), namespace, name)


def _child(parent: Element | None, namespace: str, name: str) -> Element | None:
    """The first element of exactly this namespace and name."""
    children = () if parent is None else parent.children
    wanted = (namespace, name)
    return next((each for each in children if (each.namespace, each.name) == wanted), None)


def _text(element: Element | None) -> str:
    return "" if element is None else element.text.strip()
