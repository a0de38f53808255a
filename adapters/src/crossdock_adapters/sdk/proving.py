"""Proves that an operation is of the class it declares, at the adapter's own sandbox.

    trial = proving.Trial(ADAPTER, "buy_label", vendor, sandbox, work, made)
    for problem in await proving.class_problems(trial): print(problem)

The vendor does the work and its answer is lost; then what the hub does for that class is done here,
and the vendor's books are counted. A class that is not true shows up as a second effect, or as an
operation that never settles. Look-ups are asked while the vendor is in trouble, too: one that takes
trouble for "not found" would make the hub do the work again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from crossdock.delivery.v1 import delivery_pb2

from crossdock_adapters.sdk import exchange, lease_clock
from crossdock_adapters.sdk.adapter import Adapter
from crossdock_adapters.sdk.completion import CALL, LOOK_UP, completion
from crossdock_adapters.sdk.manifest import OperationClass
from crossdock_adapters.sdk.sandbox import Sandbox
from crossdock_adapters.sdk.work import Work

# The vendor has done it, and nobody hears of it.
SILENT_FAULTS = ("reply_lost", "error_after")
# The vendor answers a question with trouble instead of an answer.
TROUBLE = (
    {"kind": "error_before", "status": 500},
    {"kind": "error_before", "status": 503},
    {"kind": "throttle"},
)
ATTEMPTS_MAX = 12
NOT_FOUND_NEEDED = 2


@dataclass(frozen=True, slots=True)
class Trial:
    """One operation at a running sandbox, made anew for each trial by the test that owns it.

    work: the delivery, the same one each time. made: how many of the operation's effects the
    vendor's books hold now. strikes: the vendor's call that loses its answer; "" is the first with
    an effect. settle_seconds: what to wait instead of the declared time, where the sandbox shows
    bookings sooner than the vendor does.
    """

    adapter: Adapter
    operation: str
    vendor: Any
    sandbox: Sandbox
    work: Callable[[], Work]
    made: Callable[[], int]
    strikes: str = ""
    settle_seconds: float | None = None


async def class_problems(trial: Trial, fault: str = "reply_lost") -> list[str]:
    """What is untrue about the declared class after a silent fault; empty: it holds."""
    declared = trial.adapter.manifest.operations[trial.operation]
    before, calls = trial.made(), len(trial.sandbox.calls)
    desk = _Desk(trial)
    struck = {"kind": fault, "count": 1}
    with _faulty(trial.sandbox, struck | ({"operation": trial.strikes} if trial.strikes else {})):
        first = await desk.call()
    if not any(call.fault == fault and call.effect for call in trial.sandbox.calls[calls:]):
        return [f"{fault} struck no call with an effect: the trial proves nothing"]
    if trial.made() > before and first in ("REJECTED", "RETRY", "THROTTLED", "PARKED"):
        return [f"the vendor did it and the attempt ended {first}"]
    problems: list[str] = []
    kind = declared.operation_class
    if first != "CONFIRMED" and kind is not OperationClass.NONE:
        if kind is OperationClass.SEARCHABLE:
            problems += await _look_up_problems(trial, desk)
            wait = trial.settle_seconds
            await asyncio.sleep(declared.settle_after_seconds if wait is None else wait)
        ended = await desk.settle(kind)
        if ended != "CONFIRMED":
            problems.append(f"after {fault} it ended {ended} and not CONFIRMED")
    effects = trial.made() - before
    if effects != 1:
        problems.append(f"{kind} after {fault}: {effects} effects in the vendor's books, not one")
    return problems


async def lease_problems(trial: Trial) -> list[str]:
    """What is done although the lease is over just before the call; empty: nothing is.

    The call that does the work is what counts: what only prepares it may be made twice.
    """
    before, calls = trial.made(), len(trial.sandbox.calls)
    desk = _Desk(trial)
    said = await desk.call(lease_is_over=True)
    sent = [call.operation for call in trial.sandbox.calls[calls:] if call.effect]
    work = [each for each in sent if trial.strikes in ("", each)]
    problems = [f"{work[0]} was called without a lease"] if work else []
    if trial.made() != before:
        problems.append("the vendor did it for who had no lease")
    if said != "RETRY":
        problems.append(f"without a lease it ended {said}, and not RETRY")
    return problems


async def _look_up_problems(trial: Trial, desk: _Desk) -> list[str]:
    """A look-up that is answered with trouble has to leave the outcome unknown."""
    problems = []
    for trouble in TROUBLE:
        with _faulty(trial.sandbox, {**trouble, "count": 1}):
            said = await desk.look_up()
        if said in ("NOT_FOUND", "REJECTED"):
            problems.append(f"a look-up answered with {trouble} was taken for {said}")
    return problems


class _Desk:
    """Does with one delivery what hub and runner do."""

    def __init__(self, trial: Trial) -> None:
        self._trial = trial
        self._draft = ""

    async def call(self, *, lease_is_over: bool = False) -> str:
        """One attempt; its outcome."""
        name = self._trial.operation
        work = self._trial.work()
        draft = self._trial.adapter.drafts.get(name)

        async def do() -> Any:
            if draft is not None and not self._draft:
                self._draft = await draft(work, self._trial.vendor)
            operate = self._trial.adapter.operations[name]
            return await operate(replace(work, draft=self._draft), self._trial.vendor)

        return await _outcome(do, CALL, work, lease_is_over)

    async def look_up(self) -> str:
        """One look-up; its outcome, as the hub understands it."""
        work = self._trial.work()
        find = self._trial.adapter.look_ups[self._trial.operation]
        said = await _outcome(lambda: find(work, self._trial.vendor), LOOK_UP, work)
        return "UNKNOWN" if said == "THROTTLED" else said

    async def settle(self, kind: OperationClass) -> str:
        """What the hub does until nothing is unknown."""
        said, missing = "UNKNOWN", 0
        for _ in range(ATTEMPTS_MAX):
            if kind is OperationClass.SEARCHABLE and missing < NOT_FOUND_NEEDED:
                said = await self.look_up()
                missing += said == "NOT_FOUND"
            else:
                said, missing = await self.call(), 0
            if said in ("CONFIRMED", "REJECTED", "PARKED"):
                return said
        return said


async def _outcome(
    do: Callable[[], Any], kind: int, work: Work, lease_is_over: bool = False
) -> str:
    with exchange.recording() as record:
        if lease_is_over:
            record.lease_until = lease_clock.now()
        try:
            ended = await do()
        except Exception as error:
            ended = error
    told = completion(work.delivery_id, 1, kind, ended, record, work.reference)
    name = delivery_pb2.AttemptOutcome.Name(told.outcome)
    return name.removeprefix("ATTEMPT_OUTCOME_")


@contextmanager
def _faulty(sandbox: Sandbox, fault: dict[str, Any]) -> Iterator[None]:
    sandbox.faults.add(fault)
    try:
        yield
    finally:
        sandbox.faults.clear()
