"""What hubs of one database tell each other of a commit, and what becomes of what they hear."""

from __future__ import annotations

from pathlib import Path

from crossdock_hub.committer import Committed, Committer
from crossdock_hub.config import Limits
from crossdock_hub.delivery.dispatching import Picker
from crossdock_hub.delivery.rerouting import Rerouter
from crossdock_hub.leading.news import KEYS_MAX, News, decode, encode
from crossdock_hub.unit import Changes
from databases import open_store
from decisions import CONTRACT
from fixtures_nats import eventually
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
        unrouted=flags,
        sweep=flags,
        due_at=st.none() | st.integers(0, 2**62),
        awaited=words,
        satisfied=words,
    )
)
def test_news_arrive_as_they_were_told(news: News) -> None:
    """Proves that news are read as they were written, whatever they hold."""
    assert decode(encode(news)) == news


@given(st.binary(max_size=64) | st.sampled_from([b"{}", b"[]", b'{"hub": 1}', b"null"]))
def test_what_is_no_news_is_not_heard(payload: bytes) -> None:
    """Proves that nobody else's message on the subject disturbs a hub."""
    assert decode(payload) is None


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
    assert (news.work, news.unrouted, news.due_at) == (True, True, 50)
    assert (news.satisfied, news.sweep, news.events) == ({"parcel:ups/1Z"}, False, False)
    news.add(Committed(0, Changes(satisfied=[f"order:{n}" for n in range(KEYS_MAX)])))
    assert (news.satisfied, news.sweep) == (set(), True)


async def test_unrouted_work_of_another_hub_is_looked_at_once_for_all(tmp_path: Path) -> None:
    """Proves that work which another hub left unrouted is looked for soon, once for however many
    times that was told."""
    limits = Limits(held_sweep_seconds=0.05)
    store = await open_store(tmp_path)
    committer = Committer(store, CONTRACT, limits, Picker(limits))
    looks: list[str] = []

    class Watched(Rerouter):
        async def _page(self, after: str) -> list[tuple[str, str]]:
            looks.append(after)
            return []

    rerouter = Watched(store, committer, limits)
    rerouter.start()
    try:
        await eventually(lambda: len(looks) == 1, "the first look")
        for _ in range(50):
            rerouter.look_later()
        await eventually(lambda: len(looks) == 2, "a later look")
        rerouter.look_later()
        await eventually(lambda: len(looks) == 3, "the next one")
    finally:
        await rerouter.stop()
        await store.close()
