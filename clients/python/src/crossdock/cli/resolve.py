"""`crossdock resolve`: a person found a delivery done at the vendor, and says with which number."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from crossdock.cli.delivery import Id, Reason
from crossdock.cli.hub_access import Data, Json, Place, Yes, confirm, find_place, open_hub
from crossdock.cli.many_words import told
from crossdock.cli.output import message_json, print_json
from crossdock.cli.problems import EXIT_USED_WRONGLY, CommandError
from crossdock.delivery.v1 import delivery_operations_service_pb2
from crossdock.request_ids import new_request_id

app = typer.Typer(add_completion=False, help="Confirm a delivery by hand.")


@app.command()
def resolve(
    delivery_id: Id,
    reference: Annotated[
        list[str],
        typer.Option(help="type=value as the adapter calls it: sales_order=SO-7; may be repeated."),
    ],
    reason: Reason,
    as_json: Json = False,
    yes: Yes = False,
    data: Data = None,
) -> None:
    """Confirm a delivery with the document that you found at the vendor, or made there by hand."""
    request = delivery_operations_service_pb2.ResolveDeliveryRequest(
        request_id=new_request_id(), delivery_id=delivery_id, reason=reason
    )
    for text in reference:
        kind, separator, value = text.partition("=")
        if not (separator and kind and value):
            raise CommandError(
                f"--reference {text!r} is not type=value",
                next_step="for example --reference sales_order=SO-7",
                exit_code=EXIT_USED_WRONGLY,
            )
        request.references.add(type=kind.strip(), value=value.strip())
    place = find_place(data)
    confirm(place, f"resolve {delivery_id} with {', '.join(reference)}", yes)
    answer = asyncio.run(_resolve(place, request))
    if as_json:
        print_json(message_json(answer))
    else:
        typer.echo(told(answer))


async def _resolve(
    place: Place, request: delivery_operations_service_pb2.ResolveDeliveryRequest
) -> delivery_operations_service_pb2.ResolveDeliveryResponse:
    async with open_hub(place) as hub:
        return await hub.delivery_operations.ResolveDelivery(request)
