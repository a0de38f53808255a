"""Manhattan Active WM: the warehouse system of every location."""

from __future__ import annotations

from typing import Any, Final

from crossdock.cli.network.vendor import (
    SandboxPace,
    Site,
    Vendor,
    reference,
    secret,
    vendor_url,
)

_ORGANIZATION: Final = "CROSSDOCK"
_PROJECT: Final = "wm-sandbox"
_CLIENT: Final = "crossdock-host"
_USER: Final = "host@crossdock"
_ACCOUNT: Final = "manhattan-service-account.json"
# A pull is answered at once where there is a message; without one the real service waits longer.
_PULL_WAIT_SECONDS: Final = 10.0


def _sandbox(site: Site, pace: SandboxPace) -> dict[str, Any]:
    return {
        "organization": _ORGANIZATION,
        "facilities": [
            {"id": dock.facility, "name": dock.title, "zone": dock.zone, "metric": dock.is_metric}
            for dock in site.docks.values()
        ],
        "client_id": _CLIENT,
        "client_secret": secret(site, "manhattan-client-secret"),
        "username": _USER,
        "password": secret(site, "manhattan-password"),
        "project": _PROJECT,
        "service_account_file": str(site.secret_file(_ACCOUNT)),
        "pick_seconds": pace.floor_seconds,
        "pack_seconds": pace.floor_seconds,
        "manifest_seconds": pace.floor_seconds,
        "pull_wait_seconds": _PULL_WAIT_SECONDS,
    }


def _adapter(site: Site, _: SandboxPace) -> dict[str, Any]:
    url = vendor_url(site, "manhattan")
    return {
        "base_url": url,
        "client_id": _CLIENT,
        "client_secret": reference(site, "manhattan-client-secret"),
        "username": _USER,
        "password": reference(site, "manhattan-password"),
        "organization": _ORGANIZATION,
        "facilities": {number: dock.facility for number, dock in site.docks.items()},
        "pubsub_url": url,
        "service_account": reference(site, _ACCOUNT),
        "project": _PROJECT,
        "timeout_seconds": 4,
    }


VENDOR: Final = Vendor(
    "manhattan",
    "WMS",
    _sandbox,
    _adapter,
    secrets=("manhattan-client-secret", "manhattan-password"),
    settle_after_seconds=dict.fromkeys(("release_order", "cancel_order", "print_label"), 5),
)
