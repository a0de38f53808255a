"""Settings of one endpoint: declared in the manifest, checked at start, secrets never shown."""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from crossdock_adapters.sdk.plaintext import plaintext_problem

MAX_SECRET_BYTES = 64 * 1024
# In steps of how long a file system may count the times of its files: NFS and FAT in up to 2 s.
FILE_TIME_STEP_NS = 2_000_000_000
KINDS = frozenset({"text", "url", "integer", "number", "seconds", "flag", "list", "map", "secret"})


class SettingsError(ValueError):
    """Settings do not fit the manifest; the text names each setting and what it needs."""


@dataclass(frozen=True, slots=True)
class Declaration:
    """One `[settings.<name>]` table of a manifest.

    `kind` is text, url, integer, number (Decimal), seconds, flag, list (of text), map (text
    to text) or secret. A setting without a default is required. `below_settle`: how long a call
    may take, which has to be less than settle_after_seconds of every operation.
    """

    name: str
    kind: str
    description: str
    default: Any = None
    required: bool = True
    below_settle: bool = False


class Settings(Mapping[str, Any]):
    """Checked values by name; ask with the accessor of the declared kind.

    Asking for a name the manifest does not declare raises KeyError. An optional setting
    left out is the declared default, or empty. `allow_plaintext`: the deployment says that its
    network is encrypted, so that secrets may go to addresses that are not.
    """

    def __init__(self, values: Mapping[str, Any], *, allow_plaintext: bool = False) -> None:
        self._values = dict(values)
        self.allow_plaintext = allow_plaintext

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def text(self, name: str) -> str:
        value = self._values[name]
        return "" if value is None else str(value)

    def integer(self, name: str) -> int:
        return int(self._values[name] or 0)

    def number(self, name: str) -> Decimal:
        return Decimal(self._values[name] or 0)

    def seconds(self, name: str) -> float:
        return float(self._values[name] or 0)

    def flag(self, name: str) -> bool:
        return bool(self._values[name])

    def texts(self, name: str) -> tuple[str, ...]:
        return tuple(self._values[name] or ())

    def mapping(self, name: str) -> dict[str, str]:
        return dict(self._values[name] or {})


class Secrets:
    """Secrets of one endpoint, as their references have them each time they are asked for.

    A credential rotates without a restart: a file is looked at each time, and read again when it is
    another one or was written to. Nothing here shows a value: not repr, not an error.
    """

    def __init__(self, references: Mapping[str, str]) -> None:
        self._references = dict(references)
        # What a file held, and which it was, by its path.
        self._read: dict[str, tuple[_FileState, str]] = {}

    def text(self, name: str) -> str:
        """The secret. KeyError when it is not declared, SettingsError when it can't be read."""
        reference = self._references[name]
        if not reference:
            raise SettingsError(f"{name} has no reference")
        return self._resolve(name, reference)

    def has(self, name: str) -> bool:
        return bool(self._references.get(name))

    def values(self) -> Iterator[str]:
        """Every secret that can be read now: what has to be masked wherever a vendor repeats it."""
        for name, reference in self._references.items():
            if reference:
                with contextlib.suppress(SettingsError):
                    yield self._resolve(name, reference)

    def _resolve(self, name: str, reference: str) -> str:
        kind, _, place = reference.partition(":")
        if kind != "file" or not place:
            return resolve(name, reference)
        kept = self._read.get(place)
        if kept is not None and kept[0] == _state_at(place):
            return kept[1]
        self._read.pop(place, None)
        value, state = _read_file(name, place)
        if state is not None:
            self._read[place] = state, value
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(self._references)

    def __repr__(self) -> str:
        return f"Secrets({', '.join(sorted(self._references))})"


def resolve(name: str, reference: str) -> str:
    """The value behind `file:/path` or `env:NAME`. SettingsError names only the reference."""
    kind, _, place = reference.partition(":")
    if kind == "env" and place:
        value = os.environ.get(place)
        if not value:
            raise SettingsError(f"{name}: environment variable {place} is not set")
        return value
    if kind == "file" and place:
        return _read_file(name, place)[0]
    # The text may be the secret itself, typed in by mistake: it must not be shown.
    raise SettingsError(f"{name} must be a reference, file:/path or env:NAME")


