"""A5: too much of everything: bytes, compressed bytes, metadata, items. Refused by code, in bounds.

Memory is read as the peak of the hub's process while each attack runs: what is freed again at the
end has been taken all the same.
"""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import grpc
from abuse.byte_strings import tag, varint
from abuse.stock import CREATE_ORDER
from crossdock.errors import CODES, from_rpc_error
from crossdock_hub.config import Limits
from fixtures_hub import RunningHub

# What a refusal of too much may say; anything else is none.
REFUSALS: Final = frozenset({"RESOURCE_EXHAUSTED", "INVALID_ARGUMENT"})
MEBIBYTE: Final = 1024 * 1024
BOMB_BYTES: Final = 64 * MEBIBYTE
DEADLINE_SECONDS: Final = 60.0
COUNTED_MAX: Final = Limits().request_elements_max
UPSERT_ITEMS: Final = "/crossdock.item.v1.ItemService/UpsertItems"
REPORT_SCANS: Final = "/crossdock.tracking.v1.TrackingService/ReportTrackingEvents"
STREAM_SCANS: Final = "/crossdock.tracking.v1.TrackingService/StreamTrackingEvents"
BEGIN: Final = "/crossdock.delivery.v1.DeliveryService/BeginAttempts"
TAIL: Final = "/crossdock.lineage.v1.LineageService/Tail"


class FrameRefused(Exception):
    """The stream goes on, the frame was refused with this reason."""


