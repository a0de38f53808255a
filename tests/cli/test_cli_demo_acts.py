"""The proofs about poison and the long day hold on books that agree, and fail on doctored ones; an
outage lasts until it can prove something."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest
from crossdock.cli.demo import acts, day, day_proofs, poison_proofs
from crossdock.cli.demo.books import Call, ErpBooks
from crossdock.cli.demo.day_proofs import Day, Waited
from crossdock.cli.demo.poison_proofs import DeadGroup, Mended, Pace
from crossdock.cli.demo.stage import Stage
from crossdock.cli.demo.views import DeliveryView, HubView
from crossdock_hub.config import Limits

T0 = datetime(2026, 1, 5, 20, 0, tzinfo=UTC)
PARKED = DeadGroup("a", "PARKED", "OPEN", "netsuite", "no unit", 1, ("d1",), frozenset({"o1"}))
REFUSED = DeadGroup("b", "REJECTED", "OPEN", "netsuite", "400", 1, ("d2",), frozenset({"o2"}))
PAYLOAD = DeadGroup("c", "HELD_PAYLOAD", "OPEN", "ups", "half", 1, ("f1",), frozenset())
STOPPED = (PARKED, REFUSED, PAYLOAD)
CLOSED = (replace(PARKED, state="CLOSED"), replace(REFUSED, state="CLOSED"))
DAY = Day(T0, T0 + timedelta(seconds=10), 8_640.0)
WAITED = Waited(7, 23.0, 100, open=True)


def call(key: str, seconds: float, operation: str = "upsert", effect: bool = True) -> Call:
    start = T0 + timedelta(seconds=seconds)
    return Call(operation, f"xd-{key}", start, start + timedelta(seconds=0.1), effect, "")


def books(*ids: str) -> ErpBooks:
    """An ERP that booked these orders once each, as SO-<id>."""
    orders = {i: {"fields": {"tranId": f"SO-{i}"}, "created": T0.isoformat()} for i in ids}
    return ErpBooks(orders, {}, dict.fromkeys(ids, 1), {})


def mended(order_id: str, **changes: Any) -> Mended:
    plain = Mended(order_id, "POSTED_ONCE", "posted once", (f"SO-{order_id}",), ("mapped",))
    return replace(plain, **changes)


NONE_BOOKED, BOTH_BOOKED = books(), books("o1", "o2")


def test_poison_is_parked_by_cause() -> None:
    """Proves that the proof holds when each order stands with its cause, and names each of: a cause
    in two groups, an order that is missing, a webhook that is not there, an ERP that was asked or
    booked all the same."""
    refused_once = [call("o2", 1, effect=False)]

    def found(groups: Any = STOPPED, erp: ErpBooks = NONE_BOOKED, calls: Any = refused_once) -> Any:
        return poison_proofs.parked_by_cause(groups, ["o1"], ["o2"], erp, calls)

    assert found().holds
    for doctored in (
        found((*STOPPED, replace(PARKED, id="d"))),
        found((replace(PARKED, object_ids=frozenset()), REFUSED, PAYLOAD)),
        found((replace(PARKED, reason=""), REFUSED, PAYLOAD)),
        found((PARKED, REFUSED)),
        found(erp=books("o1")),
        found(calls=[*refused_once, call("o1", 1)]),
        found(calls=[*refused_once, call("o2", 2)]),
    ):
        assert not doctored.holds


def test_others_pass() -> None:
    """Proves that a queue behind the poison, or a second call, fails the proof, and noise does
    not."""
    before = Pace(10, 0.2, 0.4, 1)
    assert poison_proofs.others_pass(before, replace(before, median_seconds=1.9)).holds
    assert not poison_proofs.others_pass(before, replace(before, median_seconds=2.5)).holds
    assert not poison_proofs.others_pass(before, replace(before, most_calls=2)).holds


def test_mended_once() -> None:
    """Proves that a group that stays open, a second document, a wrong number and a missing reason
    each fail the proof."""
    sound = [mended("o1"), mended("o2")]

    def found(closed: Any = CLOSED, told: Any = sound, erp: ErpBooks = BOTH_BOOKED) -> Any:
        return poison_proofs.mended_once(STOPPED, closed, told, erp)

    assert found().holds
    twice = replace(books("o1", "o2"), made={"o1": 2, "o2": 1})
    for doctored in (
        found((CLOSED[0], REFUSED)),
        found(CLOSED[:1]),
        found((*CLOSED, PAYLOAD)),
        found(told=[sound[0], mended("o2", verdict="IN_DOUBT")]),
        found(told=[sound[0], mended("o2", numbers=("SO-9",))]),
        found(told=[sound[0], mended("o2", words=())]),
        found(erp=books("o1")),
        found(erp=twice),
    ):
        assert not doctored.holds


def test_a_day_waited() -> None:
    """Proves that a call in the outage, an empty or a young queue, and a breaker that did not open
    each fail the proof, and that it tells the hours of the day, not the seconds here."""
    good = day_proofs.waited_a_day(DAY, WAITED, [call("o1", 11)])
    assert good.holds
    assert "0 calls in 24 hours; 7 deliveries waited, the oldest for 23 hours" in good.sentence
    for waited, calls in (
        (WAITED, [call("o1", 5)]),
        (replace(WAITED, deliveries=0), []),
        (replace(WAITED, oldest_hours=1.0), []),
        (replace(WAITED, open=False), []),
        (replace(WAITED, probes=0), []),
    ):
        assert not day_proofs.waited_a_day(DAY, waited, calls).holds


@pytest.mark.parametrize("state", ["PARKED", "REJECTED", "SKIPPED", "UNROUTED"])
def test_nothing_is_given_up(state: str) -> None:
    """Proves that one delivery that stopped, and one dead letter, fail the proof."""
    fine = DeliveryView("d", "netsuite", "create_sales_order", "CONFIRMED", "o1", "o1", "R")
    view = HubView((), (), (fine,))
    assert day_proofs.nothing_given_up(view, (), {"d": 3}).holds
    stopped = HubView((), (), (replace(fine, state=state),))
    assert not day_proofs.nothing_given_up(stopped, (), {"d": 3}).holds
    assert not day_proofs.nothing_given_up(view, (PARKED,), {"d": 3}).holds


def test_the_scale_is_of_every_pause_that_a_hub_has() -> None:
    """Proves that the limits which are divided exist with these defaults, that each is divided by
    the one scale, and that none falls below what the act says."""
    plain = Limits()
    assert {name: getattr(plain, name) for name in day.WAITS} == dict(day.WAITS)
    scale = day.DayCast(orders=1, seconds=10.0).scale
    assert scale == 8_640.0
    shorter = day.scaled_limits(scale)
    changed = plain.with_changes(shorter)
    assert changed.prerequisite_seconds_default == 10.0
    for name, seconds in day.WAITS.items():
        assert shorter[name] == max(seconds / scale, day.SHORTEST_SECONDS)
    kept = {"lease_seconds_default", "dispatch_seconds", "settle_seconds_default"}
    assert not kept & set(shorter)


class SlowStage:
    """A stage on a busy machine: work comes to the ERP only at the third look."""

    def __init__(self, looks_in_vain: int) -> None:
        self.looks = 0
        self.cleared: list[str] = []
        self.erp = SimpleNamespace(name="netsuite", clear=self._clear)
        self._looks_in_vain = looks_in_vain

    async def queue_depths(self) -> dict[str, int]:
        self.looks += 1
        return {"netsuite": 0 if self.looks <= self._looks_in_vain else 4}

    async def _clear(self, kind: str) -> int:
        self.cleared.append(kind)
        return 1


async def test_an_outage_lasts_until_work_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proves that an outage whose time has passed goes on until something waits for the ERP, that
    it ends all the same where nothing ever does, and that the ERP is brought back both times."""
    monkeypatch.setattr(acts, "POLL_SECONDS", 0.01)
    begin = datetime.now(UTC) - timedelta(seconds=5)
    busy = SlowStage(looks_in_vain=2)
    outage = await acts._outage(cast(Stage, busy), begin, 2.0)
    assert (outage.waited, busy.looks, busy.cleared) == (4, 3, ["down"])
    assert outage.end > begin + timedelta(seconds=4)
    monkeypatch.setattr(acts, "BUSY_SECONDS", 1.0)
    idle = SlowStage(looks_in_vain=1_000)
    outage = await acts._outage(cast(Stage, idle), begin, 2.0)
    assert (outage.waited, idle.looks, idle.cleared) == (0, 1, ["down"])
    assert outage.end < begin + timedelta(seconds=3)
