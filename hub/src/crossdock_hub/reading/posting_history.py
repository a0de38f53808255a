"""What the vendor got for each intent, and whether it was posted once: verdict and sentence; pure.

An intent is what one endpoint is to do for one object, or for one item of it: the deliveries of its
events, of replays and of resubmissions together. A doubt that something settled is no doubt, but
stays told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from crossdock_hub.delivery.doubts import Doubt, doubts_of
from crossdock_hub.delivery.postings import (
    IntentKey,
    Posting,
    intent_of,
    is_confirmed,
    postings,
)
from crossdock_hub.records import (
    SETTLED_STATES,
    AttemptRecord,
    DeliveryRecord,
    OperatorWordRecord,
)
from crossdock_hub.wording import clock, listed

# Verdicts that somebody has to look into.
DOUBTFUL = frozenset({"IN_DOUBT", "MAY_BE_TWICE", "POSTED_TWICE"})
# A sentence names so many doubts; a call that nobody answers may be repeated for weeks.
DOUBTS_IN_WORDS = 3
_STOPPED = SETTLED_STATES | {"PARKED", "UNROUTED"}
_ENDED = {
    "REJECTED": "refused",
    "PARKED": "parked since",
    "SKIPPED": "skipped by an operator",
    "SUPERSEDED": "superseded",
    "UNROUTED": "served by nobody since",
}


@dataclass(frozen=True, slots=True)
class Logs:
    """What was tried and said, by delivery id, oldest first. now: microseconds UTC."""

    attempts: Mapping[str, Sequence[AttemptRecord]]
    words: Mapping[str, Sequence[OperatorWordRecord]]
    not_found_needed: int
    now: int


@dataclass(frozen=True, slots=True)
class History:
    """One intent. deliveries: in the order in which they were made. posting: None: nothing is.

    verdict: name of a PostingVerdict.
    """

    deliveries: Sequence[DeliveryRecord]
    posting: Posting | None
    doubts: Sequence[Doubt]
    verdict: str
    sentence: str

    @property
    def newest(self) -> DeliveryRecord:
        """The delivery that was made last."""
        return self.deliveries[-1]


def histories(deliveries: Sequence[DeliveryRecord], logs: Logs) -> list[History]:
    """The intents of these deliveries, in the order of their events; none may lack some of its."""
    groups: dict[IntentKey, list[DeliveryRecord]] = {}
    for record in sorted(deliveries, key=lambda r: (r.sequence, r.id)):
        # Work that was routed late stands with the endpoint that got it.
        if record.endpoint or record.state == "UNROUTED":
            groups.setdefault(intent_of(record), []).append(record)
    return [_history(group, logs) for group in groups.values()]


def _history(group: Sequence[DeliveryRecord], logs: Logs) -> History:
    made = sorted(group, key=lambda r: (r.created_at, r.sequence, r.id))
    posting = next(iter(postings(made, logs.attempts)), None)
    doubts = doubts_of(made, logs.attempts, logs.words, logs.not_found_needed)
    verdict = _verdict(made, posting, doubts)
    case = _Case(made, posting, doubts, logs)
    return History(made, posting, doubts, verdict, " ".join(_SENTENCES[verdict](case).split()))


def _verdict(
    made: Sequence[DeliveryRecord], posting: Posting | None, doubts: Sequence[Doubt]
) -> str:
    nobody_knows = any(not doubt.settlement for doubt in doubts)
    if posting is None:
        if nobody_knows:
            return "IN_DOUBT"
        return "NOT_POSTED" if all(r.state in _STOPPED for r in made) else "PENDING"
    if posting.twice:
        return "POSTED_TWICE"
    # A second full state is none too many.
    if posting.maybe_twice or (nobody_knows and not posting.repeatable):
        return "MAY_BE_TWICE"
    return "REPEATED" if posting.repeatable and posting.confirmed > 1 else "POSTED_ONCE"


@dataclass(frozen=True, slots=True)
class _Case:
    made: Sequence[DeliveryRecord]
    posting: Posting | None
    doubts: Sequence[Doubt]
    logs: Logs

    @property
    def known(self) -> Posting:
        assert self.posting is not None
        return self.posting

    @property
    def open_doubts(self) -> list[Doubt]:
        return [doubt for doubt in self.doubts if not doubt.settlement]

    def at(self, time: int) -> str:
        return clock(time, self.logs.now, seconds=True)

    def confirmed_at(self, record: DeliveryRecord) -> int:
        """When the vendor's word came, or the operator's."""
        ends = [
            a.ended_at
            for a in self.logs.attempts.get(record.id, ())
            if a.outcome == "CONFIRMED" and a.ended_at is not None
        ]
        said = [w.said_at for w in self.logs.words.get(record.id, ()) if w.verb == "RESOLVE"]
        return max([*ends, *said], default=record.updated_at)

    @property
    def confirmations(self) -> list[DeliveryRecord]:
        attempts = self.logs.attempts
        return [r for r in self.made if is_confirmed(r, attempts.get(r.id, ()))]


def _named(posting: Posting) -> str:
    """ "sales_order SO-7"; internal ids only where there is no other number."""
    documents = {k: v for k, v in posting.documents.items() if not k.endswith("_id")}
    shown = documents or posting.documents
    return listed([f"{kind} {listed(numbers)}" for kind, numbers in shown.items()])


def _as_document(posting: Posting) -> str:
    return f" as {_named(posting)}" if posting.documents else ", and the vendor gave no number,"


def _once(case: _Case) -> str:
    (record, *_) = case.confirmations
    at = case.at(case.confirmed_at(record))
    return f"posted once{_as_document(case.known)} at {at}{_how(case, record)}{_and_now(case)}"


def _and_now(case: _Case) -> str:
    """How the newest delivery stands, where it is not among what was confirmed."""
    newest = case.made[-1]
    if newest in case.confirmations:
        return ""
    why = f": {newest.waiting_on}" if newest.waiting_on else ""
    return f"; the newest delivery is {newest.state}{why}"


def _how(case: _Case, record: DeliveryRecord) -> str:
    """By what way it came about, where that was not the plain one."""
    clauses = []
    by_hand = [w for w in case.logs.words.get(record.id, ()) if w.verb == "RESOLVE"]
    if by_hand:
        clauses.append(f"by hand of {by_hand[-1].operator}: {by_hand[-1].reason}")
    if record.replay_id:
        clauses.append(f"by replay {record.replay_id}")
    if record.resubmits:
        clauses.append(f"as the resubmission of {record.resubmits}")
    # What stands above as its hand need not be said again.
    told = {d.words for d in case.doubts if not (by_hand and d.settlement == "PERSON")}
    clauses += [f"call in doubt: {words}" for words in sorted(told)]
    return "".join(f"; {clause}" for clause in clauses)


def _repeated(case: _Case) -> str:
    last = max(map(case.confirmed_at, case.confirmations))
    return (
        f"posted {case.known.confirmed} times{_as_document(case.known)} last at {case.at(last)}: "
        f"a full state, which may be sent as often as it changes{_and_now(case)}"
    )


def _twice(case: _Case) -> str:
    posting = case.known
    several = {k: v for k, v in posting.documents.items() if len(v) > 1}
    # The internal ids of two documents are two as well: the numbers that people know are enough.
    shown = {k: v for k, v in several.items() if not k.endswith("_id")} or several
    if not shown:
        times = listed([case.at(case.confirmed_at(r)) for r in case.confirmations])
        return f"posted TWICE, at {times}, without a number: void all but one at {posting.endpoint}"
    kind, numbers = next(iter(shown.items()))
    which = "one" if len(numbers) == 2 else "all but one"
    return f"posted TWICE: {kind} {listed(numbers)}; void {which} of them at {posting.endpoint}"


def _maybe(case: _Case) -> str:
    (record, *_) = case.confirmations
    posted = f"posted{_as_document(case.known)} at {case.at(case.confirmed_at(record))}"
    why = _open(case)
    if case.known.maybe_twice:
        why.append(f"it was confirmed {case.known.confirmed} times, once without a number")
    return f"{posted}, and MAY BE TWICE: {'; '.join(why)}"


def _in_doubt(case: _Case) -> str:
    return f"NOBODY KNOWS whether it is posted: {'; '.join(_open(case))}"


def _open(case: _Case) -> list[str]:
    """The open doubts in words: the first ones, and how many more there are."""
    told = [_doubt(case, doubt) for doubt in case.open_doubts[:DOUBTS_IN_WORDS]]
    more = len(case.open_doubts) - len(told)
    return [*told, f"and {more} more such calls"] if more else told


def _doubt(case: _Case, doubt: Doubt) -> str:
    attempt = doubt.attempt
    if attempt is None:
        return f"{doubt.words}, since {case.at(doubt.begun_at)}"
    outcome = attempt.outcome or "without an end"
    why = f" ({attempt.reason})" if attempt.reason else ""
    return f"call {attempt.number} of {case.at(doubt.begun_at)} is {outcome}{why}: {doubt.words}"


def _not_posted(case: _Case) -> str:
    # The one that was made last says how it stands: what it replaced ended for its sake.
    record = case.made[-1]
    why = f": {record.waiting_on}" if record.waiting_on else ""
    words = case.logs.words.get(record.id, ())
    if record.state == "SKIPPED" and words:
        why = f": {words[-1].reason}"
    state = _ENDED.get(record.state, record.state)
    preposition = "" if state.endswith("since") else " at"
    return f"NOT posted: {state}{preposition} {case.at(record.updated_at)}{why}"


def _pending(case: _Case) -> str:
    record = next(r for r in case.made if r.state not in _STOPPED)
    if record.state == "IN_FLIGHT":
        return f"NOT posted yet: the vendor is being called since {case.at(record.updated_at)}"
    why = f": {record.waiting_on}" if record.waiting_on else ""
    since = case.at(record.created_at)
    return f"NOT posted yet: {record.state}, waits since {since}{why}"


_SENTENCES = {
    "POSTED_ONCE": _once,
    "REPEATED": _repeated,
    "POSTED_TWICE": _twice,
    "MAY_BE_TWICE": _maybe,
    "IN_DOUBT": _in_doubt,
    "NOT_POSTED": _not_posted,
    "PENDING": _pending,
}

__all__ = ["DOUBTFUL", "History", "Logs", "histories"]
