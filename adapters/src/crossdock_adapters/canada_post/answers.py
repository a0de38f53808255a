"""What an answer of Canada Post's that is no success means: a table, `answers.toml`, read here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib import resources

from crossdock_adapters.sdk.sourced_rows import SourcedRows

ANSWERS_FILE = "answers.toml"
# The code of everything that the gateway says for itself.
GATEWAY = "Server"
NAMES_NOTHING = "give a status, codes or words"


class Means(StrEnum):
    """What an answer that is no success says about the call."""

    THROTTLED = "throttled"
    REFUSED_AT_DOOR = "door"
    PERSON = "person"
    REJECTED = "rejected"
    TRANSMITTED = "transmitted"
    DONE_BEFORE = "done_before"
    NOTHING_THERE = "nothing_there"
    NOTHING_TO_TRANSMIT = "nothing_to_transmit"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table, see there; what it leaves out may be anything."""

    means: Means
    source: str
    status: int = 0
    codes: frozenset[str] = frozenset()
    words: str = ""
    of_vendor: bool = False
    coded: bool = False

    def fits(self, status: int, messages: Sequence[tuple[str, str]] | None) -> bool:
        """Whether this row is about such an answer; messages None: no message document."""
        if self.status and status != self.status:
            return False
        if self.codes or self.words:
            return any(
                (not self.codes or code in self.codes) and self.words in description.lower()
                for code, description in messages or []
            )
        if self.coded:
            return any(code not in ("", GATEWAY) for code, _ in messages or [])
        return messages is not None or not self.of_vendor


def read_answers(text: str, name: str = ANSWERS_FILE) -> tuple[Row, ...]:
    """Read the table. ManifestError lists every row that is wrong."""
    table, rows = SourcedRows(text, name), []
    for where, given in table.listed("answer"):
        also = [] if given.keys() & {"status", "codes", "words"} else [NAMES_NOTHING]
        if table.is_right(where, given, "means", list(Means), Row.__slots__, also):
            codes, source = frozenset(given.get("codes", [])), table.source(given)
            kept = {**given, "means": Means(given["means"]), "codes": codes, "source": source}
            rows.append(Row(**kept))
    table.close()
    return tuple(rows)


ANSWERS = read_answers(resources.files(__package__ or "").joinpath(ANSWERS_FILE).read_text("utf-8"))
