"""The data directory of crossdock dev: modes, kept values, one holder, safe wiping."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import socket
import stat
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from crossdock.cli.dev import more_steps
from crossdock.cli.network import FULL, NETWORKS, SMALL, NetworkName
from crossdock.cli.network.vendor import SandboxPace
from crossdock.cli.ports import PORT_RANGE, chosen_ports
from crossdock.cli.problems import CommandError
from crossdock.cli.toml_text import toml_text
from crossdock.cli.workplace import Running, Workplace
from crossdock.cli.workplace_configs import (
    hub_variables,
    write_adapters_config,
    write_configs,
)
from crossdock_adapters.sdk import manifest, registry
from crossdock_adapters.sdk.config import load_adapters, load_sandboxes
from crossdock_adapters.sdk.settings import Settings as Values
from crossdock_adapters.sdk.settings import check
from crossdock_hub.config import Settings
from crossdock_hub.identity import Identities
from hypothesis import given, settings
from hypothesis import strategies as st

HUB = {
    "grpc": "127.0.0.1:7443",
    "nats_url": "nats://127.0.0.1:4222",
    "nats_credentials_directory": "/data/hub/bus-credentials",
}


@pytest.fixture
def workplace(tmp_path: Path) -> Workplace:
    found = Workplace(tmp_path / "data")
    found.open()
    return found


def test_nothing_is_readable_by_others(workplace: Workplace) -> None:
    """Every file and directory, secrets and tokens above all, is its owner's alone."""
    write_configs(workplace, SandboxPace())
    write_adapters_config(workplace, HUB, SandboxPace())
    workplace.announce(Running(os.getpid(), "127.0.0.1:1", "nats://127.0.0.1:2", "", {}))
    found = [workplace.directory, *workplace.directory.rglob("*")]
    assert len(found) > 20
    loose = [path for path in found if stat.S_IMODE(path.stat().st_mode) & 0o077]
    assert loose == []


def test_the_hub_knows_every_token_and_holds_none(workplace: Workplace) -> None:
    """The endpoints file has digests only, and the hub's own reader identifies each token."""
    text = workplace.endpoints_file.read_text()
    identities = Identities.load(workplace.endpoints_file)
    for endpoint, (role, _) in SMALL.endpoints.items():
        token = workplace.token_file(endpoint).read_text().strip()
        assert token not in text
        assert hashlib.sha256(token.encode()).hexdigest() in text
        caller = identities.identify(f"Bearer {token}")
        assert caller is not None
        assert (caller.endpoint, caller.role) == (endpoint, role)


def test_a_second_start_keeps_tokens_and_ports_and_draws_anew(workplace: Workplace) -> None:
    """Data outlives a restart; only the seed grows: vendors may begin with empty books."""
    tokens = {name: workplace.token_file(name).read_text() for name in SMALL.endpoints}
    again = Workplace(workplace.directory)
    assert again.open() == []
    assert again.ports == workplace.ports
    assert again.seed == workplace.seed + 1
    assert tokens == {name: again.token_file(name).read_text() for name in SMALL.endpoints}


def test_a_directory_keeps_its_network_until_another_is_asked_for(tmp_path: Path) -> None:
    """Proves that a restart without a word runs the same vendors, and that a smaller network takes
    the others out of the endpoints file."""
    directory = tmp_path / "data"
    Workplace(directory, FULL).open()
    again = Workplace(directory)
    again.open()
    assert again.network == FULL
    smaller = Workplace(directory, SMALL)
    smaller.open()
    assert set(json.loads(smaller.endpoints_file.read_text())) == set(SMALL.endpoints)
    assert Workplace(directory).network == SMALL


def test_each_network_shares_the_work_out() -> None:
    """Proves that no order has two ERPs or none, and that no two carriers answer to one code."""
    for network in NETWORKS.values():
        scopes = [each.scope for each in network.vendors if each.role == "ERP"]
        units = [unit for scope in scopes for unit in scope.get("business_units", [])]
        assert len(units) == len(set(units))
        assert len(scopes) == 1 or all(scope.get("business_units") for scope in scopes)
        codes = [each.carrier_code for each in network.carrier_accounts]
        assert len(codes) == len(set(codes))


