"""Settings of carriers that are wrong: told at the start, not by the first parcel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from crossdock_adapters.fedex import adapter as fedex_adapter
from crossdock_adapters.sdk.settings import SettingsError
from crossdock_adapters.ups import adapter as ups_adapter
from fedex_world import fedex
from ltl_freight_world import running
from ups_world import checked_settings

# Whatever: nothing is called before the settings are looked at.
NOWHERE = "http://127.0.0.1:9"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"subscription": "acount"}, "subscription is 'acount': give package or account"),
        ({"label_format": "ZPLII"}, "label_format is 'ZPLII': give GIF or ZPL or EPL"),
        ({"return_label_format": "PDF"}, "return_label_format is 'PDF'"),
        ({"return_weight": "2 lb"}, "return_weight is '2 lb': unit 'lb' is no unit of mass"),
        ({"return_weight": "2"}, "give it as 2 LBR"),
        ({"return_weight": "0 KGM"}, "greater than zero"),
    ],
)
async def test_a_wrong_setting_of_ups_is_told_at_the_start(
    changes: dict[str, Any], told: str
) -> None:
    """Proves that a misspelt word is no other word than the one that was meant, and that what UPS
    would refuse of each label stops the endpoint before the first."""
    with pytest.raises(SettingsError, match=told):
        await ups_adapter.connect(*checked_settings(NOWHERE, **changes))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"label_format": "ZPLII"}, "label_format is 'ZPLII': give ZPL or EPL or PDF or PNG"),
        ({"pickup_type": "DROPOFF"}, "pickup_type is 'DROPOFF'"),
        ({"return_payment_type": "US"}, "return_payment_type is 'US': give SENDER or RECIPIENT"),
        ({"return_weight": "two LBR"}, "'two' is no number"),
        ({"scan_time_zones": {"US-TX": "America/Dalas"}}, "US-TX is in 'America/Dalas'"),
    ],
)
async def test_a_wrong_setting_of_fedex_is_told_at_the_start(
    tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    """Proves the same of FedEx, and that a time zone that nobody knows is not taken for none."""
    async with fedex(tmp_path, **changes) as world:
        with pytest.raises(SettingsError, match=told):
            await fedex_adapter.connect(world.settings, world.secrets)


async def test_what_settings_may_say_is_taken(tmp_path: Path) -> None:
    """Proves that every value which is right is still right, an empty zone included."""
    right = {
        "return_weight": "0.5 KGM",
        "scan_time_zones": {"US-TX": "America/Chicago", "US-OR": ""},
    }
    async with fedex(tmp_path, label_format="pdf", **right) as world:
        client = await fedex_adapter.connect(world.settings, world.secrets)
        await client.close()
    for subscription in ("package", "account"):
        settings = checked_settings(NOWHERE, subscription=subscription, label_format="EPL")
        vendor = await ups_adapter.connect(*settings)
        await vendor.close()


async def test_a_wrong_zone_of_freight_is_told_at_the_start(tmp_path: Path) -> None:
    """Proves that local times of a carrier are not left unknown for a misspelt zone."""
    with pytest.raises(SettingsError, match="US-ID is in 'America/Boisee'"):
        async with running(tmp_path, scan_time_zones={"US-ID": "America/Boisee"}):
            pass
