"""`crossdock replay`: plan what an endpoint would get again, look, start, watch and stop it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Final

import typer

from crossdock.cli.hub_access import Data, Json, Place, Yes, confirm, find_place, open_hub
from crossdock.cli.letter_groups import full_id
from crossdock.cli.names import delivery_state_numbers, name_of
from crossdock.cli.output import age, cell, clock, message_json, moment, print_json, print_table
from crossdock.cli.pages import PageToken, print_page, say_more
from crossdock.cli.problems import EXIT_USED_WRONGLY, CommandError
from crossdock.cli.progress import ProgressLine, bar
from crossdock.cli.replay_progress import follow, follow_plan
from crossdock.cli.times import time_of
from crossdock.client import HubClient
from crossdock.dead_letter.v1 import dead_letter_service_pb2
from crossdock.errors import NotFoundError
from crossdock.replay.v1 import replay_pb2, replay_service_pb2
from crossdock.request_ids import new_request_id

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="Send work to an endpoint again, as planned."
)

PAGE: Final = 500
MAXIMUM_LIMIT: Final = 100_000
SETS: Final = ("failed", "missing", "all")
# What of an outcome is not as everybody wished: the command says so with its exit code.
TROUBLE: Final = frozenset({"CHANGED_SINCE", "REFUSED", "PARKED"})

# Why an item parks, and why one of each verdict is not posted, after how many.
PARKS: Final = "it may be done already, and the vendor can't be asked"
WHY_NOT: Final = {
    "ALREADY_POSTED": "confirmed already",
    "SUPERSEDED": "made pointless by later work",
    "WOULD_BE_REFUSED": "not taken by the ledger, for what stands at each item",
    "BLOCKED_BY_POLICY": "kept back by the replay policy of the event",
    "WOULD_PARK": f"would park: {PARKS}",
}

Plan = Annotated[str, typer.Argument(help="Id of the replay, as plan printed it.")]
Reason = Annotated[str, typer.Option(help="Why; kept and shown.")]
SetName = Annotated[
    str,
    typer.Option(
        "--set", help="failed, missing (not confirmed there) or all; with --group failed."
    ),
]
Since = Annotated[str, typer.Option(help="Recorded since: 2h, 3d (ago), or 2026-01-31T10:00Z.")]
Until = Annotated[str, typer.Option(help="Recorded before: the same forms.")]
Types = Annotated[
    list[str] | None, typer.Option("--event", help="Event, such as order.approved; repeatable.")
]
About = Annotated[str, typer.Option(help="Only of this object or flow, by hub id.")]
States = Annotated[
    list[str] | None, typer.Option("--state", help="Failed as parked or rejected; repeatable.")
]
Code = Annotated[str, typer.Option(help="Failed with this code.")]
Operation = Annotated[str, typer.Option(help="Only this operation.")]
Group = Annotated[
    str | None,
    typer.Option(help="Open letters of this group of dead-letters list; says the endpoint."),
]


@app.command()
def plan(
    endpoint: Annotated[str, typer.Argument(help="The endpoint that is to get the work.")] = "",
    wanted_set: SetName = "",
    group: Group = None,
    since: Since = "",
    until: Until = "",
    event: Types = None,
    about: About = "",
    state: States = None,
    code: Code = "",
    operation: Operation = "",
    as_json: Json = False,
    data: Data = None,
) -> None:
    """What would be posted, what not, and why. Stored for an hour; nothing is posted.

    Waits until the hub has planned it; Ctrl-C leaves the hub planning.
    """
    selection = replay_pb2.ReplaySelection(
        event_types=event or [], object_id=about, operation=operation
    )
    for name, text in (("since", since), ("until", until)):
        if text:
            getattr(selection, name).FromDatetime(time_of(text, f"--{name}"))
    if state or code:
        # Not in the constructor: the stubs want the enumeration's own type there.
        selection.failure.states.extend(delivery_state_numbers(state or []))  # type: ignore[arg-type]
        selection.failure.code = code
    _check_use(endpoint, wanted_set, group, selection)
    request = replay_service_pb2.PlanReplayRequest(
        request_id=new_request_id(),
        endpoint=endpoint,
        selection=selection,
        set=_set(wanted_set or "failed"),
    )
    place = find_place(data)
    asked = asyncio.run(_ask(place, request, group or ""))
    with _told_on_interrupt(asked.id, planning=True):
        found = asyncio.run(_planned(place, asked.id, as_json))
    if as_json:
        print_json(message_json(found))
    failed = _name(replay_pb2.ReplayState, found.state) != "PLANNED"
    for line in [] if as_json else plan_lines(found):
        typer.echo(line, err=failed)
    if failed:
        raise typer.Exit(1)


@app.command()
def approve(
    replay_id: Plan, reason: Reason, as_json: Json = False, yes: Yes = False, data: Data = None
) -> None:
    """Allow what a second operator has to allow; not the one who planned."""
    _act("Approve", replay_id, reason, as_json, yes, data)


@app.command()
def start(
    replay_id: Plan,
    reason: Reason,
    rate: Annotated[int, typer.Option(min=0, max=1000, help="Items per second; 0: 50.")] = 0,
    watch: Annotated[bool, typer.Option("--follow", help="Wait until it has settled.")] = False,
    as_json: Json = False,
    yes: Yes = False,
    data: Data = None,
) -> None:
    """Run a plan. With --follow exit code 1 when an item was refused, parked or had changed.

    Ctrl-C ends the following; the hub goes on.
    """
    place = find_place(data)
    confirm(place, f"start replay {replay_id}", yes)
    found = asyncio.run(_start(place, replay_id, reason, rate))
    if watch:
        with _told_on_interrupt(replay_id):
            found = asyncio.run(_followed(place, replay_id, as_json))
    _show(found, as_json)
    if watch and TROUBLE.intersection(outcomes(found)):
        raise typer.Exit(1)


@app.command()
def show(
    replay_id: Plan,
    items: Annotated[bool, typer.Option("--items", help="Every item as well.")] = False,
    changed: Annotated[bool, typer.Option("--changed", help="Items that differ from it.")] = False,
    watch: Annotated[bool, typer.Option("--follow", help="Wait until it has settled.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=MAXIMUM_LIMIT, help="Items at most.")] = 100,
    page_token: PageToken = "",
    as_json: Json = False,
    data: Data = None,
) -> None:
    """One replay: plan, progress, what was done with it, and its items.

    Ctrl-C ends the following; the hub goes on.
    """
    place = find_place(data)
    wanted = limit if items or changed else 0
    request = replay_service_pb2.ListReplayItemsRequest(
        replay_id=replay_id, changed_only=changed, page_token=page_token
    )
    if watch:
        with _told_on_interrupt(replay_id):
            asyncio.run(_followed(place, replay_id, as_json))
    found, work, following = asyncio.run(_read(place, request, wanted))
    if as_json:
        print_page("items", work, following, **message_json(found))
        return
    _show(found, False)
    if work:
        print_table(
            ("ITEM", "OPERATION", "EVENT", "PLAN", "OUTCOME", "DELIVERY", "WHY"), _rows(work)
        )
        say_more(following)


@app.command("list")
def list_(
    endpoint: Annotated[str, typer.Option(help="Only to this endpoint.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=PAGE, help="At most so many.")] = 50,
    page_token: PageToken = "",
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Replays, newest first."""
    request = replay_service_pb2.ListReplaysRequest(
        endpoint=endpoint, page_size=limit, page_token=page_token
    )
    page = asyncio.run(_list(find_place(data), request))
    if as_json:
        print_page("replays", page.replays, page.next_page_token)
        return
    if not page.replays:
        typer.echo("no replays; crossdock replay plan makes one")
        return
    rows = [
        (
            each.id,
            each.endpoint,
            _name(replay_pb2.ReplaySet, each.set).lower(),
            _name(replay_pb2.ReplayState, each.state),
            f"{each.decided_count}/{each.item_count}",
            age(each.create_time),
            cell(_reason(each)),
        )
        for each in page.replays
    ]
    print_table(("REPLAY", "ENDPOINT", "SET", "STATE", "DECIDED", "AGE", "REASON"), rows)
    say_more(page.next_page_token)


