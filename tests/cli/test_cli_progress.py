"""Long commands show how far they are: on a terminal, and never among JSON."""

from __future__ import annotations

import asyncio
import io
import os
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from crossdock.cli import (
    deliveries,
    letter_groups,
    posted,
    posted_twice,
    progress,
    replay,
    replay_progress,
)
from crossdock.cli.problems import CommandError
from crossdock.cli.progress import ProgressLine, bar
from crossdock.dead_letter.v1 import dead_letter_pb2, dead_letter_service_pb2
from crossdock.delivery.v1 import delivery_service_pb2
from crossdock.lineage.v1 import lineage_service_pb2
from crossdock.replay.v1 import replay_service_pb2
from terminal import Terminal

PAGES = 3


class Stream(io.StringIO):
    """What is written, to a terminal or not."""

    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], Stream]:
    """Makes standard error a terminal or not; every change is drawn."""
    monkeypatch.setattr(progress, "REDRAW_SECONDS", 0.0)

    def make(terminal: bool) -> Stream:
        stream = Stream(terminal)
        monkeypatch.setattr("sys.stderr", stream)
        return stream

    return make


@pytest.mark.parametrize(
    ("quiet", "terminal", "is_shown"),
    [(False, True, True), (True, True, False), (False, False, False)],
)
def test_beside_a_result_only_a_terminal_is_told(
    screen: Callable[[bool], Stream], quiet: bool, terminal: bool, is_shown: bool
) -> None:
    """Proves that progress beside a result is drawn on a terminal and taken away at the end, and
    that neither a quiet command nor a file gets a byte of it."""
    stream = screen(terminal)
    line = ProgressLine(quiet, beside_result=True)
    line.show(bar(0.5))
    assert ("[############............]  50%" in stream.getvalue()) is is_shown
    line.end()
    assert stream.getvalue().endswith("\x1b[2K") is is_shown


def test_a_bar_stays_within_its_bounds() -> None:
    """Proves that a share that was estimated too high or too low is drawn as all or nothing."""
    assert (bar(7.0), bar(-1.0)) == (f"[{'#' * 24}] 100%", f"[{'.' * 24}]   0%")


class Pages:
    """A hub that answers any list in three pages of one entry each."""

    def __init__(self, response_type: Any, field: str) -> None:
        self._response_type, self._field = response_type, field
        self.asked = 0

    async def __call__(self, request: Any) -> Any:
        self.asked += 1
        number = int(request.page_token or 0) + 1
        answer = self._response_type(next_page_token=str(number) if number < PAGES else "")
        getattr(answer, self._field).add()
        return answer


async def read_deliveries(monkeypatch: pytest.MonkeyPatch) -> int:
    pages = Pages(delivery_service_pb2.ListDeliveriesResponse, "deliveries")
    opened(monkeypatch, deliveries, deliveries=SimpleNamespace(ListDeliveries=pages))
    place: Any = None
    request = delivery_service_pb2.ListDeliveriesRequest()
    await deliveries._deliveries(place, request, 100, as_json=True)
    return pages.asked


async def read_items(monkeypatch: pytest.MonkeyPatch, items: int = PAGES) -> int:
    async def get(_request: Any) -> Any:
        answer = replay_service_pb2.GetReplayResponse()
        answer.replay.item_count = items
        return answer

    pages = Pages(replay_service_pb2.ListReplayItemsResponse, "items")
    opened(monkeypatch, replay, replays=SimpleNamespace(ListReplayItems=pages, GetReplay=get))
    place: Any = None
    request = replay_service_pb2.ListReplayItemsRequest()
    return len((await replay._read(place, request, 100))[1])


async def read_postings(monkeypatch: pytest.MonkeyPatch) -> int:
    pages = Pages(lineage_service_pb2.ListDoubtfulPostingsResponse, "postings")
    opened(monkeypatch, posted_twice, lineage=SimpleNamespace(ListDoubtfulPostings=pages))
    place: Any = None
    request = lineage_service_pb2.ListDoubtfulPostingsRequest()
    return len((await posted_twice._read(place, request, 100)).postings)


async def read_posted(monkeypatch: pytest.MonkeyPatch) -> int:
    pages = Pages(lineage_service_pb2.ListPostingsResponse, "postings")
    opened(monkeypatch, posted, lineage=SimpleNamespace(ListPostings=pages))
    place: Any = None
    return len((await posted._read(place, "SO-1", "")).postings)


async def read_groups(_monkeypatch: pytest.MonkeyPatch) -> int:
    pages = Pages(dead_letter_service_pb2.ListDeadLettersResponse, "groups")
    hub = SimpleNamespace(dead_letters=SimpleNamespace(ListDeadLetters=pages))
    with pytest.raises(CommandError, match="no group begins with"):
        await letter_groups.full_id(hub, "abc")
    return pages.asked


