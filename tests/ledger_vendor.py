"""Deliveries of an endpoint without a contract around them, for tests of the ledger's rules."""

from __future__ import annotations

import uuid
from typing import Any

from crossdock_hub.config import Limits
from crossdock_hub.delivery import flows
from crossdock_hub.identity import HUB, Caller
from crossdock_hub.records import DeliveryRecord
from decisions import Company

VENDOR = Caller("vendor", "ERP")
ROOT = "order-1"


class Desk(Company):  # type: ignore[misc]
    """One endpoint with one operation class, and events that ask it for work."""

    def __init__(self, kind: str = "SEARCHABLE", limits: Limits | None = None) -> None:
        super().__init__(limits)
        self.kind = kind
        self.employ(VENDOR, dict.fromkeys(("book", "change", "cancel", "post"), kind))

    def event(
        self,
        operation: str = "book",
        *,
        key: str = "key-1",
        items: tuple[str, ...] = ("",),
        **rule: Any,
    ) -> list[DeliveryRecord]:
        """An event that targets the endpoint: one delivery an item, admitted to the ledger."""
        event_id = self.identifiers.next(self.now)
        known = len(self.records)
        root_id = rule.pop("root_id", ROOT)
        object_id = rule.pop("object_id", ROOT)
        made = [
            DeliveryRecord(
                id=str(uuid.uuid5(uuid.NAMESPACE_OID, f"{known}/{index}")),
                event_id=event_id,
                event_type="crossdock.order.v1.OrderApproved",
                endpoint=VENDOR.endpoint,
                operation=operation,
                item=item,
                ordering_key=key,
                state="READY",
                created_at=self.now,
                updated_at=self.now,
                kind="order",
                object_id=object_id,
                root_id=root_id,
                vendor_reference="A" * 20,
                sequence=f"{event_id}:{index:04d}",
                role=VENDOR.role,
                refers_to=rule.pop("refers_to", tuple(sorted({object_id, root_id}))),
                **rule,
            )
            for index, item in enumerate(items)
        ]

        self.decide(HUB, "admit", lambda unit: flows.admit(unit, made))
        return [self.fresh(record) for record in made]

    def one(self, operation: str = "book", **rule: Any) -> DeliveryRecord:
        """The only delivery of a new event."""
        (record,) = self.event(operation, **rule)
        return record
