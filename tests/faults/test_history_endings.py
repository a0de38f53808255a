"""What the checker says of work that was superseded, skipped, parked, given up or repeated."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.faults.history.checker import check
from tests.faults.history.endings import POISON, SPENDING
from tests.faults.history.records import Attempt, Delivery, History, Record, Run, VendorCall
from tests.faults.history.violations import Kind

SETTLE = 1_000_000
RUN = Run("G0", 1, on_stream=False, supersedes={"cancel": ("sell", "change")}, settle_seconds=1.0)


def row(name: str, place: int, operation: str, state: str, **more: Any) -> Delivery:
    """A delivery of one object, at its place in the order."""
    kind = more.pop("operation_class", "SEARCHABLE")
    made = Delivery(name, f"e{place}", "erp-1", operation, kind, "", "key", str(place), state, "",
                    "a reason", "", 0, 0, ())  # fmt: skip
    return replace(made, **more)


def found(kind: Kind, *records: Record, run: Run = RUN) -> bool:
    return kind in {violation.kind for violation in check(History(run, records))}


@pytest.mark.parametrize(
    ("sold", "by", "cancelled", "wrong"),
    [
        ("SUPERSEDED", "cancel", "SUPERSEDED", False),
        ("SUPERSEDED", "cancel", "CONFIRMED", False),
        ("SUPERSEDED", "", "SUPERSEDED", True),
        ("SUPERSEDED", "sell", "SUPERSEDED", True),
        ("SUPERSEDED", "elsewhere", "SUPERSEDED", True),
        ("SUPERSEDED", "later", "SUPERSEDED", True),
        ("SUPERSEDED", "before", "SUPERSEDED", True),
        # A cancel that disappears beside what stays.
        ("CONFIRMED", "", "SUPERSEDED", True),
    ],
)
def test_only_what_takes_it_back_supersedes(
    sold: str, by: str, cancelled: str, wrong: bool
) -> None:
    """Proves that work is superseded by a later cancel of its key there and by nothing else, and a
    cancel by itself only when all that it takes back has disappeared."""
    rows = [
        row("before", 1, "cancel", "CONFIRMED"),
        row("sell", 2, "sell", sold, superseded_by=by),
        row("cancel", 3, "cancel", cancelled, superseded_by="cancel"),
        row("later", 4, "record", "CONFIRMED"),
        row("elsewhere", 5, "cancel", "CONFIRMED", endpoint="erp-2"),
    ]
    assert found(Kind.SUPERSEDED_BY_NOTHING, *rows) is wrong


def test_a_cancel_of_nothing_does_not_disappear() -> None:
    """Proves that a cancel which is superseded by itself has to have taken something back."""
    alone = row("cancel", 3, "cancel", "SUPERSEDED", superseded_by="cancel")
    assert found(Kind.SUPERSEDED_BY_NOTHING, alone)


@pytest.mark.parametrize(
    ("sold", "state", "voided", "wrong"),
    [
        ("box-1", "SUPERSEDED", "box-1", False),
        ("", "SUPERSEDED", "box-1", False),
        ("box-1", "SUPERSEDED", "", False),
        ("box-2", "SUPERSEDED", "box-1", True),
        # Of two packages each has its own end.
        ("box-2", "CONFIRMED", "box-1", False),
    ],
)
def test_a_part_is_taken_back_by_work_of_that_part(
    sold: str, state: str, voided: str, wrong: bool
) -> None:
    """Proves that work of one package is superseded by the void of that package or of the whole,
    and that a void of one disappears whatever becomes of the other."""
    rows = [
        row("own", 1, "sell", "SUPERSEDED", superseded_by="cancel", item=voided),
        row("sell", 2, "sell", state, superseded_by="cancel", item=sold),
        row("cancel", 3, "cancel", "SUPERSEDED", superseded_by="cancel", item=voided),
    ]
    assert found(Kind.SUPERSEDED_BY_NOTHING, *rows) is wrong


def test_only_people_skip() -> None:
    """Proves that skipped work is a violation unless a person skipped just that."""
    skipped = row("sell", 1, "sell", "SKIPPED")
    assert found(Kind.SKIPPED_UNASKED, skipped)
    assert found(Kind.SKIPPED_UNASKED, skipped, run=replace(RUN, skipped=("other",)))
    assert not found(Kind.SKIPPED_UNASKED, skipped, run=replace(RUN, skipped=("sell",)))


@pytest.mark.parametrize(
    ("kind", "outcomes", "hold", "parks", "wrong"),
    [
        ("NONE", ["UNKNOWN"], "", (), False),
        ("NONE", ["RETRY", "LEASE_EXPIRED"], "", (), False),
        ("NONE", ["RETRY"], "", (), True),
        ("NONE", [], "", (), True),
        ("SEARCHABLE", ["UNKNOWN"], "", (), True),
        ("KEYED", ["UNKNOWN", "LEASE_EXPIRED"], "", (), True),
        ("NATURAL", [], "", (), True),
        ("KEYED", ["PARKED"], "", (), True),
        ("KEYED", ["PARKED"], "", (POISON,), False),
        ("KEYED", ["RETRY"], "", (POISON,), True),
        ("SEARCHABLE", [], "SPENDING", (), True),
        ("SEARCHABLE", [], "SPENDING", (SPENDING,), False),
    ],
)
def test_what_is_parked_without_cause_is_found(
    kind: str, outcomes: list[str], hold: str, parks: tuple[str, ...], wrong: bool
) -> None:
    """Proves that parked work is a violation unless it is of class none and a call of it is in
    doubt, or its run names the cause and the cause is seen; others' calls do not matter."""
    parked = row("one", 1, "sell", "PARKED", operation_class=kind, hold_reason=hold)
    log = [Attempt("one", n, n, "CALL", n, n, each) for n, each in enumerate(outcomes, 1)]
    other = Attempt("two", 1, 1, "CALL", 1, 1, "UNKNOWN")
    run = replace(RUN, parks=parks)
    assert found(Kind.PARKED_WITHOUT_CAUSE, parked, *log, other, run=run) is wrong
    ready = replace(parked, state="READY")
    assert not found(Kind.PARKED_WITHOUT_CAUSE, ready, *log, run=run)


