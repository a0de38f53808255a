"""Data files of an adapter that a deployment may put its own in place of: layouts and tables."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any


def layout_text(package: str | None, directory: str, name: str) -> str:
    """The layout of a name: `directory`'s where it has one, else the adapter's own. OSError."""
    file = Path(directory) / f"{name}.toml"
    if directory and file.is_file():
        return file.read_text("utf-8")
    own = resources.files(package or "").joinpath("layouts")
    return own.joinpath(f"{name}.toml").read_text("utf-8")


def table_text(package: str | None, file: str, name: str) -> str:
    """A table: the deployment's `file` where it names one, else the adapter's own. OSError."""
    if file:
        return Path(file).read_text("utf-8")
    return resources.files(package or "").joinpath(name).read_text("utf-8")


def answer_words(
    text: str, source: str, tables: Mapping[str, frozenset[str]]
) -> dict[str, dict[str, str]]:
    """What an ERP's codes mean: of each table, a word by code.

    Each row is { word, meaning, source }; tables says which words each table may have. ValueError
    names every row that has no known word, no meaning or no source.
    """
    data: Mapping[str, Any] = tomllib.loads(text)
    problems: list[str] = []
    found: dict[str, dict[str, str]] = {}
    for table, words in tables.items():
        rows = data.get(table, {})
        problems += [
            f"{table}.{code} needs meaning, source, and a word of {', '.join(sorted(words))}"
            for code, row in rows.items()
            if row.get("word") not in words or not row.get("source") or not row.get("meaning")
        ]
        found[table] = {code: str(row.get("word")) for code, row in rows.items()}
    if problems:
        raise ValueError(f"{source}: " + "; ".join(problems))
    return found
