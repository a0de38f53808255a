"""Each recorded payload says which rule of its vendor's it exercises, beside where it lies."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from crossdock_adapters.sdk import registry

PAYLOADS = Path(__file__).parent / "payloads"
README = "README.md"
ROW = re.compile(r"^\| `([^`]+)` \| (.{10,}) \|$", re.MULTILINE)


def test_every_endpoint_has_payloads() -> None:
    """Proves that no endpoint is tested without payloads of its own."""
    assert {each.name for each in PAYLOADS.iterdir()} == set(registry.names())


@pytest.mark.parametrize("name", sorted(registry.names()))
def test_each_payload_says_what_it_exercises(name: str) -> None:
    """Proves that the table beside the payloads names each of them, once, and no other."""
    folder = PAYLOADS / name
    named = [file for file, _ in ROW.findall((folder / README).read_text("utf-8"))]
    there = sorted(each.name for each in folder.iterdir() if each.name != README)
    assert sorted(named) == there
