"""`crossdock tail`: events and deliveries as they happen, one line each."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import typer

from crossdock.cli.hub_access import Data, Json, Place, find_place, open_hub
from crossdock.cli.names import delivery_state, hold_reason
from crossdock.cli.output import cell, clock, message_json, painted, print_json_line
from crossdock.errors import DeadlineError
from crossdock.lineage.v1 import lineage_service_pb2

app = typer.Typer(add_completion=False, help="Events and deliveries as they happen.")

MAXIMUM_BACKLOG = 1000
_COLOURS = {
    "CONFIRMED": "green",
    "REJECTED": "red",
    "PARKED": "red",
    "UNROUTED": "red",
    "UNKNOWN": "yellow",
    "RESOLVING": "yellow",
    "HELD": "yellow",
}


@app.command()
def tail(
    endpoint: Annotated[str, typer.Option(help="Only this endpoint's deliveries.")] = "",
    about: Annotated[str, typer.Option(help="Only this order, by hub id.")] = "",
    backlog: Annotated[
        int, typer.Option(min=0, max=MAXIMUM_BACKLOG, help="Also the last so many entries.")
    ] = 0,
    count: Annotated[int, typer.Option(min=0, help="End after so many entries; 0: never.")] = 0,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Follow the hub until Ctrl-C; --json prints one document a line."""
    place = find_place(data)
    request = lineage_service_pb2.TailRequest(
        correlation_id=about, endpoint=endpoint, backlog=backlog
    )
    try:
        asyncio.run(_tail(place, request, count, as_json))
    except KeyboardInterrupt:
        return


async def _tail(
    place: Place, request: lineage_service_pb2.TailRequest, count: int, as_json: bool
) -> None:
    seen = 0
    async with open_hub(place) as hub:
        while True:
            try:
                async for entry in hub.lineage.Tail(request):
                    if as_json:
                        print_json_line(entry_json(entry))
                    else:
                        typer.echo(entry_line(entry))
                    seen += 1
                    if count and seen >= count:
                        return
            except DeadlineError:
                # A stream has a deadline like every call; the next one goes on from now.
                request.backlog = 0


def entry_json(entry: lineage_service_pb2.TailResponse) -> dict[str, Any]:
    """An entry as JSON-able data, sensitive fields masked."""
    return message_json(entry)


def entry_line(entry: lineage_service_pb2.TailResponse) -> str:
    """An entry as one line."""
    kind = entry.WhichOneof("entry")
    if kind == "event":
        event = entry.event
        what = f"{event.stem:<28} by {event.producer}"
        return f"{clock(event.record_time)}  event     {what}  {event.object_id}"
    if kind == "delivery":
        delivery = entry.delivery
        state = delivery_state(delivery.state)
        found = ", ".join(f"{each.type} {each.value}" for each in delivery.vendor_references)
        waiting = delivery.waiting_on or hold_reason(delivery.hold_reason)
        rest = found or (cell(waiting) if waiting else "")
        what = f"{delivery.endpoint} {delivery.operation}"
        shown = painted(state, _COLOURS.get(state, "white"))
        return f"{clock(delivery.update_time)}  delivery  {what:<28} {shown}  {rest}".rstrip()
    return f"{'-':<13}  dropped   {entry.dropped} entries: this reader was too slow"