@app.command()
def pause(
    replay_id: Plan, reason: Reason, as_json: Json = False, yes: Yes = False, data: Data = None
) -> None:
    """Hand nothing more to the ledger; what was handed over goes on."""
    _act("Pause", replay_id, reason, as_json, yes, data)


@app.command()
def resume(
    replay_id: Plan, reason: Reason, as_json: Json = False, yes: Yes = False, data: Data = None
) -> None:
    """Go on where it was paused."""
    _act("Resume", replay_id, reason, as_json, yes, data)


@app.command()
def abort(
    replay_id: Plan, reason: Reason, as_json: Json = False, yes: Yes = False, data: Data = None
) -> None:
    """End a plan or a run for good; what was handed over goes on."""
    _act("Abort", replay_id, reason, as_json, yes, data)


def _check_use(
    endpoint: str, wanted_set: str, group: str | None, selection: replay_pb2.ReplaySelection
) -> None:
    """Raises CommandError where it is not said which work of which endpoint."""
    words = {"ENDPOINT": endpoint, "--set": wanted_set}
    missing = [word for word, said in words.items() if not said and group is None]
    if missing:
        raise CommandError(
            f"{' and '.join(missing)} has to be said where no --group is",
            next_step="crossdock replay plan ENDPOINT --set failed|missing|all --since …; or with "
            "--group GROUP alone, as crossdock dead-letters list shows it",
            exit_code=EXIT_USED_WRONGLY,
        )
    criteria = {field.name for field, _ in selection.ListFields()} - {"operation"}
    if group == "" or not (group or criteria):
        raise CommandError(
            f"an empty {'--group' if group == '' else 'selection'} would replay everything",
            next_step="say which work: --since, --until, --event, --about, --state, --code, "
            "--group",
            exit_code=EXIT_USED_WRONGLY,
        )


