"""`python -m crossdock_adapters run|sandbox --config FILE`: the adapters' two processes."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from crossdock.errors import ConfigurationError

from crossdock_adapters.sdk import hosting, logs
from crossdock_adapters.sdk.bus_credentials import BusCredentialsError
from crossdock_adapters.sdk.config import ConfigError, load_adapters, load_sandboxes
from crossdock_adapters.sdk.manifest import ManifestError
from crossdock_adapters.sdk.registry import UnknownAdapter
from crossdock_adapters.sdk.settings import SettingsError

EXIT_CONFIGURATION = 78
WRONG_CONFIGURATION = (
    BusCredentialsError,
    ConfigError,
    ConfigurationError,
    ManifestError,
    SettingsError,
    UnknownAdapter,
)


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0 after a clean stop, 78 when the configuration is wrong."""
    options = _parser().parse_args(arguments)
    logs.start()
    try:
        if options.command == "run":
            config = load_adapters(options.config)
            asyncio.run(hosting.host_endpoints(config, options.endpoints))
        else:
            asyncio.run(hosting.host_sandboxes(load_sandboxes(options.config)))
    except WRONG_CONFIGURATION as error:
        print(f"crossdock_adapters: {error}", file=sys.stderr)
        return EXIT_CONFIGURATION
    except OSError as error:
        print(f"crossdock_adapters: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m crossdock_adapters", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="host the configured endpoints")
    run.add_argument("--config", type=Path, required=True, help="TOML file")
    run.add_argument("endpoints", nargs="*", help="only these endpoints of the file")
    sandbox = commands.add_parser("sandbox", help="host simulated vendors")
    sandbox.add_argument("--config", type=Path, required=True, help="TOML file")
    return parser


if __name__ == "__main__":
    sys.exit(main())
