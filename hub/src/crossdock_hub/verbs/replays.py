"""Replays: approve, start, pause, resume and abort what was planned; each with its reason."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from crossdock.errors import Refusal
from crossdock.replay.v1 import replay_pb2, replay_service_pb2

from crossdock_hub.config import SECOND
from crossdock_hub.delivery.sightings import Sighting
from crossdock_hub.reading.event_scope import scope_of
from crossdock_hub.refusals import not_found, transition
from crossdock_hub.replay.letters import check_group
from crossdock_hub.replay.presenting import replay_message, state_of
from crossdock_hub.replay.records import Act, ReplayRecord, acts_of, with_act
from crossdock_hub.unit import Key, Refused, Unit
from crossdock_hub.verbs.registering import decides

STARTED = ("RUNNING", "PAUSED", "DONE")
PLANNING: Key = ("replays_in", "PLANNING")
# A plan is made within a second or so, unless it is a large one.
ROOM_SECONDS = 1.0


def known_replay(unit: Unit, replay_id: str) -> ReplayRecord:
    """A replay's row, with its state as of now. Raises Refused with OBJECT_NOT_FOUND."""
    record: ReplayRecord | None = unit.get(("replay", replay_id))
    if record is None:
        raise not_found("replay", replay_id)
    return replace(record, state=state_of(record, unit.now))


def keep(unit: Unit, record: ReplayRecord, verb: str, reason: str) -> ReplayRecord:
    """Store a changed replay with what was done and why. Raises Refused with LIMIT_EXCEEDED."""
    most = unit.limits.replay_acts_max
    # The last one is kept for the end.
    if len(acts_of(record)) >= most - (verb != "abort"):
        raise Refused(
            Refusal(
                "LIMIT_EXCEEDED",
                f"replay {record.id} was steered {most} times; abort it and plan the rest anew",
                {"limit": str(most), "value": str(most)},
            )
        )
    kept = with_act(record, Act(verb, unit.caller.endpoint, reason, unit.now))
    unit.put(("replay", record.id), kept)
    return kept


def _expired(record: ReplayRecord) -> Refused:
    return Refused(
        Refusal(
            "STATE_TRANSITION",
            f"the plan {record.id} has expired: the ledger may have moved since; plan it again",
            {"state": "EXPIRED", "verb": "start", "allowed": "PLANNED"},
        )
    )


def _check_room(unit: Unit) -> None:
    """Raises Refused with HUB_OVERLOADED while as many plans wait to be made as may."""
    most = unit.limits.replay_planning_max
    waiting = sum(_is_planning(unit, replay_id) for replay_id in unit.get(PLANNING))
    if waiting >= most:
        raise Refused(
            Refusal(
                "HUB_OVERLOADED",
                f"{waiting} plans of replays wait to be made already, {most} may; wait until one "
                "is made (crossdock replay list), or abort one that is not needed (crossdock "
                "replay abort), then repeat with the same request_id",
                {"cause": "replay_planning_max"},
                retry_after_seconds=ROOM_SECONDS,
            )
        )


def _is_planning(unit: Unit, replay_id: str) -> bool:
    """A command before this one in the same batch may have ended or aborted it."""
    key = ("replay", replay_id)
    return not unit.knows(key) or unit.get(key).state == "PLANNING"


@decides("replay.v1.ReplayService/PlanReplay")
def plan_replay(
    unit: Unit, request: replay_service_pb2.PlanReplayRequest, sighting: Sighting | None = None
) -> replay_service_pb2.PlanReplayResponse:
    """Keep what is to be planned; the planner makes the plan once this is durable.

    sighting: the dead letter group that was asked for, as it was read before; None: there is none.
    """
    if unit.endpoint(request.endpoint) is None:
        raise not_found("endpoint", request.endpoint)
    scope_of(unit.contract, request.selection, "selection.")
    if request.selection.group_id:
        check_group(request.selection.group_id, request.endpoint, sighting)
    _check_room(unit)
    record = ReplayRecord(
        id=unit.new_id(),
        endpoint=request.endpoint,
        wanted_set=replay_pb2.ReplaySet.Name(request.set).removeprefix("REPLAY_SET_"),
        selection=request.selection.SerializeToString(deterministic=True),
        state="PLANNING",
        created_at=unit.now,
        expires_at=unit.now + int(unit.limits.replay_plan_seconds * SECOND),
    )
    record = with_act(record, Act("plan", unit.caller.endpoint, "", unit.now))
    unit.put(("replay", record.id), record)
    unit.put(PLANNING, (*unit.get(PLANNING), record.id))
    return replay_service_pb2.PlanReplayResponse(replay=replay_message(record, unit.now))


