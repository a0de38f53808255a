"""Where the bus is and whether it works: values shared by the supervisor, the bus and the hub."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime


@dataclass(frozen=True, slots=True)
class BusAddress:
    """A NATS server and who we are there. Secrets never show in its repr.

    url: "nats://127.0.0.1:41321", "tls://…", or several separated by commas. Use one of: user with
    password; nkey_seed; credentials_file (a .creds file). The files of TLS are PEM.
    """

    url: str
    user: str = ""
    password: str = field(default="", repr=False)
    nkey_seed: str = field(default="", repr=False)
    credentials_file: str = ""
    tls_ca_file: str = ""
    tls_certificate_file: str = ""
    tls_key_file: str = ""


@dataclass(frozen=True, slots=True)
class BusHealth:
    """Whether something works, in words for an operator, and since when that is so."""

    ok: bool
    reason: str
    since: datetime

    def now(self, ok: bool, reason: str) -> BusHealth:
        """This health, or a new one from now on when anything but the time differs."""
        if (ok, reason) == (self.ok, self.reason):
            return self
        since = self.since if ok == self.ok else datetime.now(UTC)
        return BusHealth(ok, reason, since)


def starting(what: str) -> BusHealth:
    """The health of what has not said anything yet."""
    return BusHealth(False, f"{what} is starting", datetime.now(UTC))
