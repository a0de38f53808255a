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
LATE_WORD = f"CASE WHEN reason LIKE '{LATE}%' THEN 1 ELSE 0 END"


def of_ledger(hub: RunningHub, role: str = "") -> list[Record]:
    """Deliveries to the endpoints of a role, or all, and attempts."""
    ours = f"WHERE role = '{role}'" if role else ""
    table = f"deliveries {ours} ORDER BY id"
    deliveries = _rows(hub, Delivery, table, references="vendor_references")
    for row in deliveries:
        row["references"] = tuple(str(each[1]) for each in json.loads(row["references"] or "[]"))
    attempts = _rows(hub, Attempt, "attempts ORDER BY begun_at", late=LATE_WORD)
    for row in attempts:
        row["late"] = bool(row["late"])
    return [*(Delivery(**row) for row in deliveries), *(Attempt(**row) for row in attempts)]


def _rows(hub: RunningHub, kind: type[Any], table: str, **columns: str) -> list[dict[str, Any]]:
    """The rows of a table, with the fields of a record. columns: those named otherwise."""
    names = [each.name for each in fields(kind)]
    wanted = ", ".join(columns.get(name, name) for name in names)
    found = hub.query(f"SELECT {wanted} FROM {table}")
    return [dict(zip(names, row, strict=True)) for row in found]


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
