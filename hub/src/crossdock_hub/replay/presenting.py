"""Replays as messages of the contract: counts, acts, items with their outcome; pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from crossdock.replay.v1 import replay_pb2
from crossdock.telemetry import trace_id

from crossdock_hub.objects.resources import stamp
from crossdock_hub.replay.decisions import outcome_of
from crossdock_hub.replay.records import (
    ReplayItemRecord,
    ReplayRecord,
    acts_of,
)


def _verdict(name: str) -> replay_pb2.ReplayVerdict.ValueType:
    return replay_pb2.ReplayVerdict.Value(f"REPLAY_VERDICT_{name or 'UNSPECIFIED'}")


def _outcome(name: str) -> replay_pb2.ReplayOutcome.ValueType:
    return replay_pb2.ReplayOutcome.Value(f"REPLAY_OUTCOME_{name}")


def state_of(record: ReplayRecord, now: int) -> str:
    """Where a replay is: a plan that nobody started in time has expired."""
    if record.state == "PLANNED" and now >= record.expires_at:
        return "EXPIRED"
    return record.state


def replay_message(
    record: ReplayRecord,
    now: int,
    *,
    decided: int = 0,
    planned: Mapping[str, int] | None = None,
    outcomes: Mapping[str, int] | None = None,
) -> replay_pb2.Replay:
    """A replay. planned, outcomes: counts by verdict and by outcome, where one replay is read."""
    message = replay_pb2.Replay(
        id=record.id,
        endpoint=record.endpoint,
        set=replay_pb2.ReplaySet.Value(f"REPLAY_SET_{record.wanted_set}"),
        state=replay_pb2.ReplayState.Value(f"REPLAY_STATE_{state_of(record, now)}"),
        item_count=record.items,
        decided_count=decided,
        note=record.note,
        needs_approval=record.approvals > 0 and not record.approved,
        items_per_second=record.items_per_second,
        trace_id=trace_id(record.traceparent) if record.traceparent else "",
        event_count=record.events,
        planned_event_count=record.events_planned,
    )
    message.selection.ParseFromString(record.selection)
    for verdict, count in sorted((planned or {}).items()):
        message.planned.add(verdict=_verdict(verdict), count=count)
    for outcome, count in sorted((outcomes or {}).items()):
        message.outcomes.add(outcome=_outcome(outcome), count=count)
    for act in acts_of(record):
        row = message.acts.add(verb=act.verb, by=act.by, reason=act.reason)
        stamp(row.time, act.at)
    stamp(message.create_time, record.created_at)
    stamp(message.expire_time, record.expires_at)
    if record.started_at is not None:
        stamp(message.start_time, record.started_at)
    if record.ended_at is not None:
        stamp(message.end_time, record.ended_at)
    return message


def verdicts(record: ReplayRecord, items: Sequence[ReplayItemRecord]) -> dict[str, int]:
    """How often the plan gives each verdict."""
    return dict(Counter(item.planned(record.approved) for item in items))


def item_message(
    replay: ReplayRecord, record: ReplayItemRecord, delivery_state: str
) -> replay_pb2.ReplayItem:
    """An item with plan, decision and outcome."""
    approved = replay.approved
    outcome = outcome_of(
        record, approved=approved, aborted=replay.state == "ABORTED", delivery_state=delivery_state
    )
    message = replay_pb2.ReplayItem(
        number=record.number,
        event_id=record.event_id,
        event_type=record.event_type,
        object_id=record.object_id,
        correlation_id=record.root_id,
        operation=record.operation,
        item=record.item,
        planned_verdict=_verdict(record.planned(approved)),
        planned_why=record.approved_why if approved else record.why,
        verdict=_verdict(record.found_verdict),
        why=record.found_why,
        outcome=_outcome(outcome),
        earlier_delivery_id=record.earlier,
        delivery_id=record.delivery_id,
    )
    if record.decided_at is not None:
        stamp(message.decide_time, record.decided_at)
    return message
