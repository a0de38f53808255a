"""`crossdock replay … --follow` on a terminal: a real pseudo-terminal, and what a person sees."""

from __future__ import annotations

import asyncio
import json
import re
import signal
from pathlib import Path

from fixtures_hub import Lane, RunningHub, deployment
from played_endpoint import PlayedEndpoint
from story import Story, seed_master_data
from terminal import CODES, Terminal, at_hub
from test_cli_replay import as_json, run

BOOKINGS = {"create_sales_order": "SEARCHABLE"}
SHOW_CURSOR = "\x1b[?25h"


async def test_a_bar_moves_on_a_terminal(hub: RunningHub, lane: Lane) -> None:
    """Proves that a terminal shows the bar with what is settled, as it is settled, that the bar is
    gone at the end with the cursor back, and that Ctrl-C ends the watching and not the replay, and
    says so and how to look, pause and abort: of the command that started it and of another."""
    async with Story(hub, lane) as story, PlayedEndpoint(hub, lane.erp, BOOKINGS) as erp:
        for _ in range(2):
            await story.approved()
            await erp.work("REJECTED", reason="period closed")
        chosen = ("--set", "failed", "--event", "order.approved", "--since", "1h")
        plan = (await as_json(hub, "plan", lane.erp, *chosen))["id"]
        start = ("start", plan, "--reason", "it is open", "--yes", "--follow")
        for words in (start, ("show", plan, "--follow")):
            async with Terminal(at_hub(hub), "replay", *words) as screen:
                await screen.shows("0/2")
                screen.process.send_signal(signal.SIGINT)
                assert await screen.ends() != 0
                told = screen.read()
            assert SHOW_CURSOR in screen.raw
            assert "Traceback" not in told
            assert f"the hub goes on with {plan}" in told
            for verb in ("show", "pause", "abort"):
                assert f"crossdock replay {verb} {plan}" in told
        async with Terminal(at_hub(hub), "replay", "show", plan, "--follow") as screen:
            await screen.shows("0/2")
            await erp.work("CONFIRMED")
            await screen.shows("1/2")
            assert "1 posted" in screen.read()
            await erp.work("CONFIRMED")
            assert await screen.ends() == 0
            told = screen.read()
        assert "DONE" in told
        after_bar = screen.raw.rpartition(SHOW_CURSOR)[2]
        assert "2 of 2" in CODES.sub("", after_bar) and "1/2" not in after_bar
        found = await as_json(hub, "show", plan)
        assert found["outcomes"] == [{"outcome": "REPLAY_OUTCOME_POSTED", "count": "2"}]


async def test_a_plan_moves_on_a_terminal(tmp_path: Path) -> None:
    """Proves that planning shows a bar of events, that Ctrl-C leaves the hub planning and says how
    to look and how to abort, and that the plan then is made and followed to its end."""
    slow = {"replay_plan_events": 1, "replay_plan_pause_seconds": 3.0}
    hub = RunningHub(tmp_path / "slow", deployment(1), limits=json.dumps(slow)).start()
    try:
        await seed_master_data(hub)
        lane = Lane(1)
        async with Story(hub, lane) as story, PlayedEndpoint(hub, lane.erp, BOOKINGS) as erp:
            for _ in range(5):
                await story.approved()
                await erp.work("REJECTED", reason="period closed")
            chosen = ("--set", "failed", "--event", "order.approved", "--since", "1h")
            async with Terminal(at_hub(hub), "replay", "plan", lane.erp, *chosen) as screen:
                await screen.shows("/5")
                screen.process.send_signal(signal.SIGINT)
                assert await screen.ends() != 0
                told = screen.read()
            assert SHOW_CURSOR in screen.raw
            assert "Traceback" not in told
            found = re.search(r"crossdock replay abort ([0-9a-f-]{36}) --reason", told)
            assert found is not None, told
            followed = await asyncio.to_thread(typed_and_read, hub, found.group(1))
            assert "PLANNED, 0 of 5 items decided" in followed
    finally:
        hub.kill()


def typed_and_read(hub: RunningHub, plan: str) -> str:
    """What following a plan prints."""
    done = run(hub, "show", plan, "--follow")
    assert done.returncode == 0, done.stderr
    assert "events planned; PLANNING" in done.stdout
    return done.stdout
