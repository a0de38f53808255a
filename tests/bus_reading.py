"""Reads a hub's streams whole, with its own login, to compare them with what was written."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import nats
from crossdock_hub.bus.address import BusAddress
from nats.aio.client import Client

ANSWER_SECONDS = 45.0
AT_ONCE = 100


@dataclass(frozen=True)
class Stored:
    """One message of a stream."""

    sequence: int
    subject: str
    data: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


async def stored_messages(address: BusAddress, stream: str) -> list[Stored]:
    """Every message of a stream, in order."""
    client = await _connected(address)
    try:
        jetstream = client.jetstream(timeout=ANSWER_SECONDS)
        state = (await jetstream.stream_info(stream)).state
        found: list[Stored] = []
        first = max(state.first_seq, 1)
        for start in range(first, state.last_seq + 1, AT_ONCE):
            numbers = range(start, min(start + AT_ONCE, state.last_seq + 1))
            answers = await asyncio.gather(*[jetstream.get_msg(stream, n) for n in numbers])
            found += [
                Stored(number, str(a.subject), a.data or b"", a.headers or {})
                for number, a in zip(numbers, answers, strict=True)
            ]
        return found
    finally:
        await client.close()


async def stream_configuration(address: BusAddress, stream: str) -> Any:
    """How the server says that a stream is configured."""
    client = await _connected(address)
    try:
        return (await client.jetstream(timeout=ANSWER_SECONDS).stream_info(stream)).config
    finally:
        await client.close()


async def unheard(_: Exception) -> None:
    """What nats-py is to do with an error of the connection: nothing, where it would print a
    traceback for each try. Whoever asks a bus that is away sees that by the answer."""


async def _connected(address: BusAddress) -> Client:
    return await nats.connect(
        address.url.split(","),
        connect_timeout=ANSWER_SECONDS,
        error_cb=unheard,
        **address.client_options(),
    )
