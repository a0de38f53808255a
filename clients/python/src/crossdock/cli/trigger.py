"""`crossdock trigger`: place orders as the OMS does, through the hub's front door."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Annotated

import typer

from crossdock.cli.following import FOLLOW_SECONDS, follow
from crossdock.cli.hub_access import Data, Json, Place, Yes, confirm, find_place, open_hub
from crossdock.cli.orders import (
    OMS,
    Outbox,
    PlacedOrder,
    narrowed,
    outbox_directory,
    place_orders,
    read_catalogue,
)
from crossdock.cli.output import print_json
from crossdock.cli.tracing import begin_tracing

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Place orders as the OMS does.")

MAXIMUM_ORDERS = 10_000
SHOWN_ORDERS = 10


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which orders: so many, drawn from a seed, for a carrier and a business unit (empty: any); or
    a batch again."""

    count: int
    seed: int
    carrier_code: str
    business_unit: str
    again: str


@app.callback()
def _group() -> None:
    """A group, so that more than orders can be triggered one day."""


@app.command()
def order(
    count: Annotated[int, typer.Option(min=1, max=MAXIMUM_ORDERS, help="How many.")] = 1,
    rate: Annotated[float, typer.Option(min=0, help="Per second; 0: as fast as they go.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Another seed draws other orders.")] = 1,
    carrier: Annotated[str, typer.Option(help="For this carrier alone, by its code.")] = "",
    business_unit: Annotated[str, typer.Option(help="Of this business unit alone.")] = "",
    again: Annotated[str, typer.Option(help="Send this batch again, with the same ids.")] = "",
    follow_up: Annotated[
        bool, typer.Option("--follow", help="Show what happens until they are delivered.")
    ] = False,
    timeout: Annotated[
        float, typer.Option(min=1, help="Give up following after so many seconds.")
    ] = FOLLOW_SECONDS,
    as_json: Json = False,
    yes: Yes = False,
    data: Data = None,
) -> None:
    """Create, approve and release orders drawn from the hub's master data.

    Every order is in the outbox before it is sent, and its request ids follow from its number:
    --again BATCH repeats safely. Exit 4: followed, and not delivered in time.
    """
    place = find_place(data)
    confirm(place, f"place {count} orders", yes)
    end_tracing = begin_tracing("crossdock-oms")
    try:
        wanted = Wanted(count, seed, carrier, business_unit, again)
        asyncio.run(_order(place, wanted, rate, follow_up, timeout, as_json))
    finally:
        end_tracing()


async def _order(
    place: Place,
    wanted: Wanted,
    rate: float,
    follow_up: bool,
    timeout_seconds: float,
    as_json: bool,
) -> None:
    outbox = Outbox(outbox_directory(place.workplace.directory if place.workplace else None))
    async with open_hub(place, OMS) as hub:
        if wanted.again:
            name, orders = wanted.again, outbox.read(wanted.again)
        else:
            catalogue = await read_catalogue(hub)
            catalogue = narrowed(catalogue, wanted.carrier_code, wanted.business_unit)
            name, orders = outbox.draw(wanted.count, catalogue, wanted.seed)
        placed = await place_orders(hub, orders, rate)
    if as_json:
        print_json({"batch": name, "orders": [_plain(each) for each in placed]})
    else:
        for each in placed[:SHOWN_ORDERS]:
            typer.echo(f"{each.number}  {each.id}  released")
        if len(placed) > SHOWN_ORDERS:
            typer.echo(f"… and {len(placed) - SHOWN_ORDERS} more, to {placed[-1].number}")
        typer.echo(f"{len(placed)} orders released ({name})")
    if follow_up:
        await follow(place, placed, timeout_seconds, as_json)
    elif not as_json:
        typer.echo(f"next: crossdock trace {placed[0].number}")


def _plain(order: PlacedOrder) -> dict[str, object]:
    return {
        "id": order.id,
        "number": order.number,
        "fulfillment_request_ids": list(order.fulfillment_request_ids),
    }
