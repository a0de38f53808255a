"""Long decisions in steps: between two of them whoever makes one lets the rest of the hub go on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Generator
from types import GeneratorType
from typing import Any, TypeVar

Answer = TypeVar("Answer")
# Yields where it may be interrupted; returns what was decided.
Steps = Generator[None, None, Answer]


def is_steps(decided: Any) -> bool:
    """Whether a decision is made in steps, or made already."""
    return isinstance(decided, GeneratorType)


def at_once(steps: Steps[Answer]) -> Answer:
    """Take all steps one after another."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            answer: Answer = end.value
            return answer


async def in_turns(
    steps: Steps[Any],
    turn_seconds: float,
    pause_seconds: float = 0.0,
    clock: Callable[[], float] = time.monotonic,
    rest: Callable[[], Awaitable[None]] | None = None,
) -> Any:
    """Take all steps, and let everybody else have a turn after each of ours.

    turn_seconds: how long nobody else gets anything done. pause_seconds: how long we wait then; 0:
    until what is ready by now has had its turn. rest: what we wait for instead.
    """
    ends_at = clock() + turn_seconds
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value
        if clock() >= ends_at:
            await (asyncio.sleep(pause_seconds) if rest is None else rest())
            ends_at = clock() + turn_seconds
