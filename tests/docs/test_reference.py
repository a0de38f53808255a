"""The tables of the documents say what the code does: settings, limits, metrics, errors, words."""

from __future__ import annotations

import json
import re
import tomllib
from decimal import Decimal
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import typer
from crossdock import cli, contracts, errors
from crossdock.error.v1 import error_reason_pb2
from crossdock_adapters.sdk.config import load_adapters
from crossdock_adapters.sdk.faults import FaultKind
from crossdock_adapters.sdk.telemetry import Telemetry
from crossdock_hub import config, identity
from crossdock_hub.bus import embedded_config, embedded_room, streams
from crossdock_hub.objects import lifecycle
from crossdock_hub.store import engine
from crossdock_hub.telemetry import Metrics
from fenced import blocks, code, document, prose, rows, section
from source_files import ROOT, relative, written_files

OPERATIONS = document("docs/operations.md")
CONTRACTS = document("docs/contracts.md")
RELIABILITY = document("docs/reliability.md")
UNITS = {"KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}


def first_cells(text: str) -> list[str]:
    """Everything between backticks in the first column of a text's tables."""
    return [name for row in rows(text) for name in code(row[0])]


def value(text: str) -> Decimal:
    """ "4 MiB", "20,000" and "0.5" as numbers."""
    number, _, unit = text.strip().replace(",", "").partition(" ")
    return Decimal(number) * UNITS.get(unit, 1)


def test_every_setting_of_the_hub_is_told() -> None:
    """Proves that the table of settings has each variable, with its default, and no other."""
    told = {
        name: row[1].strip("`")
        for row in rows(section(OPERATIONS, "Hub settings"))
        for name in code(row[0])
    }
    known = {f"CROSSDOCK_{name.upper()}": f for name, f in config.Settings.model_fields.items()}
    assert set(told) == {*known, embedded_config.SERVER_VARIABLE}
    for name, field in known.items():
        default = field.default
        if default is None or default == "":
            assert told[name] == ("empty" if default == "" else "unset"), name
        elif isinstance(default, bool):
            assert told[name] == str(default).lower(), name
        elif isinstance(default, (int, float)):
            assert Decimal(told[name]) == Decimal(str(default)), name
        else:
            assert told[name] == str(default), name


def test_every_limit_of_the_hub_is_told() -> None:
    """Proves that each limit stands in the table with the value it has."""
    table = [row for row in rows(section(OPERATIONS, "Limits")) if row[1][0].isdigit()]
    told: dict[str, Decimal] = {}
    for row in table:
        names = code(row[0])
        values = re.split(r", (?=\d)", row[1])
        assert len(names) == len(values), row
        told |= {n: value(v) for n, v in zip(names, values, strict=True)}
    limits = config.Limits()
    assert told == {name: Decimal(str(getattr(limits, name))) for name in limits.__slots__}


def test_limits_of_streams_and_bus_are_those_of_the_code() -> None:
    """Proves the figures that the text quotes from elsewhere than the hub's own limits."""
    limits = streams.StreamLimits()
    text = section(OPERATIONS, "Limits")
    sizes = (limits.event_max_bytes >> 30, limits.scan_max_bytes >> 30)
    assert f"events {sizes[0]} GiB, scans {sizes[1]} GiB" in text
    assert f"{limits.delivery_max_bytes >> 20} MiB or {limits.delivery_max_messages:,}" in text
    settings = embedded_config.EmbeddedSettings(Path())
    assert f"message {settings.max_payload_bytes >> 20} MiB" in text
    assert f"one writer, {engine.READERS_MAX} readers" in text
    assert f"file store {settings.max_file_store_bytes >> 30} GiB" in text
    assert f"memory store {settings.max_memory_store_bytes >> 30} GiB" in text
    assert f"when {settings.min_free_bytes >> 20} MiB are free" in prose(RELIABILITY)
    pauses = (embedded_room.FIRST_VAIN_PAUSE_SECONDS, embedded_room.MAX_VAIN_PAUSE_SECONDS)
    assert "after {:g} s, and later and later up to every {:g} s".format(*pauses) in prose(
        RELIABILITY
    )
    assert f"room for {settings.min_free_files} more files are free" in prose(OPERATIONS)
    version = ".".join(map(str, embedded_config.MIN_SERVER_VERSION))
    assert f"({version} or newer)" in prose(RELIABILITY)
    assert f"{version} or newer" in prose(OPERATIONS)


def test_every_metric_is_told() -> None:
    """Proves that the tables of metrics have every name that is exported, and no other."""
    hub = {
        f"{family.name}_total" if family.type == "counter" else family.name
        for family in Metrics().collect()
    }
    hub |= {"crossdock_events_published_total", "crossdock_endpoint_budget_used_ratio"}
    adapters = {
        f"{family.name}_total" if family.type == "counter" else family.name
        for family in Telemetry().registry.collect()
    }
    told = set(first_cells(section(OPERATIONS, "Metrics")))
    assert told == hub | adapters


def test_every_reason_of_a_refusal_is_told() -> None:
    """Proves that reason, gRPC code and Python class of the error table are the contract's."""
    table = {code(row[0])[0]: row for row in rows(section(CONTRACTS, "Errors")) if code(row[0])}
    names = [n for n, number in error_reason_pb2.ErrorReason.items() if number]
    assert set(table) == {name.removeprefix("ERROR_REASON_") for name in names}
    for reason, row in table.items():
        assert row[1].split(",")[0] == errors.CODES[reason].name, reason
        raised = errors.error_of(errors.Refusal(reason, ""))
        assert code(row[4]) == [type(raised).__name__], reason
        assert ("RetryInfo" in row[1]) == isinstance(raised, errors.TryAgainError), reason


def test_packages_events_facts_and_states_are_those_of_the_contract() -> None:
    """Proves that nothing of the contract is missing in its guide, and nothing invented."""
    contract = contracts.load()
    stems: set[str] = set()
    for row in rows(section(CONTRACTS, "Packages")):
        prefix = ""
        for stem in re.findall(r"[a-z_]*\.[a-z_]+", row[2]):
            prefix = stem.split(".")[0] or prefix
            stems.add(f"{prefix}.{stem.split('.')[1]}")
    assert stems == {event.stem for event in contract.events.values()}
    facts = {
        m.name for m in contract.methods.values() if m.fact and not m.name.startswith("Upsert")
    }
    told = section(CONTRACTS, "Facts").split("Their receipt")[0]
    assert set(code(told)) == {"fact", "Upsert…", *facts}
    for row in rows(section(CONTRACTS, "States"))[1:]:
        assert tuple(row[1].split(", ")) == lifecycle.LADDERS[row[0].replace(" ", "_")]


def test_roles_and_examples_are_understood(tmp_path: Path) -> None:
    """Proves that the hub reads the endpoints file of the text, and the adapters theirs."""
    (example,) = blocks(OPERATIONS, "json")
    path = tmp_path / "endpoints.json"
    path.write_text(example.text, encoding="utf-8")
    callers = {c.endpoint: c for c in identity.Identities.load(path).callers}
    assert list(json.loads(example.text)) == ["oms", "netsuite", "ups", "operator"]
    assert callers["ups"].scope.carrier_codes == {"UPS"}
    (line,) = re.findall(r"\*\*Roles\*\*: (.*)\.", prose(OPERATIONS))
    assert set(line.split(", ")) == identity.ROLES
    (adapters,) = blocks(OPERATIONS, "toml")
    (tmp_path / "adapters.toml").write_text(adapters.text, encoding="utf-8")
    loaded = load_adapters(tmp_path / "adapters.toml")
    manifest = tomllib.loads(
        (ROOT / "adapters/src/crossdock_adapters/ups/adapter.toml").read_text(encoding="utf-8")
    )
    assert set(loaded.endpoints["ups"].settings) <= set(manifest["settings"])
    required = {n for n, s in manifest["settings"].items() if "default" not in s}
    assert required <= set(loaded.endpoints["ups"].settings)


def test_subjects_of_an_endpoint_are_those_the_hub_grants() -> None:
    """Proves that a NATS set up by the text lets an adapter do its work and no more."""
    granted = streams.endpoint_permissions("netsuite")
    table = {row[0]: tuple(code(row[1])) for row in rows(section(OPERATIONS, "NATS"))}
    assert (table["publish"], table["subscribe"]) == (granted.publish, granted.subscribe)


def commands_of(name: str) -> dict[str, Any]:
    """The commands behind a name of the command line: itself, or those of its group."""
    if name == "version":
        return {"version": typer.main.get_command(cli.app).commands["version"]}  # type: ignore[attr-defined]
    command = typer.main.get_command(import_module(cli.COMMANDS[name].module).app)
    found = getattr(command, "commands", None)
    return {name: command} if not found else {f"{name} {n}": c for n, c in found.items()}


def test_every_command_and_option_is_told() -> None:
    """Proves that the reference has each command, and no command or option that does not exist."""
    known = {n: c for name in (*cli.COMMANDS, "version") for n, c in commands_of(name).items()}
    told: set[str] = set()
    for row in rows(section(OPERATIONS, "Command line")):
        if not row[0].startswith("`crossdock"):
            continue
        group = ""
        for written in code(row[0]):
            words = written.removeprefix("crossdock ").split()
            if written.startswith("crossdock "):
                group = words[0]
            name = group if group in known else f"{group} {words[words[0] == group]}"
            assert name in known, (written, name)
            told.add(name)
            options = {o for p in known[name].params for o in (*p.opts, *p.secondary_opts)}
            assert set(re.findall(r"--[a-z-]+", written)) <= options, written
    assert told == set(known)


def test_faults_are_those_of_the_sandboxes() -> None:
    """Proves that README and operations name every fault that can be ordered."""
    for name in ("README.md", "docs/operations.md"):
        text = prose(document(name))
        for kind in FaultKind:
            assert f"`{kind.value}`" in text or kind is FaultKind.REPLY_LOST, (name, kind)


def anchors(path: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", prose(path), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.strip().replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("path", written_files(".md"), ids=relative)
def test_links_lead_somewhere(path: Path) -> None:
    """Proves that each link within the repository names a file that exists, and a heading of it."""
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(path)):
        if target.startswith(("http://", "https://")):
            continue
        file, _, anchor = target.partition("#")
        found = (path.parent / file).resolve() if file else path
        if not found.exists() or (anchor and anchor not in anchors(found)):
            broken.append(target)
    assert not broken


def test_every_module_that_the_architecture_names_exists() -> None:
    """Proves that the map from stages to modules leads to files of the hub."""
    text = document("docs/architecture.md").read_text(encoding="utf-8")
    hub = ROOT / "hub/src/crossdock_hub"
    for heading in ("The write pipeline", "After the commit"):
        for row in rows(section(document("docs/architecture.md"), heading))[1:]:
            for name in code(row[2]):
                there = [hub / f"{name}.py", *hub.glob(name if "*" in name else f"{name}/*.py")]
                assert any(path.exists() for path in there), name
    assert "crossdock_hub" in text


def test_every_pitfall_has_its_test() -> None:
    """Proves that each test that the table of pitfalls names exists where it says."""
    table = rows(section(RELIABILITY, "Pitfalls of the libraries"))[1:]
    assert len(table) >= 20
    for _, _, cell in table:
        named = re.findall(r"`(\w+)` in `([\w/]+\.py)`", cell)
        assert named, cell
        for name, path in named:
            text = (ROOT / "tests" / path).read_text(encoding="utf-8")
            assert f"def {name}(" in text, f"{path} has no {name}"
