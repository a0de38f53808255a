"""Items of the legacy ERPs whose unit nobody has mapped, until somebody does, at a hub."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from crossdock.endpoint.v1 import held_fact_pb2
from crossdock.errors import NotFoundError
from crossdock.item.v1 import item_service_pb2
from crossdock.mapping.v1 import mapping_service_pb2
from crossdock_adapters.legacy_soap.adapter import ADAPTER as SOAP
from crossdock_adapters.legacy_soap.sandbox import LegacySoapSandbox
from crossdock_adapters.legacy_table.adapter import ADAPTER as TABLE
from crossdock_adapters.legacy_table.sandbox import LegacyTableSandbox
from crossdock_adapters.sdk import erp_items, held_payloads
from crossdock_adapters.sdk import runner as running_endpoints
from crossdock_adapters.sdk.outcomes import Retry
from crossdock_adapters.sdk.sandbox import SandboxConfig
from fixtures_hub import Lane, RunningHub
from fixtures_nats import eventually
from hosted_adapter import hosted
from legacy_soap_world import PASSWORD
from story import Story, request_id, unique
from typed_commands import typed

pytestmark = pytest.mark.timeout(300)

WAIT_SECONDS = 90.0
KNOWN, MEANS = "EA", "STI"
# (item, word for its unit or "?" for the one without a row, description), oldest first.
CHANGES = (
    ("new", "?", "one"),
    ("passed", KNOWN, "one"), ("passed", "?", "two"), ("passed", KNOWN, "three"),
    ("last", KNOWN, "one"), ("last", "?", "two"),
    ("twice", "?", "one"), ("twice", "?", "two"),
)  # fmt: skip
BEFORE = {"new": None, "passed": ("EA", "three"), "last": ("EA", "one"), "twice": None}
AFTER = {
    "new": (MEANS, "one"), "passed": ("EA", "three"), "last": (MEANS, "two"),
    "twice": (MEANS, "two"),
}  # fmt: skip


@dataclass
class Erp:
    """One that runs. tell: (item number, unit, description, number of the change)"""

    adapter: Any
    settings: dict[str, Any]
    tell: Callable[[str, str, str, int], Awaitable[object]]


@asynccontextmanager
async def by_soap(folder: Path) -> AsyncIterator[Erp]:
    given = {"username": "crossdock", "password": PASSWORD, "soap_version": "1.2"}
    async with LegacySoapSandbox(SandboxConfig("legacy-soap", settings=given)) as sandbox:
        secret = folder / "password"
        secret.write_text(PASSWORD)
        settings = {
            "base_url": sandbox.vendor_url, "username": "crossdock", "password": f"file:{secret}",
            "soap_version": "1.2", "items_interval_seconds": 0.2,
        }  # fmt: skip

        async def tell(number: str, unit: str, text: str, _: int) -> object:
            row = {"Number": number, "Description": text, "Unit": unit, "Status": "A"}
            return await sandbox.commands()["tell_item"](row)

        yield Erp(SOAP, settings, tell)


@asynccontextmanager
async def by_table(folder: Path) -> AsyncIterator[Erp]:
    given = LegacyTableSandbox.example_settings(folder)
    async with LegacyTableSandbox(SandboxConfig("legacy-table", settings=given)) as sandbox:
        address = folder / "address"
        address.write_text(sandbox.database_url())
        settings = {"database_url": f"file:{address}", "items_interval_seconds": 0.2}

        async def tell(number: str, unit: str, text: str, change: int) -> object:
            row = {
                "ITEM": number.ljust(30), "CHANGE_NO": change, "DESCRIPTION": text,
                "UNIT": unit.ljust(3), "STATUS_CODE": "A ",
            }  # fmt: skip
            return await sandbox.commands()["tell_item"](row)

        yield Erp(TABLE, settings, tell)


async def payloads(story: Story, state: int) -> int:
    request = held_fact_pb2.ListHeldFactsRequest(endpoint=story.lane.erp, payloads_only=True)
    found = (await story.operator.endpoints.ListHeldFacts(request)).held_facts
    return sum(each.state == state for each in found)


async def item(story: Story, number: str) -> tuple[str, str] | None:
    try:
        request = item_service_pb2.GetItemRequest(number=number)
        found = (await story.erp.items.GetItem(request)).item
    except NotFoundError:
        return None
    return found.base_unit, found.description


async def waiting(story: Story, kind: str) -> int:
    request = mapping_service_pb2.GetMappingCoverageRequest(endpoint_kind=kind)
    answer = await story.operator.mappings.GetMappingCoverage(request)
    return sum(
        each.quarantined for each in answer.unmapped_codes if each.endpoint == story.lane.erp
    )


@pytest.mark.parametrize(("erp", "word"), [(by_soap, "ZQS"), (by_table, "ZQT")])
async def test_items_come_again_with_their_unit_and_over_nothing_newer(
    hub: RunningHub,
    lane: Lane,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    erp: Any,
    word: str,
) -> None:
    """Proves that items held for a unit without a row are told by themselves once `crossdock map
    set` gives it one, that each item then is as if the row had been there from the start, and that
    an older change is not written over a newer one which was told meanwhile, of which the log says
    that it was overtaken, and by what."""
    caplog.set_level("INFO", logger=held_payloads.__name__)
    monkeypatch.setattr(running_endpoints, "HEARTBEAT_SECONDS", 0.2)
    monkeypatch.setattr(held_payloads, "HELD_ROUND_SECONDS", 0.5)
    numbers = {name: unique("SKU-H") for name in BEFORE}

    async def items() -> dict[str, tuple[str, str] | None]:
        return {name: await item(story, number) for name, number in numbers.items()}

    async with (
        erp(tmp_path) as theirs,
        Story(hub, lane) as story,
        hosted(hub, lane.erp, theirs.adapter, theirs.settings) as runner,
    ):
        await eventually(lambda: runner.state == "serving", "the endpoint", WAIT_SECONDS)
        for change, (name, unit, text) in enumerate(CHANGES, start=1):
            await theirs.tell(numbers[name], word if unit == "?" else unit, text, change)

        async def told_before() -> bool:
            held = await payloads(story, held_fact_pb2.HELD_FACT_STATE_HELD)
            return held == 5 and await items() == BEFORE

        await eventually(told_before, "what can be told is told", WAIT_SECONDS)
        assert await waiting(story, theirs.adapter.name) == 5
        words = ("map", "set", theirs.adapter.name, "UNIT", word, "--means", MEANS)
        await typed(hub, *words, "--reason", "their word for it", "--yes")

        async def told_after() -> bool:
            done = await payloads(story, held_fact_pb2.HELD_FACT_STATE_APPLIED)
            return done == 5 and await items() == AFTER

        await eventually(told_after, "what was held is told", WAIT_SECONDS)
        # The adapter writes of each once the hub has answered it.
        await eventually(lambda: len(closed(caplog)) == 5, "the log of all five", WAIT_SECONDS)
        overtaken = [each for each in closed(caplog) if ": overtaken: " in each]
        assert any(numbers["passed"] in each for each in overtaken)
        assert await waiting(story, theirs.adapter.name) == 0


def closed(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the log says of each held payload that was closed."""
    said = [record.getMessage() for record in caplog.records]
    return [each for each in said if ": overtaken: " in each or each.endswith(": translated")]


async def test_an_item_that_appeared_meanwhile_is_not_written_over(
    hub: RunningHub, lane: Lane
) -> None:
    """Proves that a held change of an item which the hub did not have is tried again where a poll
    told the item before it was written, and is told where nobody did."""
    number = unique("SKU-H")

    def entry(text: str, revision: int | None) -> item_service_pb2.ItemEntry:
        entry = item_service_pb2.ItemEntry(request_id=request_id(), expected_revision=revision)
        entry.item.number, entry.item.description, entry.item.base_unit = number, text, KNOWN
        entry.update_mask.paths.extend(["description", "base_unit"])
        return entry

    async with Story(hub, lane) as story:
        seen = await erp_items.revision_of(story.erp, number)
        assert await erp_items.refusal(story.erp, entry("by the poll, newer", None)) == ""
        with pytest.raises(Retry, match="changed meanwhile"):
            await erp_items.refusal(story.erp, entry("held, older", seen))
        assert await item(story, number) == (KNOWN, "by the poll, newer")
        number = unique("SKU-H")
        seen = await erp_items.revision_of(story.erp, number)
        assert await erp_items.refusal(story.erp, entry("held", seen)) == ""
        assert await item(story, number) == (KNOWN, "held")
