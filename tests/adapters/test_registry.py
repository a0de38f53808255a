"""Adapters of other distributions are found like ours, and what is wrong with one is told."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from crossdock_adapters import __main__ as command
from crossdock_adapters.sdk import registry, testing
from crossdock_adapters.sdk.registry import UnknownAdapter
from sdk_tiny_adapter import MANIFEST

WIRING = """
from crossdock_adapters.sdk.adapter import Adapter
ADAPTER = Adapter.load(__package__)
"""


def installed(
    place: Path, adapter: str, package: str, wiring: str = WIRING, owner: str = "outside"
) -> None:
    """A distribution as an installer leaves it: its metadata, and a package with an adapter."""
    metadata = place / f"{owner}-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {owner}\nVersion: 1.0\n")
    entry = f"[crossdock.adapters]\n{adapter} = {package}.adapter:ADAPTER\n"
    (metadata / "entry_points.txt").write_text(entry)
    folder = place / package
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "adapter.toml").write_text(MANIFEST.replace('"tiny"', f'"{adapter}"'))
    (folder / "adapter.py").write_text(wiring)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that this Python finds distributions in; what is imported of it is forgotten."""
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith("crossdock_adapter_"):
            del sys.modules[name]


def test_an_adapter_of_another_distribution_is_found(place: Path) -> None:
    """Proves that who installs a distribution with the entry point has its adapter, and that its
    package may be called after it without a folder of ours."""
    installed(place, "pigeon-post", "crossdock_adapter_pigeon_post")
    assert "pigeon-post" in registry.names()
    assert registry.adapter("pigeon-post").package == "crossdock_adapter_pigeon_post"
    found = testing.static_findings("pigeon-post")
    assert not any("folder" in finding.problem for finding in found)


def test_one_that_is_not_installed_is_told_how_it_is_found() -> None:
    """Proves that whoever asks for an adapter that was made and not installed learns what is left
    to do, beside the names there are."""
    with pytest.raises(UnknownAdapter, match=r"there are: .*ups.*is found once .* is installed"):
        registry.adapter("made-and-not-installed")


def test_two_of_one_name_are_refused(place: Path) -> None:
    """Proves that nobody guesses which of two adapters runs: an own one never takes the place of
    one of ours in silence, nor the other way round."""
    installed(place, "ups", "crossdock_adapter_ups", owner="somebody")
    said = "adapter ups is offered by crossdock-adapters and somebody: uninstall all but one"
    for find in (registry.adapter, registry.sandbox):
        with pytest.raises(UnknownAdapter, match=said):
            find("ups")


@pytest.mark.parametrize(
    ("wiring", "said"),
    [
        ("import nowhere_to_be_found", "No module named 'nowhere_to_be_found'"),
        ("ADAPTER = = 1", "adapter.py, line 1"),
        ("ADAPTER = 1", "entry point pigeon of outside is not an Adapter"),
    ],
)
def test_what_cannot_be_loaded_is_told(
    wiring: str, said: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Proves that a broken adapter is named with its distribution and the reason, without a trace,
    and costs the others nothing."""
    installed(place, "pigeon", "crossdock_adapter_pigeon", wiring)
    assert command.main(["conform", "pigeon"]) == command.EXIT_CONFIGURATION
    told = capsys.readouterr().err
    assert said in told and "of outside" in told
    assert registry.adapter("ups").name == "ups"
