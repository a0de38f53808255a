"""OAuth 2.0 machine to machine as NetSuite does it: a signed assertion in, a bearer token out.

Checked as documented: PS256/384/512 and ES256/384/512 only (RS256 is refused), the certificate id
in `kid`, the integration's client id in `iss`, the token address in `aud`, scope
`rest_webservices`, and a life under 60 minutes. Tokens live about an hour and there is no refresh
token.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping
from random import Random
from typing import Any, TypeAlias

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
SCOPE = "rest_webservices"
MAX_ASSERTION_SECONDS = 3600
CLOCK_SKEW_SECONDS = 30
MAX_TOKENS = 1024

_HASHES: Mapping[str, hashes.HashAlgorithm] = {
    "256": hashes.SHA256(),
    "384": hashes.SHA384(),
    "512": hashes.SHA512(),
}

PublicKey: TypeAlias = rsa.RSAPublicKey | ec.EllipticCurvePublicKey


class LoginRefused(Exception):
    """The token endpoint refuses; `error` is the OAuth error code."""

    def __init__(self, error: str) -> None:
        super().__init__(error)
        self.error = error


class TokenDesk:
    """Issues and checks bearer tokens of one integration with one mapped certificate."""

    def __init__(
        self,
        client_id: str,
        certificate_id: str,
        key: PublicKey,
        *,
        life_seconds: int,
        random: Random,
        now: Callable[[], float],
    ) -> None:
        self._client_id = client_id
        self._certificate_id = certificate_id
        self._key = key
        self._life_seconds = life_seconds
        self._random = random
        self._now = now
        self._tokens: dict[str, float] = {}

    def issue(self, form: Mapping[str, str], audience: str) -> dict[str, Any]:
        """Answer of the token endpoint. Raises LoginRefused."""
        if form.get("grant_type") != "client_credentials":
            raise LoginRefused("unsupported_grant_type")
        if form.get("client_assertion_type") != ASSERTION_TYPE:
            raise LoginRefused("invalid_request")
        self._check(form.get("client_assertion", ""), audience)
        token = f"{self._random.getrandbits(256):064x}"
        now = self._now()
        self._tokens = {held: end for held, end in self._tokens.items() if end > now}
        if len(self._tokens) >= MAX_TOKENS:
            raise LoginRefused("too_many_tokens")
        self._tokens[token] = now + self._life_seconds
        return {
            "access_token": token,
            "expires_in": str(self._life_seconds),
            "token_type": "Bearer",
        }

    def accepts(self, authorization: str) -> bool:
        """Whether an Authorization header carries a living token."""
        scheme, _, token = authorization.partition(" ")
        return scheme.lower() == "bearer" and self._tokens.get(token, 0.0) > self._now()

    def revoke_all(self) -> int:
        """End every token, as an administrator can; returns how many there were."""
        count = len(self._tokens)
        self._tokens.clear()
        return count

    def _check(self, assertion: str, audience: str) -> None:
        try:
            header_part, payload_part, signature_part = assertion.split(".")
            header, payload = _object(header_part), _object(payload_part)
            signature = _bytes(signature_part)
        except (ValueError, binascii.Error):
            raise LoginRefused("invalid_client") from None
        if header.get("typ") != "JWT" or header.get("kid") != self._certificate_id:
            raise LoginRefused("invalid_client")
        signed = f"{header_part}.{payload_part}".encode()
        _verify(self._key, str(header.get("alg")), signed, signature)
        self._check_claims(payload, audience)

    def _check_claims(self, payload: Mapping[str, Any], audience: str) -> None:
        scopes = payload.get("scope")
        names = scopes if isinstance(scopes, list) else str(scopes).replace(",", " ").split()
        if SCOPE not in names:
            raise LoginRefused("invalid_scope")
        issued, expires = payload.get("iat"), payload.get("exp")
        if not isinstance(issued, int) or not isinstance(expires, int):
            raise LoginRefused("invalid_client")
        audiences = payload.get("aud")
        addressed = audience in (audiences, *_listed(audiences))
        if payload.get("iss") != self._client_id or not addressed:
            raise LoginRefused("invalid_client")
        now = self._now()
        in_time = issued - CLOCK_SKEW_SECONDS <= now < expires + CLOCK_SKEW_SECONDS
        if not in_time or not issued < expires < issued + MAX_ASSERTION_SECONDS:
            raise LoginRefused("invalid_client")


def public_key(pem: bytes) -> PublicKey:
    """The public key in a PEM file that holds a public or a private key. Raises ValueError."""
    if b"PRIVATE KEY" in pem:
        key: object = load_pem_private_key(pem, password=None).public_key()
    else:
        key = load_pem_public_key(pem)
    if not isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey):
        raise ValueError("NetSuite certificates hold RSA or elliptic-curve keys")
    return key


def _verify(key: PublicKey, algorithm: str, signed: bytes, signature: bytes) -> None:
    family, digest = algorithm[:2], _HASHES.get(algorithm[2:])
    try:
        if digest is not None and family == "PS" and isinstance(key, rsa.RSAPublicKey):
            salted = padding.PSS(mgf=padding.MGF1(digest), salt_length=digest.digest_size)
            key.verify(signature, signed, salted, digest)
            return
        if digest is not None and family == "ES" and isinstance(key, ec.EllipticCurvePublicKey):
            half = len(signature) // 2
            r, s = (int.from_bytes(part, "big") for part in (signature[:half], signature[half:]))
            key.verify(encode_dss_signature(r, s), signed, ec.ECDSA(digest))
            return
    except InvalidSignature:
        pass
    raise LoginRefused("invalid_client")


def _object(part: str) -> Mapping[str, Any]:
    decoded = json.loads(_bytes(part))
    if not isinstance(decoded, dict):
        raise ValueError("not an object")
    return decoded


def _bytes(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def _listed(value: object) -> tuple[object, ...]:
    return tuple(value) if isinstance(value, list) else ()
