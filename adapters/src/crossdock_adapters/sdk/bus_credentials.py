"""Who we are on the bus: read from a file, never shown."""

from __future__ import annotations

import json
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

MAX_FILE_BYTES: Final = 64 * 1024
_JWT_MARK: Final = "-----BEGIN NATS USER JWT-----"
_SEED_START: Final = "SU"


class BusCredentialsError(ValueError):
    """A credentials file cannot be used; the text names the file, never its content."""


@dataclass(frozen=True, slots=True)
class BusCredentials:
    """User and password, or an nkey seed, or a .creds file; nothing at all for an open bus."""

    user: str = ""
    password: str = field(default="", repr=False)
    nkey_seed: str = field(default="", repr=False)
    creds_file: str = ""
    tls_ca_file: str = ""

    @classmethod
    def read(cls, path: Path, tls_ca_file: str = "") -> BusCredentials:
        """From a file: JSON {"user": …, "password": …}, an nkey seed, or .creds with a user JWT.

        BusCredentialsError: it cannot be read, or is none of the three.
        """
        try:
            text = path.read_bytes()[:MAX_FILE_BYTES].decode().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise BusCredentialsError(f"{path}: {type(error).__name__}") from error
        if _JWT_MARK in text:
            return cls(creds_file=str(path), tls_ca_file=tls_ca_file)
        if text.startswith(_SEED_START) and len(text.split()) == 1:
            return cls(nkey_seed=text, tls_ca_file=tls_ca_file)
        try:
            told = json.loads(text)
            return cls(str(told["user"]), str(told["password"]), tls_ca_file=tls_ca_file)
        except (ValueError, KeyError, TypeError):
            raise BusCredentialsError(
                f'{path}: neither {{"user", "password"}} in JSON, nor an nkey seed, nor .creds'
            ) from None

    def client_options(self) -> dict[str, Any]:
        """The same under the names of nats-py's connect(). OSError: an unreadable PEM file."""
        options: dict[str, Any] = {}
        if self.user:
            options |= {"user": self.user, "password": self.password}
        if self.nkey_seed:
            options["nkeys_seed_str"] = self.nkey_seed
        if self.creds_file:
            options["user_credentials"] = self.creds_file
        if self.tls_ca_file:
            options["tls"] = ssl.create_default_context(cafile=self.tls_ca_file)
        return options
