"""From what an adapter's function returned or raised to the completion of its attempt: pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from crossdock.delivery.v1 import delivery_pb2, delivery_service_pb2
from crossdock.errors import NoAnswerError, TryAgainError

from crossdock_adapters.sdk.attempts import HubAway
from crossdock_adapters.sdk.carrying import Apart, carried
from crossdock_adapters.sdk.exchange import MAX_EXCERPT_CHARACTERS, Exchange, as_text
from crossdock_adapters.sdk.mappings import Told
from crossdock_adapters.sdk.outcomes import (
    AnswerLater,
    Confirmed,
    FoundRejected,
    NeedsPerson,
    NotFound,
    NotTried,
    OutcomeUnknown,
    Reject,
    Retry,
    Throttled,
    Unreachable,
    Untranslatable,
)

MAX_REASON_CHARACTERS = 1_000
MAX_CODE_CHARACTERS = 64

# What the hub does not count against the vendor.
NOT_TRIED = "not_tried"
# What the hub takes for a sign of life.
ANSWER_LATER = "answer_later"

# A hub that is away: not the vendor's word, and no fault of what was to be done.
HUB_AWAY = (HubAway, NoAnswerError, TryAgainError)

CALL = delivery_pb2.ATTEMPT_KIND_CALL
LOOK_UP = delivery_pb2.ATTEMPT_KIND_LOOK_UP
PARKED = delivery_pb2.ATTEMPT_OUTCOME_PARKED


def completion(
    delivery_id: str,
    token: int,
    kind: int,
    ended: Confirmed | NotFound | BaseException | Any,
    exchange: Exchange,
    reference: str = "",
) -> delivery_service_pb2.Completion:
    """What to tell the hub about an attempt that ended this way. reference: the work's own."""
    return whole_completion(delivery_id, token, kind, ended, exchange, reference)[0]


def whole_completion(
    delivery_id: str,
    token: int,
    kind: int,
    ended: Confirmed | NotFound | BaseException | Any,
    exchange: Exchange,
    reference: str = "",
    rows: Iterable[Told] = (),
) -> tuple[delivery_service_pb2.Completion, list[Apart]]:
    """The completion, and what it has no room for and the hub is to hold apart from it. rows: those
    of the mapping service by which it was translated."""
    answer = delivery_service_pb2.Completion(delivery_id=delivery_id, token=token)
    answer.request_excerpt = as_text(exchange.request_excerpt(), MAX_EXCERPT_CHARACTERS)
    answer.response_excerpt = as_text(exchange.response_excerpt(), MAX_EXCERPT_CHARACTERS)
    if kind == LOOK_UP:
        apart = _look_up(answer, ended, reference)
    else:
        apart = _call(answer, ended, exchange)
    if kind == LOOK_UP or not exchange.effect_left:
        _name_word(answer, ended, rows)
    answer.reason = as_text(exchange.words(answer.reason), MAX_REASON_CHARACTERS)
    answer.code = as_text(exchange.words(answer.code), MAX_CODE_CHARACTERS)
    return answer, apart


def _name_word(answer: delivery_service_pb2.Completion, ended: Any, rows: Iterable[Told]) -> None:
    """The word that is parked for. Nothing where no row can mean it: a person has to look, as where
    a part of the work has been sent."""
    word = ended.unsent if isinstance(ended, Untranslatable) else None
    if word is None or not word.may_have_row or answer.outcome != PARKED:
        return
    answer.unsent_word.topic = str(word.topic)
    answer.unsent_word.canonical = word.canonical
    answer.unsent_word.native_types.extend(word.types)
    answer.unsent_word.rows_revision = word.revision(rows)
    answer.reason = f"{answer.reason}; then it goes again by itself"


