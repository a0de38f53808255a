"""Everything that a history can be guilty of, each with what it makes of a promise."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum


class Verdict(StrEnum):
    """What became of a promise."""

    LOST = "lost"
    DOUBLED = "doubled"
    REORDERED = "reordered"
    REGRESSED = "regressed"


class Kind(Enum):
    """A violation's name: (what it is a case of, what happened)."""

    # Writes.
    ANSWERED_WRITE_MISSING = (Verdict.LOST, "an answered write is not in the database")
    WRITE_TWICE = (Verdict.DOUBLED, "one number belongs to two objects")
    REPEAT_ANSWERED_DIFFERENTLY = (Verdict.DOUBLED, "a repeated request got another answer")
    REQUEST_TWO_EFFECTS = (Verdict.DOUBLED, "one request id changed something twice")
    REFUSED_WRITE_WITH_EFFECT = (Verdict.DOUBLED, "a refused request changed something")
    READ_MOVED_BACKWARDS = (Verdict.REGRESSED, "a later read saw an older revision")
    READ_OLDER_THAN_ANSWER = (Verdict.REGRESSED, "a read saw less than was answered before it")
    ENDED_OBJECT_REGRESSED = (Verdict.REGRESSED, "the end is older than what was read")
    # Events and the stream.
    EVENT_GONE = (Verdict.LOST, "the events table has a hole")
    POSITION_GAP = (Verdict.LOST, "one of the events of a revision is missing")
    OBJECT_BEHIND_EVENT = (Verdict.REGRESSED, "an event tells a revision that the object lost")
    ANSWERED_WRITE_WITHOUT_EVENT = (Verdict.LOST, "an answered write has no event")
    EVENT_NOT_ON_STREAM = (Verdict.LOST, "a stored event is not on the stream")
    EVENT_TWICE_ON_STREAM = (Verdict.DOUBLED, "an event is on the stream twice")
    EVENT_OUT_OF_ORDER = (Verdict.REORDERED, "events of an object changed places on the stream")
    EVENT_FROM_NOWHERE = (Verdict.DOUBLED, "the stream has an event that the table has not")
    EVENT_BYTES_DIFFER = (Verdict.LOST, "an event on the stream says something else")
    COMMIT_OUT_OF_ORDER = (Verdict.REORDERED, "revisions were committed in another order")
    # Deliveries and what vendors hold.
    DELIVERY_MISSING = (Verdict.LOST, "an event has no delivery for one who must act")
    DELIVERY_TWICE = (Verdict.DOUBLED, "an event has two deliveries for the same work")
    DELIVERY_OF_NOTHING = (Verdict.DOUBLED, "a delivery belongs to no event")
    EFFECT_WITHOUT_DELIVERY = (Verdict.DOUBLED, "a vendor holds what no delivery asked for")
    EFFECT_TWICE = (Verdict.DOUBLED, "a vendor did one delivery twice")
    CONFIRMED_WITHOUT_EFFECT = (Verdict.LOST, "a confirmed delivery is not in the vendor's books")
    CONFIRMED_WITH_ANOTHER_NUMBER = (
        Verdict.LOST,
        "a delivery keeps a number the vendor never gave",
    )
    EFFECT_NOT_KNOWN = (Verdict.LOST, "a vendor did it and the ledger would still ask for it")
    REJECTED_WITH_EFFECT = (Verdict.LOST, "a rejected delivery is in the vendor's books")
    SUPERSEDED_BUT_CALLED = (Verdict.DOUBLED, "the vendor was asked for superseded work")
    SUPERSEDED_BY_NOTHING = (Verdict.LOST, "work was dropped that nothing later takes back")
    SKIPPED_UNASKED = (Verdict.LOST, "work was skipped that nobody had skipped")
    OLDER_STATE_LAST = (Verdict.REGRESSED, "a vendor got an older state after a newer one")
    # Labels: what is packed, bought, shown and voided.
    PACKAGE_WITHOUT_PURCHASE = (Verdict.LOST, "nobody buys a label for what was packed")
    OUTCOME_WITHOUT_FACTS = (Verdict.LOST, "work is done and the hub has not what it made")
    FACTS_WITHOUT_OUTCOME = (Verdict.LOST, "the hub has what work made that is not done")
    LABEL_NOT_KNOWN = (Verdict.LOST, "the vendor sold a label that the hub does not show")
    LABEL_NEVER_SOLD = (Verdict.LOST, "the hub has a label that the vendor never sold")
    LABEL_DIFFERS = (Verdict.REGRESSED, "a label is not what the vendor sold")
    LABEL_WENT_BACK = (Verdict.REGRESSED, "a label was shown and is not any more")
    TWO_VALID_LABELS = (Verdict.DOUBLED, "a package has two valid labels")
    VOIDED_UNASKED = (Verdict.LOST, "a label is void though nobody voided its shipment")
    VOID_LOST = (Verdict.LOST, "a label is valid though its shipment was voided")
    VOIDED_BEFORE_SOLD = (Verdict.REORDERED, "a label was sold after its package was voided")
    # The ledger's rules.
    CALL_WITHOUT_BEGIN = (Verdict.DOUBLED, "a vendor was called with no attempt in the ledger")
    CALL_BEFORE_BEGIN = (Verdict.DOUBLED, "a vendor was called before the attempt was begun")
    CALL_AFTER_LEASE = (Verdict.DOUBLED, "a call left after its lease had ended")
    DRAFT_NOT_NOTED = (Verdict.DOUBLED, "a draft was confirmed that the ledger does not keep")
    DRAFT_MADE_AGAIN = (Verdict.DOUBLED, "a draft was made though one was noted")
    CALL_WITH_ANOTHER_KEY = (Verdict.DOUBLED, "a repeat carried another reference")
    LEASES_OVERLAP = (Verdict.DOUBLED, "two attempts of a delivery were allowed at once")
    JUDGED_BEFORE_ITS_LEASE = (Verdict.LOST, "an attempt was given up before its lease had ended")
    TOKEN_FELL = (Verdict.REGRESSED, "a later attempt has a smaller token")
    CALL_OUT_OF_ORDER = (Verdict.REORDERED, "work began before what comes before it had ended")
    REPEATED_WITHOUT_LOOK_UP = (Verdict.DOUBLED, "an unknown call was repeated unasked")
    REPEATED_BEFORE_IT_SETTLED = (
        Verdict.DOUBLED,
        "an unknown call was repeated after look-ups that came too early to count",
    )
    SETTLED_WITHOUT_PROOF = (Verdict.LOST, "a delivery was settled by no word that counts")
    CALLED_AFTER_PROOF = (Verdict.DOUBLED, "a vendor was called for what it had answered for good")
    NONE_REPEATED = (Verdict.DOUBLED, "an unknown call that nobody can look up was repeated")
    UNKNOWN_NOT_PARKED = (Verdict.LOST, "an unknown call nobody can look up is not parked")
    PARKED_WITHOUT_CAUSE = (Verdict.LOST, "a delivery is parked that could have gone on by itself")
    PARKED_WITHOUT_REASON = (Verdict.LOST, "a parked delivery does not say why")
    SETTLED_MOVED = (Verdict.REGRESSED, "a settled delivery was seen unsettled later")
    OPEN_AT_THE_END = (Verdict.LOST, "a delivery is still open though all was quiet")

    @property
    def verdict(self) -> Verdict:
        """Lost, doubled, reordered or regressed."""
        return self.value[0]

    @property
    def sentence(self) -> str:
        """What happened, in general."""
        return self.value[1]


@dataclass(frozen=True, slots=True)
class Violation:
    """One finding: what, about which object, delivery or event, and the facts that show it."""

    kind: Kind
    subject: str
    facts: str

    def __str__(self) -> str:
        kind = self.kind
        return f"{kind.verdict}: {kind.sentence}: {self.subject}: {self.facts} ({kind.name})"
