"""An ERP's tables as its administrator made them, by hand, on SQLite and on PostgreSQL.

Nothing here is made from the adapter's layouts: what the tests compare with is raw SQL.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from crossdock_adapters.sdk.database import Database, Limits
from fixtures_postgres import PostgresProcess

PAYLOADS = Path(__file__).parent / "payloads" / "legacy-table"
DDL = (PAYLOADS / "by_hand.sql").read_text("utf-8")
LAYOUT = (PAYLOADS / "by_hand_orders.toml").read_text("utf-8")
OUT_LAYOUT = (PAYLOADS / "by_hand_outbox.toml").read_text("utf-8")


class House:
    """One database with the tables above; `run` is somebody who knows nothing of the adapter."""

    def __init__(self, server: PostgresProcess | None, folder: Path, ddl: str = DDL) -> None:
        self._server = server
        self._file = folder / "erp.db"
        self._name = server.new_database() if server is not None else ""
        self.databases: list[Database] = []
        # In SQLite a NUMERIC column would make a binary float of a fraction.
        exact = "TEXT" if server is None else "NUMERIC(24,4)"
        for statement in ddl.format(exact=exact).split(";"):
            if statement.strip():
                self.run(statement)

    @property
    def url(self) -> str:
        if self._server is None:
            return f"sqlite+aiosqlite:///{self._file}"
        return self._server.url(self._name)

    def run(self, statement: str) -> list[tuple[Any, ...]]:
        if self._server is not None:
            return [tuple(row) for row in self._server.ask(self._name, statement)]
        with sqlite3.connect(self._file, timeout=10) as connection:
            rows = connection.execute(statement).fetchall()
        connection.close()
        return rows

    def column(self, statement: str) -> list[Any]:
        return [row[0] for row in self.run(statement)]

    def database(self, **limits: Any) -> Database:
        """What one process of an adapter has."""
        made = Database(lambda: self.url, Limits(**limits))
        self.databases.append(made)
        return made

    async def close(self) -> None:
        for each in self.databases:
            await each.close()

    def fill_outbox(self, items: Sequence[str]) -> None:
        for number, item in enumerate(items, start=1):
            self.run(
                "INSERT INTO OUTBOX (ID, ITEM, NAME, FLAG) "
                f"VALUES ({number}, '{item.ljust(10)}', 'n{number}', 'N   ')"
            )
