"""The runner's bookkeeping: what is run again, what adds up, and what counts as enough."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.faults import run, side_by_side
from tests.faults.progress import ROOT, Progress
from tests.faults.report import document, line, table, words_not_kept, write_report
from tests.faults.trials.catalogue import TRIALS
from tests.faults.trials.trial import Piece, Result, Size, Trial

GOOD = {"lost": 0, "doubled": 0, "reordered": 0, "regressed": 0}


async def never(piece: Piece) -> Result:
    raise AssertionError(piece)


def trial(**changes: Any) -> Trial:
    told: dict[str, Any] = {
        "id": "G0", "title": "a fault", "criterion": "0 lost", "run": never, "quick": Size(1),
        "full": Size(2), "asked": {"kills": 10},
    }  # fmt: skip
    return Trial(**told | changes)


@pytest.fixture
def progress(tmp_path: Path) -> Progress:
    return Progress(tmp_path / "full")


def test_a_piece_that_passed_is_not_run_again(progress: Progress) -> None:
    """Proves that a run goes on after the pieces that kept their promise, and repeats those that
    broke it or never ended."""
    progress.put("G0", 1001, Result({"kills": 5}, GOOD), 3.0)
    progress.put("G0", 1002, Result({"kills": 5}, GOOD, violations=["lost: …"]), 3.0)
    progress.put("G0", 1003, Result({}, broken=["the run ended early"]), 3.0)
    assert [seed for seed in (1001, 1002, 1003, 1004) if progress.has("G0", seed)] == [1001]
    progress.forget("G0")
    assert progress.done("G0") == []


def test_pieces_add_up_apart_from_the_baseline(progress: Progress) -> None:
    """Proves that counts of pieces are added, figures pooled, and that the naive adapters' counts
    never mix with ours."""
    progress.put("G0", 1001, Result({"kills": 4}, GOOD, {"s": [1.0, 3.0]}), 3.0)
    progress.put("G0", 1002, Result({"kills": 6}, GOOD, {"s": [2.0]}), 3.0)
    progress.put("G0", 1, Result({"naive: doubled": 7, "kills": 100}), 3.0)
    told = document(trial(), progress)
    assert told["done"] == {"kills": 10} and told["enough"] and told["passed"]
    assert told["measured"]["s"] == {"count": 3, "p50": 2.0, "p99": 3.0, "max": 3.0}
    assert told["baseline"] == {"naive: doubled": 7, "kills": 100}
    assert told["seeds"] == [1001, 1002]


def test_the_usual_build_is_told_with_its_seconds(progress: Progress) -> None:
    """Proves that what the usual build took stands in its own column, beside its counts, and never
    among our figures."""
    progress.put("G0", 1001, Result({"kills": 10}, GOOD, {"s": [1.0]}), 3.0)
    progress.put("G0", 1, Result({"naive: lost": 7}, measured={"stall": [2.0, 8.7]}), 3.0)
    assert list(document(trial(), progress)["measured"]) == ["s"]
    told = "naive: lost 7; stall: p50 8.7, p99 8.7, most 8.7"
    assert table([trial()], progress).splitlines()[2].endswith(f" | {told} |")
    assert told.replace(";", ",") in line(trial(), Size(1), progress).text


def test_what_nobody_looked_for_is_no_zero(progress: Progress) -> None:
    """Proves that a kind of violation which no piece judges is told as "-", not as none found."""
    progress.put("G0", 1001, Result({"kills": 10}, {"lost": 0, "doubled": 2}), 3.0)
    assert document(trial(), progress)["found"]["regressed"] is None
    assert " | 0, 2, -, - | " in table([trial()], progress)
    assert line(trial(), Size(1), progress).text.split()[2:6] == ["0", "2", "-", "-"]


def test_a_slow_figure_is_told(progress: Progress) -> None:
    """Proves that a figure beyond its bound is named, and that one within it is not."""
    progress.put("G0", 1001, Result({"kills": 10}, GOOD, {"s": [6.0], "t": [1.0]}), 3.0)
    slow = trial(bounds={"s": 5.0, "t": 5.0})
    assert document(slow, progress)["beyond"] == {"s": 5.0}
    assert "beyond 5" in line(slow, Size(1), progress).text
    assert "beyond 5" in table([slow], progress)


def test_a_low_figure_is_told(progress: Progress) -> None:
    """Proves that a rate below its floor is named, and that one above it is not."""
    progress.put("G0", 1001, Result({"kills": 10}, GOOD, {"a": [900.0], "b": [1100.0]}), 3.0)
    low = trial(floors={"a": 1000.0, "b": 1000.0})
    assert document(low, progress)["below"] == {"a": 1000.0}
    assert "below 1000" in line(low, Size(1), progress).text
    assert "below 1000" in table([low], progress)


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({"bounds": {"s": 5.0}}, "kept, beyond"),
        ({"floors": {"s": 7.0}}, "kept, below"),
        ({"bounds": {"s": 5.0}, "floors": {"s": 7.0}}, "kept, beyond"),
        ({"bounds": {"s": 7.0}, "floors": {"s": 5.0}}, "PASS"),
    ],
)
def test_a_missed_bound_is_no_pass(
    progress: Progress, changes: dict[str, Any], verdict: str
) -> None:
    """Proves that the word of a test which kept its promise and missed a bound says so, though
    nothing fails for it, and that PASS is for one which met them all."""
    progress.put("G0", 1001, Result({"kills": 10}, GOOD, {"s": [6.0]}), 3.0)
    row = line(trial(**changes), Size(1), progress)
    assert row.passed and f"  {verdict} " in row.text
    assert ("PASS" in row.text) is (verdict == "PASS")


@pytest.mark.parametrize(
    ("seconds", "pieces", "options", "status"),
    [
        (4.0, 2, ["--full"], run.KEPT),
        (6.0, 2, ["--full"], run.MISSED),
        (6.0, 1, ["--full", "--pieces", "0"], run.KEPT),
        (6.0, 2, [], run.KEPT),
    ],
)
def test_a_missed_bound_ends_the_full_run_with_its_own_status(
    seconds: float,
    pieces: int,
    options: list[str],
    status: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Proves that whoever runs the full counts by a script learns of a bound that was missed, apart
    from a promise that was broken; reduced counts, and a part of the whole, decide no bound."""
    slow = trial(bounds={"s": 5.0}, quick=Size(1), full=Size(2, orders=2))
    progress = Progress(tmp_path / "faults" / ("full" if "--full" in options else "quick"))
    for seed in range(1001, 1001 + pieces):
        progress.put("G0", seed, Result({"kills": 10}, GOOD, {"s": [seconds]}), 3.0)
    monkeypatch.setattr(run, "TRIALS", {"G0": slow})
    monkeypatch.setattr(sys, "argv", ["faults", "--out", str(tmp_path), *options])
    assert run.main() == status


