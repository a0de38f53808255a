"""`crossdock endpoint`: who is connected, how it is, and whether it gets work."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from crossdock.cli.hub_access import Data, Json, Place, Yes, confirm, find_place, open_hub
from crossdock.cli.names import endpoint_state, name_of, role
from crossdock.cli.output import age, cell, duration, message_json, moment, print_json, print_table
from crossdock.cli.pages import print_page
from crossdock.client import HubClient
from crossdock.delivery.v1 import delivery_pb2
from crossdock.endpoint.v1 import endpoint_pb2, endpoint_service_pb2
from crossdock.options.v1 import options_pb2
from crossdock.request_ids import new_request_id

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="List, show, pause and resume endpoints; see how their queues drain.",
)

PAGE = 500
Name = Annotated[str, typer.Argument(help="Id of the endpoint, for example netsuite.")]


@app.command("list")
def list_(as_json: Json = False, data: Data = None) -> None:
    """All endpoints: state, what waits there, and since when."""
    found = asyncio.run(_read_all(find_place(data)))
    if as_json:
        print_page("endpoints", found, "")
        return
    rows = [
        (
            each.id,
            role(each.role),
            endpoint_state(each.state),
            str(each.queue_depth),
            age(each.oldest_time),
            str(each.in_use),
            str(each.in_doubt),
            str(each.parked),
            age(each.heartbeat_time),
            cell(each.trouble or each.pause_reason),
        )
        for each in found
    ]
    print_table(
        (
            "ENDPOINT",
            "ROLE",
            "STATE",
            "QUEUE",
            "OLDEST",
            "IN USE",
            "IN DOUBT",
            "PARKED",
            "HEARD",
            "TROUBLE",
        ),
        rows,
    )


@app.command()
def show(name: Name, as_json: Json = False, data: Data = None) -> None:
    """One endpoint with its manifest."""
    found = asyncio.run(_read(find_place(data), name))
    if as_json:
        print_json(message_json(found))
        return
    for line in _lines(found):
        typer.echo(line)


@app.command()
def status(
    name: Annotated[str, typer.Argument(help="Id of one endpoint; without it: all.")] = "",
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Whether calls go out: breaker, what is allowed now, queue by urgency, time to drain."""
    place = find_place(data)
    found = [asyncio.run(_read(place, name))] if name else asyncio.run(_read_all(place))
    if as_json:
        print_page("endpoints", found, "")
        return
    print_table(
        (
            "ENDPOINT",
            "STATE",
            "BREAKER",
            "ALLOWED",
            "QUEUE",
            "IN DOUBT",
            "PARKED",
            "OLDEST",
            "DRAINS IN",
            "WHY",
        ),
        [status_row(each) for each in found],
    )


@app.command()
def pause(
    name: Name,
    reason: Annotated[str, typer.Option(help="Why; kept and shown.")],
    as_json: Json = False,
    yes: Yes = False,
    data: Data = None,
) -> None:
    """Stop dispatching to an endpoint; its work waits in order."""
    place = find_place(data)
    confirm(place, f"pause {name}", yes)
    _show_changed(asyncio.run(_pause(place, name, reason)), "paused", as_json)


@app.command()
def resume(
    name: Name,
    reason: Annotated[str, typer.Option(help="Why; kept and shown.")] = "",
    as_json: Json = False,
    yes: Yes = False,
    data: Data = None,
) -> None:
    """Dispatch to an endpoint again."""
    place = find_place(data)
    confirm(place, f"resume {name}", yes)
    _show_changed(asyncio.run(_resume(place, name, reason)), "resumed", as_json)


async def list_endpoints(hub: HubClient) -> list[endpoint_pb2.Endpoint]:
    """Every endpoint that the hub knows."""
    found: list[endpoint_pb2.Endpoint] = []
    request = endpoint_service_pb2.ListEndpointsRequest(page_size=PAGE)
    while True:
        page = await hub.endpoints.ListEndpoints(request)
        found.extend(page.endpoints)
        request.page_token = page.next_page_token
        if not page.next_page_token:
            return found


async def _read_all(place: Place) -> list[endpoint_pb2.Endpoint]:
    async with open_hub(place) as hub:
        return await list_endpoints(hub)


async def _read(place: Place, name: str) -> endpoint_pb2.Endpoint:
    async with open_hub(place) as hub:
        return await _shown(hub, name)


