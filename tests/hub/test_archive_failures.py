"""A pass that ends anywhere loses nothing: what is not in the database is in a part, and the next
pass goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from archive_house import DAYS, House
from archive_process import STEPS
from crossdock_hub.archive import parts
from crossdock_hub.archive.archiver import Outcome
from crossdock_hub.archive.parts import ArchiveFailure
from test_full_disks import Volume

OLD = DAYS["order"] + 1
FLOWS = 3
SECONDS = 120


def filled(tmp_path: Path) -> tuple[House, list[str]]:
    """A house with old flows, and one that is young."""
    house = House(tmp_path / "data")
    old = [house.delivered(str(n)) for n in range(FLOWS)]
    house.days_pass(OLD)
    house.delivered("young")
    return house, old


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with filled(tmp_path)[0] as made:
        yield made


def in_parts(house: House) -> list[str]:
    """The flows of every part that the database relies on, but for those that stayed."""
    known = house.database.query("SELECT name FROM archive_parts WHERE state <> 'WRITING'")
    return [
        flow.root_id
        for (name,) in known
        for flow in parts.flows_in(parts.data_path(house.directory, name))
    ]


@pytest.mark.parametrize("step", STEPS)
def test_a_pass_that_is_killed_is_gone_on_with(tmp_path: Path, step: str) -> None:
    """Proves for kill -9 at each step that every flow is whole in the database or in a part that
    is noted, that the next pass ends what was begun, and that no flow is in two parts then."""
    house, old = filled(tmp_path)
    with house:
        rows = {root: house.rows_about(root) for root in old}
    program = [sys.executable, str(Path(__file__).with_name("archive_process.py"))]
    arguments = [str(tmp_path / "data"), house.database.url, str(house.now), step]
    paths = {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [*program, *arguments], env=os.environ | paths, timeout=SECONDS, check=False
    )
    assert done.returncode == -signal.SIGKILL
    with House(tmp_path / "data", now=house.now) as again:
        written = set(in_parts(again))
        for root in old:
            left = again.rows_about(root)
            assert left in (rows[root], {}), "whole, or gone"
            assert left or root in written
        again.archive()
        assert not any(again.rows_about(root) for root in old)
        assert sorted(in_parts(again)) == sorted(old)
        states = {row[0] for row in again.database.query("SELECT state FROM archive_parts")}
        assert states == {"DONE"}
        assert not list(again.directory.glob("*.writing"))
        assert again.archive().flows == 0


def test_a_full_volume_leaves_nothing_half(house: House, tmp_path: Path) -> None:
    """Proves that a part which finds no room is told in a sentence, deletes nothing and leaves no
    file, and that the pass after room was made ends it."""
    volume = Volume(tmp_path / "small", 1)
    try:
        house.directory = volume.directory / "archive"
        house.directory.mkdir()
        before = house.counts()
        volume.fill()
        with pytest.raises(ArchiveFailure, match="is full; make room; nothing was deleted"):
            house.archive()
        assert not list(house.directory.iterdir())
        assert house.counts() == before | {"archive_parts": 1}
        volume.free()
        assert house.archive().flows == FLOWS
        states = house.database.query("SELECT state FROM archive_parts")
        assert [tuple(row) for row in states] == [("DONE",)]
    finally:
        volume.remove()


def test_a_file_that_reads_otherwise_is_not_relied_on(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that a disk which gives other bytes than it took is found out before any row goes."""
    before = house.counts()
    with monkeypatch.context() as patched:
        patched.setattr(parts, "content_digest", lambda _path: "0" * 64)
        with pytest.raises(ArchiveFailure, match="does not read as it was written"):
            house.archive()
    assert not list(house.directory.iterdir())
    assert house.counts() == before | {"archive_parts": 1}


@pytest.mark.parametrize("what", ["changed", "gone"])
def test_a_part_that_is_not_there_any_more_deletes_nothing(house: House, what: str) -> None:
    """Proves that flows are deleted only while the file that was noted is the file that is there,
    and that it goes on when it was put back."""
    part, _ = house.run(house.new_archiver()._write_part("order", "", Outcome()))
    path = parts.data_path(house.directory, part.name)
    content = path.read_bytes()
    if what == "gone":
        path.unlink()
    else:
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    before = house.counts()
    with pytest.raises(ArchiveFailure, match="put it back"):
        house.archive()
    assert house.counts() == before
    path.write_bytes(content)
    assert house.archive().flows == FLOWS


def test_a_copy_of_the_database_takes_no_file_of_the_other_away(house: House) -> None:
    """Proves that where a database is put back to when a part was begun, and the one it was copied
    from has ended that part in the same directory, the finished file is set aside as it is."""
    assert house.archive().flows == FLOWS
    (name,) = parts.names_in(house.directory)
    content = parts.data_path(house.directory, name).read_bytes()

    async def begun() -> None:
        async with house.store.write() as connection:
            await connection.exec_driver_sql("UPDATE archive_parts SET state = 'WRITING'")

    house.run(begun())
    house.archive()
    (aside,) = house.directory.glob("*.jsonl.gz.set-aside")
    assert aside.read_bytes() == content


def test_a_disk_that_is_away_is_told(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Proves that a part which can't be read is told in the words of the archive, so that the hub
    waits for its next look, and that no row goes."""
    house.run(house.new_archiver()._write_part("order", "", Outcome()))
    before = house.counts()

    def gone(_path: Path) -> str:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(parts, "digest_of", gone)
        with pytest.raises(ArchiveFailure, match=r"can't be read \(Input/output error\)"):
            house.archive()
    assert house.counts() == before
    assert house.archive().flows == FLOWS
