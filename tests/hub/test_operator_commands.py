"""What an operator types, against a real hub: words on deliveries, errors that say what next."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from crossdock.cli import app
from crossdock.cli.problems import CommandError
from fixtures_hub import Lane, RunningHub
from played_endpoint import ERP_OPERATIONS, PlayedEndpoint
from story import Story, unique
from typer.testing import CliRunner


async def typed(hub: RunningHub, *words: str, code: int = 0) -> str:
    """What a command prints; of one that fails, its error."""
    environment = {
        "CROSSDOCK_ADDRESS": hub.address,
        "CROSSDOCK_TOKEN_FILE": str(hub.token_file("operator")),
    }
    done = await asyncio.to_thread(CliRunner().invoke, app, words, env=environment)
    if isinstance(done.exception, CommandError):
        assert done.exception.exit_code == code, done.exception
        return str(done.exception)
    assert done.exit_code == code, (done.output, done.exception)
    return done.output


async def json_of(hub: RunningHub, *words: str) -> Any:
    return json.loads(await typed(hub, *words, "--json"))


async def test_an_operator_types_a_retry(hub: RunningHub, lane: Lane) -> None:
    """Proves that show, retry and skip do what they say, in words and as JSON, and that a hub that
    is not crossdock dev's is asked for first."""
    async with Story(hub, lane) as story, PlayedEndpoint(hub, lane.erp, ERP_OPERATIONS) as erp:
        order_id = await story.approved()
        dispatch, _ = await erp.work("PARKED", reason="no mapping for the unit")
        delivery = dispatch.delivery_id
        shown = await typed(hub, "delivery", "show", delivery)
        assert "PARKED" in shown
        assert "no mapping for the unit" in shown
        assert dispatch.vendor_reference in shown
        again = ("delivery", "retry", delivery, "--reason", "mapped now")
        assert "--yes" in await typed(hub, *again, code=2)
        (answer,) = await json_of(hub, *again, "--yes")
        assert answer["word"]["reason"] == "mapped now"
        await erp.work("REJECTED", reason="no")
        skipped = await typed(hub, "delivery", "skip", delivery, "--reason", "not ours", "--yes")
        assert "is SKIPPED" in skipped
        assert "retry, PARKED to READY: mapped now" in await typed(
            hub, "delivery", "show", delivery
        )
        traced = await typed(hub, "trace", order_id, code=0)
        assert "not ours" in traced


async def test_an_operator_types_what_was_found(hub: RunningHub, lane: Lane) -> None:
    """Proves that a doubtful delivery is refused with the two commands that go on, and that resolve
    takes type=value and nothing else."""
    async with (
        Story(hub, lane) as story,
        PlayedEndpoint(hub, lane.erp, {**ERP_OPERATIONS, "create_sales_order": "NONE"}) as erp,
    ):
        await story.approved()
        dispatch, _ = await erp.work("UNKNOWN", reason="timed out")
        delivery = dispatch.delivery_id
        refused = await typed(
            hub, "delivery", "retry", delivery, "--reason", "again", "--yes", code=1
        )
        assert f"crossdock resolve {delivery}" in refused
        assert "--not-found-at-vendor" in refused
        resolve = ("resolve", delivery, "--reason", "seen in the ERP", "--yes", "--reference")
        assert "sales_order=SO-7" in await typed(hub, *resolve, "SO-7", code=2)
        number = unique("SO")
        done = await typed(hub, *resolve, f"sales_order={number}")
        assert f"is CONFIRMED: confirmed by hand with sales_order {number}" in done