def test_dev_tells_how_to_see_each_part_of_a_network() -> None:
    """Proves that a newcomer reads of every carrier, every ERP and the second OMS of the full
    network how to send an order there, and of the small one nothing that it has not."""
    told = "\n".join(more_steps(FULL, " --data here"))
    for account in FULL.carrier_accounts:
        assert account.carrier_code in told
    for vendor in FULL.vendors:
        if vendor.role in ("ERP", "OMS"):
            assert vendor.endpoint in told
    assert told.count(" --data here") == 4
    assert list(more_steps(SMALL, "")) == []


def test_a_taken_port_is_replaced_and_said() -> None:
    """A port that somebody else took meanwhile is not fought for."""
    ports, _ = chosen_ports(SMALL.ports, {})
    assert sorted(ports) == sorted(SMALL.ports)
    assert len(set(ports.values())) == len(SMALL.ports)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", ports["hub"]))
        taken.listen()
        fresh, remarks = chosen_ports(SMALL.ports, ports)
    assert fresh["hub"] != ports["hub"]
    assert len(remarks) == 1
    assert str(ports["hub"]) in remarks[0]
    assert {k: v for k, v in fresh.items() if k != "hub"} == {
        k: v for k, v in ports.items() if k != "hub"
    }


def test_ports_are_none_that_a_system_gives_out() -> None:
    """Proves that no other program gets a chosen port by chance before our process binds it."""
    ports, remarks = chosen_ports(SMALL.ports, {})
    assert remarks == []
    assert all(port in PORT_RANGE for port in ports.values())


