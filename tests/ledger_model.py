"""The ledger once more, as plain as it can be said: what a delivery is after all that happens.

Written from the rules in docs/reliability.md and docs/architecture.md and not from the code. It
knows no times: waiting means that every timer has run out, as often as it takes.
"""

from __future__ import annotations

from dataclasses import dataclass, field

NOT_FOUND_NEEDED = 2
# From the most careful: a class further right repeats on less evidence.
CLASSES = ("NONE", "SEARCHABLE", "KEYED", "TWO_STEP", "NATURAL")
ENDS = ("CONFIRMED", "REJECTED", "PARKED")
# Later work of the key waits for it.
OPEN = ("HELD", "READY", "DISPATCHED", "IN_FLIGHT", "UNKNOWN", "RESOLVING", "PARKED")
NOT_BEGUN = ("HELD", "READY", "DISPATCHED")
# Ends of a call that did nothing.
NOTHING_DONE = ("RETRY", "REJECTED", "PARKED")
CAN_SAY = {
    "CALL": ("CONFIRMED", "REJECTED", "RETRY", "PARKED"),
    "LOOK_UP": ("CONFIRMED", "REJECTED", "NOT_FOUND", "PARKED"),
}
# What is asked for: what it needs confirmed before, what it takes back, whether a refusal of it
# lets later work pass.
NEEDS = {"post": "book", "deliver": "post"}
TAKES_BACK = {"cancel": ("book",)}
LETS_PASS = ("change",)
WORK = ("book", "change", "cancel", "post", "deliver")
# A look-up is to come whose "not found" may be too early to count.
TOO_EARLY = -1


@dataclass
class Attempt:
    """said: its word so far; EXPIRED: its lease ran out first. later: what it said after that."""

    kind: str
    said: str = ""
    later: str = ""

    @property
    def did_it(self) -> bool:
        """Whether it says, or said later, that the vendor did it."""
        return "CONFIRMED" in (self.said, self.later)


@dataclass
class Delivery:
    """What the model knows of a delivery.

    waits: for a dispatch. why: what it is held for. calls: that may have reached the vendor. doubt:
    the token of the first call of which nobody knows. kind: the class it began under.
    """

    key: str
    work: str = "book"
    state: str = "READY"
    why: str = ""
    waits: bool = True
    number: int = 0
    calls: int = 0
    doubt: int | None = None
    nothing_found: int = 0
    draft: str = ""
    kind: str = ""
    begun: bool = False
    attempts: list[Attempt] = field(default_factory=list)

    @property
    def untouched(self) -> bool:
        """Nothing of it can be at the vendor."""
        return self.calls == 0 and self.doubt is None and not self.draft

    def seen(self) -> tuple[object, ...]:
        """What the ledger has to agree on."""
        looked = self.nothing_found if self.state in ("UNKNOWN", "RESOLVING") else 0
        place = (self.state, self.why, self.waits)
        counts = (self.number, len(self.attempts), self.calls)
        return (*place, *counts, self.doubt is not None, looked, self.draft)


@dataclass(frozen=True)
class Begun:
    """What a begin tells the attempt."""

    kind: str
    draft: str
    in_doubt: bool


