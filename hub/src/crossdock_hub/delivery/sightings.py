"""What was seen of a dead letter group before somebody acknowledges it, and whether it still holds.

A group is no row: finding one means working out the causes of many letters. That is done beside the
writer, which then looks at the few letters that were seen, and at nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass

from crossdock.errors import Refusal

from crossdock_hub.delivery.causes import Cause, cause_by, held_cause
from crossdock_hub.delivery.dead_letters import NO_PATIENCE, is_dead
from crossdock_hub.records import HeldFactRecord
from crossdock_hub.unit import Key, Refused, Unit

# So many letters of a group are seen: one of them that stays is enough.
LETTERS_SEEN_MAX = 3


@dataclass(frozen=True, slots=True)
class Sighting:
    """A group that there was a moment ago. deliveries, held: ids of letters of it that waited; none
    where a record of one that went on says that there is such a group."""

    cause: Cause
    deliveries: tuple[str, ...] = ()
    held: tuple[str, ...] = ()

    @property
    def keys(self) -> frozenset[Key]:
        """What `holds` reads for certain."""
        return frozenset(
            {
                ("dead_letter_group", self.cause.id),
                *(("delivery", each) for each in self.deliveries),
                *(("attempts", each) for each in self.deliveries),
                *(("held_fact", each) for each in self.held),
            }
        )


class MovedOn(Refused):
    """Every letter that was seen has left its group meanwhile: look again."""

    def __init__(self, group_id: str) -> None:
        super().__init__(
            Refusal(
                "HUB_OVERLOADED",
                f"the dead letters of group {group_id} change while they are looked at; "
                "repeat with the same request_id",
                {"cause": "dead_letter_looks_max"},
                retry_after_seconds=1.0,
            )
        )


def holds(unit: Unit, sighting: Sighting) -> bool:
    """Whether there is still such a group: one that was seen waits, or has gone on since."""
    unit.require(sighting.keys)
    if unit.get(("dead_letter_group", sighting.cause.id)) is not None:
        return True
    return any(_waits(unit, each, sighting.cause) for each in sighting.deliveries) or any(
        _is_held(unit.get(("held_fact", each)), sighting.cause) for each in sighting.held
    )


def _waits(unit: Unit, delivery_id: str, cause: Cause) -> bool:
    record = unit.delivery(delivery_id)
    # Doubt of any age counts: whoever acknowledges has seen the group.
    if record is None or not is_dead(record, NO_PATIENCE, unit.now):
        return False
    return cause_by(record, unit.attempts(record)) == cause


def _is_held(fact: HeldFactRecord | None, cause: Cause) -> bool:
    return fact is not None and fact.state == "HELD" and held_cause(fact) == cause
