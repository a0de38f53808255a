"""The GLS adapter at the end of a day: what is told, what holds up no other day, what is named."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from crossdock_adapters.gls import adapter
from crossdock_adapters.sdk.http import Answer
from crossdock_adapters.sdk.outcomes import NeedsPerson, OutcomeUnknown, Reject
from gls_world import World, running


async def test_the_day_is_closed_once() -> None:
    """Proves that the end of the day is told after its hour, once a day, and never where no hour
    is set."""
    async with running(end_of_day_time="00:00") as world:
        for _ in range(3):
            await adapter.end_of_day(world.poll("end_of_day"), world.client)
        days = world.sandbox.books()["closed_days"]
        assert days == [world.cursor.decode()]
        assert abs(datetime.now(UTC).date() - datetime.fromisoformat(days[0]).date()).days <= 1
        assert sum(call.operation == "end_of_day" for call in world.sandbox.calls) == 1
    async with running(end_of_day_time="") as world:
        await adapter.end_of_day(world.poll("end_of_day"), world.client)
        assert not world.sandbox.calls


def test_days_are_closed_from_the_last_one_on() -> None:
    """Proves that the last day that was closed is told again with all days since, seven at most."""
    due = date(2026, 3, 10)
    assert adapter.days_to_close("", due) == [due]
    told = adapter.days_to_close("2026-03-08", due)
    assert [day.day for day in told] == [8, 9, 10]
    assert len(adapter.days_to_close("2026-01-01", due)) == 7


class DayBook:
    """A GLS that says to some days what it is told to say, and a hub's place between the rounds."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        self.world = world
        self.says: dict[str, Exception] = {}
        self.asked: list[str] = []
        self._told = world.client.end_of_day
        self.alerts = world.poll().alerts
        monkeypatch.setattr(world.client, "end_of_day", self._close)

    async def _close(self, day: str) -> None:
        self.asked.append(day)
        if day in self.says:
            raise self.says[day]
        await self._told(day)

    async def round(self) -> list[str]:
        """The days that one round tells."""
        self.asked.clear()
        poll = self.world.poll("end_of_day")
        poll.alerts = self.alerts
        await adapter.end_of_day(poll, self.world.client)
        return list(self.asked)


def day_before(world: World, days: int) -> str:
    return (adapter._now(world.settings).date() - timedelta(days=days)).isoformat()


@pytest.mark.parametrize("told", [Reject("400", "it is over"), NeedsPerson("it is over")])
async def test_a_day_that_gls_refuses_holds_up_no_other(
    told: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that behind a day which GLS does not close the later ones are told and the place goes
    on, that an alert names the day, and that both last until GLS closes that very day, whatever
    becomes of others."""
    async with running(end_of_day_time="00:00") as world:
        today, refused = day_before(world, 0), day_before(world, 3)
        book = DayBook(world, monkeypatch)
        book.says[refused] = told
        world.cursor = day_before(world, 4).encode()
        assert await book.round() == [day_before(world, days) for days in (4, 3, 2, 1, 0)]
        assert refused in book.alerts.told() and "it is over" in book.alerts.told()
        assert await book.round() == []
        _, _, owed = world.cursor.decode().partition(",")
        assert world.cursor.decode().startswith(today) and owed == refused
        # The next day, of which yesterday is the last that was told.
        world.cursor = f"{day_before(world, 1)},{owed}".encode()
        assert await book.round() == [refused, day_before(world, 1), today]
        assert refused in book.alerts.told()
        del book.says[refused]
        world.cursor = f"{day_before(world, 1)},{owed}".encode()
        assert await book.round() == [refused, day_before(world, 1), today]
        assert book.alerts.told() == "" and world.cursor.decode() == today


async def test_a_day_without_an_answer_holds_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proves that behind a day of which nobody says what became of it the later ones are told, that
    an alert names it, and that the place goes on only once it has an answer; and that today's own
    lost answer is a failure of the round."""
    async with running(end_of_day_time="00:00") as world:
        today, silent = day_before(world, 0), day_before(world, 1)
        book = DayBook(world, monkeypatch)
        book.says[silent] = OutcomeUnknown("HTTP 500")
        world.cursor = silent.encode()
        for _ in range(2):
            assert await book.round() == [silent, today]
            assert today in world.sandbox.books()["closed_days"]
            assert silent in book.alerts.told() and world.cursor.decode().startswith(silent)
        book.says = {today: OutcomeUnknown("no answer")}
        with pytest.raises(OutcomeUnknown, match="no answer"):
            await book.round()
        assert book.alerts.told() == "" and world.cursor.decode() == silent
        book.says.clear()
        await book.round()
        assert world.cursor.decode() == today


async def answered(world: World, monkeypatch: pytest.MonkeyPatch, body: bytes) -> None:
    """Tells GLS a day, which it answers with 409 and this."""

    async def posted(*_: Any, **__: Any) -> Answer:
        return Answer(409, {}, body)

    with monkeypatch.context() as patched:
        patched.setattr(world.client._http, "post", posted)
        await world.client.end_of_day("2026-03-08")


async def test_a_day_that_is_closed_already_is_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proves that GLS's 409 is an answer about its day: for one that was told before it says that
    all is well, for another one it is a refusal; and that of something in between it is none."""
    async with running(end_of_day_time="00:00") as world:
        with pytest.raises(OutcomeUnknown):
            await answered(world, monkeypatch, b"<html>busy</html>")
        problem = b'{"title": "Conflict", "detail": "the day is closed"}'
        with pytest.raises(Reject, match="the day is closed") as said:
            await answered(world, monkeypatch, problem)
        today, before = day_before(world, 0), day_before(world, 1)
        book = DayBook(world, monkeypatch)
        book.says = {before: said.value}
        world.cursor = before.encode()
        await book.round()
        assert book.alerts.told() == "" and world.cursor.decode() == today
        world.cursor = day_before(world, 2).encode()
        await book.round()
        assert before in book.alerts.told() and world.cursor.decode() == f"{today},{before}"