@pytest.mark.parametrize(
    ("outcome", "ended", "wrong"),
    [
        ("LEASE_EXPIRED", 2_900_000, True),
        ("LEASE_EXPIRED", 3_500_000, False),
        # Its own word ends a call earlier.
        ("UNKNOWN", 100_000, False),
    ],
)
def test_only_an_expired_lease_is_judged(outcome: str, ended: int, wrong: bool) -> None:
    """Proves that an attempt whose lease is said to have run out before it did is a violation, by
    the longest lease that a vendor was told of for it."""
    log = [Attempt("one", 1, 1, "CALL", 1, ended, outcome)]
    calls = [
        VendorCall("erp-1", kind, "sell", "one", 1, "k", 2, 9, 201, False, 2, until)
        for kind, until in (("DRAFT", 1_500_000), ("CALL", 3_000_000))
    ]
    one = row("one", 1, "sell", "UNKNOWN")
    assert found(Kind.JUDGED_BEFORE_ITS_LEASE, one, *log, *calls) is wrong


FIRST = ("CALL", 0, 10, "UNKNOWN")
AT_ONCE = ("LOOK_UP", 20, 30, "NOT_FOUND")
SETTLED = ("LOOK_UP", 10 + SETTLE, 20 + SETTLE, "NOT_FOUND")
SETTLED_TWICE = ("LOOK_UP", 20 + 2 * SETTLE, 30 + 2 * SETTLE, "NOT_FOUND")
FAILED = ("LOOK_UP", 15 + 2 * SETTLE, 18 + 2 * SETTLE, "UNKNOWN")
LATE = ("LOOK_UP", 20 + 2 * SETTLE, 30 + 2 * SETTLE, "NOT_FOUND", "", True)


@pytest.mark.parametrize(
    ("looks", "kind"),
    [
        ([SETTLED, SETTLED_TWICE], None),
        # A look-up that failed proves nothing, and nothing has to settle after it.
        ([SETTLED, FAILED, SETTLED_TWICE], None),
        ([], Kind.REPEATED_WITHOUT_LOOK_UP),
        ([SETTLED, FAILED], Kind.REPEATED_WITHOUT_LOOK_UP),
        ([SETTLED, LATE], Kind.REPEATED_WITHOUT_LOOK_UP),
        ([AT_ONCE, ("LOOK_UP", 40, 50, "NOT_FOUND")], Kind.REPEATED_BEFORE_IT_SETTLED),
        ([AT_ONCE, SETTLED], Kind.REPEATED_BEFORE_IT_SETTLED),
        (
            [SETTLED, ("LOOK_UP", 19 + 2 * SETTLE, 40 + 2 * SETTLE, "NOT_FOUND")],
            Kind.REPEATED_BEFORE_IT_SETTLED,
        ),
        ([AT_ONCE, SETTLED, SETTLED_TWICE], None),
    ],
)
def test_only_settled_look_ups_let_a_call_be_repeated(
    looks: list[tuple[Any, ...]], kind: Kind | None
) -> None:
    """Proves that of the look-ups between two calls those count that found nothing and began a
    settle time after the call, or the look-up that counted before, had ended."""
    log = [FIRST, *looks, ("CALL", 9 * SETTLE, 10 * SETTLE, "CONFIRMED")]
    attempts = [Attempt("one", n, n, *each) for n, each in enumerate(log, 1)]
    told = check(History(RUN, (row("one", 1, "sell", "CONFIRMED"), *attempts)))
    wanted = {Kind.REPEATED_WITHOUT_LOOK_UP, Kind.REPEATED_BEFORE_IT_SETTLED}
    assert {v.kind for v in told} & wanted == ({kind} if kind else set())


def test_a_word_that_came_late_does_not_move_the_end_of_its_call() -> None:
    """Proves that look-ups are timed from the end of the lease where the call's word came after it,
    and that look-ups before that end count for nothing."""
    log = [
        Attempt("one", 1, 1, "CALL", 0, 8 * SETTLE, "UNKNOWN", "", True),
        Attempt("one", 2, 2, *SETTLED),
        Attempt("one", 3, 3, *SETTLED_TWICE),
        Attempt("one", 4, 4, "CALL", 9 * SETTLE, 10 * SETTLE, "CONFIRMED"),
    ]
    one = row("one", 1, "sell", "CONFIRMED")
    assert not found(Kind.REPEATED_BEFORE_IT_SETTLED, one, *log)
    call = VendorCall("erp-1", "CALL", "sell", "one", 1, "k", 2, 9, 201, False, 2, SETTLE // 2)
    assert found(Kind.REPEATED_BEFORE_IT_SETTLED, one, *log, call)
