"""A raw payload is held once: by an index, whoever writes, and in databases from before it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from crossdock_hub.committer import Committer
from crossdock_hub.delivery.dispatching import Picker
from crossdock_hub.objects.held import applied
from crossdock_hub.records import HeldFactRecord
from crossdock_hub.store import rows
from crossdock_hub.store.migrating import upgrade
from crossdock_hub.unit import Unit
from databases import KINDS, database_of, open_store
from decisions import CONTRACT
from overlapping_commands import LIMITS, Answer, Decide, command, hold
from sqlalchemy import create_engine, text
from sqlalchemy.exc import IntegrityError

BEFORE = "0018"
DEADLINE_SECONDS = 90.0


def close(fact: str) -> Decide:
    """Say that a payload was translated."""

    def decide(unit: Unit) -> Any:
        known = unit.get(("held_fact", fact))
        unit.put(("held_fact", fact), applied(known, unit.now))
        return Answer()

    return decide


@pytest.mark.parametrize("kind", KINDS)
async def test_a_batch_closes_a_payload_and_holds_it_again(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that the same payload is held anew in the batch that closes it, at the first try: the
    closed one is history and in nobody's way."""
    limits = LIMITS.with_changes({"batch_tries_max": 1})
    store = await open_store(tmp_path / "hub", kind)
    write = store.write
    failed: list[BaseException] = []

    @contextlib.asynccontextmanager
    async def watched() -> AsyncIterator[Any]:
        # A batch that fails is split, and then its commands succeed one by one.
        try:
            async with write() as connection:
                yield connection
        except BaseException as error:
            failed.append(error)
            raise

    monkeypatch.setattr(store, "write", watched)
    committer = Committer(store, CONTRACT, limits, Picker(limits))
    committer.start([])
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            first = (await committer.submit(command(hold("one")))).held_fact_id
            # A lone batch, then one of three.
            sent = [committer.submit(command(each)) for each in (close(first), hold("one"))]
            sent.append(committer.submit(command(hold("two"))))
            _, again, other = await asyncio.gather(*sent)
    finally:
        await committer.stop()
        await store.close()
    assert failed == []
    found = database_of(tmp_path / "hub", kind).query("SELECT id, state FROM held_facts")
    expected = {first: "APPLIED", again.held_fact_id: "HELD", other.held_fact_id: "HELD"}
    assert dict(found) == expected
    assert len(expected) == len(found) == 3


def held(fact: str, identity: str, state: str = "HELD") -> dict[str, Any]:
    record = HeldFactRecord(
        id=fact,
        endpoint="ups",
        method="",
        payload=b"<x/>",
        content_type="application/protobuf",
        refusal=b"",
        state=state,
        awaits="translation:/hook",
        request_id="",
        created_at=1,
        traceparent="",
        identity=identity,
    )
    row = rows.HELD_FACTS.row(record)
    # A database from before has no such column.
    del row["root_id"]
    return row


def test_payloads_that_were_held_twice_stay_held(tmp_path: Path) -> None:
    """Proves that a database in which a payload was held twice keeps both: the later one goes on
    being found by what it is, the earlier one stays open for whoever closes it, and a third is
    refused by the database itself. Closed ones and those without an identity may be many."""
    old = [held("1", "a"), held("2", "a"), held("3", "a", "APPLIED"), held("4", "b")]
    old += [held("5", ""), held("6", "")]
    insert = rows.HELD_FACTS.table.insert()
    with create_engine(f"sqlite:///{tmp_path / 'hub.db'}").begin() as connection:
        upgrade(connection, BEFORE)
        connection.execute(insert, old)
        upgrade(connection)
        found = connection.execute(text("SELECT id, identity, state FROM held_facts ORDER BY id"))
        assert [tuple(row) for row in found] == [
            ("1", "", "HELD"),
            ("2", "a", "HELD"),
            ("3", "a", "APPLIED"),
            ("4", "b", "HELD"),
            ("5", "", "HELD"),
            ("6", "", "HELD"),
        ]
        with pytest.raises(IntegrityError, match=r"held_facts\.identity"):
            connection.execute(insert, [held("7", "a")])
