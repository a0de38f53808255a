"""The files that people wrote, for the tests that check how they are written."""

from __future__ import annotations

import ast
import gc
from collections.abc import Sequence
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ("clients/python/src", "hub/src", "adapters/src")
FOLDERS = (".ci", "adapters", "clients", "deploy", "docs", "hub", "proto", "tests", "tools")
GENERATED = ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py", "_pb2_grpc.pyi", "contracts_positions.json")
SKIPPED_FOLDERS = {"__pycache__", "payloads", "build", "dist"}
BINARY = {".binpb", ".png", ".gif", ".ico", ".pdf"}


def written_files(*suffixes: str) -> list[Path]:
    """Text files of the repository that are neither generated nor recorded, as absolute paths."""
    # In a further work tree of git, .git is a file that names the first one.
    found = [path for path in ROOT.iterdir() if path.is_file() and path.name != ".git"]
    for folder in FOLDERS:
        found += [path for path in (ROOT / folder).rglob("*") if path.is_file()]
    return sorted(
        path
        for path in found
        if (not suffixes or path.suffix in suffixes)
        and path.suffix not in BINARY
        and not path.name.endswith(GENERATED)
        and not SKIPPED_FOLDERS.intersection(path.relative_to(ROOT).parts)
    )


def relative(path: Path) -> str:
    """The path as people write it, from the root of the repository."""
    return path.relative_to(ROOT).as_posix()


@cache
def parsed(path: Path) -> ast.Module:
    """The syntax tree of a Python file."""
    text = path.read_text(encoding="utf-8")
    # In Python 3.11 a collection amid making a tree can fail it (gh-106905).
    gc.disable()
    try:
        tree = ast.parse(text, filename=str(path))
    finally:
        gc.enable()
    # It stays: looking for garbage in all trees, again and again, takes longer than parsing them.
    gc.freeze()
    return tree


@cache
def functions(path: Path) -> Sequence[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function of a Python file, methods and nested ones included."""
    return [
        node
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def module_name(path: Path) -> str:
    """The import name of a file below one of the source folders."""
    for source in SOURCES:
        if path.is_relative_to(ROOT / source):
            parts = path.relative_to(ROOT / source).with_suffix("").parts
            return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    raise ValueError(f"{relative(path)} is in no distribution")


def source_modules() -> dict[str, Path]:
    """Every hand-written module of the three distributions, by import name."""
    return {
        module_name(path): path
        for path in written_files(".py")
        if any(path.is_relative_to(ROOT / source) for source in SOURCES)
    }


def imports(path: Path) -> set[str]:
    """Absolute names that a file imports, at the top or later: `from a.b import c` is `a.b.c`."""
    found: set[str] = set()
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found
