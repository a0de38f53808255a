"""`crossdock hub put-back` where it is needed: on new disks, by administrators, after mishaps."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from crossdock_hub.store import putting_back
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
