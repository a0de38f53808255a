"""Gives the systems of a database to the hubs that share it: what `division` says, done.

A duty of the hub that has the office. It looks every `look_seconds`, and when a hub has let go of a
system or offers new ones; what it writes goes over the connection that is fenced with the office.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

import structlog

from crossdock_hub.committer import Committed
from crossdock_hub.config import SECOND, Limits
from crossdock_hub.delivery.registry import RegisteredEndpoint
from crossdock_hub.leading.division import Seat, Steps, SystemLead, has_offers, steps
from crossdock_hub.leading.looking import Looking
from crossdock_hub.store import Store, StoreFailure, Transaction, system_leads
from crossdock_hub.store.postgresql import Backend
from crossdock_hub.store.writing import restart_leases

log = structlog.get_logger("crossdock.leading")

# What the office is worth beside systems, to the hub that has it.
OFFICE_WEIGHT: Final = 1


def by_system(endpoints: Iterable[RegisteredEndpoint]) -> dict[str, list[str]]:
    """The endpoints of each system that work on anything."""
    found: dict[str, list[str]] = defaultdict(list)
    for endpoint in endpoints:
        if endpoint.operations:
            found[endpoint.system].append(endpoint.id)
    return found


@dataclass(frozen=True, slots=True)
class Division:
    """What a divider needs of its hub. seat: the number of the hub's own seat; 0: it has none.
    holder: how the hub is named in the rows of seats. end_writer: ends a connection of another hub;
    False: it has not ended yet. on_change: tells every hub that others lead what than before.
    has_bus: whether the bus has been there for this hub for long, and answers now."""

    seat: Callable[[], int]
    holder: str
    end_writer: Callable[[Backend], Awaitable[bool]]
    on_change: Callable[[], None]
    has_bus: Callable[[], Awaitable[bool]]

    async def close_others(self, connection: Transaction) -> None:
        """Let no other hub go on that holds a seat of a time which the database does not know.
        Raises StoreFailure where what one writes with does not end."""
        for writer in await system_leads.close_other_seats(connection, self.seat()):
            if not await self.end_writer(writer):
                raise StoreFailure("what another hub writes with has not ended yet", full=False)


class _NotNow(Exception):
    """What a hub wrote with whose seat is over has not ended yet, or the office is lost: whoever
    has it looks again."""


class Divider:
    """One office's. endpoints_of: the endpoints of each system that there is now. still_leads:
    whether the office is this hub's, as far as it knows; the database guards what relies on it.

    away: microseconds for which nobody wrote before the office was taken up; leases of systems that
    nobody leads then are restarted as after a start of so long ago.
    """

    def __init__(
        self,
        store: Store,
        division: Division,
        endpoints_of: Callable[[], Mapping[str, Collection[str]]],
        limits: Limits,
        clock: Callable[[], int],
        away: int,
        still_leads: Callable[[], bool],
    ) -> None:
        self._store = store
        self._division = division
        self._endpoints_of = endpoints_of
        self._limits = limits
        self._clock = clock
        self._away = away
        self._still_leads = still_leads
        self._looking = Looking(
            "divider",
            self.look,
            limits.lead_look_seconds,
            away="systems can't be divided",
            back="systems are divided again",
        )

    def committed(self, batch: Committed) -> None:
        """A batch is durable: there may be a new system."""
        if any(key[0] == "endpoint" for key in batch.changes.records):
            self._looking.wake()

    def wake(self) -> None:
        """A system is free, or new, or a hub has come: look at once."""
        self._looking.wake()

    def start(self) -> None:
        """Begin to look."""
        self._looking.start()

    async def stop(self) -> None:
        """Give nothing to anybody any more."""
        await self._looking.stop()

    async def look(self) -> bool:
        """Do what is next. Whether there was anything. Raises StoreFailure."""
        async with self._store.read() as connection:
            leads = await system_leads.all_leads(connection)
            seats = await system_leads.seats(connection)
        systems = self._endpoints_of()
        # Asked only where somebody says that he lacks it.
        take_offered = has_offers(leads, seats) and await self._division.has_bus()
        weights = {self._division.seat(): OFFICE_WEIGHT}
        plan = steps(leads, seats, systems.keys(), weights, take_offered=take_offered)
        if not plan.is_any:
            return False
        await self._end_writers(plan.close)
        try:
            async with self._store.write() as connection:
                done = await self._do(connection, plan, {each.system: each for each in leads})
        except _NotNow:
            return False
        if done.assign:
            # Whoever leads systems from now on renews leases.
            self._away = 0
        if not done.is_any:
            return False
        self._say_what(done)
        self._division.on_change()
        return True

    async def _end_writers(self, seats: Iterable[Seat]) -> None:
        """Before this hub waits to write: a hub that was stopped amid a batch holds locks, which a
        batch of this one may wait for. Not its own, with which the office would be lost too."""
        for seat in seats:
            if seat.holder != self._division.holder:
                await self._division.end_writer(seat.writer)

    async def _do(
        self, connection: Transaction, plan: Steps, before: Mapping[str, SystemLead]
    ) -> Steps:
        """Do what is still right; returns that."""
        if not self._still_leads():
            # Whoever connects anew may learn that another hub has the office.
            raise _NotNow
        closed = [seat for seat in plan.close if await self._close(connection, seat)]
        await system_leads.insert(connection, plan.insert)
        given = {
            name: seat
            for name, seat in plan.assign.items()
            if await system_leads.assign(connection, name, seat.number, seat.term)
        }
        # Only of these: a seat that was renewed since it was read leads its systems still, and so
        # may one that this hub would have to end itself for.
        left = [
            name
            for name in given
            if (lead := before.get(name)) is None or lead.seat is not None or not lead.seat_term
        ]
        # Who let go of a system itself has left its leases and dispatches as they are to be.
        await self._restart(connection, left)
        for name, wanted in plan.want.items():
            await system_leads.want(connection, name, wanted)
        await system_leads.remove(connection, plan.delete)
        return replace(plan, close=tuple(closed), assign=given)

    async def _close(self, connection: Transaction, seat: Seat) -> bool:
        """Whether a seat is closed; one that was renewed, or is this hub's own, is not."""
        writer = await system_leads.close_seat(connection, seat.number, seat.term)
        if writer is not None and not await self._division.end_writer(writer):
            log.warning("what a lost hub writes with has not ended yet", pid=writer.pid)
            raise _NotNow
        return writer is not None

    async def _restart(self, connection: Transaction, systems: Collection[str]) -> None:
        every = self._endpoints_of()
        endpoints = [name for system in systems for name in every.get(system, ())]
        if not endpoints:
            return
        now, limits = self._clock(), self._limits
        until = now + int(limits.restart_grace_seconds * SECOND)
        longest = int(limits.lease_seconds_max * SECOND)
        await restart_leases(connection, now, until, self._away, longest, endpoints)

    def _say_what(self, plan: Steps) -> None:
        given: dict[int, list[str]] = defaultdict(list)
        for name, seat in plan.assign.items():
            given[seat.number].append(name)
        closed = [seat.number for seat in plan.close]
        log.info("systems divided", given=dict(given), asked_for=plan.want, closed_seats=closed)
