"""The files of an SQLite database, and the sign that one is being put back.

A database is one file and what SQLite keeps beside it: the log of what is not in it yet (`-wal`)
and its index (`-shm`). They belong together: a log beside another file is written into it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from crossdock.errors import ConfigurationError
from sqlalchemy import make_url

ENDS: Final = ("", "-wal", "-shm")
# The copy that takes the place of the database, from when it is whole until it does.
HALF: Final = ".putting-back-"


def file_of(url: str) -> Path | None:
    """The file of an SQLite database; None for any other database."""
    parsed = make_url(url)
    is_file = parsed.drivername.startswith("sqlite") and parsed.database
    return Path(str(parsed.database)).resolve() if is_file else None


def beside(path: Path) -> list[Path]:
    """The files of a database that are there."""
    named = (path.with_name(path.name + end) for end in ENDS)
    return [each for each in named if each.exists()]


def bytes_of(path: Path) -> int:
    """Of all its files; not of copies that somebody put beside it."""
    return sum(each.stat().st_size for each in beside(path))


def half_put_back(path: Path) -> Path | None:
    """The copy that was about to take the place of a database when that was interrupted."""
    return min(path.parent.glob(f"{path.name}{HALF}*"), default=None)


def refuse_half_put_back(path: Path) -> None:
    """Raises ConfigurationError while some files are of one database and some of another."""
    half = half_put_back(path)
    if half is not None:
        raise ConfigurationError(
            f"a back-up was being put back in place of {path} and that was interrupted; run "
            "crossdock hub put-back again, which ends it"
        )


def sync_directory(directory: Path) -> None:
    """Have the names in a directory on disk."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
