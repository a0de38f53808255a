"""What a hub may decide and dispatch now: whether it leads the office, and which systems.

The office is what one hub of a database does at a time. A system is what endpoints share a budget
of; its deliveries are dispatched, begun and ended by the hub that leads it. A hub that has its
database for itself, or leads everything, leads every system with its office.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from crossdock_hub.delivery.registry import RegisteredEndpoint

Held = Callable[[], bool]


def always() -> bool:
    """Held by nobody else, ever."""
    return True


def never() -> bool:
    """Not held."""
    return False


class Authority:
    """Of one hub; asked within batches, told between them."""

    def __init__(self) -> None:
        self._office: Held = always
        self._dispatch: Held = always
        self._systems: Callable[[], frozenset[str]] | None = None

    @property
    def leads(self) -> bool:
        """Whether this hub leads the office."""
        return self._office()

    @property
    def dispatches(self) -> bool:
        """Whether this hub dispatches anything."""
        return self._dispatch()

    @property
    def leads_anything(self) -> bool:
        """Whether the bus is told by this hub of anything."""
        return self._office() or self._dispatch()

    def lead(self, still: Held) -> None:
        """The office is this hub's, as long as it still holds it."""
        self._office = still

    def lead_everything(self, still: Held) -> None:
        """The office is this hub's, and every system with it."""
        self._office = self._dispatch = still
        self._systems = None

    def lead_systems(self, systems: Callable[[], frozenset[str]], still: Held) -> None:
        """These systems are this hub's, as they are then, as long as it still holds its seat."""
        self._dispatch, self._systems = still, systems

    def follow(self) -> None:
        """The office is another hub's, and every system that was led with it."""
        self._office = never
        if self._systems is None:
            self._dispatch = never

    def lead_no_systems(self) -> None:
        """Systems are other hubs'."""
        self._dispatch = never

    def takes(self, system: str) -> bool:
        """Whether this hub leads a system."""
        return self._dispatch() and (self._systems is None or system in self._systems())

    def among(
        self, endpoints: Iterable[RegisteredEndpoint]
    ) -> tuple[RegisteredEndpoint, ...] | None:
        """Those whose systems this hub leads; None: every one, of which nobody need ask."""
        if self._systems is None:
            return None
        systems = self._systems()
        return tuple(each for each in endpoints if each.system in systems)
