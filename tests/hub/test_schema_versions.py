"""A start knows whether its schema is current without loading what would bring it up to date."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from crossdock_hub.store.migrating import MIGRATIONS, is_current, is_known, revisions, upgrade
from fixtures_hub import RunningHub, deployment
from sqlalchemy import Engine, create_engine, text


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return create_engine(f"sqlite:///{tmp_path / 'hub.db'}")


def test_the_names_of_the_files_are_the_chain_of_revisions() -> None:
    """Proves that the order in which a start sees migrations is the one they are applied in."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    chain = [each.revision for each in ScriptDirectory.from_config(config).walk_revisions()]
    assert revisions() == chain[::-1]


def test_current_is_the_newest_revision_and_no_other(engine: Engine) -> None:
    """Proves that an empty, an older and a newer schema are none of them current."""
    with engine.begin() as connection:
        assert not is_current(connection)
        upgrade(connection, revisions()[-2])
        assert not is_current(connection)
        upgrade(connection)
        assert is_current(connection)
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        assert not is_current(connection)
        assert not is_known("9999")


def test_a_hub_that_is_older_than_its_database_says_so(tmp_path: Path) -> None:
    """Proves that a newer schema is refused in one sentence that says what to do, unchanged."""
    hub = RunningHub(tmp_path / "hub", deployment(1), database="sqlite").start()
    hub.kill()
    newer = "UPDATE alembic_version SET version_num = '9999'"
    with contextlib.closing(sqlite3.connect(hub.data / "crossdock.db")) as database, database:
        database.execute(newer)
    code, said = hub.run_to_its_end()
    assert code != 0
    assert "tables 9999" in said and "install that version" in said
    assert "Traceback" not in said
    assert hub.query("SELECT version_num FROM alembic_version") == [("9999",)]


def test_a_current_schema_needs_no_migrations(engine: Engine) -> None:
    """Proves that a start on a current schema never loads what applies migrations."""
    with engine.begin() as connection:
        upgrade(connection)
    program = f"""
import sys
from sqlalchemy import create_engine
from crossdock_hub import hub
from crossdock_hub.store.migrating import upgrade
with create_engine({str(engine.url)!r}).begin() as connection:
    upgrade(connection)
sys.exit("alembic was loaded" if "alembic" in sys.modules else 0)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
