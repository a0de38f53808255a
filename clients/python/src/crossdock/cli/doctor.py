"""`crossdock doctor`: what a hub needs, checked from where you sit, and how to fix it."""

from __future__ import annotations

import asyncio
import importlib.util
import platform
import shutil
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Literal

import typer

import crossdock
from crossdock.cli.endpoint import list_endpoints
from crossdock.cli.health import SERVING, health
from crossdock.cli.hub_access import Data, Json, Place, find_place, open_hub
from crossdock.cli.names import delivery_state_numbers, endpoint_state
from crossdock.cli.output import age, painted, print_json
from crossdock.cli.private_files import open_to_others
from crossdock.cli.problems import EXIT_FAILED, CommandError
from crossdock.cli.workplace import Workplace, default_directory
from crossdock.client import HubClient
from crossdock.delivery.v1 import delivery_service_pb2
from crossdock.endpoint.v1 import endpoint_pb2
from crossdock.errors import CallError
from crossdock.hub.v1 import hub_service_pb2

app = typer.Typer(add_completion=False, help="Check what a hub needs, and how to fix it.")

OLDEST_PYTHON: Final = (3, 11)
LEAST_FREE_BYTES: Final = 1 << 30
SILENT: Final = timedelta(seconds=60)
STUCK: Final = timedelta(minutes=10)
SKEW: Final = timedelta(seconds=2)
BUS_SERVICE: Final = "bus"
ANSWER_SECONDS: Final = 5.0
LISTED: Final = 200
DIFFERENCE_SHOWN: Final = timedelta(days=7)
NEXT_STEPS: Final = {
    "DATABASE_OLDER": "ask the systems to report again what they said since the back-up was made",
    "BUS_OLDER": "nothing: what the bus lacks is published again",
    "OTHER_DATABASE": "check CROSSDOCK_NATS_URL and the data directory: did they belong together?",
    "STREAM_LOST": "nothing: it is filled again; look at the bus's disk and its log",
    "STRANGE_MESSAGES": "forbid others to publish to crossdock.v1.event.> and crossdock.v1.scan.>",
}

