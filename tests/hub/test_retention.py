"""What an event says goes after its retention, and never while anybody may need it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from crossdock.errors import ConfigurationError
from crossdock_hub.committer import Committer, now_microseconds
from crossdock_hub.config import SECOND, Settings
from crossdock_hub.delivery import ledger
from crossdock_hub.delivery.dispatching import Picker
from crossdock_hub.hub import Hub
from crossdock_hub.records import DeliveryContentRecord, DeliveryRecord, EventRecord
from crossdock_hub.replay.candidates import PAST, candidates
from crossdock_hub.retention import Purger, ages, is_past, with_retention
from crossdock_hub.store import Store
from crossdock_hub.store.event_contents import GONE
from crossdock_hub.store.writing import contents, write
from crossdock_hub.unit import Changes, Key
from databases import open_store
from first_flow import Flow
from relay_parts import CONTRACT, HOT_HOURS, LIMITS, event
from stored_flow import Books, books

__all__ = ["books"]

DAY = 24.0
# Of an approved order: what the contract says, in hours.
KEPT = CONTRACT.events["crossdock.order.v1.OrderApproved"].retention.total_seconds() / 3600
PATIENT = replace(LIMITS, retention_pause_seconds=0.0, retention_slice_events=3)


class House:
    """A store with its committer, and what purges it."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.committer = Committer(store, CONTRACT, LIMITS, Picker(LIMITS))
        self.committer.start([])
        self.now = now_microseconds()
        self.counted = 0
        self.purger = Purger(
            store, self.committer, PATIENT, HOT_HOURS, lambda: self.now, self._count
        )

    def _count(self, count: int) -> None:
        self.counted += count

    async def keep(self, *records: EventRecord, published: bool = True) -> None:
        async with self.store.write() as connection:
            await write(connection, Changes(events=list(records)))
            if published:
                await connection.exec_driver_sql("UPDATE events SET published_at = 1")

    async def emptied(self) -> set[str]:
        async with self.store.read() as connection:
            found = await connection.exec_driver_sql("SELECT id FROM events WHERE length(body) = 0")
            return {row.id for row in found}


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    store = await open_store(tmp_path / "data")
    made = House(store)
    yield made
    await made.committer.stop()
    await store.close()


async def test_old_events_let_their_content_go_and_no_others(house: House) -> None:
    """Proves that of events on the stream those past retention and slack are emptied, whatever
    their number, that younger and unsent ones are not, and that nothing is emptied twice."""
    old = [event(age_hours=KEPT + DAY + 1) for _ in range(10)]
    edge = event(age_hours=KEPT + DAY - 1)
    young = [event() for _ in range(5)]
    await house.keep(*old, edge, *young)
    unsent = event(age_hours=KEPT + 10 * DAY)
    await house.keep(unsent, published=False)
    assert await house.purger.purge() == len(old)
    assert await house.emptied() == {each.id for each in old}
    assert await house.purger.purge() == 0
    assert house.counted == len(old)


async def test_what_no_batch_takes_is_not_counted(house: House) -> None:
    """Proves that events stay, and are not told as gone, where the hub takes no more commands."""
    await house.keep(event(age_hours=KEPT + 2 * DAY))
    await house.committer.stop()
    assert await house.purger.purge() == 0
    assert (house.counted, await house.emptied()) == (0, set())


