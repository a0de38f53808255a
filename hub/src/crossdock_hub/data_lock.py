"""Holds a data directory for one hub at a time, its nats-server child included.

The lock is an flock on one file. A child that is given `fileno()` shares it, so the directory stays
held while a child of a dead hub still writes to it: two servers on one store both acknowledge, and
messages disappear.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Final

from crossdock.errors import CrossdockError

LOCK_FILE: Final = "crossdock.lock"
# A killed hub's child ends within milliseconds; a living holder is never worth waiting for.
DEAD_HOLDER_GRACE_SECONDS: Final = 2.0
_POLL_SECONDS: Final = 0.02
_MAX_LOCK_BYTES: Final = 256


class DataDirectoryInUse(CrossdockError):
    """Another process holds the data directory.

    directory: the one asked for. holder_pid: 0 where the holder left no id.
    """

    def __init__(self, directory: Path, holder_pid: int) -> None:
        self.directory = directory
        self.holder_pid = holder_pid
        who = f"process {holder_pid}" if holder_pid else "another process"
        super().__init__(
            f"the data directory {directory} is in use by {who}; "
            "stop it, or start with another data directory"
        )


class DataLock:
    """The right to write below a data directory. Held from `acquire` until `release`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._descriptor = -1

    @property
    def held(self) -> bool:
        return self._descriptor >= 0

    def fileno(self) -> int:
        """The descriptor to pass on to a child, which then shares the lock."""
        if not self.held:
            raise ValueError(f"the lock of {self.directory} is not held")
        return self._descriptor

    def acquire(self) -> DataLock:
        """Take the lock; makes the directory (mode 0700) where it is missing.

        DataDirectoryInUse: somebody else holds it. OSError: the directory cannot be written.
        """
        if self.held:
            return self
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = _opened(self.directory)
        try:
            self._take(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._descriptor = descriptor
        return self

    def note_child(self, pid: int) -> None:
        """Record the child that shares the lock, so that a refusal can name it."""
        os.ftruncate(self.fileno(), 0)
        os.pwrite(self.fileno(), f"{os.getpid()} {pid}\n".encode(), 0)

    def release(self) -> None:
        """Give the lock up. A child that shares it keeps it until it ends."""
        if self.held:
            os.close(self._descriptor)
            self._descriptor = -1

    def _take(self, descriptor: int) -> None:
        deadline = time.monotonic() + DEAD_HOLDER_GRACE_SECONDS
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except OSError as error:
                if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                    raise
            owner, child = _holders(descriptor)
            if _is_alive(owner):
                raise DataDirectoryInUse(self.directory, owner)
            if time.monotonic() > deadline:
                raise DataDirectoryInUse(self.directory, child if _is_alive(child) else 0)
            time.sleep(_POLL_SECONDS)

    def __enter__(self) -> DataLock:
        return self.acquire()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


def _opened(directory: Path) -> int:
    """The lock file; one that is made here belongs to whom the directory belongs: an administrator
    who is there before the hub must not keep it out."""
    path, flags = directory / LOCK_FILE, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return os.open(path, flags | os.O_CREAT, 0o600)
    if os.geteuid() == 0:
        owner = directory.stat()
        os.fchown(descriptor, owner.st_uid, owner.st_gid)
    return descriptor


def _holders(descriptor: int) -> tuple[int, int]:
    """The hub and its child as the lock file names them; 0 where it names none."""
    words = os.pread(descriptor, _MAX_LOCK_BYTES, 0).split()
    pids = [int(word) if word.isdigit() else 0 for word in words[:2]]
    owner, child = [*pids, 0, 0][:2]
    return owner, child


def _is_alive(pid: int) -> bool:
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
