"""`crossdock dead-letters`: what stopped, grouped by cause; who looks after it; what came in."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from crossdock.cli.delivery import Reason, word_line
from crossdock.cli.delivery import lines as delivery_lines
from crossdock.cli.hub_access import Data, Json, Place, Yes, confirm, find_place, open_hub
from crossdock.cli.letter_groups import NAMED, AtEndpoint, full_id
from crossdock.cli.many_words import GROUP_DEFAULT, GROUP_MAX
from crossdock.cli.names import name_of
from crossdock.cli.output import age, cell, message_json, moment, print_json, print_table
from crossdock.cli.pages import PageToken, print_page, say_more
from crossdock.dead_letter.v1 import dead_letter_pb2, dead_letter_service_pb2
from crossdock.delivery.v1 import delivery_pb2
from crossdock.endpoint.v1 import held_fact_pb2
from crossdock.request_ids import new_request_id

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="What stopped and waits for a person."
)

PAGE = 500
MEMBERS_MAX = 100
COLUMNS = (
    *("GROUP", "KIND", "STATE", "ENDPOINT", "WHAT", "OPEN", "UNDER WAY", "FIRST", "LAST", "WHO"),
    "WHY",
)
Group = Annotated[str, typer.Argument(help="Id of the group, as dead-letters list shows it.")]
Fact = Annotated[str, typer.Argument(help="Id of the held fact, as dead-letters show tells it.")]


@app.command("list")
def list_(
    endpoint: Annotated[str, typer.Option(help="Only of this endpoint.")] = "",
    closed: Annotated[bool, typer.Option("--closed", help="With groups that are closed.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=PAGE, help="Groups at most.")] = 100,
    page_token: PageToken = "",
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Groups by cause, open ones first, the newest first. Looking changes nothing."""
    request = dead_letter_service_pb2.ListDeadLettersRequest(
        page_size=limit, endpoint=endpoint, include_closed=closed, page_token=page_token
    )
    answer = asyncio.run(_list(find_place(data), request))
    if as_json:
        print_page("groups", answer.groups, answer.next_page_token, truncated=answer.truncated)
        return
    if not answer.groups and answer.truncated:
        typer.echo("no such group in the newest that were read, and there are more: --endpoint E")
        return
    if not answer.groups:
        typer.echo("no dead letters" if closed else "no dead letters; --closed shows the history")
        return
    rows = [
        (
            group.id[:8],
            _kind(group),
            _state(group),
            group.endpoint or "nobody",
            group.operation.rpartition("/")[2],
            str(group.open_count),
            str(group.under_way_count),
            age(group.first_time),
            age(group.last_time),
            group.assignee or "-",
            cell(_why(group)),
        )
        for group in answer.groups
    ]
    print_table(COLUMNS, rows)
    say_more(answer.next_page_token)
    if answer.truncated:
        typer.echo("… only the newest letters are counted; there are more than the hub looks at")
    typer.echo("what one carries, every attempt, and what to do: crossdock dead-letters show GROUP")


@app.command()
def show(
    group: Group,
    endpoint: AtEndpoint = "",
    limit: Annotated[int, typer.Option(min=1, max=MEMBERS_MAX, help="Members at most.")] = 20,
    page_token: PageToken = "",
    as_json: Json = False,
    data: Data = None,
) -> None:
    """One group with its newest members: what each carries, every attempt, what people said."""
    request = dead_letter_service_pb2.GetDeadLettersRequest(
        group_id=group, page_size=limit, page_token=page_token
    )
    answer = asyncio.run(_show(find_place(data), request, endpoint))
    if as_json:
        print_json(message_json(answer))
        return
    for line in told(answer):
        typer.echo(line)
    say_more(answer.next_page_token)
    for line in next_steps(answer):
        typer.echo(line)


@app.command()
def acknowledge(
    group: Group,
    note: Annotated[str, typer.Option(help="What you say about it; kept and shown.")],
    assignee: Annotated[str, typer.Option(help="Who looks after it; default: you.")] = "",
    endpoint: AtEndpoint = "",
    as_json: Json = False,
    yes: Yes = False,
    data: Data = None,
) -> None:
    """Say who looks after a group; it opens again when another one comes."""
    place = find_place(data)
    confirm(place, f"acknowledge {group}", yes)
    answer = asyncio.run(_acknowledge(place, group, endpoint, assignee, note))
    if as_json:
        print_json(message_json(answer))
    else:
        typer.echo(f"{answer.group_id} is with {answer.assignee}")


