"""What a hub says of a bus of which no node serves streams."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from crossdock_hub.bus.jetstream import Bus
from crossdock_hub.bus.node_changes import (
    CHANGE_NODE_SECONDS,
    SAY_AGAIN_SECONDS,
    SERVES_SECONDS,
    NodeChanges,
)
from crossdock_hub.bus.streams import MAX_MESSAGE_BYTES
from structlog.testing import capture_logs

SECONDS_A_STEP = 1.0
DAY_SECONDS = 86_400


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def asked_in_vain(changes: NodeChanges, clock: Clock, seconds: float) -> int:
    """Ask for another node all the time; how often there was a change."""
    end, changed = clock.now + seconds, 0
    while clock.now < end:
        changed += changes.begin()
        clock.now += SECONDS_A_STEP
    return changed


def said(lines: Sequence[Mapping[str, Any]]) -> list[str]:
    return [line["event"] for line in lines]


def test_a_day_without_streams_is_a_line_now_and_then() -> None:
    """Proves that another node is asked every few seconds for as long as none serves, that this is
    said at once and then every ten minutes with how often, and once that one serves again."""
    clock = Clock()
    changes = NodeChanges(clock)
    with capture_logs() as lines:
        assert asked_in_vain(changes, clock, DAY_SECONDS) == DAY_SECONDS / CHANGE_NODE_SECONDS
        clock.now += SAY_AGAIN_SECONDS
        for _ in range(3):
            changes.answered()
    first, *more, last = said(lines)
    assert first == "the bus is asked at another node"
    assert more == ["no node of the bus serves yet"] * round(DAY_SECONDS / SAY_AGAIN_SECONDS - 1)
    assert {line["asked"] for line in lines[1:-1]} == {SAY_AGAIN_SECONDS / CHANGE_NODE_SECONDS}
    assert last == "a node of the bus serves again"


def test_a_node_that_answers_half_the_time_is_no_news() -> None:
    """Proves that a bus of which one question is answered and the next is not is said to be back
    only when none was in vain for a while; and that the next outage is told at once."""
    clock = Clock()
    changes = NodeChanges(clock)
    with capture_logs() as lines:
        for _ in range(20):
            asked_in_vain(changes, clock, CHANGE_NODE_SECONDS)
            changes.answered()
        assert said(lines) == ["the bus is asked at another node"]
        clock.now += SAY_AGAIN_SECONDS
        changes.answered()
        asked_in_vain(changes, clock, SECONDS_A_STEP)
    assert said(lines)[1:] == ["a node of the bus serves again", "the bus is asked at another node"]


async def test_a_node_that_takes_small_messages_only_is_told_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Proves that a limit which is too small is said when the hub comes to it and every ten minutes
    at most, however often it changes its node, that another limit is said at once, and that one
    which is large enough is not said."""
    clock, bus = Clock(), Bus(None, None)
    bus._changes = NodeChanges(clock)
    small, smaller = 1_048_576, 65_536
    limits = [small, MAX_MESSAGE_BYTES, small, small, smaller, small, smaller]
    try:
        with capture_logs() as lines:
            for limit in [*limits, *limits]:
                monkeypatch.setattr(bus._client, "_max_payload", limit)
                bus._changes.begin()
                await bus._on_reconnected()
                clock.now += CHANGE_NODE_SECONDS
            told = [line["bytes_max"] for line in lines if "small messages" in line["event"]]
            assert told == [small, smaller]
            clock.now += SAY_AGAIN_SECONDS
            await bus._on_reconnected()
        told = [line["bytes_max"] for line in lines if "small messages" in line["event"]]
        assert told == [small, smaller, smaller]
    finally:
        await bus.close()


async def test_a_bus_that_is_gone_for_another_node_and_long_is_told() -> None:
    """Proves that a connection which was left for another node is said to be gone when none was
    reached for a while, once, and to be back then; and that a short change is not worth a line."""
    clock, bus = Clock(), Bus(None, None)
    bus._changes = NodeChanges(clock)
    try:
        with capture_logs() as lines:
            bus._changes.begin()
            await bus._on_disconnected()
            clock.now += SERVES_SECONDS - SECONDS_A_STEP
            assert not bus.health.ok and said(lines) == ["the bus is asked at another node"]
            clock.now += SECONDS_A_STEP
            for _ in range(3):
                assert not bus.health.ok
            await bus._on_reconnected()
        assert said(lines)[1:3] == ["the bus is gone", "the bus is back"]
        with capture_logs() as lines:
            assert bus._changes.begin()
            await bus._on_disconnected()
            assert not bus.health.ok
            await bus._on_reconnected()
        assert "the bus is gone" not in said(lines) and "the bus is back" not in said(lines)
    finally:
        await bus.close()
