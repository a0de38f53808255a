"""Which hub is to lead the deliveries of which system, where hubs divide systems. Pure.

Each hub holds a seat. One hub, which does what one does for all, gives systems to seats: it
compares who leads them with how they ought to be divided, and says what is next. It takes nothing
from a hub that lives: that one is asked, and lets go of a system itself once it has ended there.

Invariants: a system is given to a seat only when nobody leads it, or when the seat that led it was
closed, so that nothing is written in its term any more. A seat that ran out and was taken again
before anybody closed it is waited for: who took it says when what was before it has ended. The same
state has the same answer, and what has come of an answer needs no further step. A seat whose hub
lacks its bus is as good as run out while another hub has one, and as any other where none has.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from crossdock_hub.store.postgresql import Backend

NOBODY: Final = 0


@dataclass(frozen=True, slots=True)
class SystemLead:
    """Who leads a system. seat, seat_term: which seat, in which of its terms; None: nobody. wanted:
    the seat that is to lead it; NOBODY: none is. since: microseconds by the database's clock."""

    system: str
    seat: int | None
    seat_term: int
    wanted: int
    since: int


@dataclass(frozen=True, slots=True)
class Seat:
    """A seat as it is written down. holder: "": it was closed. address: where the holder serves
    other hubs. left_seconds: until it runs out, by the database's clock. writer: what the holder
    writes with, or one before it until it has said so. offered: its hub lacks a bus."""

    number: int
    term: int
    holder: str
    address: str
    left_seconds: float
    writer: Backend
    offered: bool = False

    @property
    def lives(self) -> bool:
        """Whether its hub may be counted on."""
        return self.left_seconds > 0

    @property
    def is_closed(self) -> bool:
        """Whether what was written with in its terms before has ended, and nobody took it since."""
        return not self.holder


@dataclass(frozen=True, slots=True)
class Steps:
    """What is to be done, in this order, all of it in one transaction or none.

    close: seats that have run out, or lack a bus that another has, and led something. insert:
    systems that are new. assign: the seat that leads a system from now on. want: the seat that is
    to lead a system which a living seat leads; NOBODY: none, for the system is gone. delete:
    systems that are gone.
    """

    close: tuple[Seat, ...] = ()
    insert: tuple[str, ...] = ()
    assign: dict[str, Seat] = field(default_factory=dict)
    want: dict[str, int] = field(default_factory=dict)
    delete: tuple[str, ...] = ()

    @property
    def is_any(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.close or self.insert or self.assign or self.want or self.delete)


def divide(
    weights: Mapping[int, int],
    led: Mapping[str, int | None],
    leaving: Collection[str] = (),
) -> dict[str, int]:
    """The seat that each system ought to have; {}: there is no seat.

    weights: seats that live, and how many systems' worth of other work each of them has. led: the
    seat that each system has now; None, or one that does not live: nobody. leaving: systems that go
    first where some have to. No seat that gets any has more than one above any other, other work
    counted in. As few systems change their seat as possible.
    """
    if not weights:
        return {}
    had: dict[int, list[str]] = {seat: [] for seat in weights}
    free: list[str] = []
    for system in sorted(led, key=lambda each: (each in leaving, _mixed(each))):
        had.get(led[system] or NOBODY, free).append(system)
    room = _shares(weights, {seat: len(systems) for seat, systems in had.items()}, len(led))
    found: dict[str, int] = {}
    for seat, systems in had.items():
        found |= dict.fromkeys(systems[: room[seat]], seat)
        free += systems[room[seat] :]
        room[seat] -= min(room[seat], len(systems))
    for system in sorted(free, key=_mixed):
        # Whoever has room would do; the same question has to have the same answer.
        seat = max(room, key=lambda each: (room[each], -each))
        found[system] = seat
        room[seat] -= 1
    return found


def _mixed(system: str) -> str:
    """An order in which systems of like names, and so of like work, come apart."""
    return hashlib.sha256(system.encode()).hexdigest()


