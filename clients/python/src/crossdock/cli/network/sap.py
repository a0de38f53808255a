"""SAP S/4HANA Cloud: the ERP of a business unit that was bought, on the group's articles."""

from __future__ import annotations

from typing import Any, Final

from crossdock.cli.network.vendor import (
    HOME_DOCKS,
    SandboxPace,
    Site,
    Vendor,
    reference,
    secret,
    vendor_url,
)

BUSINESS_UNIT: Final = "wholesale-us"
_USER: Final = "CROSSDOCK"
_EVENTS_USER: Final = "sap-events"
_SALES_AREA: Final = "1010/10/00"
_FIRST_PLANT: Final = 1010
_PLANT_STEP: Final = 10


def _plants() -> dict[str, str]:
    """Plant by location number."""
    return {
        number: str(_FIRST_PLANT + _PLANT_STEP * index) for index, number in enumerate(HOME_DOCKS)
    }


def _sandbox(site: Site, _: SandboxPace) -> dict[str, Any]:
    return {
        "user": _USER,
        "password": secret(site, "sap-password"),
        # Articles and customers are NetSuite's, who has them from SKU-1001 and CUST-1001 on.
        "items": [f"SKU-{number}" for number in range(1001, 1025)],
        "customers": [f"CUST-{number}" for number in range(1001, 1013)],
        # The warehouse here picks without lots and serial numbers.
        "batch_items": [],
        "serial_items": [],
        "plants": list(_plants().values()),
        "events_user": _EVENTS_USER,
        "events_password": secret(site, "sap-events-password"),
    }


def _adapter(site: Site, _: SandboxPace) -> dict[str, Any]:
    return {
        "base_url": vendor_url(site, "sap"),
        "user": _USER,
        "password": reference(site, "sap-password"),
        "events_user": _EVENTS_USER,
        "events_password": reference(site, "sap-events-password"),
        "sales_areas": {BUSINESS_UNIT: _SALES_AREA},
        "plants": _plants(),
        "time_zone": "America/New_York",
        "freight_companies": {BUSINESS_UNIT: "1010"},
        "freight_suppliers": {"*": "CARRIER-*"},
        "freight_accounts": {"*": "65100000"},
        "return_reasons": {"*": "001"},
        # Articles and customers have one owner, NetSuite; of SAP only blocks of orders are heard.
        "hears": ["SalesOrder"],
        "changes_interval_seconds": 60,
        "timeout_seconds": 4,
    }


VENDOR: Final = Vendor(
    "sap",
    "ERP",
    _sandbox,
    _adapter,
    scope={"business_units": [BUSINESS_UNIT], "location_numbers": list(HOME_DOCKS)},
    secrets=("sap-password", "sap-events-password"),
    has_webhook=True,
    settle_after_seconds=dict.fromkeys(
        ("create_sales_order", "post_freight_charge", "post_goods_issue", "post_return_receipt"), 5
    ),
)
