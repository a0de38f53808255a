"""`crossdock hub put-back` where it is needed: on new disks, by administrators, after mishaps."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from crossdock.errors import ConfigurationError
from crossdock_hub.config import Settings
from crossdock_hub.store import backing_up, putting_back
from crossdock_hub.store.backing_up import back_up, database_of
from test_back_up import has, stored


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data directory of a hub that is on no disk yet, as its settings name it."""
    for name in [name for name in os.environ if name.startswith("CROSSDOCK_")]:
        monkeypatch.delenv(name)
    directory = tmp_path / "data"
    directory.mkdir()
    monkeypatch.setenv("CROSSDOCK_DATA_DIRECTORY", str(directory))
    return directory


async def test_an_administrator_keeps_nobody_out(data: Path, tmp_path: Path) -> None:
    """Proves that everything which the command makes in a new data directory, its lock included,
    belongs to whom the directory belongs, so that the hub's own user can start on it."""
    owner = 12_345 if os.geteuid() == 0 else os.geteuid()
    os.chown(data, owner, -1)
    source = await stored(tmp_path / "copy", "first")
    for _ in range(2):
        assert putting_back.main([str(source)]) == 0
    found = sorted(each.name for each in data.iterdir())
    assert found[:2] == ["crossdock.db", found[1]] and found[-1] == "crossdock.lock"
    assert {each.stat().st_uid for each in data.iterdir()} == {owner}
    assert has(data / "crossdock.db", "first")


async def test_a_log_that_was_left_belongs_to_no_new_back_up(tmp_path: Path) -> None:
    """Proves that a back-up is not made beside the log of one that is gone: SQLite would write that
    into it when it is put back."""
    path, target = await stored(tmp_path / "data", "first"), tmp_path / "night.db"
    target.with_name("night.db-wal").write_bytes(b"frames of another database")
    with pytest.raises(ConfigurationError, match=r"night\.db-wal exists"):
        back_up(path, target)
    assert not target.exists()


async def test_a_back_up_that_is_ended_leaves_nothing(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Proves that SIGTERM, as a timer's service gets it, ends a back-up with a sentence and status
    1, and leaves no part of the copy behind."""
    await stored(data, "first")

    def end(*_files: Path) -> dict[str, Any]:
        assert list(tmp_path.glob(".night.db.*.part")), "there is a part by now"
        os.kill(os.getpid(), signal.SIGTERM)
        return {}

    monkeypatch.setattr(backing_up, "describe", end)
    before = signal.getsignal(signal.SIGTERM)
    assert backing_up.main([str(tmp_path / "night.db")]) == 1
    assert "not backed up: interrupted" in capsys.readouterr().err
    assert [each.name for each in tmp_path.iterdir()] == ["data"]
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("nonsense", "no SQLAlchemy URL"),
        ("mysql://hub@127.0.0.1/hub", "begins with mysql"),
        ("sqlite+aiosqlite://", "in memory"),
    ],
)
@pytest.mark.usefixtures("data")
def test_what_is_no_database_of_a_hub_is_told(
    monkeypatch: pytest.MonkeyPatch, url: str, says: str
) -> None:
    """Proves that a setting that names none is refused in a sentence about what it is."""
    monkeypatch.setenv("CROSSDOCK_DATABASE_URL", url)
    with pytest.raises(ConfigurationError, match=says) as refused:
        database_of(Settings())
    assert "pg_dump" not in str(refused.value)
