"""Bounds the history of dead letters: the newest that are settled stay, the others go."""

from __future__ import annotations

from sqlalchemy import delete, exists, select
from sqlalchemy.ext.asyncio import AsyncConnection

from crossdock_hub.store import tables as t


async def forget_letters(connection: AsyncConnection, most: int) -> None:
    """Delete settled letters beyond the newest `most`, and causes that nothing belongs to then.

    Those settled at one moment go together or stay together.
    """
    letter, group = t.dead_letters.c, t.dead_letter_groups.c
    newest = select(letter.settled_at).where(letter.settled_at.is_not(None))
    last = newest.order_by(letter.settled_at.desc()).offset(most - 1).limit(1)
    gone = delete(t.dead_letters).where(letter.settled_at < last.scalar_subquery())
    if (await connection.execute(gone)).rowcount:
        # Who looks after a group is kept for when it comes back.
        used = exists().where(letter.cause == group.id)
        await connection.execute(
            delete(t.dead_letter_groups).where(group.marked_at.is_(None), ~used)
        )
