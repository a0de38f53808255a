"""Folders through which files are exchanged, on a local disk or behind SFTP.

A file is put under a name that readers pass over, whole and durable, and then published by one
rename: only that has an effect at the other side. Renames never replace: a name that is taken is
said to be taken.
"""

from __future__ import annotations

import asyncio
import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Protocol, TypeVar

from crossdock_adapters.sdk import error_table, exchange
from crossdock_adapters.sdk.error_table import FOLDER_ERRORS, ErrorTable, Word
from crossdock_adapters.sdk.http import check_lease
from crossdock_adapters.sdk.outcomes import OutcomeUnknown, Retry, Unreachable

T = TypeVar("T")

MAX_NAMES: Final = 50_000
FILE_MODE: Final = 0o640
FULL_RETRY_SECONDS: Final = 60.0
# How a share says that a file has one name there, as some of SMB and FUSE do.
NO_LINKS: Final = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS})


@dataclass(frozen=True, slots=True)
class FileFact:
    """A file in a folder; modified: UTC; None where the other side does not tell."""

    name: str
    size: int
    modified: datetime | None


class FileMissing(Exception):
    """There is no file of that name."""


class NameTaken(Exception):
    """There is a file of that name already; nothing was replaced."""


class TooManyNames(Retry):
    """A folder has more files than are listed."""


class DropFolder(Protocol):
    """Files by their path below one root. Raises the words of `outcomes` for what goes wrong."""

    async def names(self, folder: str) -> list[FileFact]:
        """The files of a folder, in no order, without those whose names are no text.

        Raises FileMissing, TooManyNames.
        """

    async def look(self, path: str) -> FileFact | None:
        """One file, however many lie beside it; None: it is not there."""

    async def read(self, path: str, most_bytes: int) -> bytes:
        """A file, cut after `most_bytes` + 1 bytes. Raises FileMissing."""

    async def put(self, path: str, data: bytes) -> None:
        """Write a whole file, in place of one of that name. Has no effect at the other side."""

    async def publish(self, path: str, new_path: str) -> None:
        """Rename, which the other side acts on. Raises FileMissing, NameTaken."""

    async def close(self) -> None: ...


async def names_in(folder: DropFolder, path: str) -> list[FileFact]:
    """The files of a folder that both sides agreed on. Unreachable: it is not there, as after a
    share was unmounted: it comes back, and the work waits. TooManyNames."""
    try:
        return await folder.names(path)
    except FileMissing as missing:
        raise Unreachable(0.0, f"the folder {path} is not there: is it mounted?") from missing


async def publish_whole(folder: DropFolder, path: str, data: bytes, temporary: str) -> None:
    """Put a file out whole, by one rename. One that is there is ours, from an earlier attempt:
    names are never given twice. temporary: a path that readers pass over."""
    await folder.put(temporary, data)
    try:
        await folder.publish(temporary, path)
    except NameTaken:
        return
    except FileMissing as missing:
        raise Unreachable(0.0, f"{temporary} is gone again: who cleans up there?") from missing


@contextmanager
def effect(what: str) -> Iterator[None]:
    """Around what the other side acts on: looks at the lease before it, and notes it."""
    record = exchange.current()
    if record is not None:
        check_lease(record)
        record.effect_left = True
    try:
        yield
    except (FileMissing, NameTaken):
        _note(what, "not done")
        raise
    except Exception as error:
        _note(what, type(error).__name__)
        raise
    _note(what, "done")


def failure(errors: ErrorTable, kind: str, code: str, what: str, *, has_effect: bool) -> Exception:
    """What an error is to whoever uses the folder, by its row; without one it proves nothing.

    kind, code: as the table has them, "sftp" and "4". what: was asked, for people. has_effect:
    whether the other side may have acted on it; otherwise what proves nothing is asked again.
    """
    _, row = errors.first([(kind, code)])
    said = f"{what}: {row.meaning or f'{kind} {code}'}"
    match row.word:
        case Word.MISSING:
            return FileMissing(said)
        case Word.KNOWN:
            return NameTaken(said)
    return error_table.outcome(row.word, said, code, row.pause_seconds, effect=has_effect)


def _note(what: str, answer: str) -> None:
    record = exchange.current()
    if record is not None:
        record.note(what, answer)


