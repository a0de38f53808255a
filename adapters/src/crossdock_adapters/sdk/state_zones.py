"""Time zones of places that carriers name without one: states of the USA that lie in one zone."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Final

FILE_NAME: Final = "state_zones.toml"


def with_states(given: Mapping[str, str]) -> dict[str, str]:
    """Zones by place, as US-WA. What the deployment gives goes before the table, for a state or for
    the country as a whole; an empty text makes it unknown again."""
    left = {name: zone for name, zone in _states().items() if name[:2] not in given}
    return {**left, **given}


@cache
def _states() -> Mapping[str, str]:
    package = __package__ or ""
    text = resources.files(package).joinpath(FILE_NAME).read_text("utf-8")
    zones: Mapping[str, str] = tomllib.loads(text)["zones"]
    return zones
