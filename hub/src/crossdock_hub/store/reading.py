"""Reads the books: the queries behind Get, List, look-up and lineage."""

from __future__ import annotations

from crossdock_hub.store.engine import Store


class Reader:
    """Reads of the books, each on its own snapshot."""

    def __init__(self, store: Store) -> None:
        self._store = store
