"""`crossdock delivery`: one delivery in full, and the operator's word on it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from crossdock.cli.hub_access import Data, Json, Place, Yes, find_place, open_hub
from crossdock.cli.letter_groups import AtEndpoint
from crossdock.cli.many_words import GROUP_DEFAULT, Chosen, Ids, Most, OfGroup, say_to_all
from crossdock.cli.names import (
    attempt_kind,
    attempt_outcome,
    delivery_state,
    hold_reason,
    name_of,
    operator_verb,
)
from crossdock.cli.output import clock, message_json, moment, print_json
from crossdock.client import HubClient
from crossdock.delivery.v1 import (
    delivery_operations_service_pb2,
    delivery_pb2,
    delivery_service_pb2,
    operator_word_pb2,
)
from crossdock.request_ids import new_request_id

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Show one delivery; let it go again, end it, or send it anew.",
)

Id = Annotated[str, typer.Argument(help="Id of the delivery, as crossdock deliveries lists it.")]
Reason = Annotated[str, typer.Option(help="Why; kept and shown.")]
Looked = Annotated[
    bool,
    typer.Option(
        "--not-found-at-vendor",
        help="You looked at the vendor under the delivery's reference, and it is not there.",
    ),
]


@app.command()
def show(delivery_id: Id, as_json: Json = False, data: Data = None) -> None:
    """One delivery with every attempt and what operators said."""
    found = asyncio.run(_read(find_place(data), delivery_id))
    if as_json:
        print_json(message_json(found))
        return
    for line in lines(found):
        typer.echo(line)


@app.command()
def retry(
    reason: Reason,
    delivery_ids: Ids = None,
    group: OfGroup = "",
    endpoint: AtEndpoint = "",
    limit: Most = GROUP_DEFAULT,
    not_found_at_vendor: Looked = False,
    as_json: Json = False,
    yes: Yes = False,
    data: Data = None,
) -> None:
    """Let parked or rejected deliveries go again, under the same reference at the vendor."""

    async def say(hub: HubClient, delivery_id: str) -> Any:
        request = delivery_operations_service_pb2.RetryDeliveryRequest(
            request_id=new_request_id(),
            delivery_id=delivery_id,
            reason=reason,
            not_found_at_vendor=not_found_at_vendor,
        )
        return await hub.delivery_operations.RetryDelivery(request)

    chosen = Chosen(delivery_ids, group, endpoint, limit, not_found_at_vendor)
    say_to_all("retry", chosen, say, as_json, yes, data)


@app.command()
def skip(
    reason: Reason,
    delivery_ids: Ids = None,
    group: OfGroup = "",
    endpoint: AtEndpoint = "",
    limit: Most = GROUP_DEFAULT,
    as_json: Json = False,
    yes: Yes = False,
    data: Data = None,
) -> None:
    """End deliveries without the vendor, so that later work passes."""

    async def say(hub: HubClient, delivery_id: str) -> Any:
        request = delivery_operations_service_pb2.SkipDeliveryRequest(
            request_id=new_request_id(), delivery_id=delivery_id, reason=reason
        )
        return await hub.delivery_operations.SkipDelivery(request)

    say_to_all("skip", Chosen(delivery_ids, group, endpoint, limit), say, as_json, yes, data)


@app.command()
def resubmit(
    reason: Reason,
    delivery_ids: Ids = None,
    group: OfGroup = "",
    endpoint: AtEndpoint = "",
    limit: Most = GROUP_DEFAULT,
    not_found_at_vendor: Looked = False,
    as_json: Json = False,
    yes: Yes = False,
    data: Data = None,
) -> None:
    """Close deliveries, and send each anew with its object as it is now."""

    async def say(hub: HubClient, delivery_id: str) -> Any:
        request = delivery_operations_service_pb2.ResubmitDeliveryRequest(
            request_id=new_request_id(),
            delivery_id=delivery_id,
            reason=reason,
            not_found_at_vendor=not_found_at_vendor,
        )
        return await hub.delivery_operations.ResubmitDelivery(request)

    chosen = Chosen(delivery_ids, group, endpoint, limit, not_found_at_vendor)
    say_to_all("resubmit", chosen, say, as_json, yes, data)


async def _read(place: Place, delivery_id: str) -> delivery_pb2.Delivery:
    async with open_hub(place) as hub:
        request = delivery_service_pb2.GetDeliveryRequest(id=delivery_id)
        return (await hub.deliveries.GetDelivery(request)).delivery


def lines(delivery: delivery_pb2.Delivery) -> Iterator[str]:
    """A delivery for a person, in the order in which one asks."""
    kind = name_of(delivery_pb2.OperationClass, delivery.operation_class).lower()
    where = delivery.endpoint or "nobody"
    yield f"{delivery.operation} at {where}: {delivery_state(delivery.state)}"
    waiting = delivery.waiting_on or hold_reason(delivery.hold_reason)
    if waiting:
        yield f"because       {waiting}"
    yield f"event         {delivery.event_type} of {moment(delivery.create_time)}"
    yield f"object        {delivery.object_id}" + (
        f", item {delivery.item}" if delivery.item else ""
    )
    yield f"class         {kind if delivery.operation_class else '-'}"
    yield f"reference     {delivery.vendor_reference} (the vendor knows it by this)"
    if delivery.trace_id:
        yield f"trace         {delivery.trace_id}"
    for reference in delivery.vendor_references:
        yield f"document      {reference.type} {reference.value}"
    if delivery.superseded_by:
        yield f"superseded by {delivery.superseded_by}"
    if delivery.resubmits:
        yield f"resubmits     {delivery.resubmits}"
    yield from log_lines(delivery)
    for fact in delivery.quarantined:
        yield f"refused fact  {fact.method}: {fact.refusal.message}"
    for word in delivery.operator_words:
        yield word_line(word)


def log_lines(delivery: delivery_pb2.Delivery) -> Iterator[str]:
    """The attempts of a delivery, and how many of them are left out, and where."""
    before = 0
    for attempt in delivery.attempt_log:
        missing = attempt.number - before - 1
        if delivery.attempts_left_out and missing > 0:
            yield f"…             {missing} attempts are left out: the log is long"
        before = max(before, attempt.number)
        yield from attempt_lines(attempt)


def attempt_lines(attempt: delivery_pb2.Attempt) -> Iterator[str]:
    """An attempt from begin to end, with what was sent and came back."""
    kind = attempt_kind(attempt.kind).lower().replace("_", "-")
    why = " ".join(part for part in (attempt.code, attempt.reason) if part)
    end = f" to {clock(attempt.end_time)}" if attempt.HasField("end_time") else ""
    what = f"{moment(attempt.begin_time)}{end} {kind} {attempt_outcome(attempt.outcome)}"
    yield f"attempt {attempt.number:<5} {what} {why}".rstrip()
    if attempt.trace_id:
        yield f"  trace       {attempt.trace_id}"
    if attempt.request_excerpt:
        yield f"  sent        {attempt.request_excerpt}"
    if attempt.response_excerpt:
        yield f"  got         {attempt.response_excerpt}"


def word_line(word: operator_word_pb2.OperatorWord) -> str:
    """Who decided what, when and why."""
    verb = operator_verb(word.verb).lower()
    moved = f"{word.state_before} to {word.state_after}"
    return f"operator      {moment(word.time)} {word.operator}: {verb}, {moved}: {word.reason}"
