"""Lists of the command line: they say when there are more, and go on where they ended."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Any

import pytest
from fixtures_hub import Lane, RunningHub
from played_endpoint import ERP_OPERATIONS, PlayedEndpoint
from replay_desk import Desk
from story import Story

COMMAND_SECONDS = 120.0
REASONS = ("period closed", "no such customer", "out of credit")


def run(hub: RunningHub, *words: str) -> subprocess.CompletedProcess[str]:
    """`crossdock …` as the operator of a hub."""
    environment = hub.environment() | {
        "CROSSDOCK_ADDRESS": hub.address,
        "CROSSDOCK_TOKEN_FILE": str(hub.token_file("operator")),
    }
    return subprocess.run(
        [sys.executable, "-m", "crossdock.cli", *words],
        env=environment,
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
        stdin=subprocess.DEVNULL,
        check=False,
    )


def page(hub: RunningHub, *words: str) -> Any:
    done = run(hub, *words, "--json")
    assert done.returncode in (0, 4), done.stderr
    return json.loads(done.stdout)


def walk(hub: RunningHub, name: str, words: tuple[str, ...]) -> list[Any]:
    """Every entry of a list, one page of two after another."""
    found: list[Any] = []
    token = ""
    for _ in range(10):
        more = ("--page-token", token) if token else ()
        answer = page(hub, *words, "--limit", "2", *more)
        found += answer[name]
        token = answer["next_page_token"]
        if not token:
            return found
        assert len(answer[name]) == 2
    raise AssertionError("the list has no end")


def entry_id(name: str, entry: Any) -> str:
    if name == "members":
        return str(entry["delivery"]["id"])
    return str(entry.get("id") or entry.get("number") or entry["deliveries"][0]["id"])


@pytest.fixture
async def lists(hub: RunningHub, lane: Lane) -> list[tuple[str, tuple[str, ...]]]:
    """Each list that may be long, by the name of its entries, where there are three of each."""
    unaskable = {**ERP_OPERATIONS, "create_sales_order": "NONE"}
    async with Story(hub, lane) as story, PlayedEndpoint(hub, lane.erp, unaskable) as erp:
        for reason in REASONS:
            await story.approved()
            await erp.work("UNKNOWN", reason=reason)
        desk = Desk(story.operator, lane.erp)
        plans = [await desk.plan("ALL", event_types=["order.approved"]) for _ in range(3)]
    group = page(hub, "dead-letters", "list", "--endpoint", lane.erp)["groups"][0]
    assert group["open_count"] == 1
    # An age would be another moment with each command, and its token another one's.
    since = page(hub, "posted-twice", "--endpoint", lane.erp)["since"]
    return [
        ("deliveries", ("deliveries", "--endpoint", lane.erp)),
        ("groups", ("dead-letters", "list", "--endpoint", lane.erp)),
        ("replays", ("replay", "list", "--endpoint", lane.erp)),
        ("items", ("replay", "show", plans[0].id, "--items")),
        ("postings", ("posted-twice", "--endpoint", lane.erp, "--since", since)),
    ]


async def test_a_list_goes_on_where_it_ended(
    hub: RunningHub, lists: list[tuple[str, tuple[str, ...]]]
) -> None:
    """Proves, for each list, that pages with the printed token give every entry once and in the
    order of one long list, that only the last has no token, and that a person is told the token."""
    for name, words in lists:
        whole = page(hub, *words)
        assert whole["next_page_token"] == ""
        ids = [entry_id(name, entry) for entry in whole[name]]
        assert len(set(ids)) == 3, name
        assert [entry_id(name, entry) for entry in walk(hub, name, words)] == ids
        first = page(hub, *words, "--limit", "2")
        told = run(hub, *words, "--limit", "2").stdout
        found = re.search(r"--page-token (\S+)", told)
        assert found and found[1] == first["next_page_token"], told
        assert "--page-token" not in run(hub, *words).stdout
        other = run(hub, "deliveries", "--state", "parked", "--page-token", found[1])
        assert (other.returncode, "page_token" in other.stderr) == (1, True)


async def test_a_group_goes_by_its_first_digits(
    hub: RunningHub, lists: list[tuple[str, tuple[str, ...]]]
) -> None:
    """Proves that a group is found by the digits that the list shows, and that wrong ones are told
    apart from a group without members, with what to type next."""
    groups = page(hub, *lists[1][1])["groups"]
    shown = page(hub, "dead-letters", "show", groups[0]["id"][:8])
    assert shown["group"]["id"] == groups[0]["id"]
    wrong = run(hub, "dead-letters", "show", "zzzz")
    assert wrong.returncode == 2
    assert "no group begins with 'zzzz'" in wrong.stderr
    assert "crossdock dead-letters list --closed" in wrong.stderr
