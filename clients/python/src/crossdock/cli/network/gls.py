"""GLS: the carrier of parcels in Europe, who makes one shipment of all packages."""

from __future__ import annotations

from typing import Any, Final

from crossdock.cli.network.vendor import (
    EUROPEAN_DOCKS,
    CarrierAccount,
    SandboxPace,
    Site,
    Vendor,
    reference,
    secret,
    vendor_url,
)

CARRIER: Final = "GLS"
_CONTACT: Final = "2760194275"


def _sandbox(site: Site, pace: SandboxPace) -> dict[str, Any]:
    return {
        "client_id": secret(site, "gls-client-id"),
        "client_secret": secret(site, "gls-client-secret"),
        "contacts": [_CONTACT],
        "auto_handover_seconds": pace.handover_seconds,
        "scan_interval_seconds": pace.scan_seconds,
        # It is asked much oftener here than a real one may be.
        "quota_per_day": 1_000_000,
    }


def _adapter(site: Site, pace: SandboxPace) -> dict[str, Any]:
    return {
        "base_url": vendor_url(site, "gls"),
        "client_id": reference(site, "gls-client-id"),
        "client_secret": reference(site, "gls-client-secret"),
        "contact_id": _CONTACT,
        "carrier_code": CARRIER,
        "time_zone": next(dock.zone for dock in EUROPEAN_DOCKS.values()),
        # The sandbox tracks a parcel from the moment it is made.
        "not_found_codes": ["E_404_01"],
        "tracking_interval_seconds": min(pace.poll_seconds, 5.0),
        "tracking_calls_per_day": 1_000_000,
        "timeout_seconds": 4,
    }


VENDOR: Final = Vendor(
    "gls",
    "CARRIER",
    _sandbox,
    _adapter,
    scope={"carrier_codes": [CARRIER]},
    secrets=("gls-client-id", "gls-client-secret"),
    carrier_accounts=(
        CarrierAccount(
            "GLS-MAIN",
            CARRIER,
            _CONTACT,
            "GLS, docks in Europe",
            {"GROUND": "Parcel", "NEXT_DAY": "Express"},
            docks=tuple(EUROPEAN_DOCKS),
            currency="EUR",
        ),
    ),
    settle_after_seconds={"buy_label": 5, "void_label": 5},
)
