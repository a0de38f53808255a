"""A floor of a lone caller: one bare commit, with the settings of the hub's database.

`python -m tests.load.floors_commit DIRECTORY BYTES SECONDS`; prints {"p50": milliseconds}.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import statistics
import sys
import time
from pathlib import Path

_TABLE = "CREATE TABLE IF NOT EXISTS answers (id INTEGER PRIMARY KEY, body BLOB NOT NULL)"


def commits(directory: Path, size: int, seconds: float) -> list[float]:
    """Milliseconds of each commit of one row of so many bytes, one after another."""
    took: list[float] = []
    body = os.urandom(size)
    path = directory / "commits.db"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for setting in ("journal_mode=WAL", "synchronous=FULL"):
            connection.execute(f"PRAGMA {setting}")
        connection.execute(_TABLE)
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            begun = time.perf_counter()
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("INSERT INTO answers (body) VALUES (?)", (body,))
            connection.execute("COMMIT")
            took.append((time.perf_counter() - begun) * 1e3)
    return took


if __name__ == "__main__":
    where, count, duration = sys.argv[1:]
    told = commits(Path(where), int(count), float(duration))
    print(json.dumps({"p50": statistics.median(told)}))
