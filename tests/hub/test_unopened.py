"""A database that can't be opened: the sentence names the setting, and what to do about it."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from crossdock import contracts
from crossdock.errors import ConfigurationError
from crossdock_hub import moving
from crossdock_hub.store import Access, Store, StoreFailure
from crossdock_hub.store.database_files import file_of
from crossdock_hub.store.engine import check_url, database_url
from crossdock_hub.store.places import name_of
from fixtures_postgres import SUPERUSER, PostgresProcess
from private_authority import Authority

STRANGER = "größe"
PASSWORD = "pä ss%@:/'x"
URL = "postgresql+asyncpg://crossdock@127.0.0.1/crossdock"


@pytest.fixture
def guarded(own_postgres_server: PostgresProcess) -> PostgresProcess:
    """A server where a user that may make no tables has to know its password."""
    rules = own_postgres_server.data / "pg_hba.conf"
    told = f'local all "{STRANGER}" scram-sha-256\n{rules.read_text()}'
    rules.write_text(told, encoding="utf-8")
    quoted = PASSWORD.replace("'", "''")
    own_postgres_server.ask("postgres", f"CREATE ROLE \"{STRANGER}\" LOGIN PASSWORD '{quoted}'")
    own_postgres_server.ask("postgres", "SELECT pg_reload_conf()")
    return own_postgres_server


async def refused(url: str, access: Access) -> str:
    """Why a hub can't open a database."""
    with pytest.raises(StoreFailure) as failed:
        await (await Store.open(url, contracts.load(), access)).close()
    return str(failed.value)


async def test_what_is_wrong_is_named(guarded: PostgresProcess, tmp_path: Path) -> None:
    """Proves that of a wrong password, a missing one, a database that is not there, and a user that
    may not make tables, the sentence names user, database, setting and what to do; and that names
    and passwords may have any letters."""
    name = await asyncio.to_thread(guarded.new_database)
    url = guarded.url(name).replace(f"{SUPERUSER}@", f"{STRANGER}@")
    file = tmp_path / "passwort größe"
    file.write_text("wrong", "utf-8")
    told = await refused(url, Access(file))
    for part in (
        name,
        STRANGER,
        str(guarded.directory),
        f"CROSSDOCK_DATABASE_PASSWORD_FILE {file}",
    ):
        assert part in told, (part, told)
    told = await refused(url, Access())
    assert "name a file with that of größe with CROSSDOCK_DATABASE_PASSWORD_FILE" in told
    file.write_text(PASSWORD + "\n", "utf-8")
    told = await refused(url.replace(name, "entrepôt"), Access(file))
    assert "the database does not exist (entrepôt at " in told
    assert "CREATE DATABASE \"entrepôt\" ENCODING 'UTF8' TEMPLATE template0" in told
    told = await refused(url, Access(file))
    assert "permission denied for schema public" in told and f"make {STRANGER} the owner" in told
    guarded.ask("postgres", f'ALTER DATABASE "{name}" OWNER TO "{STRANGER}"')
    await (await Store.open(url, contracts.load(), Access(file))).close()


async def test_a_password_file_that_is_spoilt_later(
    guarded: PostgresProcess, tmp_path: Path
) -> None:
    """Proves that a hub that runs and finds its password file gone says that, not that the database
    does not answer."""
    file = tmp_path / "password"
    file.write_text(PASSWORD, "utf-8")
    name = await asyncio.to_thread(guarded.new_database)
    guarded.ask("postgres", f'ALTER DATABASE "{name}" OWNER TO "{STRANGER}"')
    url = guarded.url(name).replace(f"{SUPERUSER}@", f"{STRANGER}@")
    store = await Store.open(url, contracts.load(), Access(file))
    try:
        file.unlink()
        with pytest.raises(StoreFailure, match=r"PASSWORD_FILE .*can't be read: No such file"):
            async with store.read():
                pass
    finally:
        await store.close()


def test_files_that_can_not_be_used(tmp_path: Path) -> None:
    """Proves that what the files of password and authority hold is looked at before it is used, and
    refused by the setting's name."""
    file = tmp_path / "file"
    for content, told in (
        (b"", "holds nothing; write the password to it, one line"),
        (b"one\ntwo\n", "holds more than one line"),
        (b"\xff\xfe", "holds no UTF-8 text"),
    ):
        file.write_bytes(content)
        with pytest.raises(ConfigurationError, match=told):
            check_url(URL, Access(file))
        with pytest.raises(ConfigurationError, match=r"CA_FILE .* it holds no certificate in PEM"):
            check_url(URL, Access(None, file))
    check_url(URL, Access(None, Authority.made(tmp_path / "authority").ca))


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("postgresql+asyncpg://crossdock@127.0.0.1:5432", "names no database"),
        ("postgresql+asyncpg://crossdock@127.0.0.1:5432/", "names no database"),
        ("postgresql+asyncpg://crossdock@127.0.0.1:abc/crossdock", "is no number"),
        ("postgresql+asyncpg://crossdock@127.0.0.1:70000/crossdock", "ports are 1 to 65535"),
    ],
)
def test_urls_that_lead_nowhere(url: str, told: str) -> None:
    """Proves that a URL without a database is refused, where the driver would take whatever
    PGDATABASE says, and that a port is one."""
    with pytest.raises(ConfigurationError, match=told):
        check_url(url, Access())


def test_a_move_names_the_database_that_can_not_be_opened(
    guarded: PostgresProcess,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Proves that of two databases the move names the one that can't be opened, that nothing was
    moved, and not that it is to be run again."""

    async def make() -> None:
        await (await Store.open(database_url("", tmp_path), contracts.load())).close()

    asyncio.run(make())
    monkeypatch.setenv("CROSSDOCK_DATA_DIRECTORY", str(tmp_path))
    assert moving.main(["--to", guarded.url("nowhere")]) == moving.EXIT_CONFIGURATION
    said = capsys.readouterr().err
    assert said.startswith("nothing moved: postgresql+asyncpg://") and "/nowhere" in said
    assert "does not exist" in said and "run it again" not in said


@pytest.mark.parametrize("name", ["what?now", "a%41b", "100%", "a#b", "entrepôt 港", "a@b:c"])
async def test_the_database_lies_in_its_directory(tmp_path: Path, name: str) -> None:
    """Proves that SQLite's file lies in the data directory whatever signs its name has, and that
    what a move notes of it leads back to it: two directories shared one file beside them."""
    directory = tmp_path / name
    directory.mkdir()
    url = database_url("", directory)
    await (await Store.open(url, contracts.load())).close()
    assert (directory / "crossdock.db").stat().st_size
    assert [each.name for each in tmp_path.iterdir()] == [name]
    assert file_of(url) == file_of(name_of(url)) == directory / "crossdock.db"


def test_a_directory_whose_name_is_no_text(tmp_path: Path) -> None:
    """Proves that bytes that are no UTF-8 are refused by the setting's name."""
    with pytest.raises(ConfigurationError, match=r"CROSSDOCK_DATA_DIRECTORY .* no UTF-8"):
        database_url("", tmp_path / os.fsdecode(b"latin \xf4"))
