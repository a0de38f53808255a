"""File systems that tests mount: none outlives the run after that of a killed test."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from small_volume import MOUNTS, SOURCE, Volume, left_behind, take_away_left_behind

MAKES_ONE = """
import sys
from pathlib import Path
from small_volume import Volume
Volume(Path(sys.argv[1]), 1)
"""


def test_what_a_killed_test_has_mounted_is_taken_away(tmp_path: Path) -> None:
    """Proves that a file system of a process that is gone is unmounted, and one of a process that
    lives is left alone: with the former in it no run could delete its folders, and each ended with
    an error."""
    if not MOUNTS.exists():
        pytest.skip("this system does not say what is mounted")
    mine, left = tmp_path / "mine", tmp_path / "left behind"
    volume = Volume(mine, 1)
    try:
        command = [sys.executable, "-c", MAKES_ONE, str(left)]
        subprocess.run(command, check=True, cwd=Path(__file__).parent)
        assert left.is_mount()
        take_away_left_behind()
        assert not left.is_mount()
        assert mine.is_mount()
    finally:
        volume.remove()


def test_mounts_of_others_are_no_concern() -> None:
    """Proves that nothing but file systems of tests is looked for."""
    mounts = (
        "tmpfs /tmp tmpfs rw 0 0\n"
        f"{SOURCE}999999999 /tmp/a\\040b tmpfs rw 0 0\n"
        "/dev/vda / ext4 rw 0 0\n"
    )
    assert left_behind(mounts) == ["/tmp/a b"]
