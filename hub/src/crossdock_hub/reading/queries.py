"""What every reading method of the contract is given: the books, and what a caller may see of them.

Outside its scope an object is as unknown as one that does not exist. An endpoint sees its own
deliveries and held facts; operators see everybody's, and what nobody is there to do. Which method
is answered by what: `catalogue`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from crossdock.contracts import Contract

from crossdock_hub.committer import now_microseconds
from crossdock_hub.config import Limits
from crossdock_hub.delivery.draining import Settled
from crossdock_hub.identity import Caller
from crossdock_hub.reading.chain import Situation, situations
from crossdock_hub.reading.endpoint_view import SettledOf, endpoint_messages
from crossdock_hub.records import EndpointRecord, ObjectRecord
from crossdock_hub.store import Reader
from crossdock_hub.waiting import Waiters

OPERATOR = "OPERATOR"


class Queries:
    """What queries need."""

    def __init__(
        self,
        reader: Reader,
        contract: Contract,
        limits: Limits,
        waiters: Waiters,
        clock: Callable[[], int] = now_microseconds,
        settled_of: SettledOf = lambda endpoint: Settled(0.0),
    ) -> None:
        self.reader = reader
        self.contract = contract
        self.limits = limits
        self.waiters = waiters
        self.clock = clock
        self.settled_of = settled_of

    def sees(self, caller: Caller, record: ObjectRecord) -> bool:
        """True when the caller's scope covers the object."""
        return caller.scope.covers(self.contract.scopes(record.message))

    def response(self, method: str) -> Any:
        """A new response of a method."""
        return self.contract.generated_class(self.contract.methods[method].response_type)()

    async def situations(self, reader: Reader | None = None) -> dict[str, Situation]:
        """How every endpoint is right now, or at the moment of a reader."""
        reader = reader or self.reader
        records = await reader.endpoints()
        return situations(records, await reader.in_use(), self.limits, self.clock())

    async def endpoints(self, shown: Sequence[EndpointRecord]) -> list[Any]:
        """These endpoints as messages, with what each has to do."""
        every = await self.reader.endpoints()
        figures = await self.reader.figures([record.id for record in shown])
        return endpoint_messages(shown, every, figures, self.settled_of, self.clock(), self.limits)


# The seconds are those that are left until the caller's deadline.
Query = Callable[[Queries, Caller, Any, float], Awaitable[Any]]


def visible(caller: Caller, endpoint: str) -> bool:
    """True when the caller may see what an endpoint has to do."""
    return caller.role == OPERATOR or endpoint == caller.endpoint
