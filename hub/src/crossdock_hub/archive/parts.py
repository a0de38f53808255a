"""The files of the archive: written whole or not at all, compared before anybody relies on them.

A part is `NAME.jsonl.gz`, lines of JSON as in `lines`, and beside it `NAME.manifest.json`, which
says what is in it and its SHA-256. `zcat` and any JSON reader are enough to read one.
"""

from __future__ import annotations

import contextlib
import errno
import gzip
import hashlib
import json
import os
import zlib
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from crossdock.errors import CrossdockError

from crossdock_hub.archive.lines import head_of
from crossdock_hub.archive.records import WrittenFlow

FORMAT: Final = "crossdock-archive"
FORMAT_VERSION: Final = 1
_DATA: Final = ".jsonl.gz"
_MANIFEST: Final = ".manifest.json"
_WRITING: Final = ".writing"
_GIVEN_UP: Final = ".given-up.json"
_DAMAGED: Final = ".damaged"
_SET_ASIDE: Final = ".set-aside"
_LEVEL: Final = 6
_CHUNK_BYTES: Final = 1024 * 1024
_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class ArchiveFailure(CrossdockError):
    """A part can't be written or is not what it was; the sentence says which and what to do."""


@dataclass(frozen=True, slots=True)
class Written:
    """A file that is on disk and was read back. sha256: of the file as it is."""

    flows: int
    bytes: int
    sha256: str


class PartWriter:
    """Writes one part: `add` each flow, then `finish`; `abandon` leaves nothing behind."""

    def __init__(self, directory: Path, name: str) -> None:
        """Raises ArchiveFailure."""
        self._directory = directory
        self._name = name
        self._content = hashlib.sha256()
        self.flows = 0
        self.content_bytes = 0
        with _told(directory):
            if not directory.is_dir():
                directory.mkdir(mode=0o700, parents=True)
                _sync_directory(directory.parent)
            self._path = directory / (name + _DATA + _WRITING)
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            self._file = os.fdopen(descriptor, "wb")
            self._zip = gzip.GzipFile("", "wb", _LEVEL, self._file, mtime=0)

    def add(self, lines: bytes) -> None:
        """One more flow. Raises ArchiveFailure."""
        with _told(self._directory):
            self._zip.write(lines)
        self._content.update(lines)
        self.flows += 1
        self.content_bytes += len(lines)

    def finish(self, manifest: Mapping[str, Any]) -> Written:
        """Bring it to the disk, read it back and give it its name. Raises ArchiveFailure.

        manifest: what is told of it beside its size and digests.
        """
        with _told(self._directory):
            self._zip.close()
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            written = Written(self.flows, self._path.stat().st_size, digest_of(self._path))
            if content_digest(self._path) != self._content.hexdigest():
                raise ArchiveFailure(
                    f"{self._path} does not read as it was written; look at its disk, "
                    "nothing was deleted"
                )
            told = {
                "format": FORMAT,
                "version": FORMAT_VERSION,
                **manifest,
                "flows": written.flows,
                "bytes": written.bytes,
                "sha256": written.sha256,
                "content_bytes": self.content_bytes,
                "content_sha256": self._content.hexdigest(),
            }
            beside = self._directory / (self._name + _MANIFEST + _WRITING)
            _write_down(beside, told)
            self._path.replace(data_path(self._directory, self._name))
            beside.replace(self._directory / (self._name + _MANIFEST))
            _sync_directory(self._directory)
        return written

    def abandon(self) -> None:
        """Take away what was begun, which a full volume may not let be closed in peace."""
        # Its end would be written to a file that is closed.
        self._zip.fileobj = None  # type: ignore[assignment]
        with contextlib.suppress(OSError):
            self._file.close()
        with contextlib.suppress(ArchiveFailure):
            # The next pass tries again: the part is noted.
            remove(self._directory, self._name)


def data_path(directory: Path, name: str) -> Path:
    """Where the lines of a part are."""
    return directory / (name + _DATA)


def remove(directory: Path, name: str) -> None:
    """Take away what was begun of a part that this database does not rely on.

    A file that is whole is set aside under another name: where the database is a copy of one that
    archives to the same directory, that one relies on it. Raises ArchiveFailure.
    """
    with _told(directory):
        for end in (_DATA, _MANIFEST):
            (directory / (name + end + _WRITING)).unlink(missing_ok=True)
            whole = directory / (name + end)
            if whole.exists():
                whole.replace(directory / (name + end + _SET_ASIDE))


def check(directory: Path, name: str, sha256: str) -> None:
    """Raises ArchiveFailure unless the part is there and is what was noted."""
    path = data_path(directory, name)
    if not path.is_file():
        raise ArchiveFailure(
            f"{path} is gone, and flows that were to be deleted are in it; put it back"
        )
    with _read(path):
        digest = digest_of(path)
    if digest != sha256:
        raise ArchiveFailure(
            f"{path} is not the file that was written (SHA-256 {sha256}); put it back, "
            "no more of its flows are deleted"
        )


def give_up(directory: Path, name: str, told: Mapping[str, Any]) -> None:
    """Note beside a damaged or lost part why nobody relies on it, and set what is left of it aside.

    Raises ArchiveFailure.
    """
    with _told(directory):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write_down(directory / (name + _GIVEN_UP), told)
        path = data_path(directory, name)
        if path.exists():
            path.replace(path.with_name(path.name + _DAMAGED))
        _sync_directory(directory)


def _write_down(path: Path, told: Mapping[str, Any]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(json.dumps(told, indent=1) + "\n")
        file.flush()
        os.fsync(file.fileno())


def flows_in(path: Path) -> list[WrittenFlow]:
    """What each flow of a part was known by. Raises ArchiveFailure."""
    with _read(path), gzip.open(path, "rb") as lines:
        return [head for head in map(head_of, lines) if head is not None]


def found_in(path: Path, names: Set[str]) -> Iterator[tuple[WrittenFlow, list[bytes]]]:
    """The flows of a part that were known by one of these, each with its lines. Raises OSError."""
    with gzip.open(path, "rb") as lines:
        head: WrittenFlow | None = None
        kept: list[bytes] = []
        for line in lines:
            begun = head_of(line)
            if begun is None:
                if head is not None:
                    kept.append(line)
                continue
            if head is not None:
                yield head, kept
            head, kept = (None, []) if names.isdisjoint(begun.ids) else (begun, [line])
        if head is not None:
            yield head, kept


def names_in(directory: Path) -> list[str]:
    """The parts of a directory, oldest first."""
    return sorted(path.name.removesuffix(_DATA) for path in directory.glob(f"*{_DATA}"))


def digest_of(path: Path) -> str:
    """SHA-256 of a file, hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def content_digest(path: Path) -> str:
    """SHA-256 of what is in a compressed file, hex."""
    digest = hashlib.sha256()
    with gzip.open(path, "rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _told(directory: Path) -> Iterator[None]:
    """Says what a disk did not take, in the words of the archive."""
    try:
        yield
    except OSError as error:
        why = (
            f"the volume of {directory} is full; make room"
            if error.errno in _FULL
            else f"{directory} can't be written ({error.strerror or error})"
        )
        raise ArchiveFailure(f"{why}; nothing was deleted") from None


@contextlib.contextmanager
def _read(path: Path) -> Iterator[None]:
    """Says what a disk did not give, in the words of the archive."""
    try:
        yield
    except (OSError, EOFError, zlib.error) as error:
        why = getattr(error, "strerror", None) or error
        raise ArchiveFailure(
            f"{path} can't be read ({why}); put it back, no more of its flows are deleted"
        ) from None
