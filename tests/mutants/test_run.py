"""The runner of the seeded faults: what it says is of the fault and of nothing else."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests.mutants import run
from tests.mutants.catalogue import MUTANTS
from tests.mutants.mutant import ROOT, Mutant

# Two files that there are; what is said of them is the tests' own.
FAILS, SOUND = "tests/mutants/test_run.py", "tests/mutants/test_catalogue.py"


def test_each_fault_is_alone_in_its_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Proves that while a fault is tried its tree has this one and no other, two trees at a time,
    and that the first test that fails decides."""
    tried: list[tuple[str, list[str]]] = []

    def look(test: str, tree: Path) -> bool:
        broken = [
            each.name
            for each in mutants
            if (tree / each.file).read_bytes() != (ROOT / each.file).read_bytes()
        ]
        tried.append((test, broken))
        return test != "noticed"

    mutants = [
        Mutant(each.name, each.file, each.old, each.new, ("passes", "noticed", "never asked"))
        for each in {each.file: each for each in MUTANTS}.values()
    ][:4]
    monkeypatch.setattr(run, "_passes", look)
    trees = run.Trees(tmp_path, 2)
    told = dict(trees.each(mutants, run.decide, time.monotonic() + 60))
    assert [told[each]["verdict"] for each in mutants] == ["killed"] * 4
    assert {told[each]["by"] for each in mutants} == {"noticed"}
    wanted = [(test, [each.name]) for each in mutants for test in ("passes", "noticed")]
    assert sorted(tried) == sorted(wanted)


def test_nothing_begins_when_the_time_is_over(tmp_path: Path) -> None:
    """Proves that what was not begun is not decided, and is left for the next run."""
    trees = run.Trees(tmp_path, 1)
    assert not list(trees.each(MUTANTS, run.decide, time.monotonic() - 1))


def test_tests_that_fail_anyway_decide_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Proves that no fault is called noticed by a test that fails on the code as it is."""
    monkeypatch.setattr(run, "REPORT", tmp_path / "mutants.json")
    monkeypatch.setattr(run, "_passes", lambda test, tree: False)
    name = MUTANTS[0].name
    monkeypatch.setattr("sys.argv", ["mutants", "--only", name])
    assert run.main() == 1
    assert MUTANTS[0].tests[0] in capsys.readouterr().out
    assert not run.REPORT.exists()


def test_a_test_that_fails_anyway_stops_no_other_fault(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Proves that only the faults that a failing test is asked about stay undecided."""
    first, second = (
        Mutant(each.name, each.file, each.old, each.new, (test,))
        for each, test in zip(MUTANTS[:2], (FAILS, SOUND), strict=True)
    )

    def passes(test: str, tree: Path) -> bool:
        broken = (tree / second.file).read_bytes() != (ROOT / second.file).read_bytes()
        return test == SOUND and not broken

    monkeypatch.setattr(run, "MUTANTS", [first, second])
    monkeypatch.setattr(run, "REPORT", tmp_path / "mutants.json")
    monkeypatch.setattr(run, "_passes", passes)
    monkeypatch.setattr("sys.argv", ["mutants"])
    assert run.main() == 1
    assert "1 of 1 killed, 1 not decided yet" in capsys.readouterr().out
    assert list(json.loads(run.REPORT.read_text(encoding="utf-8"))) == [second.name]


def test_a_verdict_about_another_text_is_forgotten(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Proves that a kill counts only for the file and the tests that it was told of, also where
    the run asks for other faults."""
    first, second = MUTANTS[:2]
    report = tmp_path / "mutants.json"
    verdict = {"verdict": "killed", "by": first.tests[0], "seconds": 1.0}
    known = {
        first.name: verdict | {"text": run.text_of(first)},
        second.name: verdict | {"text": [*run.text_of(second)[:-1], "as it was"]},
    }
    report.write_text(json.dumps(known), encoding="utf-8")
    monkeypatch.setattr(run, "REPORT", report)
    monkeypatch.setattr("sys.argv", ["mutants", "--only", "no fault has this name"])
    assert run.main() == 1
    told = capsys.readouterr().out
    assert f"1 of 1 killed, {len(MUTANTS) - 1} not decided yet" in told
