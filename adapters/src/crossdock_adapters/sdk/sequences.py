"""Control numbers of files and interchanges: one after another, kept by the hub, never lost.

A number is taken for a key (the reference of a delivery) and stays open until what carries it is
out. Whoever asks again with the same key meanwhile gets the same number, so that a process that
dies in between leaves no gap. The decisions are functions of the state; `Sequences` carries it to
the hub and back by compare-and-set.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from crossdock_adapters.sdk.cursors import CursorMoved, Cursors
from crossdock_adapters.sdk.outcomes import Retry

MAX_OPEN: Final = 500
MAX_TRIES: Final = 20
# What is open for longer belongs to a delivery that somebody skipped; its number stays a gap.
KEPT_OPEN: Final = timedelta(days=7)
BUSY_SECONDS: Final = 1.0
CURSOR_PREFIX: Final = "sequence:"


@dataclass(frozen=True, slots=True)
class Taken:
    """A number and when it was first taken, UTC to the second."""

    number: int
    time: datetime


@dataclass(frozen=True, slots=True)
class Numbers:
    """The state of one sequence: the next number, and by key what is taken and not out yet."""

    next: int = 1
    open: tuple[tuple[str, Taken], ...] = ()

    def of(self, key: str) -> Taken | None:
        return next((taken for each, taken in self.open if each == key), None)


def take(state: Numbers, key: str, now: datetime, at_least: int = 1) -> Numbers:
    """The state in which the key has a number. Retry when too many are open.

    at_least: no new number is below it, for a state that is older than what is out already.
    """
    if state.of(key) is not None:
        return state
    kept = tuple(each for each in state.open if now - each[1].time < KEPT_OPEN)
    if len(kept) >= MAX_OPEN:
        raise Retry(BUSY_SECONDS, f"{MAX_OPEN} numbers are taken and not out yet")
    taken = Taken(max(state.next, at_least), now.replace(microsecond=0))
    return Numbers(taken.number + 1, (*kept, (key, taken)))


def close(state: Numbers, key: str) -> Numbers:
    """The state in which what carries the key's number is out."""
    return replace(state, open=tuple(each for each in state.open if each[0] != key))


def encode(state: Numbers) -> bytes:
    """The state as the hub keeps it."""
    taken = {key: [t.number, t.time.isoformat()] for key, t in state.open}
    return json.dumps({"next": state.next, "open": taken}, separators=(",", ":")).encode()


def decode(raw: bytes) -> Numbers:
    """What `encode` wrote; nothing is the begin of a sequence."""
    if not raw:
        return Numbers()
    told = json.loads(raw)
    taken = (
        (key, Taken(int(number), datetime.fromisoformat(time)))
        for key, (number, time) in told["open"].items()
    )
    return Numbers(int(told["next"]), tuple(taken))


class Sequences:
    """The sequences of one endpoint. What the hub says (HubAway) is not translated here."""

    def __init__(self, cursors: Cursors) -> None:
        self._cursors = cursors

    async def take(self, name: str, key: str, at_least: int = 1) -> Taken:
        """The key's number in the sequence: its own while it is open, else the next one.

        at_least: one above the highest number that the other side was seen to have. A hub that was
        put back from a back-up knows older numbers only, and would give them a second time.
        """
        now = datetime.now(UTC)
        taken = (await self._change(name, lambda state: take(state, key, now, at_least))).of(key)
        assert taken is not None
        return taken

    async def state(self, name: str) -> Numbers:
        """What is taken and not out yet."""
        raw, _ = await self._cursors.get_cursor(f"{CURSOR_PREFIX}{name}")
        return decode(raw)

    async def close(self, name: str, key: str) -> None:
        """What carries the key's number is out. Closing what is not open changes nothing."""
        await self._change(name, lambda state: close(state, key))

    async def _change(self, name: str, decide: Callable[[Numbers], Numbers]) -> Numbers:
        for _ in range(MAX_TRIES):
            raw, version = await self._cursors.get_cursor(f"{CURSOR_PREFIX}{name}")
            before = decode(raw)
            after = decide(before)
            if after == before:
                return after
            try:
                await self._cursors.put_cursor(f"{CURSOR_PREFIX}{name}", encode(after), version)
            except CursorMoved:
                continue
            return after
        raise Retry(BUSY_SECONDS, f"sequence {name} was moved by others {MAX_TRIES} times")
