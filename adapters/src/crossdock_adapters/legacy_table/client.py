"""One ERP's staging tables: what has become of a reference, and how long nothing has moved in them.

Knows nothing about orders. How rows are written once, found and claimed is `sdk.staging_client`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from crossdock_adapters.sdk.database import Database
from crossdock_adapters.sdk.staging_client import StagingClient
from crossdock_adapters.sdk.table_layout import Found, Place, TableLayout

MAX_REMEMBERED: Final = 10_000


class StagingErp(StagingClient):
    """The tables of one ERP, and since when they have been as this process saw them."""

    def __init__(self, database: Database, layouts: Mapping[str, TableLayout]) -> None:
        super().__init__(database, layouts)
        # Of references that this process asked about: their last status, and since when.
        self._seen: dict[str, tuple[str, datetime]] = {}
        self._moved_at: datetime | None = None

    async def find(self, name: str, reference: str) -> Found | None:
        """What has become of a reference; None: neither the tables nor our ledger know it."""
        found = await super().find(name, reference)
        if found is not None:
            self._note(reference, found)
        return found

    def unchanged_since(self, reference: str) -> datetime:
        """Since when a reference has had its status, as far as this process has seen."""
        return self._seen[reference][1]

    def silent_since(self, found: Found, reference: str) -> datetime:
        """Since when the ERP has done nothing that this process saw, with this row waiting."""
        began = found.sent or self.unchanged_since(reference)
        return max(began, self._moved_at or began)

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
