"""What a hub needs to work on its database beside others: its part in who leads, the way to the hub
that does, and what they tell each other."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Awaitable, Callable, Collection
from contextlib import AsyncExitStack
from functools import partial
from importlib import resources
from typing import Final

import crossdock
import grpc
from crossdock.errors import ConfigurationError

from crossdock_hub.bus.jetstream import Bus
from crossdock_hub.bus.tie import told_by
from crossdock_hub.committer import Committer
from crossdock_hub.config import Limits, Settings, limits_of
from crossdock_hub.dividing import Dividing
from crossdock_hub.door.forwarding import Forwarder
from crossdock_hub.leading.bus_seen import BusPatience
from crossdock_hub.leading.bus_watch import BusWatch
from crossdock_hub.leading.elector import Elector
from crossdock_hub.leading.news import News
from crossdock_hub.leading.newsroom import Newsroom
from crossdock_hub.leading.office import Office
from crossdock_hub.leading.terms import Seen, Timing
from crossdock_hub.store import Store
from crossdock_hub.store.engine import access_of
from crossdock_hub.store.leadership import LeadershipRow
from crossdock_hub.store.postgresql import DIVIDED, Backend, name_of_hub

_ANYWHERE: Final = ("", "0.0.0.0", "[::]", "::")
_DIGEST_CHARACTERS: Final = 12


def check_sharing(settings: Settings) -> None:
    """Refuse settings with which hubs can't share a database. Raises ConfigurationError."""
    if not settings.shared_database:
        if settings.divide_systems:
            raise ConfigurationError(
                "CROSSDOCK_DIVIDE_SYSTEMS=true needs CROSSDOCK_SHARED_DATABASE=true: a hub that "
                "has its database for itself leads every system; set that too, or neither"
            )
        return
    if settings.divide_systems and limits_of(settings).seats_max < 1:
        raise ConfigurationError(
            "CROSSDOCK_LIMITS: with seats_max 0 no hub leads any system; let it be as many as "
            "there are hubs at least, or leave CROSSDOCK_DIVIDE_SYSTEMS out"
        )
    if not settings.database_url.startswith("postgresql"):
        raise ConfigurationError(
            "CROSSDOCK_SHARED_DATABASE=true needs PostgreSQL, for a file of SQLite has one hub; "
            "set CROSSDOCK_DATABASE_URL=postgresql+asyncpg://…, or CROSSDOCK_SHARED_DATABASE=false"
        )
    if not settings.nats_url:
        raise ConfigurationError(
            "CROSSDOCK_SHARED_DATABASE=true needs a NATS that every hub of the database reaches; "
            "set CROSSDOCK_NATS_URL to the same one for all of them"
        )
    host, _, port = (settings.advertise or settings.listen).rpartition(":")
    any_port = port == "0" and not settings.share_port
    if settings.advertise and (host in _ANYWHERE or not port.isdigit() or any_port):
        raise ConfigurationError(
            f"CROSSDOCK_ADVERTISE {settings.advertise!r} is no host:port that leads to this hub"
        )
    if host in _ANYWHERE or host == "unix":
        raise ConfigurationError(
            f"CROSSDOCK_LISTEN {settings.listen!r} names no host at which the other hubs of the "
            "database reach this one; set CROSSDOCK_ADVERTISE to host:port"
        )
    if settings.hubs_ca_file is not None and not settings.hubs_ca_file.is_file():
        raise ConfigurationError(f"CROSSDOCK_HUBS_CA_FILE {settings.hubs_ca_file} is no file")


def advertised(settings: Settings, address: str) -> str:
    """Where the other hubs reach this one, whose server answers at an address."""
    host, _, port = settings.advertise.rpartition(":")
    if not host:
        return address
    return f"{host}:{address.rpartition(':')[2]}" if port == "0" else settings.advertise


def version_of_hubs(*, divided: bool = False) -> str:
    """Which hubs work together: those of one contract whose versions differ in the last number at
    most, so that hubs are upgraded one after another, and of which each leads some systems, or none
    does. That their tables are the same the store sees to."""
    image = resources.files("crossdock").joinpath("contracts.binpb").read_bytes()
    digest = hashlib.sha256(image).hexdigest()[:_DIGEST_CHARACTERS]
    found = f"{crossdock.__version__.rpartition('.')[0]} with contract {digest}"
    return found + DIVIDED if divided else found


def _credentials(settings: Settings) -> grpc.ChannelCredentials | None:
    """Of the other hubs' servers, which are set up as this one is; None: plaintext."""
    if not (settings.tls_certificate_file and settings.tls_key_file):
        return None
    authority = settings.hubs_ca_file
    return grpc.ssl_channel_credentials(authority.read_bytes() if authority else None)


