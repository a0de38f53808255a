"""`python -m crossdock_adapters run|sandbox|conform|new`: the processes, the checks, a skeleton."""

from __future__ import annotations

import argparse
import asyncio
import json
import shlex
import sys
import tempfile
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
    if options.command == "conform":
        return _conform(options)
    if options.command == "new":
        return _new(options)
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


def _conform(options: argparse.Namespace) -> int:
    """Exit status: 0 when it conforms, 1 when it does not, 78 when there is nothing to check."""
    # Only here: a process that runs endpoints has no use for the checks.
    from crossdock_adapters.sdk.conformance import conforming, report, subject

    def heard(finding: report.Finding) -> None:
        print(finding, file=sys.stderr, flush=True)

    try:
        found = subject.load(options.adapter)
        with tempfile.TemporaryDirectory(prefix="crossdock-conform-") as folder:
            doing = conforming.conform(
                found, Path(folder), place=options.adapter, only=options.check, heard=heard
            )
            told = asyncio.run(doing)
    except (subject.NoSubject, conforming.UnknownCheck, *WRONG_CONFIGURATION) as error:
        print(f"crossdock_adapters: {error}", file=sys.stderr)
        return EXIT_CONFIGURATION
    print(json.dumps(told.as_json(), indent=2) if options.json else told.as_text())
    return 0 if told.conforms else 1


def _new(options: argparse.Namespace) -> int:
    """Exit status: 0 when it was made, 1 when it could not be written, 78 when it was refused."""
    from crossdock_adapters.sdk.scaffold import creating

    folder = options.directory or Path(options.adapter)
    try:
        written = creating.create(options.adapter, options.kind, folder, options.title)
    except creating.CannotCreate as refused:
        print(f"crossdock_adapters: {refused}", file=sys.stderr)
        return EXIT_CONFIGURATION
    except OSError as error:
        print(f"crossdock_adapters: {error}", file=sys.stderr)
        return 1
    print(f"{options.adapter}: {len(written)} files in {folder}, by {options.kind}. Next:")
    print(f"  cd {shlex.quote(str(folder))}")
    print("  python -m pip install --no-deps --no-build-isolation -e .")
    print(f"  crossdock adapter conform {options.adapter}")
    print("It conforms as it is. What to replace is marked REPLACE, and README.md lists it.")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m crossdock_adapters", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="host the configured endpoints")
    run.add_argument("--config", type=Path, required=True, help="TOML file")
    run.add_argument("endpoints", nargs="*", help="only these endpoints of the file")
    sandbox = commands.add_parser("sandbox", help="host simulated vendors")
    sandbox.add_argument("--config", type=Path, required=True, help="TOML file")
    conform = commands.add_parser("conform", help="put an adapter through the conformance kit")
    conform.add_argument("adapter", help="its name, or module:attribute of its Subject")
    conform.add_argument("--json", action="store_true", help="the report for programs")
    conform.add_argument("--check", action="append", default=[], help="only this check; repeatable")
    new = commands.add_parser("new", help="create the skeleton of an adapter")
    new.add_argument("adapter", help="its name")
    new.add_argument("--kind", required=True, help="how its vendor is spoken to")
    new.add_argument("--directory", type=Path, help="a new folder; unset: its name, in this one")
    new.add_argument("--title", default="", help="what people call the vendor")
    return parser


if __name__ == "__main__":
    sys.exit(main())
