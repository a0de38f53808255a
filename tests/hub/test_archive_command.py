"""`crossdock hub archive` and `find-archived`, as an operator types them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from archive_house import House
from crossdock_hub.archive.command import EXIT_CONFIGURATION
from crossdock_hub.archive.searching import EXIT_NOT_FOUND
from crossdock_hub.config import SECOND
from crossdock_hub.data_lock import DataLock
from databases import KIND
from decisions import CONTRACT
from first_flow import order

SECONDS = 60
MONTH = 30.0
SOON = 0.001
SETTINGS = {
    "CROSSDOCK_ARCHIVE_DAYS": json.dumps({"order": SOON}),
    "CROSSDOCK_RETENTION_DAYS": json.dumps(dict.fromkeys(CONTRACT.events, SOON)),
}


def run(house: House, *arguments: str, **settings: str) -> tuple[int, str, str]:
    """Exit status and what was printed."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("CROSSDOCK_")}
    place = {
        "CROSSDOCK_DATA_DIRECTORY": str(house.directory.parent),
        "CROSSDOCK_DATABASE_URL": "" if KIND == "sqlite" else house.database.url,
    }
    done = subprocess.run(
        [sys.executable, "-m", "crossdock.cli", "hub", *arguments],
        env=clean | place | SETTINGS | settings,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def house(tmp_path: Path) -> House:
    """A month-old order that is delivered, one that nobody ended, and one of today; nobody runs."""
    begun = int((time.time() - MONTH * 86_400) * SECOND)
    with House(tmp_path / "data", now=begun) as made:
        made.delivered("1")
        made.create(order("SO-OPEN"))
        made.days_pass(MONTH - SOON / 2)
        made.delivered("2")
    return made


def test_it_is_looked_at_then_done_then_found(house: House) -> None:
    """Proves that a dry run says what goes and what stays and changes nothing, that the pass does
    just that, and that each of its ids is found in its part, in words and as rows."""
    code, out, err = run(house, "archive", "--dry-run", "--json")
    assert code == 0, err
    looked = json.loads(out)
    assert (looked["flows"], looked["stays"]) == (1, {"OPEN_OBJECT": 1})
    code, out, err = run(house, "archive", "--dry-run")
    assert code == 0, err
    assert "1 flows would be archived" in out
    assert "1 stay: it is neither shipped nor cancelled" in out
    assert not house.directory.exists()
    code, out, err = run(house, "archive")
    assert code == 0, err
    assert "1 flows archived" in out
    assert "1 stay: it is neither shipped nor cancelled" in out
    code, out, err = run(house, "archive", "--json")
    assert (code, json.loads(out)["flows"]) == (0, 0), err
    for name in ("SO-1", "so-1", "SHP-1", "1Z1", "LPN-1"):
        code, out, err = run(house, "find-archived", name)
        assert code == 0, err
        assert "order SO-1: DELIVERED" in out
        assert "post_goods_issue at netsuite: CONFIRMED" in out
    code, out, _ = run(house, "find-archived", "SO-1", "--json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert {row["part"] for row in rows} == {rows[0]["part"]}
    assert sum("table" in row for row in rows) == rows[0]["rows"]
    code, out, err = run(house, "find-archived", "SO-2")
    assert (code, out) == (EXIT_NOT_FOUND, "")
    assert "is known by 'SO-2'" in err


def test_what_can_not_be_is_said(house: House) -> None:
    """Proves that a running hub, a missing setting, a wrong one and a missing archive are each told
    with what to do, and that nothing is made."""
    lock = DataLock(house.directory.parent).acquire()
    try:
        code, _, err = run(house, "archive")
        assert code == EXIT_CONFIGURATION
        assert "runs, and archives by itself" in err
        assert run(house, "archive", "--dry-run")[0] == 0
    finally:
        lock.release()
    told = {
        "{}": "says of nothing how old it has to be",
        '{"orders": 1}': "there is no orders",
        "[1]": "nothing archived",
    }
    for setting, sentence in told.items():
        code, _, err = run(house, "archive", CROSSDOCK_ARCHIVE_DAYS=setting)
        assert code == EXIT_CONFIGURATION
        assert sentence in err
    code, _, err = run(house, "archive", CROSSDOCK_DATA_DIRECTORY=str(house.directory / "dta"),
                       CROSSDOCK_DATABASE_URL="")  # fmt: skip
    assert code == EXIT_CONFIGURATION
    assert "there is no database" in err
    code, _, err = run(house, "find-archived", "SO-1")
    assert code == EXIT_CONFIGURATION
    assert "there is no archive" in err
    assert not house.directory.exists()
