"""A legacy ERP that reads staging tables: its database, its batch program, its own books.

The batch takes rows whose status shows them, checks them, posts what it can, and writes statuses,
numbers and errors, as long after the rows came as it likes. It pads its CHAR columns with blanks,
as its database would.
"""

from __future__ import annotations

import asyncio
import secrets
import tempfile
from collections.abc import Sequence
from datetime import timedelta
from importlib import resources
from pathlib import Path
from typing import Any, Final

from crossdock_adapters.sdk.sandbox import Command, SandboxConfig, VendorPort, VendorRoute
from crossdock_adapters.sdk.sandbox_database import (
    DATABASE_OPERATIONS,
    Busy,
    DatabasePort,
    House,
    opened,
)
from crossdock_adapters.sdk.sandbox_erp_books import CUSTOMERS, ISSUE, ITEMS, ORDER, Refusal
from crossdock_adapters.sdk.sandbox_misbehaving import Misbehaving

DEFAULT_USER: Final = "crossdock"
FIRST_DOCUMENT: Final = 500_000
BUSY_PAUSE_SECONDS: Final = 0.01
BUSY_TRIES: Final = 500
HEADERS: Final = {ORDER: "XD_ORDER_HEADER", ISSUE: "XD_ISSUE_HEADER"}
LINES: Final = {ORDER: "XD_ORDER_LINE", ISSUE: "XD_ISSUE_LINE"}


