"""Who may call the simulated platform: three OAuth grants, and the Pub/Sub service account."""

from __future__ import annotations

import base64
import binascii
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from crossdock_adapters.sdk import vendor_json

JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
PUBSUB_SCOPE = "https://www.googleapis.com/auth/pubsub"
KEY_BITS = 2048
MAX_TOKENS = 10_000
MAX_ASSERTION = timedelta(hours=1)
CLOCK_TOLERANCE = timedelta(seconds=60)
GRANTS = ("password", "realm_password", "client_credentials")


class AccessRefusal(Exception):
    """A token request that is refused, in OAuth's words."""

    def __init__(self, status: int, error: str, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.body = {"error": error, "error_description": text}


@dataclass(slots=True)
class Tokens:
    """Issued bearer tokens of one kind; old ones are dropped at a limit."""

    lifetime_seconds: float
    issued: int = 0
    _until: dict[str, datetime] = field(default_factory=dict)

    def issue(self, now: datetime) -> str:
        if len(self._until) >= MAX_TOKENS:
            self._until.pop(next(iter(self._until)))
        token = secrets.token_urlsafe(32)
        self._until[token] = now + timedelta(seconds=self.lifetime_seconds)
        self.issued += 1
        return token

    def answer(self, now: datetime) -> dict[str, Any]:
        """The body of a granted token request."""
        return {
            "access_token": self.issue(now),
            "token_type": "Bearer",
            "expires_in": int(self.lifetime_seconds),
        }

    def valid(self, authorization: str, now: datetime) -> bool:
        kind, _, token = authorization.partition(" ")
        until = self._until.get(token)
        return kind == "Bearer" and until is not None and until > now

    def expire_all(self) -> int:
        count = len(self._until)
        self._until.clear()
        return count


@dataclass(frozen=True, slots=True)
class Credentials:
    """The platform's own client and user; `grant` is the shape this environment accepts."""

    grant: str
    client_id: str
    client_secret: str = field(repr=False)
    username: str = ""
    password: str = field(default="", repr=False)

    def check(self, realm: bool, form: Mapping[str, str], authorization: str) -> None:
        """Accept a token request or raise AccessRefusal."""
        if realm != (self.grant != "password"):
            raise AccessRefusal(404, "not_found", "no token service at this path")
        wanted = "client_credentials" if self.grant == "client_credentials" else "password"
        if form.get("grant_type") != wanted:
            raise AccessRefusal(400, "unsupported_grant_type", "this grant is not enabled")
        client = _basic(authorization)
        if client is None and realm:
            client = (form.get("client_id", ""), form.get("client_secret", ""))
        if client != (self.client_id, self.client_secret):
            raise AccessRefusal(401, "invalid_client", "client credentials are wrong")
        user = (form.get("username", ""), form.get("password", ""))
        if wanted == "password" and user != (self.username, self.password):
            raise AccessRefusal(400, "invalid_grant", "user credentials are wrong")


class ServiceAccount:
    """The Pub/Sub service account that the vendor's project team would hand over as JSON."""

    def __init__(self, project: str, email: str, key: rsa.RSAPrivateKey, key_id: str) -> None:
        self.project = project
        self.email = email
        self._key = key
        self._key_id = key_id

    @classmethod
    def create(cls, project: str) -> ServiceAccount:
        key = rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS)
        email = f"wm-host@{project}.iam.gserviceaccount.com"
        return cls(project, email, key, secrets.token_hex(20))

    def as_json(self, token_uri: str) -> dict[str, str]:
        """The key file's content."""
        pem = self._key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return {
            "type": "service_account",
            "project_id": self.project,
            "private_key_id": self._key_id,
            "private_key": pem.decode(),
            "client_email": self.email,
            "token_uri": token_uri,
        }

    def write(self, path: Path, token_uri: str) -> None:
        """Write the key file, readable by its owner only."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(vendor_json.dumps(self.as_json(token_uri)))

    def check(self, form: Mapping[str, str], audience: str, now: datetime) -> None:
        """Accept a JWT-bearer token request (RFC 7523, RS256) or raise AccessRefusal."""
        if form.get("grant_type") != JWT_BEARER:
            raise AccessRefusal(400, "unsupported_grant_type", "only the JWT bearer grant")
        claims = self._verified(form.get("assertion", ""))
        issued, expires = claims.get("iat"), claims.get("exp")
        if not isinstance(issued, int) or not isinstance(expires, int):
            raise AccessRefusal(400, "invalid_grant", "iat and exp are required")
        if claims.get("iss") != self.email or claims.get("aud") != audience:
            raise AccessRefusal(400, "invalid_grant", "issuer or audience is wrong")
        if PUBSUB_SCOPE not in str(claims.get("scope", "")).split():
            raise AccessRefusal(400, "invalid_scope", "the Pub/Sub scope is missing")
        at = now.timestamp()
        tolerance = CLOCK_TOLERANCE.total_seconds()
        if not at - MAX_ASSERTION.total_seconds() - tolerance <= issued <= at + tolerance:
            raise AccessRefusal(400, "invalid_grant", "iat is out of range")
        if not at <= expires <= issued + MAX_ASSERTION.total_seconds():
            raise AccessRefusal(400, "invalid_grant", "exp is out of range")

    def _verified(self, assertion: str) -> dict[str, Any]:
        parts = assertion.split(".")
        try:
            head, claims, signature = (_unpadded(part) for part in parts)
            header = vendor_json.loads(head)
            content = vendor_json.loads(claims)
            if header.get("alg") != "RS256" or header.get("kid") != self._key_id:
                raise ValueError
            signed = f"{parts[0]}.{parts[1]}".encode()
            self._key.public_key().verify(signature, signed, padding.PKCS1v15(), hashes.SHA256())
        except (ValueError, binascii.Error, InvalidSignature, AttributeError):
            raise AccessRefusal(400, "invalid_grant", "Invalid JWT signature.") from None
        return dict(content)


def _basic(authorization: str) -> tuple[str, str] | None:
    kind, _, encoded = authorization.partition(" ")
    if kind != "Basic":
        return None
    try:
        user, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return user, password


def _unpadded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