async def _shown(hub: HubClient, name: str) -> endpoint_pb2.Endpoint:
    """With what waits there, which the answers to a pause and its end do not count."""
    request = endpoint_service_pb2.GetEndpointRequest(id=name)
    return (await hub.endpoints.GetEndpoint(request)).endpoint


async def _pause(place: Place, name: str, reason: str) -> endpoint_pb2.Endpoint:
    async with open_hub(place) as hub:
        request = endpoint_service_pb2.PauseEndpointRequest(
            request_id=new_request_id(), endpoint=name, reason=reason
        )
        await hub.endpoints.PauseEndpoint(request)
        return await _shown(hub, name)


async def _resume(place: Place, name: str, reason: str) -> endpoint_pb2.Endpoint:
    async with open_hub(place) as hub:
        request = endpoint_service_pb2.ResumeEndpointRequest(
            request_id=new_request_id(), endpoint=name, reason=reason
        )
        await hub.endpoints.ResumeEndpoint(request)
        return await _shown(hub, name)


def _show_changed(endpoint: endpoint_pb2.Endpoint, what: str, as_json: bool) -> None:
    if as_json:
        print_json(message_json(endpoint))
    else:
        typer.echo(f"{endpoint.id} {what}; {endpoint.queue_depth} deliveries wait there")


def status_row(endpoint: endpoint_pb2.Endpoint) -> tuple[str, ...]:
    """One line of `endpoint status`."""
    breaker = endpoint.breaker
    why = breaker.reason or endpoint.trouble or endpoint.pause_reason
    if endpoint.HasField("throttled_until"):
        why = f"the vendor asks to wait until {moment(endpoint.throttled_until)}"
    return (
        endpoint.id,
        endpoint_state(endpoint.state),
        name_of(endpoint_pb2.BreakerState, breaker.state).lower(),
        _allowed(endpoint),
        _queue(endpoint),
        str(endpoint.in_doubt),
        str(endpoint.parked),
        age(endpoint.oldest_time),
        _drains_in(endpoint),
        cell(why),
    )


def _allowed(endpoint: endpoint_pb2.Endpoint) -> str:
    """For example "3 at once, 10.00/s"."""
    rate = endpoint.effective_rate_per_second
    return f"{endpoint.effective_concurrency} at once" + (f", {rate}/s" if rate else "")


def _queue(endpoint: endpoint_pb2.Endpoint) -> str:
    """For example "120 (real_time 3, scheduled 80, replays 9)": what may go now, by urgency."""
    lanes = [f"{_lane_name(lane)} {lane.waiting}" for lane in endpoint.lanes]
    return f"{endpoint.queue_depth}" + (f" ({', '.join(lanes)})" if lanes else "")


def _lane_name(lane: endpoint_pb2.Lane) -> str:
    if lane.replays:
        return "replays"
    return name_of(options_pb2.LatencyClass, lane.latency_class).lower()


def _drains_in(endpoint: endpoint_pb2.Endpoint) -> str:
    if not endpoint.HasField("time_to_drain"):
        return "unknown"
    return duration(endpoint.time_to_drain.ToTimedelta())


def _lines(endpoint: endpoint_pb2.Endpoint) -> list[str]:
    manifest = endpoint.manifest
    lines = [
        f"{endpoint.id}: {role(endpoint.role)}, {endpoint_state(endpoint.state)}",
        f"adapter       {manifest.adapter or '-'} {manifest.adapter_version}",
        f"contract      {manifest.contract_version or '-'}",
        f"owner         {manifest.owner or '-'}",
        f"heard of      {moment(endpoint.heartbeat_time)}",
        f"progress      {moment(endpoint.progress_time)}",
        f"queue         {endpoint.queue_depth}, oldest {age(endpoint.oldest_time)}",
        f"budget        {endpoint.in_use} of {_allowed(endpoint)} in use",
        f"breaker       {name_of(endpoint_pb2.BreakerState, endpoint.breaker.state).lower()}",
        f"drains in     {_drains_in(endpoint)}",
        f"in doubt      {endpoint.in_doubt}",
        f"parked        {endpoint.parked}",
        f"trouble       {endpoint.trouble or '-'}",
    ]
    if endpoint.pause_reason:
        lines.append(f"paused        by {endpoint.paused_by}: {endpoint.pause_reason}")
    for operation in manifest.operations:
        kind = name_of(delivery_pb2.OperationClass, operation.operation_class).lower()
        lines.append(f"operation     {operation.name} ({kind})")
    return lines
