"""The table of what SAP's answers mean: rows of `answers.toml`, each with its source. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from crossdock_adapters.sdk.sourced_rows import SourcedRows, wrong_pause

WORDS: Final = frozenset({
    "throttled", "retry", "login", "stale", "missing", "rejected", "person", "unknown",
})  # fmt: skip
GOODS_MOVEMENT, PICKING, INVOICE_CODES, MESSAGE_TYPE = (
    "goods_movement", "picking", "supplier_invoice", "message_type",
)  # fmt: skip
# Tables of one status of SAP's each, and our words for what its codes mean.
CODE_WORDS: Final[Mapping[str, frozenset[str]]] = {
    GOODS_MOVEMENT: frozenset({"open", "part", "posted"}),
    PICKING: frozenset({"open", "part", "done"}),
    INVOICE_CODES: frozenset({"posted", "deleted", "waiting"}),
    MESSAGE_TYPE: frozenset({"error", "warning", "info", "success"}),
}
MAX_PROBLEM_CHARACTERS: Final = 500
_KEYS: Final = frozenset({"status", "codes", "texts", "pause_seconds", "meaning"})


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

    @property
    def errors(self) -> tuple[Message, ...]:
        """What was said against the call: SAP lists warnings and news of the same document beside
        it, which are no reason."""
        found = tuple(each for each in self.messages if each.severity in ("", "error"))
        return found or self.messages

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
        found = [each.code for each in problem.errors]
        if self.codes and not any(p.fullmatch(code) for p in self.codes for code in found):
            return False
        said = [each.text.lower() for each in problem.errors]
        return not self.texts or any(part in text for part in self.texts for text in said)


@dataclass(frozen=True, slots=True)
class Answers:
    """All rows. codes: our words by table and code, see CODE_WORDS."""

    rows: tuple[Row, ...]
    codes: Mapping[str, Mapping[str, str]]

    def word(self, table: str, code: str) -> str:
        """What a code of one of the tables means; "" where it has no row."""
        return self.codes[table].get(code, "")

    def verdict(self, problem: Problem) -> Row:
        """The first row that fits; an answer without a row is for a person."""
        nobody = Row(frozenset(), (), (), "person", 0.0, "an answer that no row of the table names")
        return next((row for row in self.rows if row.fits(problem)), nobody)


def read(text: str, name: str, below: Answers | None = None) -> Answers:
    """Read a table. ManifestError lists every row that is wrong.

    below: whose tables of codes count where this one has none, so that a deployment's file goes on
    when the adapter learns a table.
    """
    table, found = SourcedRows(text, name), []
    others = set(table.content) - {"sources", "answer", *CODE_WORDS}
    table.problems += [f"{key} is not known here" for key in sorted(others)]
    for where, given in table.listed("answer"):
        if table.is_right(where, given, "word", WORDS, _KEYS, _wrong(given)):
            found.append(_row(given))
    codes: dict[str, Mapping[str, str]] = {}
    for name, words in CODE_WORDS.items():
        if name not in table.content and below is not None:
            codes[name] = below.codes[name]
            continue
        told: dict[str, str] = {}
        for where, code, given in table.coded(name):
            if table.is_right(where, given, "word", words, {"meaning"}, _meaningless(given)):
                told[code] = given["word"]
        if not told:
            table.problems.append(f"[{name}] has no rows: leave it out for those of the adapter")
        codes[name] = told
    if not found or "posted" not in codes[GOODS_MOVEMENT].values():
        table.problems.append("there are no rows, or none that says what posted is")
    table.close()
    return Answers(tuple(found), codes)


def _row(given: Mapping[str, Any]) -> Row:
    return Row(
        frozenset(given["status"]),
        tuple(re.compile(pattern) for pattern in given.get("codes", [])),
        tuple(str(each).lower() for each in given.get("texts", [])),
        given["word"],
        float(given.get("pause_seconds", 0)),
        str(given["meaning"]),
    )


def _wrong(given: Mapping[str, Any]) -> list[str]:
    found = [*_meaningless(given), *wrong_pause(given)]
    for pattern in given.get("codes", []):
        try:
            re.compile(pattern)
        except (re.error, TypeError):
            found.append(f"{pattern!r} is no pattern")
    statuses: Sequence[object] = given.get("status", [])
    if not statuses or not all(isinstance(each, int) for each in statuses):
        found.append("status has to be a list of HTTP statuses")
    return found


def _meaningless(given: Mapping[str, Any]) -> list[str]:
    return [] if given.get("meaning") else ["needs a meaning"]
