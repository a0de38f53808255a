"""From what an adapter's function returned or raised to the completion of its attempt: pure."""

from __future__ import annotations

import uuid
from typing import Any

from crossdock.delivery.v1 import delivery_pb2, delivery_service_pb2
from google.protobuf.message import Message

from crossdock_adapters.sdk.exchange import Exchange, as_text
from crossdock_adapters.sdk.outcomes import (
    Confirmed,
    NeedsPerson,
    NotFound,
    NotTried,
    OutcomeUnknown,
    Reference,
    Reject,
    Retry,
    Throttled,
    Unreachable,
)

MAX_REASON_CHARACTERS = 1_000
MAX_CODE_CHARACTERS = 64
MAX_EXCERPT_CHARACTERS = 4_000
MAX_FACTS = 50
MAX_FACT_BYTES = 512 * 1024
# Of all facts of a completion: the hub takes a request of 1 MiB, and refuses a larger one whole.
MAX_FACTS_BYTES = 768 * 1024
MAX_REFERENCES = 50

# What the hub does not count against the vendor.
NOT_TRIED = "not_tried"

CALL = delivery_pb2.ATTEMPT_KIND_CALL
LOOK_UP = delivery_pb2.ATTEMPT_KIND_LOOK_UP


class UnknownFact(ValueError):
    """A fact that is not the request message of any method of the contract."""


def completion(
    delivery_id: str,
    token: int,
    kind: int,
    ended: Confirmed | NotFound | BaseException | Any,
    exchange: Exchange,
    reference: str = "",
) -> delivery_service_pb2.Completion:
    """What to tell the hub about an attempt that ended this way. reference: the work's own."""
    answer = delivery_service_pb2.Completion(delivery_id=delivery_id, token=token)
    answer.request_excerpt = as_text(exchange.request_excerpt(), MAX_EXCERPT_CHARACTERS)
    answer.response_excerpt = as_text(exchange.response_excerpt(), MAX_EXCERPT_CHARACTERS)
    if kind == LOOK_UP:
        _look_up(answer, ended, reference)
    else:
        _call(answer, ended, exchange)
    answer.reason = as_text(exchange.words(answer.reason), MAX_REASON_CHARACTERS)
    answer.code = as_text(exchange.words(answer.code), MAX_CODE_CHARACTERS)
    return answer


def fact(message: Any, request_id: uuid.UUID) -> delivery_service_pb2.Fact:
    """A request of the contract as a fact; an empty request_id is filled in.

    Raises UnknownFact when no method takes this message.
    """
    method = method_of(message)
    if "request_id" in message.DESCRIPTOR.fields_by_name and not message.request_id:
        filled: Any = type(message)()
        filled.CopyFrom(message)
        filled.request_id = str(request_id)
        message = filled
    return delivery_service_pb2.Fact(method=method, request=message.SerializeToString())


def method_of(message: Message) -> str:
    """Full name of the method that takes this request message."""
    for service in message.DESCRIPTOR.file.services_by_name.values():
        for method in service.methods:
            if method.input_type.full_name == message.DESCRIPTOR.full_name:
                return f"/{service.full_name}/{method.name}"
    raise UnknownFact(f"{message.DESCRIPTOR.full_name} is the request of no method")


def _call(answer: delivery_service_pb2.Completion, ended: Any, exchange: Exchange) -> None:
    match ended:
        case Confirmed():
            _confirmed(answer, ended)
        case Throttled():
            _say(answer, delivery_pb2.ATTEMPT_OUTCOME_THROTTLED, "throttled", ended.reason)
            answer.retry_after.FromNanoseconds(int(ended.after_seconds * 1e9))
        case Retry():
            _say(answer, delivery_pb2.ATTEMPT_OUTCOME_RETRY, _retry_code(ended), ended.reason)
            answer.retry_after.FromNanoseconds(int(ended.after_seconds * 1e9))
        case Reject():
            _say(answer, delivery_pb2.ATTEMPT_OUTCOME_REJECTED, ended.code, ended.reason)
        case NeedsPerson():
            _say(answer, delivery_pb2.ATTEMPT_OUTCOME_PARKED, "needs_person", ended.reason)
        case OutcomeUnknown():
            _say(answer, delivery_pb2.ATTEMPT_OUTCOME_UNKNOWN, "unknown", ended.reason)
        case _ if exchange.effect_left:
            _say(answer, delivery_pb2.ATTEMPT_OUTCOME_UNKNOWN, _name(ended), _words(ended))
        case TimeoutError():
            # Nothing with an effect left, so time lost is all that was lost.
            _say(answer, delivery_pb2.ATTEMPT_OUTCOME_RETRY, "timeout", "no time left to send")
        case _:
            # A fault in translation comes back the same each time: a person has to look.
            _say(answer, delivery_pb2.ATTEMPT_OUTCOME_PARKED, _name(ended), _words(ended))


