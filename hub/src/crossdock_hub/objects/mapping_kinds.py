"""Whose codes an endpoint kind are, and which version of its defaults holds; pure.

A kind is of the role that told its defaults first. Of several versions the one that holds is the
newest: the one that was told for the first time last. An older one comes back where an adapter of
before an upgrade starts once more, and would take the newer rows away.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from crossdock.errors import Refusal

from crossdock_hub.identity import Caller
from crossdock_hub.replacing import replace
from crossdock_hub.unit import Refused

# Versions that are known of a kind: one that is older than these counts as new.
VERSIONS_MAX: Final = 64


@dataclass(frozen=True, slots=True)
class MappingKindRecord:
    """An endpoint kind whose defaults were told. versions: JSON, the one that holds at the end."""

    endpoint_kind: str
    role: str
    versions: str = "[]"

    def known_versions(self) -> list[str]:
        """Versions in the order in which they came to hold."""
        found: list[str] = json.loads(self.versions)
        return found


def refuse_stranger(known: MappingKindRecord | None, kind: str, caller: Caller) -> None:
    """Raise Refused for an endpoint that would say what the codes of somebody else mean."""
    if known is None or known.role == caller.role or caller.adapter == kind:
        return
    raise Refused(
        Refusal(
            "OUT_OF_SCOPE",
            f"the codes of {kind!r} are told by endpoints of role {known.role}, and "
            f"{caller.endpoint} has role {caller.role}; if they are its own, write "
            f'"adapter": "{kind}" to {caller.endpoint} in the hub\'s endpoints file and start the '
            "hub anew",
            {"scope": "adapter"},
        )
    )


def newer_version(known: MappingKindRecord | None, version: str, allowed: frozenset[str]) -> str:
    """The version that holds instead of one that is told; "": the told one is to hold.

    allowed: those that an operator lets hold again.
    """
    versions = [] if known is None else known.known_versions()
    if version not in versions[:-1] or version in allowed:
        return ""
    return versions[-1]


def holding(
    known: MappingKindRecord | None, kind: str, caller: Caller, version: str
) -> MappingKindRecord:
    """A kind as it is once a version of its defaults holds."""
    record = MappingKindRecord(kind, caller.role) if known is None else known
    others: Sequence[str] = [each for each in record.known_versions() if each != version]
    versions = [*others, version][-VERSIONS_MAX:]
    return replace(record, role=caller.role, versions=json.dumps(versions))
