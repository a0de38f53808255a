"""Commands that a sentence tells a person to type, given to the parser that will read them."""

from __future__ import annotations

import re
from importlib import import_module
from typing import Any

import typer
from crossdock.cli import COMMANDS

# Each word of a sentence, without the marks that end a clause of it, and those marks.
_WORD = re.compile(r"(\S+?)([.,;:)`'\"]*)(?:\s+|$)")
# What stands for a value: ID, TYPE=VALUE, ID…, …, and an id itself.
_VALUE = re.compile(r"[A-Z_]+…?|\S+=\S+|…|[0-9a-f-]{36}")


def commands_in(text: str) -> list[list[str]]:
    """The words of each command of a text, up to where its sentence goes on. `crossdock` before
    anything else than a command is the product's name."""
    return [
        words
        for told in re.split(r"\bcrossdock (?=[a-z])", text)[1:]
        if (words := _command_at_start(told))
    ]


def refusal(words: list[str]) -> str:
    """Why the command line takes no such command; "": it takes it. One that is told without any
    argument or option is only named: it has to be there."""
    command, names = _found(words)
    typed = ["because" if word == "…" else word for word in words[names:]]
    told = f"crossdock {' '.join(words)}"
    if command is None:
        return f"{told}: there is no such command"
    try:
        if typed:
            command.make_context(told, typed)
    except Exception as error:
        return f"{told}: {error}"
    return ""


def _found(words: list[str]) -> tuple[Any, int]:
    """The command that words begin with, None where there is none, and how many words name it."""
    if not words or words[0] not in COMMANDS:
        return None, 0
    command = typer.main.get_command(import_module(COMMANDS[words[0]].module).app)
    group = getattr(command, "commands", None)
    if group is None:
        return command, 1
    return (group.get(words[1]), 2) if words[1:] else (command, 1)


def _command_at_start(text: str) -> list[str]:
    words = _WORD.findall(text)
    command, names = _found([word for word, _ in words[: 1 if words[0][1] else 2]])
    if words[0][0] not in COMMANDS or _VALUE.fullmatch(words[:names][-1][0]):
        return []
    taken = [word for word, _ in words[:names]]
    if command is None or any(mark for _, mark in words[:names]):
        return taken
    valued = {name for p in command.params if not getattr(p, "is_flag", False) for name in p.opts}
    for place, (word, mark) in enumerate(words[names:], names):
        is_value = taken[-1] in valued
        if word == "…" and not is_value:
            # And so on: what is needed beside it is left to the reader.
            return taken[:names]
        # The name of a kind, such as ups, is one where a value or an option follows it.
        after = words[place + 1][0] if place + 1 < len(words) and not mark else ""
        is_kind = word.replace("-", "").isalpha() and _is_typed(after)
        if not (is_value or _is_typed(word) or is_kind):
            break
        taken.append(word)
        if mark:
            break
    return taken


def _is_typed(word: str) -> bool:
    return word.startswith("--") or bool(_VALUE.fullmatch(word))
