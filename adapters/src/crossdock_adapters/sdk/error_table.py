"""What a vendor's errors mean for a call: the rows of a TOML file, each with its source.

    rows_of = "database_errors"   # begins with these rows of the SDK; a row of the file goes first

    [sources]
    guide = "Pigeon Post, API guide 4.2, errors"

    [[error]]
    status = 422                  # of HTTP; left out where the protocol has none
    code = "UNKNOWN_SERVICE"      # the vendor's own; left out: every code of the status
    means = "rejected"
    source = "guide"

    [oracle]                      # codes of a database, of an SFTP server, of a disk: see TYPES
    "ORA-20*" = { means = "rejected", meaning = "refused by the ERP's trigger", source = "guide" }

    means:  rejected   a documented refusal; trying again changes nothing
            throttled  a documented "too many calls": nothing was done
            retry      proven unprocessed; again after `pause_seconds`
            person     nothing goes on before somebody has looked
            known      the vendor had our reference before: what came of it is to be looked up; of a
                       file: its name is taken; of a row: a key or a rule of the table refuses it
            missing    of a file alone: there is none of that name
            unknown    nobody knows what became of the call

`meaning` is told to people; `confidence` is H, M or L, as in mappings.toml. What no row names is
unknown: an error that nobody has documented proves nothing. Where nothing with an effect was asked
yet, unknown is a retry: before the commit of a database, before the rename of a file.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from importlib import resources
from typing import Any, Final

from crossdock_adapters.sdk.mappings import CONFIDENCES
from crossdock_adapters.sdk.outcomes import (
    KnownAlready,
    NeedsPerson,
    OutcomeUnknown,
    Reject,
    Retry,
    Throttled,
    VendorOutcome,
)
from crossdock_adapters.sdk.settings import SettingsError
from crossdock_adapters.sdk.sourced_rows import ROWS_OF, SourcedRows, shared_file, wrong_pause

FILE_NAME = "errors.toml"
ANY_CODE = "*"
MAX_REASON_CHARACTERS = 300
# Files of the SDK that another file may begin with, by `rows_of`.
FOLDER_ERRORS: Final = "folder_errors"
DATABASE_ERRORS: Final = "database_errors"
SHARED_ERRORS: Final = (FOLDER_ERRORS, DATABASE_ERRORS)


class Word(StrEnum):
    """What an error says about the call that it answers."""

    REJECTED = "rejected"
    THROTTLED = "throttled"
    RETRY = "retry"
    PERSON = "person"
    KNOWN = "known"
    MISSING = "missing"
    UNKNOWN = "unknown"


_OF_CALLS: Final = frozenset(Word) - {Word.MISSING}
_OF_FILES: Final = frozenset(Word) - {Word.REJECTED}
_OF_CONNECTIONS: Final = _OF_FILES - {Word.KNOWN, Word.MISSING}
# What codes may be of, and which words a row of them may have.
TYPES: Final[Mapping[str, frozenset[Word]]] = {
    "sftp": _OF_FILES,
    "disk": _OF_FILES,
    "ssh": _OF_CONNECTIONS,
    "sqlstate": _OF_CALLS,
    "sqlite": _OF_CALLS,
    "oracle": _OF_CALLS,
    "sqlserver": _OF_CALLS,
    "mysql": _OF_CALLS,
    "db2": _OF_CALLS,
    "driver": _OF_CALLS,
}
# How codes of a type are written, and how people are told so: a row of another form is never found.
_NUMBER: Final = (r"\d+", "a number")
_FORMS: Final[Mapping[str, tuple[str, str]]] = {
    "sftp": _NUMBER,
    "disk": (r"E[A-Z0-9]+|\d+", "the name of an error number, as EIO"),
    "ssh": _NUMBER,
    "sqlstate": (r"[0-9A-Z]{5}|[0-9A-Z]{2}\*", "five digits or capitals, or two and a star"),
    "sqlite": (r"SQLITE_[A-Z0-9_]+", "a name, as SQLITE_BUSY"),
    "oracle": (
        r"(ORA|TNS)-\d{5}|(DPY|DPI)-\d{4}|ORA-20\*",
        "as Oracle writes it, with all of its digits, or ORA-20* for what triggers raise",
    ),
    "sqlserver": (r"\d+|50000\+", "a number, or 50000+ for what triggers raise"),
    "mysql": _NUMBER,
    "db2": (r"-\d+", "a number below 0"),
    "driver": (r"[A-Za-z]\w*", "the name of an exception"),
}
_KEYS = frozenset({"pause_seconds", "meaning", "confidence"})


@dataclass(frozen=True, slots=True)
class Row:
    """One row. pause_seconds: how long a retry waits where the vendor says nothing. meaning: for
    people; confidence: H, M or L. Both may be empty."""

    word: Word
    source: str
    pause_seconds: float = 0.0
    meaning: str = ""
    confidence: str = ""


_NO_ROW = Row(Word.UNKNOWN, "")


@dataclass(frozen=True, slots=True)
class ErrorTable:
    """The rows by HTTP status (0: none) and code, and those by type and code."""

    rows: Mapping[tuple[int, str], Row]
    typed: Mapping[tuple[str, str], Row] = field(default_factory=dict)

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

    def first(self, codes: Iterable[tuple[str, str]]) -> tuple[str, Row]:
        """(code, row) of the first of these (type, code) that has one; ("", unknown): none has."""
        for type_, code in codes:
            if (row := self.typed.get((type_, code))) is not None:
                return code, row
        return "", _NO_ROW

    def with_rows_of(self, name: str, types: Collection[str]) -> ErrorTable:
        """This table, for somebody who reads rows of these types. SettingsError: it has none of
        one, and says what to write. name: of the SDK's file with such rows."""
        there = {type_ for type_, _ in self.typed}
        if missing := sorted(set(types) - there):
            raise SettingsError(
                f"the table of errors has no row of {', '.join(missing)}: begin the file with "
                f'{ROWS_OF} = "{name}"'
            )
        return self

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
        return outcome(row.word, reason, code or str(status), wait, effect=effect)


