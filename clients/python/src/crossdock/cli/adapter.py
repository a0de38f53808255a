"""`crossdock adapter`: become the adapters' process or the sandboxes', for production."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crossdock.cli.becoming import become

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="Run adapters or sandboxes in production."
)

Config = Annotated[Path, typer.Option(exists=True, dir_okay=False, help="TOML file.")]


@app.command()
def run(
    config: Config,
    endpoints: Annotated[
        list[str] | None, typer.Argument(help="Only these endpoints of the file.")
    ] = None,
) -> None:
    """Host the configured endpoints in this process. SIGTERM drains it."""
    become("crossdock_adapters", ["run", "--config", str(config), *(endpoints or [])])


@app.command()
def sandbox(config: Config) -> None:
    """Host simulated vendors in this process."""
    become("crossdock_adapters", ["sandbox", "--config", str(config)])
