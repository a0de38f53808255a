"""Reads documents as their readers do: fenced blocks, the commands in them, tables, links."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from source_files import ROOT, relative

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_ROW = re.compile(r"^\|(.+)\|\s*$")
_CODE = re.compile(r"`([^`]+)`")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block. line: of its opening fence, from 1."""

    document: str
    line: int
    language: str
    text: str

    @property
    def place(self) -> str:
        return f"{self.document}:{self.line}"

    @property
    def commands(self) -> list[str]:
        """Its lines without comments and blank lines."""
        return [c for c in (without_comment(line) for line in self.text.splitlines()) if c]


def document(name: str) -> Path:
    """A document by its path from the root of the repository."""
    return ROOT / name


def blocks(path: Path, language: str) -> list[Block]:
    """The fenced blocks of a document in one language, in order."""
    text = path.read_text(encoding="utf-8")
    return [
        Block(relative(path), text.count("\n", 0, m.start()) + 1, m.group(1), m.group(2))
        for m in _FENCE.finditer(text)
        if m.group(1) == language
    ]


def without_comment(line: str) -> str:
    """A command line without the comment behind it; quotes are respected."""
    quote = ""
    for position, character in enumerate(line):
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character == "#" and (position == 0 or line[position - 1].isspace()):
            return line[:position].strip()
    return line.strip()


def prose(path: Path) -> str:
    """A document without its fenced blocks."""
    return _FENCE.sub("", path.read_text(encoding="utf-8"))


def section(path: Path, heading: str) -> str:
    """The text below a heading, up to the next one of its level or above, fences included."""
    text = path.read_text(encoding="utf-8")
    found = re.search(rf"^(#+) {re.escape(heading)}$", text, re.MULTILINE)
    assert found, f"{relative(path)} has no heading {heading!r}"
    rest = text[found.end() :]
    end = re.search(rf"^#{{1,{len(found.group(1))}}} ", rest, re.MULTILINE)
    return rest[: end.start()] if end else rest


def rows(text: str) -> list[list[str]]:
    """The cells of every table row in a text, headings included and rules left out."""
    found = [m.group(1) for m in (_ROW.match(line) for line in text.splitlines()) if m]
    split = [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)] for row in found]
    return [cells for cells in split if not re.fullmatch(r"[-: ]*", "".join(cells))]


def code(text: str) -> list[str]:
    """What stands between backticks."""
    return _CODE.findall(text)
