"""A word on many deliveries: which they are, and what becomes of the rest when one is refused."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from crossdock.cli import app, many_words
from crossdock.cli.letter_groups import Waiting, waiting_of
from crossdock.cli.problems import EXIT_USED_WRONGLY, CommandError
from crossdock.dead_letter.v1 import dead_letter_pb2, dead_letter_service_pb2
from crossdock.delivery.v1 import delivery_operations_service_pb2
from crossdock.errors import NoAnswerError, PreconditionError, Refusal
from grpc import StatusCode
from typer.testing import CliRunner

GROUP = "a" * 32
STOPPED = dead_letter_pb2.DEAD_LETTER_STANDING_STOPPED
UNDER_WAY = dead_letter_pb2.DEAD_LETTER_STANDING_UNDER_WAY
SETTLED = dead_letter_pb2.DEAD_LETTER_STANDING_SETTLED
NOWHERE: Any = None


async def skipped(_hub: Any, delivery_id: str) -> Any:
    """What the hub says to a skip: every third one is refused."""
    if int(delivery_id) % 3 == 0:
        refusal = Refusal("STATE_TRANSITION", f"{delivery_id} is CONFIRMED", {})
        raise PreconditionError(refusal, StatusCode.FAILED_PRECONDITION)
    answer = delivery_operations_service_pb2.SkipDeliveryResponse()
    answer.delivery.id = delivery_id
    return answer


@pytest.fixture(autouse=True)
def no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command finds a hub that only what it is given speaks with."""

    @asynccontextmanager
    async def open_hub(_place: Any) -> AsyncIterator[Any]:
        yield SimpleNamespace()

    monkeypatch.setattr(many_words, "open_hub", open_hub)


@pytest.mark.parametrize("as_json", [True, False])
async def test_of_a_group_a_refused_one_keeps_back_no_other(
    as_json: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """Proves that every delivery of a group is said the word, that refused ones are told with their
    reason and counted, only so many of them, and that JSON stands alone on standard output."""
    count = 3 * (many_words.REFUSALS_SHOWN_MAX + 5)
    found = Waiting(GROUP, [str(n) for n in range(1, count + 1)], count + 7)
    refused = await many_words._to_group(NOWHERE, "skip", found, skipped, as_json)
    assert refused == count // 3
    told = capsys.readouterr()
    assert "3 is refused: 3 is CONFIRMED" in told.err
    assert told.err.count("is refused") == many_words.REFUSALS_SHOWN_MAX
    if as_json:
        answers = json.loads(told.out)
        taken = [str(n) for n in range(1, count + 1) if n % 3]
        assert [answer["delivery"]["id"] for answer in answers] == taken
    else:
        left = count + 7 - (count - refused)
        assert f"skip: {count - refused} taken, {refused} refused, {left} still wait" in told.out


async def test_what_is_no_refusal_ends_it_with_what_was_said(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Proves that a hub which answers no more is not asked for each of the rest, and that what was
    said until then is told."""
    asked = []

    async def say(hub: Any, delivery_id: str) -> Any:
        asked.append(delivery_id)
        if delivery_id == "2":
            raise NoAnswerError(Refusal("", "gone", {}), StatusCode.UNAVAILABLE)
        return await skipped(hub, delivery_id)

    found = Waiting(GROUP, ["1", "2", "4", "5"], 4)
    with pytest.raises(NoAnswerError):
        await many_words._to_group(NOWHERE, "skip", found, say, False)
    assert asked == ["1", "2"]
    assert "skip: 1 taken, 0 refused, 3 still wait" in capsys.readouterr().out


class Letters:
    """A group whose letters come in pages of two: it counts how many were asked for."""

    def __init__(self, *standings: Any) -> None:
        self.standings = standings
        self.asked = 0

    async def __call__(self, request: Any) -> Any:
        self.asked += 1
        start = int(request.page_token or 0)
        answer = dead_letter_service_pb2.GetDeadLettersResponse()
        opened = [standing for standing in self.standings if standing != SETTLED]
        answer.group.open_count = len(opened)
        answer.group.under_way_count = opened.count(UNDER_WAY)
        for number, standing in enumerate(self.standings[start : start + 2], start):
            member = answer.members.add(standing=standing, open=standing != SETTLED)
            member.delivery.id = str(number)
        if start + 2 < len(self.standings):
            answer.next_page_token = str(start + 2)
        return answer


def a_hub(letters: Letters) -> Any:
    return SimpleNamespace(dead_letters=SimpleNamespace(GetDeadLetters=letters))


async def test_only_what_waits_is_said_a_word() -> None:
    """Proves that what goes again is left alone, that nothing is read behind the first settled
    letter, and that a limit takes the newest and tells how many there are."""
    letters = Letters(STOPPED, UNDER_WAY, STOPPED, STOPPED, SETTLED, SETTLED, SETTLED, SETTLED)
    found = await waiting_of(a_hub(letters), GROUP, "", 100)
    assert (found.ids, found.total, letters.asked) == (["0", "2", "3"], 3, 3)
    found = await waiting_of(a_hub(letters), GROUP, "", 2)
    assert (found.ids, found.total) == (["0", "2"], 3)
    with pytest.raises(CommandError) as nothing:
        await waiting_of(a_hub(Letters(UNDER_WAY, SETTLED)), GROUP, "", 100)
    assert nothing.value.next_step == f"crossdock dead-letters show {GROUP}"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("delivery skip --reason x --yes", "either ids of deliveries or --group"),
        (f"delivery retry 1 --group {GROUP} --reason x --yes", "either ids of deliveries or"),
        (
            f"delivery retry --group {GROUP} --not-found-at-vendor --reason x --yes",
            "looked for, one by one",
        ),
    ],
)
def test_it_has_to_be_said_which(words: str, says: str) -> None:
    """Proves that a word for nothing, for two choices at once, and a look at the vendor that nobody
    takes for a whole group are refused before anything is asked, with what to type."""
    done = CliRunner().invoke(app, words.split())
    assert isinstance(done.exception, CommandError), done.output
    assert done.exception.exit_code == EXIT_USED_WRONGLY
    assert says in str(done.exception) and "crossdock delivery" in done.exception.next_step
