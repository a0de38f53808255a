"""Finds a group of dead letters by the beginning of its id, and what of it waits for a word."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Final

import typer

from crossdock.cli.names import name_of
from crossdock.cli.problems import EXIT_USED_WRONGLY, CommandError
from crossdock.cli.progress import ProgressLine, bar
from crossdock.dead_letter.v1 import dead_letter_pb2, dead_letter_service_pb2

GROUPS_PAGE: Final = 500
MEMBERS_PAGE: Final = 100
ID_CHARACTERS: Final = 32
BY_CAUSE: Final = "a group goes by its cause; its id is the first column of the list"
NAMED: Final = "the same again with --endpoint E"
OLDER: Final = "only the newest letters were looked at, and there are more"
AtEndpoint = Annotated[
    str, typer.Option("--endpoint", help="Where it is, if older than the newest letters.")
]


async def full_id(hub: Any, group: str, endpoint: str = "", elsewhere: str = "") -> str:
    """The id of a group from its first digits, as the list shows them.

    endpoint: where it is, if known: the hub looks at the newest letters only, there or anywhere.
    elsewhere: the next step for one that is older than those. Raises CommandError: not one.
    """
    if len(group) == ID_CHARACTERS:
        return group
    request = dead_letter_service_pb2.ListDeadLettersRequest(
        page_size=GROUPS_PAGE, include_closed=True, endpoint=endpoint
    )
    # A group that moves while it is looked for may stand on two pages.
    same: dict[str, None] = {}
    count = 0
    progress = ProgressLine(beside_result=True)
    while True:
        page = await hub.dead_letters.ListDeadLetters(request)
        same |= {each.id: None for each in page.groups if each.id.startswith(group.lower())}
        request.page_token = page.next_page_token
        if not page.next_page_token:
            break
        count += len(page.groups)
        progress.show(f"{count:,} groups looked at")
    progress.end()
    if len(same) == 1:
        return next(iter(same))
    there = f" at {endpoint}" if endpoint else ""
    older = not same and page.truncated
    raise CommandError(
        f"{'several groups begin' if same else 'no group begins'} with {group!r}{there}",
        ", ".join(same) or (OLDER if older else BY_CAUSE),
        f"crossdock dead-letters list --closed{f' --endpoint {endpoint}' if endpoint else ''}"
        + (f"; or {elsewhere}" if elsewhere and not same else ""),
        EXIT_USED_WRONGLY,
    )


@dataclass(frozen=True, slots=True)
class Waiting:
    """Deliveries of a group that wait for a word. group_id: whole. total: how many there are, as
    far as the hub counts them; ids: the newest of them."""

    group_id: str
    ids: list[str]
    total: int


async def waiting_of(hub: Any, group: str, endpoint: str, most: int) -> Waiting:
    """The newest deliveries of a group that wait, at most so many.

    Raises CommandError: no such group, or no delivery of it waits.
    """
    request = dead_letter_service_pb2.GetDeadLettersRequest(
        group_id=await full_id(hub, group, endpoint, NAMED), page_size=MEMBERS_PAGE
    )
    ids: list[str] = []
    progress = ProgressLine(beside_result=True)
    try:
        while True:
            page = await hub.dead_letters.GetDeadLetters(request)
            total = page.group.open_count - page.group.under_way_count
            ids += [member.delivery.id for member in page.members if _waits(member)]
            request.page_token = page.next_page_token
            # Those that are settled come last.
            ended = any(not member.open for member in page.members)
            if ended or not page.next_page_token or len(ids) >= most:
                break
            progress.show(f"{bar(len(ids) / max(1, min(most, total)))} {len(ids):,} letters read")
    finally:
        progress.end()
    if not ids:
        raise CommandError(
            f"no delivery of group {request.group_id} waits for a word",
            next_step=f"crossdock dead-letters show {request.group_id}",
        )
    return Waiting(request.group_id, ids[:most], max(total, len(ids)))


def _waits(member: dead_letter_pb2.DeadLetter) -> bool:
    standing = name_of(dead_letter_pb2.DeadLetterStanding, member.standing)
    return standing == "STOPPED" and member.HasField("delivery")
