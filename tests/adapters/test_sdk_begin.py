"""How an attempt is begun when answers are lost and the hub has faults."""

from __future__ import annotations

import pytest
from crossdock.delivery.v1 import delivery_pb2, delivery_service_pb2
from crossdock_adapters.sdk import attempts
from crossdock_adapters.sdk.attempts import FAULT_TELLS_MAX, Attempts, BeginRefused, HubAway
from crossdock_adapters.sdk.presence import Presence

LOST = "LOST"
FAULT = "INTERNAL_FAULT"


class Desk:
    """A hub that answers begins as it is told: LOST, a refusal's reason, or "" for a lease."""

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def begin(
        self, begins: list[delivery_service_pb2.Begin]
    ) -> list[delivery_service_pb2.BeginResult]:
        (begin,) = begins
        self.asked.append(begin.attempt_id)
        answer = self.answers.pop(0)
        if answer == LOST:
            raise HubAway("no answer")
        result = delivery_service_pb2.BeginResult(delivery_id=begin.delivery_id)
        if answer:
            result.refusal.reason = answer
        else:
            result.token, result.attempt = 7, 1
            result.lease.FromSeconds(30)
        return [result]

    async def renew(self, renewals: object) -> list[delivery_service_pb2.LeaseResult]:
        raise AssertionError("to begin, nothing else is asked of a hub")

    async def complete(self, completions: object) -> list[delivery_service_pb2.CompletionResult]:
        raise AssertionError("to begin, nothing else is asked of a hub")

    async def hold(self, *_: object) -> str:
        raise AssertionError("to begin, nothing else is asked of a hub")


async def begun(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> attempts.Attempt:
    monkeypatch.setattr(attempts, "FIRST_PAUSE_SECONDS", 0.001)
    dispatch = delivery_pb2.Dispatch(delivery_id="d", dispatch_number=3)
    return await Attempts(desk, Presence("hub")).begin(dispatch, 30.0, "")


async def test_a_begin_that_was_granted_and_lost_survives_a_fault(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Proves that a begin whose answer was lost is asked for again as the same attempt, also when
    the hub has a fault with it: dropped, its lease would run out though nothing was sent, and a
    person would be asked about it."""
    desk = Desk(LOST, FAULT, FAULT, "")
    attempt = await begun(desk, monkeypatch)
    assert attempt.token == 7
    assert len(desk.asked) == 4
    assert len(set(desk.asked)) == 1


async def test_a_begin_that_the_hub_always_has_a_fault_with_is_dropped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Proves that a begin is not asked for without an end, and that a refusal of another kind is
    taken at once."""
    desk = Desk(*[FAULT] * (FAULT_TELLS_MAX + 1))
    with pytest.raises(BeginRefused, match=FAULT):
        await begun(desk, monkeypatch)
    assert len(desk.asked) == FAULT_TELLS_MAX
    lost = Desk("LEASE_LOST")
    with pytest.raises(BeginRefused, match="LEASE_LOST"):
        await begun(lost, monkeypatch)
    assert len(lost.asked) == 1
