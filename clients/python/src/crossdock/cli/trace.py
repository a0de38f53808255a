"""`crossdock trace`: any id of any system leads to the whole chain; the verdict comes first."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Annotated, Final

import typer

from crossdock.cli.hub_access import Data, Json, Place, find_place, open_hub
from crossdock.cli.names import (
    attempt_kind,
    attempt_outcome,
    delivery_state,
    milestone,
    operator_verb,
    verdict,
)
from crossdock.cli.output import cell, clock, message_json, moment, painted, print_json, print_table
from crossdock.cli.problems import EXIT_FAILED, EXIT_POSTED_TWICE, EXIT_WAITING
from crossdock.delivery.v1 import delivery_pb2
from crossdock.lineage.v1 import lineage_pb2, lineage_service_pb2

app = typer.Typer(add_completion=False, help="The whole chain from any id, and the verdict.")

EXIT_CODES: Final = {
    lineage_pb2.VERDICT_POSTED_TWICE: EXIT_POSTED_TWICE,
    lineage_pb2.VERDICT_WAITING: EXIT_WAITING,
    lineage_pb2.VERDICT_IN_DOUBT: EXIT_WAITING,
    lineage_pb2.VERDICT_REFUSED: EXIT_FAILED,
    lineage_pb2.VERDICT_NEEDS_PERSON: EXIT_FAILED,
}
SHOWN_SCANS: Final = 12
_COLOURS: Final = {
    lineage_pb2.VERDICT_COMPLETE: "green",
    lineage_pb2.VERDICT_CANCELLED: "green",
    lineage_pb2.VERDICT_UNDER_WAY: "blue",
    lineage_pb2.VERDICT_WAITING: "yellow",
    lineage_pb2.VERDICT_IN_DOUBT: "yellow",
}


@app.command()
def trace(
    any_id: Annotated[
        str,
        typer.Argument(help="Order, shipment, tracking or document number; any id; a trace id."),
    ],
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Print the chain. Exit 0: complete, cancelled or under way; 1: refused, or needs a person;
    3: posted twice; 4: waiting, or in doubt.
    """
    lineage = asyncio.run(_trace(find_place(data), any_id))
    if as_json:
        print_json(message_json(lineage))
    else:
        for line in told(lineage):
            typer.echo(line)
        _tables(lineage)
    code = EXIT_CODES.get(lineage.verdict, 0)
    if code:
        raise typer.Exit(code)


async def _trace(place: Place, any_id: str) -> lineage_pb2.Lineage:
    async with open_hub(place) as hub:
        answer = await hub.lineage.Trace(lineage_service_pb2.TraceRequest(id=any_id))
        return answer.lineage


def told(lineage: lineage_pb2.Lineage) -> Iterator[str]:
    """The verdict and the chain of objects, in lines."""
    word = verdict(lineage.verdict).lower().replace("_", " ")
    sentence = lineage.sentence or word
    yield painted(sentence, _COLOURS.get(lineage.verdict, "red"))
    yield f"verdict: {word}; {lineage.query} is {lineage.matched_as or 'known'}"
    if lineage.trace_id:
        yield f"trace id: {lineage.trace_id}"
    yield ""
    yield from chain(lineage)
    yield from _held(lineage)


def chain(lineage: lineage_pb2.Lineage) -> Iterator[str]:
    """Every object below the one it refers to, each once."""
    nodes = {node.id: node for node in lineage.nodes}
    below: dict[str, list[lineage_pb2.Node]] = {}
    tops: list[lineage_pb2.Node] = []
    for node in lineage.nodes:
        # The youngest of the objects it names is its place: a label below its shipment.
        parents = [each for each in node.refers_to if each in nodes and each != node.id]
        if parents:
            below.setdefault(parents[-1], []).append(node)
        else:
            tops.append(node)
    seen: set[str] = set()

    def lines(node: lineage_pb2.Node, depth: int) -> Iterator[str]:
        if node.id in seen:
            return
        seen.add(node.id)
        yield _node_line(node, depth)
        for child in below.get(node.id, ()):
            yield from lines(child, depth + 1)

    for node in [*tops, *lineage.nodes]:
        yield from lines(node, 0)


def _node_line(node: lineage_pb2.Node, depth: int) -> str:
    keys = ", ".join(f"{each.system} {each.type} {each.value}" for each in node.references)
    parts = [node.kind, node.number or node.id, node.state]
    line = "  " * depth + " ".join(part for part in parts if part)
    return f"{line}  ({keys})" if keys else line


def _held(lineage: lineage_pb2.Lineage) -> Iterator[str]:
    """What names the chain and is not written yet, with what would help."""
    for fact in lineage.held_facts:
        yield ""
        yield (
            f"held since {moment(fact.create_time)}: {fact.method.rpartition('/')[2]} of "
            f"{fact.endpoint} waits for {fact.awaits or 'a person'} (held fact {fact.id})"
        )
        yield f"  {fact.refusal.message}"
        if not fact.awaits:
            yield f"  crossdock dead-letters drive {fact.id} --reason …, or discard it"


def _tables(lineage: lineage_pb2.Lineage) -> None:
    if lineage.deliveries:
        typer.echo("")
        print_table(
            ("WHEN", "ENDPOINT", "OPERATION", "STATE", "ATTEMPTS", "RESULT"),
            [row for delivery in lineage.deliveries for row in _delivery_rows(delivery)],
        )
    posted = [each for each in lineage.postings if each.confirmed]
    if posted:
        typer.echo("")
        rows = [
            (each.endpoint, each.operation, str(each.confirmed), _references(each))
            for each in posted
        ]
        print_table(("ENDPOINT", "OPERATION", "TIMES", "DOCUMENTS"), rows)
    if lineage.scans:
        typer.echo("")
        rows_of_scans = [
            (
                moment(each.event_time),
                each.tracking_number,
                milestone(each.milestone),
                cell(each.exception_reason),
            )
            for each in lineage.scans[-SHOWN_SCANS:]
        ]
        print_table(("SCANNED", "PARCEL", "MILESTONE", "REASON"), rows_of_scans)
        hidden = len(lineage.scans) - SHOWN_SCANS
        if hidden > 0:
            typer.echo(f"… and {hidden} earlier scans (--json shows them)")


def _delivery_rows(delivery: delivery_pb2.Delivery) -> Iterator[tuple[str, ...]]:
    result = _references(delivery) or cell(delivery.waiting_on)
    yield (
        clock(delivery.create_time),
        delivery.endpoint or "nobody",
        delivery.operation,
        delivery_state(delivery.state),
        str(len(delivery.attempt_log) + delivery.attempts_left_out or delivery.attempts),
        result,
    )
    for word in delivery.operator_words:
        what = f"  operator {word.operator}"
        said = f"{word.change}: {word.reason}"
        yield (clock(word.time), "", what, operator_verb(word.verb), "", cell(said))
    # One plain success needs no line of its own.
    attempts = list(delivery.attempt_log)
    if len(attempts) == 1 and attempts[0].outcome == delivery_pb2.ATTEMPT_OUTCOME_CONFIRMED:
        return
    for attempt in attempts:
        kind = attempt_kind(attempt.kind).lower().replace("_", "-")
        why = " ".join(part for part in (attempt.code, attempt.reason) if part)
        what = f"  {attempt.number}. {kind}"
        outcome = attempt_outcome(attempt.outcome)
        yield (clock(attempt.begin_time), "", what, outcome, "", cell(why))


def _references(holder: delivery_pb2.Delivery | lineage_pb2.PostingCount) -> str:
    return ", ".join(f"{each.type} {each.value}" for each in holder.vendor_references)