def test_a_piece_that_was_judged_otherwise_is_told(progress: Progress) -> None:
    """Proves that a row says which of its pieces were run when the test did something else, or kept
    its promise by another criterion, than is printed there; and which kept no word of it."""
    now = trial()
    progress.put("G0", 1001, Result({"kills": 10}, GOOD), 3.0, now.words)
    assert "told otherwise" not in table([now], progress) + line(now, Size(1), progress).text
    progress.put("G0", 1002, Result({"kills": 10}, GOOD), 3.0, trial(criterion="1 lost").words)
    progress.put("G0", 1003, Result({"kills": 10}, GOOD), 3.0, trial(title="another").words)
    told = "told otherwise when it ran: 1002, 1003"
    assert f"(**{told}**)" in table([now], progress).splitlines()[2]
    assert told in line(now, Size(3), progress).text
    assert not words_not_kept([now], progress)
    progress.put("G0", 1004, Result({"kills": 10}, GOOD), 3.0)
    assert words_not_kept([now, trial(id="G1")], progress).endswith(": G0")
    assert document(now, progress)["other_words"] == [1002, 1003]


def test_a_violation_fails_the_test_and_names_its_seed(progress: Progress) -> None:
    """Proves that one violation in one piece fails the whole test and says which seed to replay."""
    progress.put("G0", 1001, Result({"kills": 10}, GOOD), 3.0)
    bad = Result({"kills": 10}, GOOD | {"doubled": 1}, violations=["doubled: twice"])
    progress.put("G0", 1002, bad, 3.0)
    told = document(trial(), progress)
    assert not told["passed"] and told["failures"] == {1002: ["doubled: twice"]}
    row = line(trial(), Size(2), progress)
    assert not row.passed and "FAIL" in row.text


def test_too_little_is_not_a_pass(progress: Progress) -> None:
    """Proves that a test that has not run, or not enough, is not reported as passed."""
    assert not line(trial(), Size(2), progress).passed
    progress.put("G0", 1001, Result({"kills": 5}, GOOD), 3.0)
    assert "so far" in line(trial(), Size(2), progress).text
    assert not document(trial(), progress)["enough"]


def test_a_whole_that_did_too_little_fails(progress: Progress) -> None:
    """Proves that a test of which every piece of the full counts was run, and which did less than
    it was asked for, fails and names what there was too little of; the reduced counts may do less,
    and so may a part of the whole."""
    for seed in (1001, 1002):
        assert line(trial(), Size(2), progress).passed == (seed > 1001)
        progress.put("G0", seed, Result({"kills": 4}, GOOD), 3.0)
        assert line(trial(), Size(1), progress).passed
    row = line(trial(), Size(2), progress)
    assert not row.passed and "FAIL" in row.text and "too few: 8 of 10 kills" in row.text
    progress.put("G0", 1002, Result({"kills": 6}, GOOD), 3.0)
    row = line(trial(), Size(2), progress)
    assert row.passed and "PASS" in row.text


