"""What the hub's process writes to standard error: one JSON object a line, whoever says it."""

from __future__ import annotations

import json
import logging
import os
import select
import threading
import time
from typing import Final

import structlog

DEFAULT_LEVEL = logging.INFO
# What libraries say below this is for those who write them.
LIBRARY_LEVEL = logging.WARNING
STANDARD_ERROR: Final = 2
# How long the whole process may stand still for a pipe that is full.
ROOM_SECONDS: Final = 0.2
# And then no more for so long: who reads slowly makes room all the time, and is waited for with
# each line again.
REST_SECONDS: Final = 20.0
MILLISECONDS: Final = 1000
_STAMP: Final = structlog.processors.TimeStamper(fmt="iso", utc=True)


class Lines:
    """Writes whole lines to a file descriptor, and raises nothing.

    A log that takes no line (its volume is full, nobody reads its pipe any more) keeps nobody from
    working: an error that came out of a line about a full database ended the task that writes to
    it, for good; and a pipe that somebody holds open and does not read stopped the whole process
    once it was full. How many lines were lost is said before the next one that is taken.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._one_at_a_time = threading.Lock()
        self._lost = 0
        self._cut = False
        self._waits_again_at = 0.0
        self._room = select.poll()
        self._room.register(descriptor, select.POLLOUT)

    def msg(self, line: str) -> None:
        """Write a line, of whatever level."""
        with self._one_at_a_time:
            if self._lost and self._takes(_lost(self._lost)):
                self._lost = 0
            if self._lost or not self._takes(line):
                self._lost += 1

    log = debug = info = warning = error = critical = msg

    def _takes(self, line: str) -> bool:
        """Whether the whole line is written. After one that was cut it begins a new one."""
        data = f"{line}\n".encode(errors="backslashreplace")
        left = b"\n" + data if self._cut else data
        try:
            # Who is slow has some time, but once, until it has taken lines for a while.
            now = time.monotonic()
            until = now if self._lost or now < self._waits_again_at else now + ROOM_SECONDS
            while left and self._has_room(until):
                left = left[os.write(self._descriptor, left[: select.PIPE_BUF]) :]
                self._cut = bool(left)
            if left:
                self._waits_again_at = time.monotonic() + REST_SECONDS
        except OSError:
            return False
        return not left

    def _has_room(self, until: float) -> bool:
        """Whether PIPE_BUF bytes can be written without waiting, which POLLOUT says of a pipe. A
        file always has room to try."""
        seconds = max(0.0, until - time.monotonic())
        return bool(self._room.poll(seconds * MILLISECONDS))


def _lost(count: int) -> str:
    said = {"lines": count, "event": "the log took no lines for a time", "level": "warning"}
    return json.dumps(dict(_STAMP(None, "", said)))


class LinesHandler(logging.Handler):
    """The same for what libraries say."""

    def __init__(self, lines: Lines) -> None:
        super().__init__()
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        self._lines.msg(self.format(record))


def start(level: str) -> None:
    """Log from a level upwards, by its name; of libraries warnings and errors.

    A library's traceback is part of its line. Without a handler of ours, Python would print the
    bare text: nats-py's of a connection, asyncio's of a task that nobody asked.
    """
    lines = Lines(STANDARD_ERROR)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            _STAMP,
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            getattr(logging, level.upper(), DEFAULT_LEVEL)
        ),
        logger_factory=lambda *_: lines,
    )
    handler = LinesHandler(lines)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[
                structlog.stdlib.add_logger_name,
                structlog.stdlib.add_log_level,
                _STAMP,
            ],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    logging.basicConfig(level=LIBRARY_LEVEL, handlers=[handler])
