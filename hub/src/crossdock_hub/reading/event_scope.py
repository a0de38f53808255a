"""Which events a question is about: by time of recording and by type, checked; pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from crossdock.contracts import Contract
from crossdock.errors import Violation

from crossdock_hub.objects.resources import microseconds
from crossdock_hub.refusals import invalid
from crossdock_hub.unit import first_id_at


@dataclass(frozen=True, slots=True)
class EventScope:
    """Beginnings of event ids and full names of types; empty: no limit."""

    first_id: str = ""
    end_id: str = ""
    types: tuple[str, ...] = ()


def scope_of(contract: Contract, asked: Any, path: str = "") -> EventScope:
    """The scope of a message with since, until and event_types. path: of that message.

    Raises Refused with INVALID_FIELD and all that is wrong.
    """
    broken = [
        Violation(
            f"{path}event_types[{index}]",
            f"there is no event {name!r}; crossdock contract events lists them",
            "event_types.known",
        )
        for index, name in enumerate(asked.event_types)
        if name not in contract.events and name not in contract.events_by_stem
    ]
    both = asked.HasField("since") and asked.HasField("until")
    if both and microseconds(asked.since) >= microseconds(asked.until):
        what = "must be later than since; nothing lies between them"
        broken.append(Violation(f"{path}until", what, "time_range"))
    if broken:
        raise invalid(broken)
    return EventScope(
        first_id_at(microseconds(asked.since)) if asked.HasField("since") else "",
        first_id_at(microseconds(asked.until)) if asked.HasField("until") else "",
        _types(contract, asked.event_types),
    )


def _types(contract: Contract, names: Sequence[str]) -> tuple[str, ...]:
    return tuple(
        name if name in contract.events else contract.events_by_stem[name].type for name in names
    )