Result = Literal["ok", "warning", "wrong"]
_COLOURS: Final = {"ok": "green", "warning": "yellow", "wrong": "red"}


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at: what was found, and what to do where it is not well."""

    name: str
    result: Result
    found: str
    fix: str = ""


@app.command()
def doctor(as_json: Json = False, data: Data = None) -> None:
    """Check everything that can be seen from here. Exit 1: something is wrong."""
    checks = asyncio.run(_all(data))
    if as_json:
        print_json([
            {"name": each.name, "result": each.result, "found": each.found, "fix": each.fix}
            for each in checks
        ])  # fmt: skip
    else:
        width = max(len(each.name) for each in checks)
        for each in checks:
            word = painted(f"{each.result:<8}", _COLOURS[each.result])
            typer.echo(f"{word} {each.name.ljust(width)}  {each.found}")
            if each.fix:
                typer.echo(f"{'':8} {'':{width}}  fix: {each.fix}")
    if any(each.result == "wrong" for each in checks):
        raise typer.Exit(EXIT_FAILED)


async def _all(data: Path | None) -> list[Check]:
    workplace = Workplace(data or default_directory())
    checks = [*machine_checks(), *file_checks(workplace)]
    try:
        place = find_place(data)
    except CommandError as error:
        return [*checks, Check("hub", "wrong", error.what, error.next_step)]
    try:
        async with open_hub(place) as hub:
            status = await _status(hub)
            checks += [check async for check in _hub_checks(place, hub, status)]
            checks += difference_checks(status, datetime.now(UTC)) if status else ()
            checks += expiry_checks(status, datetime.now(UTC)) if status else ()
            endpoints = await list_endpoints(hub)
            checks += list(endpoint_checks(endpoints, datetime.now(UTC)))
            checks.append(await _stuck(hub))
    except CommandError as error:
        checks.append(Check("hub", "wrong", f"{error.what}: {error.why}", error.next_step))
    checks += [check async for check in _sandbox_checks(place)]
    return checks


def machine_checks() -> Iterator[Check]:
    """Python, packages, disk."""
    version = platform.python_version()
    if sys.version_info >= OLDEST_PYTHON:
        yield Check("python", "ok", version)
    else:
        yield Check("python", "wrong", version, "install Python 3.11 or newer")
    for package in ("crossdock_hub", "crossdock_adapters"):
        name = package.replace("_", "-")
        if importlib.util.find_spec(package) is None:
            yield Check(name, "warning", "not installed", f"pip install {name}, for crossdock dev")
        else:
            yield Check(name, "ok", "installed")
    free = shutil.disk_usage(Path.home()).free
    found = f"{free >> 20} MiB free at home"
    if free < LEAST_FREE_BYTES:
        yield Check("disk", "warning", found, "free some: the bus stops storing on a full disk")
    else:
        yield Check("disk", "ok", found)


def file_checks(workplace: Workplace) -> Iterator[Check]:
    """That nobody else can read tokens and secrets."""
    if not workplace.directory.exists():
        yield Check("data", "ok", f"{workplace.directory} does not exist yet")
        return
    yield Check("data", "ok", str(workplace.directory))
    yield _ports(workplace)
    files = [
        workplace.endpoints_file,
        *(workplace.directory / "tokens").glob("*"),
        *(workplace.directory / "secrets").glob("*"),
    ]
    loose = [path for path in files if path.exists() and open_to_others(path)]
    if loose:
        names = " ".join(str(path) for path in loose)
        yield Check("file modes", "wrong", f"{len(loose)} open to others", f"chmod 600 {names}")
    else:
        yield Check("file modes", "ok", "tokens and secrets are readable by you only")


def _ports(workplace: Workplace) -> Check:
    taken = workplace.taken_ports()
    if workplace.running() is not None:
        return Check("ports", "ok", f"{len(taken)} in use by the crossdock dev that runs here")
    if taken:
        found = f"somebody else listens on {', '.join(taken)}"
        return Check("ports", "warning", found, "none needed: crossdock dev takes others")
    return Check("ports", "ok", "those of the last run are free")


async def _hub_checks(
    place: Place, hub: HubClient, status: hub_service_pb2.GetHubStatusResponse | None
) -> AsyncIterator[Check]:
    started = time.monotonic()
    state = await health(hub.channel, "", ANSWER_SECONDS)
    milliseconds = (time.monotonic() - started) * 1000
    if state == SERVING:
        yield Check("hub", "ok", f"{place.address} serves, answered in {milliseconds:.0f} ms")
    else:
        yield Check("hub", "wrong", f"{place.address} is {state}", "read the hub's log")
    yield bus_check(await health(hub.channel, BUS_SERVICE, ANSWER_SECONDS), status)
    for check in lead_checks(status) if status is not None else ():
        yield check


def bus_check(state: str, status: hub_service_pb2.GetHubStatusResponse | None) -> Check:
    """The bus, by its health and by what the hub tells of it, where it does."""
    if state == SERVING:
        return Check("nats", "ok", "the hub reaches it, and every endpoint has its queue")
    if state == "SERVICE_UNKNOWN":
        return Check("nats", "warning", "this hub does not tell", "read the hub's metrics")
    if status is not None and status.bus_ok and status.leads:
        return Check(
            "nats",
            "wrong",
            f"{state}: this hub lacks it, and accepts and stores; hubs that have it do the rest",
            "see why this hub does not reach NATS; its log says more",
        )
    why = "nothing goes out" if status is None or status.bus_ok else status.bus_reason
    return Check(
        "nats",
        "wrong",
        f"{state}: the hub accepts and stores; {why}",
        'docs/operations.md, "The bus is down"; the hub\'s log says more',
    )


def lead_checks(status: hub_service_pb2.GetHubStatusResponse) -> Iterator[Check]:
    """Which of several hubs leads what, and which of them lacks the bus for that."""
    for each in status.leads:
        name = f"lead of {each.task}"
        if not each.offered:
            yield Check(name, "ok", each.address)
            continue
        yield Check(
            name,
            "warning",
            f"{each.address} lacks NATS, and no other hub has taken it over",
            "see why that hub, and each other one, does not reach NATS",
        )


def expiry_checks(status: hub_service_pb2.GetHubStatusResponse, now: datetime) -> Iterator[Check]:
    """When the hub's certificate, and its credentials at NATS, end."""
    for each in status.expiries:
        ends = each.expire_time.ToDatetime(UTC)
        found = f"{each.setting} ends {ends:%Y-%m-%d %H:%M} UTC, in {(ends - now).days} days"
        fix = "renew the file, and restart the hub where that is its certificate"
        if now >= ends:
            found = f"{each.setting} ended {ends:%Y-%m-%d %H:%M} UTC"
        result: Result = "wrong" if now >= ends else "warning" if each.soon else "ok"
        yield Check("expiry", result, found, "" if result == "ok" else fix)


async def _status(hub: HubClient) -> hub_service_pb2.GetHubStatusResponse | None:
    """How the hub says it is; a hub that is older does not tell."""
    try:
        return await hub.hub.GetHubStatus(hub_service_pb2.GetHubStatusRequest())
    except CallError:
        return None


