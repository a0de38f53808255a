"""Decides which flows are finished and old enough to leave the database; pure.

A flow is a root object with all that belongs to it. It goes whole or stays whole.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Set
from dataclasses import dataclass, field
from typing import Final

from crossdock.errors import ConfigurationError

from crossdock_hub.archive.naming import Named
from crossdock_hub.archive.records import FlowRows
from crossdock_hub.config import SECOND
from crossdock_hub.delivery.dead_letters import DEAD_STATES
from crossdock_hub.delivery.ledger import DONE_STATES
from crossdock_hub.objects.lifecycle import ENDED_RETURNS

DAY: Final = 86_400 * SECOND
DAYS_MAX: Final = 36_500
# Kinds of root objects, and the states in which nobody expects any more of one.
ENDED_STATES: Final[Mapping[str, frozenset[str]]] = {
    "order": frozenset({"SHIPPED", "DELIVERED", "CANCELLED"}),
    "inventory_reservation": frozenset({"RELEASED", "EXPIRED"}),
}
RETURN_KIND: Final = "customer_return"
# Rows that belong to no flow and go by their age alone, without a file.
PRUNED: Final = ("request", "held_fact", "replay")
# How long ids that were archived are known.
IDS: Final = "archived_id"
IDS_DAYS_DEFAULT: Final = 3_650.0
# Kinds of what belongs to a flow, and the states in which somebody has to act yet. A charge that is
# only estimated waits for nobody: what is invoiced so late is held.
OPEN_STATES: Final[Mapping[str, frozenset[str]]] = {
    "freight_charge": frozenset({"INVOICED", "DISPUTED", "APPROVED"}),
}

YOUNG: Final = "YOUNG"
OPEN_OBJECT: Final = "OPEN_OBJECT"
OPEN_DELIVERY: Final = "OPEN_DELIVERY"
DEAD_LETTER: Final = "DEAD_LETTER"
HELD_FACT: Final = "HELD_FACT"
OPEN_CHARGE: Final = "OPEN_CHARGE"
REPLAY: Final = "REPLAY"
RETENTION: Final = "RETENTION"
UNSENT: Final = "UNSENT"
UNREADABLE: Final = "UNREADABLE"
NEWEST: Final = "NEWEST"
WHY: Final[Mapping[str, str]] = {
    YOUNG: "something of it changed since",
    OPEN_OBJECT: "it is neither shipped nor cancelled, or a return of it is open",
    OPEN_DELIVERY: "a delivery is not settled",
    DEAD_LETTER: "a dead letter is open",
    HELD_FACT: "a held fact names it",
    OPEN_CHARGE: "a freight charge is invoiced and not settled",
    REPLAY: "a replay that is not over has it, or one that still tells what became of it",
    RETENTION: "an event is younger than its retention",
    UNSENT: "an event is not on the bus yet",
    NEWEST: "it has the newest event of all",
    UNREADABLE: "its rows can't be read or told; the log names it",
}

# What says when a row was last touched, by table.
_TOUCHED: Final[Mapping[str, tuple[str, ...]]] = {
    "objects": ("updated_at",),
    "events": ("record_time",),
    "deliveries": ("updated_at",),
    "attempts": ("begun_at", "ended_at"),
    "operator_words": ("said_at",),
    "scans": ("record_time",),
    "requests": ("created_at",),
}


@dataclass(frozen=True, slots=True)
class Rules:
    """How old things get. flow_ages: kinds of root objects that are archived, microseconds since
    the last change. prune_ages: kinds that are pruned. event_ages: how old events of a type have
    to be before nothing needs them. ids_age: how long archived ids are known."""

    flow_ages: Mapping[str, int] = field(default_factory=dict)
    prune_ages: Mapping[str, int] = field(default_factory=dict)
    event_ages: Mapping[str, int] = field(default_factory=dict)
    ids_age: int = int(IDS_DAYS_DEFAULT * DAY)

    @property
    def idle(self) -> bool:
        """True when nothing is to be archived or pruned."""
        return not self.flow_ages and not self.prune_ages


def rules_of(days: Mapping[str, float], event_ages: Mapping[str, int]) -> Rules:
    """The rules of an operator's setting. ConfigurationError names the first that can't be."""
    known = (*ENDED_STATES, *PRUNED, IDS)
    for name, value in days.items():
        if name not in known:
            raise ConfigurationError(
                f"CROSSDOCK_ARCHIVE_DAYS: there is no {name}; there are {', '.join(known)}"
            )
        if not 0 < value <= DAYS_MAX:
            raise ConfigurationError(
                f"CROSSDOCK_ARCHIVE_DAYS: {name} must be above 0 and at most {DAYS_MAX:,} days"
            )
    ages = {name: int(value * DAY) for name, value in days.items()}
    return Rules(
        {name: ages[name] for name in ENDED_STATES if name in ages},
        {name: ages[name] for name in PRUNED if name in ages},
        event_ages,
        ages.get(IDS, int(IDS_DAYS_DEFAULT * DAY)),
    )


@dataclass(frozen=True, slots=True)
class Held:
    """What holds flows from outside of them.

    named: everything that held facts and payloads name. replayed: root ids of flows that replays
    have which are not over. telling: those of the replays that made deliveries whose items are
    still there. carriers: those of the deliveries that open dead letters are settled with.
    newest_event: the highest number of an event.
    """

    named: Named = field(default_factory=Named)
    replayed: Set[str] = frozenset()
    telling: Set[str] = frozenset()
    carriers: Set[str] = frozenset()
    newest_event: int = 0


def why_it_stays(
    kind: str, rows: FlowRows, names: Collection[str], held: Held, rules: Rules, now: int
) -> str:
    """One of `WHY`, the first that holds; "" when the flow may go. names: what it is known by."""
    roots = [row for row in rows["objects"] if row["id"] == row["root_id"]]
    if not roots or roots[0]["state"] not in ENDED_STATES[kind]:
        return OPEN_OBJECT
    returns = [row for row in rows["objects"] if row["kind"] == RETURN_KIND]
    if any(row["state"] not in ENDED_RETURNS for row in returns):
        return OPEN_OBJECT
    unsettled = {row["state"] for row in rows["deliveries"]} - DONE_STATES
    if unsettled - DEAD_STATES:
        return OPEN_DELIVERY
    if unsettled or any(row["id"] in held.carriers for row in rows["deliveries"]):
        return DEAD_LETTER
    if any(row["state"] in OPEN_STATES.get(row["kind"], ()) for row in rows["objects"]):
        return OPEN_CHARGE
    if last_touched(rows) + rules.flow_ages[kind] > now:
        return YOUNG
    if held.named.has_any(names):
        return HELD_FACT
    if roots[0]["id"] in held.replayed:
        return REPLAY
    # An item has no word of its own for what became of it: its delivery's row says that.
    if any(row["replay_id"] in held.telling for row in rows["deliveries"]):
        return REPLAY
    return _events_keep(rows, held, rules, now)


def _events_keep(rows: FlowRows, held: Held, rules: Rules, now: int) -> str:
    for row in rows["events"]:
        if row["published_at"] is None:
            return UNSENT
        # An event of a contract that is gone has no retention left to be kept by.
        if row["record_time"] + rules.event_ages.get(row["type"], 0) > now:
            return RETENTION
        if row["sequence"] >= held.newest_event:
            return NEWEST
    return ""


def last_touched(rows: FlowRows) -> int:
    """When anything of a flow was last written: microseconds UTC."""
    times = [
        row[column] or 0
        for table, columns in _TOUCHED.items()
        for column in columns
        for row in rows[table]
    ]
    return max(times, default=0)