# Calls


async def _ask(
    place: Place, request: replay_service_pb2.PlanReplayRequest, group: str
) -> replay_pb2.Replay:
    """The plan, once it is asked for. group: the beginning of the id of a dead letter group."""
    async with open_hub(place) as hub:
        if group:
            elsewhere = "" if request.endpoint else _name_endpoint(group)
            found = await full_id(hub, group, request.endpoint, elsewhere)
            request.selection.group_id = found
            request.endpoint = request.endpoint or await _endpoint_of(hub, request)
        return (await hub.replays.PlanReplay(request)).replay


async def _endpoint_of(hub: HubClient, request: replay_service_pb2.PlanReplayRequest) -> str:
    """Where the letters of the group that is asked for stopped. Raises CallError, CommandError."""
    group_id = request.selection.group_id
    asked = dead_letter_service_pb2.GetDeadLettersRequest(group_id=group_id, page_size=1)
    try:
        group = (await hub.dead_letters.GetDeadLetters(asked)).group
    except NotFoundError as error:
        raise CommandError(
            "not found",
            f"{error.refusal.message}; of all endpoints only the newest letters are looked at",
            _name_endpoint(group_id),
        ) from None
    if not group.endpoint:
        raise CommandError(
            f"no endpoint serves what waits in {group_id}",
            "it is routed by itself once an endpoint offers it",
            f"crossdock dead-letters show {group_id}",
        )
    return group.endpoint


