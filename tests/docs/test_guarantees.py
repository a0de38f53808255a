"""docs/guarantees.md tells each fault test as it is, and commands that the runner understands."""

from __future__ import annotations

import re

from fenced import blocks, document, prose, rows, section
from running_dev import makefile_recipe
from source_files import ROOT

from tests.faults.history.violations import Kind
from tests.faults.trials.catalogue import TRIALS

GUARANTEES = document("docs/guarantees.md")


def test_every_fault_test_has_a_row() -> None:
    """Proves that the table has each test of the catalogue with its criterion, and no other."""
    written = rows(section(GUARANTEES, "What was run"))[1:]
    told = {row[0]: row for row in written if row[0]}
    assert list(told) == list(TRIALS)
    for name, trial in TRIALS.items():
        assert told[name][1:3] == [trial.title, trial.criterion], name


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
