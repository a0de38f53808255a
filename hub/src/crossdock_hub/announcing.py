"""Says once, in the log, what operators must hear of: breakers, the spending guard, duplicates."""

from __future__ import annotations

import structlog

from crossdock_hub.committer import Committed

log = structlog.get_logger("crossdock.ledger")


def announce(batch: Committed) -> None:
    """A batch is durable: say what it changed that a person should know. A listener of commits."""
    for name, count in batch.changes.counters.items():
        if name[0] == "breaker":
            _breaker(batch, *name[1:])
        elif name[0] == "spending_alarm":
            log.error(
                "the spending guard stopped an order; a person decides",
                endpoint=name[1],
                operation=name[2],
                orders=count,
            )
        elif name[0] == "vendor_duplicate":
            log.error(
                "the vendor holds more than one; the oldest was adopted, take the others back",
                endpoint=name[1],
                operation=name[2],
                deliveries=count,
            )


def _breaker(batch: Committed, endpoint: str, state: str) -> None:
    record = batch.changes.records.get(("endpoint", endpoint))
    reason = record.breaker_reason if record is not None else ""
    if state == "CLOSED":
        log.warning("endpoint answers again; its queue drains", endpoint=endpoint)
    else:
        log.warning(
            "endpoint does not answer; it is tried with one call at a time",
            endpoint=endpoint,
            cause=reason,
        )