def _name_endpoint(group: str) -> str:
    """What finds a group that is older than the newest letters of all endpoints."""
    return f"name the endpoint: crossdock replay plan ENDPOINT --group {group}"


async def _planned(place: Place, replay_id: str, as_json: bool) -> replay_pb2.Replay:
    async with open_hub(place) as hub:
        return await follow_plan(hub, replay_id, as_json)


def _act(verb: str, replay_id: str, reason: str, as_json: bool, yes: bool, data: Data) -> None:
    place = find_place(data)
    confirm(place, f"{verb.lower()} replay {replay_id}", yes)
    _show(asyncio.run(_acted(place, verb, replay_id, reason)), as_json)


async def _acted(place: Place, verb: str, replay_id: str, reason: str) -> replay_pb2.Replay:
    request_type = getattr(replay_service_pb2, f"{verb}ReplayRequest")
    request = request_type(request_id=new_request_id(), replay_id=replay_id, reason=reason)
    async with open_hub(place) as hub:
        await getattr(hub.replays, f"{verb}Replay")(request)
        return await _get(hub, replay_id)


async def _start(place: Place, replay_id: str, reason: str, rate: int) -> replay_pb2.Replay:
    request = replay_service_pb2.StartReplayRequest(
        request_id=new_request_id(), replay_id=replay_id, reason=reason, items_per_second=rate
    )
    async with open_hub(place) as hub:
        await hub.replays.StartReplay(request)
        return await _get(hub, replay_id)


async def _followed(place: Place, replay_id: str, as_json: bool) -> replay_pb2.Replay:
    async with open_hub(place) as hub:
        return await follow(hub, replay_id, as_json)


async def _read(
    place: Place, request: replay_service_pb2.ListReplayItemsRequest, limit: int
) -> tuple[replay_pb2.Replay, list[replay_pb2.ReplayItem], str]:
    """The replay, its items from the request's page on up to the limit, and what follows them."""
    async with open_hub(place) as hub:
        found = await _get(hub, request.replay_id)
        work: list[replay_pb2.ReplayItem] = []
        progress = ProgressLine(beside_result=True)
        while len(work) < limit:
            request.page_size = min(PAGE, limit - len(work))
            page = await hub.replays.ListReplayItems(request)
            work.extend(page.items)
            request.page_token = page.next_page_token
            if not page.next_page_token:
                break
            # Read while it is planned, it may have had no item yet.
            share = len(work) / max(1, min(limit, found.item_count))
            progress.show(f"{bar(share)} {len(work):,} items read")
        progress.end()
        return found, work, request.page_token if limit else ""


async def _get(hub: HubClient, replay_id: str) -> replay_pb2.Replay:
    request = replay_service_pb2.GetReplayRequest(id=replay_id)
    return (await hub.replays.GetReplay(request)).replay


async def _list(
    place: Place, request: replay_service_pb2.ListReplaysRequest
) -> replay_service_pb2.ListReplaysResponse:
    async with open_hub(place) as hub:
        return await hub.replays.ListReplays(request)


# Words


def _name(enum: Any, number: int) -> str:
    return name_of(enum, number)


def _set(name: str) -> replay_pb2.ReplaySet.ValueType:
    if name.lower() not in SETS:
        raise CommandError(
            f"there is no set {name!r}",
            f"there are: {', '.join(SETS)}",
            exit_code=EXIT_USED_WRONGLY,
        )
    return replay_pb2.ReplaySet.Value(f"REPLAY_SET_{name.upper()}")


def outcomes(replay: replay_pb2.Replay) -> dict[str, int]:
    """How many items ended how."""
    return {_name(replay_pb2.ReplayOutcome, each.outcome): each.count for each in replay.outcomes}


