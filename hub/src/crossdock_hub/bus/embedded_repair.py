"""Sets aside a stream that the embedded nats-server can't read any more: the database refills it.

A kill between two writes of the server leaves, for example, a description whose checksum is not
its own. The server then neither serves the stream nor makes it anew while its directory is there.
"""

from __future__ import annotations

import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog
from crossdock.bus import EVENT_STREAM, SCAN_STREAM

from crossdock_hub.bus.streams import TIE_STREAM

# A stream that is being made or deleted has a directory but is not served, for a moment.
TORN_AFTER_SECONDS: Final = 2.0
# The others live in memory, or are not the hub's: the database could not fill them again.
REFILLED_STREAMS: Final = (EVENT_STREAM, SCAN_STREAM, TIE_STREAM)

_TORN: Final = re.compile(r"JetStream stream '\$G > (\w+)' could not be recovered")

log = structlog.get_logger("crossdock.nats")


class StreamIsTorn(Exception):
    """The server, now ended or to be ended, can't recover a stream that can be refilled."""

    def __init__(self, stream: str) -> None:
        super().__init__(f"nats-server can't recover stream {stream}")
        self.stream = stream


def torn_stream(problem: str) -> str:
    """The refillable stream that the health check calls not recoverable; "" if it names none."""
    matched = _TORN.fullmatch(problem)
    return matched[1] if matched and matched[1] in REFILLED_STREAMS else ""


@dataclass(slots=True)
class TornWatch:
    """Tells a stream that stays unreadable from one that is being made: one per start."""

    _stream: str = ""
    _since: float = 0.0

    def look(self, problem: str, now: float) -> str:
        """The stream that has been torn for long enough; "" for none. now: monotonic seconds."""
        stream = torn_stream(problem)
        if stream != self._stream:
            self._stream, self._since = stream, now
        return stream if stream and now - self._since >= TORN_AFTER_SECONDS else ""

    def check(self, problem: str) -> None:
        """StreamIsTorn: `problem`, said now, has been said of one stream for long enough."""
        if stream := self.look(problem, time.monotonic()):
            raise StreamIsTorn(stream)


def set_aside(nats_directory: Path, stream: str) -> None:
    """Move a stream's files out of the store, in place of what was set aside before.

    Only while the server does not run. OSError: they are still where they were.
    """
    source = nats_directory / "jetstream" / "jetstream" / "$G" / "streams" / stream
    kept = nats_directory / "torn"
    if kept.exists():
        shutil.rmtree(kept)
    kept.mkdir(mode=0o700)
    source.rename(kept / stream)
    log.error(
        "nats-server can't recover a stream: its files are set aside, the database refills it",
        stream=stream,
        kept=str(kept / stream),
    )
