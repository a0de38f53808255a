"""Whether database and bus belong together, or one of them was put back from a back-up.

The ledger's generation grows with each batch in which a call begins, or a draft is noted. It is
stored with them, and the bus is told of it before they are answered, so before any byte leaves for
a vendor. A bus that knows a later generation than the database has seen work that this database
does not remember: nothing that is open may be called before its vendor was asked. Where the bus is
lost too, only who puts a database back can say so, and does (`store.putting_back`).

Where several hubs begin calls each has a part of the ledger, with a generation of its own: one for
all would be a row that they wait for. Part 0 is that of the hub that leads, and the only one where
one hub leads everything. A database that is older in any part is older.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import uuid
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

import structlog
from crossdock.ending import end_tasks
from crossdock.errors import Refusal

from crossdock_hub.bus.errors import BusError, BusRefused
from crossdock_hub.bus.jetstream import Bus
from crossdock_hub.bus.publishing import FENCE_HEADER, NO_STREAM, WRONG_LAST_SEQUENCE, Message
from crossdock_hub.bus.stream_administration import StoredMessage
from crossdock_hub.bus.streams import (
    TIE_PART_SUBJECTS,
    TIE_STREAM,
    part_of_subject,
    tie_subject,
)
from crossdock_hub.committer import Committed, Committer
from crossdock_hub.config import SECOND, Limits
from crossdock_hub.delivery.registry import compile_endpoint
from crossdock_hub.keeping import keep
from crossdock_hub.records import DATABASE_OLDER as DATABASE_OLDER
from crossdock_hub.records import Difference, EndpointRecord, Mark, Tie
from crossdock_hub.store import StoreFailure, Transaction
from crossdock_hub.store import bus_rows as rows
from crossdock_hub.store.crossing import write_rows
from crossdock_hub.store.leadership import end_seats
from crossdock_hub.store.rows import ENDPOINTS
from crossdock_hub.unit import Changes, Refused

log = structlog.get_logger("crossdock.tie")

BUS_OLDER: Final = "BUS_OLDER"
OTHER_DATABASE: Final = "OTHER_DATABASE"
# Ties of further parts of the ledger, by their numbers.
Parts = Mapping[int, Tie]
NO_PARTS: Final[Parts] = {}

# What a replay says that ran when the copy was made.
REPLAY_PAUSED: Final = (
    "the database was put back from a back-up, and what this replay sent since the copy is not "
    "known here; resume it, and what no delivery is known of is looked up first, or parks where "
    "nobody can be asked; or abort it"
)
# A delivery has fewer attempts than this many bits count, so tokens that go on from a generation of
# the ledger are above all that were given out before it.
ATTEMPTS_BITS: Final = 20


def read_tie(message: StoredMessage | None) -> Tie | None:
    """What the bus was told last; None: nothing, or nothing that can be read."""
    try:
        told = json.loads(message.payload if message is not None else b"")
        return Tie(str(told["database"]), int(told["generation"]))
    except (ValueError, TypeError, KeyError):
        return None


def tie_message(tie: Tie, part: int = 0) -> Message:
    """The tie of a part of the ledger as the bus is told of it."""
    told = {"database": tie.database, "generation": tie.generation}
    return Message(tie_subject(part), json.dumps(told).encode())


async def told_by(bus: Bus, part: int = 0) -> Tie | None:
    """The newest tie of a part that the bus was told. Raises BusError."""
    return read_tie(await bus.last_message(TIE_STREAM, tie_subject(part)))


async def parts_told_by(bus: Bus) -> dict[int, Tie]:
    """The newest tie of every further part that the bus was told of, also of those that this
    database, which may be an older copy, has never had. Raises BusError."""
    told: dict[int, Tie] = {}
    for subject in await bus.subjects(TIE_STREAM, TIE_PART_SUBJECTS):
        part, tie = part_of_subject(subject), read_tie(await bus.last_message(TIE_STREAM, subject))
        if part is not None and tie is not None:
            told[part] = tie
    return told


async def tell_parts(bus: Bus, stored: Parts) -> None:
    """Tell the bus of further parts what it does not know, whoever leads them. Raises BusError.

    stored: read before. A hub that leads one of them may tell a later generation meanwhile; a word
    behind that one would make the bus look older than it is. So none is stored but as the next one
    after what was looked at.
    """
    for part, tie in stored.items():
        last = await bus.last_message(TIE_STREAM, tie_subject(part))
        told = read_tie(last)
        if told and told.database == tie.database and told.generation >= tie.generation:
            continue
        fence = {FENCE_HEADER: str(last.sequence if last is not None else 0)}
        try:
            await bus.publish(replace(tie_message(tie, part), headers=fence))
        except BusRefused as error:
            if error.code != WRONG_LAST_SEQUENCE:
                raise


def judge(
    database: Tie, bus: Tie | None, parts: Parts = NO_PARTS, parts_told: Parts = NO_PARTS
) -> str:
    """How the two differ; "" when they belong together. The bus may lag: what it was not told of
    was not answered. A database that says itself that it was put back is older whatever the bus
    says, which may be new, or of the same back-up.

    parts, parts_told: further parts of the database, and what the bus was told of them before those
    were read. They tell an older database only, not an older bus: of a part that another hub leads
    the bus may have been told more since it was asked, which the database then knows already.
    """
    if database.generation < 0 or _any_is_older(database, parts, parts_told):
        return DATABASE_OLDER
    if bus is None:
        return ""
    if bus.database != database.database:
        return OTHER_DATABASE
    if bus.generation > database.generation:
        return DATABASE_OLDER
    return BUS_OLDER if bus.generation < database.told else ""


def after_doubt(database: Tie, bus: Tie | None) -> Tie:
    """The tie of an older database once all is doubted: beyond what both know."""
    own = max(database.generation, -1 - database.generation)
    heard = bus.generation if bus is not None and bus.database == database.database else 0
    return replace(database, generation=max(own, heard) + 1)


def _any_is_older(database: Tie, parts: Parts, told: Parts) -> bool:
    return any(
        each.database == database.database
        and each.generation > (parts[part].generation if part in parts else 0)
        for part, each in told.items()
    )


def parts_after_doubt(database: Tie, parts: Parts, told: Parts) -> dict[int, Tie]:
    """The same of every part that either knows: what one of them was told in the lost time is then
    never taken for what is known here."""
    own = {part for part, each in told.items() if each.database == database.database}
    fresh = Tie(database.database, 0)
    return {
        part: after_doubt(parts.get(part, fresh), told.get(part)) for part in sorted({*parts, *own})
    }


def found(kind: str, sentence: str, now: int, count: int = 1) -> Difference:
    """A difference that was found just now."""
    return Difference(kind, sentence, count, now, now)


async def is_older(connection: Transaction, bus: Tie | None, parts_told: Parts) -> bool:
    """Whether `compare_at_start` will find that the database is older than the bus."""
    own, parts = await rows.tie(connection), await rows.tie_parts(connection)
    return own is not None and judge(own, bus, parts, parts_told) == DATABASE_OLDER


async def compare_at_start(
    connection: Transaction, bus: Tie | None, parts_told: Parts, newest_at: int, now: int
) -> tuple[Tie, str]:
    """Compare, and put everything in doubt that may have been done since the database was copied.

    bus, parts_told: what the bus was told (`told_by`, `parts_told_by`), asked before the
    transaction began: a hub that goes on with a part meanwhile stores before it tells, so the bus
    is never ahead but of an older database. newest_at: the latest time that is stored. Returns the
    tie from now on, and the kind of difference.
    """
    own = await rows.tie(connection) or Tie(str(uuid.uuid4()), 0)
    parts = await rows.tie_parts(connection)
    kind = judge(own, bus, parts, parts_told)
    fresh = after_doubt(own, bus) if kind == DATABASE_OLDER else own
    await rows.keep_tie(connection, fresh)
    if kind == DATABASE_OLDER:
        await rows.keep_tie_parts(connection, parts_after_doubt(own, parts, parts_told))
        # A hub that has entered its part before this would go on from what was put back.
        await end_seats(connection)
    if not kind:
        return fresh, kind
    doubted = paused = 0
    if kind == DATABASE_OLDER:
        # Where the bus is lost nobody knows how far the lost time came: a time is above that, too.
        floor = max(fresh.generation << ATTEMPTS_BITS, now)
        doubted = await rows.doubt_open_deliveries(connection, newest_at, now, floor)
        paused = await rows.pause_replays(connection, REPLAY_PAUSED, now)
    sentence = {
        DATABASE_OLDER: f"{_how_known(own)} put back from a back-up; {doubted} open "
        f"deliveries are looked up at their vendors before any is called, {paused} replays that "
        "ran are paused, and nothing begins until every lease of the time that is lost has ended",
        BUS_OLDER: "the bus is older than the database: it was put back from a back-up; "
        "what it lacks is published again from the database",
        OTHER_DATABASE: "the bus was used with another database before; "
        "what that one knew is not known here",
    }[kind]
    await rows.note_differences(connection, [found(kind, sentence, now)])
    log.error("database and bus differ", kind=kind, what=sentence)
    return fresh, kind


def _how_known(own: Tie) -> str:
    if own.generation < 0:
        return "the database was"
    return "the database is older than the bus: it was"


async def enter_part(connection: Transaction, part: int) -> Tie:
    """The tie from which a hub that takes over a further part goes on; a part that nobody had
    before begins at 0. Raises LookupError: nobody has compared this database with its bus yet."""
    known = await rows.tie_part(connection, part)
    if known is not None:
        return known
    whole = await rows.tie(connection)
    if whole is None or whole.generation < 0:
        raise LookupError(f"part {part} has no ledger to be of: no hub has compared it yet")
    # Never over what another hub has begun with since: one that has lost the seat may come late.
    return await rows.begin_tie_part(connection, part, Tie(whole.database, 0))


async def hold_calls(
    connection: Transaction, endpoints: Sequence[EndpointRecord], now: int, limits: Limits
) -> list[EndpointRecord]:
    """Let nothing begin before every lease that the lost time may have given has run out: whoever
    holds one may still call, and nobody here knows of it. Returns the endpoints."""
    held = [
        replace(each, throttled_until=max(each.throttled_until or 0, now + _longest(each, limits)))
        for each in endpoints
    ]
    await write_rows(connection, [(ENDPOINTS, held)])
    return held


def _longest(record: EndpointRecord, limits: Limits) -> int:
    """Microseconds of the longest lease that an endpoint's calls ask for."""
    operations = compile_endpoint(record, limits).operations.values()
    calls = [spec.call_seconds for spec in operations] or [limits.lease_seconds_default]
    seconds = min(max(calls) + limits.lease_asked_margin_seconds, limits.lease_seconds_max)
    return int(seconds * SECOND)


