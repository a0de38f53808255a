"""How a hub takes up what it does as leader, and how it lets go when that fails."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from crossdock_hub.bus.errors import BusError
from crossdock_hub.leading import office as offices
from crossdock_hub.leading.office import Office
from crossdock_hub.leading.terms import FOLLOWS, Seen
from crossdock_hub.store.postgresql import Backend
from fixtures_nats import eventually

OWN, OTHER = Backend(7, 70), Backend(8, 80)


class Elector:
    """One that leads in a term from its start."""

    look_seconds = 0.01

    def __init__(self, former: Backend) -> None:
        self.term = FOLLOWS
        self.former_writer = former
        self.leader: Seen | None = None
        self.given_up = 0
        self.on_change: Callable[[], None] = lambda: None

    def start(self) -> None:
        self.term = 3
        self.on_change()

    def lose(self, term: int) -> None:
        self.term = FOLLOWS
        self.on_change()

    async def give_up(self) -> None:
        self.given_up += 1
        self.lose(self.term)
        self.leader = Seen(4, "another", "there:1", 3.0)


class Row:
    """It notes whose connections were to be ended."""

    task = "seat 4"

    def __init__(self) -> None:
        self.ended: list[Backend] = []

    async def end_writer(self, writer: Backend) -> bool:
        self.ended.append(writer)
        return True

    async def name_writer(self, term: int, writer: Backend) -> bool:
        return True


class Writer:
    """One that is connected. terms: by task, in which it would write over a new connection."""

    def __init__(self) -> None:
        self.terms: dict[str, int] = {}

    def write_in_term(self, task: str, term: int) -> Backend | None:
        self.terms[task] = term
        return OWN


class Place:
    """An office, and what was done there. fault: what its duties fail with; bus: how it answers."""

    def __init__(
        self,
        former: Backend = OTHER,
        fault: Exception | None = None,
        bus: Exception | None = None,
    ) -> None:
        self.elector, self.row, self.writer = Elector(former), Row(), Writer()
        self.taken_up = self.laid_down = 0
        self._fault, self._bus = fault, bus
        self.amid: Callable[[], Awaitable[None]] | None = None
        self.office = Office(
            self.elector,  # type: ignore[arg-type]
            self.row,  # type: ignore[arg-type]
            self.writer,
            self.take_up,
            self.lay_down,
            lambda: None,
            self.bus_answers,
        )

    async def take_up(self) -> None:
        self.taken_up += 1
        if self.amid is not None:
            amid, self.amid = self.amid, None
            await amid()
        elif self.taken_up > 1:
            self._fault = None
        if self._fault is not None:
            raise self._fault

    async def lay_down(self) -> None:
        self.laid_down += 1

    async def bus_answers(self) -> None:
        if self._bus is not None:
            raise self._bus


async def test_a_lead_is_taken_up_when_nobody_else_can_write() -> None:
    """Proves that the former leader's connection is ended before the duties begin."""
    place = Place()
    await place.office.start()
    assert place.row.ended == [OTHER]
    assert (place.taken_up, place.office.leads, place.elector.given_up) == (1, True, 0)
    await place.office.stop()


@pytest.mark.parametrize("fault", [BusError("away"), KeyError("a fault of ours")])
async def test_duties_that_can_not_begin_are_left_to_others(
    fault: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that a hub whose duties fail, for whatever reason, lays down what has begun and gives
    the lead up: one that kept it would have nobody dispatch."""
    monkeypatch.setattr(offices, "FAILED_SECONDS", 0.0)
    place = Place(fault=fault)
    await place.office.start()
    await eventually(lambda: place.elector.given_up == 1, "the lead to be given up")
    assert (place.office.leads, place.laid_down) == (False, 1)
    await place.office.stop()


async def test_a_lead_that_is_lost_while_it_is_taken_up_costs_no_later_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Proves that a hub whose duties fail after it lost the term that they were for lays them down
    and gives nothing up: it may hold a later term by then, in which it takes them up."""
    monkeypatch.setattr(offices, "FAILED_SECONDS", 0.0)
    place = Place(fault=KeyError("a fault of ours"))

    async def lose_and_hold_again() -> None:
        place.elector.term += 1
        place.elector.on_change()

    place.amid = lose_and_hold_again
    await place.office.start()
    await eventually(lambda: place.office.leads, "the later term")
    assert (place.elector.term, place.elector.given_up) == (4, 0)
    assert (place.taken_up, place.laid_down) == (2, 1)
    await place.office.stop()


async def test_without_a_bus_nobody_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proves that a hub which can't lead for want of a bus ends no connection, its own or another's
    that writes objects all the while."""
    monkeypatch.setattr(offices, "FAILED_SECONDS", 0.0)
    place = Place(bus=BusError("away"))
    await place.office.start()
    await eventually(lambda: place.elector.given_up == 1, "the lead to be given up")
    assert (place.row.ended, place.taken_up) == ([], 0)
    await place.office.stop()


async def test_a_hub_does_not_end_itself() -> None:
    """Proves that a hub which led last keeps its own connection when it leads again."""
    place = Place(former=OWN)
    await place.office.start()
    assert OWN not in place.row.ended
    assert place.office.leads
    await place.office.stop()


async def test_only_the_loss_of_its_own_task_ends_duties() -> None:
    """Proves that an office writes in terms of its own task, goes on when another task of the same
    hub is lost, and lays its duties down when its own is."""
    place = Place()
    await place.office.start()
    assert place.writer.terms == {"seat 4": 3}
    place.office.deposed("everything", 3)
    assert place.office.leads
    place.office.deposed("seat 4", 3)
    assert not place.office.leads
    assert place.writer.terms == {"seat 4": FOLLOWS}
    await eventually(lambda: place.laid_down == 1, "the duties to be laid down")
    await place.office.stop()
