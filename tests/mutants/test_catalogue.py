"""The seeded faults still are what they say: every one applies, each to a text of its own."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.mutants.catalogue import MUTANTS
from tests.mutants.mutant import ROOT, Mutant


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_each_mutant_applies(mutant: Mutant, tmp_path: Path) -> None:
    """Proves that a mutant's source is there exactly once, that what it becomes is still Python,
    and that the tests which have to notice exist."""
    target = tmp_path / mutant.file
    target.parent.mkdir(parents=True)
    shutil.copy(ROOT / mutant.file, target)
    mutant.apply(tmp_path)
    changed = target.read_text(encoding="utf-8")
    assert changed != (ROOT / mutant.file).read_text(encoding="utf-8")
    # Not ast.parse: in Python 3.11 a collection amid making the tree can fail it (gh-106905).
    compile(changed, mutant.file, "exec", dont_inherit=True)
    assert all((ROOT / test).exists() for test in mutant.tests)


def test_a_mutant_that_fits_nowhere_says_so(tmp_path: Path) -> None:
    """Proves that moved code is told, with what to do; and that there are forty mutants."""
    (tmp_path / "a.py").write_text("x = 1\n")
    with pytest.raises(ValueError, match="say in tests/mutants"):
        Mutant("gone", "a.py", "y = 2", "y = 3", ()).apply(tmp_path)
    assert len(MUTANTS) >= 40
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
