"""No row of a mappings.toml is there for nobody: its adapter reads the topic."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from crossdock_adapters.sdk.mappings import Topic, read_file
from source_files import ROOT, imports, parsed, source_modules

ADAPTERS = ROOT / "adapters/src/crossdock_adapters"
SDK = "crossdock_adapters.sdk"
FILES = sorted(ADAPTERS.glob("*/mappings.toml"))
# What plays the vendor, or proves the adapter, reads nothing for it.
NOT_THE_ADAPTER = ("sandbox", "conformance")
# Where the topics are declared and carried, not read.
OF_THE_SERVICE = {f"{SDK}.mappings", f"{SDK}.mapping_sync"}


def modules_of(folder: Path) -> set[Path]:
    """The adapter's own modules, and those of the SDK that it reaches by imports."""
    known = source_modules()
    files = [each for each in folder.glob("*.py") if not each.name.startswith(NOT_THE_ADAPTER)]
    seen = set(files)
    while files:
        for name in imports(files.pop()):
            module = name if name in known else name.rpartition(".")[0]
            of_sdk = module.startswith(f"{SDK}.") and module not in OF_THE_SERVICE
            if of_sdk and module in known and known[module] not in seen:
                seen.add(known[module])
                files.append(known[module])
    return seen


def topics_read(folder: Path) -> set[str]:
    """The topics that the adapter asks its mappings for, by name."""
    return {topic for file in modules_of(folder) for topic in asked_in(parsed(file))}


def asked_in(node: ast.AST) -> Iterator[str]:
    """The topics named below a node, but for words that are told to have no code."""
    match node:
        case ast.Call(func=ast.Name(id="UnsentWord")):
            return
        case ast.Attribute(value=ast.Name(id="Topic"), attr=topic):
            yield topic
    for below in ast.iter_child_nodes(node):
        yield from asked_in(below)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.parent.name)
def test_each_topic_that_has_rows_is_read(file: Path) -> None:
    """Proves that every topic of a mappings.toml is asked for by its adapter: a row that nobody
    reads would let an operator change it, and nothing else."""
    rows = read_file(file.read_text("utf-8"), str(file)).rows
    assert {row.topic.name for row in rows} <= topics_read(file.parent)


def test_the_reading_is_found_and_the_lack_of_it() -> None:
    """Proves that the check above can fail: a topic is found in an adapter's own module and in one
    of the SDK behind it, and one that nobody reads is not."""
    assert len(FILES) >= 12
    assert topics_read(ADAPTERS / "gls") == {Topic.SERVICE_LEVEL.name, Topic.STATUS.name}
    assert topics_read(ADAPTERS / "legacy_soap") == {Topic.UNIT.name, Topic.ITEM_STATUS.name}
