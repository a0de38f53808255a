"""`crossdock hub`: become the hub process, and what its NATS has to know, for production."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crossdock.cli.becoming import become

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Run a hub in production.")


@app.command()
def serve() -> None:
    """Run a hub in this process; its settings are CROSSDOCK_* variables. SIGTERM drains it."""
    become("crossdock_hub", [])


@app.command("bus-users")
def bus_users(
    endpoints_file: Annotated[Path, typer.Option(help="The hub's endpoints file.")],
    output: Annotated[Path, typer.Option(help="Directory for users and seeds; kept seeds stay.")],
) -> None:
    """Write the users of a NATS of your own: each endpoint's may do its own work and no other."""
    arguments = ["--endpoints-file", str(endpoints_file), "--output", str(output)]
    become("crossdock_hub.bus.users", arguments)
