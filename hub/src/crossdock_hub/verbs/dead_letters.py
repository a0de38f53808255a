"""What operators decide about groups of dead letters, and about what came in and is held."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from crossdock.dead_letter.v1 import dead_letter_service_pb2 as service_pb2

from crossdock_hub.delivery.causes import DeadLetterGroupRecord
from crossdock_hub.delivery.sightings import MovedOn, Sighting, holds
from crossdock_hub.objects.held import asked_again
from crossdock_hub.reading.presenting import held_fact_message, word_message
from crossdock_hub.records import HeldFactRecord, OperatorWordRecord
from crossdock_hub.refusals import not_found, transition
from crossdock_hub.unit import Unit
from crossdock_hub.verbs.registering import decides

SERVICE = "dead_letter.v1.DeadLetterService"


@decides(f"{SERVICE}/AcknowledgeDeadLetters")
def acknowledge(
    unit: Unit,
    request: service_pb2.AcknowledgeDeadLettersRequest,
    sighting: Sighting | None = None,
) -> service_pb2.AcknowledgeDeadLettersResponse:
    """Note who looks after a group; what stops later opens it again.

    sighting: the group as it was read before; None: there was none. Raises MovedOn when nothing of
    it holds any more.
    """
    if sighting is None:
        raise not_found("dead letter group", request.group_id)
    if not holds(unit, sighting):
        raise MovedOn(request.group_id)
    assignee = request.assignee or unit.caller.endpoint
    mark = replace(
        DeadLetterGroupRecord.of(sighting.cause),
        operator=unit.caller.endpoint,
        assignee=assignee,
        note=request.note,
        marked_at=unit.now,
    )
    unit.put(("dead_letter_group", mark.id), mark)
    return service_pb2.AcknowledgeDeadLettersResponse(group_id=mark.id, assignee=assignee)


@decides(f"{SERVICE}/DriveHeldFact")
def drive_held_fact(
    unit: Unit, request: service_pb2.DriveHeldFactRequest
) -> service_pb2.DriveHeldFactResponse:
    """Decide a held fact again, whatever it waits for; a raw payload is for its adapter to."""
    # Here, because driving needs every decision, this one included.
    from crossdock_hub.driving import drive_one

    fact = _held(unit, request.held_fact_id, "DriveHeldFact")
    if fact.method:
        drive_one(unit, fact)
        after: HeldFactRecord = unit.get(("held_fact", fact.id))
        change = "it was written" if after.state == "APPLIED" else "it still does not fit"
    else:
        after = asked_again(fact)
        unit.put(("held_fact", fact.id), after)
        change = f"{fact.endpoint} is asked to translate it again"
    word = _keep(unit, fact, after, "DRIVE", request.reason, change)
    return service_pb2.DriveHeldFactResponse(
        held_fact=held_fact_message(after), word=word_message(word)
    )


@decides(f"{SERVICE}/DiscardHeldFact")
def discard_held_fact(
    unit: Unit, request: service_pb2.DiscardHeldFactRequest
) -> service_pb2.DiscardHeldFactResponse:
    """End a held fact or payload; its bytes stay."""
    fact = _held(unit, request.held_fact_id, "DiscardHeldFact")
    after = replace(fact, state="DISCARDED")
    unit.put(("held_fact", fact.id), after)
    word = _keep(unit, fact, after, "DISCARD", request.reason, "it will never be written")
    return service_pb2.DiscardHeldFactResponse(
        held_fact=held_fact_message(after), word=word_message(word)
    )


def _held(unit: Unit, fact_id: str, verb: str) -> HeldFactRecord:
    fact: HeldFactRecord | None = unit.get(("held_fact", fact_id))
    if fact is None:
        raise not_found("held fact", fact_id)
    if fact.state != "HELD":
        raise transition("held fact", fact.state, verb, ["HELD"])
    return fact


def _keep(
    unit: Unit, before: HeldFactRecord, after: Any, verb: str, reason: str, change: str
) -> OperatorWordRecord:
    word = OperatorWordRecord(
        id=unit.new_id(),
        subject_id=before.id,
        verb=verb,
        operator=unit.caller.endpoint,
        said_at=unit.now,
        reason=reason,
        state_before=before.state,
        state_after=after.state,
        change=change,
    )
    unit.put(("operator_word", word.id), word)
    return word
