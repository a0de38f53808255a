"""Drop folders whose server is strange or away: what is seen, and what is said of the outcome."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
from collections.abc import AsyncIterator
from datetime import UTC
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from crossdock_adapters.sdk import drop_folder, sandbox_sftp, sftp
from crossdock_adapters.sdk.drop_folder import DropFolder, LocalFolder, NameTaken
from crossdock_adapters.sdk.outcomes import OutcomeUnknown, Retry, Unreachable
from crossdock_adapters.sdk.sftp import SftpFolder
from test_drop_folders import CALL_SECONDS, shelf
from test_drop_folders import folder as folder

LIMIT_SECONDS = 3.0


async def test_one_file_is_looked_for_by_its_name(folder: DropFolder) -> None:
    """Proves that a file is found without listing what lies beside it, and told when it is not."""
    await folder.put("in/a", b"whole")
    found = await folder.look("in/a")
    assert found is not None and (found.name, found.size) == ("a", 5)
    assert found.modified is not None and found.modified.tzinfo is UTC
    assert await folder.look("in/b") is None
    assert await folder.look("in") is None, "a folder is no file"


async def test_a_name_that_is_no_text_hides_nothing(tmp_path: Path) -> None:
    """Proves that a name in another code page neither fails the listing nor comes back."""
    root = tmp_path / "root"
    async with shelf(root) as running:
        (root / "in" / "good").write_bytes(b"x")
        Path(os.fsdecode(os.fsencode(root / "in") + b"/bad-\xff")).write_bytes(b"x")
        behind = SftpFolder(running.login(), "", CALL_SECONDS)
        for each in (LocalFolder(root), behind):
            assert [fact.name for fact in await each.names("in")] == ["good"]
        await behind.close()


async def test_a_full_folder_is_waited_for(
    folder: DropFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that a folder which cannot be listed whole parks nothing: work waits, and says why."""
    for module in (drop_folder, sftp):
        monkeypatch.setattr(module, "MAX_NAMES", 2)
    for name in ("a", "b", "c"):
        await folder.put(f"in/{name}", b"x")
    with pytest.raises(Retry, match="more than 2 files: archive"):
        await folder.names("in")


async def test_a_server_that_tells_little_hides_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that a file is seen although the server says neither its kind nor its time, and that
    the time is then unknown, not 1970."""
    listed = sandbox_sftp._Files.scandir

    async def bare(self: Any, path: bytes) -> AsyncIterator[asyncssh.SFTPName]:
        async for name in listed(self, path):
            if name.filename not in (b".", b".."):
                yield asyncssh.SFTPName(name.filename, attrs=asyncssh.SFTPAttrs(size=1))

    monkeypatch.setattr(sandbox_sftp._Files, "scandir", bare)
    root = tmp_path / "root"
    async with shelf(root) as running:
        (root / "in" / "a").write_bytes(b"x")
        behind = SftpFolder(running.login(), "", CALL_SECONDS)
        (fact,) = await behind.names("in")
        assert (fact.name, fact.modified) == ("a", None)
        await behind.close()


async def test_a_server_that_opens_no_sftp_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that the time limit holds for opening SFTP too, so that nobody waits for ever."""

    async def never(self: Any, *_: Any, **__: Any) -> Any:
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncssh.SSHClientConnection, "start_sftp_client", never)
    async with shelf(tmp_path / "root") as running:
        behind = SftpFolder(running.login(), "", LIMIT_SECONDS)
        async with asyncio.timeout(LIMIT_SECONDS * 10):
            with pytest.raises(Unreachable, match="no SFTP there in time"):
                await behind.names("in")
        await behind.close()


async def test_a_rename_that_nobody_can_ask_after_is_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that when a rename ends in "failure", and the question for the file meets a lost
    connection, the outcome is unknown: the rename may have been done."""

    async def lost(self: Any, path: str) -> Any:
        raise Retry(0.0, "the connection was lost")

    async with shelf(tmp_path / "root") as running:
        behind = SftpFolder(running.login(), "", CALL_SECONDS)
        await behind.put("in/a.tmp", b"x")
        running.faults.add({"kind": "error_after", "operation": "rename", "count": 1})
        monkeypatch.setattr(SftpFolder, "look", lost)
        with pytest.raises(OutcomeUnknown):
            await behind.publish("in/a.tmp", "in/a")
        assert (tmp_path / "root" / "in" / "a").exists()
        await behind.close()


async def test_a_late_failure_cuts_no_newer_connection(tmp_path: Path) -> None:
    """Proves that who gives an old connection up leaves the one that took its place."""
    async with shelf(tmp_path / "root") as running:
        behind = SftpFolder(running.login(), "", CALL_SECONDS)
        await behind.names("in")
        old = behind._connection
        behind._drop(old)
        await behind.names("in")
        newer = behind._connection
        behind._drop(old)
        assert behind._connection is newer is not None and not newer.is_closed()
        await behind.close()


async def test_a_file_that_is_out_is_never_written_again(tmp_path: Path) -> None:
    """Proves that after a death between the new name and the end of the old one, which are then
    one file, the next attempt writes another."""
    (tmp_path / "in").mkdir()
    local = LocalFolder(tmp_path)
    await local.put("in/a.tmp", b"whole")
    os.link(tmp_path / "in" / "a.tmp", tmp_path / "in" / "a")
    await local.put("in/a.tmp", b"half")
    assert (tmp_path / "in" / "a").read_bytes() == b"whole"


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP])
async def test_a_share_without_hard_links_is_published_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Proves that a file goes out whole on a share that knows no second name for a file and syncs
    no folder, as those of SMB may not, and that one which is there is not replaced."""

    def refused(*_: object) -> None:
        raise OSError(number, os.strerror(number), "in/a.tmp", None, "in/a")

    def of_files_only(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    (tmp_path / "in").mkdir()
    monkeypatch.setattr(os, "link", refused)
    monkeypatch.setattr(os, "fsync", of_files_only)
    local = LocalFolder(tmp_path)
    await local.put("in/a.tmp", b"whole")
    await local.publish("in/a.tmp", "in/a")
    assert [each.name for each in (tmp_path / "in").iterdir()] == ["a"]
    await local.put("in/a.tmp", b"other")
    with pytest.raises(NameTaken):
        await local.publish("in/a.tmp", "in/a")
    assert (tmp_path / "in" / "a").read_bytes() == b"whole"