class Sharing:
    """One hub's. `take_part` once the hub serves; the exit stack that it is given ends it.

    take_up, lay_down: of the hub's duties. heard: told of what other hubs commit.
    """

    def __init__(
        self,
        settings: Settings,
        limits: Limits,
        store: Store,
        committer: Committer,
        bus: Bus,
        take_up: Callable[[], Awaitable[None]],
        lay_down: Callable[[], Awaitable[None]],
        heard: Callable[[News], None],
    ) -> None:
        self._settings = settings
        self._committer = committer
        self._dividing: Dividing | None = None
        self.holder = holder = f"{name_of_hub()} {uuid.uuid4().hex[:_DIGEST_CHARACTERS]}"
        timing = Timing(limits.lead_seconds, limits.lead_renew_seconds, limits.lead_look_seconds)
        self._row = LeadershipRow(settings.database_url, access_of(settings))
        bus_answers = partial(told_by, bus)
        self.bus_watch = BusWatch(
            bus_answers,
            BusPatience(limits.lead_bus_seconds, limits.lead_bus_steady_seconds),
            limits.lead_bus_look_seconds,
            bus.change_node,
        )
        self._elector = Elector(self._row, holder, timing, self.bus_watch)
        self.office = Office(
            self._elector,
            self._row,
            store,
            take_up,
            lay_down,
            committer.follow,
            bus_answers,
        )
        store.on_deposed = self._deposed
        self.forwarder = Forwarder(
            self._leads,
            self._leader,
            self._addresses,
            _credentials(settings),
            limits,
            holder,
        )
        self._elector.on_leader = self.forwarder.look_again
        self.newsroom = Newsroom(
            bus, holder, limits.elsewhere_look_seconds, limits.elsewhere_page_seconds, heard
        )
        committer.listeners.append(self.newsroom.committed)

    @property
    def term(self) -> int:
        """The term in which this hub leads or is about to; 0: it follows."""
        return self._elector.term

    @property
    def counts_on_lead(self) -> bool:
        """Whether no other hub can lead now."""
        return self._elector.leads

    def _addresses(self) -> Collection[str]:
        """Of the hubs that lead anything."""
        leader, dividing = self._elector.leader, self._dividing
        found = set() if dividing is None else dividing.systems.addresses()
        return found if leader is None else {leader.address, *found}

    async def has_bus(self) -> bool:
        """Whether the bus has been there for this hub for long, and answers now."""
        return self.bus_watch.is_steady and await self.bus_watch.answers()

    def divide(self, dividing: Dividing) -> None:
        """Hubs lead systems beside the office from now on, this one among them."""
        self._dividing = dividing

    async def end_writer(self, writer: Backend) -> bool:
        """End what another hub writes with; False: it has not ended yet."""
        return await self._row.end_writer(writer)

    def _deposed(self, task: str, term: int) -> None:
        self.office.deposed(task, term)
        if self._dividing is not None:
            self._dividing.office.deposed(task, term)

    def _leads(self, endpoint: str) -> bool:
        if self._is_of_the_office(endpoint):
            return self.office.leads
        return self._committer.leads_endpoint(endpoint)

    def _leader(self, endpoint: str) -> Seen | None:
        if self._dividing is None or self._is_of_the_office(endpoint):
            return self._elector.leader
        return self._dividing.leader(endpoint)

    def _is_of_the_office(self, endpoint: str) -> bool:
        """Also of an endpoint that this hub does not know, or that works on nothing."""
        return self._dividing is None or self._committer.system_of(endpoint) is None

    def end_with(self, ending: AsyncExitStack) -> None:
        """Let go of the lead when what is pushed later has ended: every commit is done by then."""
        ending.push_async_callback(self._row.close)
        ending.push_async_callback(self._elector.stop)
        if self._dividing is not None:
            self._dividing.end_with(ending)
        ending.push_async_callback(self.newsroom.stop)
        ending.push_async_callback(self.bus_watch.stop)

    def end_duties_with(self, ending: AsyncExitStack) -> None:
        """Lay the duties down, and pass on no more, when what is pushed later has ended."""
        ending.push_async_callback(self.forwarder.close)
        ending.push_async_callback(self.office.stop)
        if self._dividing is not None:
            self._dividing.end_duties_with(ending)

    async def take_part(self, address: str) -> None:
        """Begin, and return when somebody leads. address: where this hub's server, and no other
        one, answers. Raises BusError."""
        self._elector.address = advertised(self._settings, address)
        self.bus_watch.start()
        await self.newsroom.start()
        await self.office.start()
        if self._dividing is not None:
            await self._dividing.take_part(self._elector.address)
