"""Drop folders: the same promises on a local disk and behind a real SFTP server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from crossdock_adapters.sdk import exchange, lease_clock
from crossdock_adapters.sdk.drop_folder import (
    DropFolder,
    FileMissing,
    LocalFolder,
    NameTaken,
    checked_path,
)
from crossdock_adapters.sdk.outcomes import (
    NeedsPerson,
    NotTried,
    OutcomeUnknown,
    Retry,
    Throttled,
    Unreachable,
)
from crossdock_adapters.sdk.sandbox import Sandbox, SandboxConfig, VendorPort
from crossdock_adapters.sdk.sandbox_sftp import (
    FILE_OPERATIONS,
    SftpHouse,
    SftpPort,
    kept_host_key,
    public_line,
)
from crossdock_adapters.sdk.sftp import SftpFolder, SftpLogin

KINDS = ("local", "sftp")
PASSWORD = "open sesame"
# What a call has that is meant to be answered.
CALL_SECONDS = 30.0


class Shelf(Sandbox):
    """A vendor that is an SFTP server and nothing else."""

    scheme = "sftp"
    other_operations = FILE_OPERATIONS

    def vendor_port(self) -> VendorPort:
        root = Path(self.settings["root"])
        self.full = False
        self.key = kept_host_key(root.parent / "host_key")
        house = SftpHouse(root, "hub", PASSWORD, self.key, lambda: self.full)
        return SftpPort(self, house)

    def routes(self) -> Any:
        return ()

    def books(self) -> dict[str, Any]:
        return {}

    def login(self) -> SftpLogin:
        host, port = self.vendor_url.removeprefix("sftp://").split(":")
        return SftpLogin(
            host, int(port), "hub", public_line(self.key), lambda: PASSWORD, lambda: ""
        )


@asynccontextmanager
async def shelf(root: Path) -> AsyncIterator[Shelf]:
    (root / "in").mkdir(parents=True)
    async with Shelf(SandboxConfig("shelf", settings={"root": str(root)})) as running:
        yield running


@pytest_asyncio.fixture(params=KINDS)
async def folder(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[DropFolder]:
    root = tmp_path / "root"
    if request.param == "local":
        (root / "in").mkdir(parents=True)
        yield LocalFolder(root)
        return
    async with shelf(root) as running:
        behind = SftpFolder(running.login(), "", CALL_SECONDS)
        try:
            yield behind
        finally:
            await behind.close()


async def test_a_file_goes_out_once_under_its_name(folder: DropFolder) -> None:
    """Proves that putting replaces, publishing never does, and that names and content come back."""
    await folder.put("in/a.tmp", b"first draft")
    await folder.put("in/a.tmp", b"whole")
    await folder.publish("in/a.tmp", "in/a")
    assert [(fact.name, fact.size) for fact in await folder.names("in")] == [("a", 5)]
    assert await folder.read("in/a", 100) == b"whole"
    assert await folder.read("in/a", 2) == b"who", "one byte more shows that there is more"
    await folder.put("in/a.tmp", b"another")
    with pytest.raises(NameTaken):
        await folder.publish("in/a.tmp", "in/a")
    assert await folder.read("in/a", 100) == b"whole"
    with pytest.raises(FileMissing):
        await folder.publish("in/never.tmp", "in/b")
    with pytest.raises(FileMissing):
        await folder.read("in/never", 100)
    with pytest.raises(FileMissing):
        await folder.names("nowhere")


async def test_only_publishing_has_an_effect(folder: DropFolder) -> None:
    """Proves that an attempt that only put a file may be repeated blindly, one that renamed not."""
    with exchange.recording() as record:
        await folder.put("in/a.tmp", b"x")
        await folder.names("in")
        assert not record.effect_left
        await folder.publish("in/a.tmp", "in/a")
        assert record.effect_left
        assert "rename in/a.tmp to in/a" in record.request_excerpt()


async def test_nothing_is_published_after_the_lease(folder: DropFolder) -> None:
    """Proves that a rename looks at the lease before it leaves."""
    await folder.put("in/a.tmp", b"x")
    with exchange.recording() as record:
        record.lease_until = lease_clock.now()
        with pytest.raises(NotTried):
            await folder.publish("in/a.tmp", "in/a")
    assert [fact.name for fact in await folder.names("in")] == ["a.tmp"]


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "in/../../x", "in//x", "", "in/\0"])
def test_no_path_leads_out_of_the_folder(path: str) -> None:
    """Proves that a name in somebody's file cannot make the adapter read or write elsewhere."""
    with pytest.raises(ValueError, match="no path below"):
        checked_path(path)


async def test_a_rename_whose_answer_is_lost_is_unknown(tmp_path: Path) -> None:
    """Proves that the file is there, the outcome unknown, and the next try finds the name taken."""
    async with shelf(tmp_path / "root") as running:
        folder = SftpFolder(running.login(), "", CALL_SECONDS)
        await folder.put("in/a.tmp", b"x")
        running.faults.add({"kind": "reply_lost", "operation": "rename", "count": 1})
        with pytest.raises(OutcomeUnknown):
            await folder.publish("in/a.tmp", "in/a")
        await folder.put("in/a.tmp", b"x")
        with pytest.raises(NameTaken):
            await folder.publish("in/a.tmp", "in/a")
        (struck,) = [call for call in running.calls if call.fault]
        assert (struck.operation, struck.effect, struck.outcome) == ("rename", True, "reply_lost")
        await folder.close()


@pytest.mark.parametrize(
    ("fault", "word"),
    [
        ({"kind": "error_before", "operation": "list"}, Retry),
        ({"kind": "throttle", "operation": "list"}, Retry),
        ({"kind": "down"}, Unreachable),
    ],
)
async def test_trouble_before_an_effect_is_a_retry(
    tmp_path: Path, fault: dict[str, Any], word: type[Exception]
) -> None:
    """Proves that a failed listing or a closed port says that nothing was done."""
    async with shelf(tmp_path / "root") as running:
        folder = SftpFolder(running.login(), "", CALL_SECONDS)
        running.faults.add(fault)
        await running.apply_outage()
        with pytest.raises(word):
            await folder.names("in")
        running.faults.clear()
        await running.apply_outage()
        assert await folder.names("in") == []
        await folder.close()


async def test_a_full_disk_is_said_to_be_full(tmp_path: Path) -> None:
    """Proves that a server without space is asked again later, and that nothing was published."""
    async with shelf(tmp_path / "root") as running:
        folder = SftpFolder(running.login(), "", CALL_SECONDS)
        running.full = True
        with pytest.raises(Retry) as told:
            await folder.put("in/a.tmp", b"x")
        assert not isinstance(told.value, Throttled)
        running.full = False
        await folder.put("in/a.tmp", b"x")
        await folder.close()


async def test_only_the_pinned_server_and_the_right_password(tmp_path: Path) -> None:
    """Proves that another host key needs a person, and that a refused login waits."""
    async with shelf(tmp_path / "root") as running:
        login = running.login()
        other = public_line(kept_host_key(tmp_path / "other"))
        wrong_key = SftpFolder(replace(login, host_key=other), "", CALL_SECONDS)
        with pytest.raises(NeedsPerson, match="host key"):
            await wrong_key.names("in")
        wrong_word = SftpFolder(replace(login, password=lambda: "guess"), "", CALL_SECONDS)
        with pytest.raises(Retry, match="login is refused"):
            await wrong_word.names("in")
        assert running.calls == []
