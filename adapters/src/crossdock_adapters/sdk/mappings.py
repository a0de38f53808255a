"""What a vendor's codes mean: the rows of `mappings.toml` beside the adapter, as the hub has them.

The file is the default. The hub keeps it together with what the deployment says, which goes before
it; the runner tells the hub the file when it registers, reads the rows of the hub then, and again
as soon as a begun delivery or a heartbeat says that they changed. Until it has registered, and
where the hub has none, the file holds.
"""

from __future__ import annotations

import asyncio
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from importlib import resources
from types import MappingProxyType
from typing import Any

from crossdock.exception_reasons import EXCEPTION_REASONS

from crossdock_adapters.sdk.manifest import ManifestError
from crossdock_adapters.sdk.sourced_rows import ROWS_OF, shared_file

FILE_NAME = "mappings.toml"
# Files of the SDK that another file may consist of, by `rows_of`.
SHARED_ROWS = ("usual_erp_units",)
MAX_ROWS = 2_000
MAX_TYPE = 32
MAX_CODE = 64
MAX_CODES = 8
# Tables of one word.
MAX_TYPES = 8
CONFIDENCES = frozenset({"H", "M", "L"})
_ROW_KEYS = frozenset({"type", "means", "reason", "preferred", "codes", "source", "confidence"})
_WORD = re.compile(r"[A-Z0-9_]{1,64}")


class Topic(StrEnum):
    """What a code speaks about; the names of crossdock.mapping.v1.MappingTopic without prefix."""

    CARRIER_CODE = "CARRIER_CODE"
    SERVICE_LEVEL = "SERVICE_LEVEL"
    PACKAGE_TYPE = "PACKAGE_TYPE"
    UNIT = "UNIT"
    STATUS = "STATUS"
    REASON = "REASON"
    ITEM_STATUS = "ITEM_STATUS"
    CREDIT_STATUS = "CREDIT_STATUS"


@dataclass(frozen=True, slots=True)
class Code:
    """A code as its vendor writes it, and the vendor's table it is of; "" where there is one."""

    type: str
    code: str


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a code means in the contract's words. preferred: sent where several mean the same."""

    canonical: str
    exception_reason: str = ""
    preferred: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """One code of the file. source: where it is written; confidence: H, M or L."""

    topic: Topic
    code: Code
    meaning: Meaning
    source: str
    confidence: str


@dataclass(frozen=True, slots=True)
class Told:
    """One code as the hub has it. by_deployment: an operator said so; revision: of its row, 0 of a
    row that only the file has told."""

    topic: str
    code: Code
    meaning: Meaning
    by_deployment: bool
    revision: int = 0


@dataclass(frozen=True, slots=True)
class UnreadCodes:
    """Codes, the most telling first, of which none has a row by which a payload could be read.

    revision: the sum of those of the rows that they have and that did not do; by it the hub knows
    whether a row that it has by now would be news.
    """

    topic: Topic
    codes: tuple[Code, ...]
    revision: int = 0


@dataclass(frozen=True, slots=True)
class UnsentWord:
    """A word of the contract that was to be sent and has no code. types: the vendor's tables in
    which the adapter looks for one; a preferred row in any of them will do."""

    topic: Topic
    canonical: str
    types: tuple[str, ...] = ("",)

    @property
    def may_have_row(self) -> bool:
        """False of a word that no row can mean, as one that is not in capitals."""
        return bool(_WORD.fullmatch(self.canonical)) and 0 < len(self.types) <= MAX_TYPES

    def command(self, kind: str, code: str = "CODE") -> str:
        """What somebody types so that it is sent. kind: of the endpoint; code: what the vendor
        calls such a word."""
        type_ = f" --type {self.types[0]}" if self.types[0] else ""
        return (
            f"crossdock map set {kind} {self.topic} {code}{type_} --means {self.canonical}"
            " --preferred --reason …"
        )

    def revision(self, rows: Iterable[Told]) -> int:
        """By which of these rows it is not sent: the sum of the revisions of those that mean it. By
        it the hub knows whether a row that it has by now would be news."""
        return sum(
            row.revision
            for row in rows
            if row.topic == self.topic
            and row.meaning.canonical == self.canonical
            and row.code.type in self.types
        )


