"""Keeps simulated processes quiet: thousands of them start, stop and miss each other."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

import structlog

LOUD = 50
SAYS_OF_ADAPTERS = "crossdock_adapters"


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Neither hubs nor adapters log below what is fatal."""
    before = structlog.get_config()
    adapters = logging.getLogger(SAYS_OF_ADAPTERS)
    level = adapters.level
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(LOUD))
    adapters.setLevel(LOUD + 1)
    try:
        yield
    finally:
        structlog.configure(**before)
        adapters.setLevel(level)
