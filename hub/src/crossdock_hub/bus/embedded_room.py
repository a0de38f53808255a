"""Room on the volume of the embedded server's store, and when a restart because of it is worth it.

A nats-server that ran out of room stores nothing until it is restarted. What the volume reports is
no promise: a quota is not in it.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

# Below these the next write may fail: of one block, of the few files that a stream is kept in.
FULL_BYTES: Final = 1024 * 1024
FULL_FILES: Final = 16
# Pauses between restarts of a server that found no room where its volume reports some.
FIRST_VAIN_PAUSE_SECONDS: Final = 10.0
MAX_VAIN_PAUSE_SECONDS: Final = 300.0
SAYS_FULL: Final = "is full:"
_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_WORDS: Final = ("no space left on device", "disk quota exceeded")


@dataclass(frozen=True, slots=True)
class Room:
    """What a volume reports. files: how many more it may have; None where it does not count."""

    bytes: int
    files: int | None

    @property
    def is_full(self) -> bool:
        """Whether the next write may fail."""
        return not self.has(Room(FULL_BYTES, FULL_FILES))

    def has(self, needed: Room) -> bool:
        """Whether so much is free; of files that are not counted there are enough."""
        files = self.files is None or needed.files is None or self.files >= needed.files
        return files and self.bytes >= needed.bytes

    def __str__(self) -> str:
        files = "" if self.files is None else f" and {self.files} files"
        return f"{self.bytes // 1024} KiB{files}"


def free_room(directory: Path) -> Room:
    """What the volume of this directory reports now. OSError: there is none."""
    found = os.statvfs(directory)
    # File systems that make a file's place when they need it count none at all.
    return Room(found.f_bavail * found.f_frsize, found.f_ffree if found.f_files else None)


def full_sentence(directory: Path, room: Room, needed: Room) -> str:
    """What is said while the volume itself says that there is no room."""
    return (
        f"the disk of {directory} {SAYS_FULL} {room} free; "
        f"nats-server stores nothing and is restarted when {needed} are free"
    )


def vain_sentence(directory: Path, room: Room) -> str:
    """What is said where the volume reports room, and a restart found none."""
    return (
        f"the disk of {directory} {SAYS_FULL} it reports {room} free, yet nats-server can't write "
        "there. Raise the quota of the hub's user, or what else bounds it there (inodes), or lower "
        "what nats-server may store below it; it stores nothing and is restarted later and later, "
        f"every {MAX_VAIN_PAUSE_SECONDS:g} s in the end"
    )


def tells_of_no_room(words: str) -> bool:
    """Whether a line of the server says that a write found no room."""
    return any(each in words.lower() for each in _WORDS)


def is_no_room(error: BaseException) -> bool:
    """Whether a write of ours found no room."""
    return isinstance(error, OSError) and error.errno in _NO_ROOM


class VainRestarts:
    """Restarts for room that was reported free, since the volume was last seen full or the server
    well for a while: the first is at once, each further one after a longer pause."""

    def __init__(self) -> None:
        self._count = 0
        self._last = 0.0

    def pause_seconds(self, now: float) -> float:
        """How long the next one still has to wait."""
        if not self._count:
            return 0.0
        pause = FIRST_VAIN_PAUSE_SECONDS * 2.0 ** min(self._count - 1, 16)
        return max(0.0, self._last + min(pause, MAX_VAIN_PAUSE_SECONDS) - now)

    def restarting(self, now: float) -> None:
        """The server is restarted, because its volume reports room."""
        self._count += 1
        self._last = now

    def forget(self) -> None:
        """What the volume reports next is news."""
        self._count = 0