@dataclass(frozen=True, slots=True)
class MappingFile:
    """The rows of one file, and its version."""

    version: str
    rows: tuple[Row, ...]


def read_file(text: str, name: str = FILE_NAME) -> MappingFile:
    """Read a file; one that says `rows_of` begins with the rows of that file of the SDK, and its
    version, if it has rows of its own, is of both. ManifestError lists every row that is wrong."""
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ManifestError(name, [f"not TOML: {error}"]) from error
    shared = None
    if ROWS_OF in raw:
        shared = read_file(*shared_file(raw.pop(ROWS_OF), SHARED_ROWS, name))
    if shared is not None and not raw:
        return shared
    version, sources = raw.pop("version", ""), raw.pop("sources", {})
    problems = [] if isinstance(version, str) and version else ["version is missing"]
    rows = {} if shared is None else {(row.topic, row.code): row for row in shared.rows}
    for table, groups in raw.items():
        if table.upper() not in Topic.__members__:
            problems.append(
                f"[[{table}]] is no topic; there are {', '.join(map(str.lower, Topic))}"
            )
            continue
        for group in groups:
            for row in _rows(Topic(table.upper()), group, sources, problems):
                if (row.topic, row.code) in rows:
                    problems.append(f"{table} {row.code.type} {row.code.code} is claimed twice")
                rows[row.topic, row.code] = row
    if len(rows) > MAX_ROWS:
        problems.append(f"{len(rows)} rows; at most {MAX_ROWS}")
    if problems:
        raise ManifestError(name, problems)
    whole = version if shared is None else f"{version}+{shared.version}"
    return MappingFile(whole, tuple(rows.values()))


def file_of(package: str) -> MappingFile | None:
    """The file beside a package's modules; None: it has none."""
    file = resources.files(package).joinpath(FILE_NAME)
    if not file.is_file():
        return None
    return read_file(file.read_text("utf-8"), f"{package}/{FILE_NAME}")


async def as_they_are(_version: int | None = None) -> None:
    """The rows of whoever follows no hub's: nothing is to be read before they are used."""


