"""Canada Post: the carrier of parcels in Canada, who is spoken to in XML."""

from __future__ import annotations

from typing import Any, Final

from crossdock.cli.network.vendor import (
    CANADIAN_DOCKS,
    CarrierAccount,
    SandboxPace,
    Site,
    Vendor,
    reference,
    secret,
    vendor_url,
)

CARRIER: Final = "CANADA_POST"
_NAME: Final = "canada-post"
_CUSTOMER: Final = "0008880001"


def _sandbox(site: Site, pace: SandboxPace) -> dict[str, Any]:
    return {
        "api_user": secret(site, "canada-post-api-user"),
        "api_password": secret(site, "canada-post-api-password"),
        "customers": [_CUSTOMER],
        "auto_handover_seconds": pace.handover_seconds,
        "scan_interval_seconds": pace.scan_seconds,
    }


def _adapter(site: Site, pace: SandboxPace) -> dict[str, Any]:
    return {
        "base_url": vendor_url(site, _NAME),
        "api_user": reference(site, "canada-post-api-user"),
        "api_password": reference(site, "canada-post-api-password"),
        "customer_number": _CUSTOMER,
        "carrier_code": CARRIER,
        "tracking_interval_seconds": min(pace.poll_seconds, 5.0),
        "throttle_rest_seconds": 5,
        "timeout_seconds": 4,
    }


VENDOR: Final = Vendor(
    _NAME,
    "CARRIER",
    _sandbox,
    _adapter,
    scope={"carrier_codes": [CARRIER]},
    secrets=("canada-post-api-user", "canada-post-api-password"),
    carrier_accounts=(
        CarrierAccount(
            "CANADA-POST-MAIN",
            CARRIER,
            _CUSTOMER,
            "Canada Post, docks in Canada",
            {"GROUND": "Expedited Parcel", "TWO_DAY": "Xpresspost", "NEXT_DAY": "Priority"},
            docks=tuple(CANADIAN_DOCKS),
            currency="CAD",
        ),
    ),
    settle_after_seconds=dict.fromkeys(("buy_label", "void_label", "close_manifest"), 5),
)
