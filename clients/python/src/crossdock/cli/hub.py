"""`crossdock hub`: become the hub process, and what its NATS has to know, for production."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crossdock.cli.becoming import become
from crossdock.cli.problems import CommandError

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Run a hub in production.")


@app.command()
def serve() -> None:
    """Run a hub in this process; its settings are CROSSDOCK_* variables. SIGTERM drains it."""
    become("crossdock_hub", [])


@app.command("back-up")
def back_up(
    file: Annotated[Path, typer.Argument(help="Where the copy goes; a new file.")],
) -> None:
    """Copy the database (SQLite) that CROSSDOCK_* variables name, while the hub runs or not.

    The copy is checked and on disk when this ends; prints what is in it, as JSON.
    """
    become("crossdock_hub.store.backing_up", [str(file)])


@app.command("put-back")
def put_back(
    file: Annotated[Path, typer.Argument(help="A back-up, which stays as it is.")],
) -> None:
    """Put a back-up in place of the database (SQLite) of a stopped hub; what was there is kept.

    The copy says so itself: a hub that starts on it looks up what vendors may have done since.
    """
    become("crossdock_hub.store.putting_back", [str(file)])


@app.command()
def vacuum() -> None:
    """Give back the space of what has gone from the database that CROSSDOCK_* variables name.

    SQLite: while no hub runs. Prints its size before and after, as JSON.
    """
    become("crossdock_hub.store.vacuuming", [])


@app.command()
def archive(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would go and why the rest stays.")
    ] = False,
    forget_part: Annotated[
        int | None, typer.Option(metavar="N", help="Give up a part whose file is lost.")
    ] = None,
    reason: Annotated[str, typer.Option(help="Why, for --forget-part.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Take what is finished and old out of the database of a stopped hub, into files.

    A hub that runs does it by itself; CROSSDOCK_ARCHIVE_DAYS says what is old.
    """
    arguments = ["--dry-run"] if dry_run else []
    if forget_part is not None:
        arguments += ["--forget-part", str(forget_part), "--reason", reason]
    arguments += ["--json"] if as_json else []
    become("crossdock_hub.archive.command", arguments)


@app.command("find-archived")
def find_archived(
    id_: Annotated[
        str, typer.Argument(metavar="ID", help="Of an order, a shipment, a parcel, a document, …")
    ],
    part: Annotated[str, typer.Option(help="Look in this part only.")] = "",
    directory: Annotated[Path | None, typer.Option(help="Where the parts are.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print every row, one a line.")] = False,
) -> None:
    """Say in which part of the archive something is, and what stands there. Needs no hub."""
    arguments = ["--part", part] if part else []
    arguments += ["--directory", str(directory)] if directory else []
    arguments += ["--json"] if as_json else []
    become("crossdock_hub.archive.searching", [*arguments, "--", id_])


@app.command("bus-users")
def bus_users(
    endpoints_file: Annotated[Path, typer.Option(help="The hub's endpoints file.")],
    output: Annotated[Path, typer.Option(help="Directory for users and seeds; kept seeds stay.")],
) -> None:
    """Write the users of a NATS of your own: each endpoint's may do its own work and no other."""
    arguments = ["--endpoints-file", str(endpoints_file), "--output", str(output)]
    become("crossdock_hub.bus.users", arguments)


@app.command()
def move(
    to: Annotated[
        str, typer.Option(help="URL of an empty database (postgresql+asyncpg://…), or sqlite.")
    ] = "",
    undo: Annotated[
        bool, typer.Option("--undo", help="Take back a move, when no hub has started since.")
    ] = False,
    as_back_up: Annotated[
        bool,
        typer.Option("--as-back-up", help="With --undo: also when one has; what it did is lost."),
    ] = False,
    password_file: Annotated[
        Path | None, typer.Option(help="Password of the new database.")
    ] = None,
    ca_file: Annotated[
        Path | None, typer.Option(help="Who signs the certificate of its server.")
    ] = None,
    replace_null_characters: Annotated[
        bool,
        typer.Option(
            "--replace-null-characters", help="Write U+FFFD for each, which PostgreSQL can't hold."
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Take the database of a stopped hub to another place; its settings say where it is now."""
    if bool(to) == undo:
        raise CommandError("say either --to URL or --undo", exit_code=2)
    arguments = ["--undo"] if undo else ["--to", to]
    arguments += ["--as-back-up"] if as_back_up else []
    arguments += ["--password-file", str(password_file)] if password_file else []
    arguments += ["--ca-file", str(ca_file)] if ca_file else []
    arguments += ["--replace-null-characters"] if replace_null_characters else []
    arguments += ["--json"] if as_json else []
    become("crossdock_hub.moving", arguments)
