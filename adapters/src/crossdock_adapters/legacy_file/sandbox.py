"""A legacy ERP that reads files: its folders, its SFTP server, its nightly pace, its own books.

It takes a file when its marker is there and agrees with it, keeps count of the numbers, posts what
it can, and answers with a receipt, results and rejects, each published by rename and marker.
"""

from __future__ import annotations

import hashlib
import secrets
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from crossdock_adapters.legacy_file import adapter
from crossdock_adapters.sdk import layout_files
from crossdock_adapters.sdk.layout_files import LayoutError, Row
from crossdock_adapters.sdk.sandbox import Command, SandboxConfig, VendorPort, VendorRoute
from crossdock_adapters.sdk.sandbox_erp_books import (
    CUSTOMERS,
    ISSUE,
    ITEMS,
    ORDER,
    WHOLE,
    Asked,
    Books,
    Line,
    Refusal,
)
from crossdock_adapters.sdk.sandbox_misbehaving import Misbehaving
from crossdock_adapters.sdk.sandbox_sftp import (
    FILE_OPERATIONS,
    SftpHouse,
    SftpPort,
    kept_host_key,
    public_line,
)

FOLDERS: Final = ("inbound", "inbound/work", "archive", "error", "ack", "result", "reject")
DEFAULT_USER: Final = "crossdock"
MARKER, TEMPORARY, ENDING = ".done", ".tmp", ".dat"
# What the rename that shows a file is called in the log.
MARK: Final = "mark"
# What a file's first record may call its interface, and in which layout it is read.
INTERFACES: Final = {"sales-orders": ORDER, "goods-issues": ISSUE}


@dataclass
class Mail:
    """What it remembers of files. seen: (interface, number) to the hash of the file that had it.
    documents: every document that it was asked to post, whatever became of it."""

    seen: dict[tuple[str, int], str] = field(default_factory=dict)
    expected: dict[str, int] = field(default_factory=dict)
    held: list[str] = field(default_factory=list)
    receipts: list[dict[str, Any]] = field(default_factory=list)
    refused: list[dict[str, Any]] = field(default_factory=list)
    documents: list[dict[str, Any]] = field(default_factory=list)
    answer_number: int = 0


@dataclass
class Later:
    """An answer that is due."""

    due: datetime
    folder: str
    stem: str
    layout: str
    rows: list[Row]


