"""`crossdock posted`: what the vendors got for an object, every attempt, and how often."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Final

import typer

from crossdock.cli.delivery import log_lines, word_line
from crossdock.cli.hub_access import Data, Json, Place, find_place, open_hub
from crossdock.cli.names import delivery_state, name_of
from crossdock.cli.output import moment, painted
from crossdock.cli.pages import print_page
from crossdock.cli.problems import EXIT_FAILED, EXIT_POSTED_TWICE, EXIT_WAITING
from crossdock.cli.progress import ProgressLine
from crossdock.client import HubClient
from crossdock.delivery.v1 import delivery_pb2
from crossdock.lineage.v1 import lineage_service_pb2, posting_pb2

app = typer.Typer(add_completion=False, help="What the vendors got for an object, and how often.")

PAGE: Final = 100
MAXIMUM_PAGES: Final = 100
# The worst first: what a whole answer exits with.
EXIT_CODES: Final = {
    posting_pb2.POSTING_VERDICT_POSTED_TWICE: EXIT_POSTED_TWICE,
    posting_pb2.POSTING_VERDICT_MAY_BE_TWICE: EXIT_POSTED_TWICE,
    posting_pb2.POSTING_VERDICT_IN_DOUBT: EXIT_WAITING,
    posting_pb2.POSTING_VERDICT_PENDING: EXIT_WAITING,
    posting_pb2.POSTING_VERDICT_NOT_POSTED: EXIT_FAILED,
}
_COLOURS: Final = {
    posting_pb2.POSTING_VERDICT_POSTED_ONCE: "green",
    posting_pb2.POSTING_VERDICT_REPEATED: "green",
    posting_pb2.POSTING_VERDICT_PENDING: "yellow",
    posting_pb2.POSTING_VERDICT_NOT_POSTED: "yellow",
}
_INDENT: Final = "  "


@app.command()
def posted(
    any_id: Annotated[
        str,
        typer.Argument(help="Order, shipment, tracking or document number; any id of any system."),
    ],
    endpoint: Annotated[str, typer.Option(help="Only at this endpoint.")] = "",
    attempts: Annotated[
        bool, typer.Option("--attempts", help="Each attempt with what was sent and came back.")
    ] = False,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Say of each operation whether it was posted, how often, and as what. Looking changes nothing.

    Exit 0: everything once; 1: something is not posted; 3: posted twice, or may be; 4: nobody
    knows, or not yet, or there is more than one question tells.
    """
    found = asyncio.run(_read(find_place(data), any_id, endpoint))
    if as_json:
        print_page(
            "postings",
            found.postings,
            found.next_page_token,
            matched_as=found.matched_as,
            truncated=found.truncated,
        )
    else:
        typer.echo(f"{any_id} is {found.matched_as}")
        if not found.postings and not found.truncated:
            typer.echo("no endpoint had anything to do for it")
        for posting in found.postings:
            for line in lines(posting, attempts):
                typer.echo(line)
        if found.truncated:
            typer.echo(
                "… there are more deliveries than the hub looks at in one question, so this is not "
                "all; ask for one object, such as a shipment or a parcel"
            )
        if found.next_page_token:
            typer.echo("… and more than are shown; ask with --endpoint, or for an object of it")
    code = exit_code(found.postings, bool(found.truncated or found.next_page_token))
    if code:
        raise typer.Exit(code)


def exit_code(postings: Sequence[posting_pb2.Posting], more: bool = False) -> int:
    """What the worst verdict among them ends the command with. more: not all is told, so that
    nobody knows of the rest."""
    verdicts = {posting.verdict for posting in postings}
    worst = next((code for verdict, code in EXIT_CODES.items() if verdict in verdicts), 0)
    return worst or (EXIT_WAITING if more else 0)


async def _read(
    place: Place, any_id: str, endpoint: str
) -> lineage_service_pb2.ListPostingsResponse:
    async with open_hub(place) as hub:
        return await read_postings(hub, any_id, endpoint, quiet=False)


async def read_postings(
    hub: HubClient, any_id: str, endpoint: str = "", quiet: bool = True
) -> lineage_service_pb2.ListPostingsResponse:
    """All pages as one. quiet: show no progress, else on a terminal only."""
    request = lineage_service_pb2.ListPostingsRequest(id=any_id, endpoint=endpoint, page_size=PAGE)
    whole = await hub.lineage.ListPostings(request)
    progress = ProgressLine(quiet, beside_result=True)
    for _ in range(MAXIMUM_PAGES):
        if not whole.next_page_token:
            break
        progress.show(f"{len(whole.postings):,} operations read")
        request.page_token = whole.next_page_token
        page = await hub.lineage.ListPostings(request)
        whole.postings.extend(page.postings)
        whole.next_page_token = page.next_page_token
    progress.end()
    return whole


def lines(posting: posting_pb2.Posting, attempts: bool) -> Iterator[str]:
    """One intent for a person: the verdict, then its deliveries; attempts: with each of them."""
    about = f"{posting.object_kind} {posting.object_id}"
    item = f", item {posting.item}" if posting.item else ""
    colour = _COLOURS.get(posting.verdict, "red")
    yield ""
    yield f"{posting.operation} at {posting.endpoint or 'nobody'} for {about}{item}"
    yield _INDENT + painted(posting.sentence, colour)
    for doubt in posting.doubts:
        settled = name_of(posting_pb2.DoubtSettlement, doubt.settlement)
        word = "open" if not doubt.settlement else settled.lower().replace("_", " ")
        call = f"call {doubt.attempt}" if doubt.attempt else "a call"
        yield f"{_INDENT}doubt         {call} of {moment(doubt.begin_time)}: {word}: {doubt.words}"
    if attempts or len(posting.deliveries) > 1:
        for delivery in posting.deliveries:
            yield from _delivery_lines(delivery, attempts)


def _delivery_lines(delivery: delivery_pb2.Delivery, attempts: bool) -> Iterator[str]:
    documents = ", ".join(f"{each.type} {each.value}" for each in delivery.vendor_references)
    what = f"{delivery_state(delivery.state)}{f' as {documents}' if documents else ''}"
    yield f"{_INDENT}delivery {delivery.id} {way_of(delivery)}: {what}"
    if not attempts:
        return
    inner = _INDENT * 2
    yield f"{inner}reference     {delivery.vendor_reference} (the vendor knows it by this)"
    yield f"{inner}dispatched    {delivery.dispatch_number} times"
    for each in delivery.duplicates:
        yield f"{inner}held as well  {each.type} {each.value}"
    yield from (inner + line for line in log_lines(delivery))
    yield from (inner + word_line(word) for word in delivery.operator_words)


def way_of(delivery: Any) -> str:
    """What made a delivery: the event, a replay, or an operator's resubmission."""
    if delivery.replay_id:
        return f"by replay {delivery.replay_id}"
    if delivery.resubmits:
        return f"resubmitted for {delivery.resubmits}"
    return f"by event {delivery.event_id}"
