"""Which systems this hub leads, and where others are led: as the database says, read every
`look_seconds` and when another hub tells of a change.

A hub leads what is assigned to its seat in the term that it holds. What another seat is wanted for
it lets go of, between two batches, so that no two hubs ever dispatch for one system.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import structlog

from crossdock_hub.leading.looking import Looking
from crossdock_hub.leading.terms import FOLLOWS, Seen
from crossdock_hub.store import Store, system_leads

log = structlog.get_logger("crossdock.leading")

NOBODY: frozenset[str] = frozenset()


class Systems:
    """One hub's view. seat: number and term of the seat that it holds, term FOLLOWS: none.

    on_change: called when who leads what is known to be other than before. on_let_go: called
    when this hub has let go of some.
    """

    def __init__(
        self,
        store: Store,
        seat: Callable[[], tuple[int, int]],
        look_seconds: float,
        on_change: Callable[[], None],
        on_let_go: Callable[[], None],
    ) -> None:
        self._store = store
        self._seat = seat
        self._on_change = on_change
        self._on_let_go = on_let_go
        self._own = NOBODY
        self._term = FOLLOWS
        self._routes: Mapping[str, Seen] = {}
        self._takes = False
        self._looking = Looking(
            "systems",
            self.look,
            look_seconds,
            away="who leads systems can't be asked",
            back="who leads systems is known again",
        )

    @property
    def own(self) -> frozenset[str]:
        """The systems that this hub leads."""
        return self._own if self._takes and self._seat()[1] == self._term else NOBODY

    def leader(self, system: str) -> Seen | None:
        """Who leads a system, as far as is known here; None: nobody."""
        return self._routes.get(system)

    def addresses(self) -> set[str]:
        """Where hubs that lead anything are reached."""
        return {seen.address for seen in self._routes.values()}

    def take(self, takes: bool) -> None:
        """Whether what is assigned to the seat is led from now on."""
        self._takes = takes
        self.wake()

    def wake(self) -> None:
        """Another hub has changed who leads what, or may have: look at once."""
        self._looking.wake()

    def start(self) -> None:
        """Begin to look."""
        self._looking.start()

    async def stop(self) -> None:
        """Look no more."""
        await self._looking.stop()

    async def look(self) -> None:
        """Read who leads what, and let go of what another seat is wanted for. StoreFailure: the
        database does not answer; what was known holds, for whoever takes a seat over ends what its
        former holder writes with."""
        number, term = self._seat()
        async with self._store.read() as connection:
            routes = await system_leads.routes(connection)
            leads = [
                each for each in await system_leads.all_leads(connection) if each.seat == number
            ]
        if term == FOLLOWS or self._seat() != (number, term):
            self._note(NOBODY, FOLLOWS, routes)
            return
        assigned = [each for each in leads if each.seat_term == term]
        leaving = [each.system for each in assigned if each.wanted != number]
        staying = frozenset(each.system for each in assigned) - set(leaving)
        self._note(staying, term, routes)
        if leaving or (self._takes and any(each.seat_term < term for each in leads)):
            await self._let_go(leaving, number, term)

    def _note(self, own: frozenset[str], term: int, routes: Mapping[str, Seen]) -> None:
        before = (self._own, self._term, _addresses(self._routes))
        if own != self._own:
            log.info("systems led by this hub", systems=sorted(own))
        self._own, self._term, self._routes = own, term, routes
        if before != (own, term, _addresses(routes)):
            self._on_change()

    async def _let_go(self, leaving: Sequence[str], number: int, term: int) -> None:
        # In a transaction of the hub's writer: the batch before is over, and the next one knows.
        async with self._store.write() as connection:
            await system_leads.let_go(connection, leaving, number, term)
            if self._takes:
                # Given in the moment in which the seat ran out, to whoever had it before.
                await system_leads.let_former_go(connection, number, term)
        self._on_let_go()


def _addresses(routes: Mapping[str, Seen]) -> dict[str, tuple[str, str]]:
    return {system: (seen.holder, seen.address) for system, seen in routes.items()}
