"""Asks a running nats-server how it is without a NATS client: HTTP monitoring, PING for PONG."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any, Final

from crossdock_hub.bus.address import BusAddress
from crossdock_hub.bus.embedded_config import LOOPBACK, MIN_SERVER_VERSION, version_of

MAX_ANSWER_BYTES: Final = 1024 * 1024
_MAX_LINES_BEFORE_PONG: Final = 10


@dataclass(frozen=True, slots=True)
class Ports:
    """Where a running server listens, on loopback."""

    client: int
    monitoring: int


class NoAnswer(Exception):
    """The server did not answer in time, or not in its protocol."""


async def healthz(port: int, timeout_seconds: float) -> str:
    """ "" for a healthy server, else what it says is wrong. NoAnswer: it said nothing.

    Without parameters on purpose: "js-enabled-only" stays ok when the disk is full.
    """
    status, body = await _get(port, "/healthz", timeout_seconds)
    if status == 200:
        return ""
    try:
        told = json.loads(body)
        return str(told.get("error") or told.get("status") or status)
    except (ValueError, AttributeError):
        return f"status {status}"


async def shortcomings(port: int, timeout_seconds: float) -> str:
    """ "" for a server that keeps what it acknowledged, else the reason not to use it."""
    status, body = await _get(port, "/varz", timeout_seconds)
    if status != 200:
        raise NoAnswer(f"/varz answered {status}")
    told: dict[str, Any] = json.loads(body)
    version = str(told.get("version", ""))
    if version_of(version) < MIN_SERVER_VERSION:
        wanted = ".".join(map(str, MIN_SERVER_VERSION))
        return f"nats-server is version {version or 'unknown'}; {wanted} or later is required"
    configured = (told.get("jetstream") or {}).get("config") or {}
    if not configured.get("sync_always"):
        return "nats-server does not sync every write (sync_interval is not always)"
    return ""


async def ping(address: BusAddress, port: int, timeout_seconds: float) -> None:
    """Log in, and have a PING answered, as a client would. NoAnswer: it was not."""
    try:
        async with asyncio.timeout(timeout_seconds):
            reader, writer = await asyncio.open_connection(LOOPBACK, port)
            try:
                await reader.readline()
                who = {"user": address.user, "pass": address.password, "verbose": False}
                who |= {"lang": "python", "version": "0", "protocol": 1, "pedantic": False}
                writer.write(b"CONNECT " + json.dumps(who).encode() + b"\r\nPING\r\n")
                await _pong(reader)
            finally:
                writer.close()
    except (OSError, ValueError, TimeoutError) as error:
        raise NoAnswer(f"no answer to a ping within {timeout_seconds:g} s") from error


async def _pong(reader: asyncio.StreamReader) -> None:
    for _ in range(_MAX_LINES_BEFORE_PONG):
        line = await reader.readline()
        if line.startswith(b"PONG"):
            return
        if line.startswith(b"-ERR") or not line:
            break
    raise NoAnswer("the server refuses the hub's own credentials")


async def _get(port: int, path: str, timeout_seconds: float) -> tuple[int, bytes]:
    try:
        async with asyncio.timeout(timeout_seconds):
            reader, writer = await asyncio.open_connection(LOOPBACK, port)
            try:
                request = f"GET {path} HTTP/1.0\r\nHost: {LOOPBACK}\r\n\r\n"
                writer.write(request.encode())
                answer = await reader.read(MAX_ANSWER_BYTES)
                while not reader.at_eof() and len(answer) < MAX_ANSWER_BYTES:
                    answer += await reader.read(MAX_ANSWER_BYTES)
            finally:
                writer.close()
        head, _, body = answer.partition(b"\r\n\r\n")
        return int(head.split(maxsplit=2)[1]), body
    except (OSError, ValueError, IndexError, TimeoutError) as error:
        raise NoAnswer(f"no answer from its monitoring within {timeout_seconds:g} s") from error
