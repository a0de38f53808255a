"""One ERP's staging tables: their layouts, and how long nothing has moved in them.

Knows nothing about orders. How rows are written once, found and claimed is `sdk.staging_tables`.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from crossdock_adapters.sdk import staging_tables, table_layout
from crossdock_adapters.sdk.database import Database
from crossdock_adapters.sdk.layout_files import Row
from crossdock_adapters.sdk.layout_values import FieldProblem, Value
from crossdock_adapters.sdk.outcomes import NeedsPerson, Untranslatable
from crossdock_adapters.sdk.places import Unreadable
from crossdock_adapters.sdk.staging_tables import ClaimedRow
from crossdock_adapters.sdk.table_layout import Found, Place, TableLayout

TOKEN_CHARACTERS: Final = 20
MAX_REMEMBERED: Final = 10_000
MAX_SHOWN_CHARACTERS: Final = 4_000


class StagingErp:
    """The tables of one ERP; `layouts` by name."""

    def __init__(self, database: Database, layouts: Mapping[str, TableLayout]) -> None:
        self.layouts = layouts
        self._database = database
        # Of references that this process asked about: their last status, and since when.
        self._seen: dict[str, tuple[str, datetime]] = {}
        self._moved_at: datetime | None = None

    async def test(self) -> None:
        """Prove that the tables are there as the layouts say. NeedsPerson lists what is not."""
        found: list[str] = []
        for layout in self.layouts.values():
            problems = await staging_tables.problems(self._database, layout)
            found += [f"{layout.name}: {each}" for each in problems]
        if found:
            raise NeedsPerson("; ".join(found))

    async def close(self) -> None:
        """Close the connections."""
        await self._database.close()

    async def find(self, name: str, reference: str) -> Found | None:
        """What has become of a reference; None: neither the tables nor our ledger know it."""
        found = await staging_tables.find(self._database, self.layouts[name], reference)
        if found is not None:
            self._note(reference, found)
        return found

    async def write(self, name: str, document: Sequence[Row], reference: str) -> None:
        """Write a document, once. Untranslatable: a value does not fit its column; Taken: the
        database has the reference, or something else of it that has to be unique."""
        await staging_tables.write(
            self._database, self.layouts[name], self.fitted(name, document), reference
        )

    def fitted(self, name: str, document: Sequence[Row]) -> staging_tables.Rows:
        """The rows of a document as their tables hold them. Untranslatable."""
        try:
            return table_layout.rows_of(self.layouts[name], document)
        except FieldProblem as problem:
            raise Untranslatable(f"{name}: {problem}") from None

    def unchanged_since(self, reference: str) -> datetime:
        """Since when a reference has had its status, as far as this process has seen."""
        return self._seen[reference][1]

    def silent_since(self, found: Found, reference: str) -> datetime:
        """Since when the ERP has done nothing that this process saw, with this row waiting."""
        began = found.sent or self.unchanged_since(reference)
        return max(began, self._moved_at or began)

    async def claim(self, name: str, seconds: float, most: int) -> tuple[str, list[ClaimedRow]]:
        """(token, rows of the ERP that are ours for so many seconds)"""
        token = uuid.uuid4().hex[:TOKEN_CHARACTERS]
        now = int(time.time())
        until = now + int(seconds)
        layout = self.layouts[name]
        return token, await staging_tables.claim(self._database, layout, token, now, until, most)

    async def settle(self, name: str, row: ClaimedRow, token: str, *, failed: bool) -> bool:
        """End a claim; False: it ran out, and somebody else has the row."""
        layout = self.layouts[name]
        word = (layout.claim.failed if failed else "") or layout.claim.done
        return await staging_tables.settle(self._database, layout, row, token, word)

    def values(self, name: str, row: ClaimedRow) -> dict[str, Value]:
        """The values of a claimed row by their names. Unreadable: table, column and rule."""
        head = self.layouts[name].head
        found: dict[str, Value] = {}
        for column in head.columns:
            try:
                found[column.field.name] = table_layout.read(column, row.values[column.column])
            except FieldProblem as problem:
                raise Unreadable(str(problem), f"{head.table}.{column.column}") from None
        return found

    def _note(self, reference: str, found: Found) -> None:
        now = datetime.now(UTC)
        state = f"{found.place} {found.status}"
        before = self._seen.get(reference)
        if before is not None and before[0] == state:
            return
        if before is not None:
            self._moved_at = now
        while len(self._seen) >= MAX_REMEMBERED:
            del self._seen[next(iter(self._seen))]
        self._seen[reference] = state, now


def is_gone(found: Found) -> bool:
    """Whether only our ledger still knows of a document."""
    return found.place is Place.LEDGER


def told(found: Found) -> str:
    """For people: where a document is, and its status."""
    return f"{found.place}, status {found.status!r}" if found.status else str(found.place)


def age(since: datetime) -> timedelta:
    return datetime.now(UTC) - since


def shown(row: ClaimedRow) -> bytes:
    """A claimed row as the hub holds it: what the driver gave, as text, and not too much of it."""
    told = {
        name: None if raw is None else str(raw)[:MAX_SHOWN_CHARACTERS]
        for name, raw in row.values.items()
    }
    return json.dumps(told, ensure_ascii=False).encode()