class LegacyFileSandbox(Misbehaving):
    """Settings: folder (made where it is missing), username, password, host_key_file, items,
    customers, result_seconds, commit ("document": all or nothing, or "line"), gaps ("hold" later
    files, or let them "pass")."""

    name = "legacy-file"
    scheme = "sftp"
    other_operations = FILE_OPERATIONS | {MARK}
    kept = ("erp.documents", "_mail", "_later", "_misbehaves")
    misbehaviours = frozenset({
        "silence", "disk_full", "late_results", "duplicate_answers", "half_written", "wrong_totals",
        "unreadable", "period_closed", "unknown_status",
    })  # fmt: skip

    def __init__(self, config: SandboxConfig) -> None:
        super().__init__(config)
        settings = config.settings
        self._root = Path(settings["folder"])
        self._layouts = adapter.loaded_layouts("")
        self.erp = Books(
            frozenset(settings.get("items", ITEMS)),
            frozenset(settings.get("customers", CUSTOMERS)),
            prefix="L",
            by_line=settings.get("commit", "document") == "line",
        )
        self._mail = Mail()
        self._later: list[Later] = []

    @classmethod
    def example_settings(cls, folder: Path) -> dict[str, Any]:
        """A drop folder and a host key below `folder`."""
        return {
            # Its books begin empty, so its folders have to.
            "folder": tempfile.mkdtemp(prefix="legacy-file-", dir=folder),
            "host_key_file": str(folder / "legacy-file-host-key"),
            "password": secrets.token_urlsafe(),
        }

    def vendor_port(self) -> VendorPort:
        """An SFTP server that shows the drop folder."""
        settings = self.settings
        for name in FOLDERS:
            (self._root / name).mkdir(parents=True, exist_ok=True)
        self.host_key = kept_host_key(Path(settings["host_key_file"]))
        house = SftpHouse(
            root=self._root,
            username=str(settings.get("username", DEFAULT_USER)),
            password=str(settings["password"]),
            host_key=self.host_key,
            full=lambda: self.misbehaves("disk_full"),
            renamed=lambda path: MARK if path.endswith(MARKER) else "rename",
        )
        return SftpPort(self, house)

    def routes(self) -> Sequence[VendorRoute]:
        """None: it does not speak HTTP. Its calls are list, read, put and rename."""
        return ()

    def host_key_line(self) -> str:
        """What an adapter pins."""
        return public_line(self.host_key)

    def books(self) -> dict[str, Any]:
        """Orders, goods issues, what was asked for and refused, receipts, and files that wait."""
        plain = ("documents", "refused", "receipts", "held", "expected")
        return {
            **{name: getattr(self._mail, name) for name in plain},
            "sales_orders": self.erp.orders(),
            "goods_issues": [asdict(each) for each in self.erp.of(ISSUE)],
            "host_key": self.host_key_line(),
        }

    def commands(self) -> dict[str, Command]:
        """misbehave, behave, release_gap."""
        return {**super().commands(), "release_gap": self._release_gap}

    async def tick(self) -> None:
        """One batch run: what is complete in inbound, in the order of its numbers; due answers."""
        if self.misbehaves("silence"):
            return
        inbound = self._root / "inbound"
        for file in sorted(inbound.glob(f"*{ENDING}"), key=lambda path: path.name[-12:]):
            if (marker := file.with_name(f"{file.name}{MARKER}")).exists():
                self._take(file, marker)
        due = [each for each in self._later if each.due <= self.now()]
        for each in due:
            self._later.remove(each)
            self._answer(each)

    # Taking files.

    def _take(self, file: Path, marker: Path) -> None:
        data = file.read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        interface, number = _named(file.name)
        seen = self._mail.seen.get((interface, number))
        if seen is not None:
            code = "" if seen == digest else "F003"
            self._moved(file, marker, "error" if code else "archive")
            text = "another file had this number" if code else "the same file again"
            self._receipt(file.name, number, digest, "R" if code else "D", code, text)
            return
        expected = self._mail.expected.get(interface, 1)
        if number > expected and self.settings.get("gaps", "hold") == "hold":
            if file.name not in self._mail.held:
                self._mail.held.append(file.name)
                missing = f"number {expected} is missing"
                self._receipt(file.name, number, digest, "H", "", missing)
            return
        if file.name in self._mail.held:
            self._mail.held.remove(file.name)
        working = self._moved(file, marker, "inbound/work")
        try:
            rows = self._read(interface, data, marker_says=_control(marker, self._layouts))
        except LayoutError as error:
            code = "F001" if "add up" in str(error) or "control" in str(error) else "F002"
            working.rename(self._root / "error" / file.name)
            self._receipt(file.name, number, digest, "R", code, str(error)[:60])
            return
        finally:
            marker.unlink(missing_ok=True)
        self._mail.seen[interface, number] = digest
        self._mail.expected[interface] = max(expected, number + 1)
        working.rename(self._root / "archive" / file.name)
        self._receipt(file.name, number, digest, "A", "", "")
        self._post(INTERFACES[interface], file.name, rows)

    def _read(self, interface: str, data: bytes, marker_says: Row) -> list[Row]:
        if self.struck("unreadable"):
            raise LayoutError("the reader of this night could not read it")
        if interface not in INTERFACES:
            raise LayoutError(f"there is no interface {interface}")
        says = marker_says.values
        if (says["bytes"], says["sha256"]) != (len(data), hashlib.sha256(data).hexdigest()):
            raise LayoutError("the control file says another size or content")
        return layout_files.read(self._layouts[INTERFACES[interface]], data)

    def _moved(self, file: Path, marker: Path, folder: str) -> Path:
        target = self._root / folder / file.name
        file.rename(target)
        if folder != "inbound/work":
            marker.unlink(missing_ok=True)
        return target

    # Posting documents.

    def _post(self, layout: str, file: str, rows: Sequence[Row]) -> None:
        results: list[Row] = []
        rejected: list[Row] = [rows[0]]
        for document, own in _documents(rows):
            asked = {name: document.text(name) for name in ("document", "departure", "action")}
            self._mail.documents.append({"layout": layout, "file": file, **asked})
            number, refusals = self._posted(layout, document, own)
            lines = [row for row in own if row.record == "line"]
            for line in lines or [Row("line", {"line": WHOLE})]:
                at = int(line.text("line"))
                refusal = next((r for r in refusals if r.line in (WHOLE, at)), None)
                if refusal is None and refusals and not self.erp.by_line:
                    refusal = Refusal("E190", "another line of the document was refused", at)
                results.append(self._result(document, at, number, refusal))
            if refusals:
                self._mail.refused.append({"document": document.text("document"), "file": file,
                                            "codes": [each.code for each in refusals]})  # fmt: skip
                rejected += _rejected([document, *own], refusals)
        self._plan("result", f"{file}.res", "results", results)
        if len(rejected) > 1:
            self._plan("reject", f"{file}.rej", f"{layout}_rejects", rejected)

    def _posted(self, layout: str, document: Row, own: Sequence[Row]) -> tuple[str, list[Refusal]]:
        """(the ERP's number, why not)"""
        if self.struck("period_closed"):
            return "", [Refusal("E130", "the posting period is closed")]
        key, action = document.text("document"), document.text("action")
        order = key if layout == ORDER else document.text("order")
        if layout == ISSUE and action == "I":
            key = f"{key}/{document.text('departure') or 1}"
        lines = [
            Line(int(row.text("line")), row.text("item"), Decimal(row.text("quantity")))
            for row in own
            if row.record == "line"
        ]
        asked = Asked(
            layout, action, document.text("reference"), key, order, document.text("customer"), lines
        )
        return self.erp.post(asked)

    # Answering.

    def _receipt(
        self, file: str, number: int, digest: str, status: str, code: str, text: str
    ) -> None:
        said = {"file": file, "status": status, "code": code, "text": text}
        self._mail.receipts.append(said)
        self._mail.answer_number += 1
        ours = self._mail.answer_number
        row = Row("receipt", {**said, "sequence": number, "sha256": digest, "number": ours})
        stem = f"{file}.{self._mail.answer_number:08d}.ack"
        self._answer(Later(self.now(), "ack", stem, "receipts", [row]))

    def _result(self, document: Row, line: int, number: str, refusal: Refusal | None) -> Row:
        status = "?" if self.struck("unknown_status") else "R" if refusal else "A"
        values: dict[str, Any] = {"line": line, "status": status}
        values |= {name: document.values.get(name) for name in ("reference", "document")}
        values["departure"] = document.values.get("departure")
        if refusal is None or refusal.code == "E110":
            values["erp_document"] = number
        if refusal is not None:
            values |= {"code": refusal.code, "text": refusal.text}
        values["processed"] = self.now().replace(microsecond=0, tzinfo=None)
        return Row("result", values)

    def _plan(self, folder: str, stem: str, layout: str, rows: list[Row]) -> None:
        seconds = float(self.settings.get("result_seconds", 0))
        if self.struck("late_results"):
            seconds += float(self.settings.get("late_seconds", 3))
        self._mail.answer_number += 1
        stem = f"{stem}.{self._mail.answer_number:08d}"
        if layout == "results":
            created = self.now().replace(microsecond=0, tzinfo=None)
            rows = [Row("head", {"sequence": self._mail.answer_number, "created": created}), *rows]
        due = self.now() + timedelta(seconds=seconds)
        self._later.append(Later(due, folder, stem, layout, rows))

    def _answer(self, each: Later) -> None:
        """Publish an answer as it should be, and in the ways it should not."""
        data = layout_files.write(self._layouts[each.layout], each.rows)
        if self.struck("half_written"):
            # Cut in the middle of a record and marked as complete all the same.
            self._publish(each.folder, f"{each.stem}.half", data[: len(data) * 2 // 3])
        if self.struck("wrong_totals"):
            self._publish(each.folder, f"{each.stem}.sums", _miscounted(data))
        self._publish(each.folder, each.stem, data)
        if self.struck("duplicate_answers"):
            self._publish(each.folder, f"{each.stem}.again", data)

    def _publish(self, folder: str, stem: str, data: bytes) -> None:
        place = self._root / folder / stem
        temporary = place.with_name(f"{stem}{TEMPORARY}")
        temporary.write_bytes(data)
        temporary.rename(place)
        place.with_name(f"{stem}{MARKER}").write_bytes(b"")

    async def _release_gap(self, body: dict[str, Any]) -> dict[str, int]:
        """{"interface", "next"}: somebody at the ERP lets a missing number pass."""
        self._mail.expected[str(body["interface"])] = int(body["next"])
        return self._mail.expected


def _named(name: str) -> tuple[str, int]:
    """(interface, number) of a file by its name."""
    _, interface, _, _, number = name.removesuffix(ENDING).split("_")
    return interface, int(number)


def _control(marker: Path, layouts: dict[str, Any]) -> Row:
    (row, *more) = layout_files.read(layouts["control"], marker.read_bytes()) or [Row("none")]
    if more or row.record != "control":
        raise LayoutError("the control file has not one record")
    return row


def _documents(rows: Sequence[Row]) -> list[tuple[Row, list[Row]]]:
    found: list[tuple[Row, list[Row]]] = []
    for row in rows[1:-1]:
        if row.record == "document":
            found.append((row, []))
        else:
            found[-1][1].append(row)
    return found


def _rejected(rows: Sequence[Row], refusals: Sequence[Refusal]) -> list[Row]:
    """The records of a refused document as they came, each with its own error."""
    given = []
    for row in rows:
        line = int(row.text("line") or 0) if row.record in ("line", "document") else -1
        found = next((each for each in refusals if each.line == line), None)
        error = {"error_code": found.code, "error_text": found.text} if found else {}
        given.append(Row(row.record, {**row.values, **error}))
    return given


def _miscounted(data: bytes) -> bytes:
    """The same file with another digit in the count of its last record."""
    at = next(n for n in range(len(data) - 1, -1, -1) if data[n : n + 1].isdigit())
    return data[:at] + str((int(data[at : at + 1]) + 1) % 10).encode() + data[at + 1 :]


SANDBOX = LegacyFileSandbox