@app.command()
def drive(
    fact: Fact, reason: Reason, as_json: Json = False, yes: Yes = False, data: Data = None
) -> None:
    """Decide a held fact again, whatever it waits for; a payload is given to its adapter again."""
    place = find_place(data)
    confirm(place, f"drive {fact}", yes)
    _show_fact(asyncio.run(_drive(place, fact, reason)), as_json)


@app.command()
def discard(
    fact: Fact, reason: Reason, as_json: Json = False, yes: Yes = False, data: Data = None
) -> None:
    """End a held fact or payload without writing it; it is kept."""
    place = find_place(data)
    confirm(place, f"discard {fact}", yes)
    _show_fact(asyncio.run(_discard(place, fact, reason)), as_json)


def told(answer: dead_letter_service_pb2.GetDeadLettersResponse) -> Iterator[str]:
    """A group and its members, for a person."""
    group = answer.group
    yield f"{_kind(group)} {group.operation} at {group.endpoint or 'nobody'}: {_why(group)}"
    yield f"group         {group.id}, {_state(group)}: {_counts(group)}"
    yield f"stopped       {moment(group.first_time)} to {moment(group.last_time)}"
    if group.HasField("close_time"):
        yield f"closed        {moment(group.close_time)}, {_settled(group)}"
    if group.acknowledged_by:
        again = "; it came back since" if group.reopened else ""
        yield f"with          {group.assignee} ({group.acknowledged_by}): {group.note}{again}"
    for member in answer.members:
        yield ""
        if member.HasField("delivery"):
            yield f"id            {member.delivery.id}"
            yield f"stands        {_stands(member)}"
            yield from delivery_lines(member.delivery)
        else:
            yield f"id            {member.held_fact.id}"
            yield f"stands        {_stands(member)}"
            yield f"refused       {member.held_fact.refusal.message}"
            yield f"waits for     {member.held_fact.awaits or 'a person'}"
            yield from map(word_line, member.operator_words)
        yield f"carries       {member.content_json}"


def next_steps(answer: dead_letter_service_pb2.GetDeadLettersResponse) -> Iterator[str]:
    """What a person may type about the members of a group, once the cause is mended."""
    group = answer.group
    if group.open_count == group.under_way_count:
        return
    yield ""
    if _kind(group) in ("HELD_FACT", "HELD_PAYLOAD"):
        yield "next: crossdock dead-letters drive ID --reason …, or discard ID --reason …"
        return
    if _kind(group) == "UNROUTED":
        yield "next: have an endpoint offer it; or crossdock delivery skip ID --reason …"
        return
    waiting = [each for each in answer.members if _waits(each)]
    if _kind(group) == "UNKNOWN" or any(each.in_doubt for each in waiting):
        # Neither a retry on a word alone nor a replay goes past a doubt that nobody can settle.
        yield "next: look at the vendor under the delivery's reference"
        yield "      it is there: crossdock resolve ID --reference TYPE=VALUE --reason …"
        yield (
            "      it is not: crossdock delivery retry ID --not-found-at-vendor --reason … "
            "(or resubmit)"
        )
        yield "      nobody wants it any more: crossdock delivery skip ID --reason …"
        return
    if not waiting:
        # Whether those are in doubt, this page does not say.
        yield "next: none of these waits for a person; the next page, or --limit, shows who does"
        return
    yield "next: crossdock delivery retry ID --reason … (or resubmit, skip)"
    yield "      done at the vendor: crossdock resolve ID --reference TYPE=VALUE --reason …"
    if any(each.delivery.hold_reason == delivery_pb2.HOLD_REASON_SPENDING for each in waiting):
        # A replay is no way around the spending guard.
        words = _all_of(group)
        yield f"      nobody wants them: crossdock delivery skip {words} --reason …"
        yield f"      each is wanted: crossdock delivery retry {words} --reason …"
    else:
        yield f"      all at once: crossdock replay plan --group {group.id}"


def _waits(member: dead_letter_pb2.DeadLetter) -> bool:
    return member.standing == dead_letter_pb2.DEAD_LETTER_STANDING_STOPPED


