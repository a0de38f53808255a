"""A legacy ERP by SOAP: the ERP of the business unit in Europe."""

from __future__ import annotations

from typing import Any, Final

from crossdock.cli.network.vendor import (
    EUROPEAN_DOCKS,
    SandboxPace,
    Site,
    Vendor,
    reference,
    secret,
    vendor_url,
)

BUSINESS_UNIT: Final = "retail-eu"
_NAME: Final = "legacy-soap"
_USER: Final = "crossdock"


def _sandbox(site: Site, pace: SandboxPace) -> dict[str, Any]:
    return {
        "username": _USER,
        "password": secret(site, "legacy-soap-password"),
        # Articles and customers are NetSuite's.
        "customers": [f"CUST-{number}" for number in range(2001, 2005)],
        "result_seconds": pace.floor_seconds,
    }


def _adapter(site: Site, _: SandboxPace) -> dict[str, Any]:
    return {
        "base_url": vendor_url(site, _NAME),
        "username": _USER,
        "password": reference(site, "legacy-soap-password"),
        "time_zone": next(dock.zone for dock in EUROPEAN_DOCKS.values()),
        # Articles have one owner, NetSuite.
        "reads_items": False,
        "timeout_seconds": 4,
    }


VENDOR: Final = Vendor(
    _NAME,
    "ERP",
    _sandbox,
    _adapter,
    scope={"business_units": [BUSINESS_UNIT], "location_numbers": list(EUROPEAN_DOCKS)},
    secrets=("legacy-soap-password",),
    settle_after_seconds={"create_sales_order": 5, "post_goods_issue": 5},
)