def outcome(
    word: Word, reason: str, code: str, wait_seconds: float, *, effect: bool
) -> VendorOutcome:
    """What a word is for a call, to be raised. code: the vendor's own, of a rejection; effect: as
    `ErrorTable.meaning` says it."""
    match word:
        case Word.THROTTLED:
            return Throttled(wait_seconds, reason)
        case Word.RETRY:
            return Retry(wait_seconds, reason)
        case Word.PERSON:
            return NeedsPerson(reason)
        case Word.KNOWN if effect:
            return KnownAlready(reason)
        case Word.REJECTED if effect:
            return Reject(code, reason)
        case Word.REJECTED:
            return OutcomeUnknown(f"the question is refused: {reason}", wait_seconds)
    return OutcomeUnknown(reason, wait_seconds) if effect else Retry(wait_seconds, reason)


@cache
def shipped(name: str) -> ErrorTable:
    """The rows of one of SHARED_ERRORS: for whom has no file of its own."""
    return parse(*shared_file(name, SHARED_ERRORS, FILE_NAME))


def parse(text: str, name: str) -> ErrorTable:
    """Read a table. ManifestError lists every row that is wrong."""
    table = SourcedRows(text, name)
    below = ErrorTable({})
    if ROWS_OF in table.content:
        below = parse(*shared_file(table.content[ROWS_OF], SHARED_ERRORS, name))
    others = set(table.content) - {"sources", "error", ROWS_OF, *TYPES}
    table.problems += [f"{key} is not known here" for key in sorted(others)]
    rows: dict[tuple[int, str], Row] = {}
    keys = _KEYS | {"status", "code"}
    for where, entry in table.listed("error"):
        if not table.is_right(where, entry, "means", _OF_CALLS, keys, _wrong(entry)):
            continue
        key = int(entry.get("status", 0)), str(entry.get("code", ANY_CODE))
        if key in rows:
            table.problems.append(f"{where}: {key[0]} {key[1]} has a row already")
        rows[key] = _row(table, entry)
    typed = dict(below.typed)
    for type_, words in TYPES.items():
        for where, code, entry in table.coded(type_):
            wrong = [*_misshapen(type_, code), *_wrong(entry)]
            if table.is_right(where, entry, "means", words, _KEYS, wrong):
                typed[type_, code] = _row(table, entry)
    table.close()
    return ErrorTable(rows, typed)


def _row(table: SourcedRows, entry: Mapping[str, Any]) -> Row:
    return Row(
        Word(entry["means"]),
        table.source(entry),
        float(entry.get("pause_seconds", 0)),
        entry.get("meaning", ""),
        entry.get("confidence", ""),
    )


def _misshapen(type_: str, code: str) -> list[str]:
    form, said = _FORMS[type_]
    return [] if re.fullmatch(form, code, re.ASCII) else [f"the code has to be {said}"]


def _wrong(entry: Mapping[str, Any]) -> list[str]:
    found = wrong_pause(entry)
    if not isinstance(entry.get("status", 0), int) or not isinstance(entry.get("code", ""), str):
        found.append("status is a number, code a text")
    if not isinstance(entry.get("meaning", ""), str):
        found.append("meaning is a text")
    if "confidence" in entry and entry["confidence"] not in CONFIDENCES:
        found.append("confidence is H, M or L")
    return found
