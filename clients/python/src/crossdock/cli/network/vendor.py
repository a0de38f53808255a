"""What `crossdock dev` has to know of a vendor to run it: who it is, and how it is set up.

One module beside this one describes one vendor. Nothing else in the command line names any, so a
network with more of them is a longer list and no other code.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol


@dataclass(frozen=True, slots=True)
class Dock:
    """A warehouse: its id in the warehouse system, title, IANA zone, country, and whether it weighs
    in kilograms."""

    facility: str
    title: str
    zone: str
    country: str = "US"
    is_metric: bool = False


# Names on which the hub's master data, the sandboxes and the adapters have to agree: warehouses by
# the number of their location.
HOME_DOCKS: Final = {
    "WH-EAST": Dock("DC-EAST", "East Warehouse", "America/New_York"),
    "WH-WEST": Dock("DC-WEST", "West Warehouse", "America/Los_Angeles"),
}
EUROPEAN_DOCKS: Final = {
    "WH-RHINE": Dock("DC-RHINE", "Rhine Warehouse", "Europe/Berlin", "DE", is_metric=True),
}
CANADIAN_DOCKS: Final = {
    "WH-LAKES": Dock("DC-LAKES", "Lakes Warehouse", "America/Toronto", "CA", is_metric=True),
}
# Whose orders are placed where no ERP is one business unit's.
BUSINESS_UNIT: Final = "retail-us"
LOOPBACK: Final = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class SandboxPace:
    """How fast the simulated vendors move (seconds), and from which seed they draw.

    seed None: the data directory's own, a new one at each start, because sandboxes begin with empty
    books and must not give numbers twice.
    """

    floor_seconds: float = 0.5
    handover_seconds: float = 1.5
    scan_seconds: float = 0.5
    poll_seconds: float = 15.0
    seed: int | None = None


class Site(Protocol):
    """The data directory, as far as the settings of a vendor ask for it.

    docks: the warehouses of its network. host_keys: public key of each vendor that speaks SSH;
    known once the sandboxes serve.
    """

    ports: dict[str, int]
    seed: int
    host_keys: dict[str, str]

    @property
    def docks(self) -> Mapping[str, Dock]: ...

    def secret_file(self, name: str) -> Path: ...

    def vendor_directory(self, name: str) -> Path: ...


Settings = Callable[[Site, SandboxPace], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class CarrierAccount:
    """An account with a carrier: what orders may name. services: code to name. docks: where the
    carrier collects. currency: of its invoices."""

    number: str
    carrier_code: str
    account_number: str
    name: str
    services: Mapping[str, str]
    docks: Collection[str] = tuple(HOME_DOCKS)
    currency: str = "USD"


@dataclass(frozen=True, slots=True)
class Vendor:
    """One endpoint that an adapter serves, and the sandbox behind it.

    endpoint: its id, which is the name of its adapter too. scope: its share of the work, where it
    has not all of it. secrets: names of random ones that are made for sandbox and adapter.
    settle_after_seconds: by operation, how soon its sandbox shows what was done, where that is much
    sooner than the adapter trusts its real vendor to. first_command: what somebody types to see it
    at work, where no order of the OMS makes it work.
    more_ports: names of ports beside that of the vendor, of its control and of its webhook.
    """

    endpoint: str
    role: str
    sandbox_settings: Settings
    adapter_settings: Settings
    scope: Mapping[str, list[str]] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    more_ports: tuple[str, ...] = ()
    has_webhook: bool = False
    has_host_key: bool = False
    carrier_accounts: tuple[CarrierAccount, ...] = ()
    settle_after_seconds: Mapping[str, float] = field(default_factory=dict)
    first_command: str = ""

    @property
    def ports(self) -> tuple[str, ...]:
        """Names of the ports that it takes."""
        webhook = (f"{self.endpoint}-webhook",) if self.has_webhook else ()
        return (*webhook, *self.more_ports, f"{self.endpoint}-vendor", f"{self.endpoint}-control")


def vendor_url(site: Site, vendor: str) -> str:
    """Where a simulated vendor answers."""
    return f"http://{LOOPBACK}:{site.ports[f'{vendor}-vendor']}"


def webhook_url(site: Site, vendor: str, path: str) -> str:
    """Where the adapter of a vendor takes its webhooks."""
    return f"http://{LOOPBACK}:{site.ports[f'{vendor}-webhook']}{path}"


def reference(site: Site, name: str) -> str:
    """A secret as an adapter is told it: where it lies."""
    return f"file:{site.secret_file(name)}"


def secret(site: Site, name: str) -> str:
    """A secret itself, for a sandbox."""
    return site.secret_file(name).read_text("ascii").strip()
