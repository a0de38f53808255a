"""The spending guard: how often one order may buy with an operation that costs money. Pure.

An intent counts from the moment it is recorded: what was superseded or refused does not, and what
the guard itself stopped does not either. Where the vendor can't tell a repetition from a second
order, each call that it may have done counts, also when look-ups have found nothing of it. Where it
tells them apart by a key or a draft, each key or draft that may have bought counts once. The guard
looks when work is admitted, and again before a call is repeated; releasing what it stopped is a
person's word: the next call of it, or of what a person sends in its place, is not asked for again.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from itertools import repeat, takewhile

from crossdock_hub.delivery.indexed_flow import IndexedFlow
from crossdock_hub.delivery.ledger import UNDONE, careful_class, is_untouched
from crossdock_hub.delivery.registry import OperationSpec
from crossdock_hub.records import AttemptRecord, DeliveryRecord
from crossdock_hub.replacing import replace

# Deliveries in these states cost nothing and never will.
FREE_STATES = frozenset({"SUPERSEDED", "REJECTED", "UNROUTED"})
SPENDING = "SPENDING"
# Classes of operations of which a repeated call buys nothing more, by key, draft or full state.
TOLD_APART = frozenset({"KEYED", "TWO_STEP", "NATURAL"})
# Of these a resubmission may buy once more: it has a key or a draft of its own.
BOUGHT_ANEW = frozenset({"KEYED", "TWO_STEP"})
# Ends of an attempt that a later word of it may follow, as its first one.
_UNSAID = frozenset({"", "LEASE_EXPIRED"})
# Ends of a call of which nothing has shown yet what it did.
_UNPROVEN = _UNSAID | {"UNKNOWN"}
# About to be called, unless an earlier call is in doubt and asked about first.
_TO_BE_CALLED = frozenset({"HELD", "READY", "DISPATCHED"})


class Tally:
    """What one order has asked for, counted once for all deliveries of an event.

    An order in a loop has thousands of deliveries: counting them for each would be the outage.
    """

    def __init__(self, flow: Sequence[DeliveryRecord]) -> None:
        """flow: the deliveries of the order before those of the event, or beside one of them."""
        self._flow = flow
        self._counts: dict[str, int] = {}
        self._alarmed: set[str] = set()

    def stopped(
        self, record: DeliveryRecord, spec: OperationSpec, now: int
    ) -> DeliveryRecord | None:
        """The delivery parked by the guard; None: it may go on, and is counted."""
        if spec.max_per_root <= 0:
            return None
        key = record.operation
        if key not in self._counts:
            self._count(key)
        # What earlier calls of it may have bought is bought, whether it goes again or not.
        self._counts[key] += costs(record) - 1
        if record.released or self._counts[key] < spec.max_per_root:
            self._counts[key] += 1
            return None
        return _parked(record, spec, now)

    def first_alarm(self, record: DeliveryRecord) -> bool:
        """True once per order and operation: one alarm is enough."""
        key = record.operation
        first = key not in self._alarmed
        self._alarmed.add(key)
        return first

    def _count(self, key: str) -> None:
        # At every endpoint: a loop that changes the carrier each time costs as much.
        same = [other for other in self._flow if other.operation == key]
        if any(other.hold_reason == SPENDING for other in same):
            self._alarmed.add(key)
        self._counts[key] = sum(map(costs, same))


def costs(record: DeliveryRecord) -> int:
    """How often a delivery counts among what its order has asked for."""
    asked_for = (
        record.state not in FREE_STATES
        and record.hold_reason != SPENDING
        # Skipped before anything reached the vendor: an operator said that it is not needed.
        and not (record.state == "SKIPPED" and is_untouched(record))
    )
    if record.state == "SUPERSEDED" and record.operation_class in BOUGHT_ANEW:
        # An operator resubmitted it in doubt: its key or draft may have bought, and only once.
        return min(1, record.calls_maybe_done)
    if record.operation_class in TOLD_APART:
        return int(asked_for)
    ahead = record.state in _TO_BE_CALLED and record.first_unknown_at is None
    return max(int(asked_for), record.calls_maybe_done + int(ahead))


def is_let_go(record: DeliveryRecord) -> bool:
    """Whether a person who sends a delivery again lets it go from the guard, or has before."""
    return record.released or record.hold_reason == SPENDING


def bought_nothing(attempt: AttemptRecord, outcome: str, *, in_time: bool) -> bool:
    """Whether an attempt's word says that a call left nothing at the vendor: its own first word,
    however late, or a refusal that a look-up found."""
    if attempt.kind == "CALL":
        return outcome in UNDONE and (in_time or attempt.outcome in _UNSAID)
    return outcome == "REJECTED" and in_time


def takes_back(attempt: AttemptRecord, attempts: Iterable[AttemptRecord]) -> bool:
    """Whether an attempt's word, that a call bought nothing, takes that call back: never twice, nor
    where the refusal may be of a call that the log lacks. attempts: all, oldest first."""
    log = list(attempts)
    if attempt.kind == "CALL":
        return not _is_refused(attempt, log)
    call = _asked_about(attempt, log)
    return call is not None and call.outcome in _UNPROVEN and not _is_refused(call, log)


def _is_refused(call: AttemptRecord, log: Sequence[AttemptRecord]) -> bool:
    """Whether a look-up has found that a call was refused."""
    later = [other for other in log if other.token > call.token]
    look_ups = takewhile(lambda other: other.kind != "CALL", later)
    return any(other.outcome == "REJECTED" for other in look_ups)


def _asked_about(look_up: AttemptRecord, log: Sequence[AttemptRecord]) -> AttemptRecord | None:
    """The call that a look-up is about; None: it may be one that the log lacks.

    That is of a delivery which this one replaces, or of a time that a database which was put back
    has lost: then tokens are missing before the look-up, as they are after an operator's word.
    """
    calls = [other for other in log if other.kind == "CALL" and other.token < look_up.token]
    if not calls:
        return None
    known = [other for other in log if calls[-1].token <= other.token < look_up.token]
    return calls[-1] if len(known) == look_up.token - calls[-1].token else None


def handed_on(record: DeliveryRecord, spec: OperationSpec) -> int:
    """How many calls of a delivery count with the one that replaces it, which has no class yet."""
    # Where repeats are told apart a delivery counts once, and what replaces it counts instead.
    return 0 if careful_class(record, spec) in TOLD_APART else record.calls_maybe_done


def left_behind(record: DeliveryRecord, spec: OperationSpec) -> int:
    """How many calls stay with a delivery that is resubmitted, and count with it for good.

    A refusal was the answer to its key or draft, whichever call got it: that one bought nothing.
    """
    anew = careful_class(record, spec) in BOUGHT_ANEW
    return record.calls_maybe_done if anew and record.state != "REJECTED" else 0


def asked_for(operation: str, flow: IndexedFlow) -> int:
    """How often an order has asked for an operation so far."""
    return flow.count(_by_cost, operation)


def _by_cost(record: DeliveryRecord) -> Iterator[Hashable]:
    return repeat(record.operation, costs(record))


def _parked(record: DeliveryRecord, spec: OperationSpec, now: int) -> DeliveryRecord:
    return replace(
        record,
        state="PARKED",
        hold_reason=SPENDING,
        waiting_on=(
            f"the spending guard stopped it: one order may ask for {record.operation} "
            f"{spec.max_per_root} times (max_per_order of the adapter of {record.endpoint}), at "
            "all endpoints and with calls that were repeated together, and has; a person decides"
        ),
        due_at=None,
        pending=False,
        updated_at=now,
    )
