"""`crossdock hub serve`: become the hub process, for production."""

from __future__ import annotations

import typer

from crossdock.cli.becoming import become

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Run a hub in production.")


@app.callback()
def _group() -> None:
    """A group, so that more than serving can be done one day."""


@app.command()
def serve() -> None:
    """Run a hub in this process; its settings are CROSSDOCK_* variables. SIGTERM drains it."""
    become("crossdock_hub", [])