def _all_of(group: dead_letter_pb2.DeadLetterGroup) -> str:
    """The options that choose all that waits of a group, as many as one command takes."""
    waiting = group.open_count - group.under_way_count
    limit = f" --limit {min(waiting, GROUP_MAX)}" if waiting > GROUP_DEFAULT else ""
    return f"--group {group.id}{limit}"


def _kind(group: dead_letter_pb2.DeadLetterGroup) -> str:
    return name_of(dead_letter_pb2.DeadLetterKind, group.kind)


def _state(group: dead_letter_pb2.DeadLetterGroup) -> str:
    return name_of(dead_letter_pb2.DeadLetterState, group.state)


def _why(group: dead_letter_pb2.DeadLetterGroup) -> str:
    """Code and reason, and where in what came in the newest one failed."""
    place = f"at {group.place}:" if group.place else ""
    return " ".join(part for part in (group.code, place, group.reason) if part)


def _counts(group: dead_letter_pb2.DeadLetterGroup) -> str:
    going = f" ({group.under_way_count} under way again)" if group.under_way_count else ""
    return f"{group.open_count} open{going}, {group.closed_count} settled"


def _stands(member: dead_letter_pb2.DeadLetter) -> str:
    """Where a member is now, in words."""
    standing = name_of(dead_letter_pb2.DeadLetterStanding, member.standing)
    own = member.carrier_id in ("", member.delivery.id)
    which = "" if own else f" as {member.carrier_id}"
    if standing == "SETTLED":
        return f"settled {moment(member.settle_time)}, {_settled(member)}"
    if standing == "UNDER_WAY":
        return f"under way again{which} since {moment(member.leave_time)}"
    if standing == "STOPPED_AGAIN":
        return f"went again{which} and stopped for another cause; it is in that group too"
    return f"waits since {moment(member.stop_time)}"


def _settled(message: Any) -> str:
    """What settled a member, or the last one of a group, in words."""
    how = name_of(dead_letter_pb2.DeadLetterSettlement, message.settlement)
    words = {
        "CONFIRMED": "{} was confirmed",
        "SKIPPED": "an operator ended {}",
        "SUPERSEDED": "it had become pointless before anything reached the vendor",
        "APPLIED": "written: {}",
        "DISCARDED": "{} discarded it",
    }
    return words.get(how, how).format(message.settled_by)


def _show_fact(answer: Any, as_json: bool) -> None:
    if as_json:
        print_json(message_json(answer))
        return
    state = name_of(held_fact_pb2.HeldFactState, answer.held_fact.state)
    still = f": {answer.held_fact.refusal.message}" if state == "HELD" else ""
    typer.echo(f"{answer.held_fact.id} is {state}: {answer.word.change}{still}")


async def _list(
    place: Place, request: dead_letter_service_pb2.ListDeadLettersRequest
) -> dead_letter_service_pb2.ListDeadLettersResponse:
    async with open_hub(place) as hub:
        return await hub.dead_letters.ListDeadLetters(request)


async def _show(
    place: Place, request: dead_letter_service_pb2.GetDeadLettersRequest, endpoint: str
) -> dead_letter_service_pb2.GetDeadLettersResponse:
    async with open_hub(place) as hub:
        request.group_id = await full_id(hub, request.group_id, endpoint, NAMED)
        return await hub.dead_letters.GetDeadLetters(request)


async def _acknowledge(place: Place, group: str, endpoint: str, assignee: str, note: str) -> Any:
    async with open_hub(place) as hub:
        request = dead_letter_service_pb2.AcknowledgeDeadLettersRequest(
            request_id=new_request_id(),
            group_id=await full_id(hub, group, endpoint, NAMED),
            assignee=assignee,
            note=note,
        )
        return await hub.dead_letters.AcknowledgeDeadLetters(request)


async def _drive(place: Place, fact: str, reason: str) -> Any:
    async with open_hub(place) as hub:
        request = dead_letter_service_pb2.DriveHeldFactRequest(
            request_id=new_request_id(), held_fact_id=fact, reason=reason
        )
        return await hub.dead_letters.DriveHeldFact(request)


async def _discard(place: Place, fact: str, reason: str) -> Any:
    async with open_hub(place) as hub:
        request = dead_letter_service_pb2.DiscardHeldFactRequest(
            request_id=new_request_id(), held_fact_id=fact, reason=reason
        )
        return await hub.dead_letters.DiscardHeldFact(request)
