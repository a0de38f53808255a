"""Data files of an adapter that a deployment may put its own in place of: layouts and tables."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Final, TypeVar

from crossdock_adapters.sdk import error_table
from crossdock_adapters.sdk.error_table import ErrorTable
from crossdock_adapters.sdk.layout import LayoutProblem
from crossdock_adapters.sdk.settings import SettingsError

ANSWERS_FILE: Final = "answers.toml"
Parsed = TypeVar("Parsed")


def layouts(
    package: str | None,
    directory: str,
    names: Iterable[str],
    parse: Callable[[str, str], Parsed],
) -> dict[str, Parsed]:
    """Every layout by its name, `directory`'s before the adapter's own.

    parse: of a layout's text and file name. SettingsError, for the setting `layouts_directory`,
    lists what is wrong with one.
    """
    try:
        return {
            name: parse(layout_text(package, directory, name), f"{name}.toml") for name in names
        }
    except (LayoutProblem, OSError) as error:
        raise SettingsError(f"layouts_directory: {error}") from error


def table(
    package: str | None, setting: str, file: str, name: str, parse: Callable[[str, str], Parsed]
) -> Parsed:
    """A table: the deployment's `file` where the setting names one, else the adapter's own.

    parse: of the table's text and of what to call it. SettingsError, for the setting, names every
    row that is wrong.
    """
    try:
        if file:
            return parse(Path(file).read_text("utf-8"), file)
        return parse(resources.files(package or "").joinpath(name).read_text("utf-8"), name)
    except (ValueError, OSError) as error:
        raise SettingsError(f"{setting}: {error}") from error


def errors(package: str | None, file: str) -> ErrorTable:
    """The table of errors, for the setting `errors_file`. SettingsError, as `table` says it."""
    return table(package, "errors_file", file, error_table.FILE_NAME, error_table.parse)


def layout_text(package: str | None, directory: str, name: str) -> str:
    """The layout of a name: `directory`'s where it has one, else the adapter's own. OSError."""
    file = Path(directory) / f"{name}.toml"
    if directory and file.is_file():
        return file.read_text("utf-8")
    own = resources.files(package or "").joinpath("layouts")
    return own.joinpath(f"{name}.toml").read_text("utf-8")


def answer_words(
    text: str, source: str, tables: Mapping[str, frozenset[str]]
) -> dict[str, dict[str, str]]:
    """What an ERP's codes mean: of each table, a word by code.

    Each row is { word, meaning, source }; tables says which words each table may have. ValueError
    names every row that has no known word, no meaning or no source, and every table that nobody
    reads.
    """
    data: Mapping[str, Any] = tomllib.loads(text)
    problems = [
        f"[{table}] is no table of it; there are {', '.join(tables)}, and what codes of facts mean "
        "is said with crossdock map set"
        for table in data
        if table not in tables
    ]
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
