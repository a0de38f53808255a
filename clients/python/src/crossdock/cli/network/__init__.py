"""Which vendors a `crossdock dev` runs: a network is a list of descriptions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from crossdock.cli.network import (
    canada_post,
    fedex,
    gls,
    legacy_file,
    legacy_soap,
    legacy_table,
    ltl_freight,
    manhattan,
    netsuite,
    salesforce,
    sap,
    ups,
)
from crossdock.cli.network.vendor import (
    BUSINESS_UNIT,
    CANADIAN_DOCKS,
    EUROPEAN_DOCKS,
    HOME_DOCKS,
    CarrierAccount,
    Dock,
    Vendor,
)

# Callers that no adapter serves: people's own systems, and people.
_BEFORE: Final = {"oms": "OMS"}
_AFTER: Final = {"shipping-desk": "TMS", "operator": "OPERATOR"}
_PORTS: Final = ("hub", "hub-metrics", "adapters-metrics")


class NetworkName(StrEnum):
    """What `crossdock dev --network` takes."""

    SMALL = "small"
    FULL = "full"


@dataclass(frozen=True, slots=True)
class Network:
    """Vendors that run together, the warehouses they work for, and what they need together."""

    name: NetworkName
    vendors: tuple[Vendor, ...]
    docks: Mapping[str, Dock] = field(default_factory=lambda: HOME_DOCKS)

    @property
    def vendor_ids(self) -> tuple[str, ...]:
        """Endpoints that an adapter serves."""
        return tuple(vendor.endpoint for vendor in self.vendors)

    @property
    def endpoints(self) -> dict[str, tuple[str, Mapping[str, list[str]]]]:
        """Endpoint id: role, and the share of the work where it has not all of it."""
        return {
            **{endpoint: (role, {}) for endpoint, role in _BEFORE.items()},
            **{vendor.endpoint: (vendor.role, vendor.scope) for vendor in self.vendors},
            **{endpoint: (role, {}) for endpoint, role in _AFTER.items()},
        }

    @property
    def ports(self) -> tuple[str, ...]:
        """Names of the ports that it takes."""
        return (*_PORTS, *(port for vendor in self.vendors for port in vendor.ports))

    @property
    def secrets(self) -> tuple[str, ...]:
        """Names of the secrets that are made for it."""
        return tuple(name for vendor in self.vendors for name in vendor.secrets)

    @property
    def carrier_accounts(self) -> tuple[CarrierAccount, ...]:
        """What transport management brings in, for orders to name."""
        return tuple(account for vendor in self.vendors for account in vendor.carrier_accounts)


SMALL: Final = Network(NetworkName.SMALL, (netsuite.VENDOR, manhattan.VENDOR, ups.VENDOR))
FULL: Final = Network(
    NetworkName.FULL,
    (
        # One of five ERPs has the share of one business unit, wherever it ships from.
        replace(netsuite.VENDOR, scope={"business_units": [BUSINESS_UNIT]}),
        sap.VENDOR,
        legacy_file.VENDOR,
        legacy_soap.VENDOR,
        legacy_table.VENDOR,
        manhattan.VENDOR,
        ups.VENDOR,
        fedex.VENDOR,
        gls.VENDOR,
        canada_post.VENDOR,
        ltl_freight.VENDOR,
        salesforce.VENDOR,
    ),
    {**HOME_DOCKS, **EUROPEAN_DOCKS, **CANADIAN_DOCKS},
)
NETWORKS: Final = {NetworkName.SMALL: SMALL, NetworkName.FULL: FULL}
