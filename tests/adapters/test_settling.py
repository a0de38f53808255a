"""How long a call may take, and how soon its outcome is looked for: never while it still runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from crossdock_adapters.sdk import registry
from crossdock_adapters.sdk.adapter import Adapter
from crossdock_adapters.sdk.config import EndpointConfig
from crossdock_adapters.sdk.manifest import SETTLING, ManifestError, parse
from crossdock_adapters.sdk.runner import prepared
from crossdock_adapters.sdk.settings import SettingsError
from sdk_tiny_adapter import MANIFEST

# What a required setting is given here, by its kind; nothing is connected to.
OF_KIND: dict[str, Any] = {
    "url": "http://127.0.0.1:1",
    "secret": "env:PATH",
    "integer": 1,
    "map": {"X": "X"},
}
SETTLED = [
    name
    for name in registry.names()
    if any(
        each.operation_class in SETTLING
        for each in registry.adapter(name).manifest.operations.values()
    )
]
SHORT = """
[operations.book]
class = "{kind}"
timeout_seconds = 20
settle_after_seconds = {settle}
key_life_seconds = 60
"""
CALL = """
[settings.call_seconds]
kind = "seconds"
description = "how long one call may take"
default = 4
below_settle = true
"""


def endpoint(adapter: Adapter, **own: Any) -> EndpointConfig:
    given = {
        name: OF_KIND.get(each.kind, "X")
        for name, each in adapter.manifest.settings.items()
        if each.required and each.default is None
    }
    return EndpointConfig(adapter.name, adapter.name, Path("token"), settings={**given, **own})


@pytest.mark.parametrize("name", SETTLED)
def test_a_call_may_not_outlast_the_time_after_which_a_look_up_is_believed(name: str) -> None:
    """Proves that a call which may take as long as the manifest's settle_after_seconds, or as the
    deployment's own, is refused at the start, and that a longer one of the deployment lets it."""
    adapter = registry.adapter(name)
    (setting,) = (each.name for each in adapter.manifest.settings.values() if each.below_settle)
    declared = adapter.manifest.operations.values()
    operations = {each.name: each for each in declared if each.settle_after_seconds}
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


@pytest.mark.parametrize("name", registry.names())
def test_no_endpoint_is_asked_again_while_a_call_may_still_run(name: str) -> None:
    """Proves of every endpoint, by its manifest as it is, that what is looked for or said again
    waits longer than any call of it may take."""
    assert registry.adapter(name).manifest.early() == []


@pytest.mark.parametrize(
    ("kind", "settle", "call", "early"),
    [
        ("searchable", 20, "", True),
        ("searchable", 20.5, "", False),
        ("searchable", 4, CALL, True),
        ("searchable", 5, CALL, False),
        ("natural", 0, CALL, True),
        ("natural", 5, CALL, False),
        ("two_step", 0, "", False),
        ("keyed", 1, "", False),
        ("none", 0, "", False),
    ],
)
def test_what_may_be_asked_for_again_too_early(
    kind: str, settle: float, call: str, early: bool
) -> None:
    """Proves that the whole attempt counts where no setting says how long a call may take, that the
    setting counts where one does, and that a late call is harmless by a draft or a key alone."""
    head, tail = MANIFEST[: MANIFEST.index("[operations")], MANIFEST[MANIFEST.index("[settings") :]
    manifest = parse(head + SHORT.format(kind=kind, settle=settle) + tail + call)
    takes = "4" if call else "20"
    told = f"operations.book.settle_after_seconds is {settle:g}, and a call may take {takes} s"
    assert [each.partition(":")[0] for each in manifest.early()] == [told] * early


def test_only_seconds_can_be_below_it() -> None:
    """Proves that a manifest says it of seconds alone, and by true."""
    for old, new in (
        ('kind = "url"', 'kind = "url"\nbelow_settle = true'),
        ("default = 0.05", 'default = 0.05\nbelow_settle = "yes"'),
    ):
        with pytest.raises(ManifestError, match=r"below_settle is true or left out"):
            parse(MANIFEST.replace(old, new, 1))
    with pytest.raises(ManifestError, match=r"below_settle needs a default"):
        parse(MANIFEST.replace("default = 0.05", "below_settle = true", 1))
    declared = parse(MANIFEST.replace("default = 0.05", "default = 0.05\nbelow_settle = true", 1))
    assert declared.settings["pages_interval_seconds"].below_settle