class Mappings:
    """The rows that hold now; one for all endpoints of a kind in a process."""

    def __init__(self, file: MappingFile | None = None) -> None:
        self.file = file
        self._rows: dict[tuple[str, Code], Told] = {}
        # Of these rows; each is worked out when it is asked for, and that is with every delivery.
        self._natives: dict[tuple[str, str], Mapping[str, str]] = {}
        self._version = -1
        self._reading: tuple[asyncio.AbstractEventLoop, asyncio.Lock] | None = None
        # How many readings have begun, and the number of the last one that came to its end.
        self._begun = self._ended = 0
        # How many times a hub did not answer who had its turn to read them.
        self._unanswered = 0
        self.replace(self.of_file())

    @property
    def version(self) -> int:
        """Of the rows, as the hub counts them; -1: of those that it is to be asked for."""
        return self._version

    @property
    def readings(self) -> int:
        """How many times the rows began to be read so far; see `read_since`."""
        return self._begun

    def read_since(self, readings: int) -> bool:
        """Whether the rows were read, from the beginning to the end, since there were so many."""
        return self._ended > readings

    def one_reads(self) -> asyncio.Lock:
        """Held by who reads the rows and takes them for all endpoints of the kind: a slow one would
        else put older rows in the place of newer ones. Of the loop that runs, since adapters are
        made before there is one."""
        loop = asyncio.get_running_loop()
        if self._reading is None or self._reading[0] is not loop:
            self._reading = loop, asyncio.Lock()
        return self._reading[1]

    @property
    def unanswered(self) -> int:
        """How many times a hub did not answer who read the rows; see `note_silence`."""
        return self._unanswered

    def note_silence(self) -> None:
        """The hub has not answered: whoever waits for its turn to read would wait for the same."""
        self._unanswered += 1

    def begin_reading(self) -> None:
        """From now on the rows are read; `replace` ends it."""
        self._begun += 1

    def of_file(self) -> list[Told]:
        """The rows of the file, as a hub would tell them."""
        rows = () if self.file is None else self.file.rows
        return [Told(row.topic, row.code, row.meaning, False) for row in rows]

    def told(self) -> Mapping[tuple[str, Code], Told]:
        """The rows by topic and code; another object once `replace` was called."""
        return self._rows

    def replace(self, rows: Iterable[Told], version: int = -1) -> None:
        """From now on these are all rows there are, see `version`."""
        self._rows = {(row.topic, row.code): row for row in rows}
        self._natives = {}
        self._version, self._ended = version, self._begun

    def first(self, topic: Topic, codes: Iterable[Code]) -> tuple[Code, Meaning] | None:
        """The first of these codes that has a row, and what it means; None: none has."""
        for code in codes:
            found = self._rows.get((topic, code))
            if found is not None:
                return code, found.meaning
        return None

    def unread(self, topic: Topic, codes: Iterable[Code]) -> UnreadCodes:
        """What a payload waits for that none of these codes could be read by: give it to what is
        raised, `Unreadable(problem, place, codes)`."""
        told = tuple(dict.fromkeys(codes))[:MAX_CODES]
        rows = (self._rows.get((topic, code)) for code in told)
        return UnreadCodes(topic, told, sum(row.revision for row in rows if row is not None))

    def natives(self, topic: Topic, type_: str = "") -> Mapping[str, str]:
        """Canonical word to the code that is sent for it, of one of the vendor's tables.

        Where several codes mean the same the preferred one is sent, what the deployment says before
        what the file says; where none is preferred there is nothing to send.
        """
        known = self._natives.get((topic, type_))
        if known is None:
            known = self._natives[topic, type_] = MappingProxyType(self._preferred(topic, type_))
        return known

    def _preferred(self, topic: Topic, type_: str) -> dict[str, str]:
        found: dict[str, Told] = {}
        for (of, code), row in self._rows.items():
            if of != topic or code.type != type_ or not row.meaning.preferred:
                continue
            known = found.get(row.meaning.canonical)
            if known is None or (row.by_deployment, code.code) > (
                known.by_deployment,
                known.code.code,
            ):
                found[row.meaning.canonical] = row
        return {canonical: row.code.code for canonical, row in found.items()}


def _rows(
    topic: Topic, group: Mapping[str, Any], sources: Mapping[str, str], problems: list[str]
) -> list[Row]:
    where = f"{topic.lower()} {group.get('type', '')} {group.get('means', '')}"
    found = [f"{where}: {key} is no key" for key in sorted(set(group) - _ROW_KEYS)]
    canonical, reason = str(group.get("means", "")), str(group.get("reason", ""))
    source, confidence = str(group.get("source", "")), str(group.get("confidence", ""))
    if not _WORD.fullmatch(canonical):
        found.append(f"{where}: means is no word of capitals")
    if reason and (topic is not Topic.STATUS or reason not in EXCEPTION_REASONS):
        found.append(f"{where}: reason {reason!r} is none of the contract's, or of no status")
    if source not in sources:
        found.append(f"{where}: source {source!r} is not in [sources]")
    if confidence not in CONFIDENCES:
        found.append(f"{where}: confidence {confidence!r} is not H, M or L")
    type_, codes = str(group.get("type", "")), group.get("codes", [])
    if len(type_) > MAX_TYPE or not codes:
        found.append(f"{where}: type is too long, or there are no codes")
    found += [f"{where}: {code!r} is no code" for code in codes if not _is_code(code)]
    problems += found
    if found:
        return []
    meaning = Meaning(canonical, reason, bool(group.get("preferred", False)))
    return [Row(topic, Code(type_, code), meaning, sources[source], confidence) for code in codes]


def _is_code(code: object) -> bool:
    return isinstance(code, str) and len(code) <= MAX_CODE
