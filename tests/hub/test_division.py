"""How systems are divided among hubs, and what is done to divide them so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from itertools import product

from crossdock_hub.leading.division import NOBODY, Seat, Steps, SystemLead, divide, steps
from crossdock_hub.store.postgresql import Backend
from hypothesis import given
from hypothesis import strategies as st

NAMES = [f"system {n:02}" for n in range(12)]
weights = st.dictionaries(st.integers(1, 6), st.integers(0, 3), min_size=1, max_size=5)
leds = st.dictionaries(st.sampled_from(NAMES), st.none() | st.integers(1, 7))
Led = Mapping[str, int | None]


def loads(weights: Mapping[int, int], found: Mapping[str, int]) -> dict[int, int]:
    count = Counter(found.values())
    return {seat: weight + count[seat] for seat, weight in weights.items()}


def is_even(weights: Mapping[int, int], found: Mapping[str, int]) -> bool:
    """Whether no system would be better off elsewhere: loads differ by one at most, but for seats
    whose other work alone is more."""
    loaded = loads(weights, found)
    least = min(loaded.values())
    return all(loaded[seat] <= least + 1 for seat in found.values())


def moved(before: Led, after: Mapping[str, int]) -> set[str]:
    return {name for name, seat in after.items() if before[name] != seat}


@given(weights, leds)
def test_systems_are_divided_evenly(weights: dict[int, int], led: dict[str, int | None]) -> None:
    """Proves that each system gets a seat that lives, that seats which get any differ by one at
    most, and that the same question, in any order, has the same answer."""
    found = divide(weights, led)
    assert found.keys() == led.keys()
    assert set(found.values()) <= weights.keys()
    assert is_even(weights, found)
    turned = dict(reversed(weights.items())), dict(reversed(led.items()))
    assert divide(*turned) == found


@given(weights, leds)
def test_what_is_divided_stays(weights: dict[int, int], led: dict[str, int | None]) -> None:
    """Proves that nothing moves once systems are divided."""
    found = divide(weights, led)
    assert divide(weights, found) == found


@given(
    st.dictionaries(st.integers(1, 3), st.integers(0, 2), min_size=1, max_size=3),
    st.dictionaries(st.sampled_from(NAMES[:5]), st.none() | st.integers(1, 4)),
)
def test_as_few_systems_move_as_possible(
    weights: dict[int, int], led: dict[str, int | None]
) -> None:
    """Proves, against every even division that there is, that none moves fewer systems."""
    found = divide(weights, led)
    every = (dict(zip(led, chosen, strict=True)) for chosen in product(weights, repeat=len(led)))
    fewest = min(len(moved(led, each)) for each in every if is_even(weights, each))
    assert len(moved(led, found)) == fewest


@given(weights.filter(lambda each: len(each) > 1), leds)
def test_a_seat_that_dies_moves_only_its_own(
    weights: dict[int, int], led: dict[str, int | None]
) -> None:
    """Proves that when a hub dies every system of the others stays where it is."""
    before = divide(weights, led)
    for dead in weights:
        living = {seat: weight for seat, weight in weights.items() if seat != dead}
        after = divide(living, before)
        assert moved(before, after) == {name for name, seat in before.items() if seat == dead}


@given(weights, leds, st.integers(0, 3))
def test_a_new_seat_takes_what_balances(
    weights: dict[int, int], led: dict[str, int | None], weight: int
) -> None:
    """Proves that a new hub gets systems of others, and that nothing moves among those."""
    before = divide(weights, led)
    after = divide(weights | {9: weight}, before)
    assert all(after[name] == 9 for name in moved(before, after))


def test_systems_that_leave_already_leave_first() -> None:
    """Proves that of two systems the one goes that was asked to go before: not both."""
    led = dict.fromkeys("abc", 1)
    (first,) = moved(led, divide({1: 0, 2: 0}, led))
    for asked in "abc":
        assert moved(led, divide({1: 0, 2: 0}, led, leaving={asked})) == {asked}, first
    assert divide({}, led) == {}
    assert divide({1: 1, 2: 0}, {"a": None}) == {"a": 2}


def seat(number: int, term: int, left: float = 60.0, holder: str = "a hub") -> Seat:
    return Seat(number, term, holder, f"{number}:1", left, Backend(number, term))


def lead(system: str, number: int | None, term: int = 5, wanted: int | None = None) -> SystemLead:
    return SystemLead(system, number, term, (number or 0) if wanted is None else wanted, 0)


def test_new_systems_are_inserted_and_given() -> None:
    """Proves that what nobody leads goes to seats that live, evenly, with other work counted in;
    and that without one nothing happens but that systems become known."""
    living = [seat(1, 5), seat(2, 6), seat(3, 7, left=-1.0)]
    told = steps([lead("b", None)], living, {"a", "b", "c"}, {1: 1})
    given_to = {"a": living[1], "b": living[0], "c": living[1]}
    assert told == Steps(insert=("a", "c"), assign=given_to)
    nobody = steps([lead("b", 3, 7)], living[2:], {"a", "b"}, {})
    assert nobody == Steps(insert=("a",))


def test_a_seat_that_ran_out_is_closed_before_its_systems_are_given() -> None:
    """Proves that a seat which ran out is closed when it led anything, and only then; that what
    was closed is given without more ado; and that what another hub took is waited for."""
    living = seat(1, 5)
    expired, idle = seat(2, 6, left=0.0), seat(3, 7, left=-5.0)
    led = [lead("a", 2, 6), lead("b", 1, 5)]
    assert steps(led, [living, expired, idle], {"a", "b"}, {}) == Steps(
        close=(expired,), assign={"a": living}
    )
    closed = replace(expired, term=7, holder="")
    assert steps(led, [living, closed], {"a", "b"}, {}) == Steps(assign={"a": living})
    again = replace(expired, term=7, left_seconds=60.0)
    assert steps(led, [living, again], {"a", "b"}, {}) == Steps()
    asked = [lead("a", 2, 6, wanted=1), lead("b", 1, 5)]
    assert steps(asked, [living, again], {"a", "b"}, {}) == Steps()
    # One who took it and died before it could say anything.
    assert steps(led, [living, replace(again, left_seconds=0.0)], {"a", "b"}, {}) == Steps(
        close=(replace(again, left_seconds=0.0),), assign={"a": living}
    )


def test_what_a_living_hub_leads_is_asked_for() -> None:
    """Proves that nothing is taken from a hub that lives: it is asked, once, and asked to keep what
    it is not to give any more; and that gone systems are asked for before they are deleted."""
    seats = [seat(1, 5), seat(2, 6)]
    led = [lead("b", 1), lead("a", 1)]
    assert steps(led, seats, {"b", "a"}, {}) == Steps(want={"a": 2})
    asked = [lead("b", 1), lead("a", 1, wanted=2)]
    assert steps(asked, seats, {"b", "a"}, {}) == Steps()
    assert steps(asked, seats[:1], {"b", "a"}, {}) == Steps(want={"a": 1})
    let_go = [lead("b", 1), lead("a", None, wanted=2)]
    assert steps(let_go, seats, {"b", "a"}, {}) == Steps(assign={"a": seats[1]})
    assert steps(led, seats, {"b"}, {}) == Steps(want={"a": NOBODY})
    gone = [lead("b", 1), lead("a", 1, wanted=NOBODY)]
    assert steps(gone, seats, {"b"}, {}) == Steps()
    assert steps([lead("b", 1), lead("a", None)], seats, {"b"}, {}) == Steps(delete=("a",))


seats_drawn = st.builds(
    lambda numbers, terms, lefts, holders: [
        seat(n, term, left, holder if left <= 0 else "a hub")
        for n, term, left, holder in zip(sorted(numbers), terms, lefts, holders, strict=False)
    ],
    st.sets(st.integers(1, 5), max_size=5),
    st.lists(st.integers(4, 6), min_size=5, max_size=5),
    st.lists(st.sampled_from([60.0, 60.0, -1.0]), min_size=5, max_size=5),
    st.lists(st.sampled_from(["a hub", ""]), min_size=5, max_size=5),
)
leads_drawn = st.lists(
    st.builds(
        lead,
        st.sampled_from(NAMES),
        st.none() | st.integers(1, 6),
        st.integers(3, 6),
        st.integers(0, 6),
    ),
    unique_by=lambda each: each.system,
)


@given(seats_drawn, leads_drawn, st.sets(st.sampled_from(NAMES)), weights)
def test_steps_come_to_an_end(
    seats: list[Seat], leads: list[SystemLead], systems: set[str], weights: dict[int, int]
) -> None:
    """Proves, from any state, that when the steps are done and hubs let go of what they are asked
    for, every system is led by a living hub, evenly, that gone ones are forgotten, that no more
    steps follow, and that no step takes anything from a hub that lives."""
    held = {each.number: each for each in seats}
    rows = {each.system: _possible(each, held) for each in leads}
    for _ in range(4):
        told = steps(rows.values(), held.values(), systems, weights)
        take(told, rows, held)
        let_go(rows, held)
    assert not steps(rows.values(), held.values(), systems, weights).is_any
    living = {n: weights.get(n, 0) for n, each in held.items() if each.lives}
    if living:
        assert rows.keys() == systems
        assert is_even(living, {name: row.seat or 0 for name, row in rows.items()})
        assert all(held[row.seat or 0].term == row.seat_term for row in rows.values())


def _possible(row: SystemLead, held: dict[int, Seat]) -> SystemLead:
    """No system is led in a term that its seat has not had yet."""
    own = held.get(row.seat or 0)
    return row if own is None else replace(row, seat_term=min(row.seat_term, own.term))


def take(told: Steps, rows: dict[str, SystemLead], held: dict[int, Seat]) -> None:
    """Do the steps, as the database would have them done."""
    for each in told.close:
        assert not held[each.number].lives
        held[each.number] = replace(each, term=each.term + 1, holder="")
    rows |= {name: lead(name, None, 0) for name in told.insert}
    for name, to in told.assign.items():
        row = rows[name]
        former = held.get(row.seat) if row.seat is not None else None
        assert former is None or (former.is_closed and former.term > row.seat_term)
        assert to.lives
        rows[name] = SystemLead(name, to.number, to.term, to.number, 0)
    for name, number in told.want.items():
        assert number == NOBODY or held[number].lives
        rows[name] = replace(rows[name], wanted=number)
    for name in told.delete:
        former = held.get(rows.pop(name).seat or 0)
        assert former is None or not former.lives


def let_go(rows: dict[str, SystemLead], held: dict[int, Seat]) -> None:
    """What hubs do by themselves: end what was before them, and what they are asked to."""
    for name, row in rows.items():
        own = held.get(row.seat or 0)
        if own is None or not own.lives:
            continue
        former = row.seat_term < own.term
        if former or (row.seat_term == own.term and row.wanted != row.seat):
            rows[name] = replace(row, seat=None)
