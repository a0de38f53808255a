"""What the hub and the SDK mend alike in nats-py's client. Imports no NATS client itself."""

from __future__ import annotations

from typing import Any


class ClosesAbandoned:
    """Stands before nats-py's Client among the bases: a connection that is given up is closed.

    Where a server takes a connection and its greeting does not come in time, as from a frozen node,
    nats-py (2.16) tries the next server and only forgets the socket. It stays open on both sides
    until garbage is collected, one more with each try.
    """

    _transport: Any

    async def _connect_to_server(self, server: Any) -> None:
        if self._transport:
            self._transport.close()
        await super()._connect_to_server(server)  # type: ignore[misc]
