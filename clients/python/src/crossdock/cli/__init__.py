"""The command line `crossdock`: finds a command by its name and imports only what that one needs.

Exit codes: 0 done; 1 refused, failed or found wrong; 2 used wrongly; others are named by the
command's own help. To add a command, write a module here with a `typer.Typer` called `app` and give
it a line in COMMANDS; an app with one command becomes `crossdock NAME`, one with several a group.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib import import_module
from typing import Annotated, Any, Final

import typer
from typer.core import TyperCommand, TyperGroup

import crossdock
from crossdock.errors import CrossdockError


@dataclass(frozen=True, slots=True)
class Command:
    """Where a command lives and what the list of commands says about it."""

    module: str
    summary: str


COMMANDS: Final[dict[str, Command]] = {
    "dev": Command("crossdock.cli.dev", "Hub, NATS, sandboxes and adapters until Ctrl-C."),
    "demo": Command("crossdock.cli.demo", "A peak evening with faults, and the proofs."),
    "load": Command("crossdock.cli.load", "Items, customers, locations from a file."),
    "trigger": Command("crossdock.cli.trigger", "Place orders as the OMS does."),
    "trace": Command("crossdock.cli.trace", "The whole chain from any id, and the verdict."),
    "posted": Command("crossdock.cli.posted", "What the vendors got for an object, how often."),
    "posted-twice": Command("crossdock.cli.posted_twice", "What was posted twice, or may be."),
    "tail": Command("crossdock.cli.tail", "Events and deliveries as they happen."),
    "deliveries": Command("crossdock.cli.deliveries", "List what endpoints have to do."),
    "delivery": Command("crossdock.cli.delivery", "Show one delivery; retry, skip, resubmit it."),
    "differences": Command("crossdock.cli.differences", "What bus and database did not share."),
    "dead-letters": Command("crossdock.cli.dead_letters", "What stopped, grouped by cause."),
    "resolve": Command("crossdock.cli.resolve", "Confirm a delivery by hand, with its document."),
    "endpoint": Command("crossdock.cli.endpoint", "List, show, pause and resume endpoints."),
    "map": Command("crossdock.cli.mapping", "What vendors' codes mean; what waits for one."),
    "convert": Command("crossdock.cli.convert", "How much of another unit a quantity is."),
    "freight": Command("crossdock.cli.freight", "What carriers charge; approve and dispute it."),
    "replay": Command("crossdock.cli.replay", "Send work to an endpoint again, as planned."),
    "sandbox": Command("crossdock.cli.sandbox", "Make simulated vendors misbehave; read books."),
    "doctor": Command("crossdock.cli.doctor", "Check what a hub needs, and how to fix it."),
    "contract": Command("crossdock.cli.contract", "Export, check, compare and read the contract."),
    "hub": Command("crossdock.cli.hub", "Run a hub in production."),
    "adapter": Command("crossdock.cli.adapter", "Run adapters or sandboxes in production."),
}


class _LazyGroup(TyperGroup):
    """Knows all commands by name, and imports a command's module when it is the one that runs."""

    def list_commands(self, ctx: Any) -> list[str]:
        return [*COMMANDS, *super().list_commands(ctx)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name in COMMANDS:
            return TyperCommand(cmd_name, help=COMMANDS[cmd_name].summary)
        return super().get_command(ctx, cmd_name)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name = args[0] if args else ""
        if name not in COMMANDS:
            return super().resolve_command(ctx, args)
        app: typer.Typer = import_module(COMMANDS[name].module).app
        command = typer.main.get_command(app)
        command.name = name
        return name, command, args[1:]


app = typer.Typer(
    cls=_LazyGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _root() -> None:
    """Move logistics facts between systems: see them, trace them, and work on the contract."""


@app.command()
def version(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Print the version."""
    if as_json:
        typer.echo(f'{{"version": "{crossdock.__version__}"}}')
    else:
        typer.echo(crossdock.__version__)


def main() -> None:
    """Runs the command line; errors of ours become a few lines and an exit code."""
    try:
        app(prog_name="crossdock")
    except CrossdockError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(getattr(error, "exit_code", 1))
    except BrokenPipeError:
        # The reader of a pipe (`head`) has seen enough; nothing more may be written at exit either.
        sys.stderr.close()
        sys.exit(1)
