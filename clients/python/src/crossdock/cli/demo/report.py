"""How the demo tells its story on the terminal, and the report it leaves for programs."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import typer

import crossdock
from crossdock.cli.demo.proofs import SHOWN_DISAGREEMENTS, Proof
from crossdock.cli.output import painted
from crossdock.cli.progress import ProgressLine


@dataclass(slots=True)
class Act:
    """One act: its story, when it began and ended (seconds since the start), its proofs."""

    number: int
    title: str
    story: str
    begin_seconds: float
    end_seconds: float = 0.0
    proofs: list[Proof] = field(default_factory=list)


class Report:
    """Collects acts and proofs; prints each line as it comes."""

    def __init__(self, seed: int, orders: int, as_json: bool) -> None:
        self.line = ProgressLine(quiet=as_json)
        self.acts: list[Act] = []
        self._seed = seed
        self._orders = orders
        self._as_json = as_json
        self._started = time.monotonic()
        self._trouble = ""

    @property
    def seconds(self) -> float:
        """Since the demo began."""
        return time.monotonic() - self._started

    @property
    def passed(self) -> bool:
        """Whether there are proofs in every act and all of them hold."""
        proofs = [proof for act in self.acts for proof in act.proofs]
        complete = bool(self.acts) and all(act.proofs for act in self.acts)
        return complete and not self._trouble and all(proof.holds for proof in proofs)

    def say(self, text: str) -> None:
        """One line of the story."""
        self.line.end()
        if not self._as_json:
            typer.echo(text)

    def begin(self, number: int, title: str, story: str) -> Act:
        """An act begins."""
        act = Act(number, title, story, self.seconds)
        self.acts.append(act)
        self.say(f"\n{number}  {painted(title, 'cyan')}: {story}")
        return act

    def prove(self, act: Act, proof: Proof) -> None:
        """A proof is in."""
        act.proofs.append(proof)
        act.end_seconds = self.seconds
        word = painted("proof ", "green") if proof.holds else painted("FAILED", "red")
        self.say(f"   {act.number} {word}  {proof.sentence}")
        if not proof.holds:
            for text in proof.disagreements[:SHOWN_DISAGREEMENTS]:
                self.say(f"             {text}")
            more = len(proof.disagreements) - SHOWN_DISAGREEMENTS
            if more > 0:
                self.say(f"             … and {more} more")

    def trouble(self, text: str) -> None:
        """The demo could not go on."""
        self._trouble = text

    def document(self) -> dict[str, Any]:
        """Everything, for programs."""
        return {
            "version": crossdock.__version__,
            "seed": self._seed,
            "orders": self._orders,
            "seconds": round(self.seconds, 1),
            "passed": self.passed,
            "trouble": self._trouble,
            "acts": [
                {
                    "act": act.number,
                    "title": act.title,
                    "story": act.story,
                    "begin_seconds": round(act.begin_seconds, 1),
                    "end_seconds": round(act.end_seconds, 1),
                    "proofs": [
                        {
                            "claim": proof.claim,
                            "holds": proof.holds,
                            "sentence": proof.sentence,
                            "disagreements": list(proof.disagreements),
                            "evidence": dict(proof.evidence),
                        }
                        for proof in act.proofs
                    ],
                }
                for act in self.acts
            ],
        }

    def write(self, path: Path) -> None:
        """Leave the report in a file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(self.document(), indent=2) + "\n", "utf-8")
