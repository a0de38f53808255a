"""Finds adapters and their sandboxes by entry point; there is no list to maintain.

Any installed distribution may offer adapters: those of this one are found in the same way.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType

from crossdock_adapters.sdk.adapter import ENTRY_POINT_GROUP, Adapter
from crossdock_adapters.sdk.sandbox import Sandbox


class UnknownAdapter(LookupError):
    """No installed distribution offers an adapter of this name, or not one that can be loaded."""


def names() -> list[str]:
    """Every registered adapter."""
    return sorted({entry.name for entry in entry_points(group=ENTRY_POINT_GROUP)})


def adapter(name: str) -> Adapter:
    """The adapter of a name. UnknownAdapter names those there are, or says what is wrong."""
    entry = _entry(name)
    found = getattr(_module(entry, entry.module), entry.attr, None)
    if not isinstance(found, Adapter):
        raise UnknownAdapter(f"entry point {name} of {_owner(entry)} is not an Adapter")
    return found


def sandbox(name: str) -> type[Sandbox]:
    """The sandbox class of an adapter: `SANDBOX` in the module `sandbox` beside it."""
    entry = _entry(name)
    place = f"{entry.module.rpartition('.')[0]}.sandbox"
    found = getattr(_module(entry, place), "SANDBOX", None)
    if not (isinstance(found, type) and issubclass(found, Sandbox)):
        raise UnknownAdapter(f"{place} has no SANDBOX class")
    return found


def _entry(name: str) -> EntryPoint:
    """The one entry point of a name: which of two would run is nobody's to guess."""
    found = {entry.value: entry for entry in entry_points(group=ENTRY_POINT_GROUP, name=name)}
    if not found:
        raise UnknownAdapter(
            f"no adapter is called {name}; there are: {', '.join(names())}. One of your own is "
            "found once its distribution is installed: python -m pip install -e . in its folder"
        )
    if len(found) > 1:
        owners = " and ".join(sorted(_owner(entry) for entry in found.values()))
        raise UnknownAdapter(f"adapter {name} is offered by {owners}: uninstall all but one")
    return next(iter(found.values()))


def _module(entry: EntryPoint, place: str) -> ModuleType:
    try:
        return import_module(place)
    except (ImportError, SyntaxError) as error:
        said = f"adapter {entry.name} of {_owner(entry)} cannot be loaded: {error}"
        raise UnknownAdapter(said) from error


def _owner(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else entry.value
