"""What a call with much in it needs of the event loop before it is in line, in turns.

A batch of callers crosses to the database twice or more, and each time it is kept by whatever else
the loop does then. So a large request is read while no caller waits for the writer or has it, as
far as there is such a moment soon.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any, Final, TypeVar

from crossdock.contracts import Method

from crossdock_hub.config import Limits
from crossdock_hub.door.intake import Intake
from crossdock_hub.foresight import Rest
from crossdock_hub.lanes import Lanes
from crossdock_hub.stepping import Steps, at_once, in_turns
from crossdock_hub.verbs import PREPARATIONS
from crossdock_hub.verbs.master_data import UPSERTS
from crossdock_hub.verbs.registering import Prepared

Used = TypeVar("Used")
# A request of fewer bytes is read in less than a turn.
LARGE_BYTES: Final = 4 * 1024


class Turns:
    """Takes the steps of large requests: of one at a time, in the order in which they came."""

    def __init__(self, intake: Intake, lanes: Lanes, limits: Limits) -> None:
        self._intake = intake
        self._lanes = lanes
        self._limits = limits
        self._one = asyncio.Lock()
        self._work = asyncio.Lock()

    async def parse(self, method: Method, raw: bytes) -> Any:
        """See `Intake.parse`. What is not bulk, or small, is read at once."""
        steps = self._intake.parsing(method.request_type, raw)
        bulk = method.full_name in UPSERTS or method.full_name in PREPARATIONS
        return await self.take(steps, bulk=bulk and len(raw) >= LARGE_BYTES)

    async def take(self, steps: Steps[Any], *, bulk: bool) -> Any:
        """What the steps come to. bulk: whether callers go first."""
        if not bulk:
            return at_once(steps)
        async with self._one:
            until = asyncio.get_running_loop().time() + self._limits.intake_yields_seconds
            rest = partial(self._rest, until)
            await rest()
            return await in_turns(steps, self._limits.intake_turn_seconds, rest=rest)

    async def beside_callers(self, work: Callable[[Rest], Awaitable[None]]) -> None:
        """Do what rests where callers go first, as long as the steps of a request do. Not at all
        where another large request is read or worked on: they come faster than they would go."""
        if self._one.locked() or self._work.locked():
            return
        async with self._work:
            until = asyncio.get_running_loop().time() + self._limits.intake_yields_seconds
            await work(partial(self._rest, until))

    async def _rest(self, until: float) -> None:
        """Let everybody have a turn, and callers as many as they need, for as long as we wait."""
        await asyncio.sleep(0)
        with suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                await self._lanes.calm.wait()


def prepared(
    prepare: Callable[[Any], Prepared], request: Any, use: Callable[..., Used]
) -> Steps[Used]:
    """Work out once what a request's decision needs, then use it."""
    made = prepare(request)
    yield
    return use(made.decide, made.keys)
