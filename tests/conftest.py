"""What every test starts with: compiled modules for its processes, fixtures, the order of files.

Fixtures that every test may use live in modules named after what they start.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from small_volume import take_away_left_behind

# Tests start hundreds of Python processes. A shell that wants no bytecode beside the sources gets
# none, and yet no process compiles some 700 modules anew, for most of a second.
if os.environ.get("PYTHONDONTWRITEBYTECODE") and "PYTHONPYCACHEPREFIX" not in os.environ:
    BYTECODE = str(Path(tempfile.gettempdir()) / f"crossdock-bytecode-{os.getuid()}")
    del os.environ["PYTHONDONTWRITEBYTECODE"]
    os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix = BYTECODE
    sys.dont_write_bytecode = False

# A shell starts what it runs in the background deaf for Ctrl-C, and every process inherits that: no
# test could end one so.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

pytest_plugins = [
    "fixtures_hangs",
    "fixtures_nats",
    "fixtures_postgres",
    "fixtures_databases",
    "fixtures_hub",
    "fixtures_supervision",
]

# What must be green before a change lands draws the same examples each time; what draws anew is
# `make explore`. An example found there becomes a test of its own. How long one takes says nothing
# of the code: the machine may be busy with something else.
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("repeatable", UNHURRIED, derandomize=True, database=None)
settings.register_profile("explore", UNHURRIED, derandomize=False, print_blob=True)
settings.load_profile("repeatable")

# Whole installations come first: begun last, one would keep a single worker busy at the end.
FIRST = ("end_to_end", "faults", "docs", "abuse")


def pytest_sessionstart() -> None:
    """Take away what a killed run has left and this one could not delete."""
    take_away_left_behind()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files that run longest first; those of a folder stay in their order."""
    rank = {name: place for place, name in enumerate(FIRST)}
    items.sort(key=lambda item: rank.get(item.path.parent.name, len(rank)))