@pytest.mark.parametrize("state", sorted(ledger.OPEN_STATES | {"UNROUTED", "REJECTED"}))
async def test_what_somebody_may_need_stays(house: House, state: str) -> None:
    """Proves for every state but the three of work that is done that a delivery holds its event,
    and that the event goes once the delivery is done, with what the delivery itself carried."""
    stored = event(age_hours=KEPT + 2 * DAY)
    await house.keep(stored)
    record = DeliveryRecord(
        id="d", event_id=stored.id, event_type=stored.type, endpoint="erp", operation="book",
        item="", ordering_key="k", state=state, created_at=1, updated_at=1, kind=stored.kind,
        object_id=stored.object_id, root_id=stored.root_id, vendor_reference="v",
    )  # fmt: skip
    assert ledger.pins_event(record)
    content = DeliveryContentRecord("d", b"the order as it was resubmitted")
    changed: dict[Key, Any] = {("delivery_content", "d"): content}
    for present, gone in ((record, 0), (replace(record, state="CONFIRMED"), 1)):
        async with house.store.write() as connection:
            await write(connection, Changes(records=changed | {("delivery", "d"): present}))
        changed = {}
        assert await house.purger.purge() == gone
        async with house.store.read() as connection:
            assert len(await contents(connection, ["d"])) == 1 - gone, "its content goes with it"


async def test_an_operator_says_how_long(house: House) -> None:
    """Proves that a retention of the installation is used instead of the contract's, for the type
    that it names only, by the purger and by what a replay makes work of."""
    kind = "crossdock.order.v1.OrderApproved"
    own = with_retention(CONTRACT, {kind: 10.0})
    longest = max(HOT_HOURS, 10 * DAY) + DAY
    old, young = event(age_hours=longest + 1), event(age_hours=longest - 1)
    await house.keep(old, young)
    assert await house.purger.purge() == 0, "the contract keeps both"
    assert CONTRACT.events[kind].retention.days > 10, "it is not changed for others"
    house.store.contract = own
    purger = Purger(house.store, house.committer, PATIENT, HOT_HOURS, lambda: house.now)
    assert await purger.purge() == 1
    assert await house.emptied() == {old.id}
    assert own.events_by_stem["order.approved"].retention.days == 10
    others = {name for name in CONTRACT.events if own.events[name] != CONTRACT.events[name]}
    assert others == {kind}


@pytest.mark.parametrize(
    ("days", "told"),
    [
        ({"crossdock.order.v1.OrderAproved": 10.0}, "no event crossdock.order.v1.OrderAproved"),
        ({"crossdock.order.v1.OrderApproved": 0.0}, "must be above 0"),
        ({"crossdock.order.v1.OrderApproved": 1e9}, "at most 36,500 days"),
        ({"crossdock.order.v1.OrderApproved": float("nan")}, "must be above 0"),
    ],
)
def test_an_impossible_retention_stops_the_start(days: dict[str, float], told: str) -> None:
    """Proves that a mistyped event or time is told by name before anything is started."""
    with pytest.raises(ConfigurationError, match=told):
        Hub(Settings(retention_days=days))


def test_no_event_goes_before_the_stream_lets_it_go() -> None:
    """Proves that a hot window longer than the retention is waited for, and the slack always."""
    hours = KEPT * 2
    for kind, age in ages(CONTRACT, hours, LIMITS).items():
        assert age >= (hours + DAY) * 3600 * SECOND, kind


async def test_no_work_is_made_of_what_is_past(books: Books) -> None:
    """Proves that a replay says of an event past its retention that it is, and posts nothing of it,
    a day before its content goes; and of one whose content has gone, whatever is kept today."""
    flow = Flow()
    flow.released()
    (approved,) = (e for e in flow.events if e.type.endswith("OrderApproved"))
    (endpoint,) = (each for each in flow.endpoints if each.id == "netsuite")
    assert all(c.planned for c in candidates(CONTRACT, approved, endpoint, [], flow.now))
    later = approved.record_time + int(KEPT * 3600 * SECOND)
    assert is_past(KEPT * 3600, approved.record_time, later)
    found = candidates(CONTRACT, approved, endpoint, flow.deliveries(), later)
    assert found
    assert [(c.planned, c.why_not) for c in found] == [(None, PAST)] * len(found)
    # Emptied by a retention that has been made longer since.
    empty = replace(approved, body=GONE)
    assert candidates(CONTRACT, empty, endpoint, flow.deliveries(), flow.now) == found
