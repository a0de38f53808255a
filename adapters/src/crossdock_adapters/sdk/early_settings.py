"""Settings that are looked at before an endpoint takes work: what is wrong in them would fail with
the first shipment, or, worse, mean something else."""

from __future__ import annotations

from collections.abc import Collection

from crossdock.types.v1 import types_pb2

from crossdock_adapters.sdk import local_times, measures
from crossdock_adapters.sdk.outcomes import Untranslatable
from crossdock_adapters.sdk.settings import Settings, SettingsError


def one_of(
    settings: Settings, name: str, words: Collection[str], *, any_case: bool = False
) -> None:
    """SettingsError: a setting is none of these words. any_case: small letters will do."""
    given = settings.text(name)
    if (given.upper() if any_case else given) not in words:
        raise SettingsError(f"{name} is {given!r}: give {' or '.join(words)}")


def quantity_of(text: str) -> types_pb2.Quantity:
    """A quantity as settings write it: "2 KGM"."""
    value, _, unit = text.strip().partition(" ")
    return types_pb2.Quantity(value=value, unit=unit.strip())


def weight(settings: Settings, name: str) -> None:
    """SettingsError: a setting is neither empty nor a weight, as "2 KGM"."""
    given = settings.text(name)
    try:
        is_weight = not given or measures.exactly_in(quantity_of(given), "KGM", measures.MASS) > 0
    except Untranslatable as why:
        raise SettingsError(
            f"{name} is {given!r}: {why.reason}; give it as 2 LBR or 1 KGM"
        ) from why
    if not is_weight:
        raise SettingsError(f"{name} is {given!r}: a weight is greater than zero")


def zone(settings: Settings, name: str, *, may_be_empty: bool = False) -> None:
    """SettingsError: a setting is no time zone that this machine knows; an empty one is none.
    may_be_empty: it may be left unknown."""
    given = settings.text(name)
    if not given and may_be_empty:
        return
    if local_times.known_zone(given) is None:
        raise SettingsError(
            f"{name} is {given!r}, which is no IANA time zone: give one as America/Denver"
        )


def zones(settings: Settings, name: str) -> None:
    """SettingsError: a setting names a time zone that nobody knows. An empty one is none."""
    for place, zone in settings.mapping(name).items():
        if zone and local_times.known_zone(zone) is None:
            said = f"{name}: {place} is in {zone!r}, which is no IANA time zone"
            raise SettingsError(f"{said}: give one as America/Denver")
