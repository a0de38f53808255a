"""An adapter's client of an ERP that is spoken to through its tables; it knows nothing of orders.

How rows are written once, found and claimed in SQL is `sdk.staging_tables`; what they hold is said
by layouts.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Final

from crossdock_adapters.sdk import staging_tables, table_layout
from crossdock_adapters.sdk.database import Database, Taken
from crossdock_adapters.sdk.layout_files import Row
from crossdock_adapters.sdk.layout_values import FieldProblem, Value
from crossdock_adapters.sdk.outcomes import NeedsPerson, Untranslatable
from crossdock_adapters.sdk.places import Unreadable
from crossdock_adapters.sdk.staging_tables import Again, ClaimedRow
from crossdock_adapters.sdk.table_layout import Found, TableLayout

TOKEN_CHARACTERS: Final = 20
MAX_SHOWN_CHARACTERS: Final = 4_000


class StagingClient:
    """The tables of one ERP; `layouts` by name."""

    def __init__(self, database: Database, layouts: Mapping[str, TableLayout]) -> None:
        self.layouts = layouts
        self._database = database

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
        return await staging_tables.find(self._database, self.layouts[name], reference)

    async def write(self, name: str, document: Sequence[Row], reference: str) -> None:
        """Write a document; one of this reference that is there already stays as it is.

        Untranslatable: a value does not fit its column. NeedsPerson: the database refuses the rows,
        and has none of the reference.
        """
        rows = self.fitted(name, document)
        try:
            await staging_tables.write(self._database, self.layouts[name], rows, reference)
        except Taken as taken:
            if await self.find(name, reference) is None:
                raise NeedsPerson(
                    f"{name}: the database refuses the rows ({taken}), and has none of "
                    f"{reference}: something else of them has to be unique there"
                ) from None

    def fitted(self, name: str, document: Sequence[Row]) -> staging_tables.Rows:
        """The rows of a document as their tables hold them. Untranslatable."""
        try:
            return table_layout.rows_of(self.layouts[name], document)
        except FieldProblem as problem:
            raise Untranslatable(f"{name}: {problem}") from None

    async def claim(self, name: str, seconds: float, most: int) -> tuple[str, list[ClaimedRow]]:
        """(token, rows of the ERP that are ours for so many seconds)"""
        token = uuid.uuid4().hex[:TOKEN_CHARACTERS]
        now = int(time.time())
        until = now + int(seconds)
        layout = self.layouts[name]
        return token, await staging_tables.claim(self._database, layout, token, now, until, most)

    async def claim_again(
        self, name: str, number: int, seconds: float
    ) -> tuple[Again, str, ClaimedRow | None]:
        """(what came of it, token, the row): of one that nobody could read, by its id. Its layout
        has a word for such rows."""
        token = uuid.uuid4().hex[:TOKEN_CHARACTERS]
        until = int(time.time()) + int(seconds)
        layout = self.layouts[name]
        found = await staging_tables.claim_again(self._database, layout, number, token, until)
        return found[0], token, found[1]

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


def shown(layout: TableLayout, row: ClaimedRow) -> bytes:
    """A claimed row as the hub holds it: its id, then what the driver gave, as text, and not too
    much of it."""
    told: dict[str, Any] = {layout.claim.id: row.id}
    for name, raw in row.values.items():
        told.setdefault(name, None if raw is None else str(raw)[:MAX_SHOWN_CHARACTERS])
    return json.dumps(told, ensure_ascii=False).encode()


def shown_key(layout: TableLayout, content: bytes) -> tuple[int, str]:
    """(id, key) of a row that was `shown`. ValueError: that says no id."""
    told = json.loads(content)
    number = told.get(layout.claim.id) if isinstance(told, dict) else None
    if not isinstance(number, int):
        raise ValueError("no row that was shown with its id")
    return number, str(told.get(layout.claim.key) or "").strip()
