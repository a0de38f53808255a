"""`crossdock dev`: hub, NATS, sandboxes and adapters in one terminal, until Ctrl-C."""

from __future__ import annotations

import asyncio
import shlex
import signal
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Final

import typer

from crossdock.cli.installation import Installation
from crossdock.cli.network import NETWORKS, Network, NetworkName
from crossdock.cli.network.vendor import SandboxPace
from crossdock.cli.output import print_json_line, print_table
from crossdock.cli.processes import Say
from crossdock.cli.workplace import DATA_VARIABLE, Workplace, default_directory
from crossdock.ending import end_tasks

app = typer.Typer(add_completion=False, help="Hub, NATS, sandboxes and adapters until Ctrl-C.")

WATCH_SECONDS: Final = 1.0
DEFAULT_PACE_SECONDS: Final = 0.5


@app.command()
def dev(
    data: Annotated[
        Path | None,
        typer.Option("--data", envvar=DATA_VARIABLE, help="Default: ~/.crossdock/dev."),
    ] = None,
    fresh: Annotated[bool, typer.Option(help="Forget everything kept there first.")] = False,
    pace: Annotated[
        float,
        typer.Option(min=0.01, max=60, help="Seconds between steps of warehouse and parcels."),
    ] = DEFAULT_PACE_SECONDS,
    network: Annotated[
        NetworkName | None,
        typer.Option(help="Which vendors. Default: as the last time there; small at first."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document a line.")] = False,
) -> None:
    """Start everything, show what runs where, end it all on Ctrl-C, and keep the data.

    The simulated vendors keep their books too; after a crash of this command they begin with empty
    ones. Exit 1: it could not start; the message says why.
    """
    workplace = Workplace(
        data or default_directory(), None if network is None else NETWORKS[network]
    )
    workplace.lock()
    try:
        if fresh:
            workplace.wipe()
        steps = SandboxPace(floor_seconds=pace, handover_seconds=3 * pace, scan_seconds=pace)
        asyncio.run(_dev(workplace, steps, as_json))
    finally:
        workplace.unlock()


async def _dev(workplace: Workplace, pace: SandboxPace, as_json: bool) -> None:
    def say(text: str) -> None:
        if as_json:
            print_json_line({"said": text})
        else:
            typer.echo(f"{time.strftime('%H:%M:%S')}  {text}")

    installation = Installation(workplace, pace, say)
    stopping = _stop_on_signals(installation)
    starting = asyncio.create_task(installation.start())
    stop = asyncio.create_task(stopping.wait())
    try:
        await asyncio.wait({starting, stop}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
            _show(installation, as_json)
            await _watch(installation, stopping, say)
    finally:
        await end_tasks([starting, stop])
        say("ending; the data stays")
        await installation.stop()


def _stop_on_signals(installation: Installation) -> asyncio.Event:
    """Set by Ctrl-C, SIGTERM or SIGHUP; a second one ends the children at once."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()

    def stop() -> None:
        if stopping.is_set():
            installation.kill()
        stopping.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop)
    return stopping


async def _watch(installation: Installation, stopping: asyncio.Event, say: Say) -> None:
    """Say when an endpoint stops or starts serving, until the end."""
    before = _states(installation)
    while not stopping.is_set():
        try:
            async with asyncio.timeout(WATCH_SECONDS):
                await stopping.wait()
        except TimeoutError:
            pass
        now = _states(installation)
        for endpoint, state in now.items():
            if before.get(endpoint) != state:
                say(f"{endpoint} is {state}")
        before = now


def _states(installation: Installation) -> Mapping[str, str]:
    document = installation.adapters.document() or {}
    return {name: each["state"] for name, each in document.get("endpoints", {}).items()}


def _show(installation: Installation, as_json: bool) -> None:
    workplace, urls = installation.workplace, installation.sandbox_urls
    states = _states(installation)
    serving = sum(state == "serving" for state in states.values())
    found = installation.master_data
    if as_json:
        print_json_line({
            "data": str(workplace.directory),
            "hub": installation.address,
            "network": workplace.network.name,
            "nats": installation.hub_document["nats_url"],
            "sandboxes": urls,
            "adapters_serving": serving,
            "adapters": len(states),
            "ready_seconds": round(installation.ready_seconds, 2),
        })  # fmt: skip
        return
    metrics = installation.hub_document.get("metrics_port")
    rows = [
        ("hub", installation.address, f"metrics http://127.0.0.1:{metrics}/metrics"),
        ("nats", str(installation.hub_document["nats_url"]), "a child of the hub"),
        *(
            (vendor, urls[vendor]["vendor_url"], f"books {urls[vendor]['control_url']}/books")
            for vendor in workplace.network.vendor_ids
        ),
        ("adapters", f"{serving}/{len(states)} serving", ", ".join(sorted(states))),
        ("data", str(workplace.directory), f"logs in {workplace.directory / 'log'}"),
    ]
    print_table(("WHAT", "WHERE", ""), rows)
    typer.echo(
        f"{found.items} items, {found.customers} customers, {found.locations} locations known; "
        f"ready in {installation.ready_seconds:.1f} s"
    )
    named = f" --data {shlex.quote(str(workplace.directory))}"
    option = "" if workplace.directory == default_directory() else named
    typer.echo(f"next, in another terminal: crossdock trigger order --follow{option}")
    for line in more_steps(workplace.network, option):
        typer.echo(line)


def more_steps(network: Network, option: str) -> Iterator[str]:
    """What to type to see each part of a network at work."""
    codes = [each.carrier_code for each in network.carrier_accounts]
    if len(codes) > 1:
        yield f"  for one carrier: crossdock trigger order --carrier {codes[-1]} --follow{option}"
        yield f"    carriers: {', '.join(codes)}"
    units = [
        f"{unit} ({vendor.endpoint})"
        for vendor in network.vendors
        if vendor.role == "ERP"
        for unit in vendor.scope.get("business_units", ())
    ]
    if units:
        unit = units[-1].partition(" ")[0]
        yield f"  for one ERP: crossdock trigger order --business-unit {unit} --follow{option}"
        yield f"    business units: {', '.join(units)}"
    for vendor in network.vendors:
        if vendor.first_command:
            yield f"  from {vendor.endpoint}: crossdock {vendor.first_command}{option}"
    if units:
        yield f"  then: crossdock trace NUMBER{option}, with any number of any system"
