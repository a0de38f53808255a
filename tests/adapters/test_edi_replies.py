"""What became of X12 sets that were sent: the first answer stands, none that waits is forgotten."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import cast

import pytest
from crossdock_adapters.ltl_freight.adapter import ADAPTER
from crossdock_adapters.sdk import edi_replies
from crossdock_adapters.sdk.edi_replies import (
    KEPT_COLLECTED,
    KEPT_OPEN,
    KEPT_OVER,
    MAX_SENT,
    Sent,
    State,
)
from crossdock_adapters.sdk.outcomes import NeedsPerson, Retry
from crossdock_adapters.sdk.work import Poll
from crossdock_adapters.sdk.x12 import acknowledgments
from crossdock_adapters.sdk.x12.acknowledgments import GroupAnswer, SetAnswer, Status
from crossdock_adapters.sdk.x12.segments import USUAL
from hypothesis import given
from hypothesis import strategies as st

NOW = datetime(2026, 3, 5, 14, 7, tzinfo=UTC)
SECOND = timedelta(seconds=1)
STEPS = st.tuples(st.sampled_from(["A", "D", "X", "997"]), st.sampled_from("abc"))


class KeptState:
    """The hub's cursors, of which one is used."""

    def __init__(self, state: State) -> None:
        self.raw, self.version = edi_replies.encode(state), 1

    async def get_cursor(self, name: str) -> tuple[bytes, int]:
        """The state and its version."""
        assert name == f"{edi_replies.CURSOR_PREFIX}SM"
        return self.raw, self.version

    async def put_cursor(self, name: str, value: bytes, expected_version: int) -> int:
        """Keep another state."""
        assert (await self.get_cursor(name))[1] == expected_version
        self.raw, self.version = value, expected_version + 1
        return self.version


@given(st.lists(STEPS, max_size=20))
def test_the_first_answer_stands(steps: list[tuple[str, str]]) -> None:
    """Proves for any order of answers and acknowledgements that the first answer of each set
    stands, that another one is told as wrong, and that the state survives being kept."""
    state: State = ()
    for number, reference in enumerate("abc", start=1):
        state = edi_replies.noted(state, Sent(reference, number, NOW))
        assert edi_replies.noted(state, Sent(reference, 99, NOW)) == state
    first: dict[str, str] = {}
    for what, reference in steps:
        state = edi_replies.decode(edi_replies.encode(state))
        if what == "997":
            state, wrong = edi_replies.acknowledged(state, "abc".index(reference) + 1, "A")
            assert not wrong
            continue
        state, wrong = edi_replies.answered(state, reference, what, "")
        assert bool(wrong) == (first.setdefault(reference, what) != what)
    for each in state:
        assert each.answer == first.get(each.reference, "")
        assert bool(each.syntax) == (("997", each.reference) in steps)


def test_what_an_answer_says_beside_its_word_may_count() -> None:
    """Proves that a second answer with the same word and another reason is told as wrong where
    the reason is the partner's number, that the first one stands, and that elsewhere, and where the
    reason is the same as far as it is kept, nothing is wrong."""
    state = edi_replies.noted((), Sent("a", 1, NOW))
    long = "N" * 80
    state, wrong = edi_replies.answered(state, "a", "A", long, reason_counts=True)
    assert not wrong
    for reason, counts, told in ((long, True, ""), ("OTHER", False, ""), ("OTHER", True, "OTHER")):
        after, wrong = edi_replies.answered(state, "a", "A", reason, reason_counts=counts)
        assert after == state and bool(wrong) is bool(told) and told in wrong


