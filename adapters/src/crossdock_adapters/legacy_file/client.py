"""The protocol of the drop folder: files out by rename and marker, answers in by totals.

Knows nothing about orders. A file goes out under a name of its own, once: it is put beside,
renamed, and then marked by a control file, so that nobody reads half of it. What the ERP says comes
back in files of its own, which are read once each when their marker is there; what breaks its
layout is kept aside with the reason.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from crossdock_adapters.legacy_file.translate import Said
from crossdock_adapters.sdk import layout_files
from crossdock_adapters.sdk.drop_folder import DropFolder, FileFact, FileMissing, NameTaken
from crossdock_adapters.sdk.layout import Layout
from crossdock_adapters.sdk.layout_files import MAX_FILE_BYTES, LayoutError, Row
from crossdock_adapters.sdk.outcomes import NeedsPerson, Unreachable

RECEIPTS: Final = "receipts"
RESULTS: Final = "results"
CONTROL: Final = "control"
REFUSED_STATUS: Final = "R"
STAMP: Final = "%Y%m%dT%H%M%SZ"
# Files are renamed from folder to folder in this order, so one that moves meanwhile is met later.
WAY: Final = ("inbound", "work", "archive")
ANSWERS: Final = ("ack", "result", "reject")
MAX_LOOKS_BEHIND: Final = 100_000


@dataclass(frozen=True, slots=True)
class Conventions:
    """What both sides agreed on.

    folders: their paths by the names inbound, work, archive, error, ack, result and reject. marker:
    the ending of the file that says "complete"; empty: the rename says it.
    """

    folders: Mapping[str, str]
    marker: str = ".done"
    temporary: str = ".tmp"
    ending: str = ".dat"
    system: str = "CROSSDOCK"
    site: str = "MAIN"


@dataclass(frozen=True, slots=True)
class Receipt:
    """What the ERP says about a file."""

    status: str
    code: str = ""
    text: str = ""


@dataclass(slots=True)
class Broken:
    """An answer that breaks its layout. told: the hub holds it already."""

    path: str
    data: bytes = field(repr=False)
    reason: str = ""
    told: bool = False


@dataclass(frozen=True, slots=True)
class _Answer:
    """What stands in one answer file."""

    receipts: Mapping[str, Sequence[Receipt]] = field(default_factory=dict)
    said: Mapping[str, Sequence[Said]] = field(default_factory=dict)


class ErpFiles:
    """One ERP's folders. `layouts` by name; those that end in _rejects read the reject folder."""

    def __init__(
        self,
        folder: DropFolder,
        conventions: Conventions,
        layouts: Mapping[str, Layout],
        look_seconds: float,
    ) -> None:
        self.layouts = layouts
        self.conventions = conventions
        self.broken: dict[str, Broken] = {}
        self._folder = folder
        self._look_seconds = look_seconds
        self._looking = asyncio.Lock()
        self._looked_at = -float("inf")
        self._answers: dict[tuple[str, int, datetime], _Answer] = {}

    async def test(self) -> None:
        """Prove that the folders are there and may be listed."""
        for name in (*WAY, *ANSWERS):
            await self._names(name)

    async def close(self) -> None:
        """Close the connection."""
        await self._folder.close()

    def name_of(self, interface: str, number: int, taken: datetime) -> str:
        """The name of a file: unique by its number, the same each time it is asked for."""
        c = self.conventions
        stamp = taken.astimezone(UTC).strftime(STAMP)
        return f"{c.system}_{interface}_{c.site}_{stamp}_{number:08d}{c.ending}"

    def number_of(self, name: str) -> tuple[int, datetime]:
        """(number, time) of a file by its name. ValueError when it is not one of ours."""
        stem = name.removesuffix(self.conventions.ending)
        *_, stamp, number = stem.split("_")
        return int(number), datetime.strptime(stamp, STAMP).replace(tzinfo=UTC)

    async def whereabouts(self, name: str) -> str:
        """Where a file is on its way: inbound, work, archive, or nowhere (empty)."""
        for place in WAY:
            # A file in work may have the ending of the worker that claimed it.
            if any(_is_file(fact, name, self.conventions) for fact in await self._names(place)):
                return place
        return ""

    async def drop(self, name: str, data: bytes, records: int) -> None:
        """Publish a file and its marker, each once however often this is called.

        The name may be free, taken by ourselves, or half published by an attempt that died.
        """
        c = self.conventions
        inbound = c.folders["inbound"]
        there = {fact.name for fact in await self._names("inbound")}
        if name not in there and not await self.whereabouts(name):
            await self._publish(f"{inbound}/{name}", data)
        elif name not in there:
            return
        if c.marker and f"{name}{c.marker}" not in there:
            control = Row("control", {
                "file": name, "bytes": len(data), "records": records,
                "sha256": hashlib.sha256(data).hexdigest(),
            })  # fmt: skip
            written = layout_files.write(self.layouts[CONTROL], [control])
            await self._publish(f"{inbound}/{name}{c.marker}", written)

    async def oldest_untaken(self) -> datetime | None:
        """Since when the ERP has left a file of ours in the inbound folder; None: it has not."""
        mine = [
            fact.modified
            for fact in await self._names("inbound")
            if fact.name.startswith(f"{self.conventions.system}_")
            and fact.name.endswith(self.conventions.ending)
        ]
        return min(mine, default=None)

    async def look(self) -> None:
        """Read the answer files that are new; calls within `look_seconds` share one look."""
        async with self._looking:
            if time.monotonic() - self._looked_at < self._look_seconds:
                return
            known = dict(self._answers)
            for place in ANSWERS:
                facts = await self._names(place)
                names = {fact.name for fact in facts}
                for fact in facts:
                    key = (f"{place}/{fact.name}", fact.size, fact.modified)
                    if known.pop(key, None) is None and self._is_complete(fact.name, names):
                        await self._read(place, fact, key)
            for gone in known:
                del self._answers[gone]
            if len(self._answers) > MAX_LOOKS_BEHIND:
                raise NeedsPerson(f"more than {MAX_LOOKS_BEHIND} answer files: archive old ones")
            self._looked_at = time.monotonic()

    def receipts(self, name: str) -> list[Receipt]:
        """What the ERP said about a file, oldest first."""
        return [receipt for answer in self._in_order() for receipt in answer.receipts.get(name, ())]

    def said(self, reference: str) -> list[Said]:
        """What the ERP said about a document, by our reference in its records, oldest first."""
        return [said for answer in self._in_order() for said in answer.said.get(reference, ())]

    def _in_order(self) -> list[_Answer]:
        return [self._answers[key] for key in sorted(self._answers, key=lambda k: (k[2], k[0]))]

    async def _publish(self, path: str, data: bytes) -> None:
        temporary = f"{path}{self.conventions.temporary}"
        await self._folder.put(temporary, data)
        try:
            await self._folder.publish(temporary, path)
        except NameTaken:
            # By an earlier attempt of ours: names are never given twice.
            return
        except FileMissing as missing:
            raise Unreachable(0.0, f"{temporary} is gone again: who cleans up there?") from missing

    async def _names(self, place: str) -> list[FileFact]:
        path = self.conventions.folders[place]
        try:
            return await self._folder.names(path)
        except FileMissing as missing:
            raise NeedsPerson(f"the folder {path} is not there") from missing

    def _is_complete(self, name: str, names: set[str]) -> bool:
        c = self.conventions
        if name.endswith(c.temporary) or (c.marker and name.endswith(c.marker)):
            return False
        return not c.marker or f"{name}{c.marker}" in names

    async def _read(self, place: str, fact: FileFact, key: tuple[str, int, datetime]) -> None:
        path = f"{self.conventions.folders[place]}/{fact.name}"
        try:
            data = await self._folder.read(path, MAX_FILE_BYTES)
        except FileMissing:
            return
        try:
            answer = self._understood(place, data)
        except LayoutError as error:
            # Read again when it changes; until then it is somebody's to look at.
            known = f"{path} {fact.size} {fact.modified.isoformat()}"
            self.broken.setdefault(known, Broken(path, data, str(error)))
            answer = _Answer()
        self._answers[key] = answer

    def _understood(self, place: str, data: bytes) -> _Answer:
        match place:
            case "ack":
                return _receipts(layout_files.read(self.layouts[RECEIPTS], data))
            case "result":
                return _results(layout_files.read(self.layouts[RESULTS], data))
        problems = []
        for name, layout in sorted(self.layouts.items()):
            if name.endswith("_rejects"):
                try:
                    return _rejects(layout_files.read(layout, data))
                except LayoutError as error:
                    problems.append(f"{name}: {error}")
        raise LayoutError("; ".join(problems))


