"""What our connections to NATS do where nats-py's own leave something open."""

from __future__ import annotations

import asyncio
import contextlib
import json

import pytest
from bus_reading import unheard
from crossdock_adapters.sdk.consumer_client import Client as AdapterClient
from crossdock_hub.bus.jetstream_client import Client as HubClient
from fixtures_nats import eventually

GREETING = {"server_id": "PLAYED", "version": "2.12.0", "proto": 1, "max_payload": 1024}
# Which of the connections, counted from 1, never hears a word.
FROZEN = frozenset({2, 3})
HANDSHAKE_SECONDS = 0.2


class FreezingServer:
    """A NATS server that shakes hands, but not on the connections of FROZEN."""

    def __init__(self) -> None:
        self.connections = 0
        self.abandoned: set[int] = set()
        self._writers: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        number = self.connections
        self._writers.append(writer)
        if number not in FROZEN:
            writer.write(b"INFO " + json.dumps(GREETING).encode() + b"\r\n")
        with contextlib.suppress(ConnectionError):
            while line := await reader.readline():
                if line == b"PING\r\n":
                    writer.write(b"PONG\r\n")
        self.abandoned.add(number)
        writer.close()

    def hang_up(self) -> None:
        """Close the newest connection, as a node that goes away."""
        self._writers[-1].close()


@pytest.mark.parametrize("kind", [HubClient, AdapterClient], ids=["hub", "adapter"])
async def test_no_connection_is_left_open_to_a_node_that_never_spoke(
    kind: type[HubClient] | type[AdapterClient],
) -> None:
    """Proves that a node which takes connections and says nothing sees each of them closed, while
    ours is connected again."""
    played = FreezingServer()
    async with await asyncio.start_server(played.serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        client = kind()
        await client.connect(
            f"nats://127.0.0.1:{port}",
            connect_timeout=HANDSHAKE_SECONDS,  # type: ignore[arg-type]
            reconnect_time_wait=HANDSHAKE_SECONDS / 10,  # type: ignore[arg-type]
            max_reconnect_attempts=-1,
            error_cb=unheard,
        )
        played.hang_up()
        await eventually(
            lambda: client.is_connected and played.connections > max(FROZEN), "a connection"
        )
        await eventually(lambda: played.abandoned >= FROZEN, "the frozen ones closed")
        await client.close()
