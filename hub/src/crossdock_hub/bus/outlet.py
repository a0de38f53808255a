"""One stream's way out: rows by their numbers become messages, each stored exactly once.

Every batch is fenced: the stream takes it only directly behind the last message that we know to be
stored. A batch whose answer was lost can therefore arrive late and change nothing, and nothing is
sent again before what the stream holds was compared with what waits. One fence covers a whole
batch, however many partitions it has, so it costs one fsync.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

import structlog

from crossdock_hub.bus.errors import BusRefused, PublishUnknown, StreamGone
from crossdock_hub.bus.jetstream import Bus
from crossdock_hub.bus.publishing import (
    DUPLICATE_IN_BATCH,
    NO_STREAM,
    Message,
    Outcome,
    PublishResult,
    slices,
)
from crossdock_hub.bus.stream_administration import StreamState
from crossdock_hub.config import Limits
from crossdock_hub.records import BusPosition, Mark
from crossdock_hub.spans import PublishSpans
from crossdock_hub.store import Store, Transaction
from crossdock_hub.store.bus_rows import bus_position
from crossdock_hub.store.numbering import ALL, Settled

log = structlog.get_logger("crossdock.relay")

# How far from its end a stream is searched for a row that this database knows.
LOOK_BACK_MESSAGES: Final = 1_000


@dataclass(frozen=True, slots=True)
class Waiting:
    """A row that is to be on the stream. expired: so old that the stream may have let it go."""

    sequence: int
    id: str
    expired: bool = False


def compare(
    stored: Sequence[str | None], waiting: Sequence[Waiting]
) -> tuple[Sequence[Waiting], int]:
    """Which of the waiting rows, from the front, are among the messages behind a position; and how
    many of those messages are no rows of ours. None: a message that is no longer there."""
    place = strangers = 0
    for message_id in stored:
        row = waiting[place] if place < len(waiting) else None
        if row is not None and (message_id == row.id or (message_id is None and row.expired)):
            place += 1
        elif message_id is not None:
            strangers += 1
    return waiting[:place], strangers


class Source(Protocol):
    """The rows that one stream carries.

    Its table has every row as long as the stream keeps its message, hot_microseconds.
    """

    stream: str
    hot_microseconds: int

    async def settled(self, store: Store) -> Settled:
        """Up to which number nobody commits a row any more, for transactions that begin later."""

    async def next(
        self, store: Store, after: int, most: int, upto: int = ALL
    ) -> list[tuple[Waiting, Message]]:
        """The oldest rows after a number, and up to one, that are to be on the stream."""

    async def numbers(self, connection: Transaction, ids: Sequence[str]) -> dict[str, int]:
        """The numbers of the rows that messages are; left out: what is no row."""

    async def behind(self, connection: Transaction, upto: int, count: int) -> int:
        """The number of the row that the newest `count` rows up to a number come behind."""

    async def hot(self, connection: Transaction, upto: int) -> int:
        """How many rows up to a number, the newest of them, the stream has to hold: they were sent,
        not only recorded, within `hot_microseconds`."""

    def let_go(self, before: int) -> None:
        """Rows before a number have left the stream by their age: it needs them no more."""

    async def recorded_before(self, connection: Transaction, number: int) -> int | None:
        """When the row before a number was recorded; None: there is none."""

    async def last_sent(self, connection: Transaction) -> int:
        """The number of the newest row that is noted as sent."""

    async def unmarked(self, connection: Transaction, upto: int) -> list[int]:
        """Rows up to a number that are not noted as sent."""

    def mark(self, sequences: Sequence[int], position: BusPosition) -> Mark:
        """What to remember of rows that are stored."""


class Marks(Protocol):
    """Whoever remembers."""

    def mark(self, mark: Mark) -> None:
        """Remember what is on the bus."""


# Kind, sentence and count of a difference between database and bus.
Report = Callable[[str, str, int], None]
STREAM_LOST: Final = "STREAM_LOST"
STRANGE_MESSAGES: Final = "STRANGE_MESSAGES"


class Outlet:
    """Sends the rows of one source. Not for concurrent callers.

    clock: microseconds. report: told what the stream lacks, and what it has that we do not know.
    """

    def __init__(
        self,
        source: Source,
        store: Store,
        bus: Bus,
        limits: Limits,
        marks: Marks,
        clock: Callable[[], int],
        report: Report,
    ) -> None:
        self._report = report
        self._source = source
        self._store = store
        self._bus = bus
        self._limits = limits
        self._marks = marks
        self._clock = clock
        self._position: BusPosition | None = None
        self._settled = False
        self._singly = False
        self._copies = 1
        self._first_row = 0
        self.held = False
        """Whether rows were seen to be on their way that may come before others."""
        self.published = 0
        self.strangers = 0
        self.sent_again = 0

    @property
    def position(self) -> BusPosition | None:
        """How far the stream has come; None before it was looked at."""
        return self._position

    @property
    def stream(self) -> str:
        """The stream's name."""
        return self._source.stream

    @property
    def hot_microseconds(self) -> int:
        """How long the stream keeps messages."""
        return self._source.hot_microseconds

    def doubt(self) -> None:
        """The stream may not be as it was: compare before anything is sent."""
        self._settled = False

    async def publish(self) -> bool:
        """Send what waits, one batch; whether there may be more. BusError: not all is stored."""
        position = await self._settle()
        most = self._limits.relay_batch_events
        upto, self.held = await self._source.settled(self._store)
        waiting = await self._source.next(self._store, position.record_sequence, most, upto)
        left = waiting
        for part in slices([message for _, message in waiting]):
            size = 1 if self._singly else len(part)
            for start in range(0, len(part), size):
                await self._send(part[start : start + size], left)
                left = left[len(part[start : start + size]) :]
        self._singly = False
        return len(waiting) == most

    async def _send(
        self, messages: Sequence[Message], rows: Sequence[tuple[Waiting, Message]]
    ) -> None:
        """Send messages, the first of `rows`, right behind the known end of the stream."""
        position = self._known()
        fenced = [messages[0].behind(position.stream_sequence), *messages[1:]]
        with PublishSpans(fenced) as sending:
            results = sending.results = await self._bus.publish_batch(
                sending.messages, few_apart=self._copies == 1
            )
        stored = sum(1 for result in results if result.is_stored)
        if stored:
            self.published += sum(r.outcome is Outcome.STORED for r in results[:stored])
            end = position.stream_sequence
            for result in results[:stored]:
                # One that came late is known by its id, and has its place here all the same.
                end += result.sequence == end + 1
            done = [row.sequence for row, _ in rows[:stored]]
            self._move(replace(position, stream_sequence=end, record_sequence=done[-1]), done)
        if stored < len(results):
            self._fail(results[stored])

    def _fail(self, result: PublishResult) -> None:
        """Whatever went wrong, look at the stream before the next try."""
        self._settled = False
        # The stream knows an id of this batch from a time that we no longer compare.
        self._singly = result.code == DUPLICATE_IN_BATCH
        if result.code == NO_STREAM:
            raise StreamGone(f"{self._source.stream}: {result.reason}")
        if result.outcome is Outcome.UNKNOWN:
            raise PublishUnknown(f"{self._source.stream}: {result.reason}")
        raise BusRefused(f"{self._source.stream}: {result.reason}", result.code)

    def _known(self) -> BusPosition:
        assert self._position is not None
        return self._position

    def _move(self, position: BusPosition, done: Sequence[int]) -> None:
        self._position = position
        self._marks.mark(self._source.mark(done, position))

    # A stream that is made anew

    async def first_sequence_anew(self) -> int | None:
        """The sequence at which a new stream has to begin, so that rows get their old places.

        None: no message was ever on it.
        """
        async with self._store.read() as connection:
            known = self._position or await bus_position(connection, self._source.stream)
            if known is None or not known.stream_sequence:
                return None
            count = await self._source.hot(connection, known.record_sequence)
        return max(1, known.stream_sequence - count + 1)

    async def edge(self, state: StreamState, known: BusPosition) -> int | None:
        """When the row was recorded that the stream's first message comes behind; None: no such
        row, or it can't be told."""
        self._first_row = 0
        async with self._store.read() as connection:
            if not state.messages:
                end = known.record_sequence + 1
                return await self._source.recorded_before(connection, end)
            (first,) = await self._read([state.first_sequence])
            found = await self._source.numbers(connection, [first] if first else [])
            if not found:
                return None
            (self._first_row,) = found.values()
            return await self._source.recorded_before(connection, self._first_row)

    def is_whole(self) -> None:
        """Nothing is missing from the stream: what comes before the edge is gone by its age."""
        self._source.let_go(self._first_row)

    # What the stream holds

    async def _settle(self) -> BusPosition:
        """Know for certain where the stream ends and which row that is."""
        if self._settled:
            return self._known()
        name = self._source.stream
        state = await self._bus.stream_state(name)
        if state is None:
            raise StreamGone(f"there is no stream {name}")
        self._copies = state.copies
        if self._position is None:
            self._position = await self._first_position(state)
        if state.last_sequence < self._position.stream_sequence:
            await self._fall_back(state)
        while self._position.stream_sequence < state.last_sequence:
            await self._catch_up(state.last_sequence)
        self._settled = True
        return self._position

    async def _first_position(self, state: StreamState) -> BusPosition:
        """The position noted by an earlier run; without one, that of the newest known message."""
        name = self._source.stream
        async with self._store.read() as connection:
            noted = await bus_position(connection, name)
            if noted is not None and await self._still_holds(connection, noted, state):
                return noted
            last = await self._source.last_sent(connection)
        newest = await self._newest_known(state)
        if noted is not None:
            # Another stream under the same name: what it lacks is sent again.
            log.warning("the stream is another than before", stream=name)
            return replace(noted, stream_sequence=state.last_sequence, record_sequence=newest)
        position = BusPosition(
            name, state.last_sequence, newest or last, self._clock() if last or newest else 0
        )
        if state.messages and not newest:
            self._wonder(state.messages)
        await self._note_up_to(position)
        return position

    async def _still_holds(
        self, connection: Transaction, noted: BusPosition, state: StreamState
    ) -> bool:
        """Whether the message at the noted place, where it is still there, is the noted row."""
        if not 0 < noted.stream_sequence <= state.last_sequence:
            return True
        message = await self._bus.message_at(self._source.stream, noted.stream_sequence)
        if message is None:
            return True
        found = await self._source.numbers(connection, [message.message_id])
        return found.get(message.message_id, noted.record_sequence) == noted.record_sequence

    async def _newest_known(self, state: StreamState) -> int:
        """The number of the newest row that the stream holds; 0: it holds none we know."""
        end = state.last_sequence
        if not state.messages:
            return 0
        least = max(state.first_sequence, end - LOOK_BACK_MESSAGES)
        size = self._limits.relay_compare_messages
        for upper in range(end, least - 1, -size):
            ids = await self._read(range(max(upper - size + 1, state.first_sequence), upper + 1))
            async with self._store.read() as connection:
                known = await self._source.numbers(connection, [each for each in ids if each])
            if known:
                return max(known.values())
        return 0

    async def _read(self, numbers: Sequence[int]) -> list[str | None]:
        """The ids of messages by their places; None where there is none any more."""
        stream = self._source.stream
        found = await asyncio.gather(*[self._bus.message_at(stream, n) for n in numbers])
        return [message.message_id if message else None for message in found]

    async def _fall_back(self, state: StreamState) -> None:
        """The stream ends before the place we know: it was lost, or an older one was put back."""
        known = self._known()
        missing = known.stream_sequence - state.last_sequence
        if state.messages:
            newest = await self._newest_known(state)
        else:
            async with self._store.read() as connection:
                newest = await self._source.behind(connection, known.record_sequence, missing)
        self.sent_again += missing
        log.warning(
            "the stream has lost its end; what the database has of it is sent again",
            stream=self._source.stream,
            missing=missing,
        )
        sentence = f"{known.stream} had lost messages; what the database has of them is sent again"
        self._report(STREAM_LOST, sentence, missing)
        self._move(replace(known, stream_sequence=state.last_sequence, record_sequence=newest), [])

    async def _catch_up(self, last: int) -> None:
        """Compare one page of messages behind the known end with what waits to be sent."""
        position = self._known()
        page = range(
            position.stream_sequence + 1,
            min(last, position.stream_sequence + self._limits.relay_compare_messages) + 1,
        )
        rows = await self._source.next(self._store, position.record_sequence, len(page))
        waiting = [row for row, _ in rows]
        end = page[-1]
        if not waiting:
            self._wonder(last - position.stream_sequence)
            self._move(replace(position, stream_sequence=last), [])
            return
        stored, strangers = compare(await self._read(page), waiting)
        if strangers:
            self._wonder(strangers)
        done = [row.sequence for row in stored]
        record = done[-1] if done else position.record_sequence
        self._move(replace(position, stream_sequence=end, record_sequence=record), done)

    async def _note_up_to(self, position: BusPosition) -> None:
        async with self._store.read() as connection:
            done = await self._source.unmarked(connection, position.record_sequence)
        if done:
            self._marks.mark(self._source.mark(done, position))

    def _wonder(self, count: int) -> None:
        """Messages that are no rows of this database: another publisher, or an older database."""
        self.strangers += count
        sentence = (
            f"{self._source.stream} holds messages that this database does not know: it is older "
            "than the stream, or somebody else publishes there"
        )
        self._report(STRANGE_MESSAGES, sentence, count)
        log.error(
            "the stream holds messages that this database does not know",
            stream=self._source.stream,
            messages=count,
        )
