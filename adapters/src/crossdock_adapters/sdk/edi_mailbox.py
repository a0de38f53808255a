"""A partner's mailbox of X12 files: each interchange once, acknowledged, and its file put away.

A file is taken from the inbound folder, read, told, answered with a 997 in the outbound folder, and
moved to the archive. What it said and its control number are kept by the hub before it is moved, so
a process that dies in between repeats facts that the hub knows, and the 997 under the same number.
What cannot be told is held by the hub with the file, whose other parts are told all the same.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from crossdock.errors import CrossdockError, InvalidRequestError, PreconditionError

from crossdock_adapters.sdk.attempts import HubAway, HubRefused
from crossdock_adapters.sdk.cursors import CursorMoved
from crossdock_adapters.sdk.drop_folder import (
    DropFolder,
    FileFact,
    FileMissing,
    NameTaken,
    names_in,
    publish_whole,
)
from crossdock_adapters.sdk.edi_progress import STEP, Progress
from crossdock_adapters.sdk.outcomes import (
    NeedsPerson,
    Unreachable,
    Untranslatable,
    VendorOutcome,
)
from crossdock_adapters.sdk.places import Unreadable
from crossdock_adapters.sdk.sequences import Sequences, Taken
from crossdock_adapters.sdk.work import Poll
from crossdock_adapters.sdk.x12 import acknowledgments, envelopes, receiving
from crossdock_adapters.sdk.x12.acknowledgments import FUNCTIONAL_ID, SetAnswer
from crossdock_adapters.sdk.x12.envelopes import Envelope, Group, Interchange, Payload
from crossdock_adapters.sdk.x12.envelopes import TransactionSet as Set
from crossdock_adapters.sdk.x12.receiving import RecordFull, Verdict
from crossdock_adapters.sdk.x12.segments import MAX_BYTES, Fault, Segment, SegmentError

log = logging.getLogger(__name__)

MEDIA: Final = "application/edi-x12"
MAX_FILES_AT_ONCE: Final = 500
MAX_REASONS: Final = 20
MAX_TOLD: Final = 10
# The share of the room for control numbers from which on somebody has to act.
WARNED_FULLNESS: Final = 0.8
RECORD: Final = "interchanges"
NUMBERS: Final = "interchange"
# The alert for control numbers that were skipped.
MISSING: Final = "interchanges_missing"
SUFFIX_CHARACTERS: Final = 16
# Words of the hub, of the partner's place and of the ways to both: no fault of a file.
WORDS: Final = (VendorOutcome, CrossdockError, HubAway, HubRefused, CursorMoved, OSError)
# TA104: the interchange was taken, or was and has errors, or was not.
ACCEPTED, WITH_ERRORS, REFUSED = "A", "E", "R"
# TA105: its number came before. That is no word about the first one, which may well be taken: who
# died behind a file publishes it again.
CAME_BEFORE = "025"


@dataclass(frozen=True, slots=True)
class Way:
    """How the two sides agreed to exchange files.

    envelope: of what we write; what comes has sender and receiver the other way round. inbound,
    outbound, archive: folders. temporary: ending of files that are being written. kept_days: how
    long control numbers are known. awaited_days: how long one that was skipped is waited for; 0:
    not at all, for a partner whose counter serves others, too. incomplete_seconds: a file that
    breaks off is still being written when it is younger. acknowledges: whether 997s are sent.
    """

    envelope: Envelope
    inbound: str
    outbound: str
    archive: str
    temporary: str
    encoding: str
    kept_days: int
    awaited_days: int
    incomplete_seconds: float
    acknowledges: bool = True


@dataclass(frozen=True, slots=True)
class Read:
    """What came of one set: its place in a 997, and what a person has to look at.

    faults: elements that are wrong; codes: why the set is not taken (AK5); problems: why the file
    is held, or with `alone` the set by itself.
    """

    faults: tuple[Fault, ...] = ()
    codes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    alone: bool = False

    @classmethod
    def of(cls, errors: Sequence[Unreadable]) -> Read:
        """What a set is whose reader found these; what it could read is told."""
        faults = [each.fault for each in errors if isinstance(each, SegmentError) and each.fault]
        return cls(tuple(faults), (), tuple(map(str, errors)))


Tell = Callable[[Set, Group], Awaitable[Read]]
# What is done with the number of an interchange of ours that a TA1 refuses, and its note; what a
# person has to look at, "" when nothing is.
Refused = Callable[[int, str], Awaitable[str]]


@dataclass(slots=True)
class Told:
    """What we say about each set of each group, and what a person has to look at: of the file, and
    of sets by themselves."""

    answers: list[list[SetAnswer]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    alone: list[tuple[Payload, str]] = field(default_factory=list)


class EdiMailbox:
    """One partner's folders."""

    def __init__(self, folder: DropFolder, way: Way) -> None:
        self.way = way
        self._folder = folder
        self._highest_out = 0

    async def test(self) -> None:
        """Prove that the folders are there and may be listed."""
        for name in (self.way.inbound, self.way.outbound, self.way.archive):
            await self._names(name)

    async def close(self) -> None:
        """Close the connection."""
        await self._folder.close()

    async def take(self, poll: Poll, tell: Tell, refused: Refused | None = None) -> None:
        """One round: every file that is there, by name. `tell` is given one set at a time.

        CursorMoved: another process takes the same files; the next round sees what it left.
        """
        facts = [
            each
            for each in await self._names(self.way.inbound)
            if not each.name.endswith(self.way.temporary)
        ]
        # Once for all that is answered in this round: a day's answers fill the folder.
        self._highest_out = await self._highest()
        for fact in sorted(facts, key=lambda each: each.name)[:MAX_FILES_AT_ONCE]:
            await self._take_file(poll, tell, refused, fact)
        await self._tell_missing(poll)

    async def tell_again(
        self, poll: Poll, payload: bytes, tell: Tell, refused: Refused | None = None
    ) -> None:
        """A payload that was held: told without a word to the partner, who was answered before."""
        problems: list[str] = []
        try:
            read = envelopes.read(payload, self.way.encoding)
            for interchange in read.interchanges:
                told = await _told(interchange, tell, refused)
                problems += [*told.problems, *(reason for _, reason in told.alone)]
        except Unreadable as error:
            problems = [str(error)]
        await _hold(poll, payload, problems)

    async def number(self, sequences: Sequences, key: str) -> Taken:
        """The control number of what is sent for this key, and its time."""
        return await sequences.take(NUMBERS, key, await self._highest() + 1)

    async def publish(
        self,
        functional_id: str,
        taken: Taken,
        sets: Callable[[datetime], Sequence[Set]],
        others: Sequence[Segment] = (),
    ) -> None:
        """Publish sets as the interchange with this number.

        sets: makes them, given its time; others: what stands before them, as a TA1. Whoever comes
        again with the number's key before `sent` closes it publishes the same bytes under the same
        name: where the first file is still there nothing changes, and where it was taken the
        partner knows the number.
        """
        body = self.rendered(functional_id, taken, sets(taken.time), others)
        await self._publish(name_of(functional_id, taken.number), body)

    def rendered(
        self,
        functional_id: str,
        taken: Taken,
        sets: Sequence[Set],
        others: Sequence[Segment] = (),
    ) -> bytes:
        """The file of these sets. Untranslatable: the encoding does not have a character."""
        how, encoding = self.way.envelope, self.way.encoding
        groups = [how.group(functional_id, taken.number, taken.time, sets)] if sets else []
        made = how.interchange(taken.number, taken.time, groups)
        try:
            return envelopes.write(Payload((replace(made, others=tuple(others)),)), encoding)
        except UnicodeEncodeError as error:
            before, character = error.object[: error.start], error.object[error.start]
            parts = before.rpartition(how.delimiters.terminator)[2].split(how.delimiters.element)
            raise Untranslatable(
                f"{parts[0].strip()}{len(parts) - 1:02}: the encoding {encoding} does not have "
                f"{character!r}: write it otherwise, or agree on another encoding with the partner"
            ) from error

    async def sent(self, sequences: Sequences, key: str) -> None:
        """What was sent for this key is noted where it has to be."""
        await sequences.close(NUMBERS, key)

    async def _take_file(
        self, poll: Poll, tell: Tell, refused: Refused | None, fact: FileFact
    ) -> None:
        try:
            body = await self._folder.read(f"{self.way.inbound}/{fact.name}", MAX_BYTES)
        except FileMissing:
            return
        try:
            read = await asyncio.to_thread(envelopes.read, body, self.way.encoding)
        except Unreadable as error:
            if self._is_young(fact):
                return
            await _hold(poll, body, [str(error)])
            await self._put_away(fact.name, body)
            return
        progress = await self._take_payload(poll, tell, refused, body, read)
        await self._put_away(fact.name, body)
        # Not before: a file that stays is gone on with.
        await progress.end()

    async def _take_payload(
        self, poll: Poll, tell: Tell, refused: Refused | None, body: bytes, read: Payload
    ) -> Progress:
        """Each interchange of a file, from where somebody left it who did not come to its end; what
        is noted of that."""
        assert poll.cursors is not None
        await poll.catch_up()
        progress = Progress(poll.cursors, body, MAX_REASONS)
        is_long = len(read.interchanges) > STEP
        if is_long:
            await progress.load()
        problems = progress.problems
        for place, interchange in enumerate(read.interchanges[progress.done :], progress.done + 1):
            problems += await self._take_interchange(poll, tell, refused, interchange)
            if is_long and place % STEP == 0:
                await progress.note(place, problems)
        await _hold(poll, body, problems)
        return progress

    async def _take_interchange(
        self, poll: Poll, tell: Tell, refused: Refused | None, interchange: Interchange
    ) -> list[str]:
        """Tell what is new, acknowledge it, and keep its number; what a person has to look at."""
        stranger = self._stranger(interchange)
        if stranger:
            return [stranger]
        assert poll.cursors is not None
        raw, version = await poll.cursors.get_cursor(RECORD)
        number, content = interchange.control_number, receiving.digest(interchange)
        today = datetime.now(UTC).date()
        record = receiving.decode(raw, today)
        try:
            decision = receiving.decide(record, number, content, today, self.way.kept_days)
        except RecordFull as full:
            # The file stays: taken without its number, it would be taken twice.
            # The partner is there, and waiting does not help: a person has to lower the days.
            raise NeedsPerson(f"{interchange.header.place(13)}: {full}") from full
        if decision.verdict is Verdict.CONFLICT:
            return [f"{interchange.header.place(13)}: came before with other content"]
        told = await _told(interchange, tell, refused)
        for payload, reason in told.alone:
            await _hold(poll, envelopes.write(payload, self.way.encoding), [reason])
        await self._acknowledge(poll, interchange, told.answers, f"{number}:{content}")
        if decision.verdict is Verdict.DUPLICATE:
            # Its 997 may be what was lost, and so may what a person has to look at.
            log.info("interchange %09d came again, and is acknowledged again", number)
            return told.problems
        await poll.cursors.put_cursor(RECORD, receiving.encode(decision.record), version)
        if decision.fullness >= WARNED_FULLNESS:
            log.warning(
                "control numbers of %d days fill %d %% of their room: lower the days that they are "
                "known before files have to wait",
                len(decision.record.days),
                decision.fullness * 100,
            )
        if decision.gap and self.way.awaited_days > 0:
            missing = ", ".join(f"{each:09}" for each in decision.gap[-MAX_TOLD:])
            log.warning("interchange %09d came, and not before it: %s", number, missing)
        return told.problems

    async def _tell_missing(self, poll: Poll) -> None:
        """Sound an alert for what the partner sent and did not come, until it does. By the record:
        another process may have taken what fills a gap, and a new one knows of the old gaps. For
        `awaited_days`: gaps are no fault of the partner's, and what it dropped never comes."""
        assert poll.cursors is not None
        raw, version = await poll.cursors.get_cursor(RECORD)
        today = datetime.now(UTC).date()
        record = receiving.decode(raw, today)
        if not receiving.is_dated(raw):
            # Their days count from now on, not from each look at them.
            await poll.cursors.put_cursor(RECORD, receiving.encode(record), version)
        awaited_days = min(self.way.awaited_days, self.way.kept_days)
        missing = receiving.missing(record, today, awaited_days)
        if not missing:
            poll.alerts.lift(MISSING)
            return
        told = ", ".join(f"{each:09}" for each in missing[-MAX_TOLD:])
        more = f" and {len(missing) - MAX_TOLD} before them" if len(missing) > MAX_TOLD else ""
        partner = self.way.envelope.receiver[1].strip()
        said = f"interchanges of {partner} that later ones passed have not come: {told}{more}"
        poll.alerts.sound(MISSING, f"{said}; ask for them")

    def _stranger(self, interchange: Interchange) -> str:
        """Why an interchange is not for us; "" when it is."""
        ours = self.way.envelope
        for element, wanted, given in (
            (6, ours.receiver, interchange.sender),
            (8, ours.sender, interchange.receiver),
        ):
            if given != wanted:
                return f"{interchange.header.place(element)}: is not who the settings name"
        if interchange.usage != ours.usage:
            return f"{interchange.header.place(15)}: is not the usage of the settings"
        return ""

    async def _acknowledge(
        self,
        poll: Poll,
        interchange: Interchange,
        answers: Sequence[Sequence[SetAnswer]],
        key: str,
    ) -> None:
        pairs = zip(interchange.groups, answers, strict=True)
        said = [
            acknowledgments.answer(group, own)
            for group, own in pairs
            if group.functional_id != FUNCTIONAL_ID
        ]
        marks = self.way.envelope.delimiters
        others = acknowledgments.of_interchange(interchange, marks)
        if not (said or others) or not self.way.acknowledges:
            return

        def sets(_: datetime) -> list[Set]:
            return [
                acknowledgments.build(each, f"{place:04}", marks)
                for place, each in enumerate(said, start=1)
            ]

        assert poll.sequences is not None
        key = f"{FUNCTIONAL_ID}:{key}"
        taken = await poll.sequences.take(NUMBERS, key, self._highest_out + 1)
        await self.publish(FUNCTIONAL_ID, taken, sets, others)
        await self.sent(poll.sequences, key)

    def _is_young(self, fact: FileFact) -> bool:
        if fact.modified is None:
            return False
        return datetime.now(UTC) - fact.modified < timedelta(seconds=self.way.incomplete_seconds)

    async def _put_away(self, name: str, body: bytes) -> None:
        """Into the archive: under its name; where that is taken, with its digest and a count."""
        digest = hashlib.sha256(body).hexdigest()[:SUFFIX_CHARACTERS]
        for suffix in ("", f".{digest}", *(f".{digest}.{again}" for again in range(2, 1000))):
            try:
                await self._folder.publish(
                    f"{self.way.inbound}/{name}", f"{self.way.archive}/{name}{suffix}"
                )
            except NameTaken:
                continue
            except FileMissing:
                # Another process was faster.
                return
            return
        raise Unreachable(0.0, f"{self.way.archive} has a thousand files {name}: clear it")

    async def _publish(self, name: str, body: bytes) -> None:
        way = self.way
        path = f"{way.outbound}/{name}"
        await publish_whole(self._folder, path, body, f"{path}{way.temporary}")

    async def _highest(self) -> int:
        """The highest control number in the names of files that the partner has not taken yet."""
        names = [each.name for each in await self._names(self.way.outbound)]
        return max((number for name in names if (number := number_of(name))), default=0)

    async def _names(self, folder: str) -> list[FileFact]:
        return await names_in(self._folder, folder)


