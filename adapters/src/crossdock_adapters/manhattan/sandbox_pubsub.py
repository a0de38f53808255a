"""A subset of Google Cloud Pub/Sub's pull semantics: leases, redelivery, at least once."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

MAX_PULL = 1000
MAX_ACK_DEADLINE_SECONDS = 600
MAX_BACKLOG = 100_000


@dataclass(frozen=True, slots=True)
class PubSubMessage:
    """One published message; `data` is base64 text as on the wire."""

    message_id: str
    data: str
    attributes: dict[str, str]
    publish_time: datetime
    ordering_key: str = ""

    def as_json(self) -> dict[str, Any]:
        body: dict[str, Any] = {
            "data": self.data,
            "attributes": self.attributes,
            "messageId": self.message_id,
            "publishTime": self.publish_time.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        }
        if self.ordering_key:
            body["orderingKey"] = self.ordering_key
        return body


@dataclass(slots=True)
class _Stored:
    message: PubSubMessage
    attempts: int = 0


@dataclass(slots=True)
class _Lease:
    stored: _Stored
    until: datetime


@dataclass(slots=True)
class Subscription:
    """One subscription: messages wait, are leased by pull, and come back unless acknowledged."""

    name: str
    ack_deadline_seconds: float
    published: int = 0
    delivered: int = 0
    redelivered: int = 0
    acknowledged: int = 0
    late_acks: int = 0
    _ready: list[tuple[datetime, int, _Stored]] = field(default_factory=list)
    _leases: dict[str, _Lease] = field(default_factory=dict)
    _count: int = 0

    def publish(self, message: PubSubMessage, available: datetime) -> None:
        """Add a message that pulls see from `available` on. ValueError at the backlog limit."""
        if len(self._ready) + len(self._leases) >= MAX_BACKLOG:
            raise ValueError(f"subscription {self.name} holds {MAX_BACKLOG} messages")
        self.published += 1
        self._wait(_Stored(message), available)

    def pull(self, maximum: int, now: datetime) -> list[dict[str, Any]]:
        """Up to `maximum` messages, each with a lease of its own."""
        self.expire(now)
        received: list[dict[str, Any]] = []
        while self._ready and len(received) < min(maximum, MAX_PULL):
            if self._ready[0][0] > now:
                break
            _, _, stored = heapq.heappop(self._ready)
            stored.attempts += 1
            self.delivered += 1
            self.redelivered += stored.attempts > 1
            ack_id = f"{self.name}-{stored.message.message_id}-{self.delivered}"
            until = now + timedelta(seconds=self.ack_deadline_seconds)
            self._leases[ack_id] = _Lease(stored, until)
            received.append(
                {
                    "ackId": ack_id,
                    "message": stored.message.as_json(),
                    "deliveryAttempt": stored.attempts,
                }
            )
        return received

    def acknowledge(self, ack_ids: Iterable[str], now: datetime) -> int:
        """Forget leased messages; an ack after the lease has no effect. Returns how many went."""
        self.expire(now)
        gone = 0
        for ack_id in ack_ids:
            if self._leases.pop(ack_id, None) is None:
                self.late_acks += 1
            else:
                gone += 1
        self.acknowledged += gone
        return gone

    def modify(self, ack_ids: Iterable[str], seconds: float, now: datetime) -> int:
        """Move the end of leases; 0 gives the messages back at once."""
        self.expire(now)
        changed = 0
        for ack_id in ack_ids:
            lease = self._leases.get(ack_id)
            if lease is None:
                continue
            changed += 1
            lease.until = now + timedelta(seconds=seconds)
        self.expire(now)
        return changed

    def expire(self, now: datetime) -> None:
        """Give back every message whose lease has ended."""
        over = [ack_id for ack_id, lease in self._leases.items() if lease.until <= now]
        for ack_id in over:
            self._wait(self._leases.pop(ack_id).stored, now)

    @property
    def outstanding(self) -> int:
        return len(self._leases)

    @property
    def waiting(self) -> int:
        return len(self._ready)

    def as_json(self) -> dict[str, Any]:
        return {
            "published": self.published,
            "delivered": self.delivered,
            "redelivered": self.redelivered,
            "acknowledged": self.acknowledged,
            "late_acks": self.late_acks,
            "outstanding": self.outstanding,
            "waiting": self.waiting,
        }

    def _wait(self, stored: _Stored, available: datetime) -> None:
        self._count += 1
        heapq.heappush(self._ready, (available, self._count, stored))
