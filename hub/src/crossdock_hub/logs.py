"""What the hub's process writes to standard error: one JSON object a line, whoever says it."""

from __future__ import annotations

import logging
import sys

import structlog

DEFAULT_LEVEL = logging.INFO
# What libraries say below this is for those who write them.
LIBRARY_LEVEL = logging.WARNING


def start(level: str) -> None:
    """Log from a level upwards, by its name; of libraries warnings and errors.

    A library's traceback is part of its line. Without a handler of ours, Python would print the
    bare text: nats-py's of a connection, asyncio's of a task that nobody asked.
    """
    stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            stamp,
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            getattr(logging, level.upper(), DEFAULT_LEVEL)
        ),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[
                structlog.stdlib.add_logger_name,
                structlog.stdlib.add_log_level,
                stamp,
            ],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    logging.basicConfig(level=LIBRARY_LEVEL, handlers=[handler])
