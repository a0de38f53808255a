"""What a vendor's errors mean for a call: the rows of a TOML file, each with its source.

    [sources]
    guide = "Pigeon Post, API guide 4.2, errors"

    [[error]]
    status = 422                  # of HTTP; left out where the protocol has none
    code = "UNKNOWN_SERVICE"      # the vendor's own; left out: every code of the status
    means = "rejected"
    source = "guide"

    means:  rejected   a documented refusal; trying again changes nothing
            throttled  a documented "too many calls": nothing was done
            retry      proven unprocessed; again after `pause_seconds`
            person     nothing goes on before somebody has looked
            known      the vendor had our reference before: what came of it is to be looked up
            unknown    nobody knows what became of the call

What no row names is unknown: an error that nobody has documented proves nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from importlib import resources
from typing import Any

from crossdock_adapters.sdk.outcomes import (
    KnownAlready,
    NeedsPerson,
    OutcomeUnknown,
    Reject,
    Retry,
    Throttled,
    VendorOutcome,
)
from crossdock_adapters.sdk.sourced_rows import SourcedRows, wrong_pause

FILE_NAME = "errors.toml"
ANY_CODE = "*"
MAX_REASON_CHARACTERS = 300
_KEYS = frozenset({"status", "code", "pause_seconds"})


class Word(StrEnum):
    """What an error says about the call that it answers."""

    REJECTED = "rejected"
    THROTTLED = "throttled"
    RETRY = "retry"
    PERSON = "person"
    KNOWN = "known"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Row:
    """One row. pause_seconds: how long a retry waits where the vendor says nothing."""

    word: Word
    source: str
    pause_seconds: float = 0.0


_NO_ROW = Row(Word.UNKNOWN, "")


@dataclass(frozen=True, slots=True)
class ErrorTable:
    """The rows by HTTP status (0: none) and code."""

    rows: Mapping[tuple[int, str], Row]

    @classmethod
    def load(cls, package: str | None, file: str = FILE_NAME) -> ErrorTable:
        """Read the file beside a package's modules. ManifestError lists every wrong row."""
        text = resources.files(package or "").joinpath(file).read_text("utf-8")
        return parse(text, f"{package}/{file}")

    def names(self, status: int, code: str) -> bool:
        """Whether there is a row for exactly this status and code."""
        return (status, code) in self.rows

    def row(self, status: int, code: str) -> Row:
        """The row of a status and code, else that of the status, else: unknown."""
        return self.rows.get((status, code)) or self.rows.get((status, ANY_CODE)) or _NO_ROW

    def meaning(
        self,
        status: int,
        code: str,
        said: str,
        *,
        effect: bool,
        wish_seconds: float | None = None,
    ) -> VendorOutcome:
        """The word for an error, to be raised. said: the vendor's words, for people.

        effect: whether the call may have changed the vendor's books. A question has no effect: its
        refusal answers nothing, so it is never a rejection of the work that is asked about.
        wish_seconds: of the vendor's Retry-After, which goes before the row's pause, also where it
        is shorter; None: the vendor says nothing.
        """
        row = self.row(status, code)
        reason = f"{status or ''} {code} {said}".strip()[:MAX_REASON_CHARACTERS]
        wait = row.pause_seconds if wish_seconds is None else wish_seconds
        match row.word:
            case Word.THROTTLED:
                return Throttled(wait, reason)
            case Word.RETRY:
                return Retry(wait, reason)
            case Word.PERSON:
                return NeedsPerson(reason)
            case Word.KNOWN if effect:
                return KnownAlready(reason)
            case Word.REJECTED if effect:
                return Reject(code or str(status), reason)
            case Word.REJECTED:
                return OutcomeUnknown(f"the question is refused: {reason}", wait)
        return OutcomeUnknown(reason, wait) if effect else Retry(wait, reason)


def parse(text: str, name: str) -> ErrorTable:
    """Read a table. ManifestError lists every row that is wrong."""
    table = SourcedRows(text, name)
    others = set(table.content) - {"sources", "error"}
    table.problems += [f"{key} is not known here" for key in sorted(others)]
    rows: dict[tuple[int, str], Row] = {}
    for where, entry in table.listed("error"):
        if not table.is_right(where, entry, "means", list(Word), _KEYS, _wrong(entry)):
            continue
        key = int(entry.get("status", 0)), str(entry.get("code", ANY_CODE))
        if key in rows:
            table.problems.append(f"{where}: {key[0]} {key[1]} has a row already")
        pause = float(entry.get("pause_seconds", 0))
        rows[key] = Row(Word(entry["means"]), table.source(entry), pause)
    table.close()
    return ErrorTable(rows)


def _wrong(entry: Mapping[str, Any]) -> list[str]:
    found = wrong_pause(entry)
    if not isinstance(entry.get("status", 0), int) or not isinstance(entry.get("code", ""), str):
        found.append("status is a number, code a text")
    return found
