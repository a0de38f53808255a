"""Every registered adapter, found by entry point: there is no list to maintain here."""

from __future__ import annotations

from pathlib import Path

import pytest
from crossdock_adapters import sdk
from crossdock_adapters.sdk import registry, testing
from crossdock_adapters.sdk.faults import FaultRefused
from crossdock_adapters.sdk.sandbox import SandboxConfig

PAYLOADS = Path(__file__).parent / "payloads"
FOLDERS = sorted(path.parent.name for path in Path(sdk.__file__).parents[1].glob("*/adapter.toml"))


def test_every_folder_is_registered() -> None:
    """An adapter without its entry point line would never run."""
    assert [name.replace("-", "_") for name in registry.names()] == FOLDERS
    assert FOLDERS


@pytest.mark.parametrize("name", registry.names())
def test_what_can_be_seen(name: str) -> None:
    """Manifest, files, pure translation with payloads, client, imports, secrets."""
    findings = testing.static_findings(name, PAYLOADS / name)
    assert not findings, "\n".join(map(str, findings))


@pytest.mark.parametrize("name", registry.names())
async def test_what_its_sandbox_owes(name: str, tmp_path: Path) -> None:
    """Books, calls and faults are there, an outage closes the port, routes name operations."""
    findings = await testing.sandbox_findings(name, tmp_path)
    assert not findings, "\n".join(map(str, findings))


@pytest.mark.parametrize("name", registry.names())
def test_a_fault_is_for_an_operation_that_there_is(name: str, tmp_path: Path) -> None:
    """Proves of each simulated vendor that it takes a fault for each of its operations, and that
    any other name is refused with the list of them."""
    kind = registry.sandbox(name)
    sandbox = kind(SandboxConfig(name=name, settings=kind.example_settings(tmp_path)))
    operations = sandbox.operations()
    for operation in operations:
        sandbox.faults.add({"kind": "slow", "operation": operation})
        sandbox.faults.clear()
    with pytest.raises(FaultRefused) as refused:
        sandbox.faults.add({"kind": "slow", "operation": "no_such_operation"})
    assert str(refused.value).endswith(f"there are: {', '.join(sorted(operations))}")
    assert operations


@pytest.mark.parametrize("name", registry.names())
def test_answers_reach_the_dock(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Every dock rule is done or exempt with a reason; the whole report is printed."""
    print(testing.report(name))
    assert testing.open_dock_rules(name) == []
    assert registry.adapter(name).manifest.grade() in ("dock", "yard", "fleet")
    assert "grade:" in capsys.readouterr().out


@pytest.mark.parametrize("name", registry.names())
def test_what_the_contract_asks_of_its_role_is_offered_or_explained(name: str) -> None:
    """Proves that no operation of the contract is missing in silence: an endpoint offers what its
    role is asked for, or says why not, and explains nothing that nobody asks for."""
    manifest = registry.adapter(name).manifest
    asked = testing.asked_of(manifest.role)
    assert asked, f"the contract asks nothing of a {manifest.role}"
    assert testing.unspoken(name) == []
    assert set(manifest.not_offered) <= asked
    shown = testing.report(name)
    assert all(f"not offered: {each}, " in shown for each in manifest.not_offered)


@pytest.mark.parametrize(
    ("source", "word"),
    [
        ("import asyncio", "imports asyncio"),
        ("from aiohttp import web", "imports aiohttp"),
        ("async def f(): ...", "waits"),
        ("from datetime import datetime\nx = datetime.now()", "calls now"),
        ("from crossdock_adapters.sdk.http import VendorHttp", "imports"),
    ],
)
def test_the_kit_sees_impurity(source: str, word: str) -> None:
    """A translation that waits, reads the clock or speaks to anything is found out."""
    assert any(word in problem for problem in testing.impurities(source))


def test_the_kit_lets_purity_pass() -> None:
    """Plain functions over messages and decimals are fine."""
    source = "from decimal import Decimal\ndef f(x: str) -> Decimal:\n    return Decimal(x)"
    assert testing.impurities(source) == []
