"""What a hub knows of its store without asking: the endpoints, and how far the rows of each kind of
endpoint are, both as of the last commit.

That is as exact as asking where one hub leads everything: whatever changes them is decided there,
and its commits go through one committer. A hub that begins to lead, or that does not know how a
commit of its own ended, reads the endpoints anew and forgets the rest; so does one that hears of a
change by another hub. What must not be a moment old, a decision reads with its row.
"""

from __future__ import annotations

from collections.abc import Iterable

from crossdock_hub.config import Limits
from crossdock_hub.delivery.registry import RegisteredEndpoint, compile_endpoint
from crossdock_hub.records import EndpointRecord
from crossdock_hub.store import Transaction
from crossdock_hub.store.writing import every_endpoint
from crossdock_hub.unit import View


class KnownByHeart:
    """Of one committer, which calls `ready`, `tell` and `after` within a batch, and `committed`
    when it is durable."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._endpoints: dict[str, RegisteredEndpoint] = {}
        self._in_doubt = False
        self._is_awaited = False
        # By endpoint kind; one whose rows have changed is asked of the store again.
        self._mapping_versions: dict[str, int] = {}

    @property
    def endpoints(self) -> tuple[RegisteredEndpoint, ...]:
        """The registry as of the last commit."""
        return tuple(self._endpoints.values())

    def system_of(self, endpoint: str) -> str | None:
        """Whose budget an endpoint shares, as of the last commit; None: it is not known, or works
        on nothing."""
        found = self._endpoints.get(endpoint)
        return found.system if found is not None and found.operations else None

    def learn(self, endpoints: Iterable[EndpointRecord]) -> None:
        """These are the endpoints, as the store had them a moment ago."""
        self._endpoints = {each.id: compile_endpoint(each, self._limits) for each in endpoints}

    def doubt(self, *, soon: bool = False) -> None:
        """Somebody else may have changed the store: the next batch reads it. soon: so much that a
        batch is to be made for it."""
        self._in_doubt = True
        self._is_awaited |= soon

    @property
    def is_awaited(self) -> bool:
        """Whether somebody waits for what is to be read."""
        return self._is_awaited

    async def ready(self, connection: Transaction) -> bool:
        """Read what is in doubt, in the transaction of the batch that needs it. Returns whether
        anything was."""
        if not self._in_doubt:
            return False
        # Whoever doubts meanwhile does not know what is being read: the next batch reads it again.
        awaited, self._in_doubt, self._is_awaited = self._is_awaited, False, False
        try:
            found = await every_endpoint(connection)
        except BaseException:
            self.doubt(soon=awaited)
            raise
        self.learn(found)
        self._mapping_versions.clear()
        return True

    def tell(self, view: View) -> None:
        """What the decisions of a batch need not read."""
        view.add(("endpoints",), self.endpoints)
        for kind, version in self._mapping_versions.items():
            view.add(("mapping_version", kind), version)

    def after(self, view: View) -> tuple[RegisteredEndpoint, ...]:
        """The registry as a batch will have made it."""
        endpoints = dict(self._endpoints)
        for key, record in view.changes.records.items():
            if key[0] == "endpoint" and record is not None:
                endpoints[record.id] = compile_endpoint(record, self._limits)
        return tuple(endpoints.values())

    def committed(self, view: View, endpoints: Iterable[RegisteredEndpoint]) -> None:
        """A batch is durable, and these are the endpoints that it left."""
        self._endpoints = {each.id: each for each in endpoints}
        for kind in {each.kind or each.id for each in self._endpoints.values()}:
            version = view.read_or_none(("mapping_version", kind))
            if version is not None:
                self._mapping_versions[kind] = version
        for key, record in view.changes.records.items():
            if key[0] == "mapping_row":
                self._mapping_versions.pop(record.endpoint_kind, None)
