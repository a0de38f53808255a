"""Makes what is told of deliveries fit into an answer: the longest logs give way, and say so; pure.

A message that is larger than the server sends would be no answer at all, and a delivery that waited
for its endpoint for weeks is just the one that somebody asks about.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import Any

from crossdock.delivery.v1.delivery_pb2 import Attempt, Delivery

# Of each delivery, what stays longest: what was sent and received at both ends of its log, then the
# ends of the log themselves.
_EXCERPTS_KEPT = ((10, 40), (1, 3), (0, 0))
_ATTEMPTS_KEPT = ((10, 40), (1, 9), (1, 1))


def fit(deliveries: Sequence[Delivery], room_bytes: int) -> None:
    """Shorten the logs of these deliveries until all of them together fit, or nothing is left.

    Excerpts go first, from the middle of each log; then attempts, which `attempts_left_out` counts.
    What a delivery is, and what operators said of it, always stays.
    """
    for give_way in _steps():
        if sum(delivery.ByteSize() for delivery in deliveries) <= room_bytes:
            return
        for delivery in deliveries:
            give_way(delivery)


def how_many_fit(page: Sequence[Any], room_bytes: int) -> int:
    """How many of these messages one answer holds; one at least."""
    room = room_bytes
    for index, message in enumerate(page):
        room -= message.ByteSize()
        if room < 0 and index:
            return index
    return len(page)


def _steps() -> Iterator[Callable[[Delivery], None]]:
    return chain(
        (partial(_without_excerpts, kept=kept) for kept in _EXCERPTS_KEPT),
        (partial(_without_attempts, kept=kept) for kept in _ATTEMPTS_KEPT),
    )


def _without_excerpts(delivery: Delivery, kept: tuple[int, int]) -> None:
    for attempt in _middle(delivery, kept):
        attempt.ClearField("request_excerpt")
        attempt.ClearField("response_excerpt")


def _without_attempts(delivery: Delivery, kept: tuple[int, int]) -> None:
    left_out = len(_middle(delivery, kept))
    if left_out:
        first, _ = kept
        del delivery.attempt_log[first : first + left_out]
        delivery.attempts_left_out += left_out


def _middle(delivery: Delivery, kept: tuple[int, int]) -> Sequence[Attempt]:
    """The attempts that are neither among the first nor among the last of a log."""
    first, last = kept
    log: Sequence[Attempt] = delivery.attempt_log
    return log[first : max(first, len(log) - last)]


__all__ = ["fit", "how_many_fit"]
