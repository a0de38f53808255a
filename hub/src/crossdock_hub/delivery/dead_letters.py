"""Groups of dead letters by cause: who belongs to one, how it stands, and when it closes; pure.

A group is derived each time somebody looks: what waits is found in the ledger, what went on in the
records that mending.py keeps. A delivery that goes again belongs to its group until it is settled.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from crossdock_hub.config import SECOND, Limits
from crossdock_hub.delivery import breaking
from crossdock_hub.delivery.causes import (
    Cause,
    DeadLetterGroupRecord,
    DeadLetterRecord,
    StoppedRecord,
)
from crossdock_hub.records import DeliveryRecord

OBJECTS_SHOWN_MAX = 20
DEAD_STATES = frozenset({"PARKED", "REJECTED", "UNROUTED"})
DOUBTFUL_STATES = frozenset({"UNKNOWN", "RESOLVING"})


@dataclass(frozen=True, slots=True)
class Member:
    """A dead letter. id: of the delivery or held fact. since: when it stopped, microseconds UTC.

    standing: name of a DeadLetterStanding. left: how it went on; None while it waits. where: in
    what came in, see `held_place`.
    """

    id: str
    object_id: str
    since: int
    standing: str = "STOPPED"
    inbound: bool = False
    left: DeadLetterRecord | None = None
    where: str = ""

    @property
    def open(self) -> bool:
        """True until something settles it."""
        return self.standing != "SETTLED"

    @property
    def place(self) -> tuple[bool, int, str]:
        """What it is listed by, the highest first."""
        return self.open, self.since, self.id

    @property
    def until(self) -> float:
        """When it was settled; for ever, if it is not."""
        settled_at = self.left.settled_at if self.left is not None else None
        return float("inf") if settled_at is None else settled_at


@dataclass(slots=True)
class Group:
    """Dead letters with one cause, newest first, and who looks after them."""

    cause: Cause
    members: list[Member] = field(default_factory=list)
    mark: DeadLetterGroupRecord | None = None

    @property
    def open(self) -> list[Member]:
        """Members that are not settled."""
        return [member for member in self.members if member.open]

    @property
    def where(self) -> str:
        """Where in what came in, of the newest open member that says it."""
        return next((member.where for member in self.open if member.where), "")

    @property
    def last(self) -> int:
        """When the newest open member stopped; of a closed group, when any did."""
        return max((m.since for m in self.open or self.members), default=0)

    @property
    def state(self) -> str:
        """OPEN, ACKNOWLEDGED or CLOSED."""
        if not self.open:
            return "CLOSED"
        at = self.mark.marked_at if self.mark is not None else None
        return "OPEN" if at is None or self.last > at else "ACKNOWLEDGED"

    @property
    def place(self) -> tuple[bool, int, str]:
        """What it is listed by, the highest first."""
        return self.state != "CLOSED", self.last, self.cause.id

    @property
    def reopened(self) -> bool:
        """True when it came back after somebody had acknowledged it, or after it was closed."""
        known = self.mark is not None and self.mark.marked_at is not None
        return self.state == "OPEN" and (known or self._was_closed)

    @property
    def _was_closed(self) -> bool:
        """Whether there was a time, before its newest member, when all were settled."""
        until: float | None = None
        for member in sorted(self.members, key=lambda m: (m.since, m.until)):
            if until is not None and member.since > until:
                return True
            until = max(until or member.until, member.until)
        return False

    @property
    def under_way(self) -> int:
        """Open members that go again."""
        return sum(member.standing == "UNDER_WAY" for member in self.members)

    @property
    def ending(self) -> DeadLetterRecord | None:
        """The member that was settled last, of a closed group."""
        left = [member.left for member in self.members if member.left is not None]
        return None if self.open else max(left, key=lambda each: each.settled_at or 0)


@dataclass(frozen=True, slots=True)
class Patience:
    """For how long doubt is left to the hub: microseconds during which the endpoint answers.

    While it does not, nobody can find out what became of a call, and that is the outage's doing: no
    work of it is a dead letter for that. But look-ups that fail keep the breaker open as well as an
    outage does, so whatever it says, doubt is left to the hub no longer than microseconds_max.
    answered: by endpoint, as breaking.py has it; those that are not in it never failed for long.
    """

    microseconds: int = 0
    microseconds_max: int = 0
    answered: Mapping[str, breaking.Answered] = field(default_factory=dict)

    @classmethod
    def of(cls, limits: Limits) -> Patience:
        """The patience that is configured, with endpoints that never failed for long."""
        return cls(
            int(limits.dead_letter_unknown_seconds * SECOND),
            int(limits.unanswered_seconds_max * SECOND),
        )

    def ends_at(self, endpoint: str, unknown_since: int) -> int:
        """When doubt shows, or showed first: microseconds UTC. What has shown once stays, since
        then, though the endpoint fails again later."""
        ends = [unknown_since + max(self.microseconds, self.microseconds_max)]
        for begun_at, until in self.answered.get(endpoint, breaking.ANSWERED_ALWAYS):
            end = max(unknown_since, begun_at) + self.microseconds
            if until is None or end <= until:
                ends.append(end)
        return min(ends)

    def latest_shown(self, endpoint: str, now: int) -> int:
        """By when doubt has to have begun to show at a time: `ends_at` is not later then.
        Microseconds UTC, as what it returns."""
        latest = now - max(self.microseconds, self.microseconds_max)
        for begun_at, until in self.answered.get(endpoint, breaking.ANSWERED_ALWAYS):
            end = now if until is None else min(until, now)
            if begun_at + self.microseconds <= end:
                latest = max(latest, end - self.microseconds)
        return latest


# Doubt of any age counts.
NO_PATIENCE = Patience()


def is_dead(record: DeliveryRecord | StoppedRecord, patience: Patience, now: int) -> bool:
    """True while a person should look. now: microseconds UTC."""
    if record.state in DOUBTFUL_STATES:
        shows_at = _shows_at(record, patience)
        return shows_at is not None and shows_at <= now
    return record.state in DEAD_STATES


def since(record: DeliveryRecord | StoppedRecord, patience: Patience) -> int:
    """When a dead letter became one: microseconds UTC. Doubt that shows only now opens a group that
    somebody had acknowledged before."""
    shows_at = _shows_at(record, patience) if record.state in DOUBTFUL_STATES else None
    return record.updated_at if shows_at is None else shows_at


def _shows_at(record: DeliveryRecord | StoppedRecord, patience: Patience) -> int | None:
    unknown_since = record.first_unknown_at
    return None if unknown_since is None else patience.ends_at(record.endpoint, unknown_since)


def member_of(letter: DeadLetterRecord, carrier: StoppedRecord | None) -> Member:
    """A letter that went on. carrier: the delivery that goes in its place, as it is now."""
    if letter.settled_at is not None:
        standing = "SETTLED"
    else:
        stopped = carrier is not None and carrier.state in DEAD_STATES
        standing = "STOPPED_AGAIN" if stopped else "UNDER_WAY"
    return Member(letter.id, letter.object_id, letter.since, standing, letter.inbound, letter)


def grouped(
    members: Iterable[tuple[Cause, Member]], marks: Mapping[str, DeadLetterGroupRecord]
) -> list[Group]:
    """Groups, open ones first, the one with the newest member first. Of one letter's memberships in
    a group the first counts."""
    found: dict[Cause, Group] = {}
    seen: dict[Cause, set[str]] = defaultdict(set)
    for cause, member in members:
        group = found.get(cause)
        if group is None:
            group = found[cause] = Group(cause, mark=marks.get(cause.id))
        if member.id not in seen[cause]:
            seen[cause].add(member.id)
            group.members.append(member)
    for group in found.values():
        group.members.sort(key=lambda m: m.place, reverse=True)
    return sorted(found.values(), key=lambda g: g.place, reverse=True)
