"""`crossdock replay` against a real hub: what it prints, returns, refuses, and says to do next."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from crossdock.cli import replay_progress
from crossdock.cli.problems import EXIT_USED_WRONGLY, CommandError
from crossdock.cli.times import time_of
from crossdock.dead_letter.v1.dead_letter_service_pb2 import ListDeadLettersRequest
from fixtures_hub import Lane, RunningHub, deployment
from played_endpoint import PlayedEndpoint
from story import Story, seed_master_data

COMMAND_SECONDS = 120.0
NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
BOOKINGS = {"create_sales_order": "SEARCHABLE"}


def run(
    hub: RunningHub, *arguments: str, command: str = "replay"
) -> subprocess.CompletedProcess[str]:
    """`crossdock replay …`, or of another command, as the operator of a hub."""
    environment = hub.environment() | {
        "CROSSDOCK_ADDRESS": hub.address,
        "CROSSDOCK_TOKEN_FILE": str(hub.directory / "tokens" / "operator"),
    }
    return subprocess.run(
        [sys.executable, "-m", "crossdock.cli", command, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
        stdin=subprocess.DEVNULL,
        check=False,
    )


async def typed(hub: RunningHub, *arguments: str) -> subprocess.CompletedProcess[str]:
    return await asyncio.to_thread(run, hub, *arguments)


async def as_json(hub: RunningHub, *arguments: str) -> Any:
    done = await typed(hub, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


async def test_from_plan_to_outcome(hub: RunningHub, lane: Lane) -> None:
    """Proves the way an operator takes: plan, look, start and follow, show, list; the exit code
    tells that one item was refused again, and piped output has no control characters."""
    async with Story(hub, lane) as story, PlayedEndpoint(hub, lane.erp, BOOKINGS) as erp:
        for _ in range(2):
            await story.approved()
            await erp.work("REJECTED", reason="period closed")
        chosen = ("--set", "failed", "--event", "order.approved", "--state", "rejected")
        planned = await typed(hub, "plan", lane.erp, *chosen, "--since", "1h")
        assert planned.returncode == 0, planned.stderr
        assert "2 items, failed at" in planned.stdout
        assert "WOULD_POST        2" in planned.stdout
        replay_id = planned.stdout.partition("plan ")[2].partition(":")[0]
        assert f"crossdock replay start {replay_id} --reason" in planned.stdout
        shown = await typed(hub, "show", replay_id, "--items")
        assert shown.stdout.count("create_sales_order") == 2
        started = asyncio.create_task(
            typed(hub, "start", replay_id, "--reason", "it is open", "--yes", "--follow")
        )
        await erp.work("CONFIRMED")
        await erp.work("REJECTED")
        done = await started
        assert done.returncode == 1, done.stderr
        assert "DONE, 2 of 2 items decided" in done.stdout
        assert "start by operator: it is open" in done.stdout
        assert "\x1b" not in done.stdout + done.stderr
        found = await as_json(hub, "show", replay_id, "--items")
        assert found["state"] == "REPLAY_STATE_DONE"
        assert sorted(i["outcome"] for i in found["items"]) == [
            "REPLAY_OUTCOME_POSTED",
            "REPLAY_OUTCOME_REFUSED",
        ]
        listed = await as_json(hub, "list", "--endpoint", lane.erp)
        assert [each["id"] for each in listed["replays"]] == [replay_id]


async def test_following_ends_when_an_operator_ends_the_work(hub: RunningHub, lane: Lane) -> None:
    """Proves that a replay whose delivery parks, and is then skipped, says so of its item, and that
    following it ends."""
    async with Story(hub, lane) as story, PlayedEndpoint(hub, lane.erp, BOOKINGS) as erp:
        await story.approved()
        await erp.work("REJECTED", reason="period closed")
        chosen = ("--set", "failed", "--event", "order.approved", "--since", "1h")
        replay_id = (await as_json(hub, "plan", lane.erp, *chosen))["id"]
        reason = ("--reason", "it is open", "--yes")
        started = asyncio.create_task(typed(hub, "start", replay_id, *reason, "--follow"))
        await erp.work("PARKED", reason="no such customer")
        parked = await started
        assert (parked.returncode, "PARKED" in parked.stdout) == (1, True), parked.stderr
        (item,) = (await as_json(hub, "show", replay_id, "--items"))["items"]
        skip = ("skip", item["delivery_id"], "--reason", "nobody wants it", "--yes")
        skipped = await asyncio.to_thread(run, hub, *skip, command="delivery")
        assert skipped.returncode == 0, skipped.stderr
        shown = await typed(hub, "show", replay_id, "--follow")
        assert shown.returncode == 0, shown.stderr
        assert "outcome  SKIPPED           1" in shown.stdout


async def test_a_plan_is_steered(hub: RunningHub, lane: Lane) -> None:
    """Proves that abort and what follows it say where the plan is and what to type instead, and
    that a plan which matches nothing says so."""
    planned = await as_json(
        hub, "plan", lane.erp, "--set", "missing", "--event", "order.approved", "--since", "1s"
    )
    assert "there is nothing to replay" in planned["note"]
    reason = ("--reason", "not needed", "--yes")
    aborted = await typed(hub, "abort", planned["id"], *reason)
    assert "ABORTED" in aborted.stdout
    assert "abort by operator: not needed" in aborted.stdout
    for verb in ("start", "pause", "resume", "approve"):
        refused = await typed(hub, verb, planned["id"], *reason)
        assert refused.returncode == 1, verb
        assert "STATE_TRANSITION" in refused.stderr
        assert "ABORTED" in refused.stderr
        step = "crossdock replay show" if verb in ("pause", "resume") else "crossdock replay plan"
        assert step in refused.stderr.partition("  next: ")[2], refused.stderr


async def test_a_group_behind_newer_ones_is_found_at_its_endpoint(tmp_path: Path) -> None:
    """Proves that a group whose letters are older than all that the hub looks at in one question is
    shown, acknowledged and planned where its endpoint is named, by its first digits and by its
    whole id, which says enough alone, and that for its first digits the command says that the
    endpoint has to be named."""
    hub = RunningHub(tmp_path / "few", deployment(2), limits='{"dead_letters_max": 2}').start()
    old, busy = Lane(1), Lane(2)
    try:
        await seed_master_data(hub)
        for lane, letters in ((old, 1), (busy, 3)):
            async with Story(hub, lane) as story, PlayedEndpoint(hub, lane.erp, BOOKINGS) as erp:
                for _ in range(letters):
                    await story.approved()
                    await erp.work("REJECTED", reason=f"{lane.erp} is closed")
                request = ListDeadLettersRequest(endpoint=old.erp)
                (group,) = (await story.operator.dead_letters.ListDeadLetters(request)).groups
        short = group.id[:8]
        unnamed = await asyncio.to_thread(run, hub, "show", short, command="dead-letters")
        assert "the same again with --endpoint E" in unnamed.stderr, unnamed.stderr
        for words in (("show",), ("acknowledge", "--note", "mine", "--yes")):
            told = await asyncio.to_thread(
                run, hub, *words, short, "--endpoint", old.erp, command="dead-letters"
            )
            assert group.id in told.stdout, told.stderr
        for named in (group.id[:8], group.id):
            plan = await as_json(hub, "plan", old.erp, "--group", named)
            assert (plan["state"], plan["item_count"]) == ("REPLAY_STATE_PLANNED", "1")
        assert (await as_json(hub, "plan", "--group", group.id))["item_count"] == "1"
        unnamed = await typed(hub, "plan", "--group", short)
        assert unnamed.returncode != 0
        step = f"name the endpoint: crossdock replay plan ENDPOINT --group {short}"
        assert step in unnamed.stderr, unnamed.stderr
        elsewhere = await typed(hub, "plan", busy.erp, "--group", group.id[:8])
        assert f"no group begins with '{group.id[:8]}' at {busy.erp}" in elsewhere.stderr
    finally:
        hub.kill()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("plan", "netsuite", "--set", "all"), "an empty selection would replay everything"),
        (("plan", "netsuite", "--set", "most", "--since", "1h"), "failed, missing, all"),
        (("plan", "netsuite", "--set", "all", "--since", "noon"), "2026-01-31T10:00Z"),
        (("plan", "netsuite", "--set", "all", "--state", "lost"), "no delivery state"),
        (("start", "00000000-0000-0000-0000-000000000000", "--reason", "x"), "--yes"),
    ],
)
def test_wrong_use_says_what_to_type(
    hub: RunningHub, arguments: tuple[str, ...], says: str
) -> None:
    """Proves that a wrong word ends with exit code 2 and the words that are right."""
    done = run(hub, *arguments)
    assert (done.returncode, done.stdout) == (EXIT_USED_WRONGLY, "")
    assert says in done.stderr


def test_times_are_ages_or_moments_with_a_zone() -> None:
    """Proves that an age counts back, a moment keeps its zone, and one without is refused."""
    assert time_of("90m", "--since", NOW) == NOW - timedelta(minutes=90)
    assert time_of("3d", "--since", NOW) == NOW - timedelta(days=3)
    assert time_of("2026-01-31T13:00+01:00", "--since") == NOW
    assert time_of("2026-01-31T12:00Z", "--since") == NOW
    for text in ("2026-01-31T12:00", "0h", "h", "yesterday", ""):
        with pytest.raises(CommandError) as refused:
            time_of(text, "--until")
        assert "--until" in refused.value.what


def test_progress_is_told_in_words() -> None:
    """Proves that the line of a run names each outcome that there is."""
    counts = {"POSTED": 3, "UNDER_WAY": 1, "PARKED": 0}
    assert replay_progress.words("RUNNING", counts) == "RUNNING: 3 posted, 1 under way"
