"""Where a lead goes when hubs lose their bus, in virtual time: real electors, which ask for a row
that they share, and see the bus each for itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from crossdock_hub.bus.errors import BusUnavailable
from crossdock_hub.config import Limits
from crossdock_hub.leading.bus_seen import (
    FAILURES_MIN,
    BusPatience,
    BusSeen,
    answered,
    is_away,
    is_steady,
    unanswered,
)
from crossdock_hub.leading.bus_watch import QUESTION_SECONDS, BusWatch
from crossdock_hub.leading.elector import NOTHING, Elector
from crossdock_hub.leading.terms import FOLLOWS, Seen, Timing
from crossdock_hub.store.leadership import Renewed, Taken
from hypothesis import given
from hypothesis import strategies as st
from simulation.quiet import quiet
from simulation.virtual_loop import VirtualLoop
from simulation.virtual_time import SECOND, VirtualTime

LIMITS = Limits()
TIMING = Timing(LIMITS.lead_seconds, LIMITS.lead_renew_seconds, LIMITS.lead_look_seconds)
PATIENCE = BusPatience(LIMITS.lead_bus_seconds, LIMITS.lead_bus_steady_seconds)
# From a cut until the bus counts as away: the question before it, patience, the question in which
# that is over.
AWAY_SECONDS = LIMITS.lead_bus_look_seconds + PATIENCE.away + QUESTION_SECONDS + 0.5
# Then the leader has to say so, and another one to see it.
MOVED_SECONDS = AWAY_SECONDS + TIMING.renew + TIMING.look
# When all hubs have begun, and one leads.
SETTLED_SECONDS = 10.0
HUBS = 3
# How often it is looked whether two count on the lead.
LOOK_SECONDS = 0.05


@dataclass
class Table:
    """The row that all share, and how it was changed: (term, holder)."""

    now: Callable[[], float]
    term: int = 0
    holder: str = ""
    until: int = 0
    offered: bool = False

    @property
    def _now(self) -> int:
        return round(self.now() * SECOND)

    def __post_init__(self) -> None:
        self.taken: list[tuple[int, str]] = []


class Row:
    """The row as one hub asks for it."""

    task = "everything"

    def __init__(self, table: Table) -> None:
        self._table = table

    async def look(self) -> Seen | None:
        row = self._table
        if not row.term:
            return None
        left = (row.until - row._now) / SECOND
        return Seen(row.term, row.holder, row.holder, left, row.offered)

    async def take(
        self, holder: str, address: str, lasts_seconds: float, *, offered: bool
    ) -> Taken | None:
        row = self._table
        if row.until > row._now and not (row.offered and offered):
            return None
        row.term, row.holder, row.offered = row.term + 1, holder, False
        row.until = row._now + int(lasts_seconds * SECOND)
        row.taken.append((row.term, holder))
        return Taken(row.term, NOTHING)

    async def renew(self, term: int, lasts_seconds: float, *, offers: bool) -> Renewed | None:
        row = self._table
        if row.term != term:
            return None
        row.until = row._now + int(lasts_seconds * SECOND)
        row.offered &= offers
        return Renewed(row.until, row.offered)

    async def offer(self, term: int, until: int) -> None:
        self._table.offered |= (term, until) == (self._table.term, self._table.until)

    async def release(self, term: int) -> None:
        if self._table.term == term:
            self._table.until = 0


class Site:
    """Hubs that begin one after the other; `cut` says when which of them has no bus. silent: it
    does not even refuse then."""

    def __init__(self, cut: Callable[[int, float], bool], *, silent: bool) -> None:
        self.time = VirtualTime()
        self.loop = VirtualLoop(self.time)
        self.table = Table(self.time.monotonic)
        self._cut, self._silent = cut, silent
        self.electors: list[Elector] = []
        for number in range(HUBS):
            watch = BusWatch(
                lambda number=number: self._ask(number),  # type: ignore[misc]
                PATIENCE,
                LIMITS.lead_bus_look_seconds,
                self._nothing,
                self.time.monotonic,
            )
            row = Row(self.table)
            elector = Elector(row, f"hub {number}", TIMING, watch, self.time.monotonic)
            elector.address = f"hub {number}"
            self.electors.append(elector)
            self.time.after(0.1 + 0.37 * number, lambda w=watch, e=elector: self._start(w, e))  # type: ignore[misc]

    def _start(self, watch: BusWatch, elector: Elector) -> None:
        async def start() -> None:
            watch.start()
            elector.start()

        self.loop.create_task(start())

    async def _nothing(self) -> None:
        """There is no other node."""

    async def _ask(self, number: int) -> None:
        if not self._cut(number, self.time.monotonic()):
            return
        if self._silent:
            await self.loop.create_future()
        raise BusUnavailable("cut")

    def run(self, until_seconds: float) -> None:
        """Let time pass; nobody counts on the lead together with another one meanwhile."""
        with quiet():
            while (left_seconds := until_seconds - self.time.monotonic()) > 1 / SECOND:
                self.time.run(self.time.monotonic() + min(LOOK_SECONDS, left_seconds))
                assert sum(each.leads for each in self.electors) <= 1
        assert not self.loop.faults

    @property
    def holders(self) -> list[str]:
        """Who has led, one after the other."""
        return [holder for _, holder in self.table.taken]


seconds = st.floats(0.0, 5.0)


@given(seconds, st.booleans())
def test_a_hub_that_loses_its_bus_alone_hands_over_in_time(at: float, silent: bool) -> None:
    """Proves that a lead goes to a hub that has its bus within the named limit and a little, that
    its former holder does not count on it from before, and that it stays there though that one has
    its bus again."""
    cut_at = SETTLED_SECONDS + at
    back_at = cut_at + MOVED_SECONDS + at
    site = Site(lambda number, now: number == 0 and cut_at <= now < back_at, silent=silent)
    site.run(cut_at)
    assert site.holders == ["hub 0"]
    site.run(cut_at + MOVED_SECONDS)
    assert len(site.holders) == 2
    assert site.holders[1] != "hub 0"
    assert site.electors[0].term == FOLLOWS
    assert any(each.leads for each in site.electors)
    site.run(back_at + 60.0)
    assert len(site.holders) == 2


@given(
    st.lists(st.floats(0.0, 1.0), min_size=HUBS, max_size=HUBS),
    st.lists(st.floats(0.0, 3.0), min_size=HUBS, max_size=HUBS),
    st.floats(2.0, 90.0),
    st.booleans(),
)
def test_a_bus_that_is_down_moves_nothing(
    gone: list[float], back: list[float], down_seconds: float, silent: bool
) -> None:
    """Proves that while the bus is down for every hub, as each finds out at a moment of its own,
    and when it is back for each of them at another one, every lead stays where it is, and is
    counted on again then."""
    down_at = [SETTLED_SECONDS + each for each in gone]
    up_at = [SETTLED_SECONDS + max(gone) + down_seconds + each for each in back]
    site = Site(lambda number, now: down_at[number] <= now < up_at[number], silent=silent)
    site.run(max(up_at) + 30.0)
    assert site.holders == ["hub 0"]
    assert site.electors[0].leads


@given(st.floats(0.2, 12.0), st.floats(0.2, 12.0), st.booleans())
def test_a_bus_that_comes_and_goes_for_one_hub_sends_no_lead_around(
    there: float, gone: float, silent: bool
) -> None:
    """Proves that where one hub's bus comes and goes again and again and others keep theirs, the
    lead moves away once at most."""

    def cut(number: int, now: float) -> bool:
        return number == 0 and now > SETTLED_SECONDS and now % (there + gone) < gone

    site = Site(cut, silent=silent)
    site.run(SETTLED_SECONDS + 180.0)
    assert len(site.holders) <= 2


def test_nobody_takes_a_free_lead_without_a_bus() -> None:
    """Proves that while no hub has its bus a lead that is free stays so, in one term, and that one
    of them takes it when it has."""
    site = Site(lambda _number, now: now < 30.0, silent=False)
    site.run(30.0)
    assert site.table.taken == []
    site.run(35.0)
    assert len(site.table.taken) == 1


@given(st.lists(st.tuples(st.booleans(), st.floats(0.0, 4.0)), max_size=40))
def test_what_is_away_is_not_steady(told: list[tuple[bool, float]]) -> None:
    """Proves, for answers and failures in any order, that a bus which counts as away is never
    steady, that it is away only after several failures in a row that took longer than patience, and
    that an answer ends that."""
    seen, now, failed_since, failures = BusSeen(), 0.0, 0.0, 0
    for is_answered, takes in told:
        asked_at, now = now, now + takes
        if is_answered:
            seen, failures = answered(seen, now), 0
            assert not is_away(seen, now, PATIENCE)
        else:
            failed_since = failed_since if failures else asked_at
            seen, failures = unanswered(seen, asked_at), failures + 1
            assert not is_steady(seen, now, PATIENCE)
        long = failures >= FAILURES_MIN and now - failed_since > PATIENCE.away
        assert is_away(seen, now, PATIENCE) == long
