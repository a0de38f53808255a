"""What one hub tells the others that it has committed: what a leader has to see to, and that copies
of endpoints are old. Whatever is not heard is found by looking.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final

from crossdock_hub.committer import Committed
from crossdock_hub.waiting import packages_of

# Keys of held facts in one message; where there are more, all that is held is looked through.
KEYS_MAX: Final = 200
# Flows named in one message for their unrouted work; others are found by looking.
UNROUTED_MAX: Final = 200
# Deliveries named in one message, for those who follow; of more it is said how many.
DELIVERIES_MAX: Final = 500
# Endpoints named in one message, of which deliveries changed; where there are more, all look.
ENDPOINTS_MAX: Final = 200
# Packages named in one message, for those who wait for a label; where there are more, all look.
PACKAGES_MAX: Final = 500


@dataclass(slots=True)
class News:
    """What was committed since the last one. hub: who tells it. due_at: the earliest timer of its
    deliveries; None: none. awaited, satisfied: what facts were held for, and what has come.
    unrouted: roots of flows with work that nobody serves, as far as there is room. deliveries: ids
    of those that changed; deliveries_untold: how many more. packages: those of which labels or
    deliveries changed; packages_untold: there are more of them. worked: endpoints whose deliveries
    changed; none with work: any of them. leads: who leads which system, or ought to. page: of a
    hub to itself, which tells nobody: the next page of what is held, and of what nobody serves, is
    to be looked at."""

    hub: str = ""
    events: bool = False
    scans: bool = False
    work: bool = False
    endpoints: bool = False
    sweep: bool = False
    due_at: int | None = None
    awaited: set[str] = field(default_factory=set)
    satisfied: set[str] = field(default_factory=set)
    unrouted: set[str] = field(default_factory=set)
    deliveries: set[str] = field(default_factory=set)
    deliveries_untold: int = 0
    packages: set[str] = field(default_factory=set)
    packages_untold: bool = False
    worked: set[str] = field(default_factory=set)
    leads: bool = False
    page: bool = False

    @property
    def is_any(self) -> bool:
        """Whether there is anything to tell."""
        told = self.events or self.scans or self.work or self.endpoints or self.sweep or self.leads
        return told or bool(self.awaited or self.satisfied or self.deliveries or self.packages)

    def add(self, batch: Committed) -> None:
        """Add what a batch has made durable."""
        changes, anywhere = batch.changes, self.work and not self.worked
        self.events |= bool(changes.events)
        self.scans |= bool(changes.scan_outbox)
        for record in batch.deliveries():
            self.work = True
            self.worked.add(record.endpoint)
            if record.state == "UNROUTED" and len(self.unrouted) < UNROUTED_MAX:
                self.unrouted.add(record.root_id)
            self._name(record.id)
            if record.due_at is not None:
                self.due_at = min(record.due_at, self.due_at or record.due_at)
        for dispatched in batch.picked:
            self._name(dispatched.record.id)
        if anywhere or len(self.worked) > ENDPOINTS_MAX:
            self.worked.clear()
        for key, record in changes.records.items():
            self.endpoints |= key[0] == "endpoint"
            if key[0] == "held_fact" and record is not None and record.awaits:
                self.awaited.add(record.awaits)
        for package in packages_of(batch):
            if len(self.packages) < PACKAGES_MAX:
                self.packages.add(package)
            else:
                self.packages_untold |= package not in self.packages
        self.satisfied.update(changes.satisfied)
        if len(self.awaited) + len(self.satisfied) > KEYS_MAX:
            self.awaited.clear()
            self.satisfied.clear()
            self.sweep = True

    def _name(self, delivery_id: str) -> None:
        if len(self.deliveries) < DELIVERIES_MAX:
            self.deliveries.add(delivery_id)
        elif delivery_id not in self.deliveries:
            self.deliveries_untold += 1


def encode(news: News) -> bytes:
    """News as they travel."""
    told = {
        "hub": news.hub,
        "events": news.events,
        "scans": news.scans,
        "work": news.work,
        "endpoints": news.endpoints,
        "sweep": news.sweep,
        "due_at": news.due_at,
        "awaited": sorted(news.awaited),
        "satisfied": sorted(news.satisfied),
        "unrouted": sorted(news.unrouted),
        "deliveries": sorted(news.deliveries),
        "deliveries_untold": news.deliveries_untold,
        "packages": sorted(news.packages),
        "packages_untold": news.packages_untold,
        "worked": sorted(news.worked),
        "leads": news.leads,
    }
    return json.dumps(told).encode()


# Hubs of one database may be of several patch releases: where an older one does not tell something
# yet, it has nothing to tell of that. So a new field needs a default that is right for such a hub.
_UNTOLD: Final = json.loads(encode(News()))


def decode(payload: bytes) -> News | None:
    """News as they were told; None: they can't be read. Fields that are not known are left out."""
    try:
        heard = json.loads(payload)
        if not isinstance(heard["hub"], str):
            return None
        told = _UNTOLD | heard
        due_at = told["due_at"]
        return News(
            hub=told["hub"],
            events=bool(told["events"]),
            scans=bool(told["scans"]),
            work=bool(told["work"]),
            endpoints=bool(told["endpoints"]),
            sweep=bool(told["sweep"]),
            due_at=None if due_at is None else int(due_at),
            awaited=_words(told["awaited"]),
            satisfied=_words(told["satisfied"]),
            unrouted=_words(told["unrouted"]),
            deliveries=_words(told["deliveries"]),
            deliveries_untold=int(told["deliveries_untold"]),
            packages=_words(told["packages"]),
            packages_untold=bool(told["packages_untold"]),
            worked=_words(told["worked"]),
            leads=bool(told["leads"]),
        )
    except (ValueError, TypeError, KeyError, OverflowError):
        return None


def _words(told: Collection[object]) -> set[str]:
    return {str(each) for each in told}