def _call(answer: delivery_service_pb2.Completion, ended: Any, exchange: Exchange) -> list[Apart]:
    """What a confirmation has no room for."""
    match ended:
        case Confirmed():
            return _confirmed(answer, ended)
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
        case AnswerLater():
            _say(answer, delivery_pb2.ATTEMPT_OUTCOME_UNKNOWN, ANSWER_LATER, ended.reason)
        case OutcomeUnknown():
            _say(answer, delivery_pb2.ATTEMPT_OUTCOME_UNKNOWN, "unknown", ended.reason)
            answer.retry_after.FromNanoseconds(int(ended.after_seconds * 1e9))
        case _ if exchange.effect_left:
            _say(answer, delivery_pb2.ATTEMPT_OUTCOME_UNKNOWN, _name(ended), _words(ended))
        case _ if isinstance(ended, HUB_AWAY):
            _say(answer, delivery_pb2.ATTEMPT_OUTCOME_RETRY, NOT_TRIED, _words(ended))
        case TimeoutError():
            # Nothing with an effect left, so time lost is all that was lost.
            _say(answer, delivery_pb2.ATTEMPT_OUTCOME_RETRY, "timeout", "no time left to send")
        case _:
            # A fault in translation comes back the same each time: a person has to look.
            _say(answer, delivery_pb2.ATTEMPT_OUTCOME_PARKED, _name(ended), _words(ended))
    return []


def _retry_code(ended: Retry) -> str:
    if isinstance(ended, NotTried):
        return NOT_TRIED
    return "unreachable" if isinstance(ended, Unreachable) else "retry"


def _look_up(answer: delivery_service_pb2.Completion, ended: Any, reference: str) -> list[Apart]:
    """A look-up that failed keeps the delivery unknown: it must never become a repeat."""
    match ended:
        case Confirmed() if ended.found_by not in (None, reference):
            # An answer about somebody else's object is a failed look-up, whatever it says.
            why = f"the vendor answered with {ended.found_by!r}, which is not our reference"
            _say(answer, delivery_pb2.ATTEMPT_OUTCOME_UNKNOWN, "look_up_failed", why)
        case Confirmed():
            return _confirmed(answer, ended)
        case NotFound():
            _say(answer, delivery_pb2.ATTEMPT_OUTCOME_NOT_FOUND, "not_found", ended.note)
        case FoundRejected():
            _say(answer, delivery_pb2.ATTEMPT_OUTCOME_REJECTED, ended.code, ended.reason)
        case Throttled():
            # To the ledger a failed look-up like any other, to the system's budget a warning.
            _say(answer, delivery_pb2.ATTEMPT_OUTCOME_THROTTLED, "look_up_failed", ended.reason)
            answer.retry_after.FromNanoseconds(int(ended.after_seconds * 1e9))
        case AnswerLater():
            _say(answer, delivery_pb2.ATTEMPT_OUTCOME_UNKNOWN, ANSWER_LATER, ended.reason)
        case NotTried():
            _say(answer, delivery_pb2.ATTEMPT_OUTCOME_UNKNOWN, NOT_TRIED, ended.reason)
        case _ if isinstance(ended, HUB_AWAY):
            _say(answer, delivery_pb2.ATTEMPT_OUTCOME_UNKNOWN, NOT_TRIED, _words(ended))
        case Retry():
            _say(answer, delivery_pb2.ATTEMPT_OUTCOME_UNKNOWN, "look_up_failed", ended.reason)
            answer.retry_after.FromNanoseconds(int(ended.after_seconds * 1e9))
        case OutcomeUnknown():
            _say(answer, delivery_pb2.ATTEMPT_OUTCOME_UNKNOWN, "look_up_failed", ended.reason)
            answer.retry_after.FromNanoseconds(int(ended.after_seconds * 1e9))
        case NeedsPerson():
            _say(answer, delivery_pb2.ATTEMPT_OUTCOME_PARKED, "needs_person", ended.reason)
        case _:
            _say(answer, delivery_pb2.ATTEMPT_OUTCOME_UNKNOWN, "look_up_failed", _words(ended))
    return []


def _confirmed(answer: delivery_service_pb2.Completion, result: Confirmed) -> list[Apart]:
    """What the completion has no room for: lost in silence would be worse than untold."""
    whole = carried(answer.delivery_id, result)
    answer.outcome = delivery_pb2.ATTEMPT_OUTCOME_CONFIRMED
    # First: the vendor's words may be longer than what a reason has room for.
    answer.reason = f"{whole.said} {result.note}".strip()
    answer.vendor_references.extend(whole.references)
    answer.duplicates.extend(whole.duplicates)
    answer.facts.extend(whole.facts)
    return whole.apart


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
