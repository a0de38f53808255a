"""How far a file of many interchanges is taken, so that whoever begins it again goes on there.

The digests of the newest control numbers alone are kept: of a file with more interchanges than
those, which a poll ended by its time or a hub that was away for a moment left in its middle, the
first ones could not be told from others with the same numbers, and were held as conflicts.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from crossdock_adapters.sdk.cursors import Cursors

CURSOR: Final = "interchanges:begun"
# Interchanges from one note to the next; fewer than the numbers that keep their digests, so that
# what was taken since is known again.
STEP: Final = 100
# What is older is of a file that somebody took away: the same one put back is told anew.
KEPT: Final = timedelta(days=1)


class Progress:
    """Of one file: `done` of its interchanges are taken, and `problems` were found in them."""

    def __init__(self, cursors: Cursors, body: bytes, most_problems: int) -> None:
        """most_problems: as many as the file is held with; what is more is not kept."""
        self.done = 0
        self.problems: list[str] = []
        self._cursors = cursors
        self._digest = hashlib.sha256(body).hexdigest()
        self._most_problems = most_problems
        self._version = 0
        self._is_noted = False

    async def load(self) -> None:
        """As somebody left it, if it is this file that was left."""
        raw, self._version = await self._cursors.get_cursor(CURSOR)
        told = json.loads(raw) if raw else {}
        if told.get("digest") != self._digest:
            return
        if datetime.now(UTC) - datetime.fromisoformat(told["at"]) > KEPT:
            return
        self.done, self.problems, self._is_noted = told["done"], told["problems"], True

    async def note(self, done: int, problems: Sequence[str]) -> None:
        """So many are taken, and what they say is durable. CursorMoved: another process took the
        same file, or another one."""
        told = {
            "digest": self._digest,
            "done": done,
            "problems": list(problems[: self._most_problems]),
            "at": datetime.now(UTC).replace(microsecond=0).isoformat(),
        }
        await self._put(json.dumps(told, separators=(",", ":")).encode())
        self._is_noted = True

    async def end(self) -> None:
        """All of it is taken and put away: the same file put back is told anew."""
        if self._is_noted:
            await self._put(b"")

    async def _put(self, raw: bytes) -> None:
        self._version = await self._cursors.put_cursor(CURSOR, raw, self._version)
