"""What a hub says to bytes, judged: an answer, a documented refusal, or what it must never say."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

import grpc
from crossdock.errors import CODES, from_rpc_error

# What a refusal never shows: the words and shapes of an exception, a file of ours, an object. A
# field of the contract may be called after a parcel's exception.
EXCEPTION_TEXT: Final = re.compile(
    r"Traceback|Exception(?!_[a-z])|\b\w*Error\b|\.py\b|File \"|0x[0-9a-f]{6,}| object at |serializ"
    r"|sqlite",
    re.IGNORECASE,
)
FORBIDDEN: Final = frozenset({grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL})
EXAMPLES_MAX: Final = 5


@dataclass(slots=True)
class Tally:
    """How often each code was given, and what was said that must never be.

    codes: name of the gRPC code -> how often; "OK" for an answer.
    """

    codes: Counter[str] = field(default_factory=Counter)
    forbidden: int = 0
    exception_texts: int = 0
    undocumented: int = 0
    examples: list[str] = field(default_factory=list)

    @property
    def sent(self) -> int:
        return sum(self.codes.values())

    @property
    def faults(self) -> int:
        """Answers that nobody may get."""
        return self.forbidden + self.exception_texts + self.undocumented

    def answered(self) -> None:
        """The bytes were a request, and it was answered."""
        self.codes["OK"] += 1

    def refused(self, method: str, data: bytes, error: grpc.aio.AioRpcError) -> None:
        """The call ended with a status."""
        found = from_rpc_error(error, method)
        self.said(method, data, error.code(), found.reason, error.details() or "")

    def said(self, method: str, data: bytes, code: grpc.StatusCode, reason: str, text: str) -> None:
        """A refusal, of a call or of one frame of a stream."""
        self.codes[code.name] += 1
        wrong = []
        if code in FORBIDDEN:
            self.forbidden += 1
            wrong.append(code.name)
        if EXCEPTION_TEXT.search(text):
            self.exception_texts += 1
            wrong.append("exception text")
        if CODES.get(reason) is not code:
            self.undocumented += 1
            wrong.append("no reason of the contract")
        if wrong and len(self.examples) < EXAMPLES_MAX:
            self.examples.append(
                f"{method}: {', '.join(wrong)}: {code.name} {reason} {text[:200]!r} to "
                f"{data[:60].hex()}"
            )

    def add(self, other: Tally) -> None:
        """Take another's counts over."""
        self.codes += other.codes
        self.forbidden += other.forbidden
        self.exception_texts += other.exception_texts
        self.undocumented += other.undocumented
        self.examples = [*self.examples, *other.examples][:EXAMPLES_MAX]

    def document(self) -> dict[str, Any]:
        """As it stands in a report."""
        return {
            "sent": self.sent,
            "codes": dict(self.codes.most_common()),
            "unknown_or_internal": self.forbidden,
            "exception_texts": self.exception_texts,
            "without_documented_reason": self.undocumented,
            "examples": self.examples,
        }
