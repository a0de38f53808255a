"""What the hub tells a person to type is taken by the command line."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from source_files import parsed, relative, source_modules
from told_commands import commands_in, refusal


def sentences(path: Path) -> list[str]:
    """Every text of a module that is no docstring."""
    tree = parsed(path)
    skipped: set[ast.AST] = {
        statement.value for statement in ast.walk(tree) if isinstance(statement, ast.Expr)
    }
    found = []
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.JoinedStr):
            skipped.update(node.values)
            found.append(_filled(node))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.append(node.value)
    return found


def _filled(text: ast.JoinedStr) -> str:
    """ID stands for a word that is put in; what is put behind a word is left out."""
    filled = ""
    for part in text.values:
        if isinstance(part, ast.Constant):
            filled += str(part.value)
        elif not filled or not filled[-1].isalnum():
            filled += "ID"
    return filled


TOLD = [
    pytest.param(command, id=f"{relative(path).rpartition('/')[2]}: {' '.join(command)}")
    for name, path in sorted(source_modules().items())
    for text in sentences(path)
    for command in commands_in(text)
]


@pytest.mark.parametrize("command", TOLD)
def test_what_is_told_can_be_typed(command: list[str]) -> None:
    """Proves that each command which a sentence of the hub, of the adapters or of the command line
    names is there, and that one with arguments has all options it needs and no others."""
    assert refusal(command) == ""


def test_what_cannot_be_typed_is_found() -> None:
    """Proves that the check sees commands amid a sentence, each up to its end, and what they lack;
    and that there are some to check."""
    text = (
        "if it is there: crossdock resolve ID --reference TYPE=VALUE; if it is not: crossdock "
        "delivery retry ID --not-found-at-vendor --reason …. crossdock map set, so that crossdock "
        "goes on; (crossdock delivery lose ID) crossdock hub move --to sqlite or so"
    )
    resolve, retry, named, missing, move = commands_in(text)
    assert refusal(resolve).endswith("--reference TYPE=VALUE: Missing parameter: reason")
    assert retry == ["delivery", "retry", "ID", "--not-found-at-vendor", "--reason", "…"]
    assert (refusal(retry), named, refusal(named)) == ("", ["map", "set"], "")
    assert refusal(missing).endswith("there is no such command")
    assert (move, refusal(move)) == (["hub", "move", "--to", "sqlite"], "")
    assert len(TOLD) > 20
