"""Databases in which the keys of other systems were kept by their system first."""

from __future__ import annotations

from pathlib import Path

import pytest
from crossdock_hub.store import tables
from crossdock_hub.store.migrating import upgrade
from databases import KINDS, in_new_database
from sqlalchemy import Connection, exc, insert, inspect, select

BEFORE = "0044"
KEYS = 1_007


def key(place: int) -> dict[str, str]:
    """Each value stands in two systems."""
    return {
        "system": "sap" if place % 2 else "netsuite",
        "type": "document",
        "value": f"DOC-{place // 2}",
        "kind": "order",
        "object_id": f"order-{place:04}",
    }


@pytest.mark.parametrize("kind", KINDS)
async def test_keys_of_before_are_kept_and_still_known_once(tmp_path: Path, kind: str) -> None:
    """Proves that every key of before leads to its object, in whichever system, and that no second
    one of the same value, system and type is taken."""
    stored = [key(place) for place in range(KEYS)]
    found: list[dict[str, str]] = []
    keyed: list[str] = []

    def migrate(connection: Connection) -> None:
        upgrade(connection, BEFORE)
        connection.execute(insert(tables.external_references), stored)
        upgrade(connection)
        references = tables.external_references
        ordered = select(references).order_by(references.c.object_id)
        found.extend(dict(row) for row in connection.execute(ordered).mappings())
        primary = inspect(connection).get_pk_constraint(references.name)
        keyed.extend(primary["constrained_columns"])
        with pytest.raises(exc.IntegrityError), connection.begin_nested():
            connection.execute(insert(references), [stored[0] | {"object_id": "another"}])

    await in_new_database(tmp_path, kind, migrate)
    assert found == stored
    assert keyed == ["value", "system", "type"]
