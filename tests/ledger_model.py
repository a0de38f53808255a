"""The ledger once more, as plain as it can be said: what a delivery is after all that happens.

Written from the rules in docs/reliability.md and not from the code. It knows no times: waiting
means that every timer has run out, as often as it takes.
"""

from __future__ import annotations

from dataclasses import dataclass, field

NOT_FOUND_NEEDED = 2
OPEN = ("HELD", "READY", "DISPATCHED", "IN_FLIGHT", "UNKNOWN", "RESOLVING", "PARKED")
ENDS = ("CONFIRMED", "REJECTED", "PARKED")
CAN_SAY = {
    "CALL": ("CONFIRMED", "REJECTED", "RETRY", "PARKED"),
    "LOOK_UP": ("CONFIRMED", "REJECTED", "NOT_FOUND", "PARKED"),
}


@dataclass
class Attempt:
    """said: its word so far; EXPIRED: its lease ran out first."""

    kind: str
    said: str = ""


@dataclass
class Delivery:
    """What the model knows of a delivery. waits: for a dispatch. retry: held to be tried again."""

    key: str
    state: str = "READY"
    waits: bool = True
    retry: bool = False
    number: int = 0
    calls: int = 0
    nothing_found: int = 0
    begun: bool = False
    attempts: list[Attempt] = field(default_factory=list)

    def seen(self) -> tuple[str, bool, int, int, int]:
        """What the ledger has to agree on."""
        return self.state, self.waits, self.number, len(self.attempts), self.calls


class Model:
    """All deliveries of one endpoint, each in the order of its key."""

    def __init__(self, kind: str, calls_max: int) -> None:
        self.kind = kind
        self.calls_max = calls_max
        self.deliveries: list[Delivery] = []

    def event(self, key: str) -> None:
        """More work."""
        self.deliveries.append(Delivery(key))
        self._look_at_order()

    def dispatch(self, which: int) -> None:
        """It goes out."""
        one = self.deliveries[which]
        one.number += 1
        one.waits = False
        one.state = "DISPATCHED" if one.state == "READY" else one.state

    def begin(self, which: int, number: int) -> bool:
        """Whether an attempt begins with a message of this number."""
        one = self.deliveries[which]
        sent = one.state == "DISPATCHED" or (
            one.state == "RESOLVING" and not one.waits and not one.begun
        )
        if not sent or number != one.number:
            return False
        look_up = one.state == "RESOLVING"
        one.attempts.append(Attempt("LOOK_UP" if look_up else "CALL"))
        one.begun = True
        if not look_up:
            one.state = "IN_FLIGHT"
            one.calls += 1
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
            self._apply(one, attempt, word)
        elif attempt.said in ("", "EXPIRED"):
            attempt.said = word

    def _moves(self, one: Delivery, attempt: Attempt, token: int, word: str) -> bool:
        if attempt.said in ("CONFIRMED", "REJECTED", "RETRY", "PARKED"):
            return False
        called_since = any(later.kind == "CALL" for later in one.attempts[token:])
        if word == "CONFIRMED" and attempt.kind == "CALL" and not called_since:
            return one.state in OPEN
        if token != len(one.attempts):
            return False
        proof = word in ("CONFIRMED", "REJECTED", "RETRY")
        if one.state in ("IN_FLIGHT", "UNKNOWN", "RESOLVING"):
            return proof or attempt.said in ("", "EXPIRED")
        return one.state == "PARKED" and proof

    def _apply(self, one: Delivery, attempt: Attempt, word: str) -> None:
        one.waits = one.begun = one.retry = False
        if word in ENDS:
            one.state = word
        elif word == "RETRY":
            one.state, one.retry = "HELD", True
            one.calls = max(0, one.calls - 1)
        elif attempt.kind == "CALL":
            self._in_doubt(one)
        elif word == "NOT_FOUND":
            self._not_found(one)
        else:
            one.state = "UNKNOWN"
        self._look_at_order()

    def _in_doubt(self, one: Delivery) -> None:
        one.nothing_found = 0
        limited = self.kind != "SEARCHABLE" and one.calls >= self.calls_max
        one.state = "PARKED" if self.kind == "NONE" or limited else "UNKNOWN"

    def _not_found(self, one: Delivery) -> None:
        one.nothing_found += 1
        if one.nothing_found < NOT_FOUND_NEEDED:
            one.state = "UNKNOWN"
        elif one.calls >= self.calls_max:
            one.state = "PARKED"
        else:
            one.state, one.waits, one.nothing_found = "READY", True, 0

    def wait(self) -> None:
        """Every timer runs out, until none is left."""
        for one in self.deliveries:
            if one.begun:
                attempt = one.attempts[-1]
                attempt.said = attempt.said or "EXPIRED"
                one.begun = False
                if attempt.kind == "CALL":
                    self._in_doubt(one)
                else:
                    one.state = "UNKNOWN"
            if one.state == "DISPATCHED" or one.retry:
                one.state, one.waits, one.retry = "READY", True, False
            elif one.state == "UNKNOWN":
                one.state = "RESOLVING" if self.kind == "SEARCHABLE" else "READY"
                one.waits = True
            elif one.state == "RESOLVING":
                one.waits = True
        self._look_at_order()

    def _look_at_order(self) -> None:
        """What waits for its turn goes when nothing before it is open or was rejected."""
        for place, one in enumerate(self.deliveries):
            if one.retry or one.attempts or one.number or one.state not in ("READY", "HELD"):
                continue
            before = [other for other in self.deliveries[:place] if other.key == one.key]
            free = all(other.state in ("CONFIRMED", "SUPERSEDED") for other in before)
            one.state, one.waits = ("READY", True) if free else ("HELD", False)
