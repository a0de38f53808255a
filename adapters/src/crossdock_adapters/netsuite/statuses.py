"""What NetSuite's codes of fulfillments mean: rows of `statuses.toml`, with sources."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Final

from crossdock_adapters.sdk.sourced_rows import SourcedRows

FILE_NAME: Final = "statuses.toml"
SHIP_STATUS: Final = "ship_status"
OPEN, POSTED = "open", "posted"
WORDS: Final = {SHIP_STATUS: {OPEN, POSTED}}


@dataclass(frozen=True, slots=True)
class Status:
    """One code: our word for it, and NetSuite's."""

    word: str
    meaning: str


def read(text: str, name: str = FILE_NAME) -> Mapping[str, Mapping[str, Status]]:
    """The rows of each table by code. ManifestError lists every row that is wrong."""
    rows = SourcedRows(text, name)
    others = set(rows.content) - {"sources", *WORDS}
    rows.problems += [f"[{table}] is no table of this file" for table in sorted(others)]
    found: dict[str, dict[str, Status]] = {}
    for table, words in WORDS.items():
        for where, code, given in rows.coded(table):
            also = [] if given.get("meaning") else ["needs a meaning"]
            if rows.is_right(where, given, "word", words, {"meaning"}, also):
                found.setdefault(table, {})[code] = Status(given["word"], given["meaning"])
    rows.close()
    return found


STATUSES: Final = read(resources.files(__package__ or "").joinpath(FILE_NAME).read_text("utf-8"))