def checked_path(path: str) -> str:
    """A path below the root. ValueError when it leads out of it."""
    parts = path.split("/")
    if path.startswith("/") or any(part in ("", ".", "..") for part in parts) or "\0" in path:
        raise ValueError(f"{path!r} is no path below the folder")
    return path


class LocalFolder:
    """Folders on a disk that both sides see. errors: the rows of an endpoint; None: the SDK's."""

    def __init__(self, root: Path, errors: ErrorTable | None = None) -> None:
        self._root = root
        table = errors or error_table.shipped(FOLDER_ERRORS)
        self._errors = table.with_rows_of(FOLDER_ERRORS, ("disk",))

    async def names(self, folder: str) -> list[FileFact]:
        """The files of a folder."""
        return await self._do(lambda: _listed(self._place(folder)))

    async def look(self, path: str) -> FileFact | None:
        """One file, or None."""
        place = self._place(path)

        def do() -> FileFact | None:
            state = place.lstat()
            return _fact(place.name, state) if stat.S_ISREG(state.st_mode) else None

        try:
            return await self._do(do)
        except FileMissing:
            return None

    async def read(self, path: str, most_bytes: int) -> bytes:
        """A file. Raises FileMissing."""

        def do() -> bytes:
            with self._place(path).open("rb") as file:
                return file.read(most_bytes + 1)

        return await self._do(do)

    async def put(self, path: str, data: bytes) -> None:
        """Write a file, and wait until it is on the disk."""

        def do() -> None:
            # A new file, always: one of that name may be linked as a published one already.
            self._place(path).unlink(missing_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
            with os.fdopen(os.open(self._place(path), flags, FILE_MODE), "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())

        await self._do(do)

    async def publish(self, path: str, new_path: str) -> None:
        """A link to the new name, which never replaces, then the old name goes. On a share that
        knows no links a rename, of a name that was free right before: names are never given twice.
        """
        old, new = self._place(path), self._place(new_path)

        def do() -> None:
            try:
                os.link(old, new)
            except OSError as error:
                if error.errno not in NO_LINKS:
                    raise
                if new.exists():
                    raise FileExistsError(errno.EEXIST, "taken", str(new)) from error
                old.rename(new)
            try:
                old.unlink(missing_ok=True)
                _sync_folder(new.parent)
            except OSError as error:
                # The other side may have taken it by now, so no row could call it undone.
                why = f"{new_path} is out; then the disk says {error.strerror}"
                raise OutcomeUnknown(why) from error

        with effect(f"rename {path} to {new_path}"):
            await self._do(do, has_effect=True)

    async def close(self) -> None:
        """Nothing is kept open."""

    def _place(self, path: str) -> Path:
        return self._root / checked_path(path)

    async def _do(self, do: Callable[[], T], *, has_effect: bool = False) -> T:
        if not await asyncio.to_thread(self._root.is_dir):
            raise Unreachable(0.0, f"the folder {self._root.name} is not there: is it mounted?")
        try:
            return await asyncio.to_thread(do)
        except OSError as error:
            code = errno.errorcode.get(error.errno or 0, str(error.errno))
            what = str(error.filename2 or error.filename or "the disk")
            raise failure(self._errors, "disk", code, what, has_effect=has_effect) from error


def _listed(folder: Path) -> list[FileFact]:
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            try:
                if not entry.is_file(follow_symlinks=False):
                    continue
                state = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                # Gone since it was listed: the other side moves files as it likes.
                continue
            if is_text(entry.name):
                found.append(_fact(entry.name, state))
            if len(found) > MAX_NAMES:
                raise too_many(folder.name)
    return found


def _fact(name: str, state: os.stat_result) -> FileFact:
    return FileFact(name, state.st_size, datetime.fromtimestamp(state.st_mtime, UTC))


def is_text(name: str) -> bool:
    """Whether a name was UTF-8: what is not is nobody's file here, and no reason to see none."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def too_many(folder: str) -> TooManyNames:
    """A folder that cannot be listed whole: work waits until somebody archives."""
    said = f"{folder} has more than {MAX_NAMES} files: archive old ones, nothing goes on before"
    return TooManyNames(FULL_RETRY_SECONDS, said)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some shares sync no folder by itself, and keep names as safe as they do.
        if error.errno != errno.EINVAL:
            raise
    finally:
        os.close(descriptor)
