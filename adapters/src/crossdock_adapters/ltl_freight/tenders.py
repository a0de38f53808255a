"""What became of load tenders: the newest of them, kept by the hub; functions of that state.

A tender is sent, acknowledged by a 997, and accepted or declined by a 990, in whatever order these
come. What a second response says against the first is not written over it: somebody looks.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Final

from crossdock_adapters.sdk.outcomes import Retry
from crossdock_adapters.sdk.sequences import Cursors
from crossdock_adapters.sdk.work import CursorMoved

CURSOR: Final = "tenders"
MAX_TENDERS: Final = 250
MAX_TRIES: Final = 20
BUSY_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Tender:
    """One set that we sent. answer: "" until the carrier said A or D; syntax: of its 997.

    number: of its interchange and group; sent: UTC, when that number was taken.
    """

    reference: str
    number: int
    sent: datetime
    syntax: str = ""
    answer: str = ""
    reason: str = ""

    @property
    def open(self) -> bool:
        """Whether anything is still awaited."""
        return not self.answer


Tenders = tuple[Tender, ...]


def of(state: Tenders, reference: str) -> Tender | None:
    """The tender with this reference; None: it is not known, or no longer."""
    return next((each for each in state if each.reference == reference), None)


def noted(state: Tenders, tender: Tender) -> Tenders:
    """The state in which this was sent. Retry: too many wait for an answer."""
    if of(state, tender.reference) is not None:
        return state
    kept = list(state)
    while len(kept) >= MAX_TENDERS:
        done = next((each for each in kept if not each.open), None)
        if done is None:
            raise Retry(BUSY_SECONDS, f"{MAX_TENDERS} tenders wait for their answer")
        kept.remove(done)
    return (*kept, tender)


def answered(state: Tenders, reference: str, code: str, reason: str) -> tuple[Tenders, str]:
    """The state with this response, and what is wrong with it; "" when nothing is."""
    found = of(state, reference)
    if found is None:
        return state, "it answers no tender that is known"
    if found.answer == code:
        return state, ""
    if found.answer:
        return state, f"it says {code} of a tender that was answered {found.answer} before"
    changed = replace(found, answer=code, reason=reason)
    return tuple(changed if each is found else each for each in state), ""


def acknowledged(state: Tenders, number: int, status: str) -> Tenders:
    """The state in which a 997 says this of the group with this number."""
    return tuple(
        replace(each, syntax=status) if each.number == number and not each.syntax else each
        for each in state
    )


def encode(state: Tenders) -> bytes:
    """As the hub keeps it."""
    told = [{**asdict(each), "sent": each.sent.isoformat()} for each in state]
    return json.dumps(told, separators=(",", ":")).encode()


def decode(raw: bytes) -> Tenders:
    """What `encode` wrote; nothing is no tender."""
    told = json.loads(raw) if raw else []
    return tuple(Tender(**{**each, "sent": datetime.fromisoformat(each["sent"])}) for each in told)


async def known(cursors: Cursors) -> Tenders:
    """The state as it is now."""
    raw, _ = await cursors.get_cursor(CURSOR)
    return decode(raw)


async def change(cursors: Cursors, decide: Callable[[Tenders], Tenders]) -> Tenders:
    """The state after a decision, which is taken again when another process was faster."""
    for _ in range(MAX_TRIES):
        raw, version = await cursors.get_cursor(CURSOR)
        before = decode(raw)
        after = decide(before)
        if after == before:
            return after
        try:
            await cursors.put_cursor(CURSOR, encode(after), version)
        except CursorMoved:
            continue
        return after
    raise Retry(BUSY_SECONDS, f"the tenders were moved by others {MAX_TRIES} times")
