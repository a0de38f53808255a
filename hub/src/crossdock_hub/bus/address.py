"""Where the bus is and whether it works: values shared by the supervisor, the bus and the hub."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class BusAddress:
    """A NATS server and who we are there. Secrets never show in its repr.

    url: "nats://127.0.0.1:41321", "tls://…", or several separated by commas. Use one of: user with
    password; nkey_seed; credentials_file (a .creds file). tls_ca_file: PEM; "": whom the system
    trusts.
    """

    url: str
    user: str = ""
    password: str = field(default="", repr=False)
    nkey_seed: str = field(default="", repr=False)
    credentials_file: str = ""
    tls_ca_file: str = ""

    def client_options(self) -> dict[str, Any]:
        """Credentials and TLS under the names of nats-py's connect(). OSError: unreadable PEM."""
        options: dict[str, Any] = {}
        if self.user:
            options |= {"user": self.user, "password": self.password}
        if self.nkey_seed:
            options["nkeys_seed_str"] = self.nkey_seed
        if self.credentials_file:
            options["user_credentials"] = self.credentials_file
        if self.tls_ca_file:
            options["tls"] = ssl.create_default_context(cafile=self.tls_ca_file)
        return options


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
