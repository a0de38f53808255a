"""Who may call a simulated vendor, and how often: tokens that end, and a limit of calls."""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from enum import Enum, auto

from starlette.requests import Request

MAX_TOKENS = 10_000


def credentials_of(request: Request) -> set[str]:
    """What a call proves itself with: its credential without the scheme, tokens, and cookies."""
    scheme, _, rest = request.headers.get("authorization", "").partition(" ")
    return {rest or scheme, request.headers.get("x-csrf-token", ""), *request.cookies.values()}


class TokenState(Enum):
    """What a token that somebody shows is worth."""

    GOOD = auto()
    ENDED = auto()
    UNKNOWN = auto()


class Tokens:
    """Tokens given out; `issued` counts them all."""

    def __init__(self) -> None:
        self._until: dict[str, datetime] = {}
        self.issued = 0

    def issue(self, lifetime_seconds: float, now: datetime) -> str:
        """A new token; the oldest is forgotten when there are too many."""
        token = secrets.token_urlsafe(24)
        if len(self._until) >= MAX_TOKENS:
            self._until.pop(next(iter(self._until)))
        self._until[token] = now + timedelta(seconds=lifetime_seconds)
        self.issued += 1
        return token

    def state(self, authorization: str, now: datetime) -> TokenState:
        """What the Authorization header of a call is worth."""
        scheme, _, token = authorization.partition(" ")
        until = self._until.get(token) if scheme.lower() == "bearer" else None
        if until is None:
            return TokenState.UNKNOWN
        return TokenState.GOOD if now < until else TokenState.ENDED

    def end_all(self, now: datetime) -> int:
        """All tokens end now, as if their time were over; how many there are."""
        self._until = dict.fromkeys(self._until, now)
        return len(self._until)


class Allowance:
    """Calls that may be made: at most `burst` at once, growing by `per_second`."""

    def __init__(self, per_second: float, burst: float, now: datetime) -> None:
        self._per_second = per_second
        self._burst = burst
        self._left = burst
        self._at = now

    def spend(self, now: datetime) -> bool:
        """Take one call; False when there is none left."""
        grown = (now - self._at).total_seconds() * self._per_second
        self._left = min(self._burst, self._left + max(0.0, grown))
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