async def _nothing() -> None:
    """There are no others."""


class TieKeeper:
    """Tells the bus how far the ledger is, and lets begins and drafts wait until it knows."""

    def __init__(
        self,
        bus: Bus,
        limits: Limits,
        committer: Committer,
        tie: Tie,
        clock: Callable[[], int],
        on_gone: Callable[[], None] = lambda: None,
        told: int = 0,
        may_tell: Callable[[], bool] = lambda: True,
        part: int = 0,
        tell_others: Callable[[], Awaitable[None]] = _nothing,
    ) -> None:
        """tie: that of a part of the ledger. told: the generation that the bus knows already.
        on_gone: its stream is not there. may_tell: whether this hub still counts on its lead: a
        word of a former leader after one of the next would make the bus look older than it is.
        tell_others: what else the bus has to be told at the start, and when it has lost it: of
        parts whose hubs are not there, or begin nothing now. It may raise BusError, StoreFailure.
        """
        self._bus = bus
        self._limits = limits
        self._committer = committer
        self._database = tie.database
        self._clock = clock
        self._on_gone = on_gone
        self._given = self._stored = tie.generation
        self._told = told
        self._may_tell = may_tell
        self._part = part
        self._tell_others = tell_others
        self._others_know = False
        self._losses = 0
        self._trouble = ""
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def report(self, kind: str, sentence: str, count: int) -> None:
        """Keep a difference, so that an operator can see it later."""
        difference = found(kind, sentence, self._clock(), count)
        self._committer.mark(Mark(differences=[difference]))

    # What batches say

    def number(self, changes: Changes) -> Sequence[Mark]:
        """The generation that a batch stores, where it needs one of its own. None is used twice: a
        commit whose answer was lost may have stored it."""
        if not changes.tied:
            return ()
        self._given += 1
        return (Mark(generation=self._given, part=self._part),)

    def committed(self, batch: Committed) -> None:
        """A batch is durable: its begins are answered when the bus knows of it."""
        if batch.changes.tied:
            self._stored = self._given
            self._wake.set()

    # What answers wait for

    def require_bus(self) -> None:
        """Raises Refused while the bus is known to be away: what begins now could not be told it,
        and would only run out of its lease."""
        health = self._bus.health
        if self._trouble or not health.ok:
            raise Refused(_not_told(self._trouble or health.reason))

    async def told(self) -> None:
        """Return when the bus knows of all that is stored. Refused: it was not to be told in time;
        whoever repeats the call gets the same answer once it was."""
        wanted = self._stored
        if self._told >= wanted:
            return
        known: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((wanted, known))
        try:
            async with asyncio.timeout(self._limits.tie_wait_seconds):
                await known
        except TimeoutError:
            if self._told >= wanted:
                # It answered in the same turn in which the time was over.
                return
            self._say(self._trouble or "it does not answer")
            raise Refused(_not_told(self._trouble)) from None

    # Telling

    def tell_again(self) -> None:
        """The bus has lost what it was told, and what it is being told now."""
        self._told = 0
        self._losses += 1
        self._others_know = False
        self._wake.set()

    def bus_is_back(self) -> None:
        """The connection is back: try at once."""
        self._wake.set()

    def start(self) -> None:
        """Begin to follow the ledger."""
        self._wake.set()
        self._task = keep("tie", self._run)

    async def stop(self) -> None:
        """Follow no more."""
        if self._task is not None:
            await end_tasks([self._task])

    async def _run(self) -> None:
        pause: float | None = None
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wake.wait()
            self._wake.clear()
            pause = None
            if not await self._tell() or not await self._tell_of_others():
                pause = self._limits.relay_poll_seconds

    async def _tell(self) -> bool:
        """Tell the bus what is stored by now; one message for all batches since the last one."""
        upto, losses = self._stored, self._losses
        if self._told >= upto:
            return True
        if not self._may_tell():
            return False
        try:
            await self._bus.publish(tie_message(Tie(self._database, upto), self._part))
        except BusError as error:
            if isinstance(error, BusRefused) and error.code == NO_STREAM:
                self._on_gone()
            self._say(str(error))
            return False
        if self._losses != losses:
            # Its word may be in the stream that is gone; whoever lost it has woken us.
            return True
        self._told = upto
        self._say("")
        self._committer.mark(Mark(told=upto, part=self._part))
        while self._waiting and self._waiting[0][0] <= upto:
            _, known = self._waiting.popleft()
            if not known.done():
                known.set_result(None)
        if self._stored > upto:
            self._wake.set()
        return True

    async def _tell_of_others(self) -> bool:
        """Nothing of this hub waits for that: whatever is in its way is no trouble of its own."""
        if self._others_know:
            return True
        if not self._may_tell():
            return False
        losses = self._losses
        try:
            await self._tell_others()
        except (BusError, StoreFailure) as error:
            log.debug("the bus was not told of other parts", cause=str(error))
            return False
        self._others_know = self._losses == losses
        return self._others_know

    def _say(self, trouble: str) -> None:
        """Log once when it goes, once when it comes back."""
        if bool(trouble) != bool(self._trouble):
            if trouble:
                log.warning("no call begins, the bus can't be told of it", cause=trouble)
            else:
                log.info("calls begin again")
        self._trouble = trouble


def _not_told(cause: str) -> Refusal:
    return Refusal(
        "HUB_UNAVAILABLE",
        "the bus could not be told of it yet; repeat it as it is",
        {"cause": cause},
        retry_after_seconds=1.0,
    )