def test_no_two_names_get_one_port(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proves that a port which is drawn twice is given once, and that a directory which has it
    twice, as they were written before, is put right."""
    names = ("hub", "ups", "netsuite")
    free, _ = chosen_ports(names, {})
    first, second, third = free.values()
    drawn = iter([first, first, second, first, third])
    monkeypatch.setattr(secrets, "choice", lambda _: next(drawn))
    ports, _ = chosen_ports(names, {})
    assert list(ports.values()) == [first, second, third]
    monkeypatch.undo()
    mended, remarks = chosen_ports(names, ports | {"ups": ports["hub"]})
    assert len(set(mended.values())) == len(names)
    assert len(remarks) == 1


def test_ports_that_another_process_chose_are_passed_over() -> None:
    """Proves that two installations which start at the same moment get no port in common, though
    nothing listens on what the first one chose; and that its ports are free once it has ended."""
    program = (
        "from crossdock.cli.network import SMALL; from crossdock.cli.ports import chosen_ports; "
        "import json; print(json.dumps(chosen_ports(SMALL.ports, {})[0]), flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        theirs = json.loads(other.stdout.readline())
        ours, remarks = chosen_ports(SMALL.ports, theirs)
        assert set(ours.values()).isdisjoint(theirs.values())
        assert len(remarks) == len(theirs)
        other.communicate("\n")
    assert chosen_ports(SMALL.ports, theirs) == (theirs, [])


def test_a_second_dev_is_refused_in_one_sentence(tmp_path: Path) -> None:
    """The message names the holder and the directory, and says what to do."""
    first, second = Workplace(tmp_path / "data"), Workplace(tmp_path / "data")
    first.lock()
    with pytest.raises(CommandError) as caught:
        second.lock()
    assert str(os.getpid()) in caught.value.what
    assert str(second.directory) in caught.value.what
    assert caught.value.next_step
    first.unlock()
    second.lock()
    second.unlock()


def test_fresh_removes_ours_and_never_what_is_foreign(workplace: Workplace) -> None:
    """--fresh in somebody's home directory must not be a catastrophe."""
    (workplace.directory / "thesis.txt").write_text("years of work")
    with pytest.raises(CommandError, match=r"thesis\.txt"):
        workplace.wipe()
    assert workplace.token_file("oms").exists()
    (workplace.directory / "thesis.txt").unlink()
    workplace.vendor_directory("ups").mkdir(parents=True)
    workplace.wipe()
    assert not any(workplace.directory.iterdir())


def test_a_dead_dev_is_not_announced(workplace: Workplace) -> None:
    """What a killed crossdock dev left behind does not send commands to a dead address."""
    workplace.announce(Running(os.getpid(), "127.0.0.1:1", "nats://127.0.0.1:2", "", {}))
    found = workplace.running()
    assert found is not None
    assert found.hub_address == "127.0.0.1:1"
    document = json.loads(workplace.running_file.read_text())
    workplace.running_file.write_text(json.dumps({**document, "pid": 2**22 - 1}))
    assert workplace.running() is None


def told_place(workplace: Workplace, name: str, values: Values) -> str:
    """Where an adapter is told that its vendor is."""
    if name == "legacy-table":
        return workplace.secret_file("legacy-table-database-url").read_text("ascii")
    return values.text("location" if name == "legacy-file" else "base_url")


@pytest.mark.parametrize("network", NETWORKS)
def test_the_adapters_accept_what_dev_generates(tmp_path: Path, network: NetworkName) -> None:
    """Both files pass the adapters' own readers, every setting its manifest's check."""
    workplace = Workplace(tmp_path / network, NETWORKS[network])
    workplace.open()
    write_configs(workplace, SandboxPace())
    write_adapters_config(workplace, HUB, SandboxPace())
    sandboxes = load_sandboxes(workplace.config_file("sandboxes")).sandboxes
    adapters = load_adapters(workplace.config_file("adapters"))
    # The sandboxes write these keys when they start, which is before the adapters do.
    for name in (
        "netsuite-client-key.pem", "manhattan-service-account.json", "salesforce-private-key.pem",
    ):  # fmt: skip
        (workplace.directory / "secrets" / name).touch(mode=0o600)
    assert sorted(sandboxes) == sorted(adapters.endpoints)
    assert sorted(sandboxes) == sorted(NETWORKS[network].vendor_ids)
    assert adapters.hub_address == HUB["grpc"]
    for name, endpoint in adapters.endpoints.items():
        declared = registry.adapter(name).settling(endpoint.settle_after_seconds).manifest
        settings, _ = check(declared.settings, endpoint.settings)
        assert declared.outlasting(settings) == []
        adapter, config = sandboxes[name]
        assert f"127.0.0.1:{config.vendor_port}" in told_place(workplace, name, settings)
        assert adapter == name
        assert str(endpoint.credentials_file) == f"/data/hub/bus-credentials/{name}.json"
    assert isinstance(registry.adapter("ups").manifest, manifest.Manifest)


def test_adapters_get_references_to_secrets_never_the_secrets(workplace: Workplace) -> None:
    """The adapters' configuration may be shown: it holds no secret."""
    write_adapters_config(workplace, HUB, SandboxPace())
    text = workplace.config_file("adapters").read_text()
    for path in (workplace.directory / "secrets").iterdir():
        assert path.read_text().strip() not in text


def test_the_hub_accepts_its_variables(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each variable is one of the hub's settings, with the value it means."""
    for name, value in hub_variables(workplace).items():
        assert name.removeprefix("CROSSDOCK_").lower() in Settings.model_fields
        monkeypatch.setenv(name, value)
    settings = Settings()
    assert settings.data_directory == workplace.hub_directory
    assert settings.reflection
    assert settings.trace_sample_ratio == 1.0


_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
_VALUES = st.recursive(
    st.booleans() | st.integers(-(2**62), 2**62) | _TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None)
@given(st.dictionaries(_TEXT, _VALUES, max_size=5))
def test_toml_reads_back_what_was_written(table: dict[str, object]) -> None:
    """Any key and value survive: quotes, newlines, control characters, emoji."""
    assert tomllib.loads(toml_text({"part": table}))["part"] == table
