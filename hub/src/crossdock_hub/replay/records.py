"""What the hub stores about replays: the plan with its run, and each of its items.

Times are microseconds since the epoch, UTC. Verdicts are names of crossdock.replay.v1.ReplayVerdict
without prefix.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import orjson

# Plans that nobody has started; one that is being made is not over yet.
UNSTARTED_STATES = frozenset({"PLANNED", "FAILED"})


@dataclass(slots=True)
class ReplayRecord:
    """A plan and the run of it. wanted_set, state: names without prefix. selection: encoded.

    approvals: items that only a second person's word allows. acts: JSON, see `Act`. final_counts:
    JSON, see `Tally`; written before the first of its items is deleted, else "". events,
    events_planned: how many were selected, and how many of them were worked through.
    """

    id: str
    endpoint: str
    wanted_set: str
    selection: bytes
    state: str
    created_at: int
    expires_at: int
    items: int = 0
    approvals: int = 0
    approved: bool = False
    items_per_second: int = 0
    note: str = ""
    acts: str = "[]"
    traceparent: str = ""
    started_at: int | None = None
    ended_at: int | None = None
    final_counts: str = ""
    events: int = 0
    events_planned: int = 0


@dataclass(slots=True)
class ReplayItemRecord:
    """One piece of work. flow: counts the root objects; what has one number is decided together.

    verdict, why: of the plan as it stands; approved_*: with a second person's word. found_*: of
    the run, once decided_at is set. earlier: the delivery the ledger had; delivery_id: the new one.
    """

    replay_id: str
    number: int
    flow: int
    event_id: str
    event_type: str
    object_id: str
    root_id: str
    operation: str
    item: str
    earlier: str
    verdict: str
    why: str
    approved_verdict: str
    approved_why: str
    found_verdict: str = ""
    found_why: str = ""
    delivery_id: str = ""
    decided_at: int | None = None

    def planned(self, approved: bool) -> str:
        """What the plan says, with or without a second person's word."""
        return self.approved_verdict if approved else self.verdict


@dataclass(frozen=True, slots=True)
class Act:
    """What somebody did with a replay, and why. verb: as in crossdock.replay.v1.ReplayAct."""

    verb: str
    by: str
    reason: str
    at: int


def acts_of(record: ReplayRecord) -> list[Act]:
    """Everything that was done with a replay, oldest first."""
    return [Act(*entry) for entry in orjson.loads(record.acts)]


def with_act(record: ReplayRecord, act: Act) -> ReplayRecord:
    """The replay with one more act."""
    entries = [*orjson.loads(record.acts), (act.verb, act.by, act.reason, act.at)]
    return replace(record, acts=orjson.dumps(entries).decode())


@dataclass(frozen=True, slots=True)
class Tally:
    """The items of a replay, counted. planned: by verdict; outcomes: by outcome."""

    decided: int
    planned: Mapping[str, int]
    outcomes: Mapping[str, int]

    def encoded(self) -> str:
        """As it is kept when the items go."""
        kept = {"decided": self.decided, "planned": self.planned, "outcomes": self.outcomes}
        return orjson.dumps(kept).decode()


def kept_tally(record: ReplayRecord) -> Tally | None:
    """What was counted before the items were deleted; None while they are there."""
    return Tally(**orjson.loads(record.final_counts)) if record.final_counts else None
