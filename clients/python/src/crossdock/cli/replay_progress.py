"""Watches plans and replays: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from crossdock.cli.names import name_of
from crossdock.cli.progress import ProgressLine
from crossdock.client import HubClient
from crossdock.replay.v1 import replay_pb2, replay_service_pb2

LOOK_SECONDS: Final = 0.5
# Most plans are made within this time, and nothing needs to be shown of them.
SHORT_PLAN_SECONDS: Final = 1.0
ENDED: Final = frozenset({"DONE", "ABORTED", "EXPIRED", "PLANNED", "FAILED"})
OPEN: Final = frozenset({"WAITING", "UNDER_WAY"})


async def follow_plan(hub: HubClient, replay_id: str, as_json: bool) -> replay_pb2.Replay:
    """Return the plan once the hub has made it, or could not.

    as_json: only a terminal is told meanwhile. Ctrl-C ends the watching, never the planning.
    """
    show = _shown(as_json, "plan")
    shown_from = time.monotonic() + SHORT_PLAN_SECONDS
    try:
        while True:
            found = await _read(hub, replay_id)
            if name_of(replay_pb2.ReplayState, found.state) != "PLANNING":
                return found
            total, done = found.event_count, found.planned_event_count
            told = f"{found.item_count} items" if total else "looking for events"
            if time.monotonic() >= shown_from:
                show.update(done, total, f"PLANNING: {told}")
            await asyncio.sleep(LOOK_SECONDS)
    finally:
        show.end()


async def _read(hub: HubClient, replay_id: str) -> replay_pb2.Replay:
    return (await hub.replays.GetReplay(replay_service_pb2.GetReplayRequest(id=replay_id))).replay


async def follow(hub: HubClient, replay_id: str, as_json: bool) -> replay_pb2.Replay:
    """Return the replay once nothing of it waits or is under way, or nobody runs it.

    as_json: only a terminal is told meanwhile. Ctrl-C ends the watching, never the replay.
    """
    await follow_plan(hub, replay_id, as_json)
    show = _shown(as_json, "replay")
    try:
        while True:
            found = await _read(hub, replay_id)
            counts = {
                name_of(replay_pb2.ReplayOutcome, each.outcome): each.count
                for each in found.outcomes
            }
            state = name_of(replay_pb2.ReplayState, found.state)
            under_way = sum(counts.get(name, 0) for name in OPEN)
            show.update(found.item_count - under_way, found.item_count, words(state, counts))
            waits = state == "RUNNING" or (state in ENDED and counts.get("UNDER_WAY", 0) > 0)
            if not waits:
                return found
            await asyncio.sleep(LOOK_SECONDS)
    finally:
        show.end()


def words(state: str, counts: dict[str, int]) -> str:
    """Where a replay is: "RUNNING: 3 posted, 1 under way"."""
    told = [f"{count} {name.lower().replace('_', ' ')}" for name, count in counts.items() if count]
    return f"{state}: {', '.join(told)}" if told else state


class _Bar:
    """A bar of rich, on standard error, so that a result may be piped."""

    def __init__(self, what: str) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._progress.add_task(what, total=None)

    def update(self, settled: int, total: int, text: str) -> None:
        self._progress.start()
        # Without a total the bar only says that something goes on.
        self._progress.update(self._task, completed=settled, total=total or None, description=text)

    def end(self) -> None:
        self._progress.stop()


class _Line:
    """One line now and then, where nobody looks at a terminal."""

    def __init__(self, quiet: bool, verb: str) -> None:
        self._line = ProgressLine(quiet=quiet)
        self._verb = verb

    def update(self, settled: int, total: int, text: str) -> None:
        self._line.show(f"{settled} of {total} {self._verb}; {text}")

    def end(self) -> None:
        self._line.end()


def _shown(as_json: bool, what: str) -> _Bar | _Line:
    # Without JSON a piped standard output gets lines, for a log; JSON has to stay alone there.
    if sys.stderr.isatty() and (as_json or sys.stdout.isatty()):
        return _Bar(what)
    return _Line(as_json, "events planned" if what == "plan" else "settled")
