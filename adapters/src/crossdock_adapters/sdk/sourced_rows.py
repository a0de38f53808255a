"""TOML files on what a vendor's codes and answers mean: each row says where that is known from.

    [sources]
    guide = "Pigeon Post, API guide 4.2, errors"

    [[answer]]
    status = 422
    means = "rejected"
    source = "guide"

Every row that is wrong is told at once. A file that says `rows_of` begins with the rows of that
file of the SDK.
"""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Iterator, Mapping, Sequence
from importlib import resources
from typing import Any, Final

from crossdock_adapters.sdk.manifest import ManifestError

SOURCE: Final = "source"
ROWS_OF: Final = "rows_of"


class SourcedRows:
    """One file. problems: what is wrong in it, also what its reader finds; `close` tells them.

    ManifestError: it is not TOML.
    """

    def __init__(self, text: str, name: str) -> None:
        try:
            self.content: Mapping[str, Any] = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise ManifestError(name, [f"not TOML: {error}"]) from error
        self.problems: list[str] = []
        self._name = name
        self._sources: Mapping[str, str] = self.content.get("sources", {})

    def listed(self, name: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """The rows of a list, each with how a problem names it: by its place, from 1."""
        for place, given in enumerate(self.content.get(name, []), start=1):
            yield f"{name} {place}", given

    def coded(self, name: str) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
        """The rows of a table by code: how a problem names the row, the code, and the row."""
        rows = self.content.get(name, {})
        if not isinstance(rows, Mapping):
            self.problems.append(f"{name} must be a table of rows by code")
            return
        for code, given in rows.items():
            if isinstance(given, Mapping):
                yield f"{name} {code}", code, given
            else:
                self.problems.append(f"{name} {code} must be a row, as {{ means = …, source = … }}")

    def is_right(
        self,
        where: str,
        given: Mapping[str, Any],
        word: str,
        words: Collection[str],
        keys: Collection[str] = (),
        also: Sequence[str] = (),
    ) -> bool:
        """Whether a row is right: its `word` one of these, its source one of the file's, and no key
        but those two and `keys`. also: what its reader found wrong with it."""
        wrong = [f"{key} is no key" for key in sorted(set(given) - {word, SOURCE, *keys})]
        if given.get(word) not in words:
            told = f", not {given[word]!r}" if word in given else ""
            wrong.append(f"{word} must be one of {', '.join(sorted(words))}{told}")
        if given.get(SOURCE) not in self._sources:
            wrong.append("source must be one of [sources]")
        wrong += also
        self.problems += [f"{where}: {each}" for each in wrong]
        return not wrong

    def source(self, given: Mapping[str, Any]) -> str:
        """Where a row that is right is known from, in words."""
        return self._sources[given[SOURCE]]

    def close(self) -> None:
        """ManifestError lists everything that is wrong."""
        if self.problems:
            raise ManifestError(self._name, self.problems)


def wrong_pause(given: Mapping[str, Any]) -> list[str]:
    """What is wrong with a row's pause_seconds, which may be left out."""
    pause = given.get("pause_seconds", 0)
    is_number = isinstance(pause, (int, float)) and not isinstance(pause, bool)
    return [] if is_number and pause >= 0 else ["pause_seconds must be 0 or more"]


def shared_file(named: object, known: Collection[str], name: str) -> tuple[str, str]:
    """(text, name) of the SDK's file that the file `name` means by `rows_of`. known: those that it
    may mean; ManifestError: it means none of them."""
    if not isinstance(named, str) or named not in known:
        rule = f"{ROWS_OF} names rows that the SDK has"
        raise ManifestError(name, [f"{rule}: {', '.join(known)}"])
    file = resources.files(__package__).joinpath(f"{named}.toml")
    return file.read_text("utf-8"), file.name
