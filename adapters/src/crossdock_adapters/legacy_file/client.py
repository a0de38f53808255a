"""What stands in the ERP's answer files, by their layouts. Knows nothing about orders.

How files go out and come back is `sdk.file_exchange`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from crossdock_adapters.legacy_file.translate import Said
from crossdock_adapters.sdk import layout_files
from crossdock_adapters.sdk.drop_folder import DropFolder
from crossdock_adapters.sdk.file_exchange import Conventions, FileAnswer, FileExchange, Receipt
from crossdock_adapters.sdk.layout import Layout
from crossdock_adapters.sdk.layout_files import LayoutError, Row

RECEIPTS: Final = "receipts"
RESULTS: Final = "results"
CONTROL: Final = "control"
REJECTS: Final = "_rejects"
REFUSED_STATUS: Final = "R"


class ErpFiles(FileExchange[Said]):
    """One ERP's folders. `layouts` by name; those that end in _rejects read the reject folder."""

    def __init__(
        self,
        folder: DropFolder,
        conventions: Conventions,
        layouts: Mapping[str, Layout],
        look_seconds: float,
    ) -> None:
        super().__init__(folder, conventions, layouts[CONTROL], look_seconds, self._read_answer)
        self.layouts = layouts

    def _read_answer(self, place: str, data: bytes, written: datetime | None) -> FileAnswer[Said]:
        match place:
            case "ack":
                return _receipts(layout_files.read(self.layouts[RECEIPTS], data), written)
            case "result":
                return _results(layout_files.read(self.layouts[RESULTS], data))
        problems = []
        for name, layout in sorted(self.layouts.items()):
            if name.endswith(REJECTS):
                try:
                    return _rejects(layout_files.read(layout, data))
                except LayoutError as error:
                    problems.append(f"{name}: {error}")
        raise LayoutError("; ".join(problems))


def _receipts(rows: Sequence[Row], written: datetime | None) -> FileAnswer[Said]:
    found: dict[str, list[Receipt]] = {}
    for row in rows:
        if row.record == "receipt":
            number = row.values.get("number")
            said = Receipt(
                row.text("status"),
                row.text("code"),
                row.text("text"),
                number if isinstance(number, int) else None,
                written,
            )
            found.setdefault(row.text("file"), []).append(said)
    return FileAnswer(receipts=found)


def _results(rows: Sequence[Row]) -> FileAnswer[Said]:
    found: dict[str, list[Said]] = {}
    for row in rows:
        if row.record == "result":
            said = Said(
                line=int(row.text("line")),
                status=row.text("status"),
                code=row.text("code"),
                text=row.text("text"),
                erp_document=row.text("erp_document"),
                document=row.text("document"),
                departure=row.text("departure"),
            )
            found.setdefault(row.text("reference"), []).append(said)
    return FileAnswer(said=found)


def _rejects(rows: Sequence[Row]) -> FileAnswer[Said]:
    """The records that were given back with an error; those without one are there for company."""
    found: dict[str, list[Said]] = {}
    for row in rows:
        if row.text("error_code"):
            said = Said(
                line=int(row.text("line") or 0),
                status=REFUSED_STATUS,
                code=row.text("error_code"),
                text=row.text("error_text"),
                given_back=True,
            )
            found.setdefault(row.text("reference"), []).append(said)
    return FileAnswer(said=found)
