"""The SDK's `Ledger` over the simulated hub: calls that are late, lost on either way, or refused.

What an item is refused for stands in its result, as the hub's door has it; HubAway is all else, as
the SDK's link to a hub has it.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from crossdock.delivery.v1 import delivery_service_pb2
from crossdock.errors import Refusal, to_message
from crossdock_adapters.sdk.attempts import HUB_FAULT, HubAway
from crossdock_adapters.sdk.hub_link import CALL_SECONDS
from crossdock_hub.unit import Refused
from simulation import hub as simulated
from simulation.faults import Faults
from simulation.virtual_loop import VirtualLoop
from simulation.virtual_time import VirtualTime

T = TypeVar("T")
A_FAULT = Refused(Refusal(HUB_FAULT, "a fault of the hub", {}))


class SimulatedLink:
    """One process's calls of the hub. calm: nothing is lost, late or refused for a fault.

    granted: delivery -> (token, id) of the newest attempt that the hub has given to this process
    and of which it has not been told the end, whether the process heard of it or not. not_taken:
    how often the hub had a fault with being told that end.
    """

    def __init__(
        self,
        time: VirtualTime,
        loop: VirtualLoop,
        chance: random.Random,
        faults: Faults,
        hub: simulated.SimulatedHub,
    ) -> None:
        self._time, self._loop = time, loop
        self._chance, self._faults, self._hub = chance, faults, hub
        self.calm = False
        self.granted: dict[str, tuple[int, str]] = {}
        self.not_taken: Counter[str] = Counter()

    async def begin(
        self, begins: list[delivery_service_pb2.Begin]
    ) -> list[delivery_service_pb2.BeginResult]:
        """As HubLink.begin; the process may be stopped for long before it reads the answer."""
        results = await self._asked(lambda: [self._begin(each) for each in begins])
        if not self.calm and self._chance.random() < self._faults.paused:
            self._loop.stop_for(self._chance.uniform(0, self._faults.pause_seconds))
        return results

    async def renew(
        self, renewals: list[delivery_service_pb2.LeaseRenewal]
    ) -> list[delivery_service_pb2.LeaseResult]:
        """As HubLink.renew."""
        result = delivery_service_pb2.LeaseResult
        return await self._asked(
            lambda: [self._each(self._hub.renew_lease, item, result) for item in renewals]
        )

    async def complete(
        self, completions: list[delivery_service_pb2.Completion]
    ) -> list[delivery_service_pb2.CompletionResult]:
        """As HubLink.complete."""
        return await self._asked(lambda: [self._complete(each) for each in completions])

    async def hold(
        self, source: str, payload: bytes, content_type: str, reason: str, key: str
    ) -> str:
        """Raises AssertionError: the simulated vendor's confirmations have room for all of it."""
        raise AssertionError(f"{source} has nothing to hold: {reason}")

    # At the hub

    def _begin(self, begin: delivery_service_pb2.Begin) -> delivery_service_pb2.BeginResult:
        result = self._answered(self._hub.begin_attempt, begin, delivery_service_pb2.BeginResult)
        if not result.HasField("refusal"):
            self.granted[result.delivery_id] = (result.token, begin.attempt_id)
            self.not_taken[result.delivery_id] = 0
        elif self.granted.get(begin.delivery_id, (0, ""))[1] == begin.attempt_id:
            # The hub has taken it back, and said so.
            del self.granted[begin.delivery_id]
        return result

    def _complete(
        self, completion: delivery_service_pb2.Completion
    ) -> delivery_service_pb2.CompletionResult:
        kind = delivery_service_pb2.CompletionResult
        result = self._each(self._hub.complete_attempt, completion, kind)
        told = result.refusal.reason != HUB_FAULT
        self.not_taken[completion.delivery_id] += not told
        if told and self.granted.get(completion.delivery_id, (0, ""))[0] == completion.token:
            del self.granted[completion.delivery_id]
        return result

    def _each(self, ask: Callable[[Any], Any], item: Any, result_type: Callable[..., Any]) -> Any:
        """An item with which the hub has a fault now and then."""
        if not self.calm and self._chance.random() < self._faults.hub_faults:
            return result_type(delivery_id=item.delivery_id, refusal=to_message(A_FAULT.refusal))
        return self._answered(ask, item, result_type)

    def _answered(
        self, ask: Callable[[Any], Any], item: Any, result_type: Callable[..., Any]
    ) -> Any:
        try:
            return ask(item)
        except Refused as refused:
            return result_type(delivery_id=item.delivery_id, refusal=to_message(refused.refusal))

    # On the way

    async def _asked(self, ask: Callable[[], Sequence[T]]) -> list[T]:
        """One call. Raises HubAway."""
        if not self._loop.alive:
            raise asyncio.CancelledError
        lossy = not self.calm
        lost = lossy and self._chance.random() < self._faults.request_lost
        unheard = lossy and self._chance.random() < self._faults.answer_lost
        if lost:
            raise HubAway("the call was lost")
        if lossy and self._faults.hub_seconds:
            answer = await self._late(ask)
        else:
            answer = _heard(ask)
        if unheard or answer is None:
            raise HubAway("no answer")
        return list(answer)

    async def _late(self, ask: Callable[[], Sequence[T]]) -> Sequence[T] | None:
        """The hub decides even when the process has stopped waiting, or living, meanwhile."""
        there, back = (self._chance.uniform(0, self._faults.hub_seconds) for _ in range(2))
        answered: asyncio.Future[Sequence[T] | None] = self._loop.create_future()

        def arrive() -> None:
            told = _heard(ask)
            self._time.after(back, lambda: hear(told))

        def hear(told: Sequence[T] | None) -> None:
            if self._loop.alive:
                self._loop.call_soon(settle, told)

        def settle(told: Sequence[T] | None) -> None:
            if not answered.done():
                answered.set_result(told)

        self._time.after(there, arrive)
        try:
            async with asyncio.timeout(CALL_SECONDS):
                return await answered
        except TimeoutError:
            raise HubAway("no answer in time") from None


def _heard(ask: Callable[[], Sequence[T]]) -> Sequence[T] | None:
    """None: nobody is there."""
    try:
        return ask()
    except simulated.HubAway:
        return None
