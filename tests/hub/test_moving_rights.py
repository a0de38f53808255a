"""A database whose user may not do all that a move does: refused before anything is written."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from crossdock_hub import moving
from crossdock_hub.store import copying, moves, schema
from databases import FileDatabase, ServerDatabase
from fixtures_postgres import SUPERUSER, PostgresProcess
from rows_of_every_table import filled

_NUMBERS = itertools.count()


class Guest:
    """A user of a server who may only do what is granted, and a database of somebody else."""

    def __init__(self, server: PostgresProcess) -> None:
        self.name = f"guest_{next(_NUMBERS)}"
        self.database = ServerDatabase(server)
        self._server = server
        self._in = self.database.name
        self.say(f"CREATE ROLE {self.name} LOGIN")

    @property
    def url(self) -> str:
        return self.database.url.replace(f"{SUPERUSER}@", f"{self.name}@")

    def say(self, *statements: str) -> None:
        """As the owner of the server, in the guest's database."""
        for each in statements:
            self._server.ask(self._in, each)

    def may_own(self) -> None:
        self.say(f"GRANT ALL ON SCHEMA public TO {self.name}")

    def leave(self) -> None:
        self.say(f"DROP OWNED BY {self.name}", f"DROP ROLE {self.name}")


@pytest.fixture
def guest(postgres_server: PostgresProcess) -> Iterator[Guest]:
    """One who may do nothing yet."""
    made = Guest(postgres_server)
    yield made
    made.leave()


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data directory of a stopped hub, with rows in every table, which is that of settings."""
    filled(tmp_path / "data")
    monkeypatch.setenv("CROSSDOCK_DATA_DIRECTORY", str(tmp_path / "data"))
    return tmp_path / "data"


def refusal(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert moving.main(arguments) == moving.EXIT_CONFIGURATION
    said = capsys.readouterr().err
    assert said.startswith("nothing moved: "), said
    return said


def interrupted(guest: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A move to the guest's database, by its owner, that ended before its numbers were set."""

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(copying, "set_counters", crash)
        assert moving.main(["--to", guest.database.url]) == moving.EXIT_INTERRUPTED


def test_who_may_make_no_tables_moves_nothing(
    data: Path, guest: Guest, capsys: pytest.CaptureFixture[str]
) -> None:
    """Proves that a move to an empty database names the right to make tables where its user lacks
    it, that it is refused and not interrupted, and that the same user moves when it was granted."""
    said = refusal(["--to", guest.url], capsys)
    assert f"{guest.name} lacks CREATE in schema public" in said
    assert guest.database.tables() == []
    guest.may_own()
    assert moving.main(["--to", guest.url]) == 0


