"""An operator's word on several deliveries: those that are named, or what waits of a group."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any, Final

import typer

from crossdock.cli.hub_access import Data, Place, confirm, find_place, open_hub
from crossdock.cli.letter_groups import Waiting, waiting_of
from crossdock.cli.names import delivery_state
from crossdock.cli.output import message_json, print_json
from crossdock.cli.problems import EXIT_FAILED, EXIT_USED_WRONGLY, CommandError
from crossdock.cli.progress import ProgressLine, bar
from crossdock.client import HubClient
from crossdock.errors import PreconditionError

# As many letters as the hub looks at in one question.
GROUP_MAX: Final = 5_000
GROUP_DEFAULT: Final = 100
REFUSALS_SHOWN_MAX: Final = 20

Ids = Annotated[
    list[str] | None, typer.Argument(help="Ids of deliveries, one after another; or --group.")
]
OfGroup = Annotated[
    str,
    typer.Option("--group", help="Those that wait of this group of dead-letters list, not IDs."),
]
Most = Annotated[
    int, typer.Option("--limit", min=1, max=GROUP_MAX, help="Of a group the newest, at most.")
]
Say = Callable[[HubClient, str], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which deliveries: ids, or at most so many of a group. endpoint: where the group is; "" where
    it is not older than the newest letters. looked: a person says what is not at the vendor."""

    ids: list[str] | None
    group: str
    endpoint: str
    limit: int
    looked: bool = False


def say_to_all(verb: str, chosen: Chosen, say: Say, as_json: bool, yes: bool, data: Data) -> None:
    """Say a word to each. Of named ones the first refusal ends the command, and what was said stays
    said; of a group a refused one is told, and the others are said it all the same."""
    _check(verb, chosen)
    place = find_place(data)
    if not chosen.group:
        ids = chosen.ids or []
        confirm(place, f"{verb} {', '.join(ids)}", yes)
        asyncio.run(_to_each(place, ids, say, as_json))
        return
    found = asyncio.run(_waiting(place, chosen))
    of_all = "" if len(found.ids) == found.total else f" of {found.total:,} that wait"
    confirm(place, f"{verb} {len(found.ids):,}{of_all} of group {found.group_id}", yes)
    if asyncio.run(_to_group(place, verb, found, say, as_json)):
        raise typer.Exit(EXIT_FAILED)


def told(answer: Any) -> str:
    """What a word changed, in one line."""
    delivery = answer.delivery
    state = delivery_state(delivery.state)
    return f"{delivery.id} {delivery.operation} is {state}: {answer.word.change}"


def _check(verb: str, chosen: Chosen) -> None:
    """Raises CommandError where it is not said which deliveries."""
    if bool(chosen.ids) == bool(chosen.group):
        raise CommandError(
            f"say either ids of deliveries or --group, to {verb} them",
            next_step=f"crossdock delivery {verb} ID… --reason …; or --group GROUP, as crossdock "
            "dead-letters list shows it",
            exit_code=EXIT_USED_WRONGLY,
        )
    if chosen.group and chosen.looked:
        raise CommandError(
            "--not-found-at-vendor is said of deliveries that somebody has looked for, one by one",
            next_step=f"crossdock delivery {verb} ID… --not-found-at-vendor --reason …",
            exit_code=EXIT_USED_WRONGLY,
        )


async def _waiting(place: Place, chosen: Chosen) -> Waiting:
    async with open_hub(place) as hub:
        return await waiting_of(hub, chosen.group, chosen.endpoint, chosen.limit)


async def _to_each(place: Place, ids: list[str], say: Say, as_json: bool) -> None:
    answers = []
    try:
        async with open_hub(place) as hub:
            for delivery_id in ids:
                answers.append(await say(hub, delivery_id))
                if not as_json:
                    typer.echo(told(answers[-1]))
    finally:
        if as_json:
            print_json([message_json(answer) for answer in answers])


async def _to_group(place: Place, verb: str, found: Waiting, say: Say, as_json: bool) -> int:
    """How many were refused."""
    answers: list[Any] = []
    refused = 0
    progress = ProgressLine(beside_result=True)
    try:
        async with open_hub(place) as hub:
            for number, delivery_id in enumerate(found.ids, 1):
                try:
                    answers.append(await say(hub, delivery_id))
                except PreconditionError as error:
                    refused += 1
                    progress.end()
                    if refused <= REFUSALS_SHOWN_MAX:
                        typer.echo(f"{delivery_id} is refused: {error.refusal.message}", err=True)
                share = bar(number / len(found.ids))
                progress.show(f"{share} {number:,} of {len(found.ids):,}, {refused:,} refused")
    finally:
        progress.end()
        if as_json:
            print_json([message_json(answer) for answer in answers])
        else:
            left = found.total - len(answers)
            typer.echo(f"{verb}: {len(answers):,} taken, {refused:,} refused, {left:,} still wait")
            typer.echo(f"look: crossdock dead-letters show {found.group_id}")
    return refused
