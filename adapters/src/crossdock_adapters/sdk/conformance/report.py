"""The report of a conformance run, for people and for programs."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from crossdock_adapters.sdk.exchange import as_text

MAX_SAID_CHARACTERS = 600


class Result(StrEnum):
    """How a check ended."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_APPLICABLE = "not applicable"


@dataclass(frozen=True, slots=True)
class Finding:
    """One check of one operation, one way in, or the endpoint. said: why it failed, or does not
    apply. measured: what it found by measuring, with the limit."""

    check: str
    proves: str
    about: str
    result: Result
    said: str = ""
    seconds: float = 0.0
    measured: str = ""

    def __str__(self) -> str:
        what = f"{self.check}({self.about})" if self.about else self.check
        said = f": {as_text(self.said, MAX_SAID_CHARACTERS)}" if self.said else ""
        return f"{what}: {self.result}{said}{_with(self.measured)}"


@dataclass(slots=True)
class Report:
    """Everything found about one endpoint. left_out: checks that nobody asked for."""

    name: str
    title: str
    version: str
    findings: list[Finding] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    @property
    def failures(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.result is Result.FAILED]

    @property
    def conforms(self) -> bool:
        """Nothing failed, and something was looked at: of what was asked for."""
        return bool(self.findings) and not self.failures

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "adapter": self.name,
            "title": self.title,
            "version": self.version,
            "conforms": self.conforms,
            "checks_left_out": self.left_out,
            "findings": [
                {
                    "check": finding.check,
                    "proves": finding.proves,
                    "about": finding.about,
                    "result": str(finding.result),
                    "said": finding.said,
                    "measured": finding.measured,
                    "seconds": round(finding.seconds, 3),
                }
                for finding in self.findings
            ],
        }

    def as_text(self) -> str:
        """For people: each check with what it proves, and under it what it was run for."""
        lines = [f"{self.title} {self.version} ({self.name})"]
        for check in dict.fromkeys(finding.check for finding in self.findings):
            found = [finding for finding in self.findings if finding.check == check]
            lines += ["", f"{check}: {found[0].proves}"]
            lines += [f"  {_line(finding)}" for finding in found]
        counts = dict.fromkeys(Result, 0)
        for finding in self.findings:
            counts[finding.result] += 1
        told = ", ".join(f"{count} {result}" for result, count in counts.items())
        return "\n".join([*lines, "", f"{self.name} {self._verdict()}: {told}"])

    def _verdict(self) -> str:
        """Some of the checks alone show that an endpoint does not conform, never that it does."""
        if not self.conforms:
            return "does NOT conform"
        if not self.left_out:
            return "conforms"
        run = len({finding.check for finding in self.findings})
        return f"passes {run} of {run + len(self.left_out)} checks, the others were not run"


def _line(finding: Finding) -> str:
    about = f"{finding.about}: " if finding.about else ""
    said = f": {as_text(finding.said, MAX_SAID_CHARACTERS)}" if finding.said else ""
    result = str(finding.result).upper() if said else finding.result
    return f"{about}{result}{said}{_with(finding.measured)}"


def _with(measured: str) -> str:
    return f" ({measured})" if measured else ""