class LegacyTableSandbox(Misbehaving):
    """Settings: file (its database; made where it is missing), username, password, items,
    customers, result_seconds (from taking a row to its result), late_seconds."""

    name = "legacy-table"
    scheme = "sqlite+sandbox"
    other_operations = DATABASE_OPERATIONS
    kept = ("_due", "_misbehaves")
    misbehaviours = frozenset({
        "silence", "late_results", "deletes_rows", "loses_rows", "stale_errors", "period_closed",
        "unknown_status", "stays_picked",
    })  # fmt: skip

    def __init__(self, config: SandboxConfig) -> None:
        super().__init__(config)
        settings = config.settings
        self._file = Path(settings["file"])
        is_new = not self._file.exists()
        self._erp = opened(self._file)
        if is_new:
            schema = resources.files(__package__).joinpath("sandbox_schema.sql")
            self._erp.executescript(schema.read_text("utf-8"))
        self._due: dict[str, str] = {}
        self._items = frozenset(settings.get("items", ITEMS))
        self._customers = frozenset(settings.get("customers", CUSTOMERS))

    @classmethod
    def example_settings(cls, folder: Path) -> dict[str, Any]:
        """A new database below `folder`."""
        home = Path(tempfile.mkdtemp(prefix="legacy-table-", dir=folder))
        return {"file": str(home / "erp.db"), "password": secrets.token_urlsafe()}

    def vendor_port(self) -> VendorPort:
        """A port that speaks SQL to the file."""
        settings = self.settings
        user = str(settings.get("username", DEFAULT_USER))
        return DatabasePort(self, House(self._file, user, str(settings["password"])))

    def routes(self) -> Sequence[VendorRoute]:
        """None: it does not speak HTTP. Its calls are query, write and commit."""
        return ()

    def database_url(self) -> str:
        """What an adapter connects to, its password included."""
        user = self.settings.get("username", DEFAULT_USER)
        place = self.vendor_url.removeprefix(f"{self.scheme}://")
        return f"{self.scheme}://{user}:{self.settings['password']}@{place}"

    def books(self) -> dict[str, Any]:
        """Orders, goods issues, what was asked for, rows in staging, items that wait."""
        return {
            "asked": self._rows("SELECT * FROM ERP_ASKED ORDER BY ASKED_ID"),
            "documents": self._rows("SELECT * FROM ERP_DOCUMENTS ORDER BY DOCUMENT_NO"),
            "orders": self._rows("SELECT * FROM XD_ORDER_HEADER ORDER BY ROWID"),
            "order_lines": self._rows("SELECT * FROM ERP_ORDER_LINES"),
            "issues": self._rows("SELECT * FROM XD_ISSUE_HEADER ORDER BY ROWID"),
            "errors": self._rows("SELECT * FROM XD_ERRORS ORDER BY ERROR_ID"),
            "items": self._rows("SELECT * FROM ERP_ITEM_OUT ORDER BY ROW_ID"),
        }

    def commands(self) -> dict[str, Command]:
        """misbehave, behave, tell_item."""
        return {**super().commands(), "tell_item": self._tell_item}

    async def closed(self) -> None:
        self._erp.close()

    async def tick(self) -> None:
        """One run of the batch: what is shown is taken, what is due is posted."""
        if self.misbehaves("silence") or not self._work():
            return
        try:
            self._erp.execute("BEGIN IMMEDIATE")
        except Busy:
            # Somebody writes at the moment: the next run finds the same.
            return
        with self._erp:
            for interface, row in self._work():
                if row["STATUS"].rstrip() == "NEW":
                    self._take(interface, row)
                else:
                    self._finish(interface, row)

    # The batch.

    def _work(self) -> list[tuple[str, dict[str, Any]]]:
        """Rows that are shown, and rows whose result is due."""
        now = self.now().isoformat()
        found = []
        for interface, table in HEADERS.items():
            shown = f"SELECT * FROM {table} WHERE RTRIM(STATUS) IN ('NEW', 'PICKED') ORDER BY ROWID"
            for row in self._rows(shown):
                due = self._due.get(row["EXT_REF"].rstrip())
                if row["STATUS"].rstrip() == "NEW" or (due is not None and due <= now):
                    found.append((interface, row))
        return found

    def _take(self, interface: str, row: dict[str, Any]) -> None:
        reference = row["EXT_REF"].rstrip()
        seconds = float(self.settings.get("result_seconds", 0))
        if self.struck("late_results"):
            seconds += float(self.settings.get("late_seconds", 3))
        self._set(interface, reference, STATUS="PICKED")
        asked = "INSERT INTO ERP_ASKED (INTERFACE, ACTION, EXT_REF) VALUES (?, ?, ?)"
        self._erp.execute(asked, (interface, row["ACTION"], reference))
        if not self.struck("stays_picked"):
            self._due[reference] = (self.now() + timedelta(seconds=seconds)).isoformat()

    def _finish(self, interface: str, row: dict[str, Any]) -> None:
        """Post a document, or say why not."""
        reference = row["EXT_REF"].rstrip()
        self._due.pop(reference, None)
        try:
            number = self._posted(interface, row)
        except Refusal as refusal:
            self._set(interface, reference, STATUS="ERROR", ERROR_CODE=None, ERROR_TEXT=None)
            self._error(reference, refusal)
            return
        status = "???" if self.struck("unknown_status") else "DONE"
        self._set(interface, reference, STATUS=status, ERP_DOCUMENT=number)
        if self.struck("stale_errors"):
            # From before somebody mended the row and let it go on.
            self._set(interface, reference, ERROR_CODE="E102", ERROR_TEXT="no item")
            self._error(reference, Refusal("E102", "the item is not known", 10))
        if self.misbehaves("deletes_rows") or self.misbehaves("loses_rows"):
            deleted = f"DELETE FROM {HEADERS[interface]} WHERE RTRIM(EXT_REF) = ?"
            self._erp.execute(deleted, (reference,))
        if self.misbehaves("loses_rows"):
            lost = "UPDATE ERP_DOCUMENTS SET EXT_REF = '' WHERE RTRIM(EXT_REF) = ?"
            self._erp.execute(lost, (reference,))

    def _error(self, reference: str, refusal: Refusal) -> None:
        said = (reference.ljust(20), refusal.line or None, refusal.code, refusal.text)
        self._erp.execute(
            "INSERT INTO XD_ERRORS (EXT_REF, LINE_NO, ERROR_CODE, ERROR_TEXT) VALUES (?, ?, ?, ?)",
            said,
        )

    def _set(self, interface: str, reference: str, **values: Any) -> None:
        """Change the header; CHAR columns are padded, as the ERP's database does it."""
        if "STATUS" in values:
            values["STATUS"] = values["STATUS"].ljust(8)
        named = ", ".join(f"{name} = ?" for name in values)
        self._erp.execute(
            f"UPDATE {HEADERS[interface]} SET {named}, EXT_REF = ? WHERE RTRIM(EXT_REF) = ?",
            (*values.values(), reference.ljust(20), reference),
        )

    # Posting.

    def _posted(self, interface: str, row: dict[str, Any]) -> str:
        """The document's number. Refusal says why there is none."""
        if self.struck("period_closed"):
            raise Refusal("E130", "the posting period is closed")
        reference = row["EXT_REF"].rstrip()
        lines = self._rows(f"SELECT * FROM {LINES[interface]} WHERE RTRIM(EXT_REF) = ?", reference)
        if row["ACTION"] != "D" and not lines:
            raise Refusal("E199", "lines are missing")
        if interface == ORDER:
            return self._post_order(row, reference, lines)
        return self._post_issue(row, reference, lines)

    def _post_order(self, row: dict[str, Any], reference: str, lines: list[dict[str, Any]]) -> str:
        key, action = row["ORDER_NO"], row["ACTION"]
        known = self._documents("order", key)
        if action == "I" and known:
            raise Refusal("E110", f"order {key} exists already")
        if action != "I" and not known:
            raise Refusal("E120", f"order {key} is not known")
        if action == "D":
            return self._cancel(key, known[0])
        if known and known[0]["TAKEN_BACK"]:
            raise Refusal("E121", f"order {key} is cancelled")
        if row["CUSTOMER"].rstrip() not in self._customers:
            raise Refusal("E101", "the customer is not known")
        for line in lines:
            if line["ITEM"].rstrip() not in self._items:
                raise Refusal("E102", "the item is not known", int(line["LINE_NO"]))
            if line["QUANTITY"] <= 0:
                raise Refusal("E104", "the quantity must be above zero", int(line["LINE_NO"]))
        self._erp.execute("DELETE FROM ERP_ORDER_LINES WHERE ORDER_NO = ?", (key,))
        for line in lines:
            kept = (key, line["LINE_NO"], line["ITEM"].rstrip(), line["QUANTITY"])
            self._erp.execute("INSERT INTO ERP_ORDER_LINES VALUES (?, ?, ?, ?)", kept)
        return known[0]["DOCUMENT_NO"] if known else self._book("order", key, key, reference)

    def _cancel(self, key: str, order: dict[str, Any]) -> str:
        if any(not each["TAKEN_BACK"] for each in self._documents("issue", order_no=key)):
            raise Refusal("E125", "goods have left")
        self._take_back(order)
        return str(order["DOCUMENT_NO"])

    def _post_issue(self, row: dict[str, Any], reference: str, lines: list[dict[str, Any]]) -> str:
        if row["ACTION"] == "D":
            issues = [
                each
                for each in self._rows("SELECT * FROM ERP_DOCUMENTS WHERE KIND = 'issue'")
                if each["KEY_NO"].rpartition("/")[0] == row["SHIPMENT_NO"]
            ]
            if not issues:
                raise Refusal("E123", f"shipment {row['SHIPMENT_NO']} is not known")
            for each in issues:
                self._take_back(each)
            return str(issues[0]["DOCUMENT_NO"])
        key, order = f"{row['SHIPMENT_NO']}/{row['DEPARTURE']}", row["ORDER_NO"]
        if self._documents("issue", key):
            raise Refusal("E110", f"goods issue {key} exists already")
        known = self._documents("order", order)
        if not known or known[0]["TAKEN_BACK"]:
            raise Refusal("E121" if known else "E120", f"order {order} is not open")
        for line in lines:
            if line["QUANTITY"] > self._open(order, line["LINE_NO"]):
                raise Refusal("E122", "more than the open quantity", int(line["LINE_NO"]))
        number = self._book("issue", key, order, reference)
        for line in lines:
            left = (number, line["LINE_NO"], line["QUANTITY"])
            self._erp.execute("INSERT INTO ERP_ISSUE_LINES VALUES (?, ?, ?)", left)
        return number

    def _open(self, order: str, line: int) -> int:
        """What of an order's line has not left, in thousandths."""
        ordered = "SELECT QUANTITY FROM ERP_ORDER_LINES WHERE ORDER_NO = ? AND LINE_NO = ?"
        left = """SELECT COALESCE(SUM(L.QUANTITY), 0) AS QUANTITY FROM ERP_ISSUE_LINES L
            JOIN ERP_DOCUMENTS D ON D.DOCUMENT_NO = L.DOCUMENT_NO
            WHERE D.ORDER_NO = ? AND L.LINE_NO = ? AND D.TAKEN_BACK = 0"""
        found = self._rows(ordered, order, line)
        gone = int(self._rows(left, order, line)[0]["QUANTITY"])
        return int(found[0]["QUANTITY"]) - gone if found else 0

    def _documents(self, kind: str, key: str = "", order_no: str = "") -> list[dict[str, Any]]:
        by, value = ("ORDER_NO", order_no) if order_no else ("KEY_NO", key)
        return self._rows(f"SELECT * FROM ERP_DOCUMENTS WHERE KIND = ? AND {by} = ?", kind, value)

    def _book(self, kind: str, key: str, order: str, reference: str) -> str:
        count = self._rows("SELECT COUNT(*) AS FOUND FROM ERP_DOCUMENTS")[0]["FOUND"]
        number = f"T{FIRST_DOCUMENT + count + 1}"
        row = (number, kind, key, order, reference.ljust(20), 0)
        self._erp.execute("INSERT INTO ERP_DOCUMENTS VALUES (?, ?, ?, ?, ?, ?)", row)
        return number

    def _take_back(self, document: dict[str, Any]) -> None:
        back = "UPDATE ERP_DOCUMENTS SET TAKEN_BACK = 1 WHERE DOCUMENT_NO = ?"
        self._erp.execute(back, (document["DOCUMENT_NO"],))

    def _rows(self, sql: str, *values: Any) -> list[dict[str, Any]]:
        return [dict(row) for row in self._erp.execute(sql, values)]

    # Commands.

    async def _tell_item(self, body: dict[str, Any]) -> dict[str, int]:
        """A row of the outgoing table: columns by name; what is not named is NULL."""
        values = {"STATUS": "NEW".ljust(8), **body}
        named, marks = ", ".join(values), ", ".join("?" for _ in values)
        told = f"INSERT INTO ERP_ITEM_OUT ({named}) VALUES ({marks})"
        for _ in range(BUSY_TRIES):
            try:
                with self._erp:
                    made = self._erp.execute(told, list(values.values()))
            except Busy:
                await asyncio.sleep(BUSY_PAUSE_SECONDS)
                continue
            return {"row_id": int(made.lastrowid or 0)}
        raise ValueError("somebody writes all the time: try again")


SANDBOX = LegacyTableSandbox
