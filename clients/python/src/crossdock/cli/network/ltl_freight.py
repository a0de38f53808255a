"""An LTL carrier: bills of lading by its API, what happens to the freight by X12 in a mailbox."""

from __future__ import annotations

from typing import Any, Final

from crossdock.cli.network.vendor import (
    CarrierAccount,
    SandboxPace,
    Site,
    Vendor,
    reference,
    secret,
    vendor_url,
)

_NAME: Final = "ltl-freight"
_CARRIER: Final = "LTL"
_ACCOUNT: Final = "NW-1001"
_SCAC: Final = "EXLA"
_SHIPPER: Final = "NORTHWIND"
# More than anybody ships from a data directory; each directory has the range for itself.
_PRO_FIRST, _PRO_LAST = 500_000_001, 599_999_999
_ZONES: Final = {
    "US-AZ": "America/Phoenix",
    "US-CO": "America/Denver",
    "US-GA": "America/New_York",
    "US-IL": "America/Chicago",
    "US-MA": "America/New_York",
    "US-NV": "America/Los_Angeles",
    "US-NJ": "America/New_York",
    "US-OH": "America/New_York",
    # Two zones each; these are the ones of the towns that orders go to.
    "US-OR": "America/Los_Angeles",
    "US-TX": "America/Chicago",
}


def _sandbox(site: Site, pace: SandboxPace) -> dict[str, Any]:
    return {
        "client_id": secret(site, "ltl-freight-client-id"),
        "client_secret": secret(site, "ltl-freight-client-secret"),
        "mailbox": str(site.vendor_directory(_NAME)),
        "scac": _SCAC,
        "shipper": _SHIPPER,
        "pro_range": [_PRO_FIRST, _PRO_LAST],
        "auto_pickup_seconds": pace.handover_seconds,
        "step_seconds": pace.scan_seconds,
        "skipped_numbers": (site.seed - 1) * 10_000,
    }


def _adapter(site: Site, pace: SandboxPace) -> dict[str, Any]:
    return {
        "base_url": vendor_url(site, _NAME),
        "client_id": reference(site, "ltl-freight-client-id"),
        "client_secret": reference(site, "ltl-freight-client-secret"),
        "account": _ACCOUNT,
        "carrier_code": _CARRIER,
        "pro_first": _PRO_FIRST,
        "pro_last": _PRO_LAST,
        # Some ERPs here have no word for danger, and of those nothing that is dangerous is sold.
        "hazard_not_said": "harmless",
        # The warehouse here does not measure what it packs.
        "freight_class": "85",
        "location": site.vendor_directory(_NAME).as_uri(),
        "our_id": _SHIPPER,
        "partner_id": _SCAC,
        "scacs": [_SCAC],
        "scan_time_zones": _ZONES,
        "mailbox_interval_seconds": min(pace.poll_seconds, 5.0),
    }


VENDOR: Final = Vendor(
    _NAME,
    "CARRIER",
    _sandbox,
    _adapter,
    scope={"carrier_codes": [_CARRIER]},
    secrets=("ltl-freight-client-id", "ltl-freight-client-secret"),
    carrier_accounts=(
        CarrierAccount(
            "LTL-MAIN", _CARRIER, _ACCOUNT, "LTL freight, all docks", {"FREIGHT": "Standard"}
        ),
    ),
)
