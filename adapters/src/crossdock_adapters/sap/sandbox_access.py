"""Who may write at the simulated Gateway: the technical user, with a token and its cookies.

A token belongs to one session and one service. What lacks it is refused by status 403 and the
header `x-csrf-token: Required`; the text beside it is in the user's language and says nothing.
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Final

from starlette.requests import Request

from crossdock_adapters.sap.sandbox_odata import refusal

# Failures in a row after which the technical user is locked until somebody unlocks it.
FAILURES_MAX: Final = 5
MAX_SESSIONS: Final = 1_000
SESSION_COOKIE: Final = "SAP_SESSIONID_XD1_100"
CONTEXT_COOKIE: Final = "sap-usercontext"


@dataclass(slots=True)
class Session:
    """One security session: its token by service, and when it was last used."""

    tokens: dict[str, str] = field(default_factory=dict)
    used: float = 0.0


@dataclass(slots=True)
class Gate:
    """Checks logins and tokens; `idle_seconds` is how long an unused session lives."""

    user: str
    password: str
    idle_seconds: float
    random: Random
    now: Callable[[], float]
    sessions: dict[str, Session] = field(default_factory=dict)
    failures: int = 0
    tokens_given: int = 0
    tokens_refused: int = 0

    def enter(self, request: Request) -> None:
        """Check the login. VendorError 401."""
        try:
            scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
            user, _, password = b64decode(encoded, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            scheme, user, password = "", "", ""
        fits = (scheme.lower(), user, password) == ("basic", self.user, self.password)
        if not fits or self.failures >= FAILURES_MAX:
            self.failures += 1
            raise refusal(
                401, "", "Logon failed", headers={"WWW-Authenticate": 'Basic realm="SAP"'}
            )
        self.failures = 0

    def fetch(self, request: Request, service: str) -> dict[str, str]:
        """Headers of an answer to a request that fetches a token; none where it does not."""
        if request.headers.get("x-csrf-token", "").lower() != "fetch":
            return {}
        session_id, session = self._session(request)
        if session is None:
            if len(self.sessions) >= MAX_SESSIONS:
                self.sessions.clear()
            session_id, session = f"{self.random.getrandbits(160):040x}", Session()
            self.sessions[session_id] = session
        session.used = self.now()
        token = session.tokens.setdefault(service, f"{self.random.getrandbits(128):032x}==")
        self.tokens_given += 1
        return {"x-csrf-token": token, "session": session_id}

    def check(self, request: Request, service: str) -> None:
        """Refuse a write without this session's token for this service. VendorError 403."""
        _, session = self._session(request)
        token = request.headers.get("x-csrf-token", "")
        if session is None or not token or session.tokens.get(service) != token:
            self.tokens_refused += 1
            raise refusal(
                403, "", "CSRF-Token-Validierung fehlgeschlagen",
                headers={"x-csrf-token": "Required"},
            )  # fmt: skip
        session.used = self.now()

    def forget(self) -> int:
        """End every session, as a restart of an application server does."""
        count = len(self.sessions)
        self.sessions.clear()
        return count

    def _session(self, request: Request) -> tuple[str, Session | None]:
        session_id = request.cookies.get(SESSION_COOKIE, "")
        if request.cookies.get(CONTEXT_COOKIE) is None:
            return session_id, None
        session = self.sessions.get(session_id)
        if session is not None and self.now() - session.used > self.idle_seconds:
            del self.sessions[session_id]
            return session_id, None
        return session_id, session
