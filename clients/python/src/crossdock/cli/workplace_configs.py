"""The configuration files of the adapters' two processes, made for one data directory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from crossdock.cli.network.vendor import LOOPBACK, SandboxPace
from crossdock.cli.private_files import write_private
from crossdock.cli.toml_text import toml_text
from crossdock.cli.workplace import Workplace

# How often a simulated vendor looks whether its next step is due: often enough for the pace, and
# no oftener, for what is idle should take no processor.
TICKS_A_STEP: Final = 2
_DO_NOT_EDIT: Final = "Made by crossdock dev at each start; changes here are lost."


def write_configs(workplace: Workplace, pace: SandboxPace) -> None:
    """Write the sandboxes' file; the adapters' needs the bus, see `write_adapters_config`."""
    seed = workplace.seed if pace.seed is None else pace.seed
    tables: dict[str, Mapping[str, Any]] = {
        "process": {"ready_file": str(workplace.ready_file("sandboxes"))},
    }
    for vendor in workplace.network.vendors:
        name = vendor.endpoint
        tables[f"sandboxes.{name}"] = {
            "vendor_port": workplace.ports[f"{name}-vendor"],
            "control_port": workplace.ports[f"{name}-control"],
            "seed": seed,
            "state_file": str(workplace.vendor_file(name)),
            "tick_seconds": min(max(pace.floor_seconds / TICKS_A_STEP, 0.05), 0.5),
            "settings": vendor.sandbox_settings(workplace, pace),
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
    for vendor in workplace.network.vendors:
        endpoint = vendor.endpoint
        tables[f"endpoints.{endpoint}"] = {
            "token_file": str(workplace.token_file(endpoint)),
            "credentials_file": str(credentials / f"{endpoint}.json"),
            "webhook_port": workplace.ports.get(f"{endpoint}-webhook"),
            "settle_after_seconds": dict(vendor.settle_after_seconds),
            "settings": vendor.adapter_settings(workplace, pace),
        }
    write_private(workplace.config_file("adapters"), toml_text(tables, _DO_NOT_EDIT))


def hub_variables(workplace: Workplace) -> dict[str, str]:
    """The settings of the hub process."""
    return {
        "CROSSDOCK_DATA_DIRECTORY": str(workplace.hub_directory),
        "CROSSDOCK_LISTEN": f"{LOOPBACK}:{workplace.ports['hub']}",
        "CROSSDOCK_ENDPOINTS_FILE": str(workplace.endpoints_file),
        "CROSSDOCK_ADDRESS_FILE": str(workplace.ready_file("hub")),
        "CROSSDOCK_METRICS_PORT": str(workplace.ports["hub-metrics"]),
        "CROSSDOCK_REFLECTION": "true",
        "CROSSDOCK_TRACE_SAMPLE_RATIO": "1.0",
    }
