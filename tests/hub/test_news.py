"""What hubs of one database tell each other of a commit, and what becomes of what they hear."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from crossdock_hub.committer import Committed
from crossdock_hub.leading.news import (
    KEYS_MAX,
    PACKAGES_MAX,
    UNROUTED_MAX,
    News,
    decode,
    encode,
)
from crossdock_hub.unit import Changes, Key
from hypothesis import given
from hypothesis import strategies as st
from ledger_vendor import Desk

flags = st.booleans()
words = st.sets(st.text(max_size=8), max_size=5)


@given(
    st.builds(
        News,
        hub=st.text(max_size=8),
        events=flags,
        scans=flags,
        work=flags,
        endpoints=flags,
        sweep=flags,
        due_at=st.none() | st.integers(0, 2**62),
        awaited=words,
        satisfied=words,
        unrouted=words,
        deliveries=words,
        deliveries_untold=st.integers(0, 9),
        packages=words,
        packages_untold=flags,
    )
)
def test_news_arrive_as_they_were_told(news: News) -> None:
    """Proves that news are read as they were written, whatever they hold."""
    assert decode(encode(news)) == news


NO_NEWS = (
    b"{}",
    b"[]",
    b"null",
    b'"hub"',
    b'{"hub": 1}',
    b'{"events": true}',
    b'{"hub": "a", "due_at": "soon"}',
    b'{"hub": "a", "due_at": Infinity}',
    b'{"hub": "a", "awaited": 7}',
)


@given(st.binary(max_size=64) | st.sampled_from(NO_NEWS))
def test_what_is_no_news_is_not_heard(payload: bytes) -> None:
    """Proves that nobody else's message on the subject disturbs a hub."""
    assert decode(payload) is None


@pytest.mark.parametrize("untold", sorted(json.loads(encode(News())).keys() - {"hub"}))
def test_hubs_of_two_patch_releases_understand_each_other(untold: str) -> None:
    """Proves that a hub which does not know a field yet is heard in all that it tells, and so is
    one that tells a field which this one does not know: no news were heard between them."""
    news = News("there", due_at=70, deliveries={"d-1"}, packages={"p-1"}, packages_untold=True)
    told = json.loads(encode(news))
    del told[untold]
    heard = decode(json.dumps(told | {"of_a_later_release": [1]}).encode())
    assert heard == replace(news, **{untold: getattr(News(), untold)})


def test_what_is_told_of_a_batch() -> None:
    """Proves that work, its earliest timer and what nobody serves are told, that keys of held facts
    are, and that a sweep is asked for where there are too many of them."""
    desk = Desk()
    records = [desk.one(), desk.one()]
    records[0].due_at, records[1].due_at = 70, 50
    records[1].state = "UNROUTED"
    changes = Changes(records={("delivery", each.id): each for each in records})
    changes.satisfied += ["parcel:ups/1Z"]
    news = News("here")
    news.add(Committed(0, Changes()))
    assert not news.is_any
    news.add(Committed(0, changes))
    assert (news.work, news.unrouted, news.due_at) == (True, {records[1].root_id}, 50)
    assert (news.satisfied, news.sweep, news.events) == ({"parcel:ups/1Z"}, False, False)
    news.add(Committed(0, Changes(satisfied=[f"order:{n}" for n in range(KEYS_MAX)])))
    assert (news.satisfied, news.sweep) == (set(), True)


def test_flows_are_named_as_far_as_there_is_room() -> None:
    """Proves that no message names more flows with unrouted work than it has room for."""
    unserved: dict[Key, Any] = {}
    for number in range(UNROUTED_MAX + 5):
        record = Desk().one()
        record.id = record.root_id = f"flow-{number}"
        record.state = "UNROUTED"
        unserved["delivery", record.id] = record
    news = News("here")
    news.add(Committed(0, Changes(records=unserved)))
    assert len(news.unrouted) == UNROUTED_MAX
    assert news.unrouted <= {record.root_id for record in unserved.values()}


def test_packages_are_named_as_far_as_there_is_room() -> None:
    """Proves that who waits for a label at another hub is told by package, and that it is said
    where there are more of them than a message has room for."""
    work: dict[Key, Any] = {}
    for number in range(PACKAGES_MAX):
        record = Desk().one()
        record.id, record.item = f"delivery-{number}", f"package-{number}"
        work["delivery", record.id] = record
    batch = Committed(0, Changes(records=dict(work)))
    news = News("here")
    for _ in range(2):
        news.add(batch)
    assert len(news.packages) == PACKAGES_MAX
    assert not news.packages_untold
    record.item = "package-too-many"
    news.add(Committed(0, Changes(records={("delivery", record.id): record})))
    assert len(news.packages) == PACKAGES_MAX
    assert news.packages_untold
