"""Who may import whom: the direction of the layers, and the one door to each outside system.

proto -> crossdock -> crossdock_hub
                   -> crossdock_adapters.sdk -> crossdock_adapters.<endpoint>
"""

from __future__ import annotations

import re
import sys
import tomllib
from functools import cache
from graphlib import CycleError, TopologicalSorter
from importlib.metadata import Distribution, distributions
from pathlib import Path

import pytest
from source_files import ROOT, imports, relative, source_modules

DISTRIBUTIONS = {
    "crossdock": "clients/python",
    "crossdock_hub": "hub",
    "crossdock_adapters": "adapters",
}
HUB = "crossdock_hub"
ADAPTERS = "crossdock_adapters"
SDK = "crossdock_adapters.sdk"
# What only some modules may import: a change of the outside library stays behind one door.
DOORS: dict[str, tuple[str, ...]] = {
    "nats": ("crossdock_hub.bus.jetstream", "crossdock_adapters.sdk.consumer"),
    "sqlalchemy": (
        "crossdock_hub.store",
        "crossdock_adapters.sdk.database",
        "crossdock_adapters.sdk.staging_tables",
        "crossdock_adapters.sdk.sandbox_database",
    ),
    "aiosqlite": ("crossdock_hub.store",),
    "sqlite3": ("crossdock_hub.store", "crossdock_adapters.sdk.sandbox_database"),
    "alembic": ("crossdock_hub.store",),
    "asyncpg": ("crossdock_hub.store",),
    "aiohttp": ("crossdock_adapters.sdk",),
    "asyncssh": ("crossdock_adapters.sdk.sftp", "crossdock_adapters.sdk.sandbox_sftp"),
    "defusedxml": ("crossdock_adapters.sdk.vendor_xml",),
    "fastavro": ("crossdock_adapters.salesforce.avro",),
    "uvicorn": ("crossdock_adapters.sdk",),
    "protovalidate": ("crossdock.contracts.validation",),
}
# What the hub's packages must not know: the pure middle has no sockets, streams or statements,
# and what is below does not reach up.
BLIND_TO: dict[str, tuple[str, ...]] = {
    "objects": ("store", "bus", "door", "reading", "replay", "verbs"),
    "verbs": ("store", "bus", "door"),
    "bus": ("door", "reading", "replay", "verbs"),
    "store": ("bus", "door", "verbs"),
    "delivery": ("door", "reading", "replay"),
}
MODULES = source_modules()


def is_within(module: str, package: str) -> bool:
    """Whether a module is the package, lies in it, or is named after it (store, store_rows)."""
    return module == package or module.startswith((f"{package}.", f"{package}_"))


def endpoint_of(module: str) -> str:
    """The endpoint folder that a module of the adapters belongs to; empty: none."""
    parts = module.split(".")
    inside = len(parts) > 1 and parts[0] == ADAPTERS
    folder = ROOT / "adapters/src" / ADAPTERS / parts[1] if inside else None
    return parts[1] if folder and (folder / "adapter.toml").exists() else ""


def package_of(module: str) -> str:
    """The package of the hub that a module lies in; empty: above all of them."""
    return [*module.split("."), ""][1]


def refusal(importer: str, imported: str) -> str:
    """Why this import is not allowed; empty: it is."""
    layer, target = importer.split(".")[0], imported.split(".")[0]
    if target in DISTRIBUTIONS and target not in (layer, "crossdock"):
        return f"{layer} must not import {target}: they meet on the network"
    if layer == target == ADAPTERS:
        endpoint = endpoint_of(imported)
        if endpoint and endpoint != endpoint_of(importer):
            return f"only {endpoint} itself imports {endpoint}: endpoints are found, not imported"
    if layer == target == HUB:
        inside, reached = package_of(importer), package_of(imported)
        if reached in BLIND_TO.get(inside, ()):
            return f"{HUB}.{inside} must not know {reached}"
    doors = DOORS.get(target)
    if doors and not any(is_within(importer, door) for door in doors):
        return f"{target} is imported only in {', '.join(doors)}"
    return ""


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_imports_follow_the_layers(distribution: str) -> None:
    """Proves that nothing imports against the direction, or an outside library past its door."""
    refused = [
        f"{relative(path)}: {imported}: {reason}"
        for module, path in MODULES.items()
        if module.split(".")[0] == distribution
        for imported in imports(path)
        if (reason := refusal(module, imported))
    ]
    assert not refused, "\n".join(refused)


