"""Who leads, in virtual time: hubs whose clocks differ, pauses, answers that are lost, deaths."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from crossdock_hub.leading.terms import (
    FOLLOWS,
    Seen,
    Standing,
    Timing,
    counts_on_it,
    granted,
    may_take,
    pause_seconds,
)
from hypothesis import given
from hypothesis import strategies as st

TIMING = Timing(lasts=3.0, renew=0.75, look=0.25)
HUBS = 3
FAIL_OVER_SECONDS = TIMING.lasts + TIMING.look


@dataclass
class Row:
    """The row as the database keeps it, by the database's own clock."""

    term: int = 0
    holder: str = ""
    until: float = 0.0
    offered: bool = False

    def seen(self, now: float) -> Seen | None:
        return (
            Seen(self.term, self.holder, "x", self.until - now, self.offered) if self.term else None
        )

    def take(self, holder: str, now: float) -> int | None:
        if self.until > now and self.holder != holder and not self.offered:
            return None
        self.term, self.holder, self.until = self.term + 1, holder, now + TIMING.lasts
        self.offered = False
        return self.term

    def renew(self, term: int, now: float, *, offers: bool) -> bool:
        if term == self.term:
            self.until = now + TIMING.lasts
            self.offered &= offers
        return term == self.term

    def offer(self, term: int, until: float) -> None:
        self.offered |= (term, until) == (self.term, self.until)


@dataclass
class Hub:
    """One hub: its clock is ahead of true time by an offset of its own. offers: what it is about to
    say, and may say again late."""

    name: str
    offset: float
    standing: Standing = field(default_factory=Standing)
    terms: list[int] = field(default_factory=list)
    next_at: float = 0.0
    dead: bool = False
    has_bus: bool = True
    offers: list[tuple[int, float]] = field(default_factory=list)

    def ask(self, row: Row, now: float, *, arrives: bool, answered: bool, takes: float) -> None:
        """Ask once, as the elector does; the answer comes `takes` seconds later, or never."""
        asked_at, there = now + self.offset, now + takes / 2
        seen = row.seen(there)
        self.next_at = now + takes + TIMING.look
        if not arrives:
            return
        term: int | None
        if self.standing.holds:
            held = self.standing.term
            term = held if row.renew(held, there, offers=not self.has_bus) else FOLLOWS
            if term and answered and not self.has_bus:
                self.offers.append((term, row.until))
        else:
            may = self.has_bus and may_take(seen, self.name, self.standing, steady=True)
            term = row.take(self.name, there) if may else None
        if not answered or term is None:
            return
        if term == FOLLOWS:
            self.standing = Standing()
        else:
            offers = self.standing.holds and not self.has_bus
            self.standing = granted(term, asked_at, TIMING, offers=offers)
            self.terms.append(term)
        own = now + takes + self.offset
        self.next_at = now + takes + pause_seconds(self.standing, seen, own, TIMING)

    def counts(self, now: float) -> bool:
        return not self.dead and counts_on_it(self.standing, now + self.offset)


steps = st.lists(
    st.tuples(
        st.sampled_from(["ask", "ask", "ask", "ask", "pause", "kill", "bus", "offer", "late"]),
        st.integers(0, HUBS - 1),
        st.booleans(),
        st.booleans(),
        st.floats(0.0, 1.9),
        st.floats(0.0, 10.0),
    ),
    max_size=80,
)


@given(steps, st.lists(st.floats(-1e6, 1e6), min_size=HUBS, max_size=HUBS))
def test_never_two_count_on_the_lead_and_terms_only_grow(
    told: list[tuple[str, int, bool, bool, float, float]], offsets: list[float]
) -> None:
    """Proves, for clocks that differ, lost questions and answers, pauses, deaths, and leads that
    are offered for want of a bus, late ones among them, that at no moment two hubs count on their
    lead, that no term is held twice, and that terms only grow."""
    row, now = Row(), 0.0
    hubs = [Hub(f"hub {number}", offset) for number, offset in enumerate(offsets)]
    for what, number, arrives, answered, takes, pause in told:
        hub = hubs[number]
        if what == "bus":
            hub.has_bus = not hub.has_bus
            continue
        if what in ("offer", "late") and hub.offers:
            row.offer(*hub.offers[-1 if what == "offer" else 0])
            continue
        if what == "kill":
            hub.dead = sum(not each.dead for each in hubs) == 1
            continue
        if what == "pause":
            hub.next_at = max(hub.next_at, now + pause)
            continue
        if hub.dead:
            continue
        now = max(now, hub.next_at)
        hub.ask(row, now, arrives=arrives, answered=answered, takes=takes)
        for moment in (now, now + takes):
            # What it asked at `now` it may count on once it has the answer.
            assert sum(each.counts(moment) for each in hubs) <= 1
    held = [term for hub in hubs for term in set(hub.terms)]
    assert len(held) == len(set(held))
    assert all(hub.terms == sorted(hub.terms) for hub in hubs)


@given(st.floats(0.0, 0.2), st.integers(0, 40), st.floats(-1e6, 1e6))
def test_a_dead_leader_is_followed_in_time(takes: float, renewals: int, offset: float) -> None:
    """Proves that whoever looks as often as it is told leads within a term, a look and the time
    that questions take, after the leader has died, however long that one led."""
    row, leader, follower = Row(), Hub("old", 0.0), Hub("new", offset)
    now = 0.0
    for _ in range(renewals + 1):
        now = max(now, leader.next_at)
        leader.ask(row, now, arrives=True, answered=True, takes=takes)
    died_at, follower.next_at = now, now
    while not follower.standing.holds:
        now = follower.next_at
        follower.ask(row, now, arrives=True, answered=True, takes=takes)
        assert now - died_at <= FAIL_OVER_SECONDS + 2 * takes
    assert follower.standing.term == 2


@given(st.floats(0.0, 3.0))
def test_a_leader_renews_with_time_for_several_tries(slow: float) -> None:
    """Proves that a leader asks again well before its term runs out, at once when it is late."""
    standing = granted(7, 100.0, TIMING)
    pause = pause_seconds(standing, None, 100.0 + slow, TIMING)
    assert pause == pytest.approx(max(0.0, TIMING.renew - slow), abs=1e-9)
    assert 100.0 + TIMING.renew <= standing.safe_until - 2 * TIMING.renew