def test_sets_that_wait_are_kept_as_long_as_anybody_may_ask() -> None:
    """Proves that the state is bounded, that one more than may wait has to wait itself, and that
    one goes when its delivery surely has the answer, or after its age: an open one only when no
    delivery can ask for it any more, never before."""
    state: State = ()
    for number in range(MAX_SENT):
        state = edi_replies.noted(state, Sent(f"{number:020}-CANCEL", number, NOW, "A"))
    opened = state
    state, _ = edi_replies.answered(state, f"{7:020}-CANCEL", "A", "x" * 200)
    taken = edi_replies.collected(state, f"{7:020}-CANCEL", NOW)
    for kept, age, room in (
        (opened, timedelta(0), False),
        (opened, KEPT_OPEN - SECOND, False),
        (opened, KEPT_OPEN, True),
        (state, KEPT_OVER - SECOND, False),
        (state, KEPT_OVER, True),
        (taken, KEPT_COLLECTED - SECOND, False),
        (taken, KEPT_COLLECTED, True),
    ):
        again = edi_replies.decode(edi_replies.encode(kept))
        with nullcontext() if room else pytest.raises(Retry, match="or their delivery"):
            edi_replies.noted(again, Sent("one more", 0, NOW + age))
    state = edi_replies.noted(taken, Sent("one more", 0, NOW + KEPT_COLLECTED))
    for each in state:
        state = edi_replies.published(state, each.reference)
        state = edi_replies.collected(state, each.reference, NOW)
        state, _ = edi_replies.answered(state, each.reference, "D", '"é' * 200)
    assert len(state) == MAX_SENT and edi_replies.of(state, f"{7:020}-CANCEL") is None
    assert len(edi_replies.encode(state)) < 65_536
    # The longest that a delivery asks: the attempts of the manifest that has most of them.
    asking = ADAPTER.manifest.operations["buy_label"]
    assert timedelta(seconds=asking.max_attempts * asking.retry_max_seconds) * 7 < KEPT_OPEN


def test_a_refused_group_is_no_accepted_tender() -> None:
    """Proves that a set that its 997 accepts in a group that it rejects is for a person."""
    cursors = KeptState(edi_replies.noted((), Sent("S-2001", 37, NOW)))
    poll = cast(Poll, SimpleNamespace(cursors=cursors))
    own = (SetAnswer("204", "0001", Status.ACCEPTED),)
    said = GroupAnswer("SM", 37, Status.REJECTED, 1, 1, 0, ("5",), own)
    found = acknowledgments.build(said, "0001", USUAL)
    asyncio.run(edi_replies.note_acknowledgement(poll, found, "SM"))
    (sent,) = edi_replies.decode(cursors.raw)
    with pytest.raises(NeedsPerson, match="997 or TA1 says R"):
        edi_replies.check_syntax(sent)
    assert not sent.open and sent.may_go(NOW + KEPT_OVER) and not sent.may_go(NOW)


@pytest.mark.parametrize(
    ("first", "second", "wrong"),
    [tuple("AR1"), tuple("RA1"), tuple("EP1"), tuple("AE0"), tuple("RP0"), tuple("RR0")],
)
def test_an_acknowledgement_that_says_otherwise_is_seen(
    first: str, second: str, wrong: str
) -> None:
    """Proves that a second 997 which refuses what the first took, or takes what it refused, is told
    and changes nothing, and that one which comes to the same is no problem."""
    cursors = KeptState(edi_replies.noted((), Sent("S-2001", 37, NOW)))
    poll = cast(Poll, SimpleNamespace(cursors=cursors))
    problems: tuple[str, ...] = ()
    for status in (first, second):
        own = (SetAnswer("204", "0001", Status(status)),)
        said = GroupAnswer("SM", 37, Status(status), 1, 1, 1, (), own)
        found = acknowledgments.build(said, "0001", USUAL)
        problems = asyncio.run(edi_replies.note_acknowledgement(poll, found, "SM")).problems
    told = f"it says {second} of group 37, which was acknowledged {first} before"
    assert [each.endswith(told) for each in problems] == [True] * int(wrong)
    (sent,) = edi_replies.decode(cursors.raw)
    assert sent.syntax == first


def test_an_acknowledgement_of_nothing_is_seen() -> None:
    """Proves that a 997 about a group that is not known to be sent is told with its number, and
    changes nothing; one about another kind of set is not ours to judge."""
    cursors = KeptState(edi_replies.noted((), Sent("S-2001", 37, NOW)))
    poll = cast(Poll, SimpleNamespace(cursors=cursors))
    own = (SetAnswer("204", "0001", Status.ACCEPTED),)
    for functional_id, problems in (("SM", 1), ("IM", 0)):
        said = GroupAnswer(functional_id, 38, Status.ACCEPTED, 1, 1, 1, (), own)
        found = acknowledgments.build(said, "0001", USUAL)
        read = asyncio.run(edi_replies.note_acknowledgement(poll, found, "SM"))
        assert len(read.problems) == problems
        assert all("group 38, which is not known" in each for each in read.problems)
    assert cursors.version == 1
