"""What a simulated vendor knows, kept over an orderly restart of its process.

Only for simulated vendors on a developer's machine: the file is pickled, so it is read only where
nobody but its owner could have written it. It is taken away when it is read: after a crash there is
none, and a vendor with empty books is clearer than one that has forgotten the last hour.
"""

from __future__ import annotations

import dataclasses
import io
import logging
import os
import pickle
import stat
from pathlib import Path
from typing import Any, Final, Protocol

log = logging.getLogger(__name__)

OWNER_ONLY: Final = 0o600
# What every sandbox keeps: its random numbers go on, so that no document number is given twice.
_FRAME: Final = ("random", "calls", "calls_dropped")
_SANDBOX: Final = "sandbox"


class Kept(Protocol):
    """A sandbox, as far as it is kept: by attributes, "_channel._subscriptions" among them."""

    @property
    def kept(self) -> tuple[str, ...]: ...


class _Writer(pickle.Pickler):
    """Leaves the sandbox itself out: what points back to it points to the next one."""

    def __init__(self, file: Any, sandbox: Kept) -> None:
        super().__init__(file, pickle.HIGHEST_PROTOCOL)
        self._sandbox = sandbox

    def persistent_id(self, value: Any) -> str | None:
        return _SANDBOX if value is self._sandbox else None


class _Reader(pickle.Unpickler):
    def __init__(self, file: Any, sandbox: Kept) -> None:
        super().__init__(file)
        self._sandbox = sandbox

    def persistent_load(self, name: Any) -> Any:
        return self._sandbox


def keep(sandbox: Kept, file: Path) -> None:
    """Write what the sandbox names in `kept`; whole, or not at all."""
    told = io.BytesIO()
    state = {name: _owner(sandbox, name) for name in (*_FRAME, *sandbox.kept)}
    _Writer(told, sandbox).dump({name: getattr(*found) for name, found in state.items()})
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = file.with_name(f"{file.name}.new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_ONLY)
    with os.fdopen(descriptor, "wb") as open_file:
        open_file.write(told.getvalue())
    draft.replace(file)


def take_back(sandbox: Kept, name: str, file: Path) -> bool:
    """Go on where the last process ended; False: there is nothing to go on with."""
    try:
        with file.open("rb") as open_file:
            if not _is_ours(os.fstat(open_file.fileno())):
                log.error("sandbox %s: %s is not ours alone; left out", name, file)
                return False
            content = open_file.read()
    except FileNotFoundError:
        return False
    file.unlink()
    try:
        reader = _Reader(io.BytesIO(content), sandbox)
        state: Any = reader.load()
        for each in reader.memo.copy().values():
            _complete(each)
    except Exception:
        # Another version of the sandbox wrote it: any error of any class of its may come.
        state = None
    if not isinstance(state, dict) or set(state) != {*_FRAME, *sandbox.kept}:
        log.warning("sandbox %s: its books are of another version", name)
        return False
    for path, value in state.items():
        owner, attribute = _owner(sandbox, path)
        setattr(owner, attribute, value)
    return True


def _complete(record: Any) -> None:
    """Give what an earlier version kept the fields that it had not, by their defaults: without them
    it would fail at the first call that needs one. ValueError: a field has none."""
    if not dataclasses.is_dataclass(record) or isinstance(record, type):
        return
    for field in dataclasses.fields(record):
        if hasattr(record, field.name):
            continue
        if field.default is not dataclasses.MISSING:
            value = field.default
        elif field.default_factory is not dataclasses.MISSING:
            value = field.default_factory()
        else:
            raise ValueError(f"kept without {field.name}")
        object.__setattr__(record, field.name, value)


def _is_ours(found: os.stat_result) -> bool:
    return found.st_uid == os.getuid() and stat.S_IMODE(found.st_mode) == OWNER_ONLY


def _owner(sandbox: Kept, path: str) -> tuple[Any, str]:
    """Who has an attribute like "_channel._subscriptions", and its name there."""
    owner: Any = sandbox
    *way, name = path.split(".")
    for each in way:
        owner = getattr(owner, each)
    return owner, name
