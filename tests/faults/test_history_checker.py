"""The history checker: it finds each kind of violation put into a real history, and no other."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.faults.history.checker import check, counted
from tests.faults.history.records import Attempt, Delivery, Event, Fault, History, Look, Run
from tests.faults.history.violations import Kind, Verdict
from tests.faults.seeded import changed, delivery, first
from tests.faults.seeded_ends import SEEDS
from tests.faults.seeded_labels import LABEL_SEEDS
from tests.faults.trials.adapter_kills import DEATHS, kill_adapters
from tests.faults.trials.round import played
from tests.faults.trials.trial import Piece, Size
from tests.faults.yard.adapter import CLASSES
from tests.faults.yard.site import Plan, mix_of

KINDS_MIN = 20
SEED = 1_777
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> History:
    """What a real run left: a hub, two adapters that are killed, a vendor that misbehaves."""
    directory = tmp_path_factory.mktemp("good")
    return asyncio.run(_record(Piece("recorded", SEED, Size(1, orders=45, faults=2), directory)))


async def _record(piece: Piece) -> History:
    plan = Plan(piece.seed, mix=mix_of("carrier"), deaths=DEATHS)
    async with played(piece, plan, [kill_adapters]) as round_:
        return await round_.history()


def test_a_run_under_faults_keeps_its_promises(good: History) -> None:
    """Proves that a run with killed adapters and a vendor that times out, fails and drops calls
    breaks no rule, and that it had every kind of trouble that the rules are about."""
    assert [str(violation) for violation in check(good)] == []
    outcomes = Counter(attempt.outcome for attempt in good.of(Attempt))
    assert outcomes["UNKNOWN"] and outcomes["RETRY"] and outcomes["CONFIRMED"], outcomes
    assert any(attempt.kind == "LOOK_UP" for attempt in good.of(Attempt))
    assert good.of(Fault) and good.of(Look)
    begun = {row.operation_class.lower() for row in good.of(Delivery) if row.attempts}
    assert begun == set(CLASSES)


@pytest.mark.parametrize("kind", SEEDS, ids=lambda kind: kind.name)
def test_a_seeded_violation_is_found(good: History, kind: Kind) -> None:
    """Proves that the checker sees this kind of violation in an otherwise good history, counts it
    as what it is, and explains it."""
    bad = good.with_records(SEEDS[kind](good))
    found = check(bad)
    assert kind in {violation.kind for violation in found}, [str(each) for each in found]
    assert counted(found)[kind.verdict] > 0
    (told, *_) = [violation for violation in found if violation.kind is kind]
    assert told.subject and told.facts


def test_what_follows_a_skipped_delivery_waits_for_its_last_attempt(good: History) -> None:
    """Proves that work which a person skipped lets the next of its key go, and that a call of the
    next before its last attempt had ended is out of order all the same."""
    change = delivery(good, operation="change_order", state="CONFIRMED")
    line = (change.endpoint, change.ordering_key, "create_sales_order")
    create = first(good, Delivery, lambda r: (r.endpoint, r.ordering_key, r.operation) == line)
    skipped = good.with_records(changed(good, create, state="SKIPPED"))
    assert Kind.CALL_OUT_OF_ORDER not in {violation.kind for violation in check(skipped)}
    attempt = first(skipped, Attempt, lambda a: a.delivery_id == change.id)
    early = skipped.with_records(changed(skipped, attempt, begun_at=0))
    assert Kind.CALL_OUT_OF_ORDER in {violation.kind for violation in check(early)}


def judged(state: str, kind: str, *log: Attempt) -> set[Kind]:
    """What is found of one delivery with these attempts."""
    row = Delivery("d", "e", "erp-1", "sell", kind, "", "key", "1", state, "", "", "", 2, 2, ("N",))
    told = check(History(Run("G0", 1, on_stream=False), (row, *log)))
    return {violation.kind for violation in told}


@pytest.mark.parametrize("kind", ["SEARCHABLE", "KEYED", "NATURAL", "TWO_STEP", "NONE"])
@pytest.mark.parametrize(
    ("outcome", "ended", "found"),
    [
        ("CONFIRMED", 10, True),
        ("REJECTED", 10, True),
        # It came when the next call had begun: evidence.
        ("CONFIRMED", 70, False),
        ("RETRY", 10, False),
    ],
)
def test_no_class_is_asked_again_after_proof(
    kind: str, outcome: str, ended: int, found: bool
) -> None:
    """Proves that a call which begins after the delivery was settled is a violation in each class,
    also where repeats are harmless, and one that had begun before is none."""
    first_call = Attempt("d", 1, 1, "CALL", 1, ended, outcome)
    second_call = Attempt("d", 2, 2, "CALL", 60, 80, "CONFIRMED")
    told = judged("CONFIRMED", kind, first_call, second_call)
    assert (Kind.CALLED_AFTER_PROOF in told) is found


SECOND_CALL = ("CALL", 60, 99, "CONFIRMED")


@pytest.mark.parametrize(
    ("state", "log", "found"),
    [
        ("CONFIRMED", [("CALL", 1, 10, "CONFIRMED")], False),
        # Of a call that was done, with look-ups since, and with a call since.
        ("CONFIRMED", [("CALL", 1, 90, "CONFIRMED"), ("LOOK_UP", 60, 70, "NOT_FOUND")], False),
        ("CONFIRMED", [("CALL", 1, 90, "CONFIRMED"), ("CALL", 60, None, "")], True),
        ("CONFIRMED", [("CALL", 1, 90, "CONFIRMED"), SECOND_CALL], False),
        # The newer call's own proof came when the older one's had settled it.
        (
            "CONFIRMED",
            [("CALL", 1, 90, "CONFIRMED"), ("CALL", 60, 99, "CONFIRMED", "", True)],
            True,
        ),
        # A newer call that had ended and did nothing takes nothing away, nor does one that turns
        # out to have done nothing; one that may have done something does.
        ("CONFIRMED", [("CALL", 1, 90, "CONFIRMED"), ("CALL", 60, 70, "RETRY")], False),
        ("CONFIRMED", [("CALL", 1, 90, "CONFIRMED"), ("CALL", 60, 70, "UNKNOWN")], True),
        ("CONFIRMED", [("CALL", 1, 90, "CONFIRMED", "", True), ("CALL", 60, 95, "RETRY")], False),
        ("CONFIRMED", [("CALL", 1, 99, "CONFIRMED", "", True), ("CALL", 60, 95, "RETRY")], True),
        ("CONFIRMED", [("CALL", 1, 90, "CONFIRMED", "", True), ("CALL", 60, 95, "UNKNOWN")], True),
        ("CONFIRMED", [("CALL", 1, 90, "REJECTED", "", True), ("CALL", 60, 95, "RETRY")], True),
        # Only the newest attempt's refusal and look-up count.
        ("REJECTED", [("CALL", 1, 90, "REJECTED"), ("LOOK_UP", 60, 70, "NOT_FOUND")], True),
        ("CONFIRMED", [("LOOK_UP", 1, 90, "CONFIRMED"), ("LOOK_UP", 60, 70, "NOT_FOUND")], True),
        ("CONFIRMED", [("LOOK_UP", 1, 20, "NOT_FOUND"), ("LOOK_UP", 60, 70, "CONFIRMED")], False),
        ("REJECTED", [("CALL", 1, 90, "CONFIRMED")], True),
        ("CONFIRMED", [], True),
        ("READY", [("CALL", 1, 90, "RETRY")], False),
    ],
)
def test_an_old_token_settles_nothing(state: str, log: list[tuple[Any, ...]], found: bool) -> None:
    """Proves that a delivery which was settled by the word of an attempt after a newer call had
    begun, or by no word at all, is a violation."""
    attempts = [Attempt("d", n, n, *each) for n, each in enumerate(log, 1)]
    assert (Kind.SETTLED_WITHOUT_PROOF in judged(state, "KEYED", *attempts)) is found


def test_every_kind_is_seeded() -> None:
    """Proves that no kind of violation goes without a test that it is found, and that all four
    verdicts are among them."""
    assert set(SEEDS) | set(LABEL_SEEDS) == set(Kind)
    assert len(SEEDS) >= KINDS_MIN
    assert (
        {kind.verdict for kind in SEEDS} == {kind.verdict for kind in LABEL_SEEDS} == set(Verdict)
    )


def test_a_history_is_the_same_when_read_again(good: History, tmp_path: Path) -> None:
    """Proves that a history that was written and read is the one that was recorded."""
    good.write(tmp_path / "history.jsonl")
    assert History.read(tmp_path / "history.jsonl") == good


def test_order_of_recording_does_not_matter(good: History) -> None:
    """Proves that the checker judges times, not the order in which records were noted."""
    assert check(good.with_records(reversed(good.records))) == []


def test_numbers_that_went_unused_are_no_loss(good: History) -> None:
    """Proves that a hole among the numbers of events is a loss where each number that is drawn is
    used, and none where a run says that those of a transaction which was rolled back are not."""
    after = good.of(Event)[3].sequence
    holed = good.with_records(
        replace(each, sequence=each.sequence + 1)
        if isinstance(each, Event) and each.sequence >= after
        else each
        for each in good.records
    )
    assert {found.kind for found in check(holed)} == {Kind.EVENT_GONE}
    unused = replace(holed, run=replace(holed.run, numbers_go_unused=True))
    assert check(unused) == []
