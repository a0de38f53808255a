"""`crossdock differences`: what bus and database did not have in common, and letting it rest."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import typer

from crossdock.cli.delivery import Reason, word_line
from crossdock.cli.hub_access import Data, Json, Place, Yes, confirm, find_place, open_hub
from crossdock.cli.output import message_json, moment, print_json
from crossdock.cli.pages import print_page
from crossdock.cli.problems import CommandError
from crossdock.hub.v1 import hub_service_pb2
from crossdock.request_ids import new_request_id

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="What bus and database did not have in common.",
)

PREFIX = "DIFFERENCE_KIND_"
Kind = Annotated[str, typer.Argument(help="Kind, as differences list shows it.")]


@app.command("list")
def list_(as_json: Json = False, data: Data = None) -> None:
    """Everything that was found, the newest first, with what was said about it."""
    found = asyncio.run(_list(find_place(data)))
    if as_json:
        print_page("differences", found, "")
        return
    if not found:
        typer.echo("bus and database hold the same")
    for each in found:
        _show(each)


@app.command()
def acknowledge(
    kind: Kind, reason: Reason, as_json: Json = False, yes: Yes = False, data: Data = None
) -> None:
    """Let a difference rest that was looked at; it is open again when it recurs."""
    place = find_place(data)
    confirm(place, f"acknowledge {kind.upper()}", yes)
    answer = asyncio.run(_acknowledge(place, kind.upper(), reason))
    if as_json:
        print_json(message_json(answer.difference))
    else:
        _show(answer.difference)


def kind_of(difference: hub_service_pb2.Difference) -> str:
    """The kind as a person types it."""
    name: str = hub_service_pb2.DifferenceKind.Name(difference.kind)
    return name.removeprefix(PREFIX)


def _show(each: hub_service_pb2.Difference) -> None:
    state = "acknowledged" if each.acknowledged else "open"
    typer.echo(f"{kind_of(each)}: {each.sentence}")
    seen = f"{moment(each.first_time)} to {moment(each.last_time)}"
    typer.echo(f"  {state}, {each.count} found, {seen}")
    for word in each.words:
        typer.echo(f"  {word_line(word)}")


async def _list(place: Place) -> list[hub_service_pb2.Difference]:
    async with open_hub(place) as hub:
        status = await hub.hub.GetHubStatus(hub_service_pb2.GetHubStatusRequest())
        return list(status.differences)


async def _acknowledge(place: Place, kind: str, reason: str) -> Any:
    found = {kind_of(each): each for each in await _list(place)}
    if kind not in found:
        known = ", ".join(sorted(found)) or "none"
        raise CommandError(
            f"there is no difference {kind}",
            f"those that were found: {known}",
            "crossdock differences list shows them",
        )
    async with open_hub(place) as hub:
        request = hub_service_pb2.AcknowledgeDifferenceRequest(
            request_id=new_request_id(),
            kind=found[kind].kind,
            last_time=found[kind].last_time,
            reason=reason,
        )
        return await hub.hub.AcknowledgeDifference(request)
