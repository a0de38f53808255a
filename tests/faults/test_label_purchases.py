"""Labels under kills in a small run, and the checker's rules about labels: each is found."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from tests.faults.history import labels
from tests.faults.history.checker import check, counted
from tests.faults.history.records import (
    Attempt,
    Delivery,
    Effect,
    History,
    Label,
    LabelLook,
    Packed,
    Record,
    Rpc,
    Run,
)
from tests.faults.history.violations import Kind
from tests.faults.seeded import Seed
from tests.faults.seeded_labels import LABEL_SEEDS
from tests.faults.trials.catalogue import TRIALS
from tests.faults.trials.labels import nothing_there
from tests.faults.trials.trial import Piece, Result, Size
from tests.faults.yard.adapter import CLASSES
from tests.faults.yard.label_notes import LEFT_BEHIND

# One that voids and packs again where there are labels, and whose calls fail now and then.
SEED = 651
SMALLEST = Size(1, orders=10, faults=1)
pytestmark = pytest.mark.timeout(600)
SEEDED = [(kind, seed) for kind, seeds in LABEL_SEEDS.items() for seed in seeds]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, History]:
    """A hub and adapters that are killed, carriers that misbehave: what came of it."""
    directory = tmp_path_factory.mktemp("labels")
    result = asyncio.run(TRIALS["L1"].run(Piece("L1", SEED, SMALLEST, directory)))
    return result, History.read(directory / "history.jsonl")


@pytest.fixture(scope="module")
def good(ran: tuple[Result, History]) -> History:
    return ran[1]


def test_labels_are_bought_once_under_kills(ran: tuple[Result, History]) -> None:
    """Proves that L1 holds in a small run with a kill of the hub and of adapters in it: purchases
    of each class, labels with price and image at the hub, some voided, and a database that a killed
    hub left in which outcome and label stand together."""
    result, history = ran
    assert [*result.violations, *result.broken] == []
    assert all(result.counts[asked] > 0 for asked in TRIALS["L1"].asked), result.counts
    begun = {row.operation_class.lower() for row in history.of(Delivery) if row.attempts}
    assert begun == set(CLASSES)
    assert all(label.price and label.document for label in history.of(Label))
    assert any(look.reader == LEFT_BEHIND and look.number for look in history.of(LabelLook))


@pytest.mark.parametrize(
    ("kind", "seed"), SEEDED, ids=[f"{kind.name}{seed.__name__}" for kind, seed in SEEDED]
)
def test_a_seeded_violation_is_found(good: History, kind: Kind, seed: Seed) -> None:
    """Proves that the checker sees this kind of violation in an otherwise good history, counts it
    as what it is, and explains it."""
    found = check(good.with_records(seed(good)))
    assert kind in {violation.kind for violation in found}, [str(each) for each in found]
    assert counted(found)[kind.verdict] > 0
    (told, *_) = [violation for violation in found if violation.kind is kind]
    assert told.subject and told.facts


def bought(package: str, number: str, state: str, voided_at: int = 0) -> list[Record]:
    """A package's purchase in some state, and what the vendor has of it, if it has anything."""
    row = Delivery(f"d-{package}", "e", "carrier", labels.BUY, "NONE", package, "key", "1", state,
                   "", "?", "", 1, 1, (number,))  # fmt: skip
    if not number:
        return [row]
    return [
        row,
        Effect("carrier", labels.BUY, row.id, number, "key", "LPN", 5, 0, "1.00", "d", voided_at),
    ]


@pytest.mark.parametrize(
    ("voided", "first", "second", "found"),
    [
        # Voided and packed again.
        (True, ("one", "CONFIRMED", 9), ("two", "CONFIRMED", 0), False),
        (True, ("one", "CONFIRMED", 0), ("two", "CONFIRMED", 0), True),
        (False, ("one", "CONFIRMED", 0), ("two", "CONFIRMED", 0), True),
        # A person has to find out about the first; its void waits.
        (True, ("one", "PARKED", 0), ("two", "CONFIRMED", 0), False),
        (False, ("one", "PARKED", 0), ("two", "CONFIRMED", 0), True),
        (True, ("", "SUPERSEDED", 0), ("two", "CONFIRMED", 0), False),
        # Neither is valid any more.
        (True, ("one", "CONFIRMED", 9), ("two", "CONFIRMED", 9), False),
    ],
)
def test_a_carton_has_one_valid_label(
    voided: bool, first: tuple[Any, ...], second: tuple[Any, ...], found: bool
) -> None:
    """Proves that two valid labels of a carton are a violation also where it was packed in two
    shipments, and not where the first is void or waits for a person."""
    records: Sequence[Record] = [
        Packed("p1", "LPN", "s1", "carrier"),
        Packed("p2", "LPN", "s2", "carrier"),
        *bought("p1", *first),
        *bought("p2", *second),
        *([Rpc("wms", labels.VOID_SHIPMENT, "r", 1, 2, "ok", object_id="s1")] if voided else []),
    ]
    told = labels.violations(History(Run("L1", 1), tuple(records)))
    assert (Kind.TWO_VALID_LABELS in {violation.kind for violation in told}) is found


@pytest.mark.parametrize(
    ("state", "key", "found"),
    [("HELD", "key", False), ("HELD", "another", True), ("CONFIRMED", "key", True)],
)
def test_a_void_that_waits_for_a_person_leaves_its_label(state: str, key: str, found: bool) -> None:
    """Proves that a voided shipment's label may be valid beside that of the next one only where its
    void is held behind parked work of the same key: here of another package of the shipment."""
    void = Delivery("v", "e", "carrier", labels.VOID, "", "p1", key, "2", state,
                    "ORDER", "?", "", 0, 0, ())  # fmt: skip
    records: Sequence[Record] = [
        Packed("p1", "LPN", "s1", "carrier"),
        Packed("p2", "LPN", "s2", "carrier"),
        Packed("p3", "LPN-2", "s1", "carrier"),
        Rpc("wms", labels.VOID_SHIPMENT, "r", 1, 2, "ok", object_id="s1"),
        *bought("p1", "one", "CONFIRMED"),
        *bought("p2", "two", "CONFIRMED"),
        *bought("p3", "", "PARKED"),
        void,
    ]
    told = labels.violations(History(Run("L1", 1), tuple(records)))
    assert (Kind.TWO_VALID_LABELS in {violation.kind for violation in told}) is found


def test_a_run_that_met_no_trouble_proves_nothing() -> None:
    """Proves that L1 fails for a piece in which no label was bought, voided or seen, and no call
    was left in doubt: by its word, or by the end of its lease; a look-up is no call."""
    empty = History(Run("L1", 1))
    assert len(nothing_there(empty)) == 4
    label = Label("l", "p", "s", "one", "1.00", "d", "VOIDED", "one")
    seen = LabelLook("operator", "list", "p", 1, 2, "one")
    doubt = Attempt("d", 1, 1, "CALL", 1, 2, "UNKNOWN")
    assert nothing_there(empty.with_records([label, seen, doubt])) == []
    for asked in (replace(doubt, kind="LOOK_UP"), replace(doubt, outcome="CONFIRMED")):
        (told,) = nothing_there(empty.with_records([label, seen, asked]))
        assert "left in doubt" in told
    lost = replace(doubt, outcome="LEASE_EXPIRED")
    assert nothing_there(empty.with_records([label, seen, lost])) == []
