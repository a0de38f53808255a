"""The breaker of an endpoint: opens on evidence, tries with one call at a time, closes. Pure.

    CLOSED ──enough failures in a row, of enough deliveries──► OPEN
    OPEN ──its time has come, one attempt begins──► PROBING ──fails──► OPEN, for longer
    OPEN, PROBING ──any call is answered──► CLOSED

Evidence is what attempts say: a call that was proven unprocessed or not answered speaks against the
endpoint's system, an answer of any kind for it. One delivery alone never opens a breaker: what the
vendor chokes on is that delivery's own trouble. The state is kept in the endpoint's row, written
only when it changes, so a restart forgets nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from crossdock_hub.config import SECOND, Limits
from crossdock_hub.records import EndpointRecord

# Outcomes, as said, that mean the system did not do or not answer what it was asked.
FAILED = frozenset({"RETRY", "UNKNOWN"})
# Outcomes that mean it answered, if only with a no.
ANSWERED = frozenset({"CONFIRMED", "REJECTED", "NOT_FOUND", "THROTTLED"})
# Code of an attempt that ended before anything was tried: it says nothing about the system.
NOT_TRIED = "not_tried"
REASON_CHARACTERS_MAX = 300


@dataclass(frozen=True, slots=True)
class Evidence:
    """How one attempt ended. outcome: as the endpoint said it. begun_at: microseconds UTC."""

    delivery_id: str
    outcome: str
    code: str
    reason: str
    begun_at: int


def told(record: EndpointRecord, evidence: Evidence, now: int, limits: Limits) -> EndpointRecord:
    """The endpoint after an attempt's end; the same record when it says nothing new."""
    if evidence.outcome in ANSWERED:
        return _answered(record, now)
    if evidence.outcome not in FAILED or evidence.code == NOT_TRIED:
        return record
    failing = (*record.breaker_failing, evidence.delivery_id)[-limits.breaker_failures_needed :]
    why = (evidence.reason or evidence.code)[:REASON_CHARACTERS_MAX]
    if is_open(record):
        if evidence.begun_at < (record.breaker_since or 0):
            # A call from before: it says what is known already.
            return record
        return _probe_failed(record, failing, why, now, limits)
    enough = len(failing) >= limits.breaker_failures_needed
    if enough and len(set(failing)) >= limits.breaker_deliveries_needed:
        return replace(
            record,
            breaker_state="OPEN",
            breaker_since=now,
            breaker_reason=why,
            breaker_failing=failing,
            breaker_probe_at=now + int(limits.breaker_probe_seconds_first * SECOND),
            breaker_probes=0,
        )
    return replace(record, breaker_failing=failing, breaker_reason=why)


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


def room(record: EndpointRecord, left: int, in_use: int, now: int) -> int:
    """How many of the `left` calls may go out: one at a time, and in its time, while open."""
    if not is_open(record):
        return left
    return min(left, 1) if in_use == 0 and may_begin(record, now) else 0
