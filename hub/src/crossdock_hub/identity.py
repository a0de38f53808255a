"""Who calls: bearer tokens map to endpoints with one role and a scope. Deny by default."""

from __future__ import annotations

import hashlib
import json
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


@dataclass(frozen=True, slots=True)
class Scope:
    """Along which lines an endpoint's work is divided; an empty set means all."""

    business_units: frozenset[str] = frozenset()
    location_numbers: frozenset[str] = frozenset()
    carrier_codes: frozenset[str] = frozenset()

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
    """An authenticated endpoint. role: "OMS", "ERP", …"""

    endpoint: str
    role: str
    scope: Scope = Scope()


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
        […], "location_numbers": […], "carrier_codes": […]}}}. Raises ConfigurationError that names
        the entry and what to do.
        """
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigurationError(
                f"endpoints file {path} can't be read ({type(error).__name__}); "
                "`crossdock dev` writes one, docs/operations.md shows its form"
            ) from None
        callers: dict[str, Caller] = {}
        for endpoint, entry in document.items():
            caller = _caller(endpoint, entry, path)
            for digest in entry.get("token_sha256", []):
                if digest in callers:
                    raise ConfigurationError(
                        f"{path}: {endpoint} and {callers[digest].endpoint} have the same token"
                    )
                callers[digest] = caller
        return cls(callers)

    def identify(self, authorization: str | None) -> Caller | None:
        """The caller behind an "authorization: Bearer …" header; None when nobody is.

        The token is hashed first, so the time of the look-up tells nothing about it.
        """
        if not authorization or not authorization.startswith("Bearer "):
            return None
        return self._by_hash.get(token_digest(authorization.removeprefix("Bearer ")))


def token_digest(token: str) -> str:
    """What the endpoints file holds instead of a token: SHA-256, hexadecimal."""
    return hashlib.sha256(token.encode()).hexdigest()


def _caller(endpoint: str, entry: dict[str, object], path: Path) -> Caller:
    role = str(entry.get("role", ""))
    if role not in ROLES:
        raise ConfigurationError(
            f"{path}: endpoint {endpoint} has role {role!r}; use one of {', '.join(sorted(ROLES))}"
        )
    scope = entry.get("scope") or {}
    if not isinstance(scope, dict):
        raise ConfigurationError(f"{path}: endpoint {endpoint}: scope has to be an object")
    return Caller(
        endpoint,
        role,
        Scope(
            frozenset(scope.get("business_units", ())),
            frozenset(scope.get("location_numbers", ())),
            frozenset(scope.get("carrier_codes", ())),
        ),
    )


UNKNOWN_ENDPOINT = Refusal(
    "UNKNOWN_ENDPOINT",
    "the call carries no valid bearer token; send `authorization: Bearer TOKEN` of an endpoint "
    "that this hub's endpoints file names",
)
