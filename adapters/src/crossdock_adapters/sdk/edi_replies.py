"""What became of X12 sets that were sent: each goes out once, and its answers come back by files.

A set is known by a reference of ours that its answer repeats. It is noted and then sent,
acknowledged by a 997, and answered by a set of its own, in whatever order these come. The newest
are kept by the hub, one state for each functional id; what a second answer says against the first
is not written over it: somebody looks. A 997 says that a set can be read, and nothing about what
it asks for.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from crossdock_adapters.sdk.attempts import HubAway
from crossdock_adapters.sdk.cursors import CursorMoved, Cursors
from crossdock_adapters.sdk.edi_mailbox import EdiMailbox, Read
from crossdock_adapters.sdk.outcomes import AnswerLater, NeedsPerson, OutcomeUnknown, Retry
from crossdock_adapters.sdk.places import Unreadable
from crossdock_adapters.sdk.sequences import Taken
from crossdock_adapters.sdk.work import Poll, Work
from crossdock_adapters.sdk.x12 import acknowledgments
from crossdock_adapters.sdk.x12.acknowledgments import Status
from crossdock_adapters.sdk.x12.envelopes import TransactionSet

log = logging.getLogger(__name__)

CURSOR_PREFIX: Final = "sent:"
# As many as fit into what the hub keeps of a cursor, each with a reason of so many bytes.
MAX_SENT: Final = 200
MAX_REASON_BYTES: Final = 60
# A delivery that took its answer and died before the hub knew that asks again within this.
KEPT_COLLECTED: Final = timedelta(minutes=15)
# What is over, and nobody took its answer for so long, is of a delivery that a person ended.
KEPT_OVER: Final = timedelta(days=30)
# What is never answered. No delivery asks for it any more: a thousand attempts last some days, and
# one that waits for a person so long is about freight that went another way.
KEPT_OPEN: Final = timedelta(days=90)
# The share of the room for sets that wait from which on somebody has to act.
WARNED_FULLNESS: Final = 0.8
MAX_TRIES: Final = 20
BUSY_SECONDS: Final = 5.0
LOOK_PAUSE_SECONDS: Final = 0.1


@dataclass(frozen=True, slots=True)
class Sent:
    """One set that we sent. answer: the partner's word, "" until it came; syntax: of its 997.

    number: of its interchange and group; sent: UTC, when this was noted, before its file was
    published; out: whether that is surely done; collected: UTC, when its delivery took the answer.
    """

    reference: str
    number: int
    sent: datetime
    syntax: str = ""
    answer: str = ""
    reason: str = ""
    out: bool = False
    collected: datetime | None = None

    @property
    def is_out(self) -> bool:
        """Whether the partner has it, or will find it: what is answered was published, too."""
        return bool(self.out or self.syntax or self.answer)

    @property
    def open(self) -> bool:
        """Whether an answer is still awaited."""
        return not self.answer and (not self.syntax or Status(self.syntax).accepted)

    def may_go(self, now: datetime) -> bool:
        """Whether nobody will ask for it: one that a delivery may ask for would be sent again."""
        if self.collected is not None:
            return now - self.collected >= KEPT_COLLECTED
        return now - self.sent >= (KEPT_OPEN if self.open else KEPT_OVER)


State = tuple[Sent, ...]


def of(state: State, reference: str) -> Sent | None:
    """The set with this reference; None: it is not known, or no longer."""
    return next((each for each in state if each.reference == reference), None)


def noted(state: State, sent: Sent) -> State:
    """The state in which this is sent. Retry: too many wait for an answer or their delivery."""
    if of(state, sent.reference) is not None:
        return state
    kept = list(state)
    while len(kept) >= MAX_SENT:
        done = next((each for each in kept if each.may_go(sent.sent)), None)
        if done is None:
            raise Retry(BUSY_SECONDS, f"{MAX_SENT} sets wait for their answer or their delivery")
        kept.remove(done)
    return (*kept, sent)


def answered(
    state: State,
    reference: str,
    word: str,
    reason: str,
    *,
    reason_counts: bool = False,
    counted: Callable[[str], str] = str,
) -> tuple[State, str]:
    """The state with this answer, and what is wrong with it; "" when nothing is.

    reason_counts: the reason is more than words, such as the partner's number of what it took, and
    another one is another answer. counted: what of a reason that is; by default all of it.
    """
    found = of(state, reference)
    if found is None:
        return state, "it answers nothing that is known to be sent"
    cut = reason.encode()[:MAX_REASON_BYTES].decode(errors="ignore")
    if found.answer == word and (counted(found.reason) == counted(cut) or not reason_counts):
        return state, ""
    if found.answer == word:
        return state, f"it says {word} {cut} of what was answered {word} {found.reason} before"
    if found.answer:
        return state, f"it says {word} of what was answered {found.answer} before"
    changed = replace(found, answer=word, reason=cut)
    return tuple(changed if each is found else each for each in state), ""


def published(state: State, reference: str) -> State:
    """The state in which the file of this set is out."""
    return tuple(replace(each, out=True) if each.reference == reference else each for each in state)


def collected(state: State, reference: str, now: datetime) -> State:
    """The state in which the delivery of this set has its answer."""
    return tuple(
        replace(each, collected=now) if each.reference == reference else each for each in state
    )


def acknowledged(state: State, number: int, status: str) -> tuple[State, str]:
    """The state in which a 997 says this of the group with this number, and what is wrong: also
    where it takes what was refused before, or refuses what was taken."""
    known = [each for each in state if each.number == number]
    if not known:
        return state, f"it acknowledges group {number}, which is not known to be sent"
    before = next((each.syntax for each in known if each.syntax), "")
    if before and Status(before).accepted is not Status(status).accepted:
        return state, f"it says {status} of group {number}, which was acknowledged {before} before"
    changed = tuple(
        replace(each, syntax=status) if each.number == number and not each.syntax else each
        for each in state
    )
    return changed, ""


def encode(state: State) -> bytes:
    """As the hub keeps it."""
    told = [
        {
            **asdict(each),
            "sent": each.sent.isoformat(),
            "collected": each.collected and each.collected.isoformat(),
        }
        for each in state
    ]
    return json.dumps(told, ensure_ascii=False, separators=(",", ":")).encode()


def decode(raw: bytes) -> State:
    """What `encode` wrote; nothing is nothing sent."""
    told = json.loads(raw) if raw else []
    for each in told:
        each["sent"] = datetime.fromisoformat(each["sent"])
        if each.get("collected"):
            each["collected"] = datetime.fromisoformat(each["collected"])
    return tuple(Sent(**each) for each in told)


async def send_once(
    work: Work,
    mailbox: EdiMailbox,
    functional_id: str,
    reference: str,
    sets: Callable[[datetime], Sequence[TransactionSet]],
    within: timedelta | None = None,
) -> Sent:
    """What is known of the set with this reference; sent now where it was not.

    It is noted before it is published, so that no answer is faster than what we know of it. Whoever
    finds it noted and not out publishes the same bytes under the same number, until `within` is
    over since it was noted. Untranslatable: the encoding does not have a character; NeedsPerson:
    its time went by; Retry: nothing was sent, or too many wait; OutcomeUnknown: it is out, and the
    hub does not know that yet.
    """
    assert work.cursors is not None and work.sequences is not None
    key = f"{functional_id}:{reference}"
    try:
        found = of(await _known(work.cursors, functional_id), reference)
        if found is None:
            # Its time is now: what had to wait for room is not late before it is out.
            now = datetime.now(UTC).replace(microsecond=0)
            # What cannot be written takes no number, and no place among what waits.
            mailbox.rendered(functional_id, Taken(1, now), sets(now))
            taken = await mailbox.number(work.sequences, key)
            fresh = Sent(reference, taken.number, now)
            state = await _change(work.cursors, functional_id, lambda known: noted(known, fresh))
            _warn_of_fullness(state, functional_id, now)
            found = of(state, reference) or fresh
        elif within is not None:
            _check_time(found, within)
        if found.is_out:
            return found
        # The number is the set's own from here on, however long its file has to wait.
        await mailbox.sent(work.sequences, key)
    except HubAway as away:
        raise Retry(0.0, f"the hub did not answer for what was sent: {away}") from away
    await mailbox.publish(functional_id, Taken(found.number, found.sent), sets)
    try:
        state = await _change(
            work.cursors, functional_id, lambda known: published(known, reference)
        )
    except (HubAway, Retry) as trouble:
        raise OutcomeUnknown(f"{reference} is out, and not noted yet: {trouble}") from trouble
    return of(state, reference) or found


def _warn_of_fullness(state: State, functional_id: str, now: datetime) -> None:
    """Say in the log that there is soon no room for one more that waits."""
    waiting = sum(not each.may_go(now) for each in state)
    if waiting >= MAX_SENT * WARNED_FULLNESS:
        oldest = min(each.sent for each in state if not each.may_go(now))
        log.warning(
            "%d of at most %d sets of %s wait for their answer or their delivery, the oldest since "
            "%s: ask the partner for what it owes before the next one has to wait unsent",
            waiting,
            MAX_SENT,
            functional_id,
            f"{oldest:%Y-%m-%d}",
        )


def _check_time(found: Sent, within: timedelta) -> None:
    """NeedsPerson: it is not out, as far as is known, and too late for that."""
    if not found.is_out and datetime.now(UTC) - found.sent > within:
        # Made anew it would be a second one where the first went out and nobody could note that.
        raise NeedsPerson(
            f"interchange {found.number:09d}: its time went by before it was sent: ask the partner "
            "whether it has it; if not, resubmit this delivery"
        )


async def awaited(
    work: Work,
    functional_id: str,
    found: Sent,
    wait_seconds: float,
    done: Callable[[Sent], object] = lambda sent: sent.answer,
) -> Sent:
    """The set as it is once it is done, or after so long: a moment for a quick partner."""
    assert work.cursors is not None
    loop = asyncio.get_running_loop()
    until = loop.time() + wait_seconds
    while not done(found) and loop.time() < until:
        await asyncio.sleep(LOOK_PAUSE_SECONDS)
        try:
            found = of(await _known(work.cursors, functional_id), found.reference) or found
        except HubAway as away:
            raise OutcomeUnknown(f"{found.reference} is out; the hub did not answer") from away
    return found


async def note_answer(
    cursors: Cursors,
    functional_id: str,
    reference: str,
    word: str,
    reason: str = "",
    *,
    reason_counts: bool = False,
    counted: Callable[[str], str] = str,
) -> str:
    """Note the partner's word; what is wrong with it, "" when nothing is, as `answered` says it.
    HubAway: ask again."""
    wrong = ""

    def decide(state: State) -> State:
        nonlocal wrong
        after, wrong = answered(
            state, reference, word, reason, reason_counts=reason_counts, counted=counted
        )
        return after

    await _change(cursors, functional_id, decide)
    return wrong


async def note_collected(cursors: Cursors, functional_id: str, reference: str) -> None:
    """Its delivery ends with the answer, so that it need not be known for long."""
    now = datetime.now(UTC).replace(microsecond=0)
    try:
        await _change(cursors, functional_id, lambda state: collected(state, reference, now))
    except (HubAway, Retry):
        # The answer stands all the same; what nobody collected goes by its age.
        pass


async def note_acknowledgement(poll: Poll, found: TransactionSet, functional_id: str) -> Read:
    """A 997 that came: noted with the set that it is about, if that is of this functional id; a
    person sees one that is about none that is known."""
    try:
        said = acknowledgments.read(found)
    except Unreadable as error:
        return Read.of([error])
    if said.functional_id != functional_id:
        return Read()
    assert poll.cursors is not None
    status = str(said.status_of(said.sets[0].control_number) if said.sets else said.status)
    wrong = ""

    def decide(state: State) -> State:
        nonlocal wrong
        after, wrong = acknowledged(state, said.control_number, status)
        return after

    await _change(poll.cursors, functional_id, decide)
    return Read(problems=(f"{found.header.place()}: {wrong}",) if wrong else ())


async def note_refusal(poll: Poll, functional_id: str, number: int, note: str) -> str:
    """A TA1 that refuses an interchange of ours: noted with the set of this functional id that went
    out in it, whose delivery says so to a person. Why a person has to see the TA1 itself; "" when
    that is all."""
    assert poll.cursors is not None
    wrong = ""

    def decide(state: State) -> State:
        nonlocal wrong
        after, wrong = acknowledged(state, number, Status.REJECTED)
        return after

    await _change(poll.cursors, functional_id, decide)
    if not wrong:
        log.warning("the partner refused interchange %09d of ours, note %s", number, note)
    return wrong


def check_syntax(found: Sent) -> None:
    """NeedsPerson: the partner could not read it."""
    if found.syntax and not Status(found.syntax).accepted:
        raise NeedsPerson(
            f"the partner could not read interchange {found.number:09d} (997 or TA1 says "
            f"{found.syntax}): mend what its guide wants, then resubmit this delivery"
        )


def waiting(found: Sent, silence_seconds: float) -> OutcomeUnknown:
    """To be raised: the partner answers later, or did not even acknowledge it in time."""
    silence = timedelta(seconds=silence_seconds)
    if not found.syntax and datetime.now(UTC) - found.sent > silence:
        return OutcomeUnknown(f"SILENT: interchange {found.number:09d} has no 997 after {silence}")
    awaited = "its answer" if found.syntax else "its 997"
    return AnswerLater(f"interchange {found.number:09d} waits for {awaited}")


async def _known(cursors: Cursors, functional_id: str) -> State:
    raw, _ = await cursors.get_cursor(f"{CURSOR_PREFIX}{functional_id}")
    return decode(raw)


async def _change(cursors: Cursors, functional_id: str, decide: Callable[[State], State]) -> State:
    """The state after a decision, which is taken again when another process was faster."""
    name = f"{CURSOR_PREFIX}{functional_id}"
    for _ in range(MAX_TRIES):
        raw, version = await cursors.get_cursor(name)
        before = decode(raw)
        after = decide(before)
        if after == before:
            return after
        try:
            await cursors.put_cursor(name, encode(after), version)
        except CursorMoved:
            continue
        return after
    raise Retry(BUSY_SECONDS, f"what was sent was moved by others {MAX_TRIES} times")
