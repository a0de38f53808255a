"""Messages to publish, what became of each, and how groups of them travel; no NATS import."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final

from crossdock.bus import MESSAGE_ID_HEADER

from crossdock_hub.bus.errors import BusRefused

MAX_BATCH_MESSAGES: Final = 1_000
# The server makes a store on disk for each batch, syncs four of its files and deletes it all: up to
# so many messages are written and synced one by one in no more syncs, and at a quarter of the cost.
CHAIN_MESSAGES: Final = 4
# A batch that alternates between known and new ids is not tried as a whole for ever.
MAX_BATCH_RETRIES: Final = 3
MAX_BATCH_BYTES: Final = 8 * 1024 * 1024
BATCH_ID_HEADER: Final = "Nats-Batch-Id"
BATCH_SEQUENCE_HEADER: Final = "Nats-Batch-Sequence"
BATCH_COMMIT_HEADER: Final = "Nats-Batch-Commit"
FENCE_HEADER: Final = "Nats-Expected-Last-Subject-Sequence"
# Of the whole stream: stronger than a partition's, and one batch may hold many partitions.
STREAM_FENCE_HEADER: Final = "Nats-Expected-Last-Sequence"
LAST_ID_FENCE_HEADER: Final = "Nats-Expected-Last-Msg-Id"

STATUS_NO_RESPONDERS: Final = "503"
NO_STREAM: Final = int(STATUS_NO_RESPONDERS)
DUPLICATE_IN_BATCH: Final = 10201
WRONG_LAST_SEQUENCE: Final = 10071
STREAM_FULL: Final = 10077
# Not JetStream's: the server tells a missing permission outside of the answer.
PERMISSION_DENIED: Final = 403


class Outcome(StrEnum):
    """What became of a message.

    STORED: acknowledged now. DUPLICATE: it was stored before, under the same message id.
    UNKNOWN: sent and not answered; repeat it. REFUSED: certainly not stored, `reason` says why.
    """

    STORED = "stored"
    DUPLICATE = "duplicate"
    UNKNOWN = "unknown"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Message:
    """One message to publish. headers carry the message id under "Nats-Msg-Id"."""

    subject: str
    payload: bytes
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def message_id(self) -> str:
        return self.headers.get(MESSAGE_ID_HEADER, "")

    @property
    def is_fenced(self) -> bool:
        """Whether it is only to be stored after a certain predecessor."""
        return FENCE_HEADER in self.headers or STREAM_FENCE_HEADER in self.headers

    def behind(self, sequence: int, message_id: str = "") -> Message:
        """This message, to be stored only as the next one of its stream after a sequence, and
        after the message of an id, where one is named."""
        fence = {STREAM_FENCE_HEADER: str(sequence)}
        if message_id:
            fence[LAST_ID_FENCE_HEADER] = message_id
        return replace(self, headers={**self.headers, **fence})


@dataclass(frozen=True, slots=True)
class PublishResult:
    """The end of one message. sequence: in its stream, 0 where unknown. code: JetStream's."""

    outcome: Outcome
    sequence: int = 0
    code: int = 0
    reason: str = ""

    @property
    def is_stored(self) -> bool:
        """Whether the stream has the message, now or from before."""
        return self.outcome in (Outcome.STORED, Outcome.DUPLICATE)


@dataclass(slots=True)
class _Flight:
    """Messages of one subject: those that wait for an answer, and those for room among them."""

    room: asyncio.Semaphore
    count: int = 0


class Flights:
    """Messages that wait for their answers, so many of each subject: where the stream of one gives
    none, others' have their room all the same."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._flights: dict[str, _Flight] = {}

    async def enter(self, subject: str, seconds: float) -> bool:
        """Take room for one more message; False: there was none in time."""
        flight = self._flights.setdefault(subject, _Flight(asyncio.Semaphore(self._most)))
        flight.count += 1
        entered = False
        try:
            if flight.room.locked():
                async with asyncio.timeout(seconds):
                    entered = await flight.room.acquire()
            else:
                entered = await flight.room.acquire()
        except TimeoutError:
            pass
        finally:
            if not entered:
                self._forget(subject, flight)
        return entered

    def leave(self, subject: str, _: object = None) -> None:
        """A message has its answer, or nobody waits for it any more."""
        flight = self._flights[subject]
        flight.room.release()
        self._forget(subject, flight)

    def _forget(self, subject: str, flight: _Flight) -> None:
        flight.count -= 1
        if not flight.count:
            del self._flights[subject]


def refused(reason: str, code: int = 0) -> PublishResult:
    return PublishResult(Outcome.REFUSED, 0, code, reason)


def unknown(reason: str) -> PublishResult:
    return PublishResult(Outcome.UNKNOWN, 0, 0, reason)


def read_answer(data: bytes, headers: Mapping[str, str] | None) -> PublishResult:
    """What the stream answered to one message, or to a batch: then of its last message."""
    if headers and headers.get("Status") == STATUS_NO_RESPONDERS:
        return refused("no stream takes this subject, or JetStream is not up", NO_STREAM)
    try:
        told: dict[str, Any] = json.loads(data)
        error = told.get("error")
        if error:
            code = int(error.get("err_code") or error.get("code") or 0)
            return refused(str(error.get("description", "refused")), code)
        outcome = Outcome.DUPLICATE if told.get("duplicate") else Outcome.STORED
        return PublishResult(outcome, int(told["seq"]))
    except (ValueError, TypeError, KeyError, AttributeError):
        return unknown("the stream's answer cannot be read")


def result_of(answer: asyncio.Future[Any]) -> PublishResult:
    """What came of a message that was sent and may have been answered."""
    if not answer.done():
        answer.cancel()
        return unknown("no answer in time")
    error = answer.exception()
    if error is None:
        message = answer.result()
        return read_answer(message.data, message.headers)
    if isinstance(error, BusRefused):
        return refused(str(error), error.code)
    return unknown(str(error))


def batch_results(last: PublishResult, count: int) -> list[PublishResult]:
    """The results of a batch's messages, from the answer to its commit: all or none are stored."""
    if last.outcome is not Outcome.STORED:
        return [last] * count
    first = last.sequence - count + 1
    return [PublishResult(Outcome.STORED, first + position) for position in range(count)]