def test_what_is_missing_on_tables_is_named(
    data: Path, guest: Guest, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that a move to tables of another owner, as of one that was interrupted, names each
    right that is missing on them and on their sequences, and changes nothing there before."""
    interrupted(guest, monkeypatch)
    guest.may_own()
    assert "SELECT on alembic_version" in refusal(["--to", guest.url], capsys)
    before = guest.database.query("SELECT number FROM claims"), guest.database.tables()
    guest.say(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {guest.name}")
    guest.say(f"REVOKE TRUNCATE ON objects FROM {guest.name}")
    said = refusal(["--to", guest.url], capsys)
    for lacking in ("TRUNCATE on objects", *(f"UPDATE on {t.name}_" for t in schema.COUNTED)):
        assert lacking in said, said
    assert (guest.database.query("SELECT number FROM claims"), guest.database.tables()) == before
    guest.say(
        f"GRANT TRUNCATE ON objects TO {guest.name}",
        f"GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {guest.name}",
    )
    assert moving.main(["--to", guest.url]) == 0


def test_tables_that_are_to_be_altered_have_to_be_its_own(
    data: Path, guest: Guest, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that where an interrupted move of an earlier version left older tables of another
    owner, which only that one may alter, this is said before."""
    interrupted(guest, monkeypatch)
    guest.may_own()
    guest.say(
        f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {guest.name}",
        f"GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {guest.name}",
        "UPDATE alembic_version SET version_num = '0006'",
    )
    assert "being the owner of" in refusal(["--to", guest.url], capsys)


def test_a_mark_that_can_not_be_left_is_known_before(
    data: Path, guest: Guest, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that an old database whose user may read all and write no mark is not copied; and that
    reading, marks and numbers are all that is asked of it."""
    assert moving.main(["--to", guest.database.url]) == 0
    guest.say(f"DELETE FROM {moves.moves.name}")
    for path in data.glob("crossdock.db*"):
        path.unlink()
    monkeypatch.setenv("CROSSDOCK_DATABASE_URL", guest.url)
    guest.say(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {guest.name}")
    guest.say(f"GRANT INSERT, UPDATE ON claims TO {guest.name}")
    said = refusal(["--to", "sqlite"], capsys)
    assert "DELETE on moves" in said and "INSERT on moves" in said and "on objects" not in said
    assert not list(data.glob("crossdock.db*"))
    guest.say(f"GRANT INSERT, DELETE ON moves TO {guest.name}")
    assert "SELECT on events_" in refusal(["--to", "sqlite"], capsys)
    guest.say(f"GRANT SELECT ON ALL SEQUENCES IN SCHEMA public TO {guest.name}")
    assert moving.main(["--to", "sqlite"]) == 0
    assert FileDatabase(data).query("SELECT count(*) FROM objects")[0][0] > 0


def test_no_right_is_asked_for_that_a_move_does_not_use(
    data: Path, guest: Guest, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves of each part in a move, of filling tables of another owner, of being left, of being
    taken back and of being used as a back-up, that it is done by a user who may do there what it
    takes and nothing else; and that without any one of these rights it is refused."""
    interrupted(guest, monkeypatch)
    everywhere = {"claims": "SELECT, INSERT, UPDATE", "moves": "SELECT, INSERT, DELETE"}
    read, filled_with = (
        {table.name: right for table in schema.TABLES}
        for right in ("SELECT", "SELECT, INSERT, TRUNCATE")
    )
    is_current = {"alembic_version": "SELECT"}
    numbers = f"ON ALL SEQUENCES IN SCHEMA public TO {guest.name}"

    only(guest, filled_with | is_current | everywhere, f"GRANT UPDATE {numbers}")
    each_is_needed(
        guest, ["--to", guest.url], {"objects": filled_with["objects"]} | everywhere, capsys
    )
    assert moving.main(["--to", guest.url]) == 0
    for path in data.glob("crossdock.db*"):
        path.unlink()
    guest.say("DELETE FROM moves")
    monkeypatch.setenv("CROSSDOCK_DATABASE_URL", guest.url)

    only(guest, read | is_current | everywhere, f"GRANT SELECT {numbers}")
    each_is_needed(guest, ["--to", "sqlite"], everywhere, capsys)
    assert moving.main(["--to", "sqlite"]) == 0

    only(guest, everywhere)
    each_is_needed(guest, ["--undo"], everywhere, capsys)
    assert moving.main(["--undo"]) == 0

    guest.say("INSERT INTO moves VALUES (1, 'MOVED', 'some-id', 'elsewhere', 1)")
    tied = everywhere | {"bus_tie": "SELECT, INSERT, UPDATE"}
    only(guest, tied)
    each_is_needed(guest, ["--undo", "--as-back-up"], tied, capsys)
    assert moving.main(["--undo", "--as-back-up"]) == 0


def only(guest: Guest, rights: dict[str, str], *more: str) -> None:
    """Let a guest do that and no more."""
    for what in ("TABLES", "SEQUENCES"):
        guest.say(f"REVOKE ALL ON ALL {what} IN SCHEMA public FROM {guest.name}")
    guest.say(*(f"GRANT {right} ON {name} TO {guest.name}" for name, right in rights.items()))
    guest.say(*more)


def each_is_needed(
    guest: Guest, arguments: list[str], rights: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Each of these rights is named when it alone is taken away."""
    for name, several in rights.items():
        for right in several.split(", "):
            guest.say(f"REVOKE {right} ON {name} FROM {guest.name}")
            assert f"lacks {right} on {name}; " in refusal(arguments, capsys)
            guest.say(f"GRANT {right} ON {name} TO {guest.name}")


def test_who_only_reads_is_told_so(
    data: Path, guest: Guest, capsys: pytest.CaptureFixture[str]
) -> None:
    """Proves that a user whose transactions only read is named with the setting that says so."""
    guest.may_own()
    guest.say(f"ALTER ROLE {guest.name} SET default_transaction_read_only = on")
    assert "default_transaction_read_only" in refusal(["--to", guest.url], capsys)
