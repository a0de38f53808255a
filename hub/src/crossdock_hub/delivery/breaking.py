"""The breaker of an endpoint: opens on evidence, tries with one call at a time, closes. Pure.

    CLOSED ──enough failures in a row, of enough deliveries──► OPEN
    OPEN ──its time has come, one attempt begins──► PROBING ──fails──► OPEN, for longer
    PROBING ──ends, having asked nothing──► OPEN, and the next goes at once
    OPEN, PROBING ──any call is answered──► CLOSED

Evidence is what attempts say: a call that was proven unprocessed or not answered speaks against the
endpoint's system, an answer of any kind for it. One delivery alone never opens a breaker: what the
vendor chokes on is that delivery's own trouble. The state is kept in the endpoint's row, written
only when it changes, so a restart forgets nothing.

A call that still runs is evidence too, once it has been silent for longer than such calls take:
time-outs are made for the slowest call there may be, and five of them in a row last too long.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from crossdock_hub.config import SECOND, Limits
from crossdock_hub.records import EndpointRecord
from crossdock_hub.replacing import replace

# Outcomes, as said, that mean the system did not do or not answer what it was asked.
FAILED = frozenset({"RETRY", "UNKNOWN"})
# Outcomes that mean it answered, if only with a no.
ANSWERED = frozenset({"CONFIRMED", "REJECTED", "NOT_FOUND", "THROTTLED"})
# Code of an attempt that ended before anything was tried: it says nothing about the system.
NOT_TRIED = "not_tried"
# Code of an attempt that was taken by a system whose answer comes later, as it always does.
ANSWER_LATER = "answer_later"
REASON_CHARACTERS_MAX = 300
# Times in which a system answered: from when, until when; microseconds UTC.
Windows = tuple[tuple[int, int], ...]
# The same with the present one, if it answers: None, it still does.
Answered = tuple[tuple[int, int | None], ...]
# It never failed for long.
ANSWERED_ALWAYS: Answered = ((0, None),)


@dataclass(frozen=True, slots=True)
class Evidence:
    """How one attempt ended. outcome: as the endpoint said it. begun_at: microseconds UTC.
    heard: something came back from the system."""

    delivery_id: str
    outcome: str
    code: str
    reason: str
    begun_at: int
    heard: bool = False


@dataclass(frozen=True, slots=True)
class RunningCall:
    """A call or look-up that is under way. begun_at: microseconds UTC.

    patience: microseconds of silence that are usual for what it asks.
    """

    delivery_id: str
    token: int
    begun_at: int
    patience: int


def told(record: EndpointRecord, evidence: Evidence, now: int, limits: Limits) -> EndpointRecord:
    """The endpoint after an attempt's end; the same record when it says nothing new."""
    if answers(evidence):
        return _answered(record, now)
    if evidence.outcome not in FAILED or evidence.code == NOT_TRIED:
        return _probed_nothing(record, evidence, now)
    failing = (*record.breaker_failing, evidence.delivery_id)[-limits.breaker_failures_needed :]
    why = (evidence.reason or evidence.code)[:REASON_CHARACTERS_MAX]
    if is_open(record):
        if evidence.begun_at < (record.breaker_since or 0):
            # A call from before: it says what is known already.
            return record
        return _probe_failed(record, failing, why, now, limits)
    enough = len(failing) >= limits.breaker_failures_needed
    if enough and len(set(failing)) >= limits.breaker_deliveries_needed:
        return _opened(record, failing, why, now, limits)
    return replace(record, breaker_failing=failing, breaker_reason=why)


def answers(evidence: Evidence) -> bool:
    """Whether an attempt's end shows that the system is there: it said something, if only what a
    person has to see to, or took the work and will say something later."""
    if evidence.outcome == "PARKED":
        return evidence.heard
    return evidence.outcome in ANSWERED or (
        evidence.outcome == "UNKNOWN" and evidence.code == ANSWER_LATER
    )


def silent(
    record: EndpointRecord,
    calls: Iterable[RunningCall],
    heard_at: int,
    slots: int,
    now: int,
    limits: Limits,
) -> EndpointRecord:
    """The endpoint when the calls that run there say that it is down; the same record if not.

    A call's silence begins with it, or with the last answer to any other: whoever answers is there.
    heard_at: when that was, microseconds; 0: nobody knows. slots: calls that run there at once, at
    most. Where they are fewer than the failures that are needed, all of them silent are enough.
    """
    if is_open(record):
        return record
    quiet = [call for call in calls if now - max(call.begun_at, heard_at) >= call.patience]
    if not quiet:
        return record
    quiet.sort(key=lambda call: call.begun_at)
    failing = (*record.breaker_failing, *(call.delivery_id for call in quiet))
    needed = min(limits.breaker_failures_needed, max(1, slots))
    if len(failing) < needed or len(set(failing)) < limits.breaker_deliveries_needed:
        return record
    seconds = (now - max(quiet[0].begun_at, heard_at)) / SECOND
    calls_quiet = "1 call has" if len(quiet) == 1 else f"{len(quiet)} calls have"
    why = f"{calls_quiet} no answer yet, and nothing was answered for {seconds:.1f} seconds"
    if record.breaker_reason:
        why = f"{why}; before that: {record.breaker_reason}"[:REASON_CHARACTERS_MAX]
    return _opened(record, failing[-limits.breaker_failures_needed :], why, now, limits)


