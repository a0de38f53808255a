"""Which PostgreSQL database a URL leads to, however it is spelled; pure."""

from __future__ import annotations

import ipaddress
from typing import Final

from sqlalchemy import make_url

_PORT: Final = "5432"


def which_database(url: str) -> str:
    """The same text for every spelling of one database: driver and who logs in say nothing of it,
    nor does the case of a host or how its address is written, and the default port may be left out.

    Two names of one host are two: nobody here knows whether they lead to one server. url: one that
    the store takes, whose only option is the host.
    """
    parsed = make_url(url)
    told = parsed.query.get("host", ())
    hosts = [told] if isinstance(told, str) else list(told)
    port = str(parsed.port or _PORT)
    servers = sorted(_server(host, port) for host in hosts or [parsed.host or ""])
    # As the server has it: a database without a name is that of whoever logs in.
    return repr((servers, parsed.database or parsed.username or ""))


def _server(host: str, port: str) -> tuple[str, str]:
    """Host and port of one of them; the port may stand behind the host."""
    if host.startswith("/"):
        return host.rstrip("/"), port
    name, colon, own = host.rpartition(":")
    # Not amid an IPv6 address, which brackets end.
    ends = name.endswith("]") or ":" not in name
    if colon and own.isdigit() and ends:
        host, port = name, own
    host = host.strip("[]").rstrip(".").lower()
    try:
        return str(ipaddress.ip_address(host)), port
    except ValueError:
        return host, port
