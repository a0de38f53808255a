"""Who may call the simulated org: tokens by assertion, sessions that end, a day's requests."""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from crossdock_adapters.sdk import vendor_json
from crossdock_adapters.sdk.sandbox import VendorError

JWT_BEARER: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
# An assertion may end this much later than it came, and no later.
MAX_ASSERTION_SECONDS: Final = 300
MAX_SESSIONS: Final = 10_000


class AccessRefusal(Exception):
    """No token: `error` and `description` as OAuth writes them."""

    def __init__(self, error: str, description: str) -> None:
        super().__init__(error)
        self.error = error
        self.description = description


@cache
def _key() -> rsa.RSAPrivateKey:
    """One for the process: making one takes long. It opens nothing but simulated orgs."""
    return rsa.generate_private_key(65537, 2048)


def app_key(file: Path | None) -> rsa.RSAPrivateKey:
    """The key whose certificate the connected app has.

    file: where it is kept for its owner alone, and made where it is missing; None: one for the
    process.
    """
    if file is None:
        return _key()
    if not file.exists():
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as open_file:
            open_file.write(private_key_pem(_key()))
    found = serialization.load_pem_private_key(file.read_bytes(), None)
    if not isinstance(found, rsa.RSAPrivateKey):
        raise ValueError("the setting private_key_file names a key that is no RSA key")
    return found


def private_key_pem(key: rsa.RSAPrivateKey) -> str:
    """A key as a client is given it."""
    encoded = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return encoded.decode()


@dataclass(slots=True)
class Access:
    """One connected app with one user. now: seconds since 1970, for assertions and sessions."""

    key: rsa.RSAPrivateKey
    client_id: str
    username: str
    audience: str
    session_seconds: float
    random: Random
    now: Callable[[], float]
    sessions: dict[str, float] = field(default_factory=dict)
    given: int = 0

    def token_answer(
        self, form: Mapping[str, str], instance_url: str, organization: str
    ) -> dict[str, Any]:
        """What the token endpoint answers. VendorError: 400, with what is wrong."""
        try:
            token = self.token(form)
        except AccessRefusal as refused:
            body = {"error": refused.error, "error_description": refused.description}
            raise VendorError(400, body) from None
        return {
            "access_token": token,
            "instance_url": instance_url,
            "id": f"{instance_url}/id/{organization}/0055f0000000001AAA",
            "token_type": "Bearer",
            "scope": "api",
        }

    def token(self, form: Mapping[str, str]) -> str:
        """A token for an assertion. AccessRefusal."""
        if form.get("grant_type") != JWT_BEARER:
            raise AccessRefusal("unsupported_grant_type", "grant type not supported")
        claims = self._claims(form.get("assertion", ""))
        if claims.get("iss") != self.client_id:
            raise AccessRefusal("invalid_client_id", "client identifier invalid")
        if claims.get("aud") != self.audience:
            raise AccessRefusal("invalid_grant", "audience is invalid")
        if claims.get("sub") != self.username:
            raise AccessRefusal("invalid_grant", "user hasn't approved this consumer")
        until = claims.get("exp")
        left = until - self.now() if isinstance(until, int) else -1.0
        if not 0 < left <= MAX_ASSERTION_SECONDS:
            raise AccessRefusal("invalid_grant", "expired authorization code")
        self.given += 1
        value = f"00D!{self.random.getrandbits(160):040x}"
        while len(self.sessions) >= MAX_SESSIONS:
            del self.sessions[next(iter(self.sessions))]
        self.sessions[value] = self.now() + self.session_seconds
        return value

    def is_open(self, token: str) -> bool:
        """Whether a session is there and has not ended."""
        return self.sessions.get(token, 0.0) > self.now()

    def end_all(self) -> int:
        """End every session; how many there were."""
        ended = len(self.sessions)
        self.sessions.clear()
        return ended

    def _claims(self, assertion: str) -> dict[str, Any]:
        parts = assertion.split(".")
        try:
            head, body, signature = (
                base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)) for part in parts
            )
            signed = ".".join(parts[:2]).encode()
            header = vendor_json.loads(head)
            self.key.public_key().verify(signature, signed, padding.PKCS1v15(), hashes.SHA256())
            claims = vendor_json.loads(body)
        except (ValueError, binascii.Error, InvalidSignature):
            raise AccessRefusal("invalid_grant", "invalid assertion") from None
        if header.get("alg") != "RS256" or not isinstance(claims, dict):
            raise AccessRefusal("invalid_grant", "invalid assertion")
        return {str(name): value for name, value in claims.items()}


@dataclass(slots=True)
class DailyRequests:
    """The org's API requests of 24 hours; most: how many there may be."""

    most: int
    used: int = 0

    def take(self) -> bool:
        """Count one; False: there are no more."""
        if self.used >= self.most:
            return False
        self.used += 1
        return True

    @property
    def header(self) -> str:
        return f"api-usage={self.used}/{self.most}"