def plan_lines(replay: replay_pb2.Replay) -> list[str]:
    """A plan in words, with what to type next."""
    wanted = _name(replay_pb2.ReplaySet, replay.set).lower()
    state = _name(replay_pb2.ReplayState, replay.state)
    if state != "PLANNED":
        return [f"plan {replay.id}: {state}", *([replay.note] if replay.note else [])]
    lines = [
        f"plan {replay.id}: {replay.item_count} items, {wanted} at {replay.endpoint}; "
        f"to be started until {clock(replay.expire_time)}"
    ]
    lines += [
        f"  {_name(replay_pb2.ReplayVerdict, c.verdict):<18}{c.count}" for c in replay.planned
    ]
    if replay.note:
        return [*lines, replay.note]
    return [*lines, *_next_of_plan(replay)]


def _next_of_plan(replay: replay_pb2.Replay) -> Iterator[str]:
    """What to type next; where no item would be posted, why there is nothing to start."""
    counts = {_name(replay_pb2.ReplayVerdict, each.verdict): each.count for each in replay.planned}
    yield f"look:  crossdock replay show {replay.id} --items"
    if replay.needs_approval:
        yield f"allow: crossdock replay approve {replay.id} --reason …, as another operator"
    start = f"crossdock replay start {replay.id} --reason …"
    parks = counts.get("WOULD_PARK", 0)
    if counts.get("WOULD_POST"):
        if parks:
            yield f"of these {parks} would not be posted but park, each for a person: {PARKS}"
        yield f"start: {start}"
        return
    why = "; ".join(f"{counts[name]} {words}" for name, words in WHY_NOT.items() if name in counts)
    yield f"nothing would be posted: {why}"
    if parks:
        yield f"park:  {start}: makes dead letters of the {parks}, to resolve or retry by hand"


@contextmanager
def _told_on_interrupt(replay_id: str, planning: bool = False) -> Iterator[None]:
    """After Ctrl-C: the hub goes on, whoever watches. planning: with the plan, not the replay."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo(f"the hub goes on {'planning' if planning else 'with'} {replay_id}", err=True)
        typer.echo(f"look:  crossdock replay show {replay_id} --follow", err=True)
        if not planning:
            typer.echo(f"pause: crossdock replay pause {replay_id} --reason …", err=True)
        typer.echo(f"abort: crossdock replay abort {replay_id} --reason …", err=True)
        raise


def _show(replay: replay_pb2.Replay, as_json: bool) -> None:
    if as_json:
        print_json(message_json(replay))
        return
    state = _name(replay_pb2.ReplayState, replay.state)
    typer.echo(
        f"replay {replay.id} to {replay.endpoint}: {state}, "
        f"{replay.decided_count} of {replay.item_count} items decided"
    )
    if state == "PLANNING":
        typer.echo(f"  {replay.planned_event_count} of {replay.event_count} events planned")
    for kind, counts in (("planned", replay.planned), ("outcome", replay.outcomes)):
        enum: Any = replay_pb2.ReplayVerdict if kind == "planned" else replay_pb2.ReplayOutcome
        for count in counts:
            number = count.verdict if kind == "planned" else count.outcome  # type: ignore[union-attr]
            typer.echo(f"  {kind}  {_name(enum, number):<18}{count.count}")
    for act in replay.acts:
        why = f": {act.reason}" if act.reason else ""
        typer.echo(f"  {moment(act.time)}  {act.verb} by {act.by}{why}")
    if replay.note:
        typer.echo(replay.note)


def _rows(work: list[replay_pb2.ReplayItem]) -> list[tuple[str, ...]]:
    return [
        (
            str(each.number),
            each.operation,
            each.event_id,
            _name(replay_pb2.ReplayVerdict, each.planned_verdict),
            _name(replay_pb2.ReplayOutcome, each.outcome),
            each.delivery_id or each.earlier_delivery_id or "-",
            cell(each.why or each.planned_why),
        )
        for each in work
    ]


def _reason(replay: replay_pb2.Replay) -> str:
    """Why it was last touched."""
    return next((act.reason for act in reversed(replay.acts) if act.reason), "")