async def read_letters(_monkeypatch: pytest.MonkeyPatch) -> int:
    pages = Pages(dead_letter_service_pb2.GetDeadLettersResponse, "members")

    async def waiting(request: Any) -> Any:
        answer = await pages(request)
        answer.group.open_count = PAGES
        answer.members[0].open = True
        answer.members[0].standing = dead_letter_pb2.DEAD_LETTER_STANDING_STOPPED
        answer.members[0].delivery.id = "d"
        return answer

    hub = SimpleNamespace(dead_letters=SimpleNamespace(GetDeadLetters=waiting))
    return len((await letter_groups.waiting_of(hub, "a" * 32, "", 100)).ids)


def opened(monkeypatch: pytest.MonkeyPatch, module: Any, **services: Any) -> None:
    @asynccontextmanager
    async def open_hub(_place: Any) -> AsyncIterator[Any]:
        yield SimpleNamespace(**services)

    monkeypatch.setattr(module, "open_hub", open_hub)


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize(
    ("read", "shown"),
    [
        (read_deliveries, "2 deliveries read"),
        (read_items, "67% 2 items read"),
        (read_postings, "deliveries looked at"),
        (read_posted, "2 operations read"),
        (read_groups, "2 groups looked at"),
        (read_letters, "67% 2 letters read"),
    ],
)
async def test_lists_of_many_pages_show_how_far_they_are(
    monkeypatch: pytest.MonkeyPatch,
    screen: Callable[[bool], Stream],
    read: Any,
    shown: str,
    terminal: bool,
) -> None:
    """Proves that each list that goes on over many pages is read whole and says on a terminal how
    far it is, also where its result is JSON, and that standard error elsewhere gets nothing."""
    stream = screen(terminal)
    assert await read(monkeypatch) == PAGES
    assert (shown in stream.getvalue()) is terminal
    if not terminal:
        assert stream.getvalue() == ""


@pytest.mark.parametrize(
    ("out", "error", "as_json", "told"),
    [
        (True, True, False, "a bar"),
        (True, True, True, "a bar"),
        (False, True, True, "a bar"),
        (False, True, False, "lines"),
        (False, False, False, "lines"),
        (False, False, True, "nothing"),
        (True, False, True, "nothing"),
    ],
)
def test_a_replay_is_followed_where_somebody_looks(
    monkeypatch: pytest.MonkeyPatch,
    screen: Callable[[bool], Stream],
    out: bool,
    error: bool,
    as_json: bool,
    told: str,
) -> None:
    """Proves that following shows its bar on a terminal, also while JSON goes to a file, that a
    pipe gets lines, and that nothing comes between a program and its JSON."""
    errors, output = screen(error), Stream(out)
    monkeypatch.setattr("sys.stdout", output)
    monkeypatch.setenv("TERM", "xterm-256color")
    show = replay_progress._shown(as_json, "replay")
    show.update(1, 2, "RUNNING")
    show.end()
    assert isinstance(show, replay_progress._Bar) is (told == "a bar")
    assert ("1 of 2 settled" in output.getvalue()) is (told == "lines")
    assert bool(errors.getvalue()) is (told == "a bar")


async def test_items_are_read_of_a_plan_that_had_none_yet(
    monkeypatch: pytest.MonkeyPatch, screen: Callable[[bool], Stream]
) -> None:
    """Proves that the items of a replay are read whole, and the bar is full, where the hub has
    planned its first ones between the question for the replay and that for the items."""
    stream = screen(True)
    assert await read_items(monkeypatch, items=0) == PAGES
    assert "100% 2 items read" in stream.getvalue()


async def test_a_vacuum_shows_what_it_does(tmp_path: Path) -> None:
    """Proves, on a real terminal, that a vacuum says what it does while it lasts, and that its
    result is all that stays."""
    with closing(sqlite3.connect(tmp_path / "crossdock.db")) as database:
        database.execute("CREATE TABLE thing (body BLOB)")
        database.commit()
    environment = os.environ | {
        "CROSSDOCK_DATA_DIRECTORY": str(tmp_path),
        "CROSSDOCK_DATABASE_URL": "",
    }
    async with asyncio.timeout(120), Terminal(environment, "hub", "vacuum") as terminal:
        await terminal.shows("gathering what is left")
        assert await terminal.ends() == 0
        assert "bytes_after" in terminal.read()
    last = terminal.raw.rpartition("\x1b[2K")[2]
    assert last.lstrip().startswith("{"), last