class Model:
    """All deliveries of one flow at one endpoint, in the order of their events."""

    def __init__(self, kind: str, calls_max: int) -> None:
        self.declared = kind
        self.calls_max = calls_max
        self.deliveries: list[Delivery] = []

    def declare(self, kind: str) -> bool:
        """Whether the endpoint may say another class: one that repeats on less evidence never."""
        if CLASSES.index(kind) > CLASSES.index(self.declared):
            return False
        self.declared = kind
        return True

    def event(self, key: str, work: str = "book") -> None:
        """More work."""
        one = Delivery(key, work, "HELD", waits=False)
        self.deliveries.append(one)
        self._take_back(one)
        if one.state != "SUPERSEDED":
            self._place(one)
        self._look_at_waiting()

    def dispatch(self, which: int) -> None:
        """It goes out."""
        one = self.deliveries[which]
        one.number += 1
        one.waits = False
        one.state = "DISPATCHED" if one.state == "READY" else one.state

    def begin(self, which: int, number: int) -> Begun | None:
        """The attempt that begins with a message of this number; None: it does not."""
        one = self.deliveries[which]
        look_up = one.state == "RESOLVING" and not one.waits and not one.begun
        if not (look_up or one.state == "DISPATCHED") or number != one.number:
            return None
        if not look_up and not self._may_call(one):
            return None
        one.attempts.append(Attempt("LOOK_UP" if look_up else "CALL"))
        one.begun = True
        if not look_up:
            one.kind = self._careful(one)
            one.state = "IN_FLIGHT"
            one.calls += 1
        return Begun(one.attempts[-1].kind, one.draft, one.doubt is not None)

    def _careful(self, one: Delivery) -> str:
        return min(one.kind or self.declared, self.declared, key=CLASSES.index)

    def _may_call(self, one: Delivery) -> bool:
        """A call in doubt is judged by the class of today; order is looked at once more."""
        kind = self._careful(one)
        if one.doubt is not None and kind == "NONE":
            one.state = "PARKED"
            return False
        if one.doubt is not None and kind == "SEARCHABLE":
            # Nobody knows how long ago it was called.
            one.state, one.waits, one.kind, one.nothing_found = "RESOLVING", True, kind, TOO_EARLY
            return False
        if self._waits_for(one):
            self._place(one)
            return False
        return True

    def note(self, which: int, token: int, draft: str) -> bool:
        """Whether an attempt may note a draft: while it holds the delivery, and no second one."""
        one = self.deliveries[which]
        if not one.begun or token != len(one.attempts) or one.draft not in ("", draft):
            return False
        one.draft = draft
        return True

    def complete(self, which: int, token: int, outcome: str) -> None:
        """An attempt says how it ended."""
        one = self.deliveries[which]
        attempt = one.attempts[token - 1]
        word = outcome if outcome in CAN_SAY[attempt.kind] else "UNKNOWN"
        if attempt.said == word:
            return
        if self._moves(one, attempt, token, word):
            attempt.said = word
            self._apply(one, attempt, token, self._with_earlier(one, attempt, token, word))
            return
        if attempt.said in ("", "EXPIRED"):
            attempt.said = word
        else:
            attempt.later = word
        if (word, attempt.kind) == ("CONFIRMED", "CALL") and one.state in (*OPEN, "REJECTED"):
            # Known to be done, whatever look-ups said: nothing follows without another look.
            one.doubt = min(one.doubt or token, token)
            one.nothing_found = TOO_EARLY

    def _moves(self, one: Delivery, attempt: Attempt, token: int, word: str) -> bool:
        if attempt.said in ("CONFIRMED", *NOTHING_DONE):
            return False
        later = one.attempts[token:]
        called_since = any(a.kind == "CALL" and a.said not in NOTHING_DONE for a in later)
        if word == "CONFIRMED" and attempt.kind == "CALL" and not called_since:
            return one.state in OPEN
        if token != len(one.attempts):
            return False
        proof = word in ("CONFIRMED", "REJECTED", "RETRY")
        if one.state in ("IN_FLIGHT", "UNKNOWN", "RESOLVING"):
            return proof or attempt.said in ("", "EXPIRED")
        return one.state == "PARKED" and proof

    def _with_earlier(self, one: Delivery, attempt: Attempt, token: int, word: str) -> str:
        """An earlier call that was done settles the delivery when the newest one did nothing."""
        if attempt.kind == "LOOK_UP" or word not in NOTHING_DONE or one.doubt in (None, token):
            return word
        earlier = one.attempts[(one.doubt or 1) - 1 : token - 1]
        return "CONFIRMED" if any(a.did_it for a in earlier) else word

    def _apply(self, one: Delivery, attempt: Attempt, token: int, word: str) -> None:
        one.waits = one.begun = False
        one.why = ""
        if word in ENDS:
            one.state = word
            # Each full state is judged by itself: an earlier one may have been taken.
            stays = one.kind == "NATURAL" and attempt.kind == "CALL" and one.doubt != token
            if word == "REJECTED" and not stays:
                one.doubt = None
        elif word == "RETRY":
            one.state, one.why = "HELD", "RETRY"
            one.calls = max(0, one.calls - 1)
            one.doubt = None if one.doubt == token else one.doubt
        elif attempt.kind == "CALL":
            self._in_doubt(one, token)
        elif word == "NOT_FOUND":
            self._not_found(one)
        else:
            one.state = "UNKNOWN"
        self._look_at_waiting()

    def _in_doubt(self, one: Delivery, token: int) -> None:
        one.doubt = one.doubt or token
        one.nothing_found = min(one.nothing_found, 0)
        limited = one.kind != "SEARCHABLE" and one.calls >= self.calls_max
        one.state = "PARKED" if one.kind == "NONE" or limited else "UNKNOWN"

    def _not_found(self, one: Delivery) -> None:
        one.nothing_found += 1
        if one.nothing_found < NOT_FOUND_NEEDED:
            one.state = "UNKNOWN"
        elif one.calls >= self.calls_max:
            one.state = "PARKED"
        else:
            one.state, one.waits, one.nothing_found, one.doubt = "READY", True, 0, None

    def wait(self) -> None:
        """Every timer runs out, until none is left."""
        for one in self.deliveries:
            if one.begun:
                attempt = one.attempts[-1]
                attempt.said = attempt.said or "EXPIRED"
                one.begun = False
                if attempt.kind == "CALL":
                    self._in_doubt(one, len(one.attempts))
                else:
                    one.state = "UNKNOWN"
            if one.why == "RETRY":
                self._place(one)
            elif one.state in ("DISPATCHED", "RESOLVING"):
                one.state = "READY" if one.state == "DISPATCHED" else one.state
                one.waits = True
            elif one.state == "UNKNOWN":
                one.state = "RESOLVING" if one.kind == "SEARCHABLE" else "READY"
                one.waits = True
        self._look_at_waiting()

    # What waits for other work

    def _look_at_waiting(self) -> None:
        """What waits for its turn goes when nothing is left that it has to wait for, and what takes
        back work that is not begun does so, again and again until nothing changes."""
        before = None
        while before != (before := [one.seen() for one in self.deliveries]):
            for one in self.deliveries:
                if one.state == "HELD" and one.why in ("ORDER", "PREREQUISITE"):
                    self._take_back(one)
                    if one.state == "HELD":
                        self._place(one)

    def _place(self, one: Delivery) -> None:
        one.why = self._waits_for(one)
        one.state = "HELD" if one.why else "READY"
        one.waits = not one.why

    def _waits_for(self, one: Delivery) -> str:
        same = [other for other in self.deliveries if other.key == one.key]
        needed = NEEDS.get(one.work)
        if needed and not any((o.work, o.state) == (needed, "CONFIRMED") for o in same):
            return "PREREQUISITE"
        return "ORDER" if any(self._in_the_way(o, one) for o in self._before(one)) else ""

    def _before(self, one: Delivery) -> list[Delivery]:
        place = next(i for i, other in enumerate(self.deliveries) if other is one)
        return [other for other in self.deliveries[:place] if other.key == one.key]

    def _in_the_way(self, other: Delivery, one: Delivery) -> bool:
        """Whether earlier work holds up later work of its key."""
        if other.state == "REJECTED":
            return other.work not in (*LETS_PASS, *TAKES_BACK.get(one.work, ()))
        return other.state in OPEN and not self._waits_in_turn(other, one)

    def _waits_in_turn(self, other: Delivery, one: Delivery) -> bool:
        """Whether earlier work waits for this one, or is held by nothing but work that does."""
        if other.why != "ORDER":
            return self._needs(other, one.work)
        first = [each for each in self._before(other) if self._in_the_way(each, other)]
        return bool(first) and all(self._waits_in_turn(each, one) for each in first)

    def _needs(self, other: Delivery, work: str) -> bool:
        """Whether work waits for this kind of work, or for what waits for it in turn."""
        if other.why != "PREREQUISITE":
            return False
        needed = NEEDS[other.work]
        between = [o for o in self.deliveries if (o.key, o.work) == (other.key, needed)]
        return needed == work or any(self._needs(o, work) for o in between)

    def _take_back(self, one: Delivery) -> None:
        """Work that is not begun becomes pointless, and with it what takes it back, where nothing
        of any of it ever reached the vendor."""
        targets = [o for o in self._before(one) if o.work in TAKES_BACK.get(one.work, ())]
        for other in targets:
            if other.state in NOT_BEGUN and other.untouched:
                self._end_as_pointless(other)
        if targets and all(o.state == "SUPERSEDED" and o.untouched for o in targets):
            self._end_as_pointless(one)

    def _end_as_pointless(self, one: Delivery) -> None:
        one.state, one.why, one.waits = "SUPERSEDED", "", False
