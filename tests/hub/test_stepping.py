"""Long decisions let the rest of the hub go on."""

from __future__ import annotations

import asyncio
from collections.abc import Generator

import pytest
from crossdock_hub.stepping import at_once, in_turns

STEPS = 6


def counted(seen: list[str]) -> Generator[None, None, int]:
    for _ in range(STEPS):
        seen.append("step")
        yield
    return STEPS


async def test_everybody_else_has_a_turn_after_each_of_ours() -> None:
    """Proves that another task runs in between once a turn is over, not after each step, and that
    the answer is that of the decision made at once."""
    seen: list[str] = []
    # A clock by which each step takes a second.
    times = iter(range(100))

    async def another() -> None:
        for _ in range(2):
            seen.append("another")
            await asyncio.sleep(0)

    task = asyncio.create_task(another())
    answer = await in_turns(counted(seen), 3.0, clock=lambda: float(next(times)))
    await task
    assert seen == ["step"] * 3 + ["another"] + ["step"] * 3 + ["another"]
    assert answer == at_once(counted([])) == STEPS


async def test_a_refusal_comes_through() -> None:
    """Proves that what a step raises ends the decision."""

    def refused() -> Generator[None, None, None]:
        yield
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await in_turns(refused(), 1.0)
