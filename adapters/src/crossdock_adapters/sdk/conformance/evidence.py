"""Everything that was said during the checks, where a secret could have slipped in."""

from __future__ import annotations

import base64
import io
import logging
import re
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from typing import TextIO
from urllib.parse import quote

from crossdock_adapters.sdk.settings import Secrets

MAX_LOG_CHARACTERS = 32 * 1024 * 1024
# Shorter values stand in any text by accident.
MIN_SECRET_CHARACTERS = 6
MIN_KEY_LINE_CHARACTERS = 32
# Of a key or a key file, what no other document has: its long lines of base64.
_KEY_LINE = re.compile(rf"[A-Za-z0-9+/=]{{{MIN_KEY_LINE_CHARACTERS},}}")


@dataclass(slots=True)
class Evidence:
    """What was logged (down to debugging) or printed, what hubs were told, and what callers were
    answered; and which words are secret.

    is_cut: more was said than there is room for, so what was found is not all there is.
    """

    logged: list[str] = field(default_factory=list)
    told: list[bytes] = field(default_factory=list)
    answered: list[str] = field(default_factory=list)
    secrets: set[str] = field(default_factory=set)
    is_cut: bool = False
    _characters: int = 0

    def log(self, text: str) -> None:
        """Keep one line, as long as there is room."""
        if self._characters < MAX_LOG_CHARACTERS:
            self.logged.append(text)
            self._characters += len(text)
        else:
            self.is_cut = True

    def keep_secrets(self, secrets: Secrets) -> None:
        """Search for these, too."""
        for name in secrets:
            if secrets.has(name):
                self.secrets.update(telling_parts(secrets.text(name)))

    def found(self) -> list[str]:
        """Where a secret stands; never which."""
        places = []
        log_text, told = "\n".join(self.logged), b"\n".join(self.told)
        answered = "\n".join(self.answered)
        forms = {form for secret in self.secrets for form in written_forms(secret)}
        for secret in sorted(forms):
            if secret in log_text:
                line = next(each for each in self.logged if secret in each)
                places.append(f"the log: {line.replace(secret, '***')[:200]}")
            if secret.encode() in told:
                places.append("what the hub was told")
            if secret in answered:
                places.append("what was answered")
        return places


def telling_parts(value: str) -> Iterator[str]:
    """What to search for: the value, or the lines of a key in it."""
    if "\n" in value.strip() or value.lstrip().startswith("{"):
        yield from _KEY_LINE.findall(value.replace("\\n", "\n"))
    elif len(value) >= MIN_SECRET_CHARACTERS:
        yield value


def written_forms(secret: str) -> Iterator[str]:
    """How it may stand in a text: as it is, in an address, and inside of base64, as a header of
    kind Basic has it behind a name of any length."""
    yield secret
    yield quote(secret, safe="")
    for offset in range(3):
        inside = b"-" * offset + secret.encode()
        first, behind = -(-offset * 8 // 6), len(inside) * 8 // 6
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            yield encode(inside).decode()[first:behind]


class _Tee(io.TextIOBase):
    """What is printed is evidence, too."""

    def __init__(self, evidence: Evidence, printed: TextIO) -> None:
        self._evidence, self._printed = evidence, printed

    def write(self, text: str) -> int:
        self._evidence.log(text)
        return self._printed.write(text)

    def flush(self) -> None:
        self._printed.flush()


class _Listener(logging.Handler):
    def __init__(self, evidence: Evidence) -> None:
        super().__init__(logging.DEBUG)
        self._evidence = evidence

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = f"{record.levelname} {record.name}: {record.getMessage()}"
        except (TypeError, ValueError):
            text = f"{record.levelname} {record.name}: {record.msg}"
        if record.exc_info:
            text += "\n" + "".join(traceback.format_exception(*record.exc_info))
        self._evidence.log(text)


@contextmanager
def listening(evidence: Evidence, quiet: Iterable[str] = ("asyncio", "grpc")) -> Iterator[None]:
    """Everything logged or printed inside is evidence. quiet: loggers that speak of the machine
    alone."""
    root, handler = logging.getLogger(), _Listener(evidence)
    levels = {name: logging.getLogger(name).level for name in ("", *quiet)}
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    for name in quiet:
        logging.getLogger(name).setLevel(logging.INFO)
    out, err = _Tee(evidence, sys.stdout), _Tee(evidence, sys.stderr)
    try:
        with redirect_stdout(out), redirect_stderr(err):
            yield
    finally:
        root.removeHandler(handler)
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
