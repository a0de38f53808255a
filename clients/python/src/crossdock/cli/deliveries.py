"""`crossdock deliveries`: what endpoints have to do, from the ledger."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from crossdock.cli.hub_access import Data, Json, Place, find_place, open_hub
from crossdock.cli.names import delivery_state, delivery_state_numbers, hold_reason
from crossdock.cli.output import age, cell, print_table
from crossdock.cli.pages import PageToken, print_page, say_more
from crossdock.cli.progress import ProgressLine
from crossdock.client import HubClient
from crossdock.delivery.v1 import delivery_pb2, delivery_service_pb2

app = typer.Typer(add_completion=False, help="List what endpoints have to do.")

PAGE = 500
MAXIMUM_LIMIT = 100_000


@app.command()
def deliveries(
    endpoint: Annotated[str, typer.Option(help="Only this endpoint.")] = "",
    state: Annotated[
        list[str] | None, typer.Option(help="Only this state, such as parked; may be repeated.")
    ] = None,
    operation: Annotated[str, typer.Option(help="Only this operation.")] = "",
    about: Annotated[str, typer.Option(help="Only about this object or flow, by hub id.")] = "",
    quarantined: Annotated[
        bool, typer.Option("--quarantined", help="Only those with facts that the hub refused.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, max=MAXIMUM_LIMIT, help="At most so many.")] = 50,
    page_token: PageToken = "",
    as_json: Json = False,
    data: Data = None,
) -> None:
    """List deliveries, newest first. Looking changes nothing."""
    request = delivery_service_pb2.ListDeliveriesRequest(
        endpoint=endpoint,
        operation=operation,
        object_id=about,
        newest_first=True,
        page_token=page_token,
        with_attempts=as_json,
        quarantined_only=quarantined,
    )
    # Not in the constructor: the stubs want the enumeration's own type there.
    request.states.extend(delivery_state_numbers(state or []))  # type: ignore[arg-type]
    asyncio.run(_deliveries(find_place(data), request, limit, as_json))


async def _deliveries(
    place: Place,
    request: delivery_service_pb2.ListDeliveriesRequest,
    limit: int,
    as_json: bool,
) -> None:
    async with open_hub(place) as hub:
        found, following = await list_deliveries(hub, request, limit, quiet=False)
    if as_json:
        print_page("deliveries", found, following)
        return
    if not found:
        typer.echo(_nothing(request))
        return
    rows = [
        (
            age(each.create_time),
            each.endpoint or "nobody",
            each.operation,
            delivery_state(each.state),
            str(each.attempts),
            each.id,
            _result(each),
        )
        for each in found
    ]
    print_table(("AGE", "ENDPOINT", "OPERATION", "STATE", "CALLS", "ID", "RESULT"), rows)
    say_more(following)
    if any(each.quarantined for each in found):
        typer.echo("which facts were refused, and why: crossdock delivery show ID")


def _nothing(request: delivery_service_pb2.ListDeliveriesRequest) -> str:
    if request.page_token:
        return "no more deliveries"
    narrowed = request.endpoint or request.operation or request.object_id or request.states
    if request.quarantined_only and not narrowed:
        return "no deliveries with facts that the hub refused"
    if narrowed:
        return "no deliveries like that; without filters, crossdock deliveries lists all"
    return "no deliveries; crossdock trigger order makes some"


async def list_deliveries(
    hub: HubClient,
    request: delivery_service_pb2.ListDeliveriesRequest,
    limit: int,
    quiet: bool = True,
) -> tuple[list[delivery_pb2.Delivery], str]:
    """From the request's page on up to the limit, and the token of what follows; "" for nothing.

    quiet: show no progress, else on a terminal only.
    """
    found: list[delivery_pb2.Delivery] = []
    progress = ProgressLine(quiet, beside_result=True)
    while True:
        request.page_size = min(PAGE, limit - len(found))
        page = await hub.deliveries.ListDeliveries(request)
        found.extend(page.deliveries)
        request.page_token = page.next_page_token
        if not page.next_page_token or len(found) >= limit:
            progress.end()
            return found, page.next_page_token
        progress.show(f"{len(found):,} deliveries read, {limit:,} at most")


def _result(delivery: delivery_pb2.Delivery) -> str:
    references = ", ".join(f"{each.type} {each.value}" for each in delivery.vendor_references)
    waiting = delivery.waiting_on or hold_reason(delivery.hold_reason)
    parts = [references or cell(waiting)] if references or waiting else []
    if delivery.quarantined:
        refused = len(delivery.quarantined)
        # First: what a narrow terminal cuts off is not seen.
        parts.insert(0, f"{refused} refused fact{'s' if refused > 1 else ''}")
    return "; ".join(parts) or cell("")