def name_of(functional_id: str, number: int) -> str:
    """The name of a file that we send: unique by its control number."""
    return f"{functional_id}_{number:09d}.edi"


def number_of(name: str) -> int:
    """The control number in a name of ours; 0: it is none."""
    _, _, rest = name.partition("_")
    digits, dot, _ = rest.partition(".")
    return int(digits) if dot and len(digits) == 9 and digits.isascii() and digits.isdigit() else 0


def unsupported(found: Set) -> Read:
    """A set that this endpoint does not know: rejected, and held for a person."""
    place = found.header.place(1)
    return Read(codes=(envelopes.SET_NOT_SUPPORTED,), problems=(f"{place}: no such set here",))


async def _told(interchange: Interchange, tell: Tell, refused: Refused | None) -> Told:
    told = Told()
    for each in interchange.others:
        told.problems += await _of_ours(each, refused)
    for group in interchange.groups:
        own = []
        for found in group.sets:
            if found.codes or group.codes:
                # Broken envelopes are not read: what is missing from them nobody knows.
                said = Read(problems=(_broken(found, group),))
            else:
                said = await _tried(tell, found, group)
            own.append(acknowledgments.judged(found, said.faults, *said.codes))
            if said.alone:
                payload = envelopes.alone(interchange, group, found)
                told.alone.append((payload, "; ".join(said.problems)))
            else:
                told.problems += said.problems
        if not group.sets:
            told.problems.append(f"{group.header.place()}: a group without a set")
        told.answers.append(own)
    return told


