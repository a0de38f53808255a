"""Salesforce Order Management: a second OMS, whose orders come by an event bus.

Nothing happens in its simulated org by itself: an order begins with
`crossdock sandbox command salesforce fulfillment_order '{"number": "0001"}'`.
"""

from __future__ import annotations

from typing import Any, Final

from crossdock.cli.network.vendor import (
    BUSINESS_UNIT,
    LOOPBACK,
    SandboxPace,
    Site,
    Vendor,
    reference,
    secret,
    vendor_url,
)

_NAME: Final = "salesforce"
_ORGANIZATION: Final = "00D5f000000ORGAAA1"
_USER: Final = "hub@acme.example"
_KEY: Final = "salesforce-private-key.pem"
_BUS_PORT: Final = "salesforce-pubsub"
NUMBER_PREFIX: Final = "SF-"
DELIVERY_METHODS: Final = {
    "Standard": "UPS/03",
    "Express": "FEDEX/NEXT_DAY",
    "Freight": "LTL/FREIGHT",
}


def _sandbox(site: Site, _: SandboxPace) -> dict[str, Any]:
    # The sandbox makes this key where it is missing, as if somebody had uploaded its certificate.
    return {
        "organization_id": _ORGANIZATION,
        "client_id": secret(site, "salesforce-client-id"),
        "username": _USER,
        "private_key_file": str(site.secret_file(_KEY)),
        "pubsub_port": site.ports[_BUS_PORT],
    }


def _adapter(site: Site, _: SandboxPace) -> dict[str, Any]:
    url = vendor_url(site, _NAME)
    return {
        "base_url": url,
        "login_url": url,
        "pubsub_url": f"http://{LOOPBACK}:{site.ports[_BUS_PORT]}",
        "organization_id": _ORGANIZATION,
        "client_id": reference(site, "salesforce-client-id"),
        "private_key": reference(site, _KEY),
        "username": _USER,
        "business_unit": BUSINESS_UNIT,
        "order_number_prefix": NUMBER_PREFIX,
        "delivery_methods": DELIVERY_METHODS,
        "return_reasons": {"*": "Other"},
        "timeout_seconds": 4,
        "limit_pause_seconds": 5,
    }


VENDOR: Final = Vendor(
    _NAME,
    "OMS",
    _sandbox,
    _adapter,
    scope={"business_units": [BUSINESS_UNIT]},
    secrets=("salesforce-client-id",),
    more_ports=(_BUS_PORT,),
    settle_after_seconds=dict.fromkeys(
        ("record_pick", "record_packed", "confirm_shipment", "record_delivery"), 5
    ),
    first_command="""sandbox command salesforce fulfillment_order '{"number": "0001"}'""",
)
