"""Sends rows to the hub in a few calls at a time, and counts what became of each.

A call repeats with the same request ids until it is answered, so that no row is written twice; only
so many rows are in memory at once, however long the file is.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from crossdock.cli.loading.rows import Kind, Problem, Row
from crossdock.cli.problems import CommandError
from crossdock.client import HubClient
from crossdock.ending import end_tasks
from crossdock.errors import CallError, InvalidRequestError, NoAnswerError, TryAgainError

ROWS_PER_CALL: Final = 200
BYTES_PER_CALL: Final = 512 * 1024
CALLS_IN_FLIGHT: Final = 3
CALL_SECONDS: Final = 30.0
TRIES_MAX: Final = 30
PAUSE_SECONDS_MAX: Final = 5.0
_ENTRY: Final = re.compile(r"^entries\[(\d+)\]\.?")


@dataclass(slots=True)
class Counts:
    """What became of the rows. done: all up to this one are answered; waiting: held by the hub."""

    created: int = 0
    changed: int = 0
    unchanged: int = 0
    waiting: int = 0
    refused: int = 0
    done: int = 0

    def count(self, result: Any) -> Problem | None:
        """Count a result; returns why it was refused."""
        if result.held_fact_id:
            self.waiting += 1
        elif result.HasField("refusal"):
            said = result.refusal
            first = said.violations[0] if said.violations else None
            where = first.field if first else said.metadata.get("field", "")
            return Problem(where, first.rule if first else said.reason, said.message)
        elif result.created:
            self.created += 1
        elif result.changed:
            self.changed += 1
        else:
            self.unchanged += 1
        return None


class Loader:
    """Loads rows of one kind.

    refuse: told each row that was not written; shown: told after each call how far it is; waits:
    told why a call is repeated. counts: what became of the rows, kept up to date. Rows of one
    number are written in the order of the file.
    """

    def __init__(
        self,
        kind: Kind,
        refuse: Callable[[Row], None],
        shown: Callable[[Row], None],
        waits: Callable[[CallError], None],
        counts: Counts,
    ) -> None:
        self._kind = kind
        self._refuse = refuse
        self._shown = shown
        self._waits = waits
        self.counts = counts
        self._call: Any = None

    async def run(self, hub: HubClient, rows: Iterator[Row]) -> None:
        """Send all of them, in order. CommandError: the hub was away for too long."""
        self._call = getattr(getattr(hub, self._kind.client), self._kind.method)
        flying: deque[tuple[list[Row], asyncio.Task[None]]] = deque()
        try:
            for batch in batches(rows):
                numbers = {self._number(row) for row in batch}
                while len(flying) == CALLS_IN_FLIGHT or any(
                    self._number(row) in numbers for other, _ in flying for row in other
                ):
                    await self._landed(*flying.popleft())
                flying.append((batch, asyncio.create_task(self._send(batch))))
            while flying:
                await self._landed(*flying.popleft())
        finally:
            await end_tasks(task for _, task in flying)

    def _number(self, row: Row) -> str:
        """What the row is about; without an entry, nothing that is sent."""
        return (
            getattr(row.entry, self._kind.field).number if row.entry is not None else f"#{id(row)}"
        )

    async def _landed(self, batch: list[Row], task: asyncio.Task[None]) -> None:
        try:
            await task
        except CallError as error:
            raise CommandError(
                f"loaded up to row {self.counts.done}, then the hub took no more",
                str(error),
                f"the same with --from-row {self.counts.done + 1}",
            ) from None
        settle(batch, self._refuse, self.counts)
        self._shown(batch[-1])

    async def _send(self, batch: list[Row]) -> None:
        """Until each row has its answer: the hub may refuse a call for some of its entries."""
        while sent := [row for row in batch if not row.problems]:
            try:
                answer = await self._answered([row.entry for row in sent])
            except InvalidRequestError as error:
                if not blame(error, sent):
                    raise
                continue
            for row, result in zip(sent, answer.results, strict=True):
                problem = self.counts.count(result)
                if problem is not None:
                    row.problems.append(problem)
            return

    async def _answered(self, entries: Sequence[Any]) -> Any:
        request = self._kind.request(entries=entries)
        for number in range(1, TRIES_MAX + 1):
            try:
                return await self._call(request, timeout=CALL_SECONDS)
            except (TryAgainError, NoAnswerError) as error:
                if number == TRIES_MAX:
                    raise
                self._waits(error)
                pause = min(PAUSE_SECONDS_MAX, 0.1 * 2**number)
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))
        raise AssertionError("the last try raises")


def settle(batch: Sequence[Row], refuse: Callable[[Row], None], counts: Counts) -> None:
    """Refuse what has problems, and note that all is done up to here. Ctrl-C is heard before or
    after both: between them, who goes on would have a row refused twice. CommandError: a row can't
    be kept, and is not done; those before it are."""
    with _ctrl_c_later():
        for row in batch:
            if row.problems:
                _keep(row, refuse, counts)
                counts.refused += 1
            counts.done = row.number


def _keep(row: Row, refuse: Callable[[Row], None], counts: Counts) -> None:
    try:
        refuse(row)
    except OSError as error:
        raise CommandError(
            f"up to row {counts.done} all are done, then row {row.number} was refused and could "
            "not be kept",
            error.strerror or str(error),
            f"name another file with --refused, or make room; --from-row {counts.done + 1} goes on",
        ) from None


@contextlib.contextmanager
def _ctrl_c_later() -> Iterator[None]:
    """Hear it when the block has ended. Only the main thread ever hears it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if came:
            signal.raise_signal(signal.SIGINT)


def batches(rows: Iterator[Row]) -> Iterator[list[Row]]:
    """Rows by call: so many, and of so many bytes."""
    batch: list[Row] = []
    size = 0
    for row in rows:
        batch.append(row)
        size += row.entry.ByteSize() if row.entry is not None else 0
        if len(batch) == ROWS_PER_CALL or size >= BYTES_PER_CALL:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def blame(error: InvalidRequestError, sent: Sequence[Row]) -> bool:
    """Note with the rows that are named what is wrong with them; whether any is."""
    named = False
    for each in error.refusal.violations:
        found = _ENTRY.match(each.field)
        if found and int(found[1]) < len(sent):
            place = _ENTRY.sub("", each.field)
            sent[int(found[1])].problems.append(Problem(place, each.rule, each.description))
            named = True
    return named
