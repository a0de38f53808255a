"""Gives up a part whose file is lost or damaged, so that archiving goes on without it.

The flows of it that have not gone are in the database, whole, and are archived anew. Those that
have are lost with the file: their ids stay known for as long as those of others.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from crossdock.errors import ConfigurationError

from crossdock_hub.archive import parts
from crossdock_hub.archive.parts import ArchiveFailure
from crossdock_hub.archive.records import DONE, WRITTEN, ArchivePart
from crossdock_hub.commands import Command
from crossdock_hub.committer import Committer
from crossdock_hub.config import SECOND
from crossdock_hub.identity import HUB
from crossdock_hub.store import Store, archiving

FORGET = "forget part"


async def forget(
    store: Store, committer: Committer, directory: Path, number: int, reason: str, now: int
) -> ArchivePart:
    """Give a part up. now: microseconds UTC. Raises ConfigurationError where nothing is to be given
    up, ArchiveFailure when that can't be noted, StoreFailure, Refused, Stopped."""
    async with store.read() as connection:
        known = {part.number: part for part in await archiving.parts(connection)}
    part = known.get(number)
    if part is None or part.state != WRITTEN:
        waiting = [each.number for each in known.values() if each.state == WRITTEN]
        raise ConfigurationError(
            f"part {number} is {'not known' if part is None else part.state}; a part is given up "
            f"while its flows are being deleted, now: {waiting or 'none'}"
        )
    try:
        await asyncio.to_thread(parts.check, directory, part.name, part.sha256)
    except ArchiveFailure as damage:
        told = {
            "part": part.name,
            "number": number,
            "flows": part.flows,
            "sha256": part.sha256,
            "given_up_at": datetime.fromtimestamp(now // SECOND, UTC).isoformat(),
            "reason": reason,
            "damage": str(damage),
        }
        await asyncio.to_thread(parts.give_up, directory, part.name, told)
    else:
        raise ConfigurationError(
            f"the file of part {part.name} is whole; crossdock hub archive goes on with it"
        )
    after = replace(part, state=DONE, ended_at=now)
    answer = asyncio.get_running_loop().create_future()
    await committer.submit(
        Command(FORGET, HUB, lambda unit: unit.put(("archive_part", number), after), answer)
    )
    return after
