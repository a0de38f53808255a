"""A small file system of a test's own, to be filled to the last byte under what writes to it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest


class Volume:
    """A file system of its own that can be filled to the last byte, and emptied again."""

    def __init__(self, directory: Path, size_mib: int) -> None:
        directory.mkdir(parents=True)
        self.directory = directory
        options = ["-t", "tmpfs", "-o", f"size={size_mib}m", "tmpfs", str(directory)]
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