def _shares(weights: Mapping[int, int], had: Mapping[int, int], systems: int) -> dict[int, int]:
    """How many of all systems each seat is to have. had: how many it has."""
    found = dict.fromkeys(weights, 0)
    for _ in range(systems):
        # Of those that have least, one that would lose a system without it, else the lowest.
        found[_next(weights, had, found)] += 1
    return found


def _next(weights: Mapping[int, int], had: Mapping[int, int], found: Mapping[int, int]) -> int:
    return min(
        found, key=lambda each: (weights[each] + found[each], found[each] >= had[each], each)
    )


def steps(
    leads: Iterable[SystemLead],
    seats: Iterable[Seat],
    systems: Collection[str],
    weights: Mapping[int, int],
    *,
    take_offered: bool = False,
) -> Steps:
    """What is next, where systems are led so. systems: those that anybody has. weights: other work
    of a seat, in systems; one that is not named has none. take_offered: the bus is there, as who
    asks has seen for long, so a hub that lacks it leads nothing while another one has it. Without a
    living seat nothing is given to anybody, and nothing taken."""
    known = {lead.system: lead for lead in leads}
    seat_of = {seat.number: seat for seat in seats}
    numbers = _counted_on(seat_of.values(), take_offered=take_offered)
    living = {number: weights.get(number, 0) for number in numbers}
    if not living:
        return Steps(insert=tuple(sorted(set(systems) - known.keys())))
    standing = {name: _standing(lead, seat_of, living) for name, lead in known.items()}
    led = {name: standing[name].seat if name in known else None for name in systems}
    leaving = {name for name, lead in known.items() if lead.wanted != lead.seat}
    ought = divide(living, led, leaving)
    given: dict[str, Seat] = {}
    want: dict[str, int] = {}
    for name in sorted(systems):
        if led[name] is None:
            given[name] = seat_of[ought[name]]
        elif standing[name].moves and known[name].wanted != ought[name]:
            want[name] = ought[name]
    gone = sorted(known.keys() - set(systems))
    held = [name for name in gone if standing[name].seat is not None]
    want |= {name: NOBODY for name in held if standing[name].moves and known[name].wanted != NOBODY}
    over = {each.over.number: each.over for each in standing.values() if each.over is not None}
    return Steps(
        close=tuple(over[number] for number in sorted(over)),
        insert=tuple(sorted(set(systems) - known.keys())),
        assign=given,
        want=want,
        delete=tuple(name for name in gone if standing[name].seat is None),
    )


@dataclass(frozen=True, slots=True)
class _Standing:
    """Where a system stands. seat: a living one that leads it, or led it and is to say that it has
    ended; None: nobody's. moves: it can be asked to let go. over: a seat to be closed first."""

    seat: int | None = None
    moves: bool = False
    over: Seat | None = None


def has_offers(leads: Iterable[SystemLead], seats: Iterable[Seat]) -> bool:
    """Whether systems are led by a hub that lacks its bus, while another one says it has it."""
    living = [seat for seat in seats if seat.lives]
    offered = {seat.number for seat in living if seat.offered}
    return len(offered) < len(living) and any(lead.seat in offered for lead in leads)


def _counted_on(seats: Iterable[Seat], *, take_offered: bool) -> list[int]:
    living = [seat for seat in seats if seat.lives]
    with_bus = [seat.number for seat in living if not seat.offered]
    return with_bus if take_offered and with_bus else [seat.number for seat in living]


def _standing(lead: SystemLead, seats: Mapping[int, Seat], living: Collection[int]) -> _Standing:
    seat = seats.get(lead.seat) if lead.seat is not None else None
    if seat is None or (seat.is_closed and seat.term > lead.seat_term):
        return _Standing()
    if seat.number not in living:
        return _Standing(over=seat)
    return _Standing(seat.number, moves=seat.term == lead.seat_term)
