"""A day without the vendor, in virtual time (G12, small): nothing parks, and it drains in order."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pytest
from crossdock_hub.config import SECOND, Limits
from crossdock_hub.delivery.dispatching import Picker
from crossdock_hub.records import DeliveryRecord
from ledger_vendor import Desk

DAY = 86_400.0
STEP = 0.5
CHAIN = (("book", ()), ("change", ("book",)), ("post", ("book",)))
LIMITS = Limits(
    prerequisite_seconds_default=3_600.0,
    calls_max_default=5,
    breaker_probe_seconds_max=300.0,
    retry_seconds_max=300.0,
)


class Vendor:
    """A vendor that is away until a moment, and counts who asked it for what."""

    def __init__(self, away_until: int, silence: str) -> None:
        self.away_until = away_until
        self.silence = silence
        self.asked = 0
        self.did: list[DeliveryRecord] = []

    def answer(self, record: DeliveryRecord, now: int) -> str:
        self.asked += 1
        if now < self.away_until:
            return self.silence
        self.did.append(record)
        return "CONFIRMED"


def work(desk: Desk, vendor: Vendor, picker: Picker) -> int:
    """What dispatcher and adapters do at one moment: as much as breaker and budget let go."""
    endpoints = desk.endpoints
    (endpoint,) = (e for e in endpoints if e.id == "vendor")
    room = picker.free(endpoint, endpoints, desk.now)
    ready = [record for record in desk.deliveries() if record.pending][:room]
    for record in ready:
        if not desk.fresh(record).pending:
            continue
        result = desk.begin(desk.dispatch(record))
        if not result.HasField("refusal"):
            desk.complete(record, result.token, vendor.answer(record, desk.now), reason="down")
    return len(ready)


def play(desk: Desk, vendor: Vendor, until: int) -> None:
    """Move from one moment at which something may happen to the next."""
    picker = Picker(LIMITS, lambda: desk.now / SECOND)
    while desk.now < until:
        if work(desk, vendor, picker):
            desk.pass_time(0.01)
            continue
        health: Any = desk.records["endpoint", "vendor"]
        moments = [r.due_at for r in desk.deliveries() if r.due_at is not None]
        moments += [health.breaker_probe_at] if health.breaker_probe_at else []
        later = [moment for moment in moments if moment > desk.now]
        if not later:
            return
        desk.pass_time(max(STEP, (min(later) - desk.now) / SECOND))


@pytest.mark.parametrize("keys", [1, 2, 20])
@pytest.mark.parametrize("silence", ["RETRY", "UNKNOWN"])
def test_a_day_without_the_vendor_costs_nothing_but_time(silence: str, keys: int) -> None:
    """G12: proves that the deliveries of 1, 2 and 20 orders survive a day of calls that are refused
    or not answered: none is parked though prerequisites and calls are limited to a fraction of it,
    each is done once, in order, and the vendor was asked by probes alone, or by the retries of the
    one or two deliveries that open no breaker."""
    desk = Desk("NATURAL", LIMITS)
    vendor = Vendor(desk.now + int(DAY * SECOND), silence)
    for key in range(keys):
        for operation, needs in CHAIN:
            root = f"order-{key}"
            desk.one(operation, key=root, root_id=root, object_id=root, requires=needs)
    play(desk, vendor, vendor.away_until)
    states = {record.state for record in desk.deliveries()}
    assert "PARKED" not in states and vendor.did == []
    # The back-off of each of the two comes a fifth earlier at most.
    asking = 1.1 if keys > 2 else 1.25 * keys
    most_probes = DAY / LIMITS.breaker_probe_seconds_max * asking
    assert vendor.asked <= most_probes + 50, "the vendor was asked more often than by probes"
    back = desk.now
    play(desk, vendor, back + int(3_600 * SECOND))
    assert {record.state for record in desk.deliveries()} == {"CONFIRMED"}
    assert len({record.id for record in vendor.did}) == len(vendor.did) == keys * len(CHAIN)
    by_key: dict[str, list[str]] = defaultdict(list)
    for record in vendor.did:
        by_key[record.ordering_key].append(record.operation)
    assert all(done == [name for name, _ in CHAIN] for done in by_key.values())
    assert (desk.now - back) / SECOND < 700, "the queue did not drain"
