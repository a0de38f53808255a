"""How fast a replay hands work over: its rate is a limit, and no flow is torn for it."""

from __future__ import annotations

from crossdock_hub.config import SECOND
from crossdock_hub.replay.pace import Pace
from hypothesis import given
from hypothesis import strategies as st

NOW = 1_750_000_000 * SECOND


@given(st.integers(1, 50), st.lists(st.tuples(st.integers(0, 2 * SECOND), st.integers(1, 60))))
def test_no_second_has_more_than_the_rate(rate: int, asks: list[tuple[int, int]]) -> None:
    """Proves by counting that however a run asks, no second sees more items than its rate."""
    pace, now, gone = Pace(rate), NOW, []
    for pause, count in asks:
        now += pause
        room = pace.room(now)
        count = min(count, room)
        if count > 0:
            pace.take(now, count)
            gone.append((now, count))
    for at, _ in gone:
        assert sum(count for when, count in gone if at <= when < at + SECOND) <= rate


def test_a_flow_larger_than_the_rate_is_paid_for_in_time() -> None:
    """Proves that what goes together and exceeds the rate keeps the next waiting for its worth."""
    pace = Pace(10)
    pace.take(NOW, 35)
    assert pace.room(NOW + 3 * SECOND) < 0
    assert pace.room(NOW + 35 * SECOND // 10) == 10