@pytest.mark.parametrize(
    ("importer", "imported"),
    [
        ("crossdock.client", "crossdock_hub.delivery.ledger"),
        ("crossdock_hub.bus.relay", "crossdock_adapters.sdk.work"),
        ("crossdock_adapters.ups.client", "crossdock_hub.store"),
        ("crossdock_adapters.ups.client", "crossdock_adapters.netsuite.client"),
        ("crossdock_adapters.sdk.worker", "crossdock_adapters.ups.adapter"),
        ("crossdock_hub.bus.relay", "nats.aio.client"),
        ("crossdock_hub.delivery.ledger", "sqlalchemy.select"),
    ],
)
def test_the_check_sees_a_wrong_import(importer: str, imported: str) -> None:
    """Proves that the check refuses what it is there to refuse."""
    assert refusal(importer, imported)


@pytest.mark.parametrize(
    ("importer", "imported"),
    [
        ("crossdock_hub.store_rows", "sqlalchemy.select"),
        ("crossdock_hub.bus.jetstream.pull", "nats.errors"),
        ("crossdock_adapters.ups.client", "crossdock_adapters.sdk.http"),
        ("crossdock_adapters.ups.adapter", "crossdock_adapters.ups.client"),
        ("crossdock_hub.door.server", "crossdock.contracts"),
    ],
)
def test_the_check_allows_what_is_meant(importer: str, imported: str) -> None:
    """Proves that the check does not refuse the direction that is meant."""
    assert not refusal(importer, imported)


def test_no_modules_import_each_other() -> None:
    """Proves that no module needs one that needs it, neither by a round of others nor for its types
    alone: each can be understood with nothing but what is below it."""
    needs = {
        module: {name for each in imports(path) if (name := module_of(each)) not in ("", module)}
        for module, path in MODULES.items()
    }
    try:
        TopologicalSorter(needs).prepare()
    except CycleError as circle:
        pytest.fail(f"in a circle: {' <- '.join(circle.args[1])}")


def module_of(imported: str) -> str:
    """The module of ours that an imported name is, or is in; empty: none."""
    return next((n for n in (imported, imported.rpartition(".")[0]) if n in MODULES), "")


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_what_is_imported_is_declared(distribution: str) -> None:
    """Proves that each distribution installs what it imports, itself or with crossdock."""
    declared = requirements("crossdock") | requirements(distribution)
    undeclared = {
        f"{relative(path)}: {imported} ({provider})"
        for module, path in MODULES.items()
        if module.split(".")[0] == distribution
        for imported in imports(path)
        if (provider := provider_of(imported)) and provider not in declared
    }
    assert not undeclared, "\n".join(sorted(undeclared))


@cache
def requirements(distribution: str) -> frozenset[str]:
    """Normalised names of what a distribution declares, its own included."""
    text = (ROOT / DISTRIBUTIONS[distribution] / "pyproject.toml").read_text(encoding="utf-8")
    project = tomllib.loads(text)["project"]
    extras = [item for items in project.get("optional-dependencies", {}).values() for item in items]
    names = (re.match(r"[A-Za-z0-9._-]+", item) for item in [*project["dependencies"], *extras])
    return frozenset(normalised(name.group()) for name in names if name)


def provider_of(imported: str) -> str:
    """The installed distribution that an import comes from; empty: standard library or our own."""
    parts = imported.split(".")
    if parts[0] in sys.stdlib_module_names or parts[0] in DISTRIBUTIONS:
        return ""
    for length in range(len(parts), 0, -1):
        provider = provider_by_module().get("/".join(parts[:length]))
        if provider:
            return provider
    return f"nobody provides {parts[0]}"


@cache
def provider_by_module() -> dict[str, str]:
    """Path of a module or package, without its ending -> distribution that installed it."""
    return {
        module: normalised(distribution.metadata["Name"])
        for distribution in distributions()
        for module in modules_of(distribution)
    }


def modules_of(distribution: Distribution) -> list[str]:
    """The modules and packages that a distribution installed."""
    found = []
    for file in distribution.files or []:
        path = Path(str(file))
        if path.suffix in (".py", ".so"):
            module = path.parent / path.name.split(".")[0]
            found.append((module.parent if module.name == "__init__" else module).as_posix())
    return found


def normalised(name: str) -> str:
    """A distribution's name as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()
