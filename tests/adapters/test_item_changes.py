"""What an ERP that numbers its changes told newer of an item than one that was held."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from crossdock_adapters.sdk import item_changes
from crossdock_adapters.sdk.item_changes import Change, ItemChanges
from crossdock_adapters.sdk.outcomes import Retry
from hypothesis import example, given
from hypothesis import strategies as st

PAGE = 3
CHANGES = st.lists(st.tuples(st.sampled_from("ABC"), st.booleans()), min_size=1, max_size=30)


class Log:
    """An ERP's changes, numbered from 1, some of which nobody can read."""

    def __init__(self, told: Sequence[tuple[str, bool]]) -> None:
        self.told = list(told)
        self.questions = 0

    async def behind(self, after: int) -> Sequence[Change]:
        self.questions += 1
        page = enumerate(self.told[after : after + PAGE], start=after + 1)
        return [(number, item, can_be_read) for number, (item, can_be_read) in page]


@given(CHANGES, st.lists(st.tuples(st.integers(0, 29), st.sets(st.integers(0, 29))), max_size=8))
@example([("A", False), ("B", True), ("A", False)], [(0, set()), (0, {2})])
async def test_a_newer_one_counts_where_it_can_be_read(
    told: list[tuple[str, bool]], asked: list[tuple[int, set[int]]]
) -> None:
    """Proves of any log, whatever is asked about in which order, and whatever gets its rows between
    two looks, that a held change gives way to a later one of its item that can be read by now, and
    to nothing else."""
    log = Log(told)
    changes = ItemChanges(log.behind)
    for at, have_rows_now in asked:
        log.told = [
            (of, can_be_read or place in have_rows_now)
            for place, (of, can_be_read) in enumerate(log.told)
        ]
        position = at % len(told)
        item = told[position][0]
        behind = enumerate(log.told[position + 1 :], start=position + 2)
        later = {number for number, (of, readable) in behind if of == item and readable}
        assert await changes.newer(item, position + 1) in (later or {0})


async def test_what_was_read_is_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proves that a long log is read in several looks, each of which goes on behind the last one,
    that what was read is kept for the next payload, and that what comes later is seen."""
    monkeypatch.setattr(item_changes, "MAX_PAGES_AT_ONCE", 2)
    log = Log([("A", True), *[("B", True)] * 9])
    changes = ItemChanges(log.behind)
    with pytest.raises(Retry, match="at change 7"):
        await changes.newer("A", 1)
    assert not await changes.newer("A", 1)
    before = log.questions
    assert await changes.newer("B", 2)
    assert log.questions == before + 1
    log.told.append(("A", True))
    assert await changes.newer("A", 1)


async def test_more_items_than_are_remembered_are_not_guessed_about(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Proves that a log of more items than are kept ends in no answer, and never in a wrong one."""
    monkeypatch.setattr(item_changes, "MAX_ITEMS", 2)
    changes = ItemChanges(Log([(each, True) for each in "ABCDEA"]).behind)
    with pytest.raises(Retry, match="more than 2 items changed since A was held"):
        await changes.newer("A", 1)


async def test_more_unread_changes_than_are_asked_about_are_not_guessed_about(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Proves that what stands before a heap of changes that nobody can read waits, with words that
    say for what, and gives way once the newest of them has its row."""
    monkeypatch.setattr(item_changes, "MAX_PAGES_AT_ONCE", 4)
    log = Log([("A", False)] * 10)
    changes = ItemChanges(log.behind)
    assert not await changes.newer("A", 8)
    monkeypatch.setattr(item_changes, "MAX_UNREAD_OF_ITEM", 2)
    with pytest.raises(Retry, match="9 newer changes of A cannot be read"):
        await changes.newer("A", 1)
    log.told[-1] = ("A", True)
    assert await changes.newer("A", 1)
