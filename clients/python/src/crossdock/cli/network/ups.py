"""UPS: the carrier of parcels that the small network has."""

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

_CARRIER: Final = "UPS"
_ACCOUNT: Final = "A1B2C3"
_WEBHOOK_PATH: Final = "/ups/track-alert"


def _sandbox(site: Site, pace: SandboxPace) -> dict[str, Any]:
    return {
        "client_id": secret(site, "ups-client-id"),
        "client_secret": secret(site, "ups-client-secret"),
        "accounts": [_ACCOUNT],
        "callback_url": webhook_url(site, "ups", _WEBHOOK_PATH),
        "callback_credential": secret(site, "ups-callback-credential"),
        "auto_handover_seconds": pace.handover_seconds,
        "scan_interval_seconds": pace.scan_seconds,
    }


def _adapter(site: Site, pace: SandboxPace) -> dict[str, Any]:
    return {
        "base_url": vendor_url(site, "ups"),
        "client_id": reference(site, "ups-client-id"),
        "client_secret": reference(site, "ups-client-secret"),
        "callback_credential": reference(site, "ups-callback-credential"),
        "account_number": _ACCOUNT,
        "carrier_code": _CARRIER,
        # Parcels move within seconds here: a subscription per parcel could come too late.
        "subscription": "account",
        "tracking_interval_seconds": pace.poll_seconds,
        "timeout_seconds": 4,
    }


VENDOR: Final = Vendor(
    "ups",
    "CARRIER",
    _sandbox,
    _adapter,
    scope={"carrier_codes": [_CARRIER]},
    secrets=("ups-client-id", "ups-client-secret", "ups-callback-credential"),
    has_webhook=True,
    settle_after_seconds=dict.fromkeys(
        ("buy_label", "buy_return_label", "void_label", "void_return_label", "subscribe_tracking"),
        5,
    ),
    carrier_accounts=(
        CarrierAccount(
            "UPS-MAIN",
            _CARRIER,
            _ACCOUNT,
            "UPS, all docks",
            {"03": "Ground", "02": "2nd Day Air", "01": "Next Day Air"},
        ),
    ),
)
