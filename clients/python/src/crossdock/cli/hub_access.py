"""How commands find a hub: a running `crossdock dev`, or CROSSDOCK_ADDRESS and a token file."""

from __future__ import annotations

import asyncio
import os
import shlex
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import typer

from crossdock.cli.problems import EXIT_USED_WRONGLY, CommandError, explained
from crossdock.cli.sandbox_control import SandboxControl
from crossdock.cli.tls_mismatch import what_to_change
from crossdock.cli.workplace import DATA_VARIABLE, Running, Workplace, default_directory
from crossdock.client import HubClient, Tls
from crossdock.errors import CallError, UnreachableError

ADDRESS_VARIABLE: Final = "CROSSDOCK_ADDRESS"
TOKEN_VARIABLE: Final = "CROSSDOCK_TOKEN_FILE"
CA_VARIABLE: Final = "CROSSDOCK_TLS_CA_FILE"
SYSTEM_AUTHORITIES: Final = "system"

Data = Annotated[
    Path | None,
    typer.Option(
        "--data",
        envvar=DATA_VARIABLE,
        help="Data directory of crossdock dev; default: ~/.crossdock/dev.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Yes = Annotated[
    bool, typer.Option("--yes", help="Write without asking, to a hub that is not crossdock dev's.")
]


@dataclass(frozen=True, slots=True)
class Place:
    """A hub and who we may be there. `workplace` is None when the hub is not our own dev's."""

    address: str
    token_file: Path | None
    tls: Tls | None
    workplace: Workplace | None
    running: Running | None

    def token(self, endpoint: str) -> Path:
        """The token of an endpoint: dev's own, or the one that was named."""
        if self.workplace is not None:
            return self.workplace.token_file(endpoint)
        assert self.token_file is not None
        return self.token_file

    def sandbox(self, name: str) -> SandboxControl:
        """The control port of a sandbox of `crossdock dev`. CommandError: there is none."""
        sandboxes = {} if self.running is None else self.running.sandboxes
        if name not in sandboxes:
            known = ", ".join(sandboxes) or "none: sandboxes belong to crossdock dev"
            raise CommandError(
                f"there is no sandbox {name!r}",
                f"there are: {known}",
                exit_code=EXIT_USED_WRONGLY,
            )
        return SandboxControl(name, sandboxes[name]["control_url"])


def find_place(data: Path | None) -> Place:
    """Where the hub is. CommandError: nothing runs there, or the variables do not fit."""
    address = os.environ.get(ADDRESS_VARIABLE, "")
    if address:
        token_file = os.environ.get(TOKEN_VARIABLE, "")
        if not token_file:
            raise CommandError(
                f"{ADDRESS_VARIABLE} is set, {TOKEN_VARIABLE} is not",
                "every call needs the token of an endpoint",
                f"set {TOKEN_VARIABLE} to a file that holds one",
                EXIT_USED_WRONGLY,
            )
        return Place(address, Path(token_file), _tls(), None, None)
    workplace = Workplace(data or default_directory())
    running = workplace.running()
    if running is None:
        where = "" if data is None else f" --data {shlex.quote(str(workplace.directory))}"
        raise CommandError(
            f"no crossdock dev runs in {workplace.directory}",
            next_step=f"start one in another terminal: crossdock dev{where}; or set "
            f"{ADDRESS_VARIABLE} and {TOKEN_VARIABLE}",
        )
    return Place(running.hub_address, None, None, workplace, running)


@asynccontextmanager
async def open_hub(place: Place, endpoint: str = "operator") -> AsyncIterator[HubClient]:
    """A connection as one endpoint; failed calls become CommandError."""
    with_loopback_direct()
    client = HubClient(place.address, token_file=place.token(endpoint), tls=place.tls)
    try:
        async with client as hub:
            yield hub
    except CallError as error:
        to_reach_it = ""
        if isinstance(error, UnreachableError):
            asked = (place.address, place.tls, CA_VARIABLE)
            to_reach_it = await asyncio.to_thread(what_to_change, *asked)
        raise explained(error, place.address, to_reach_it) from None


def confirm(place: Place, what: str, yes: bool) -> None:
    """Before a write: crossdock dev needs no word; elsewhere ask, or want --yes."""
    if yes or place.workplace is not None:
        return
    if not sys.stdin.isatty():
        raise CommandError(
            f"{what} at {place.address} writes, and there is no terminal to ask",
            next_step="say it with --yes",
            exit_code=EXIT_USED_WRONGLY,
        )
    typer.confirm(f"{what} at {place.address}?", abort=True)


def with_loopback_direct() -> None:
    """Keep a proxy of the environment away from calls that stay on this machine."""
    for name in ("no_proxy", "NO_PROXY"):
        entries = [entry for entry in os.environ.get(name, "").split(",") if entry]
        missing = [host for host in ("127.0.0.1", "localhost") if host not in entries]
        if missing:
            os.environ[name] = ",".join([*entries, *missing])


def _tls() -> Tls | None:
    file = os.environ.get(CA_VARIABLE, "")
    if not file:
        return None
    return Tls() if file == SYSTEM_AUTHORITIES else Tls(ca_file=Path(file))
