"""The ledger's rules: begun before called, one at a time, in order, nothing repeated unasked."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import pairwise

from tests.faults.history.order import grouped, overlaps
from tests.faults.history.records import (
    CALL,
    DRAFT,
    LOOK_UP,
    Attempt,
    Delivery,
    History,
    Look,
    VendorCall,
)
from tests.faults.history.repeats import NOT_FOUND_NEEDED, SECOND, UNPROVEN, Leases, repeats
from tests.faults.history.violations import Kind, Violation

SETTLED = frozenset({"CONFIRMED", "REJECTED", "SUPERSEDED", "SKIPPED"})
OPEN = frozenset({"HELD", "READY", "DISPATCHED", "IN_FLIGHT", "UNKNOWN", "RESOLVING", "UNROUTED"})
# What follows these under the same key waits for a person.
STUCK = frozenset({"PARKED", "REJECTED"})
# Words that settle a delivery for good. A person may retry a refused one; no test here does.
PROOFS = frozenset({"CONFIRMED", "REJECTED"})
# Ends of a call that say that it did nothing.
UNDONE = frozenset({"RETRY", "THROTTLED", "REJECTED", "PARKED"})
# An adapter tells the end of its lease on its own clocks, counted from before it asked for it.
LEASE_SLACK_SECONDS = 0.02


def violations(history: History) -> Iterator[Violation]:
    """Every rule about attempts and their calls."""
    deliveries = {row.id: row for row in history.of(Delivery)}
    attempts = {
        delivery_id: sorted(found, key=lambda attempt: attempt.token)
        for delivery_id, found in grouped(history.of(Attempt), lambda a: a.delivery_id).items()
    }
    calls = grouped(history.of(VendorCall), lambda call: call.delivery_id)
    for row in deliveries.values():
        yield from _proofs(row, attempts.get(row.id, []))
    yield from _begun(calls, attempts)
    yield from _keys(calls)
    yield from _drafts(calls, deliveries)
    for delivery_id, log in attempts.items():
        leases = _known_leases(calls.get(delivery_id, []))
        yield from _leases(delivery_id, log, leases)
        yield from _judged_early(delivery_id, log, leases)
        row = deliveries.get(delivery_id)
        if row is not None:
            yield from _repeats(row, log, history.run.settle_seconds, leases)
    yield from _order(deliveries, attempts)
    yield from _ends(history, deliveries)
    yield from _settled(history)


def _begun(
    calls: dict[str, list[VendorCall]], attempts: dict[str, list[Attempt]]
) -> Iterator[Violation]:
    for delivery_id, found in calls.items():
        begun = {(a.kind, a.number): a.begun_at for a in attempts.get(delivery_id, [])}
        for call in found:
            at = begun.get((call.attempt_kind, call.attempt))
            left = call.sent_at or call.start
            told = f"{call.kind} {call.attempt} of {call.operation} left at {left}"
            if at is None:
                yield Violation(Kind.CALL_WITHOUT_BEGIN, delivery_id, told)
            elif left < at:
                yield Violation(Kind.CALL_BEFORE_BEGIN, delivery_id, f"{told}, begun at {at}")
            if call.kind != LOOK_UP and call.sent_at and call.sent_at > call.lease_until > 0:
                facts = f"{told}, {call.sent_at - call.lease_until} µs after its lease"
                yield Violation(Kind.CALL_AFTER_LEASE, delivery_id, facts)


def _keys(calls: dict[str, list[VendorCall]]) -> Iterator[Violation]:
    for delivery_id, found in calls.items():
        keys = sorted({call.key for call in found})
        if len(keys) > 1:
            yield Violation(Kind.CALL_WITH_ANOTHER_KEY, delivery_id, f"keys {keys}")


def _drafts(
    calls: dict[str, list[VendorCall]], deliveries: dict[str, Delivery]
) -> Iterator[Violation]:
    """Of two steps: only what the ledger keeps is confirmed, and what it keeps is used again."""
    for delivery_id, found in calls.items():
        confirming = [call for call in found if call.kind == CALL and call.draft]
        row = deliveries.get(delivery_id)
        kept = "" if row is None else row.draft
        for draft in sorted({call.draft for call in confirming} - {kept}):
            facts = f"{draft} was confirmed, the ledger keeps {kept or 'none'}"
            yield Violation(Kind.DRAFT_NOT_NOTED, delivery_id, facts)
        first = min((call.attempt for call in confirming), default=None)
        for call in found:
            if call.kind == DRAFT and first is not None and call.attempt > first:
                facts = f"attempt {call.attempt} made {call.draft or 'one'}, {first} had confirmed"
                yield Violation(Kind.DRAFT_MADE_AGAIN, delivery_id, facts)


def _known_leases(calls: list[VendorCall]) -> Leases:
    """How far the leases of attempts reached at least: what was renewed after the last call was
    sent, no vendor was told."""
    leased: dict[tuple[str, int], int] = {}
    for call in calls:
        place = (call.attempt_kind, call.attempt)
        leased[place] = max(leased.get(place, 0), call.lease_until)
    return leased


def _judged_early(delivery_id: str, log: list[Attempt], leases: Leases) -> Iterator[Violation]:
    for attempt in log:
        if attempt.outcome != "LEASE_EXPIRED" or attempt.ended_at is None:
            continue
        until = leases.get((attempt.kind, attempt.number), 0)
        if attempt.ended_at < until - int(LEASE_SLACK_SECONDS * SECOND):
            early = until - attempt.ended_at
            facts = f"{attempt.kind} {attempt.number} was given up {early} µs before its lease"
            yield Violation(Kind.JUDGED_BEFORE_ITS_LEASE, delivery_id, facts)


def _leases(delivery_id: str, log: list[Attempt], leases: Leases) -> Iterator[Violation]:
    for earlier, later in pairwise(log):
        if later.begun_at < earlier.begun_at:
            facts = f"token {later.token} was begun before token {earlier.token}"
            yield Violation(Kind.TOKEN_FELL, delivery_id, facts)
    spans: list[tuple[int, int | None]] = []
    for attempt in log:
        until = leases.get((attempt.kind, attempt.number), 0)
        if until and attempt.ended_at is not None:
            # What ended early gave its lease back; proof that came late did not prolong it.
            spans.append((attempt.begun_at, min(until, attempt.ended_at)))
        elif until or attempt.outcome == "LEASE_EXPIRED":
            spans.append((attempt.begun_at, until or attempt.ended_at))
    for (_, end), (start, _) in overlaps(spans):
        facts = f"one held until {end}, the next was begun at {start}"
        yield Violation(Kind.LEASES_OVERLAP, delivery_id, facts)


def _repeats(
    row: Delivery, log: list[Attempt], settle_seconds: float, leases: Leases
) -> Iterator[Violation]:
    for each in repeats(log, settle_seconds, leases):
        told = f"call {each.later.number} after {each.earlier.outcome or 'no word'}"
        if row.operation_class == "SEARCHABLE" and each.settled < NOT_FOUND_NEEDED:
            blind = each.found_nothing < NOT_FOUND_NEEDED
            kind = Kind.REPEATED_WITHOUT_LOOK_UP if blind else Kind.REPEATED_BEFORE_IT_SETTLED
            facts = f"{told}; {each.found_nothing} look-ups found nothing, {each.settled} settled"
            yield Violation(kind, row.id, facts)
        if row.operation_class == "NONE":
            yield Violation(Kind.NONE_REPEATED, row.id, told)
    last = next((attempt for attempt in reversed(log) if attempt.kind == CALL), None)
    unproven = last is not None and last.outcome in UNPROVEN - {""}
    if unproven and row.operation_class == "NONE" and row.state not in {"PARKED", *SETTLED}:
        facts = f"{row.state} after {last.outcome if last else ''}"
        yield Violation(Kind.UNKNOWN_NOT_PARKED, row.id, facts)


def _proofs(row: Delivery, log: list[Attempt]) -> Iterator[Violation]:
    """Only a proof that counts settles, and nothing is called for after it: in every class."""
    counting = [attempt for attempt in log if _counts(attempt, log)]
    words = {attempt.outcome for attempt in counting}
    if _was_done_earlier(log):
        words.add("CONFIRMED")
    if row.state in PROOFS and row.state not in words:
        said = [f"{a.kind} {a.number} {a.outcome or 'no word'}" for a in log]
        facts = f"{row.state}, its attempts: {', '.join(said) or 'none'}"
        yield Violation(Kind.SETTLED_WITHOUT_PROOF, row.id, facts)
    for proof in counting:
        later = [a for a in log if a.kind == CALL and a.token > proof.token]
        for call in [a for a in later if a.begun_at > (proof.ended_at or 0)][:1]:
            facts = f"call {call.number} after attempt {proof.number} was {proof.outcome}"
            yield Violation(Kind.CALLED_AFTER_PROOF, row.id, facts)


def _counts(proof: Attempt, log: list[Attempt]) -> bool:
    """Whether an attempt's end settled its delivery.

    What comes when something newer was begun is evidence. Only that a call was done counts all the
    same: look-ups change nothing, nor do newer calls that had ended and did nothing.
    """
    if proof.outcome not in PROOFS or proof.ended_at is None or proof.late:
        return False
    newer = [a for a in log if a.token > proof.token and a.begun_at <= proof.ended_at]
    if proof.kind == CALL and proof.outcome == "CONFIRMED":
        return all(a.kind != CALL or _did_nothing(a, proof.ended_at) for a in newer)
    return not newer


def _did_nothing(call: Attempt, until: int) -> bool:
    return call.outcome in UNDONE and call.ended_at is not None and call.ended_at <= until


def _was_done_earlier(log: list[Attempt]) -> bool:
    """Whether the newest call did nothing, and an earlier one was known by then to be done: its
    word, which moved nothing while a newer call ran, settles the delivery then."""
    calls = [attempt for attempt in log if attempt.kind == CALL]
    if not calls or (newest := calls[-1]).outcome not in UNDONE or newest.ended_at is None:
        return False
    done = [call.ended_at for call in calls[:-1] if call.outcome == "CONFIRMED"]
    return any(ended is not None and ended <= newest.ended_at for ended in done)


def _order(
    deliveries: dict[str, Delivery], attempts: dict[str, list[Attempt]]
) -> Iterator[Violation]:
    """Work of one ordering key at one endpoint begins only after what comes before has ended."""
    lines = grouped(deliveries.values(), lambda row: (row.endpoint, row.ordering_key))
    for rows in lines.values():
        rows.sort(key=lambda row: row.sequence)
        for place, row in enumerate(rows):
            begun = min((a.begun_at for a in attempts.get(row.id, [])), default=None)
            if begun is None:
                continue
            for before in rows[:place]:
                if before.event_id == row.event_id or before.sequence == row.sequence:
                    continue
                ended = _ended_at(before, attempts.get(before.id, []))
                if ended is None or begun < ended:
                    when = "is open" if ended is None else f"ended at {ended}"
                    facts = f"{row.operation} begun at {begun}; {before.operation} before it {when}"
                    yield Violation(Kind.CALL_OUT_OF_ORDER, row.ordering_key, facts)


def _ended_at(row: Delivery, log: list[Attempt]) -> int | None:
    """When a delivery stopped holding back what follows; None: it still does."""
    if row.state == "SUPERSEDED":
        return 0
    if row.state not in SETTLED:
        return None
    if row.state == "SKIPPED":
        # Whoever skipped it spoke after its last attempt, if there was one.
        return max((a.ended_at or a.begun_at for a in log), default=0)
    proofs = [a.ended_at for a in log if a.ended_at and a.outcome in PROOFS]
    return min(proofs, default=0)


def _ends(history: History, deliveries: dict[str, Delivery]) -> Iterator[Violation]:
    for row in deliveries.values():
        if row.state == "PARKED" and not row.waiting_on.strip():
            yield Violation(Kind.PARKED_WITHOUT_REASON, row.id, row.operation)
    for row in open_at_the_end(deliveries.values()) if history.run.quiet else []:
        facts = f"{row.operation} at {row.endpoint} is {row.state}: {row.waiting_on}"
        yield Violation(Kind.OPEN_AT_THE_END, row.id, facts)


def open_at_the_end(rows: Collection[Delivery]) -> list[Delivery]:
    """What should have ended by itself: open, and not behind something that waits for a person."""
    held_up = {(row.endpoint, row.ordering_key) for row in rows if row.state in STUCK}
    return [
        row
        for row in rows
        if row.state in OPEN
        and not (row.state == "HELD" and (row.endpoint, row.ordering_key) in held_up)
    ]


def _settled(history: History) -> Iterator[Violation]:
    looks = [look for look in history.of(Look) if look.kind == "delivery"]
    rows = {row.id: row.state for row in history.of(Delivery)}
    for subject, found in grouped(looks, lambda look: look.subject).items():
        ended: Look | None = None
        for look in sorted(found, key=lambda look: look.start):
            if ended is not None and look.start > ended.end and look.state != ended.state:
                facts = f"seen {ended.state}, then {look.state}"
                yield Violation(Kind.SETTLED_MOVED, subject, facts)
            if look.state in SETTLED:
                ended = look
        if ended is not None and rows.get(subject, ended.state) != ended.state:
            facts = f"seen {ended.state}, at the end {rows[subject]}"
            yield Violation(Kind.SETTLED_MOVED, subject, facts)
