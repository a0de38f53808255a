"""Databases from before dead letters were followed: what operators had sent on is carried over."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from crossdock_hub.records import DeliveryRecord
from crossdock_hub.store import rows, tables
from crossdock_hub.store.migrating import upgrade
from sqlalchemy import Connection, create_engine, inspect, select, text

BEFORE = "0011"
GROUP = "a" * 32
RECORD = DeliveryRecord(
    id="",
    event_id="e",
    event_type="t",
    endpoint="netsuite",
    operation="create_sales_order",
    item="",
    ordering_key="o-1",
    state="READY",
    created_at=1,
    updated_at=50,
    kind="order",
    object_id="o-1",
    root_id="o-1",
    vendor_reference="R",
)


def insert(connection: Connection, table: str, row: dict[str, Any]) -> None:
    names = ", ".join(row)
    values = ", ".join(f":{name}" for name in row)
    connection.execute(text(f"INSERT INTO {table} ({names}) VALUES ({values})"), row)


def insert_delivery(connection: Connection, record: DeliveryRecord) -> None:
    """A delivery, without what the table of before has no column for."""
    row = rows.DELIVERIES.row(record)
    of_before = {column["name"] for column in inspect(connection).get_columns("deliveries")}
    insert(connection, "deliveries", {name: row[name] for name in row if name in of_before})


def test_what_was_sent_on_before_is_followed_from_now(tmp_path: Path) -> None:
    """Proves that of letters that operators had sent on, one whose successor is confirmed becomes
    history, and one whose resubmission still goes stays open and is settled with it from now on."""
    old = [
        replace(RECORD, id="one", state="SUPERSEDED", superseded_by="one-again"),
        replace(RECORD, id="one-again", state="CONFIRMED", updated_at=70),
        replace(RECORD, id="two", state="SUPERSEDED", superseded_by="two-again"),
        replace(RECORD, id="two-again", state="READY"),
    ]
    word = {"verb": "RESUBMIT", "operator": "ann", "reason": "r", "change": "c"}
    word |= {"state_before": "REJECTED", "state_after": "SUPERSEDED", "cause": GROUP}
    with create_engine(f"sqlite:///{tmp_path / 'hub.db'}").begin() as connection:
        upgrade(connection, BEFORE)
        for record in old:
            insert_delivery(connection, record)
        for number, subject in enumerate(("one", "two", "two")):
            said = {"id": f"w{number}", "subject_id": subject, "said_at": 60 + number}
            insert(connection, "operator_words", word | said)
        upgrade(connection)
        letters = connection.execute(select(tables.dead_letters)).mappings()
        found = {row["id"]: row for row in letters}
        assert {row["cause"] for row in found.values()} == {GROUP}
        done, going = found["one"], found["two"]
        assert (done["settled_at"], done["settlement"], done["settled_by"]) == (
            70,
            "CONFIRMED",
            "one-again",
        )
        assert (going["carrier"], going["settled_at"], going["left_at"]) == ("two-again", None, 62)
        deliveries = connection.execute(select(tables.deliveries)).mappings()
        assert [row["id"] for row in deliveries if row["mends"]] == ["two-again"]
        columns = connection.execute(text("SELECT * FROM operator_words")).keys()
        assert "cause" not in columns
