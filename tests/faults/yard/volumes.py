"""Small volumes of their own, to be filled to the last byte: a tmpfs where one can be mounted."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

MEBIBYTE = 1 << 20
CHUNKS = (MEBIBYTE, 4096, 1)


class NotPossible(Exception):
    """This machine does not let us do what the test needs; the text says what."""


@contextlib.contextmanager
def small_volume(path: Path, mebibytes: int) -> Iterator[Path]:
    """A volume of so many MiB at this path. NotPossible: nobody may mount here."""
    path.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m,mode=0700", "tmpfs", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotPossible(f"a tmpfs can't be mounted: {done.stderr.strip()}")
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


def fill(volume: Path) -> Path:
    """Take all the room that is left; returns the file that has it."""
    filler = volume / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in CHUNKS:
            with contextlib.suppress(OSError):
                while file.write(bytes(size)) == size:
                    pass
    return filler
