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
from crossdock_hub.archive import parts
from crossdock_hub.archive.archiver import Outcome
from crossdock_hub.archive.command import EXIT_CONFIGURATION
from crossdock_hub.archive.searching import EXIT_NOT_FOUND
from crossdock_hub.archive.settling import rules_of
from crossdock_hub.config import SECOND
from crossdock_hub.data_lock import DataLock
from databases import KIND
from decisions import CONTRACT
from first_flow import order

SECONDS = 120
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


def test_a_part_that_is_lost_is_given_up(house: House) -> None:
    """Proves that archiving, stopped by a part that is damaged while its flows are deleted, goes on
    once an operator gives it up with a reason: what is in the database is archived anew, the file
    is set aside with why, and neither a whole part nor an unknown one is given up."""
    with House(house.directory.parent, now=house.now) as again:
        again.rules = rules_of({"order": SOON}, dict.fromkeys(CONTRACT.events, 0))
        part, _ = again.run(again.new_archiver()._write_part("order", "", Outcome()))
    path = parts.data_path(house.directory, part.name)
    number = str(part.number)
    code, _, err = run(house, "archive", "--forget-part", number, "--reason", "just so")
    assert code == EXIT_CONFIGURATION
    assert "is whole" in err
    path.write_bytes(path.read_bytes()[:-1])
    code, _, err = run(house, "archive")
    assert code != 0
    assert "put it back" in err
    code, _, err = run(house, "archive", "--forget-part", number)
    assert code == EXIT_CONFIGURATION
    assert "--reason" in err
    code, _, err = run(house, "archive", "--forget-part", "99", "--reason", "a disk died")
    assert code == EXIT_CONFIGURATION
    assert "part 99 is not known" in err
    assert f"now: [{number}]" in err
    code, out, err = run(house, "archive", "--forget-part", number, "--reason", "a disk died",
                         CROSSDOCK_ARCHIVE_DAYS="{}")  # fmt: skip
    assert code == 0, err
    assert "is given up" in out
    (note,) = house.directory.glob("*.given-up.json")
    assert json.loads(note.read_text())["reason"] == "a disk died"
    assert not path.exists()
    code, out, err = run(house, "archive", "--json")
    assert code == 0, err
    assert json.loads(out)["flows"] == 1
    assert run(house, "find-archived", "SO-1")[0] == 0


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
        "[1]": "nothing archived: CROSSDOCK_ARCHIVE_DAYS: ",
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
