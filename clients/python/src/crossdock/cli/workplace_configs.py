"""The configuration files of the adapters' two processes, made for one data directory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from crossdock.cli.private_files import write_private
from crossdock.cli.toml_text import toml_text
from crossdock.cli.workplace import Workplace

# Names on which the hub's master data, the sandboxes and the adapters have to agree.
CARRIER_CODE: Final = "UPS"
CARRIER_ACCOUNT: Final = "A1B2C3"
CARRIER_ACCOUNT_NUMBER: Final = "UPS-MAIN"
CARRIER_SERVICES: Final = {
    "03": "Ground",
    "02": "2nd Day Air",
    "01": "Next Day Air",
}
LOCATIONS: Final = {
    "WH-EAST": ("DC-EAST", "East Warehouse", "America/New_York"),
    "WH-WEST": ("DC-WEST", "West Warehouse", "America/Los_Angeles"),
}
# How often a simulated vendor looks whether its next step is due: often enough for the pace, and
# no oftener, for what is idle should take no processor.
TICKS_A_STEP: Final = 2
ERP_ID_PREFIX: Final = "xd-"
_ORGANIZATION: Final = "CROSSDOCK"
_PROJECT: Final = "wm-sandbox"
_MANHATTAN_CLIENT: Final = "crossdock-host"
_MANHATTAN_USER: Final = "host@crossdock"
_NETSUITE_CLIENT: Final = "crossdock-integration"
_NETSUITE_CERTIFICATE: Final = "crossdock-certificate-1"
_WEBHOOK_PATH: Final = "/ups/track-alert"
_LOOPBACK: Final = "127.0.0.1"
_DO_NOT_EDIT: Final = "Made by crossdock dev at each start; changes here are lost."


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


def write_configs(workplace: Workplace, pace: SandboxPace) -> None:
    """Write the sandboxes' file; the adapters' needs the bus, see `write_adapters_config`."""
    seed = workplace.seed if pace.seed is None else pace.seed
    tables: dict[str, Mapping[str, Any]] = {
        "process": {"ready_file": str(workplace.ready_file("sandboxes"))},
    }
    settings = {
        "netsuite": _netsuite_sandbox(workplace),
        "manhattan": _manhattan_sandbox(workplace, pace),
        "ups": _ups_sandbox(workplace, pace),
    }
    for vendor, values in settings.items():
        tables[f"sandboxes.{vendor}"] = {
            "vendor_port": workplace.ports[f"{vendor}-vendor"],
            "control_port": workplace.ports[f"{vendor}-control"],
            "seed": seed,
            "state_file": str(workplace.vendor_file(vendor)),
            "tick_seconds": min(max(pace.floor_seconds / TICKS_A_STEP, 0.05), 0.5),
            "settings": values,
        }
    text = toml_text(tables, _DO_NOT_EDIT)
    write_private(workplace.config_file("sandboxes"), text)


def write_adapters_config(workplace: Workplace, hub: Mapping[str, Any], pace: SandboxPace) -> None:
    """hub: what the hub wrote into its address file."""
    credentials = Path(hub["nats_credentials_directory"])
    tables: dict[str, Mapping[str, Any]] = {
        "process": {"ready_file": str(workplace.ready_file("adapters"))},
        "hub": {"address": hub["grpc"]},
        "bus": {"url": hub["nats_url"]},
        "metrics": {"port": workplace.ports["adapters-metrics"]},
    }
    settings = {
        "netsuite": _netsuite_adapter(workplace),
        "manhattan": _manhattan_adapter(workplace),
        "ups": _ups_adapter(workplace, pace),
    }
    for endpoint, values in settings.items():
        tables[f"endpoints.{endpoint}"] = {
            "token_file": str(workplace.token_file(endpoint)),
            "credentials_file": str(credentials / f"{endpoint}.json"),
            "webhook_port": workplace.ports.get(f"{endpoint}-webhook"),
            "settings": values,
        }
    write_private(workplace.config_file("adapters"), toml_text(tables, _DO_NOT_EDIT))


def hub_variables(workplace: Workplace) -> dict[str, str]:
    """The settings of the hub process."""
    return {
        "CROSSDOCK_DATA_DIRECTORY": str(workplace.hub_directory),
        "CROSSDOCK_LISTEN": f"{_LOOPBACK}:{workplace.ports['hub']}",
        "CROSSDOCK_ENDPOINTS_FILE": str(workplace.endpoints_file),
        "CROSSDOCK_ADDRESS_FILE": str(workplace.ready_file("hub")),
        "CROSSDOCK_METRICS_PORT": str(workplace.ports["hub-metrics"]),
        "CROSSDOCK_REFLECTION": "true",
        "CROSSDOCK_TRACE_SAMPLE_RATIO": "1.0",
    }


def _netsuite_sandbox(workplace: Workplace) -> dict[str, Any]:
    # The sandbox makes this key where it is missing, as if somebody had mapped the certificate.
    return {
        "client_key_file": str(workplace.secret_file("netsuite-client-key.pem")),
        "client_id": _NETSUITE_CLIENT,
        "certificate_id": _NETSUITE_CERTIFICATE,
        "skipped_numbers": (workplace.seed - 1) * 10_000,
    }


def _netsuite_adapter(workplace: Workplace) -> dict[str, Any]:
    return {
        "base_url": _vendor(workplace, "netsuite"),
        "client_id": _NETSUITE_CLIENT,
        "certificate_id": _NETSUITE_CERTIFICATE,
        "private_key": _reference(workplace.secret_file("netsuite-client-key.pem")),
        "external_id_prefix": ERP_ID_PREFIX,
        "master_data_interval_seconds": 30,
    }


def _manhattan_sandbox(workplace: Workplace, pace: SandboxPace) -> dict[str, Any]:
    return {
        "organization": _ORGANIZATION,
        "facilities": [
            {"id": facility, "name": name, "zone": zone}
            for facility, name, zone in LOCATIONS.values()
        ],
        "client_id": _MANHATTAN_CLIENT,
        "client_secret": _secret(workplace, "manhattan-client-secret"),
        "username": _MANHATTAN_USER,
        "password": _secret(workplace, "manhattan-password"),
        "project": _PROJECT,
        "service_account_file": str(workplace.secret_file("manhattan-service-account.json")),
        "pick_seconds": pace.floor_seconds,
        "pack_seconds": pace.floor_seconds,
        "manifest_seconds": pace.floor_seconds,
    }


def _manhattan_adapter(workplace: Workplace) -> dict[str, Any]:
    url = _vendor(workplace, "manhattan")
    return {
        "base_url": url,
        "client_id": _MANHATTAN_CLIENT,
        "client_secret": _reference(workplace.secret_file("manhattan-client-secret")),
        "username": _MANHATTAN_USER,
        "password": _reference(workplace.secret_file("manhattan-password")),
        "organization": _ORGANIZATION,
        "facilities": {number: facility for number, (facility, _, _) in LOCATIONS.items()},
        "pubsub_url": url,
        "service_account": _reference(workplace.secret_file("manhattan-service-account.json")),
        "project": _PROJECT,
    }


def _ups_sandbox(workplace: Workplace, pace: SandboxPace) -> dict[str, Any]:
    port = workplace.ports["ups-webhook"]
    return {
        "client_id": _secret(workplace, "ups-client-id"),
        "client_secret": _secret(workplace, "ups-client-secret"),
        "accounts": [CARRIER_ACCOUNT],
        "callback_url": f"http://{_LOOPBACK}:{port}{_WEBHOOK_PATH}",
        "callback_credential": _secret(workplace, "ups-callback-credential"),
        "auto_handover_seconds": pace.handover_seconds,
        "scan_interval_seconds": pace.scan_seconds,
    }


def _ups_adapter(workplace: Workplace, pace: SandboxPace) -> dict[str, Any]:
    return {
        "base_url": _vendor(workplace, "ups"),
        "client_id": _reference(workplace.secret_file("ups-client-id")),
        "client_secret": _reference(workplace.secret_file("ups-client-secret")),
        "callback_credential": _reference(workplace.secret_file("ups-callback-credential")),
        "account_number": CARRIER_ACCOUNT,
        "carrier_code": CARRIER_CODE,
        # Parcels move within seconds here: a subscription per parcel could come too late.
        "subscription": "account",
        "tracking_interval_seconds": pace.poll_seconds,
    }


def _vendor(workplace: Workplace, vendor: str) -> str:
    return f"http://{_LOOPBACK}:{workplace.ports[f'{vendor}-vendor']}"


def _reference(path: Path) -> str:
    return f"file:{path}"


def _secret(workplace: Workplace, name: str) -> str:
    return workplace.secret_file(name).read_text("ascii").strip()