async def _of_ours(found: Segment, refused: Refused | None) -> list[str]:
    """What a person has to look at of a TA1, which answers an interchange of ours."""
    said, number, note = (found.raw(each).strip() for each in (4, 1, 5))
    if said == ACCEPTED:
        return []
    which = f"interchange {number} of ours"
    if said == WITH_ERRORS:
        return [f"{found.place(4)}: the partner took {which} with errors, note {note}"]
    if said != REFUSED:
        return [f"{found.place(4)}: {said!r} of {which} is none of A, E and R, note {note}"]
    if note == CAME_BEFORE:
        return [f"{found.place(5)}: the partner had {which} before: ask it whether it took that"]
    wrong = f"the partner did not take {which}, note {note}"
    if refused is None or not (number.isascii() and number.isdigit() and len(number) <= 9):
        return [f"{found.place(4)}: {wrong}"]
    more = await refused(int(number), note)
    return [f"{found.place(4)}: {wrong}: {more}"] if more else []


async def _tried(tell: Tell, found: Set, group: Group) -> Read:
    """What tell says. What it does not foresee is held, because a file that stayed for it would
    keep back every file behind it. Words of the hub and of the partner's place are raised."""
    place = found.header.place()
    try:
        return await tell(found, group)
    except (InvalidRequestError, PreconditionError) as refused:
        return Read(
            problems=(f"{place}: the hub refuses it ({refused.reason}): mend and drive it",)
        )
    except WORDS:
        raise
    except Exception as fault:
        # No text of the fault: it may have what the file says of a customer.
        kind = type(fault).__name__
        log.error("%s of a file cannot be read: %s; the file is held", place, kind)
        return Read(problems=(f"{place}: cannot be read here ({kind}): report it, then drive it",))


def _broken(found: Set, group: Group) -> str:
    part: Segment = found.header if found.codes else group.header
    codes = ", ".join(found.codes or group.codes)
    return f"{part.place()}: its envelope is wrong (code {codes} of the 997)"


async def _hold(poll: Poll, body: bytes, problems: Sequence[str]) -> None:
    if problems:
        digest = hashlib.sha256(body).hexdigest()
        await poll.hold(body, "; ".join(problems[:MAX_REASONS]), MEDIA, key=digest)
