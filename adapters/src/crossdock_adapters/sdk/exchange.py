"""What one attempt said to its vendor: whether anything may have left, and a redacted excerpt."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from crossdock_adapters.sdk import lease_clock

MAX_EXCERPTS = 8
MAX_BODY_CHARACTERS = 1_500
# Shorter values would mask half a document; a phone number has at least seven digits.
MIN_HIDDEN_CHARACTERS = 3
MIN_HIDDEN_DIGITS = 7

_SECRET_WORDS = (
    "access_token|refresh_token|id_token|client_secret|client_assertion|password|passwd|"
    "secret|authorization|api[_-]?key|credential|assertion|accountnumber"
)
_JSON_SECRET = re.compile(
    rf'("(?:[^"\\]{{0,40}})(?:{_SECRET_WORDS})(?:[^"\\]{{0,40}})"\s*:\s*'
    # FedEx wraps the value once more.
    r'(?:\{\s*"value"\s*:\s*)?)"(?:[^"\\]|\\.)*"?',
    re.IGNORECASE,
)
_FORM_SECRET = re.compile(
    rf"((?:^|[&?])[^=&]{{0,40}}(?:{_SECRET_WORDS})[^=&]{{0,40}}=)[^&\s]*", re.IGNORECASE
)
_BEARER = re.compile(r"\b(Bearer|Basic)\s+[A-Za-z0-9._~+/=-]+", re.IGNORECASE)
# Label images and the like: long unbroken base64 says nothing to a reader.
_BLOB = re.compile(r"[A-Za-z0-9+/=]{200,}")
# Neither do whole documents inside a document; a label in a printer's language shows an address.
_INNER_DOCUMENT = re.compile(
    r'"((?:\^XA|N\\n)(?:[^"\\]|\\.)*|(?:[^"\\]|\\.){300,})"?', re.IGNORECASE
)


@dataclass(slots=True)
class Exchange:
    """Filled by VendorHttp while an attempt runs; read by the runner when it completes.

    `effect_left` turns True as soon as a request that may change the vendor's books might
    have reached it. `lease_until` (`lease_clock`) is how long the hub holds the delivery for
    us; nothing with an effect may leave after it.
    """

    effect_left: bool = False
    lease_until: float = math.inf
    requests: list[str] = field(default_factory=list)
    responses: list[str] = field(default_factory=list)
    _hidden: tuple[str, ...] = ()

    def lease_left_seconds(self) -> float:
        return self.lease_until - lease_clock.now()

    def note(self, request: str, response: str) -> None:
        """Keep a redacted excerpt of one request and what came back."""
        if len(self.requests) < MAX_EXCERPTS:
            self.requests.append(request)
            self.responses.append(response)

    def hide(self, values: Iterable[str]) -> None:
        """Mask these in every excerpt: what the contract calls sensitive in the event at work."""
        forms = {form for value in values for form in _forms(value)}
        # The longest first: a name may be part of an address line.
        self._hidden = tuple(sorted(forms, key=len, reverse=True))

    def request_excerpt(self) -> str:
        return self._masked("\n".join(self.requests))

    def response_excerpt(self) -> str:
        return self._masked("\n".join(self.responses))

    def words(self, text: str) -> str:
        """A reason as a person may read it: an exception, or a vendor, may repeat anything."""
        return self._masked(redacted(text.encode()))

    def _masked(self, text: str) -> str:
        for value in self._hidden:
            text = text.replace(value, "***")
        return text


_current: ContextVar[Exchange | None] = ContextVar("crossdock_exchange", default=None)


def current() -> Exchange | None:
    """The exchange of the attempt this task works on, if any."""
    return _current.get()


@contextmanager
def recording() -> Iterator[Exchange]:
    """Everything VendorHttp sends inside is noted on the Exchange yielded."""
    exchange = Exchange()
    token = _current.set(exchange)
    try:
        yield exchange
    finally:
        _current.reset(token)


def _forms(value: str) -> Iterator[str]:
    """How a value may stand in a vendor's request: as it is, as JSON, a number without signs."""
    if len(value) < MIN_HIDDEN_CHARACTERS:
        return
    yield value
    yield json.dumps(value)[1:-1]
    digits = "".join(character for character in value if character.isdigit())
    if len(digits) >= MIN_HIDDEN_DIGITS:
        yield digits


def as_text(said: str, most_characters: int) -> str:
    """What a vendor or an exception said, as the hub takes it: cut, and U+0000 as U+FFFD."""
    return said.replace("\0", "\ufffd")[:most_characters]


def redacted(body: bytes) -> str:
    """The start of a body, fit for an operator's eyes: no secrets, no blobs, one length."""
    text = body[: MAX_BODY_CHARACTERS * 8].decode("utf-8", "replace")
    text = _JSON_SECRET.sub(r'\1"***"', text)
    text = _FORM_SECRET.sub(r"\1***", text)
    text = _BEARER.sub(r"\1 ***", text)
    text = _INNER_DOCUMENT.sub(lambda match: f'"({len(match[1])} characters)"', text)
    text = _BLOB.sub(lambda match: f"({len(match.group())} characters)", text)
    if len(text) > MAX_BODY_CHARACTERS:
        text = text[:MAX_BODY_CHARACTERS] + f"… ({len(body)} bytes)"
    return text
