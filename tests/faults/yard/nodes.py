"""A cluster of three nodes whose ways to one another lead over wires of ours."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from nats_cluster import NODES, NatsCluster

from tests.faults.yard.proxy import Proxy, Wire

# What nodes tell each other of where they are: they go by the ways that are laid, and no other.
NOWHERE = "127.0.0.1:9"


class WiredCluster(NatsCluster):
    """Three nodes, each of which can be parted from the other two while clients still reach it.

    Start it on the main thread: nodes die with the thread that made them.
    """

    def __init__(self, directory: Path, endpoints: tuple[str, ...]) -> None:
        directory.mkdir()
        super().__init__(directory, endpoints)
        self._wires = {
            (here, there): Proxy(self.route_ports[there])
            for here in range(NODES)
            for there in range(NODES)
            if here != there
        }
        self._ways: dict[tuple[int, int], int] = {}

    async def start_wired(self) -> None:
        """Lay the wires, start the nodes, and return when they are a cluster."""
        for way, wire in self._wires.items():
            self._ways[way] = await wire.start()
        for number in range(NODES):
            self.start_node(number)
        await self.formed()

    async def stop_wired(self) -> None:
        """End the nodes, then the wires."""
        self.stop()
        for wire in self._wires.values():
            await wire.stop()

    async def formed(self) -> None:
        """Return when every node says that it is well. In a thread: the wires run in this one."""
        await asyncio.to_thread(self.wait_until_formed)

    async def leader(self, stream: str) -> int:
        """The node that leads a stream; -1 while nobody does."""
        return await asyncio.to_thread(self.leader_of, stream)

    def part(self, number: int) -> None:
        """From now on a node and the others hear nothing of each other."""
        self._set(number, Wire.HELD)

    def join(self, number: int) -> None:
        """Let them hear each other again."""
        self._set(number, Wire.THROUGH)

    def ways(self, number: int) -> dict[str, Any]:
        others = [port for (here, _), port in self._ways.items() if here == number]
        return {"routes": [f"nats://127.0.0.1:{port}" for port in others], "advertise": NOWHERE}

    def _set(self, number: int, how: Wire) -> None:
        for way, wire in self._wires.items():
            if number in way:
                wire.set(how)
