"""How long a call may take, and how soon its outcome is looked for: never while it still runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from crossdock_adapters.sdk import registry
from crossdock_adapters.sdk.adapter import Adapter
from crossdock_adapters.sdk.config import EndpointConfig
from crossdock_adapters.sdk.manifest import ManifestError, parse
from crossdock_adapters.sdk.runner import prepared
from crossdock_adapters.sdk.settings import SettingsError
from sdk_tiny_adapter import MANIFEST

# What a required setting is given here, by its kind; nothing is connected to.
OF_KIND: dict[str, Any] = {
    "url": "http://127.0.0.1:1",
    "secret": "env:PATH",
    "map": {"X": "X"},
}
BOUND = [
    ("legacy-soap", "timeout_seconds"),
    ("legacy-table", "statement_seconds"),
    ("salesforce", "timeout_seconds"),
]


def endpoint(adapter: Adapter, **own: Any) -> EndpointConfig:
    given = {
        name: OF_KIND.get(each.kind, "X")
        for name, each in adapter.manifest.settings.items()
        if each.required and each.default is None
    }
    return EndpointConfig(adapter.name, adapter.name, Path("token"), settings={**given, **own})


@pytest.mark.parametrize(("name", "setting"), BOUND)
def test_a_call_may_not_outlast_the_time_after_which_a_look_up_is_believed(
    name: str, setting: str
) -> None:
    """Proves that a call which may take as long as the manifest's settle_after_seconds, or as the
    deployment's own, is refused at the start, and that a longer one of the deployment lets it."""
    adapter = registry.adapter(name)
    operations = adapter.manifest.operations
    settles = min(each.settle_after_seconds for each in operations.values())
    prepared(endpoint(adapter), adapter)
    with pytest.raises(SettingsError, match=f"{setting} must be below {settles:g}, settle_after"):
        prepared(endpoint(adapter, **{setting: settles}), adapter)
    later = adapter.settling(dict.fromkeys(operations, settles + 1))
    prepared(endpoint(adapter, **{setting: settles}), later)
    takes = float(adapter.manifest.settings[setting].default)
    for operation in operations:
        sooner = adapter.settling({operation: takes})
        told = f"{setting} must be below {takes:g}, settle_after_seconds of {operation}"
        with pytest.raises(SettingsError, match=told):
            prepared(endpoint(adapter), sooner)


def test_only_seconds_can_be_below_it() -> None:
    """Proves that a manifest says it of seconds alone, and by true."""
    for old, new in (
        ('kind = "url"', 'kind = "url"\nbelow_settle = true'),
        ("default = 0.05", 'default = 0.05\nbelow_settle = "yes"'),
    ):
        with pytest.raises(ManifestError, match=r"below_settle is true or left out"):
            parse(MANIFEST.replace(old, new, 1))
    declared = parse(MANIFEST.replace("default = 0.05", "default = 0.05\nbelow_settle = true", 1))
    assert declared.settings["pages_interval_seconds"].below_settle
