"""What one attempt said to its vendor: whether anything may have left, and a redacted excerpt."""

from __future__ import annotations

import math
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from crossdock_adapters.sdk import lease_clock
from crossdock_adapters.sdk.masking import Mask
from crossdock_adapters.sdk.pacing import Place

# Of the exchanges of an attempt so many are kept from its beginning, and so many from its end: what
# went wrong is among the last.
FIRST_EXCERPTS = 4
LAST_EXCERPTS = 4
MAX_BODY_CHARACTERS = 1_500
# Of all requests together, and of all responses; the hub takes no more.
MAX_EXCERPT_CHARACTERS = 4_000

# Each is the name of a secret, or a part of one. Plain words: that none is there is soon seen. What
# may stand before one is bounded, so that two have their first word: it is none of what may.
SECRET_WORDS = (
    "access_token",
    "refresh_token",
    "id_token",
    "client_secret",
    "client_assertion",
    "password",
    "passwd",
    "secret",
    "authorization",
    "api_key",
    "api-key",
    "apikey",
    "credential",
    "assertion",
    "accountnumber",
)
_SECRET_WORDS = "|".join(SECRET_WORDS)
# Letters that patterns take for an "i" or an "s" of any case, and that are none in lower case.
_ODD_LETTERS = "\u0130\u0131\u017f"
_JSON_SECRET = re.compile(
    rf'("(?:[^"\\]{{0,40}})(?:{_SECRET_WORDS})(?:[^"\\]{{0,40}})"\s*:\s*'
    # FedEx wraps the value once more.
    r'(?:\{\s*"value"\s*:\s*)?)"(?:[^"\\]|\\.)*"?',
    re.IGNORECASE,
)
_FORM_SECRET = re.compile(
    rf"((?:^|[&?])[^=&\s<>]{{0,40}}(?:{_SECRET_WORDS})[^=&\s<>]{{0,40}}=)[^&\s]*", re.IGNORECASE
)
_XML_SECRET = re.compile(
    rf"(<(?:[\w.-]{{1,40}}:)?[\w.-]{{0,40}}(?:{_SECRET_WORDS})[\w.-]{{0,40}}(?:\s[^<>]{{0,500}})?>)"
    r"[^<]+",
    re.IGNORECASE,
)
_ATTRIBUTE_SECRET = re.compile(
    rf"((?<![\w.:-])[\w.:-]{{0,40}}(?:{_SECRET_WORDS})[\w.:-]{{0,40}}\s*=\s*[\"'])[^\"'<]*",
    re.IGNORECASE,
)
_BEARER = re.compile(r"\b(Bearer|Basic)\s+[A-Za-z0-9._~+/=-]+", re.IGNORECASE)
# Label images and the like: long unbroken base64 says nothing to a reader.
BLOB_CHARACTERS = 200
_BLOB = re.compile(rf"[A-Za-z0-9+/=]{{{BLOB_CHARACTERS},}}")
# Neither do whole documents inside a document; a label in a printer's language shows an address,
# wherever it stands and wherever it breaks off. Behind the quote that ends an attribute of XML is
# the rest of this document, and none inside of it.
_PRINTER_COMMANDS = re.compile(r"\^XA.*?(?:\^XZ|\Z)", re.IGNORECASE | re.DOTALL)
INNER_DOCUMENT_CHARACTERS = 300
_INNER_DOCUMENT = re.compile(
    r'"((?:\^XA|N\\n)(?:[^"\\]|\\.)*|'
    rf'(?!\s*[/?]?>|\s+[\w.:-]+\s*=)(?:[^"\\]|\\.){{{INNER_DOCUMENT_CHARACTERS},}})"?',
    re.IGNORECASE,
)
# One of these is in every text that has a shorter document, or a quote in one.
_INNER_BEGINS = ('\\"', '"^', '"N\\n', '"n\\n', '"N\\N', '"n\\N')
# How bodies begin that are a document and nothing else: PDF, images, a printer's language.
_DOCUMENTS = (b"%PDF", b"\x89PNG", b"GIF8", b"\xff\xd8\xff", b"N\n", b"N\r\n")


@dataclass(slots=True)
class Exchange:
    """Filled by VendorHttp while an attempt runs; read by the runner when it completes.

    `effect_left` turns True as soon as a request that may change the vendor's books might
    have reached it. `lease_until` (`lease_clock`) is how long the hub holds the delivery for
    us; nothing with an effect may leave after it. `ends_at`: when the call is ended, whatever has
    come of it. `clock` is the one that both are read on. `place`: of the attempt in its system's
    pace; it is said there when its first request leaves.
    """

    effect_left: bool = False
    lease_until: float = math.inf
    ends_at: float = math.inf
    clock: Callable[[], float] = field(default=lease_clock.now, repr=False)
    place: Place | None = field(default=None, repr=False)
    # What was asked and what came back: the first ones, the last ones, and how many there were.
    _first: list[tuple[str, str]] = field(default_factory=list)
    _last: deque[tuple[str, str]] = field(default_factory=lambda: deque(maxlen=LAST_EXCERPTS))
    _noted: int = 0
    _hidden: list[str] = field(default_factory=list, repr=False)
    _mask: Mask = field(default_factory=Mask)

    def lease_left_seconds(self) -> float:
        return self.lease_until - self.clock()

    def note(self, request: str, response: str) -> None:
        """Keep a redacted excerpt of one request and what came back."""
        self._noted += 1
        kept = self._first if len(self._first) < FIRST_EXCERPTS else self._last
        kept.append((request, response))

    def hide(self, values: Iterable[str]) -> None:
        """Mask these, too, in every excerpt: what the contract calls sensitive in the event at
        work, secrets, and what a client derives from them."""
        self._hidden += values
        self._mask = Mask(self._hidden)

    def request_excerpt(self) -> str:
        """The requests, a line or more each; where some are left out, how many."""
        return self._told([request for request, _ in (*self._first, *self._last)])

    def response_excerpt(self) -> str:
        """The responses in the same way."""
        return self._told([response for _, response in (*self._first, *self._last)])

    def words(self, text: str) -> str:
        """A reason as a person may read it: an exception, or a vendor, may repeat anything."""
        return self.excerpt(text.encode())

    def excerpt(self, body: bytes) -> str:
        """The start of a body as an operator may read it: masked before it is cut."""
        return redacted(body, self._mask)

    def _told(self, pieces: list[str]) -> str:
        # Before the cut: half a name is a name.
        masked = [self._mask.over(piece) for piece in pieces]
        return fitted(masked, self._noted - len(masked))


