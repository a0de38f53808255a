"""Files out, each once, under running numbers; what is said of them back, each file read once.

    exchange = FileExchange(folder, conventions, control, look_seconds, understood)

A file goes out under a name of its own, once: it is put beside, renamed, and then marked by a
control file, so that nobody reads half of it. What the other side says comes back in files of its
own, which are read once each when their marker is there; what breaks its layout is kept aside with
the reason. What stands in them is told by `understood`: receipts of files, and what is said under a
reference.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, Generic, TypeAlias, TypeVar

from crossdock_adapters.sdk import layout_files
from crossdock_adapters.sdk.drop_folder import (
    DropFolder,
    FileFact,
    FileMissing,
    TooManyNames,
    names_in,
    publish_whole,
)
from crossdock_adapters.sdk.layout import Layout
from crossdock_adapters.sdk.layout_files import MAX_FILE_BYTES, LayoutError, Row
from crossdock_adapters.sdk.outcomes import Retry
from crossdock_adapters.sdk.settings import SettingsError
from crossdock_adapters.sdk.work import Poll

STAMP: Final = "%Y%m%dT%H%M%SZ"
# Files are renamed from folder to folder in this order, so one that moves meanwhile is met later.
WAY: Final = ("inbound", "work", "archive", "error")
INBOUND: Final = WAY[0]
# Folders in which much may lie: a file is asked for there by its name, never by a list.
DEEP: Final = frozenset({"archive", "error"})
ANSWERS: Final = ("ack", "result", "reject")
MAX_ANSWER_FILES: Final = 100_000
CROWDED_RETRY_SECONDS: Final = 60.0
# What one look reads; the rest is read by the next one.
MAX_LOOK_BYTES: Final = 32 * 1024 * 1024
# As much of a broken answer as the hub holds.
MAX_KEPT_BYTES: Final = 512 * 1024
# As many of them are kept until the hub has them; others are read again by a later look.
MAX_KEPT_BROKEN: Final = 64
# So many in a row that the hub could not be given are the hub's trouble, and not theirs.
HOLD_FAILURES_IN_A_ROW: Final = 3
OWN_CHARACTERS: Final = 8
MAX_REMEMBERED: Final = 10_000
LONG_AGO: Final = datetime.min.replace(tzinfo=UTC)
# What the other side says of one line or document: the endpoint's own.
Said = TypeVar("Said")


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

    def check(self) -> None:
        """SettingsError: a file that is complete could not be told from one that is not."""
        missing = [name for name in (*WAY, *ANSWERS) if not self.folders.get(name)]
        if missing:
            raise SettingsError(f"folders: {', '.join(missing)} is missing")
        if not self.temporary or not self.ending:
            raise SettingsError("temporary and ending must not be empty")
        endings = [each for each in (self.temporary, self.marker, self.ending) if each]
        if any(one.endswith(other) for one in endings for other in endings if one is not other):
            raise SettingsError(
                "temporary, marker and ending must differ, and none be another's end"
            )


@dataclass(frozen=True, slots=True)
class Receipt:
    """What the other side says of a file. number: its own running one, where it has one.

    told: when the file with it was written, UTC; None where nobody says.
    """

    status: str
    code: str = ""
    text: str = ""
    number: int | None = None
    told: datetime | None = None


@dataclass(frozen=True, slots=True)
class Broken:
    """An answer that breaks its layout, and the hub does not know of: its begin, and why."""

    path: str
    data: bytes = field(repr=False)
    reason: str


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """Where a file is on its way, and since when it exists, UTC; None where nobody says."""

    place: str
    modified: datetime | None


# Path, size and time of an answer file: read again when one of them changes.
_Key: TypeAlias = tuple[str, int, datetime | None]


@dataclass(frozen=True)
class FileAnswer(Generic[Said]):
    """What stands in one answer file: of files by their names, of documents by our references."""

    receipts: Mapping[str, Sequence[Receipt]] = field(default_factory=dict)
    said: Mapping[str, Sequence[Said]] = field(default_factory=dict)


# What stands in an answer file of this place, with these bytes, written then. LayoutError.
Understood: TypeAlias = Callable[[str, bytes, datetime | None], FileAnswer[Said]]


class FileExchange(Generic[Said]):
    """One other side's folders. control: the layout of a marker's content."""

    def __init__(
        self,
        folder: DropFolder,
        conventions: Conventions,
        control: Layout,
        look_seconds: float,
        understood: Understood[Said],
    ) -> None:
        self.conventions = conventions
        self.broken: dict[_Key, Broken] = {}
        # Of those that break: the hub could not be given them, so they come after all others.
        self._put_off: set[_Key] = set()
        self._folder = folder
        self._control = control
        self._look_seconds = look_seconds
        self._understood = understood
        self._own = uuid.uuid4().hex[:OWN_CHARACTERS]
        self._looking = asyncio.Lock()
        self._looked_at = -float("inf")
        self._answers: dict[_Key, FileAnswer[Said]] = {}
        self._receipts: dict[str, list[Receipt]] = {}
        self._said: dict[str, list[Said]] = {}
        # Of files that this process published: when, and how often the other side had refused them.
        self._out: dict[str, tuple[datetime, int]] = {}
        self._untaken: frozenset[str] = frozenset()
        self._moved_at: datetime | None = None
        self._highest: dict[str, int] = {}

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

    async def whereabouts(self, name: str) -> Whereabouts | None:
        """Where a file is on its way; None: nowhere."""
        for place in WAY:
            found = await self._find(place, name)
            if found is not None:
                return Whereabouts(place, found.modified)
        return None

    async def drop(self, name: str, data: bytes, records: int, *, again: bool = False) -> None:
        """Publish a file and its marker, each once however often this is called.

        The name may be free, taken by ourselves, or half published by an attempt that died. again:
        the other side refused it as damaged, so what lies where it puts files away does not count.
        """
        c = self.conventions
        inbound = c.folders[INBOUND]
        there = {fact.name for fact in await self._names(INBOUND)}
        if name not in there:
            found = await self.whereabouts(name)
            if found is not None and not (again and found.place in DEEP):
                return
            await self._publish(f"{inbound}/{name}", data)
        if c.marker and f"{name}{c.marker}" not in there:
            control = Row("control", {
                "file": name, "bytes": len(data), "records": records,
                "sha256": hashlib.sha256(data).hexdigest(),
            })  # fmt: skip
            written = layout_files.write(self._control, [control])
            await self._publish(f"{inbound}/{name}{c.marker}", written)
        if len(self._out) >= MAX_REMEMBERED:
            self._out.clear()
        self._out[name] = datetime.now(UTC), len(self.receipts(name))

    async def went_again(self, name: str) -> bool:
        """Whether a file is out once more since the newest receipt of it."""
        receipts = self.receipts(name)
        _, known = self._out.get(name, (None, -1))
        if known >= len(receipts):
            return True
        # Of another process: a file that was written after the receipt was.
        found = await self.whereabouts(name)
        told = receipts[-1].told if receipts else None
        if found is None or found.modified is None or told is None:
            return False
        return found.modified > told

    async def out_since(self, name: str) -> datetime | None:
        """Since when a file has been out; None: nobody can say."""
        if name in self._out:
            return self._out[name][0]
        found = await self.whereabouts(name)
        if found is not None and found.modified is not None:
            return found.modified
        return next((each.told for each in self.receipts(name) if each.told is not None), None)

    async def silent_since(self) -> datetime | None:
        """Since when the other side has left a file of ours in the inbound folder, and done
        nothing else that can be seen; None: it has left none.

        A file without its marker is not theirs yet, and one with a receipt is no longer silence.
        """
        c = self.conventions
        facts = {fact.name: fact for fact in await self._names(INBOUND)}
        waiting = [
            fact
            for fact in facts.values()
            if fact.name.startswith(f"{c.system}_")
            and fact.name.endswith(c.ending)
            and (not c.marker or f"{fact.name}{c.marker}" in facts)
            and not self.receipts(fact.name)
        ]
        names = frozenset(fact.name for fact in waiting)
        if self._untaken - names:
            self._moved_at = datetime.now(UTC)
        self._untaken = names
        since = [fact.modified for fact in waiting if fact.modified is not None]
        if not since:
            return None
        signs = [self._moved_at, *(modified for _, _, modified in self._answers)]
        return max([min(since), *(sign for sign in signs if sign is not None)])

    async def highest(self, interface: str) -> int:
        """The highest number that a file of an interface was seen to have; 0: none was.

        All folders are listed once by each process, afterwards only what is short or new.
        """
        places = WAY if interface not in self._highest else (INBOUND,)
        found = [self._highest.get(interface, 0)]
        for place in places:
            try:
                names = [fact.name for fact in await self._names(place)]
            except TooManyNames:
                if place == INBOUND:
                    raise
                # Receipts and results of the newest are what is left to go by.
                continue
            found += [number for name in names if (number := self._number(interface, name))]
        found += [number for name in self._receipts if (number := self._number(interface, name))]
        self._highest[interface] = max(found)
        return self._highest[interface]

    def _number(self, interface: str, name: str) -> int:
        """0: it is no file of the interface."""
        c = self.conventions
        ours, ending, _ = name.partition(c.ending)
        if not ending or not name.startswith(f"{c.system}_{interface}_{c.site}_"):
            return 0
        try:
            return self.number_of(ours)[0]
        except ValueError:
            return 0

    async def look(self, first: str = "") -> None:
        """Read the answer files that are new; calls within `look_seconds` share one look.

        first: the file whose answers are read before others', by their names. What is more than
        `MAX_LOOK_BYTES` is left for the next look.
        """
        async with self._looking:
            if time.monotonic() - self._looked_at < self._look_seconds:
                return
            fresh, gone = await self._unread()
            for key in gone:
                del self._answers[key]
                self._put_off.discard(key)
            fresh.sort(key=lambda one: self._turn(one[1].name.startswith(first or " "), one[2]))
            left = MAX_LOOK_BYTES
            for place, fact, key in fresh:
                if left <= 0:
                    break
                left -= fact.size
                await self._read(place, fact, key)
            if fresh or gone:
                self._sort_out()
            if left > 0:
                self._looked_at = time.monotonic()

    def receipts(self, name: str) -> list[Receipt]:
        """What the other side said of a file, oldest first; what it said twice stands once."""
        return self._receipts.get(name, [])

    def said(self, reference: str) -> list[Said]:
        """What the other side said of a document, by our reference in its records, oldest first."""
        return self._said.get(reference, [])

    async def hold_broken(self, poll: Poll) -> None:
        """Give the hub the answer files that break their layout, so that somebody looks at them.

        One that it could not be given is kept, and keeps back no other. Raises what the last of
        those was told, once the others are held.
        """
        await self.look()
        trouble: Exception | None = None
        in_a_row = 0
        # A delivery that looks meanwhile may find more: those are the next round's.
        for key, broken in list(self.broken.items()):
            path, size, modified = key
            identity = f"{path} {size} {modified.isoformat() if modified else ''}"
            reason = f"{broken.path}: {broken.reason}"
            try:
                await poll.hold(broken.data, reason, "text/plain", key=identity)
            except Exception as error:
                self._put_off.add(key)
                if self.broken.pop(key, None) is not None:
                    self.broken[key] = broken
                trouble, in_a_row = error, in_a_row + 1
                if in_a_row == HOLD_FAILURES_IN_A_ROW:
                    break
                continue
            in_a_row = 0
            # Kept by the hub from here on.
            self.broken.pop(key, None)
            self._put_off.discard(key)
        if trouble is not None:
            raise trouble

    async def _unread(self) -> tuple[list[tuple[str, FileFact, _Key]], list[_Key]]:
        """(answer files that are complete and not read yet, what was read and is there no more)"""
        known, fresh = dict(self._answers), []
        for place in ANSWERS:
            facts = await self._names(place)
            names = {fact.name for fact in facts}
            for fact in facts:
                key = (f"{place}/{fact.name}", fact.size, fact.modified)
                if known.pop(key, None) is None and self._is_complete(fact.name, names):
                    fresh.append((place, fact, key))
        if len(self._answers) - len(known) + len(fresh) > MAX_ANSWER_FILES:
            said = f"more than {MAX_ANSWER_FILES} answer files: archive old ones"
            raise Retry(CROWDED_RETRY_SECONDS, said)
        return fresh, list(known)

    def _sort_out(self) -> None:
        """Everything that was said, by file and by reference."""
        self._receipts, self._said = {}, {}
        for key in sorted(self._answers, key=_age):
            answer = self._answers[key]
            for name, receipts in answer.receipts.items():
                known = self._receipts.setdefault(name, [])
                numbers = {each.number for each in known} - {None}
                known += [each for each in receipts if each.number not in numbers]
            for reference, said in answer.said.items():
                self._said.setdefault(reference, []).extend(said)
        for known in self._receipts.values():
            if all(each.number is not None for each in known):
                known.sort(key=lambda each: each.number or 0)

    async def _publish(self, path: str, data: bytes) -> None:
        # Of this process: what another one is still writing is never what this one renames.
        temporary = f"{path}.{self._own}{self.conventions.temporary}"
        await publish_whole(self._folder, path, data, temporary)

    async def _find(self, place: str, name: str) -> FileFact | None:
        if place in DEEP:
            return await self._folder.look(f"{self.conventions.folders[place]}/{name}")
        # A file in work may have the ending of the worker that claimed it.
        facts = await self._names(place)
        return next((fact for fact in facts if _is_file(fact, name, self.conventions)), None)

    async def _names(self, place: str) -> list[FileFact]:
        return await names_in(self._folder, self.conventions.folders[place])

    def _is_complete(self, name: str, names: set[str]) -> bool:
        c = self.conventions
        if name.endswith(c.temporary) or (c.marker and name.endswith(c.marker)):
            return False
        return not c.marker or f"{name}{c.marker}" in names

    def _turn(self, is_first: bool, key: _Key) -> tuple[bool, bool, tuple[datetime, str]]:
        """By what a file's place is decided among those that are read."""
        return not is_first, key in self._put_off, _age(key)

    def _has_room(self, key: _Key) -> bool:
        """Whether one more that breaks is kept; for one whose turn has not come yet, another goes
        that the hub could not be given, and that is there to be read again after all others."""
        if len(self.broken) < MAX_KEPT_BROKEN:
            return True
        if key in self._put_off:
            return False
        there = (each for each in self.broken if each in self._put_off and each in self._answers)
        least = next(there, None)
        if least is None:
            return False
        del self.broken[least], self._answers[least]
        return True

    async def _read(self, place: str, fact: FileFact, key: _Key) -> None:
        path = f"{self.conventions.folders[place]}/{fact.name}"
        try:
            data = await self._folder.read(path, MAX_FILE_BYTES)
        except FileMissing:
            return
        try:
            # A large file takes a while, and others have something to say meanwhile.
            answer = await asyncio.to_thread(self._understood, place, data, fact.modified)
        except LayoutError as error:
            if not self._has_room(key):
                return
            # Read again when it changes; until then it is somebody's to look at.
            self.broken[key] = Broken(path, data[:MAX_KEPT_BYTES], str(error))
            answer = FileAnswer()
        self._answers[key] = answer


def _is_file(fact: FileFact, name: str, conventions: Conventions) -> bool:
    if fact.name == name:
        return True
    rest = fact.name.removeprefix(f"{name}.")
    ours = (conventions.temporary, conventions.marker)
    return rest != fact.name and f".{rest}" not in ours and not fact.name.endswith(ours[0])


def _age(key: _Key) -> tuple[datetime, str]:
    path, _, modified = key
    return modified or LONG_AGO, path
