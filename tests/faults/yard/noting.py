"""Notes what happens in a run, and at its end what vendors, hub and stream hold."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from bus_reading import stored_messages
from crossdock import bus
from crossdock_hub.bus.address import BusAddress
from crossdock_hub.wording import LATE
from fixtures_hub import RunningHub

from tests.faults.history.records import (
    Attempt,
    Delivery,
    Effect,
    Event,
    Object,
    Record,
    Request,
    Streamed,
    VendorCall,
)


def now() -> int:
    """Microseconds UTC, on the clock that the hub and the vendor use."""
    return int(time.time() * 1e6)


class Notes:
    """Records as they come."""

    def __init__(self) -> None:
        self.records: list[Record] = []

    def add(self, record: Record) -> None:
        self.records.append(record)


def digest(body: bytes) -> str:
    """A short name of some bytes; "" of none."""
    return hashlib.sha256(body).hexdigest()[:16] if body else ""


def of_vendor(books: dict[str, Any]) -> list[Record]:
    """What the vendors hold, and what they were asked."""
    effects = [
        Effect(
            e["endpoint"], e["operation"], e["delivery_id"], e["number"], e["key"], e["subject"],
            e["made_at"], e["revision"], e.get("price", ""),
            digest(base64.b64decode(e.get("document", ""))), e.get("voided_at", 0),
        )
        for e in books["effects"]
    ]  # fmt: skip
    calls = [
        VendorCall(
            endpoint=a["endpoint"], kind=a["kind"], operation=a["operation"],
            delivery_id=a["delivery_id"], attempt=a["attempt"], key=a["key"], start=a["start"],
            end=a["end"], status=a["status"], effect=a["effect"], sent_at=a["sent_at"],
            lease_until=a["lease_until"], found=a["found"], draft=a["draft"],
        )
        for a in books["asked"]
    ]  # fmt: skip
    return [*effects, *calls]


def of_hub(hub: RunningHub, kinds: Sequence[str] = ("order",), role: str = "") -> list[Record]:
    """What the hub's database holds: objects of some kinds, and the work of a role, or all."""
    named = ", ".join(f"'{kind}'" for kind in kinds)
    objects = _rows(hub, Object, f"objects WHERE kind IN ({named})")
    events = _rows(hub, Event, "events ORDER BY sequence")
    return [
        *(Object(**row | {"number": row["number"] or ""}) for row in objects),
        *(Event(**row | {"body": digest(row["body"])}) for row in events),
        *(Request(**row) for row in _rows(hub, Request, "requests")),
        *of_ledger(hub, role),
    ]


# The hub writes so before the reason of an attempt whose word counted no more.
LATE_WORD = f"CASE WHEN a.reason LIKE '{LATE}%' THEN 1 ELSE 0 END"


def of_ledger(hub: RunningHub, role: str = "") -> list[Record]:
    """Deliveries to the endpoints of a role, or all, and attempts, of one moment.

    An adapter that was not heard in time may still prove something when nothing is open any more,
    and a parked delivery whose call is known to be done has never been seen by anybody.
    """
    row = _columns(Delivery, "d", references="d.vendor_references")
    word = _columns(Attempt, "a", late=LATE_WORD)
    ours = f" WHERE d.role = '{role}'" if role else ""
    found = hub.query(
        f"SELECT {', '.join([*row.values(), *word.values()])} FROM deliveries d"
        f" LEFT JOIN attempts a ON a.delivery_id = d.id{ours} ORDER BY d.id, a.begun_at"
    )
    deliveries: dict[str, Delivery] = {}
    attempts: list[Attempt] = []
    for values in found:
        told = dict(zip(row, values, strict=False))
        kept = json.loads(told["references"] or "[]")
        told["references"] = tuple(str(each[1]) for each in kept)
        deliveries.setdefault(told["id"], Delivery(**told))
        said = dict(zip(word, values[len(row) :], strict=True))
        if said["delivery_id"] is not None:
            attempts.append(Attempt(**said | {"late": bool(said["late"])}))
    return [*deliveries.values(), *sorted(attempts, key=lambda attempt: attempt.begun_at)]


def _rows(hub: RunningHub, kind: type[Any], table: str) -> list[dict[str, Any]]:
    """The rows of a table, with the fields of a record."""
    names = [each.name for each in fields(kind)]
    found = hub.query(f"SELECT {', '.join(names)} FROM {table}")
    return [dict(zip(names, row, strict=True)) for row in found]


def _columns(kind: type[Any], table: str, **columns: str) -> dict[str, str]:
    """Field of a record -> where a table has it. columns: those named otherwise."""
    names = (each.name for each in fields(kind))
    return {name: columns.get(name, f"{table}.{name}") for name in names}


async def of_stream(address: BusAddress) -> list[Record]:
    """What the event stream holds."""
    messages = await stored_messages(address, bus.EVENT_STREAM)
    return [
        Streamed(
            message.sequence,
            message.headers["Nats-Msg-Id"],
            int(message.subject.rpartition(".")[2]),
            digest(message.data),
        )
        for message in messages
    ]
