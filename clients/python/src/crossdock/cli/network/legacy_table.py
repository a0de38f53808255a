"""A legacy ERP by staging tables in its database: the ERP of the business unit in Canada."""

from __future__ import annotations

from typing import Any, Final

from crossdock.cli.network.vendor import (
    CANADIAN_DOCKS,
    LOOPBACK,
    SandboxPace,
    Site,
    Vendor,
    reference,
    secret,
)
from crossdock.cli.private_files import private_directory, write_private

BUSINESS_UNIT: Final = "retail-ca"
_NAME: Final = "legacy-table"
_USER: Final = "crossdock"
_ADDRESS: Final = "legacy-table-database-url"


def _sandbox(site: Site, pace: SandboxPace) -> dict[str, Any]:
    directory = site.vendor_directory(_NAME)
    private_directory(directory)
    return {
        "file": str(directory / "erp.db"),
        "username": _USER,
        "password": secret(site, "legacy-table-password"),
        # Articles and customers are NetSuite's.
        "customers": [f"CUST-{number}" for number in range(3001, 3005)],
        "result_seconds": pace.floor_seconds,
    }


def _adapter(site: Site, _: SandboxPace) -> dict[str, Any]:
    # The address of a database has the password in it, so it is a secret as a whole.
    password, port = secret(site, "legacy-table-password"), site.ports[f"{_NAME}-vendor"]
    address = f"sqlite+sandbox://{_USER}:{password}@{LOOPBACK}:{port}"
    write_private(site.secret_file(_ADDRESS), address + "\n")
    return {
        "database_url": reference(site, _ADDRESS),
        "time_zone": next(dock.zone for dock in CANADIAN_DOCKS.values()),
        # Articles have one owner, NetSuite.
        "reads_items": False,
        "statement_seconds": 4,
    }


VENDOR: Final = Vendor(
    _NAME,
    "ERP",
    _sandbox,
    _adapter,
    scope={"business_units": [BUSINESS_UNIT], "location_numbers": list(CANADIAN_DOCKS)},
    secrets=("legacy-table-password",),
    settle_after_seconds={"create_sales_order": 5, "post_goods_issue": 5},
)