def batch_headers(message: Message, batch_id: str, position: int, is_last: bool) -> dict[str, str]:
    """The headers of the message at `position` (from 1) of a batch."""
    headers = dict(message.headers)
    headers[BATCH_ID_HEADER] = batch_id
    headers[BATCH_SEQUENCE_HEADER] = str(position)
    if is_last:
        headers[BATCH_COMMIT_HEADER] = "1"
    return headers


def chain(part: Sequence[Message]) -> Sequence[Message]:
    """Messages that may travel one by one, all sent at once, and are stored in order even so: each
    only directly behind the one before it, by its place and by its id. Empty where they may not:
    there are many, or the first is not fenced by the end of the stream.

    For a stream of one copy only: a cluster looks at the id when each node has the message in its
    log already, and a node that finds another one stops the stream for good (nats-server 2.15).
    """
    first = part[0]
    if len(part) == 1:
        return part
    if len(part) > CHAIN_MESSAGES or STREAM_FENCE_HEADER not in first.headers:
        return ()
    start = int(first.headers[STREAM_FENCE_HEADER])
    before = [message.message_id for message in part]
    behind = zip(range(start + 1, start + len(part)), before, part[1:], strict=False)
    return [first, *(each.behind(place, known_id) for place, known_id, each in behind)]


def in_order(results: Sequence[PublishResult]) -> list[PublishResult]:
    """The results of a chain, of which nothing counts as stored behind what may not be."""
    good = next((n for n, each in enumerate(results) if not each.is_stored), len(results))
    doubtful = [
        unknown("behind a message that may not be stored") if each.is_stored else each
        for each in results[good:]
    ]
    return [*results[:good], *doubtful]


def slices(messages: Sequence[Message]) -> Iterator[Sequence[Message]]:
    """Cuts messages, in order, into batches within the limits of count and bytes."""
    start, size = 0, 0
    for position, message in enumerate(messages):
        weight = len(message.payload)
        full = position - start >= MAX_BATCH_MESSAGES or size + weight > MAX_BATCH_BYTES
        if position > start and full:
            yield messages[start:position]
            start, size = position, 0
        size += weight
    if start < len(messages):
        yield messages[start:]


Commit = Callable[[Sequence[Message]], Awaitable[list[PublishResult]]]


async def publish_slice(part: Sequence[Message], commit: Commit) -> list[PublishResult]:
    """The results of one batch, in order; `commit` stores messages, several of them atomically.

    Known ids: one by one up to the first new message, then a batch again; after some such rounds
    one by one to the end. Nothing is sent after a message that was not stored.
    """
    results: list[PublishResult] = []
    is_fenced = any(message.is_fenced for message in part)
    rounds = 0
    while len(results) < len(part) and (not results or results[-1].is_stored):
        rest = part[len(results) :]
        tried = await commit(rest)
        if tried[0].code == DUPLICATE_IN_BATCH and not is_fenced:
            rounds += 1
            tried = await _one_by_one(rest, rounds <= MAX_BATCH_RETRIES, commit)
        results += tried
    missing = len(part) - len(results)
    return results + [refused("not sent: an earlier message was not stored")] * missing


async def _one_by_one(
    part: Sequence[Message], until_new: bool, commit: Commit
) -> list[PublishResult]:
    results: list[PublishResult] = []
    for message in part:
        results += await commit([message])
        if not results[-1].is_stored:
            break
        if until_new and results[-1].outcome is Outcome.STORED:
            break
    return results
