"""Trace ids that sort by the time they were made."""

from __future__ import annotations

import random
import time
from contextvars import ContextVar
from typing import Final

from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

_RANDOM_BITS: Final = 80
_DECIDED: ContextVar[int] = ContextVar("crossdock_decided_trace_id", default=0)


def begin_with(trace_id: int) -> None:
    """Have the next trace that begins in this context, and no other, get this id.

    For whoever asked the sampler about an id before there is a span: it decides by the id.
    """
    _DECIDED.set(trace_id)


class TimedTraceIds(RandomIdGenerator):
    """48 bits of milliseconds since 1970 in front, and 80 random ones.

    What is kept by trace ids grows at its end then, however much is stored: ids without order read
    and write one more page of a large table each. The right-most 56 bits have to be random (W3C
    Trace Context, level 2, "Considerations for trace-id field generation"), and are.
    """

    def generate_trace_id(self) -> int:
        """An id that no other trace has: 128 bits."""
        decided = _DECIDED.get()
        if decided:
            _DECIDED.set(0)
            return decided
        milliseconds = time.time_ns() // 1_000_000
        return milliseconds << _RANDOM_BITS | random.getrandbits(_RANDOM_BITS)
