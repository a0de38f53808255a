"""What NetSuite's codes of credit and fulfillment mean: rows of `statuses.toml`, with sources."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Final

from crossdock_adapters.sdk.manifest import ManifestError

FILE_NAME: Final = "statuses.toml"
CREDIT_HOLD, SHIP_STATUS = "credit_hold", "ship_status"
OPEN, POSTED = "open", "posted"
WORDS: Final = {CREDIT_HOLD: {"GOOD", "REVIEW", "HOLD"}, SHIP_STATUS: {OPEN, POSTED}}


@dataclass(frozen=True, slots=True)
class Status:
    """One code: our word for it, and NetSuite's."""

    word: str
    meaning: str


def read(text: str, name: str = FILE_NAME) -> Mapping[str, Mapping[str, Status]]:
    """The rows of each table by code. ManifestError lists every row that is wrong."""
    content = tomllib.loads(text)
    sources = content.pop("sources", {})
    problems = [f"[{table}] is no table of this file" for table in set(content) - set(WORDS)]
    found: dict[str, dict[str, Status]] = {}
    for table, words in WORDS.items():
        for code, given in content.get(table, {}).items():
            if given.get("word") not in words or not given.get("meaning"):
                problems.append(f"{table} {code}: give a meaning, and as word {sorted(words)}")
            if given.get("source") not in sources:
                problems.append(f"{table} {code}: source must be one of [sources]")
            status = Status(str(given.get("word")), str(given.get("meaning")))
            found.setdefault(table, {})[code] = status
    if problems:
        raise ManifestError(name, problems)
    return found


STATUSES: Final = read(resources.files(__package__ or "").joinpath(FILE_NAME).read_text("utf-8"))
