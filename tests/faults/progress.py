"""What has been run of each fault test, on disk: a long run goes on where it stopped."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from tests.faults.trials.trial import Result

ROOT = Path(__file__).resolve().parents[2]
RESULT = "result.json"
NO_WORDS = ("", "")


@dataclass(frozen=True, slots=True)
class Done:
    """A piece that has been run. words: what was done then, and what it was judged by; "" where
    they were not kept."""

    seed: int
    seconds: float
    commit: str
    result: Result
    words: tuple[str, str] = NO_WORDS


class Progress:
    """A folder for each test, and in it one for each seed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def directory(self, trial: str, seed: int) -> Path:
        """Where a piece keeps its files and leaves its history."""
        return self.folder / trial / str(seed)

    def has(self, trial: str, seed: int) -> bool:
        """Whether a piece has been run to its end and kept its promises."""
        path = self._result(trial, seed)
        return path.exists() and self._read(path, seed).result.passed

    def put(
        self,
        trial: str,
        seed: int,
        result: Result,
        seconds: float,
        words: tuple[str, str] = NO_WORDS,
    ) -> None:
        """Keep what came of a piece. words: of the test as it is now, to be told apart later."""
        path = self._result(trial, seed)
        path.parent.mkdir(parents=True, exist_ok=True)
        title, criterion = words
        told = {
            "seconds": round(seconds, 1),
            "commit": _commit(),
            "title": title,
            "criterion": criterion,
            **asdict(result),
        }
        path.write_text(json.dumps(told, indent=1))

    def done(self, trial: str) -> list[Done]:
        """Every piece of a test that has been run, by seed."""
        folder = self.folder / trial
        found = [path for path in folder.glob(f"*/{RESULT}") if path.parent.name.isdigit()]
        return sorted(
            (self._read(path, int(path.parent.name)) for path in found), key=lambda done: done.seed
        )

    def forget(self, trial: str) -> None:
        """Start a test over."""
        shutil.rmtree(self.folder / trial, ignore_errors=True)

    def forget_piece(self, trial: str, seed: int) -> None:
        """Start one piece over; the others stay."""
        self._result(trial, seed).unlink(missing_ok=True)

    def _result(self, trial: str, seed: int) -> Path:
        return self.directory(trial, seed) / RESULT

    def _read(self, path: Path, seed: int) -> Done:
        told = json.loads(path.read_text())
        seconds, commit = told.pop("seconds"), told.pop("commit", "")
        words = (told.pop("title", ""), told.pop("criterion", ""))
        return Done(seed, seconds, commit, Result(**told), words)


@cache
def _commit() -> str:
    """The version that is tested, shortly; "" where there is no git."""
    command = ["git", "rev-parse", "--short", "HEAD"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()
