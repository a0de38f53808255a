"""Who calls: bearer tokens map to endpoints with one role and a scope. Deny by default."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from crossdock.errors import ConfigurationError, Refusal
from crossdock.options.v1 import options_pb2

_ROLE_NAMES = (name for name, _ in options_pb2.SystemRole.items())
ROLES = frozenset(name.removeprefix("SYSTEM_ROLE_") for name in _ROLE_NAMES) - {
    "UNSPECIFIED",
    "HUB",
}
_SCOPE_FIELDS = ("business_units", "location_numbers", "carrier_codes")
_ENDPOINT_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Scope:
    """Along which lines an endpoint's work is divided; an empty set means all."""

    business_units: frozenset[str] = frozenset()
    location_numbers: frozenset[str] = frozenset()
    carrier_codes: frozenset[str] = frozenset()

    @property
    def is_everything(self) -> bool:
        """True when nothing is outside."""
        return not (self.business_units or self.location_numbers or self.carrier_codes)

    def meets(self, other: Scope) -> bool:
        """True when some object may be in both."""
        return (
            _agree(self.business_units, other.business_units)
            and _agree(self.location_numbers, other.location_numbers)
            and _agree(self.carrier_codes, other.carrier_codes)
        )

    def covers(self, scopes: Mapping[str, frozenset[str]]) -> bool:
        """True when every dimension that both sides name has a value in common.

        scopes: dimension -> values, as `Contract.scopes` finds them in a message.
        """
        return (
            _agree(self.business_units, scopes.get("BUSINESS_UNIT"))
            and _agree(self.location_numbers, scopes.get("LOCATION"))
            and _agree(self.carrier_codes, scopes.get("CARRIER"))
        )


def _agree(allowed: frozenset[str], values: frozenset[str] | None) -> bool:
    return not allowed or not values or not allowed.isdisjoint(values)


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated endpoint. role: "OMS", "ERP", …

    bolder_operations: those whose class an operator lets become one that repeats on less evidence.
    adapter: the only one that it may register with; "": any. older_defaults: versions of its
    adapter's mappings that an operator lets hold again after newer ones.
    """

    endpoint: str
    role: str
    scope: Scope = Scope()
    bolder_operations: frozenset[str] = frozenset()
    adapter: str = ""
    older_defaults: frozenset[str] = frozenset()


HUB = Caller("hub", "HUB")


class Identities:
    """The endpoints this hub knows, by the SHA-256 of their tokens; tokens are never kept."""

    def __init__(self, callers: dict[str, Caller]) -> None:
        self._by_hash = callers

    @property
    def callers(self) -> tuple[Caller, ...]:
        """Every endpoint, by id; one endpoint may have several tokens while they are rotated."""
        unique = {caller.endpoint: caller for caller in self._by_hash.values()}
        return tuple(unique[name] for name in sorted(unique))

    @classmethod
    def load(cls, path: Path) -> Identities:
        """Read the endpoints file.

        JSON: {endpoint id: {"role": "ERP", "token_sha256": [hex, …], "scope": {"business_units":
        […], "location_numbers": […], "carrier_codes": […]}, "bolder_operations": […], "adapter":
        "netsuite", "older_defaults": […]}}. Raises ConfigurationError that names the entry and what
        to do.
        """
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigurationError(
                f"endpoints file {path} can't be read ({type(error).__name__}); "
                "`crossdock dev` writes one, docs/operations.md shows its form"
            ) from None
        if not isinstance(document, dict):
            raise ConfigurationError(f"{path}: has to be an object of endpoints by their ids")
        callers: dict[str, Caller] = {}
        for endpoint, entry in document.items():
            if not isinstance(entry, dict):
                raise ConfigurationError(f"{path}: endpoint {endpoint} has to be an object")
            caller = _caller(endpoint, entry, path)
            for digest in _digests(endpoint, entry, path):
                if digest in callers:
                    raise ConfigurationError(
                        f"{path}: {endpoint} and {callers[digest].endpoint} have the same token"
                    )
                callers[digest] = caller
        return cls(callers)

    def identify(self, authorization: str | None) -> Caller | None:
        """The caller behind an "authorization: Bearer …" header; None when nobody is.

        The token is hashed first, so the time of the look-up tells nothing about it. The scheme is
        read in any case (RFC 9110, 11.1).
        """
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        return self._by_hash.get(token_digest(token))


def token_digest(token: str) -> str:
    """What the endpoints file holds instead of a token: SHA-256, hexadecimal."""
    return hashlib.sha256(token.encode()).hexdigest()


def _caller(endpoint: str, entry: dict[str, object], path: Path) -> Caller:
    if not _ENDPOINT_ID.fullmatch(endpoint) or endpoint == HUB.endpoint:
        raise ConfigurationError(
            f"{path}: {endpoint!r} can't name an endpoint; use up to 64 lower-case letters, "
            f'digits, "-" and "_", and not {HUB.endpoint!r}'
        )
    role = str(entry.get("role", ""))
    if role not in ROLES:
        raise ConfigurationError(
            f"{path}: endpoint {endpoint} has role {role!r}; use one of {', '.join(sorted(ROLES))}"
        )
    scope = entry.get("scope") or {}
    if not isinstance(scope, dict) or set(scope) - set(_SCOPE_FIELDS):
        raise ConfigurationError(
            f"{path}: endpoint {endpoint}: scope has to be an object of {', '.join(_SCOPE_FIELDS)}"
        )
    # A misspelled or misshapen scope would be a wider one.
    parts = (_texts(endpoint, scope, name, path) for name in _SCOPE_FIELDS)
    bolder = frozenset(_texts(endpoint, entry, "bolder_operations", path))
    older = frozenset(_texts(endpoint, entry, "older_defaults", path))
    adapter = entry.get("adapter", "")
    if not isinstance(adapter, str):
        raise ConfigurationError(f"{path}: endpoint {endpoint}: adapter has to be a text")
    scope_of = Scope(*(frozenset(part) for part in parts))
    return Caller(endpoint, role, scope_of, bolder, adapter, older)


def _digests(endpoint: str, entry: dict[str, object], path: Path) -> list[str]:
    digests = [digest.lower() for digest in _texts(endpoint, entry, "token_sha256", path)]
    if not all(_SHA256.fullmatch(digest) for digest in digests):
        raise ConfigurationError(
            f"{path}: endpoint {endpoint}: token_sha256 lists SHA-256 digests of tokens, 64 "
            "hexadecimal digits each"
        )
    return digests


def _texts(endpoint: str, entry: Mapping[str, object], name: str, path: Path) -> list[str]:
    values = entry.get(name, [])
    if not isinstance(values, list) or not all(isinstance(v, str) and v for v in values):
        raise ConfigurationError(f"{path}: endpoint {endpoint}: {name} has to be a list of texts")
    return values


UNKNOWN_ENDPOINT = Refusal(
    "UNKNOWN_ENDPOINT",
    "the call carries no valid bearer token; send `authorization: Bearer TOKEN` of an endpoint "
    "that this hub's endpoints file names",
)
