"""Finds adapters and their sandboxes by entry point; there is no list to maintain."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points

from crossdock_adapters.sdk.adapter import ENTRY_POINT_GROUP, Adapter
from crossdock_adapters.sdk.sandbox import Sandbox


class UnknownAdapter(LookupError):
    """No installed distribution offers an adapter of this name."""


def names() -> list[str]:
    """Every registered adapter."""
    return sorted(entry.name for entry in entry_points(group=ENTRY_POINT_GROUP))


def adapter(name: str) -> Adapter:
    """The adapter of a name. UnknownAdapter names those there are."""
    for entry in entry_points(group=ENTRY_POINT_GROUP):
        if entry.name == name:
            found = entry.load()
            if not isinstance(found, Adapter):
                raise UnknownAdapter(f"entry point {name} is not an Adapter")
            return found
    raise UnknownAdapter(f"no adapter is called {name}; there are: {', '.join(names())}")


def sandbox(name: str) -> type[Sandbox]:
    """The sandbox class of an adapter: `SANDBOX` in the module `sandbox` beside it."""
    for entry in entry_points(group=ENTRY_POINT_GROUP):
        if entry.name == name:
            package = entry.module.rpartition(".")[0]
            found = getattr(import_module(f"{package}.sandbox"), "SANDBOX", None)
            if not (isinstance(found, type) and issubclass(found, Sandbox)):
                raise UnknownAdapter(f"{package}.sandbox has no SANDBOX class")
            return found
    raise UnknownAdapter(f"no adapter is called {name}; there are: {', '.join(names())}")
