"""A simulated vendor goes on where it ended, and begins anew rather than with half of a memory."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, ClassVar

import aiohttp
import pytest
from crossdock_adapters.sdk import registry
from crossdock_adapters.sdk.sandbox import SandboxConfig
from sdk_tiny_sandbox import TinySandbox


class Remembering(TinySandbox):
    """Remembers its bookings."""

    kept: ClassVar[tuple[str, ...]] = ("bookings",)


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def book(session: aiohttp.ClientSession, sandbox: TinySandbox, key: str) -> Any:
    url = f"{sandbox.vendor_url}/bookings"
    async with session.post(url, json={"key": key}) as answer:
        return await answer.json()


@pytest.fixture
def config(tmp_path: Path) -> SandboxConfig:
    return SandboxConfig(name="tiny", seed=7, state_file=tmp_path / "vendors" / "tiny.books")


async def test_a_vendor_goes_on_where_it_ended(
    config: SandboxConfig, session: aiohttp.ClientSession
) -> None:
    """Proves that books, the log of calls and the row of random numbers outlive a restart, and that
    only the owner can read the file."""
    file = config.state_file
    assert file is not None
    async with Remembering(config) as first:
        await book(session, first, "a")
        drawn = first.random.random()
    assert file.stat().st_mode & 0o777 == 0o600
    async with Remembering(config) as second:
        assert not file.exists(), "after a crash there must be none"
        assert await book(session, second, "b") == {"key": "b", "number": 2}
        assert [call.key for call in second.calls] == ["a", "b"]
        assert second.random.random() != drawn
    assert file.exists()


@pytest.mark.parametrize("why", ["crashed", "readable by others", "written by another version"])
async def test_rather_no_memory_than_a_wrong_one(
    config: SandboxConfig, session: aiohttp.ClientSession, why: str, caplog: Any
) -> None:
    """Proves that a vendor begins with empty books where the last ones may be wrong."""
    file = config.state_file
    assert file is not None
    async with Remembering(config) as first:
        await book(session, first, "a")
    if why == "crashed":
        crashed = Remembering(config)
        await crashed.start()
        await book(session, crashed, "b")
        # What a kill leaves: nothing is written.
        crashed.config = replace(config, state_file=None)
        await crashed.stop()
    elif why == "readable by others":
        file.chmod(0o644)
    else:
        file.write_bytes(b"\x80\x05]. or whatever")
    with caplog.at_level(logging.WARNING):
        async with Remembering(config) as second:
            assert second.bookings == []
    assert (why == "crashed") == (not caplog.records)


async def test_what_an_earlier_version_did_not_keep_has_its_default(tmp_path: Path) -> None:
    """Proves that books of a version which lacked a field go on with that field's default, and that
    books which lack one without a default are left out, so that no call fails for it later."""
    kind = registry.sandbox("sap")
    config = SandboxConfig("sap", settings={}, state_file=tmp_path / "sap.books")
    for lacking, goes_on in (("names_reversed", True), ("plants", False)):
        async with kind(config) as first:
            books: Any = first._books  # type: ignore[attr-defined]
            books.closed_through = date(2026, 1, 31)
            # As an earlier version's file has it: without what came since.
            delattr(books, lacking)
        async with kind(config) as second:
            found: Any = second._books  # type: ignore[attr-defined]
            assert found.names_reversed is False and "1010" in found.plants
            assert (found.closed_through == date(2026, 1, 31)) == goes_on
        (tmp_path / "sap.books").unlink()


def records(account: Any) -> dict[str, datetime]:
    """Its locations and customers, and when each was changed."""
    return {
        str(record.external_id): record.modified
        for kind in ("location", "customer")
        for record in account._books.living(kind)
    }


async def test_a_larger_network_opens_what_the_kept_books_lack(tmp_path: Path) -> None:
    """Proves that an ERP and a warehouse which ran for two sites know a third one after a restart
    that names it, dated so that a poll for changes sees it, and that all they had is there."""
    kind = registry.sandbox("netsuite")
    few = {**kind.example_settings(tmp_path), "countries": ["US"]}
    config = SandboxConfig("netsuite", settings=few, state_file=tmp_path / "netsuite.books")
    started = datetime.now(UTC)
    async with kind(config) as first:
        before = records(first)
    more = replace(config, settings={**few, "countries": ["CA", "US"]})
    async with kind(more) as second:
        after = records(second)
    assert before.items() <= after.items()
    new = {name: modified for name, modified in after.items() if name not in before}
    assert set(new) == {"WH-LAKES", "CUST-3001", "CUST-3002", "CUST-3003", "CUST-3004"}
    assert all(modified >= started for modified in new.values())

    kind = registry.sandbox("manhattan")
    config = SandboxConfig("manhattan", settings={}, state_file=tmp_path / "manhattan.books")
    async with kind(config):
        pass
    lakes = {"id": "DC-LAKES", "zone": "America/Toronto", "metric": True}
    async with kind(replace(config, settings={"facilities": [lakes]})) as second:
        assert {"DC-EAST", "DC-LAKES"} <= set(second._warehouse.facilities)  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["canada-post", "gls", "manhattan", "netsuite", "ups"])
async def test_every_vendor_can_be_kept(name: str, tmp_path: Path) -> None:
    """Proves that what each vendor names as its memory can be kept, and comes back the same."""
    kind = registry.sandbox(name)
    settings = kind.example_settings(tmp_path)
    config = SandboxConfig(name, settings=settings, state_file=tmp_path / f"{name}.books")
    assert kind.kept
    async with kind(config) as first:
        before = first.books()
    async with kind(replace(config, seed=99)) as second:
        assert second.books() == before
