"""Access tokens for vendors: fetched once for everybody, renewed before they end."""

from __future__ import annotations

import asyncio
import base64
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from crossdock_adapters.sdk import exchange, vendor_json

RENEW_AT_SHARE_OF_LIFE = 0.9
MAX_ASSERTION_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class Token:
    """One access token and how long it lives from now."""

    value: str = field(repr=False)
    lifetime_seconds: float


class TokenCache:
    """Hands out one token to all callers; a single fetch runs however many wait for it.

    `fetch` gets a new token from the vendor; what it raises reaches every caller that
    waited, and the next caller tries again. A token is renewed at 90 % of its life.
    """

    def __init__(
        self,
        fetch: Callable[[], Awaitable[Token]],
        *,
        renew_at_share_of_life: float = RENEW_AT_SHARE_OF_LIFE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fetch = fetch
        self._share = renew_at_share_of_life
        self._clock = clock
        self._token: Token | None = None
        self._renew_at = 0.0
        self._flight: asyncio.Task[Token] | None = None

    async def get(self) -> str:
        """A token that is good now."""
        if self._token is not None and self._clock() < self._renew_at:
            return self._token.value
        if self._flight is None:
            self._flight = asyncio.create_task(self._renew())
            self._flight.add_done_callback(self._landed)
        # Shielded: one caller that gives up must not take the token from the others.
        return (await asyncio.shield(self._flight)).value

    def invalidate(self, token: str) -> None:
        """Forget this token because the vendor refused it; a newer one is left alone."""
        if self._token is not None and self._token.value == token:
            self._token = None

    async def _renew(self) -> Token:
        # A task of its own: the call of whoever asked first leaves later.
        exchange.step_aside()
        asked_at = self._clock()
        token = await self._fetch()
        self._token = token
        self._renew_at = asked_at + token.lifetime_seconds * self._share
        return token

    def _landed(self, flight: asyncio.Task[Token]) -> None:
        self._flight = None
        if not flight.cancelled():
            flight.exception()  # seen here, so that a fetch nobody waits for stays silent

    def __repr__(self) -> str:
        return "TokenCache(***)"


def basic_credentials(user: str, password: str) -> str:
    """The value of an Authorization header of kind Basic."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def client_assertion(
    private_key_pem: bytes | str,
    *,
    key_id: str,
    issuer: str,
    audience: str,
    algorithm: str = "PS256",
    lifetime_seconds: int = 300,
    claims: Mapping[str, Any] | None = None,
    now: float | None = None,
) -> str:
    """A signed JWT client assertion (RFC 7523) for OAuth 2.0 client credentials.

    `algorithm` is PS256 or RS256 with an RSA key, ES256 with a P-256 key. ValueError when
    key and algorithm do not fit.
    """
    issued_at = int(time.time() if now is None else now)
    header = {"typ": "JWT", "alg": algorithm, "kid": key_id}
    payload = {
        "iss": issuer,
        "aud": audience,
        "iat": issued_at,
        "exp": issued_at + min(lifetime_seconds, MAX_ASSERTION_SECONDS),
        "jti": secrets.token_hex(16),
        **(claims or {}),
    }
    signed = b".".join(_base64url(vendor_json.dumps(part)) for part in (header, payload))
    pem = private_key_pem.encode() if isinstance(private_key_pem, str) else private_key_pem
    key = serialization.load_pem_private_key(pem, password=None)
    return (signed + b"." + _base64url(_sign(key, algorithm, signed))).decode()


def _sign(key: Any, algorithm: str, data: bytes) -> bytes:
    digest = hashes.SHA256()
    if algorithm == "PS256" and isinstance(key, rsa.RSAPrivateKey):
        return key.sign(data, padding.PSS(padding.MGF1(digest), digest.digest_size), digest)
    if algorithm == "RS256" and isinstance(key, rsa.RSAPrivateKey):
        return key.sign(data, padding.PKCS1v15(), digest)
    on_curve = isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name == "secp256r1"
    if algorithm == "ES256" and on_curve:
        r, s = decode_dss_signature(key.sign(data, ec.ECDSA(digest)))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")
    raise ValueError(f"the key does not fit algorithm {algorithm}")


def _base64url(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")
