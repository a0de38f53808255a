"""Whether an address carries secrets in clear: one rule for vendors, token servers and the bus."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

ENCRYPTED = frozenset({"https", "tls", "wss"})


def plaintext_problem(name: str, address: str) -> str:
    """What is wrong with an address under the setting `name`; empty when it is encrypted or local.

    `address` may be several, separated by commas. Only scheme and host are repeated: an address
    may hold a password.
    """
    for one in address.split(","):
        parts = _split(one.strip())
        if parts.scheme not in ENCRYPTED and not _is_loopback(parts.hostname or ""):
            return (
                f"{name}: {parts.scheme}://{parts.hostname} would carry secrets in clear; use "
                f"{_encrypted(parts.scheme)} or a loopback address, or set allow_plaintext = true "
                "where the network itself is encrypted"
            )
    return ""


def _split(address: str) -> SplitResult:
    return urlsplit(address if "://" in address else f"nats://{address}")


def _encrypted(scheme: str) -> str:
    return "https://" if scheme == "http" else "tls://"


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
