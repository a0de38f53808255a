"""Which row of `errors.toml` an error of NetSuite's is, by its codes and what its texts say.

A text repeats what people wrote: an item's name, a memo. So a text between quotation marks counts
for nothing unless it names a field, and a phrase counts only at the beginning of what NetSuite
says, where no value stands.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

from crossdock_adapters.sdk.error_table import ANY_CODE

EACH_CODE: Final = "*"
SOME_WORDS: Final = "…"
# What the record API puts in front of the text of most refusals.
_OPENING: Final = re.compile(r"^ERROR WHILE ACCESSING (?:A )?RESOURCE[.:] ")
# An error of a script as JSON: its code is quoted, and no value of anybody's.
_SCRIPT_ERROR: Final = re.compile(r'"(?:NAME|CODE)\\*" ?: ?\\*"(\w+)\\*"')
# Of NetSuite's own names, as in "Invalid value for the resource or sub-resource field 'x'".
_FIELD: Final = re.compile(r"""\bFIELD (['"])(\w+)\1""")
# A mark within or behind a word is an apostrophe, or of inches.
_QUOTED: Final = re.compile(
    r'(?<!\w)"[^"]*"' "|" r"(?<!\w)'.*?'(?!\w)" "|" r"“[^”]*”" "|" r"‘.*?’(?!\w)" "|" r"«[^»]*»"
)


@dataclass(frozen=True, slots=True)
class Said:
    """One detail of an error: its code and its text, either of which may be empty."""

    code: str
    text: str


def row_of(
    status: int, said: Sequence[Said], rows: Iterable[tuple[int, str]]
) -> tuple[int, str] | None:
    """The first of the rows (status, 0 for each, and code) that one of the details is; None: none.

    A code counts within a word of the codes, or of the texts outside quotation marks. Words that
    blanks part count anywhere outside them. Behind a code, or `*` for each, they are a phrase, with
    which the text has to begin; `…` in it stands for some words of the sentence.
    """
    details = [_Detail.of(each) for each in said]
    for of_status, code in rows:
        if code in ("", ANY_CODE) or of_status not in (0, status):
            continue
        if any(each.is_of(code) for each in details):
            return of_status, code
    return None


@dataclass(frozen=True, slots=True)
class _Detail:
    code: str
    text: str
    words: str

    @classmethod
    def of(cls, said: Said) -> _Detail:
        written = " ".join(said.text.upper().split())
        codes = _SCRIPT_ERROR.findall(written)
        text = _OPENING.sub("", _QUOTED.sub('""', _FIELD.sub(r"FIELD \2", written)))
        code = said.code.upper()
        return cls(code, text, " ".join((code, *codes, text)))

    def is_of(self, row: str) -> bool:
        code, _, phrase = row.partition(" ")
        if not phrase:
            return code in self.words
        if code == EACH_CODE or "_" in code:
            of_code = code in (EACH_CODE, self.code)
            return of_code and bool(_pattern(phrase).match(self.text))
        return row in self.text


@cache
def _pattern(phrase: str) -> re.Pattern[str]:
    parts = phrase.split(f" {SOME_WORDS} ")
    return re.compile(r" [^.;:]+ ".join(map(re.escape, parts)))