@pytest.mark.parametrize(
    ("dies", "why"),
    [
        ("import os; os.kill(os.getpid(), 9)", "its process ended with -9"),
        ("import crossdock.nothing_that_is_there", "its process ended with 1"),
    ],
)
@pytest.mark.parametrize("piece", [["--seed", "1002"], ["--full", "--pieces", "1"]])
def test_a_piece_that_dies_is_none_that_passed(
    dies: str, why: str, piece: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that a piece whose process is killed, or fails before it begins, fails the run and
    says how it ended, also where an earlier run of it had left a good result."""
    progress = Progress(tmp_path / "faults" / ("full" if "--full" in piece else "quick"))
    progress.put("G30", 1002, Result({"steps": 5}, GOOD), 3.0)
    monkeypatch.setattr(side_by_side, "command", lambda *_: [sys.executable, "-c", dies])
    monkeypatch.setattr(sys, "argv", ["faults", "--only", "G30", "--out", str(tmp_path), *piece])
    assert run.main() == 1
    (told,) = [each.result for each in progress.done("G30") if not each.result.passed]
    assert told.broken == [why] and not told.counts


def test_the_report_has_what_ran(progress: Progress, tmp_path: Path) -> None:
    """Proves that the report holds each test that ran, with the counts asked for and done."""
    progress.put("G0", 1001, Result({"kills": 5}, GOOD), 3.0)
    path = tmp_path / "out" / "faults-report.json"
    write_report(path, "full", [trial(), trial(id="G99")], progress)
    told = json.loads(path.read_text())
    assert [row["id"] for row in told["tests"]] == ["G0"]
    assert told["tests"][0]["asked"] == {"kills": 10}


def test_a_long_run_is_told_and_not_failed(progress: Progress, tmp_path: Path) -> None:
    """Proves that the report keeps how long the run took, and says when `make faults` took longer
    than half an hour, which the full counts may."""
    path = tmp_path / "faults-report.json"
    said = {}
    for mode, seconds in (("quick", 1_800.0), ("quick", 1_900.0), ("full", 36_000.0)):
        write_report(path, mode, [trial()], progress, seconds)
        told = json.loads(path.read_text())
        said[mode, told["seconds"]] = told["took"]
    assert said == {
        ("quick", 1_800): "30.0 minutes",
        ("quick", 1_900): "31.7 minutes, beyond 30 minutes",
        ("full", 36_000): "600.0 minutes",
    }


def test_every_test_says_what_it_asks_for() -> None:
    """Proves that each test in the catalogue has a criterion, and that its full size is larger than
    the one of `make faults`."""
    for name, each in TRIALS.items():
        assert name == each.id and each.criterion and each.asked
        full, quick = each.full, each.quick
        assert full.pieces * max(full.orders, full.faults) > quick.pieces * max(
            quick.orders, quick.faults
        )


def test_the_reduced_baseline_is_a_part_of_the_whole() -> None:
    """Proves that `make faults` compares with a quarter of the naive run, and that nothing of it
    becomes nothing."""
    told = trial(baseline_size=Size(1, orders=400, faults=2))
    assert told.quick_baseline_size == Size(1, orders=100, faults=1)
    for each in TRIALS.values():
        quick, full = each.quick_baseline_size, each.baseline_size
        assert bool(quick.orders) == bool(full.orders) and bool(quick.faults) == bool(full.faults)


REQUIRED = (
    *(f"G{n}" for n in (*range(1, 7), *range(8, 21), *range(22, 28), 29, 30, 31)),
    *("L1", "A1", "A2", "A5"),
)


def test_every_required_test_is_there() -> None:
    """Proves that one command runs each fault and abuse test that a release is judged by."""
    assert set(TRIALS) == set(REQUIRED)


@pytest.mark.timeout(600)
def test_pieces_run_as_processes_and_add_up(tmp_path: Path) -> None:
    """Proves that the command runs pieces two at a time in processes of their own, writes the
    report, and runs none of them again."""
    command = [sys.executable, "-m", "tests.faults.run", "--only", "G30", "--out", str(tmp_path)]
    for _ in range(2):
        said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        told = json.loads((tmp_path / "faults-report.json").read_text())
        (row,) = told["tests"]
        assert row["words_not_kept"] == row["other_words"] == [], row
        assert row["passed"] and row["enough"] is False and row["done"]["steps"] > 0, said
    assert "0 pieces" in said, said
