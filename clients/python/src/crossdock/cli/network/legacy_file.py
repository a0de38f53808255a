"""A legacy ERP by flat file, over SFTP: the ERP of the oldest business unit."""

from __future__ import annotations

from typing import Any, Final

from crossdock.cli.network.vendor import (
    HOME_DOCKS,
    LOOPBACK,
    SandboxPace,
    Site,
    Vendor,
    reference,
    secret,
)

BUSINESS_UNIT: Final = "outlet-us"
_NAME: Final = "legacy-file"
_USER: Final = "crossdock"
# A simulated ERP's batch window.
_RESULT_STEPS: Final = 2


def _sandbox(site: Site, pace: SandboxPace) -> dict[str, Any]:
    return {
        "folder": str(site.vendor_directory(_NAME)),
        "host_key_file": str(site.secret_file("legacy-file-host-key")),
        "username": _USER,
        "password": secret(site, "legacy-file-password"),
        "result_seconds": _RESULT_STEPS * pace.floor_seconds,
        # After a crash its books are empty and would wait for number 1, which the hub has had.
        "gaps": "pass",
    }


def _adapter(site: Site, _: SandboxPace) -> dict[str, Any]:
    port = site.ports[f"{_NAME}-vendor"]
    return {
        "location": f"sftp://{_USER}@{LOOPBACK}:{port}/",
        "host_key": site.host_keys.get(_NAME, ""),
        "password": reference(site, "legacy-file-password"),
        "time_zone": "America/New_York",
    }


VENDOR: Final = Vendor(
    _NAME,
    "ERP",
    _sandbox,
    _adapter,
    scope={"business_units": [BUSINESS_UNIT], "location_numbers": list(HOME_DOCKS)},
    secrets=("legacy-file-password",),
    has_host_key=True,
)