@dataclass(frozen=True, slots=True)
class Attack:
    """One call with too much. compressed: by gzip on the way. metadata_bytes: of one header."""

    name: str
    endpoint: str
    method: str
    data: bytes
    compressed: bool = False
    metadata_bytes: int = 0

    @property
    def compression(self) -> grpc.Compression:
        return grpc.Compression.Gzip if self.compressed else grpc.Compression.NoCompression


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an attack.

    grown: bytes of the server's peak over what it held before. seconds: until the refusal.
    cpu_seconds: what the server worked for it, which is how long everybody else may have waited on
    whatever machine.
    """

    attack: str
    code: str
    reason: str
    grown: int
    seconds: float
    cpu_seconds: float

    def document(self) -> dict[str, Any]:
        """As it stands in a report."""
        return {
            "attack": self.attack,
            "code": self.code,
            "reason": self.reason,
            "peak_growth_mebibytes": round(self.grown / MEBIBYTE, 1),
            "seconds": round(self.seconds, 2),
            "cpu_seconds": round(self.cpu_seconds, 2),
        }


def items(field: int, count: int, one: bytes = b"") -> bytes:
    """A repeated message field with so many items."""
    return (tag(field, 2) + varint(len(one)) + one) * count


def attacks() -> list[Attack]:
    """What a hub has to refuse; items are as small as they get, so that a message holds many."""
    zeros = tag(2, 2) + varint(BOMB_BYTES) + bytes(BOMB_BYTES)
    found = [
        Attack("1 byte over the request limit", "oms", CREATE_ORDER, bytes(MEBIBYTE + 1)),
        Attack("5 MiB", "oms", CREATE_ORDER, bytes(5 * MEBIBYTE)),
        Attack("64 MiB gzip bomb", "oms", CREATE_ORDER, zeros, compressed=True),
        Attack("20 KiB of metadata", "oms", CREATE_ORDER, b"", metadata_bytes=20 * 1024),
        Attack("5 MiB to a stream's method", "operator", TAIL, bytes(5 * MEBIBYTE)),
        Attack("5 MiB as a frame", "ups", STREAM_SCANS, bytes(5 * MEBIBYTE)),
        Attack("64 MiB gzip bomb as a frame", "ups", STREAM_SCANS, zeros, compressed=True),
        Attack("1,000,000 items", "netsuite", UPSERT_ITEMS, items(1, 1_000_000)),
        Attack("1,000,000 scans as a frame", "ups", STREAM_SCANS, items(2, 1_000_000)),
    ]
    most = MEBIBYTE // 2 - 8
    for name, endpoint, method, field in (
        ("items", "netsuite", UPSERT_ITEMS, 1),
        ("scans", "ups", REPORT_SCANS, 2),
        ("begins", "ups", BEGIN, 3),
    ):
        data = items(field, most)
        found.append(Attack(f"{most:,} empty {name} in 1 MiB", endpoint, method, data))
        data = items(field, COUNTED_MAX - 1)
        found.append(Attack(f"{COUNTED_MAX - 1:,} empty {name}", endpoint, method, data))
    unknown = tag(99, 0) + b"\x01"
    strange = unknown * (MEBIBYTE // len(unknown))
    found.append(Attack("350,000 unknown fields in 1 MiB", "oms", CREATE_ORDER, strange))
    return found


async def measure(hub: RunningHub, chosen: list[Attack]) -> list[Outcome]:
    """Each attack after the other."""
    outcomes = []
    for attack in chosen:
        metadata = (("authorization", f"Bearer {hub.token(attack.endpoint)}"),)
        outcomes.append(await _outcome(hub.address, hub.pid, attack, metadata))
    return outcomes


async def measure_stock(address: str, pid: int, chosen: list[Attack]) -> list[Outcome]:
    """The attacks on the only method that a stock server has, at a process of its own."""
    return [
        await _outcome(address, pid, attack, ())
        for attack in chosen
        if attack.method == CREATE_ORDER
    ]


async def _outcome(address: str, pid: int, attack: Attack, metadata: Any) -> Outcome:
    resident = status_bytes(pid, "VmRSS")
    Path(f"/proc/{pid}/clear_refs").write_text("5")  # the peak starts anew
    started, worked = time.monotonic(), cpu_seconds(pid)
    code, reason = await _attempt(address, attack, metadata)
    seconds, worked = time.monotonic() - started, cpu_seconds(pid) - worked
    grown = status_bytes(pid, "VmHWM") - resident
    return Outcome(attack.name, code, reason, grown, seconds, worked)


def cpu_seconds(pid: int) -> float:
    """How long a process has worked, all its threads, in steps of the kernel's clock."""
    # Behind the name, which may hold anything, the 12th and 13th are user and system time.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def status_bytes(pid: int, name: str) -> int:
    """A figure of a process's memory: VmRSS is what it holds, VmHWM the peak of that."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith(f"{name}:")]
    return int(line.split()[1]) * 1024


async def _attempt(address: str, attack: Attack, metadata: Any) -> tuple[str, str]:
    """(code, reason) of the refusal; "OK" when there was none."""
    if attack.metadata_bytes:
        metadata = (*metadata, ("x-padding", "a" * attack.metadata_bytes))
    try:
        if attack.method == STREAM_SCANS:
            await asyncio.to_thread(_send_frame, address, attack, metadata)
        else:
            async with grpc.aio.insecure_channel(
                address, compression=attack.compression
            ) as channel:
                way = _server_stream if attack.method == TAIL else _unary
                await way(channel, attack, metadata)
    except grpc.RpcError as error:
        return error.code().name, from_rpc_error(error, attack.method).reason
    except FrameRefused as refused:
        reason = str(refused)
        return CODES[reason].name, reason
    return "OK", ""


async def _unary(channel: Any, attack: Attack, metadata: Any) -> None:
    call = channel.unary_unary(attack.method)
    await call(attack.data, metadata=metadata, timeout=DEADLINE_SECONDS)


async def _server_stream(channel: Any, attack: Attack, metadata: Any) -> None:
    call = channel.unary_stream(attack.method)
    await call(attack.data, metadata=metadata, timeout=DEADLINE_SECONDS).read()


def _send_frame(address: str, attack: Attack, metadata: Any) -> None:
    """A frame's refusal is an answer of the stream; one that the library refuses ends it.

    In a thread: grpc's asyncio calls give an error of their own, and not the server's, when the
    stream ends while they still write to it.
    """
    from crossdock.tracking.v1 import tracking_service_pb2

    with grpc.insecure_channel(address, compression=attack.compression) as channel:
        start: Any = channel.stream_stream(attack.method)
        call = start(iter([attack.data]), metadata=metadata, timeout=DEADLINE_SECONDS)
        raw = next(call, b"")
        call.cancel()
        answer = tracking_service_pb2.StreamTrackingEventsResponse.FromString(raw)
        if answer.HasField("refusal"):
            raise FrameRefused(answer.refusal.reason)
