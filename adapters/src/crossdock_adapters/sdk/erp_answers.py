"""What an ERP says of a document, in its own words, for people and for the tables of answers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

MAX_TOLD: Final = 5
# What stands where a line's number would, of the document as a whole.
WHOLE: Final = ("", "0")


@dataclass(frozen=True, slots=True)
class Said:
    """One message of the ERP's. line: "" or "0" is the document as a whole."""

    code: str
    text: str = ""
    line: str = ""

    def __str__(self) -> str:
        place = "" if self.line in WHOLE else f"line {self.line}: "
        return f"{place}{self.code} {self.text}".strip()


def told(said: Iterable[Said]) -> str:
    """For people: each message once, the first few, and how many more there are."""
    once = list(dict.fromkeys(map(str, said)))
    more = f" and {len(once) - MAX_TOLD} more" if len(once) > MAX_TOLD else ""
    return "; ".join(once[:MAX_TOLD]) + more
