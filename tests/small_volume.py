"""A small file system of a test's own, to be filled to the last byte under what writes to it.

A test that is killed leaves its file system mounted, and no later run can delete the folder: it
would end with an error though its tests passed. So each says whose it is, and the next run takes
away those whose process is gone.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Final

import pytest

# The source of a mount, which a tmpfs has no other use for: this, then the process id.
SOURCE: Final = "crossdock-test-volume-"
MOUNTS: Final = Path("/proc/mounts")


def left_behind(mounts: str) -> list[str]:
    """Where file systems of processes that are gone are mounted, of the lines of /proc/mounts."""
    found = []
    for line in mounts.splitlines():
        source, target, *_ = line.split(" ")
        process = source.removeprefix(SOURCE)
        if process != source and not Path(f"/proc/{process}").exists():
            found.append(target.encode().decode("unicode_escape"))
    return found


def take_away_left_behind() -> None:
    """Unmount what killed runs have left."""
    if MOUNTS.exists():
        for target in left_behind(MOUNTS.read_text()):
            subprocess.run(["umount", "-l", target], capture_output=True, check=False)


class Volume:
    """A file system of its own that can be filled to the last byte, and emptied again."""

    def __init__(self, directory: Path, size_mib: int) -> None:
        directory.mkdir(parents=True)
        self.directory = directory
        source = f"{SOURCE}{os.getpid()}"
        options = ["-t", "tmpfs", "-o", f"size={size_mib}m", source, str(directory)]
        if subprocess.run(["mount", *options], capture_output=True, check=False).returncode:
            pytest.skip("this user may not mount a small file system")

    def fill(self) -> None:
        """Leave nothing free."""
        free = os.statvfs(self.directory)
        with (self.directory / "ballast").open("wb") as ballast:
            os.posix_fallocate(ballast.fileno(), 0, free.f_bavail * free.f_frsize)

    def free(self) -> None:
        (self.directory / "ballast").unlink()

    def remove(self) -> None:
        subprocess.run(["umount", "-l", str(self.directory)], check=True)