def _is_file(fact: FileFact, name: str, conventions: Conventions) -> bool:
    if fact.name == name:
        return True
    rest = fact.name.removeprefix(f"{name}.")
    ours = (conventions.temporary, conventions.marker)
    return rest != fact.name and f".{rest}" not in ours and not fact.name.endswith(ours[0])


def _receipts(rows: Sequence[Row]) -> _Answer:
    found: dict[str, list[Receipt]] = {}
    for row in rows:
        if row.record == "receipt":
            said = Receipt(row.text("status"), row.text("code"), row.text("text"))
            found.setdefault(row.text("file"), []).append(said)
    return _Answer(receipts=found)


def _results(rows: Sequence[Row]) -> _Answer:
    found: dict[str, list[Said]] = {}
    for row in rows:
        if row.record == "result":
            said = Said(
                line=int(row.text("line")),
                status=row.text("status"),
                code=row.text("code"),
                text=row.text("text"),
                erp_document=row.text("erp_document"),
            )
            found.setdefault(row.text("reference"), []).append(said)
    return _Answer(said=found)


def _rejects(rows: Sequence[Row]) -> _Answer:
    """The records that were given back with an error; those without one are there for company."""
    found: dict[str, list[Said]] = {}
    for row in rows:
        if row.text("error_code"):
            said = Said(
                line=int(row.text("line") or 0),
                status=REFUSED_STATUS,
                code=row.text("error_code"),
                text=row.text("error_text"),
            )
            found.setdefault(row.text("reference"), []).append(said)
    return _Answer(said=found)