def is_unheard(
    record: EndpointRecord, delivery_id: str, doubt_began_at: int, now: int, limits: Limits
) -> bool:
    """Whether a call of this delivery that fails again proves nothing against the delivery.

    One or two deliveries never open a breaker, but where nothing else is asked they can't be told
    from an outage either: nobody was answered since their last failure. That is believed for
    `unanswered_seconds_max` since the doubt began (microseconds UTC); then a person looks.
    """
    believed = now - doubt_began_at < limits.unanswered_seconds_max * SECOND
    return believed and delivery_id in record.breaker_failing


def patience(answered_seconds: Sequence[float], limits: Limits) -> int:
    """Microseconds of silence that are usual at a call, from how long the last such calls took."""
    usual = max(answered_seconds, default=0.0) * limits.breaker_patience
    return int(max(limits.breaker_silence_seconds, usual) * SECOND)


def _opened(
    record: EndpointRecord, failing: tuple[str, ...], why: str, now: int, limits: Limits
) -> EndpointRecord:
    closed_at = record.breaker_since or 0
    if now - closed_at >= limits.dead_letter_unknown_seconds * SECOND:
        # In a shorter time no doubt came to show: what did before it still counts.
        windows = (*record.answered_windows, (closed_at, now))
        record = replace(record, answered_windows=_bounded(windows, now, limits))
    return replace(
        record,
        breaker_state="OPEN",
        breaker_since=now,
        breaker_reason=why,
        breaker_failing=failing,
        breaker_probe_at=now + int(limits.breaker_probe_seconds_first * SECOND),
        breaker_probes=0,
    )


def _bounded(windows: Windows, now: int, limits: Limits) -> Windows:
    """Times in which a system answered, without a beginning that is long past.

    Doubt older than is believed shows whatever the breaker says; only when it showed is asked of
    such a time. So two of them become one, outage and all: nothing hides again, and what showed
    after that outage at most seems to have shown earlier, which opens no group again.
    """
    kept = list(windows)
    believed = now - int(limits.unanswered_seconds_max * SECOND)
    while len(kept) > 1 and (kept[1][1] < believed or len(kept) > limits.answered_windows_max):
        kept[:2] = [(min(kept[0][0], kept[1][0]), kept[1][1])]
    return tuple(kept)


def _answered(record: EndpointRecord, now: int) -> EndpointRecord:
    if not is_open(record):
        if not record.breaker_failing:
            return record
        return replace(record, breaker_failing=(), breaker_reason="")
    return replace(
        record,
        breaker_state="CLOSED",
        breaker_since=now,
        breaker_reason="",
        breaker_failing=(),
        breaker_probe_at=None,
        breaker_probes=0,
    )


def _probed_nothing(record: EndpointRecord, evidence: Evidence, now: int) -> EndpointRecord:
    """The endpoint after an attempt that says nothing of it: where that was the probe, the next one
    need not wait until its lease is over."""
    if record.breaker_state != "PROBING" or evidence.begun_at < (record.breaker_since or 0):
        return record
    return replace(record, breaker_state="OPEN", breaker_probe_at=now)


def _probe_failed(
    record: EndpointRecord, failing: tuple[str, ...], why: str, now: int, limits: Limits
) -> EndpointRecord:
    seconds = min(
        limits.breaker_probe_seconds_first * 2.0 ** min(record.breaker_probes + 1, 16),
        limits.breaker_probe_seconds_max,
    )
    return replace(
        record,
        breaker_state="OPEN",
        breaker_reason=why,
        breaker_failing=failing,
        breaker_probe_at=now + int(seconds * SECOND),
        breaker_probes=record.breaker_probes + 1,
    )


def is_open(record: EndpointRecord) -> bool:
    """True while the endpoint's system counts as down."""
    return record.breaker_state != "CLOSED"


def answered(breaker_state: str, breaker_since: int | None, windows: Windows) -> Answered:
    """When an endpoint's system answered, by its row: since the breaker closed, unless it is open,
    and the times before that which are kept."""
    return (*windows, (breaker_since or 0, None)) if breaker_state == "CLOSED" else windows


def answered_of(record: EndpointRecord) -> Answered:
    """When the system of an endpoint answered, by its record."""
    return answered(record.breaker_state, record.breaker_since, record.answered_windows)


def may_begin(record: EndpointRecord, now: int) -> bool:
    """Whether an attempt may begin: always while closed, else when a probe is due."""
    return not is_open(record) or now >= (record.breaker_probe_at or 0)


def begun(record: EndpointRecord, lease_seconds: float, now: int) -> EndpointRecord:
    """The endpoint once an attempt begins: while open it is the probe, and the only one."""
    if not is_open(record):
        return record
    # A probe that is never heard of again holds up the next one for as long as its lease.
    until = now + int(lease_seconds * SECOND)
    return replace(record, breaker_state="PROBING", breaker_probe_at=until)


def room(record: EndpointRecord, left: int, tried: int, now: int) -> int:
    """How many of the `left` calls may go out: one at a time, and in its time, while open.

    tried: deliveries on their way to the vendor that went out since it opened. What was out before
    may be silent for long, and must not keep a probe from finding out.
    """
    if not is_open(record):
        return left
    return min(left, 1) if tried == 0 and may_begin(record, now) else 0
