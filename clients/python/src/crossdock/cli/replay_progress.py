"""Watches a replay until it has settled: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import asyncio
import sys
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from crossdock.cli.names import name_of
from crossdock.cli.progress import ProgressLine
from crossdock.client import HubClient
from crossdock.replay.v1 import replay_pb2, replay_service_pb2

LOOK_SECONDS: Final = 0.5
ENDED: Final = frozenset({"DONE", "ABORTED", "EXPIRED", "PLANNED"})
OPEN: Final = frozenset({"WAITING", "UNDER_WAY"})


async def follow(hub: HubClient, replay_id: str, quiet: bool) -> replay_pb2.Replay:
    """Return the replay once nothing of it waits or is under way, or nobody runs it.

    quiet: say nothing meanwhile. Ctrl-C ends the watching, never the replay.
    """
    show = _shown(quiet)
    try:
        while True:
            request = replay_service_pb2.GetReplayRequest(id=replay_id)
            found = (await hub.replays.GetReplay(request)).replay
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

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._progress.add_task("replay", total=None)
        self._progress.start()

    def update(self, settled: int, total: int, text: str) -> None:
        self._progress.update(self._task, completed=settled, total=total, description=text)

    def end(self) -> None:
        self._progress.stop()


class _Line:
    """One line now and then, where nobody looks at a terminal."""

    def __init__(self, quiet: bool) -> None:
        self._line = ProgressLine(quiet=quiet)

    def update(self, settled: int, total: int, text: str) -> None:
        self._line.show(f"{settled} of {total} settled; {text}")

    def end(self) -> None:
        self._line.end()


def _shown(quiet: bool) -> _Bar | _Line:
    return _Bar() if sys.stderr.isatty() and sys.stdout.isatty() and not quiet else _Line(quiet)
