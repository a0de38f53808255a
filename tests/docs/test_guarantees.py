"""docs/guarantees.md tells each fault test as it is, and commands that the runner understands."""

from __future__ import annotations

import re

from fenced import blocks, document, prose, rows, section
from running_dev import makefile_recipe
from source_files import ROOT

from tests.faults.history.violations import Kind
from tests.faults.trials.catalogue import TRIALS

GUARANTEES = document("docs/guarantees.md")
# "5,200 orders", "7,688 rules, added over the pieces": what the runner prints, between semicolons.
COUNT = re.compile(r"([\d,]+) ([^;]+?)(?:;|$)")


def test_every_fault_test_has_a_row() -> None:
    """Proves that the table has each test of the catalogue with its criterion, and no other."""
    written = rows(section(GUARANTEES, "What was run"))[1:]
    told = {row[0]: row for row in written if row[0]}
    assert list(told) == list(TRIALS)
    for name, trial in TRIALS.items():
        assert told[name][1:3] == [trial.title, trial.criterion], name


def test_a_row_that_claims_the_whole_has_the_whole() -> None:
    """Proves that a row of which nothing says that it is a part tells of as much as was asked for,
    so that a raised count can't go on standing beside an older run."""
    for row in rows(section(GUARANTEES, "What was run"))[1:]:
        if not row[0] or row[3].startswith("not yet") or "(so far; the whole is" in row[3]:
            continue
        done = {name: int(n.replace(",", "")) for n, name in COUNT.findall(row[3])}
        for name, asked in TRIALS[row[0]].asked.items():
            assert done.get(name, 0) >= asked, f"{row[0]}: {done.get(name, 0)} of {asked} {name}"


def test_the_number_of_kinds_is_told() -> None:
    """Proves that the document counts the checker's kinds of violation as there are."""
    assert f"{len(Kind)} kinds of violation" in " ".join(prose(GUARANTEES).split())


def test_its_commands_are_those_of_the_runner() -> None:
    """Proves that make runs the fault runner, and that every option in the document exists."""
    assert makefile_recipe("faults").startswith(".venv/bin/python -m tests.faults.run --again")
    assert makefile_recipe("faults-full").startswith(".venv/bin/python -m tests.faults.run --full")
    runner = (ROOT / "tests/faults/run.py").read_text(encoding="utf-8")
    told = "\n".join(command for block in blocks(GUARANTEES, "sh") for command in block.commands)
    options = set(re.findall(r"--[a-z-]+", told))
    assert options and all(f'"{option}"' in runner for option in options), options
