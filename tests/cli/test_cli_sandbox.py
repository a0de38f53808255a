"""`crossdock sandbox` says what is wrong with a fault, and which there are."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest
from crossdock.cli import app
from crossdock_adapters.sdk import registry
from crossdock_adapters.sdk.sandbox import SandboxConfig
from typer.testing import CliRunner, Result


async def typed(data: Path, *words: str) -> Result:
    """A command, beside the loop that runs the vendor."""
    command = ["sandbox", *words, "--data", str(data)]
    return await asyncio.to_thread(CliRunner().invoke, app, command)


@pytest.mark.parametrize("words", [("fault", "ups", "reply_lost"), ("calls", "ups")])
async def test_an_operation_that_nobody_calls_is_refused(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that a misspelt operation ends the command with the names of those there are, instead
    of a fault that never strikes or an empty log, and that a right one is taken."""
    monkeypatch.delenv("CROSSDOCK_ADDRESS", raising=False)
    kind = registry.sandbox("ups")
    async with kind(SandboxConfig("ups", settings=kind.example_settings(tmp_path))) as vendor:
        place = {"vendor_url": vendor.vendor_url, "control_url": vendor.control_url}
        running = {
            "pid": os.getpid(), "hub_address": "", "nats_url": "", "metrics_url": "",
            "sandboxes": {"ups": place},
        }  # fmt: skip
        (tmp_path / "running.json").write_text(json.dumps(running))
        wrong = await typed(tmp_path, *words, "--operation", "shipp")
        assert wrong.exit_code == 1, wrong.output
        said = str(wrong.exception)
        assert "there is no operation 'shipp'; there are: " in said
        assert " ship, " in said and "track_alert" in said
        assert vendor.faults.active() == []
        right = await typed(tmp_path, *words, "--operation", "ship")
        assert right.exit_code == 0, right.output


async def test_a_fault_that_there_is_none_of_is_not_cleared(tmp_path: Path) -> None:
    """Proves that a misspelt kind is refused instead of told as ended none of."""
    done = await typed(tmp_path, "clear", "ups", "reply-lots")
    assert "there is no fault 'reply-lots'" in str(done.exception) + done.output
