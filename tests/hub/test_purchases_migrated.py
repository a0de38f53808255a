"""Databases from before the spending guard counted calls: what may have been bought is found."""

from __future__ import annotations

from pathlib import Path

import pytest
from crossdock_hub.delivery.guarding import costs
from crossdock_hub.records import AttemptRecord
from crossdock_hub.store import rows, tables
from crossdock_hub.store.migrating import upgrade
from replayed_flows import delivery
from sqlalchemy import create_engine, select
from test_letters_migrated import insert, insert_delivery

BEFORE = "0023"
UNPROVEN = "UNKNOWN"
IN_FLIGHT = ""


@pytest.mark.parametrize(
    ("state", "outcomes", "calls", "cost"),
    [
        ("UNKNOWN", [UNPROVEN], 1, 1),
        ("RESOLVING", [UNPROVEN, "LEASE_EXPIRED"], 2, 2),
        ("IN_FLIGHT", [IN_FLIGHT], 1, 1),
        ("READY", [UNPROVEN], 1, 2),
        ("READY", ["RETRY", "THROTTLED"], 0, 1),
        ("READY", [], 0, 1),
        ("CONFIRMED", ["PARKED", "PARKED", "PARKED", "CONFIRMED"], 1, 1),
        ("CONFIRMED", [UNPROVEN, UNPROVEN, "CONFIRMED"], 3, 3),
        ("REJECTED", ["REJECTED"], 0, 0),
        ("REJECTED", [UNPROVEN, "REJECTED"], 1, 1),
        ("SUPERSEDED", [UNPROVEN, "PARKED"], 1, 1),
        ("SUPERSEDED", [], 0, 0),
    ],
)
def test_the_calls_of_before_count_by_how_each_ended(
    tmp_path: Path, state: str, outcomes: list[str], calls: int, cost: int
) -> None:
    """Proves that a database from before counts each call that may have bought, in every state, and
    no call that was refused, parked or proven unprocessed; no look-up, nor what is only told of a
    time that was lost."""
    record = delivery(
        1,
        "book",
        state,
        operation_class="SEARCHABLE" if outcomes else "",
        attempts=len(outcomes),
        calls_reached=len(outcomes),
        first_unknown_at=None if state == "READY" else 1,
    )
    attempts = [
        AttemptRecord(record.id, n, "CALL", n, f"a{n}", "i", n, "", outcome=outcome)
        for n, outcome in enumerate(outcomes, 1)
    ]
    look_up = AttemptRecord(record.id, 8, "LOOK_UP", 8, "a8", "i", 8, "", outcome="NOT_FOUND")
    lost = AttemptRecord(record.id, 0, "CALL", 9, "", "", 9, "", outcome="CONFIRMED")
    with create_engine(f"sqlite:///{tmp_path / 'hub.db'}").begin() as connection:
        upgrade(connection, BEFORE)
        insert_delivery(connection, record)
        for attempt in (*attempts, look_up, lost):
            insert(connection, "attempts", rows.ATTEMPTS.row(attempt))
        upgrade(connection)
        (found,) = connection.execute(select(tables.deliveries)).mappings()
    migrated = rows.delivery_record(found)
    assert (migrated.calls_maybe_done, costs(migrated)) == (calls, cost)