def difference_checks(
    status: hub_service_pb2.GetHubStatusResponse, now: datetime
) -> Iterator[Check]:
    """Differences that were found in the last days and that nobody has acknowledged."""
    recent = [
        each
        for each in status.differences
        if not each.acknowledged and now - each.last_time.ToDatetime(UTC) < DIFFERENCE_SHOWN
    ]
    for each in recent:
        when = each.last_time.ToDatetime(UTC).strftime("%Y-%m-%d %H:%M UTC")
        kind = hub_service_pb2.DifferenceKind.Name(each.kind).removeprefix("DIFFERENCE_KIND_")
        told = f"{each.sentence} ({kind}, {each.count}, last {when})"
        rest = f"then: crossdock differences acknowledge {kind} --reason …"
        yield Check("bus and database", "warning", told, f"{NEXT_STEPS.get(kind, '')}; {rest}")
    if not recent:
        yield Check("bus and database", "ok", "they hold the same, or what differed was seen")


def endpoint_checks(endpoints: list[endpoint_pb2.Endpoint], now: datetime) -> Iterator[Check]:
    """Heartbeats, contract versions, pauses, clocks. now: this machine's clock, UTC."""
    for each in endpoints:
        if not each.HasField("manifest"):
            continue
        yield _endpoint_check(each, now)
        version = each.manifest.contract_version
        if version and version != crossdock.__version__:
            yield Check(
                f"contract of {each.id}",
                "warning",
                f"{version}, here {crossdock.__version__}",
                "bring adapter and command line to one version",
            )
    heard = [each.heartbeat_time.ToDatetime(tzinfo=UTC) for each in endpoints]
    ahead = max((moment - now for moment in heard), default=timedelta())
    if ahead > SKEW:
        yield Check(
            "clock",
            "warning",
            f"the hub's clock is {ahead.total_seconds():.0f} s ahead of this one",
            "run a time daemon on both machines",
        )
    else:
        yield Check("clock", "ok", "the hub's clock is not ahead of this one")


def _endpoint_check(endpoint: endpoint_pb2.Endpoint, now: datetime) -> Check:
    name = f"endpoint {endpoint.id}"
    if endpoint.state == endpoint_pb2.ENDPOINT_STATE_REMOVED:
        found = "not in the hub's endpoints file any more"
        if not endpoint.queue_depth:
            return Check(name, "ok", found)
        found += f"; {endpoint.queue_depth} deliveries there are not settled"
        look = f"crossdock dead-letters list --endpoint {endpoint.id}"
        return Check(name, "warning", found, look)
    silent = now - endpoint.heartbeat_time.ToDatetime(tzinfo=UTC)
    if silent > SILENT:
        found = f"not heard of for {age(endpoint.heartbeat_time, now)}"
        return Check(name, "wrong", found, "start its adapter, or read its log")
    if endpoint.trouble:
        return Check(name, "wrong", endpoint.trouble, "see the vendor, or the adapter's settings")
    if endpoint.state == endpoint_pb2.ENDPOINT_STATE_PAUSED:
        found = f"paused by {endpoint.paused_by}: {endpoint.pause_reason}"
        return Check(name, "warning", found, f"crossdock endpoint resume {endpoint.id}")
    if endpoint.queue_depth and now - endpoint.oldest_time.ToDatetime(tzinfo=UTC) > STUCK:
        found = f"{endpoint.queue_depth} wait, the oldest for {age(endpoint.oldest_time, now)}"
        return Check(name, "warning", found, f"crossdock deliveries --endpoint {endpoint.id}")
    return Check(name, "ok", f"{endpoint_state(endpoint.state).lower()}, heartbeat is fresh")


async def _stuck(hub: HubClient) -> Check:
    """Deliveries that nobody but a person moves."""
    request = delivery_service_pb2.ListDeliveriesRequest(page_size=LISTED)
    wanted = delivery_state_numbers(["parked", "unrouted", "rejected"])
    request.states.extend(wanted)  # type: ignore[arg-type]
    answer = await hub.deliveries.ListDeliveries(request)
    count = len(answer.deliveries)
    if not count:
        return Check("deliveries", "ok", "none needs a person")
    more = " or more" if answer.next_page_token else ""
    return Check(
        "deliveries",
        "warning",
        f"{count}{more} parked, rejected or without an endpoint",
        "crossdock deliveries --state parked --state rejected --state unrouted",
    )


async def _sandbox_checks(place: Place) -> AsyncIterator[Check]:
    for name in {} if place.running is None else place.running.sandboxes:
        try:
            sandbox = place.sandbox(name)
            found = await sandbox.health()
            faults = await sandbox.faults()
        except CommandError as error:
            yield Check(f"sandbox {name}", "wrong", error.what, "read the log of the sandboxes")
            continue
        if faults:
            kinds = ", ".join(str(each["kind"]) for each in faults)
            fix = f"crossdock sandbox clear {name}"
            yield Check(f"sandbox {name}", "warning", f"misbehaves: {kinds}", fix)
        else:
            yield Check(f"sandbox {name}", "ok", f"{found['vendor_url']} behaves")
