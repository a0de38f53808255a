"""What the caller of a command gets, and what is kept of it for whoever repeats the call."""

from __future__ import annotations

from typing import Any, Final

from crossdock.errors import Refusal

from crossdock_hub.archive.records import PART_PREFIX
from crossdock_hub.commands import Command
from crossdock_hub.records import RequestRecord
from crossdock_hub.refusals import archived
from crossdock_hub.unit import Refused, Unit

# Of how many flows a request says that it was about them; a report of scans may tell of 500.
REQUEST_FLOWS_MAX: Final = 20


def remember_answer(unit: Unit, command: Command, answer: Any) -> None:
    """Keep the answer of a request that is answered once."""
    flow, flows = unit.changes.flow(), unit.changes.flows()
    record = RequestRecord(
        request_id=command.request_id,
        digest=command.digest,
        endpoint=command.caller.endpoint,
        method=command.name,
        response=answer if command.encoded else answer.SerializeToString(),
        object_id=flow,
        created_at=unit.now,
        flows="" if flows == [flow] else " ".join(flows[:REQUEST_FLOWS_MAX]),
    )
    unit.put(("request", command.request_id), record)


def answer_again(command: Command, known: RequestRecord) -> Any:
    """The first answer once more, or a refusal when the content differs."""
    same = known.digest == command.digest and known.method == command.name
    if known.object_id.startswith(PART_PREFIX):
        part = known.object_id.removeprefix(PART_PREFIX)
        return archived(f"what request_id {command.request_id} was about", part)
    if not same or known.endpoint != command.caller.endpoint:
        return Refused(
            Refusal(
                "REQUEST_ID_REUSED",
                f"request_id {command.request_id} was used for another content; "
                "make a new id for a new request",
                {"request_id": command.request_id},
            )
        )
    if command.encoded:
        return known.response
    if command.response_type is None:
        return None
    return command.response_type.FromString(known.response)


def resolve(command: Command, answer: Any) -> None:
    """Give a command its answer, or the refusal to raise; one that has it keeps it."""
    if command.answer.done():
        return
    if isinstance(answer, Exception):
        command.answer.set_exception(answer)
    else:
        command.answer.set_result(answer)