class _FileState(NamedTuple):
    """Which file it is, and when it was last changed: another one in its place, also behind a
    symbolic link, and a write to it differ in one of these."""

    device: int
    inode: int
    size_bytes: int
    modified_at_ns: int
    changed_at_ns: int

    @classmethod
    def of(cls, found: os.stat_result) -> _FileState:
        return cls(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)

    def is_settled(self, now_ns: int) -> bool:
        """Whether a write from now on would have another time. A file system counts in steps: what
        was written just now may be written again with the same time and size."""
        return max(self.modified_at_ns, self.changed_at_ns) + FILE_TIME_STEP_NS < now_ns


def _state_at(place: str) -> _FileState | None:
    """None: there is no file, or none that we may read.

    It is opened for that: a file system of another machine asks that machine then, and may answer
    from what it remembers else. A pipe in its place is waited for by whoever reads it.
    """
    try:
        opened = os.open(place, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return _FileState.of(os.fstat(opened))
    finally:
        os.close(opened)


def _read_file(name: str, place: str) -> tuple[str, _FileState | None]:
    """The secret in a file, and which file that was; None: it has to be read each time."""
    try:
        with Path(place).open("rb") as file:
            # Before it is read: what is written meanwhile has a later time.
            found, now_ns = os.fstat(file.fileno()), time.time_ns()
            raw = file.read(MAX_SECRET_BYTES + 1)
    except OSError as error:
        raise SettingsError(f"{name}: {place}: {error.strerror}") from None
    if len(raw) > MAX_SECRET_BYTES:
        raise SettingsError(f"{name}: {place} is too large for a secret")
    state = _FileState.of(found)
    is_kept = stat.S_ISREG(found.st_mode) and state.is_settled(now_ns)
    return raw.decode().strip(), state if is_kept else None


def check(
    declarations: Mapping[str, Declaration],
    given: Mapping[str, Any],
    *,
    allow_plaintext: bool = False,
) -> tuple[Settings, Secrets]:
    """Settings and secrets from a configuration; SettingsError lists everything wrong.

    An address has to be encrypted or loopback, unless `allow_plaintext`.
    """
    problems = [f"{name} is not a setting" for name in given if name not in declarations]
    values: dict[str, Any] = {}
    references: dict[str, str] = {}
    for name, declaration in declarations.items():
        raw = given.get(name, declaration.default)
        if raw is None:
            if declaration.required:
                problems.append(f"{name} is required: {declaration.description}")
            raw = None
        try:
            value = None if raw is None else convert(declaration.kind, raw)
        except ValueError as error:
            problems.append(f"{name} {error}")
            continue
        if declaration.kind == "url" and value and not allow_plaintext:
            problems += filter(None, [plaintext_problem(name, value)])
        if declaration.kind == "secret":
            references[name] = value or ""
        else:
            values[name] = value
    for name, reference in references.items():
        if reference:
            try:
                resolve(name, reference)
            except SettingsError as error:
                problems.append(str(error))
    if problems:
        raise SettingsError("; ".join(problems))
    return Settings(values, allow_plaintext=allow_plaintext), Secrets(references)


def convert(kind: str, raw: Any) -> Any:
    """`raw` as `kind`; ValueError says what is expected, and never shows a secret."""
    match kind:
        case "text" | "secret" if isinstance(raw, str):
            return raw
        case "url" if isinstance(raw, str) and _is_url(raw):
            return raw
        case "integer" if isinstance(raw, int) and not isinstance(raw, bool):
            return raw
        case "number" | "seconds" if isinstance(raw, (int, float, str)) and raw is not True:
            return _decimal(raw) if kind == "number" else float(_decimal(raw))
        case "flag" if isinstance(raw, bool):
            return raw
        case "list" if isinstance(raw, list) and all(isinstance(item, str) for item in raw):
            return tuple(raw)
        case "map" if isinstance(raw, dict) and all(isinstance(v, str) for v in raw.values()):
            return dict(raw)
    raise ValueError(f"must be of kind {kind}")


def _is_url(raw: str) -> bool:
    parts = urlsplit(raw)
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def _decimal(raw: int | float | str) -> Decimal:
    try:
        value = Decimal(str(raw))
    except InvalidOperation:
        raise ValueError("must be a number") from None
    if not value.is_finite() or value < 0:
        raise ValueError("must be a number, 0 or more")
    return value