@decides("replay.v1.ReplayService/ApproveReplay")
def approve_replay(
    unit: Unit, request: replay_service_pb2.ApproveReplayRequest
) -> replay_service_pb2.ApproveReplayResponse:
    """A second operator's word: the one who planned it can't give it."""
    record = known_replay(unit, request.replay_id)
    if record.state == "EXPIRED":
        raise _expired(record)
    if record.state != "PLANNED":
        raise transition("replay", record.state, "ApproveReplay", ("PLANNED",))
    planner = acts_of(record)[0].by
    if planner == unit.caller.endpoint:
        raise Refused(
            Refusal(
                "OUT_OF_SCOPE",
                f"{planner} planned replay {record.id}; another operator has to approve it",
                {"scope": "second_person"},
            )
        )
    if not record.approved:
        record = keep(unit, replace(record, approved=True), "approve", request.reason)
    return replay_service_pb2.ApproveReplayResponse(replay=replay_message(record, unit.now))


@decides("replay.v1.ReplayService/StartReplay")
def start_replay(
    unit: Unit, request: replay_service_pb2.StartReplayRequest
) -> replay_service_pb2.StartReplayResponse:
    """Run a plan. One that was started already is the same run, whoever starts it again."""
    record = known_replay(unit, request.replay_id)
    if record.state == "EXPIRED":
        raise _expired(record)
    if record.state not in STARTED:
        if record.state != "PLANNED":
            raise transition("replay", record.state, "StartReplay", ("PLANNED",))
        started = replace(
            record,
            state="RUNNING",
            started_at=unit.now,
            items_per_second=request.items_per_second or unit.limits.replay_rate_default,
            traceparent=unit.traceparent,
        )
        record = keep(unit, started, "start", request.reason)
    return replay_service_pb2.StartReplayResponse(replay=replay_message(record, unit.now))


def _steered(
    unit: Unit, request: Any, verb: str, method: str, sources: tuple[str, ...], target: str
) -> ReplayRecord:
    """Move a replay from one of `sources` to `target`; one that is there already stays."""
    record = known_replay(unit, request.replay_id)
    if record.state == target:
        return record
    if record.state not in sources:
        raise transition("replay", record.state, method, sources)
    changed = replace(record, state=target)
    if target == "ABORTED":
        changed = replace(changed, ended_at=unit.now)
    return keep(unit, changed, verb, request.reason)


@decides("replay.v1.ReplayService/PauseReplay")
def pause_replay(
    unit: Unit, request: replay_service_pb2.PauseReplayRequest
) -> replay_service_pb2.PauseReplayResponse:
    """Hand nothing more to the ledger."""
    record = _steered(unit, request, "pause", "PauseReplay", ("RUNNING",), "PAUSED")
    return replay_service_pb2.PauseReplayResponse(replay=replay_message(record, unit.now))


@decides("replay.v1.ReplayService/ResumeReplay")
def resume_replay(
    unit: Unit, request: replay_service_pb2.ResumeReplayRequest
) -> replay_service_pb2.ResumeReplayResponse:
    """Go on where it was."""
    record = _steered(unit, request, "resume", "ResumeReplay", ("PAUSED",), "RUNNING")
    return replay_service_pb2.ResumeReplayResponse(replay=replay_message(record, unit.now))


@decides("replay.v1.ReplayService/AbortReplay")
def abort_replay(
    unit: Unit, request: replay_service_pb2.AbortReplayRequest
) -> replay_service_pb2.AbortReplayResponse:
    """End it for good; what is not decided never will be."""
    sources = ("PLANNING", "PLANNED", "EXPIRED", "RUNNING", "PAUSED")
    record = _steered(unit, request, "abort", "AbortReplay", sources, "ABORTED")
    return replay_service_pb2.AbortReplayResponse(replay=replay_message(record, unit.now))