_current: ContextVar[Exchange | None] = ContextVar("crossdock_exchange", default=None)
_is_aside: ContextVar[bool] = ContextVar("crossdock_exchange_aside", default=False)


def current() -> Exchange | None:
    """The exchange of the attempt this task works on, if any."""
    return _current.get()


def step_aside() -> None:
    """What this task sends from now on goes before the attempt's call, and is not it."""
    _is_aside.set(True)


def current_place() -> Place | None:
    """Where what this task sends counts in its system's pace, if anywhere."""
    record = _current.get()
    return None if record is None or _is_aside.get() else record.place


@contextmanager
def recording(clock: Callable[[], float] = lease_clock.now) -> Iterator[Exchange]:
    """Everything VendorHttp sends inside is noted on the Exchange yielded. clock: of its lease."""
    exchange = Exchange(clock=clock)
    token = _current.set(exchange)
    try:
        yield exchange
    finally:
        _current.reset(token)


def fitted(pieces: Sequence[str], left_out: int) -> str:
    """The pieces in MAX_EXCERPT_CHARACTERS, the newest always: what does not fit goes from their
    middle, and how many are missing stands there. left_out: so many are missing there already."""
    half = len(pieces) // 2
    head, tail = list(pieces[:half]), list(pieces[half:])
    while True:
        what = "exchange" if left_out == 1 else "exchanges"
        gap = [f"… {left_out} {what} left out …"] if left_out else []
        text = "\n".join([*head, *gap, *tail])
        if len(text) <= MAX_EXCERPT_CHARACTERS:
            return text
        if len(head) + len(tail) <= 2:
            break
        if len(head) >= len(tail):
            head.pop()
        else:
            del tail[0]
        left_out += 1
    # Two that are too long together, or one: each gets its share, less the line ends and "…".
    share = (MAX_EXCERPT_CHARACTERS - len("".join(gap)) - 4) // (len(head) + len(tail))
    cut = [piece if len(piece) <= share else f"{piece[:share]}…" for piece in (*head, *tail)]
    return "\n".join([*cut[: len(head)], *gap, *cut[len(head) :]])


def as_text(said: str, most_characters: int) -> str:
    """What a vendor or an exception said, as the hub takes it: cut, and U+0000 as U+FFFD."""
    return said.replace("\0", "\ufffd")[:most_characters]


def redacted(body: bytes, mask: Mask | None = None) -> str:
    """The start of a body, fit for an operator's eyes: no secrets, no blobs, one length."""
    if body[:MAX_BODY_CHARACTERS].lstrip().startswith(_DOCUMENTS):
        return f"({len(body)} bytes)"
    text = body[: MAX_BODY_CHARACTERS * 8].decode("utf-8", "replace")
    text = _without_documents(_without_secrets(text))
    if mask is not None:
        # Before the cut: half a name is a name.
        text = mask.over(text)
    if len(text) > MAX_BODY_CHARACTERS:
        text = text[:MAX_BODY_CHARACTERS] + f"… ({len(body)} bytes)"
    return text


def _without_secrets(text: str) -> str:
    """The patterns walk slowly, and hardly any body has a name of a secret."""
    lowered = text.lower()
    odd = not text.isascii() and any(letter in text for letter in _ODD_LETTERS)
    if odd or any(word in lowered for word in SECRET_WORDS):
        text = _JSON_SECRET.sub(r'\1"***"', text)
        text = _FORM_SECRET.sub(r"\1***", text) if "=" in text else text
        text = _XML_SECRET.sub(r"\1***", text)
        text = _ATTRIBUTE_SECRET.sub(r"\1***", text) if "=" in text else text
    if odd or "bearer" in lowered or "basic" in lowered:
        text = _BEARER.sub(r"\1 ***", text)
    return text


def _without_documents(text: str) -> str:
    """Where no quote is escaped, what is long and has no quote in it stands between two quotes."""
    if "^" in text:
        text = _PRINTER_COMMANDS.sub(_counted, text)
    longest = max(map(len, text.split('"')))
    if longest >= INNER_DOCUMENT_CHARACTERS or any(sign in text for sign in _INNER_BEGINS):
        text = _INNER_DOCUMENT.sub(lambda match: f'"({len(match[1])} characters)"', text)
    return _BLOB.sub(_counted, text) if longest >= BLOB_CHARACTERS else text


def _counted(match: re.Match[str]) -> str:
    return f"({len(match.group())} characters)"
