"""FedEx: a second carrier of parcels, who buys in two steps and signs its callbacks."""

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
    webhook_url,
)

_CARRIER: Final = "FEDEX"
_ACCOUNT: Final = "740561073"
_WEBHOOK_PATH: Final = "/fedex/tracking"


def _sandbox(site: Site, pace: SandboxPace) -> dict[str, Any]:
    return {
        "client_id": secret(site, "fedex-client-id"),
        "client_secret": secret(site, "fedex-client-secret"),
        "accounts": [_ACCOUNT],
        "webhook_url": webhook_url(site, "fedex", _WEBHOOK_PATH),
        "webhook_token": secret(site, "fedex-webhook-token"),
        "auto_handover_seconds": pace.handover_seconds,
        "scan_interval_seconds": pace.scan_seconds,
    }


def _adapter(site: Site, pace: SandboxPace) -> dict[str, Any]:
    return {
        "base_url": vendor_url(site, "fedex"),
        "client_id": reference(site, "fedex-client-id"),
        "client_secret": reference(site, "fedex-client-secret"),
        "webhook_token": reference(site, "fedex-webhook-token"),
        "account_number": _ACCOUNT,
        "carrier_code": _CARRIER,
        "tracking_interval_seconds": pace.poll_seconds,
        "timeout_seconds": 4,
    }


VENDOR: Final = Vendor(
    "fedex",
    "CARRIER",
    _sandbox,
    _adapter,
    scope={"carrier_codes": [_CARRIER]},
    secrets=("fedex-client-id", "fedex-client-secret", "fedex-webhook-token"),
    has_webhook=True,
    carrier_accounts=(
        CarrierAccount(
            "FEDEX-MAIN",
            _CARRIER,
            _ACCOUNT,
            "FedEx, all docks",
            {"GROUND": "Ground", "TWO_DAY": "2Day", "NEXT_DAY": "Priority Overnight"},
        ),
    ),
)
