"""The table of what SAP's answers mean: rows of `answers.toml`, each with its source. Pure."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

WORDS: Final = frozenset({
    "throttled", "retry", "login", "stale", "missing", "rejected", "person", "unknown",
})  # fmt: skip
MOVEMENT_WORDS: Final = frozenset({"open", "part", "posted"})
MAX_PROBLEM_CHARACTERS: Final = 500
_ROW_KEYS: Final = frozenset(
    {"status", "codes", "texts", "word", "pause_seconds", "meaning", "source"}
)


@dataclass(frozen=True, slots=True)
class Message:
    """One message of SAP's: `code` is class/number, `severity` error, warning, info or success."""

    code: str
    text: str
    severity: str = ""
    target: str = ""

    def __str__(self) -> str:
        place = f" at {self.target}" if self.target else ""
        return f"{self.code or 'no code'}{place}: {self.text}"


@dataclass(frozen=True, slots=True)
class Problem:
    """SAP's own words for an error: the header's, then the details', which name the cause."""

    status: int
    messages: tuple[Message, ...]

    @property
    def code(self) -> str:
        """The most telling code: the first of a detail that is an error, else the header's."""
        details = [each.code for each in self.messages[1:] if each.severity in ("", "error")]
        return next((code for code in [*details, *self._codes()] if code), "")

    def _codes(self) -> list[str]:
        return [each.code for each in self.messages]

    def __str__(self) -> str:
        said = "; ".join(dict.fromkeys(str(each) for each in self.messages))
        return f"{self.status} {said}"[:MAX_PROBLEM_CHARACTERS]


@dataclass(frozen=True, slots=True)
class Row:
    """One kind of answer."""

    statuses: frozenset[int]
    codes: tuple[re.Pattern[str], ...]
    texts: tuple[str, ...]
    word: str
    pause_seconds: float
    meaning: str

    def fits(self, problem: Problem) -> bool:
        """Whether everything that the row names is in the answer."""
        if problem.status not in self.statuses:
            return False
        found = [each.code for each in problem.messages]
        if self.codes and not any(p.fullmatch(code) for p in self.codes for code in found):
            return False
        said = [each.text.lower() for each in problem.messages]
        return not self.texts or any(part in text for part in self.texts for text in said)


@dataclass(frozen=True, slots=True)
class Answers:
    """All rows. `movements`: what a delivery's goods movement status means."""

    rows: tuple[Row, ...]
    movements: Mapping[str, str]

    def verdict(self, problem: Problem) -> Row:
        """The first row that fits; an answer without a row is for a person."""
        nobody = Row(frozenset(), (), (), "person", 0.0, "an answer that no row of the table names")
        return next((row for row in self.rows if row.fits(problem)), nobody)


def read(text: str, name: str) -> Answers:
    """Read a table. ValueError lists every row that is wrong."""
    content = tomllib.loads(text)
    sources = content.get("sources", {})
    problems: list[str] = []
    found = []
    for index, given in enumerate(content.get("answer", []), start=1):
        where = f"answer {index}"
        problems += [f"{where}: {key} is no key" for key in sorted(set(given) - _ROW_KEYS)]
        problems += _wrong(where, given, sources, WORDS)
        found.append(_row(where, given, problems))
    movements: dict[str, str] = {}
    for code, given in content.get("goods_movement", {}).items():
        problems += _wrong(f"goods_movement {code}", given, sources, MOVEMENT_WORDS)
        movements[code] = str(given.get("word", ""))
    if not found or "posted" not in movements.values():
        problems.append("there are no rows, or none that says what posted is")
    if problems:
        raise ValueError(f"{name}: " + "; ".join(problems))
    return Answers(tuple(found), movements)


def _row(where: str, given: Mapping[str, Any], problems: list[str]) -> Row:
    patterns = []
    for pattern in given.get("codes", []):
        try:
            patterns.append(re.compile(str(pattern)))
        except re.error:
            problems.append(f"{where}: {pattern!r} is no pattern")
    statuses: Sequence[object] = given.get("status", [])
    if not statuses or not all(isinstance(each, int) for each in statuses):
        problems.append(f"{where}: status has to be a list of HTTP statuses")
    return Row(
        frozenset(int(str(each)) for each in statuses if isinstance(each, int)),
        tuple(patterns),
        tuple(str(each).lower() for each in given.get("texts", [])),
        str(given.get("word", "")),
        float(given.get("pause_seconds", 0)),
        str(given.get("meaning", "")),
    )


def _wrong(
    where: str, given: Mapping[str, Any], sources: Mapping[str, str], words: frozenset[str]
) -> list[str]:
    found = []
    if given.get("word") not in words:
        found.append(f"{where}: word {given.get('word')!r} is none of {', '.join(sorted(words))}")
    if not given.get("meaning") or given.get("source") not in sources:
        found.append(f"{where}: needs a meaning, and a source that is in [sources]")
    return found