def _retry_code(ended: Retry) -> str:
    if isinstance(ended, NotTried):
        return NOT_TRIED
    return "unreachable" if isinstance(ended, Unreachable) else "retry"


def _look_up(answer: delivery_service_pb2.Completion, ended: Any, reference: str) -> None:
    """A look-up that failed keeps the delivery unknown: it must never become a repeat."""
    match ended:
        case Confirmed() if ended.found_by not in (None, reference):
            # An answer about somebody else's object is a failed look-up, whatever it says.
            why = f"the vendor answered with {ended.found_by!r}, which is not our reference"
            _say(answer, delivery_pb2.ATTEMPT_OUTCOME_UNKNOWN, "look_up_failed", why)
        case Confirmed():
            _confirmed(answer, ended)
        case NotFound():
            _say(answer, delivery_pb2.ATTEMPT_OUTCOME_NOT_FOUND, "not_found", ended.note)
        case Throttled():
            # To the ledger a failed look-up like any other, to the system's budget a warning.
            _say(answer, delivery_pb2.ATTEMPT_OUTCOME_THROTTLED, "look_up_failed", ended.reason)
            answer.retry_after.FromNanoseconds(int(ended.after_seconds * 1e9))
        case NotTried():
            _say(answer, delivery_pb2.ATTEMPT_OUTCOME_UNKNOWN, NOT_TRIED, ended.reason)
        case Retry():
            _say(answer, delivery_pb2.ATTEMPT_OUTCOME_UNKNOWN, "look_up_failed", ended.reason)
            answer.retry_after.FromNanoseconds(int(ended.after_seconds * 1e9))
        case NeedsPerson():
            _say(answer, delivery_pb2.ATTEMPT_OUTCOME_PARKED, "needs_person", ended.reason)
        case _:
            _say(answer, delivery_pb2.ATTEMPT_OUTCOME_UNKNOWN, "look_up_failed", _words(ended))


def _confirmed(answer: delivery_service_pb2.Completion, result: Confirmed) -> None:
    answer.outcome = delivery_pb2.ATTEMPT_OUTCOME_CONFIRMED
    answer.reason = result.note
    answer.vendor_references.extend(_reference(each) for each in result.references[:MAX_REFERENCES])
    answer.duplicates.extend(_reference(each) for each in result.duplicates[:MAX_REFERENCES])
    room = MAX_FACTS_BYTES
    for place, message in enumerate(result.facts):
        # The same delivery reports the same fact under the same request id, however often.
        name = f"{message.DESCRIPTOR.full_name}:{place}"
        try:
            carried = fact(message, uuid.uuid5(uuid.UUID(answer.delivery_id), name))
        except UnknownFact as error:
            answer.reason += f" Not carried: {error}."
            continue
        size = carried.ByteSize()
        if place < MAX_FACTS and size <= min(room, MAX_FACT_BYTES):
            answer.facts.append(carried)
            room -= size
        else:
            # The outcome commits all the same; a fact lost in silence would be worse.
            answer.reason += f" Not carried: {name} passes the limit of count or size."


def _reference(given: Reference) -> delivery_pb2.VendorReference:
    """What the vendor gave, whole: shortened it would name something else."""
    kind, value = (as_text(text, len(text)) for text in (given.type, given.value))
    return delivery_pb2.VendorReference(type=kind, value=value)


def _say(
    answer: delivery_service_pb2.Completion,
    outcome: delivery_pb2.AttemptOutcome.ValueType,
    code: str,
    reason: str,
) -> None:
    answer.outcome = outcome
    answer.code = code
    answer.reason = reason


def _name(ended: Any) -> str:
    return type(ended).__name__


def _words(ended: Any) -> str:
    if isinstance(ended, BaseException):
        return f"{type(ended).__name__}: {ended}"
    return f"the function returned {type(ended).__name__}, which is no outcome"
