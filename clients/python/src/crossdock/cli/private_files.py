"""Files that only their owner may read: written in one step, mode 0600 from the first byte."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Final

PRIVATE_FILE: Final = 0o600
PRIVATE_DIRECTORY: Final = 0o700
_SECRET_BYTES: Final = 32


def write_private(path: Path, text: str) -> None:
    """Replace the file in one step, so that a reader never sees half of it."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_FILE)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    fresh.replace(path)


def private_directory(path: Path) -> Path:
    """The directory, made where it is missing; readable by its owner only."""
    path.mkdir(mode=PRIVATE_DIRECTORY, parents=True, exist_ok=True)
    path.chmod(PRIVATE_DIRECTORY)
    return path


def kept_secret(path: Path) -> str:
    """The secret in a file; a new random one where there is none yet."""
    try:
        return path.read_text("ascii").strip()
    except FileNotFoundError:
        value = secrets.token_urlsafe(_SECRET_BYTES)
        write_private(path, value + "\n")
        return value


def open_to_others(path: Path) -> bool:
    """Whether group or others may read, write or enter."""
    return bool(path.stat().st_mode & 0o077)
