"""One fault seeded into the code: an exact replacement, and the tests that must notice."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
HUB: Final = "hub/src/crossdock_hub/"
SDK: Final = "adapters/src/crossdock_adapters/sdk/"


@dataclass(frozen=True, slots=True)
class Mutant:
    """One fault. name: what is broken; file: where; old, new: the exact text; tests: in turn."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    def apply(self, root: Path) -> None:
        """Break the copy of the tree at root. ValueError: the source is not what it was."""
        path = root / self.file
        text = path.read_text(encoding="utf-8")
        if text.count(self.old) != 1:
            raise ValueError(
                f"{self.name}: {self.file} has {text.count(self.old)} times what the mutant "
                f"replaces; say in tests/mutants what the fault is now: {self.old!r}"
            )
        path.write_text(text.replace(self.old, self.new), encoding="utf-8")


def faults_in(file: str, tests: tuple[str, ...], **faults: tuple[str, str]) -> list[Mutant]:
    """Several faults of one file. faults: name -> (text as it is, text as it becomes)."""
    return [Mutant(name, file, old, new, tests) for name, (old, new) in faults.items()]
