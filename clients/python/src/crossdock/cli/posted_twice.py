"""`crossdock posted-twice`: what a range of the ledger posted twice, may have, or nobody knows."""

from __future__ import annotations

import asyncio
from typing import Annotated, Final

import typer

from crossdock.cli.hub_access import Data, Json, Place, find_place, open_hub
from crossdock.cli.names import name_of
from crossdock.cli.output import clock, moment, print_table
from crossdock.cli.pages import PageToken, print_page, say_more
from crossdock.cli.posted import exit_code
from crossdock.cli.progress import ProgressLine
from crossdock.cli.times import time_of
from crossdock.lineage.v1 import lineage_service_pb2, posting_pb2

app = typer.Typer(add_completion=False, help="What was posted twice, or may have been.")

PAGE: Final = 100
MAXIMUM_LIMIT: Final = 10_000


@app.command("posted-twice")
def posted_twice(
    endpoint: Annotated[str, typer.Option(help="Only at this endpoint.")] = "",
    since: Annotated[
        str, typer.Option(help="Events recorded since: 2h, 3d (ago), or 2026-01-31T10:00Z.")
    ] = "7d",
    until: Annotated[str, typer.Option(help="Events recorded before: the same forms.")] = "",
    event: Annotated[
        list[str] | None, typer.Option(help="Event, such as shipment.manifested; repeatable.")
    ] = None,
    settled: Annotated[
        bool, typer.Option("--settled", help="Also doubts that were settled, and by what.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, max=MAXIMUM_LIMIT, help="At most so many.")] = 100,
    page_token: PageToken = "",
    as_json: Json = False,
    data: Data = None,
) -> None:
    """List what was posted twice, may have been, or nobody knows, newest first.

    Exit 0: nothing of that; 3: something was posted twice, or may have been; 4: something is in
    doubt, or the range was not read to its end: --limit was reached.
    """
    request = lineage_service_pb2.ListDoubtfulPostingsRequest(
        endpoint=endpoint,
        event_types=event or [],
        with_settled_doubts=settled,
        page_token=page_token,
    )
    # A page token holds for one range: told with it, an age is the moment that it was.
    span: dict[str, str] = {}
    for name, text in (("since", since), ("until", until)):
        if text:
            time = time_of(text, f"--{name}")
            getattr(request, name).FromDatetime(time)
            span[name] = time.isoformat()
    found = asyncio.run(_read(find_place(data), request, limit))
    if as_json:
        token = found.next_page_token
        print_page("postings", found.postings, token, examined=found.examined, **span)
    else:
        _show(found, span)
    code = exit_code(found.postings, bool(found.next_page_token))
    if code:
        raise typer.Exit(code)


async def _read(
    place: Place,
    request: lineage_service_pb2.ListDoubtfulPostingsRequest,
    limit: int,
) -> lineage_service_pb2.ListDoubtfulPostingsResponse:
    """Page by page to the beginning of the range, or to the limit."""
    whole = lineage_service_pb2.ListDoubtfulPostingsResponse()
    progress = ProgressLine(beside_result=True)
    async with open_hub(place) as hub:
        while True:
            request.page_size = min(PAGE, limit - len(whole.postings))
            page = await hub.lineage.ListDoubtfulPostings(request)
            whole.postings.extend(page.postings)
            whole.examined += page.examined
            if page.HasField("examined_since"):
                whole.examined_since.CopyFrom(page.examined_since)
            whole.next_page_token = request.page_token = page.next_page_token
            if not page.next_page_token or len(whole.postings) >= limit:
                break
            back = moment(whole.examined_since)
            progress.show(f"{whole.examined:,} deliveries looked at, back to {back}")
    progress.end()
    return whole


def _show(found: lineage_service_pb2.ListDoubtfulPostingsResponse, span: dict[str, str]) -> None:
    rows = [
        (
            clock(each.deliveries[-1].create_time),
            name_of(posting_pb2.PostingVerdict, each.verdict),
            each.endpoint,
            each.operation,
            each.object_id,
            each.sentence,
        )
        for each in found.postings
    ]
    if rows:
        print_table(("WHEN", "VERDICT", "ENDPOINT", "OPERATION", "OBJECT", "WHAT"), rows)
    looked = f"{found.examined} deliveries were looked at"
    back = f", back to {moment(found.examined_since)}" if found.examined else ""
    typer.echo(f"{len(rows)} found; {looked}{back}")
    say_more(found.next_page_token, *(f"--{name} {time}" for name, time in span.items()))
    if rows:
        typer.echo("every attempt of one: crossdock posted OBJECT --attempts")
