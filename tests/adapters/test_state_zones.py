"""Local times of carriers in states of one zone: the same rows for each of them."""

from __future__ import annotations

from pathlib import Path
from zoneinfo import ZoneInfo

from crossdock_adapters.fedex import conformance
from crossdock_adapters.fedex.adapter import ADAPTER
from crossdock_adapters.ltl_freight import adapter as ltl_freight
from crossdock_adapters.sdk.settings import Settings
from crossdock_adapters.sdk.state_zones import with_states
from fedex_world import fedex

# States that two zones cross: of a place there its state says nothing.
IN_TWO_ZONES = ["AK", "FL", "ID", "IN", "KS", "KY", "MI", "ND", "NE", "NV", "OR", "SD", "TN", "TX"]
WASHINGTON = {"city": "SEATTLE", "stateOrProvinceCode": "WA", "countryCode": "US"}


def test_each_state_of_one_zone_has_it() -> None:
    """Proves that every state and the capital have a zone that there is, but for those that two
    zones cross, which have none."""
    zones = with_states({})
    assert len(zones) + len(IN_TWO_ZONES) == 51
    assert all(ZoneInfo(zone) for zone in zones.values())
    assert not {f"US-{state}" for state in IN_TWO_ZONES} & set(zones)


def test_what_the_deployment_says_goes_before_the_table() -> None:
    """Proves that a state or the country as the deployment has it counts, an empty text too, and
    that what it does not name stays."""
    found = with_states({"US-AZ": "", "US-TX-EL PASO": "America/Denver"})
    assert (found["US-AZ"], found["US-TX-EL PASO"]) == ("", "America/Denver")
    assert found["US-WA"] == "America/Los_Angeles"
    assert with_states({"US": "America/Chicago"}) == {"US": "America/Chicago"}


def test_freight_has_the_same_rows() -> None:
    """Proves that LTL freight reads local times by them, with nothing said by the deployment."""
    said = Settings({
        "carrier_code": "LTL", "scacs": [], "scan_time_zones": {}, "estimate_codes": [],
        "times_of_2400": False,
    })  # fmt: skip
    assert ltl_freight.status_rules(said).zones == with_states({})


async def test_a_scan_of_fedex_without_an_offset_has_its_instant(tmp_path: Path) -> None:
    """Proves that a scan in a state of one zone has its instant with nothing said by the
    deployment, and one in a state of two zones has none."""
    async with fedex(tmp_path) as world:
        known = conformance.scan("AR", "IT", "2026-07-04T09:26:00", scanLocation=WASHINGTON)
        body = conformance.result(known, conformance.scan("PU", "PU", "2026-07-03T09:26:00"))
        hook = world.hook(body, **conformance.signed(world.secrets, body))
        await ADAPTER.webhooks["/fedex/tracking"].receive(hook, world.client)
        times = {scan.status_code: scan.event_time for scan in world.hub.scans.values()}
        assert times["AR"].instant.ToJsonString() == "2026-07-04T16:26:00Z"
        assert not times["PU"].HasField("instant")
