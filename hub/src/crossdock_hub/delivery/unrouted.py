"""What an UNROUTED delivery would be today: the one that it stands for, in the same place.

And what endpoints that are gone keep of a flow: its new work is theirs as well, see removal.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from crossdock import bus

from crossdock_hub.delivery import removal
from crossdock_hub.delivery.indexed_flow import IndexedFlow
from crossdock_hub.delivery.registry import RegisteredEndpoint, compile_endpoint
from crossdock_hub.delivery.routing import plan
from crossdock_hub.records import DeliveryRecord, EventRecord
from crossdock_hub.replacing import replace
from crossdock_hub.unit import Unit


def waiting(unit: Unit, root_id: str, roles: frozenset[str], before: str) -> list[DeliveryRecord]:
    """What nobody serves of a flow and of roles, in order. before: a sequence; "": all of it."""
    found = [
        record
        for record in unit.flow(root_id)
        if record.state == "UNROUTED"
        and (not roles or record.role in roles)
        and (not before or record.sequence < before)
    ]
    unit.require(("event", record.event_id) for record in found)
    return found


def left_behind(unit: Unit, root_id: str) -> dict[str, DeliveryRecord]:
    """By the name of each endpoint that is gone and has a part of a flow: the first of that part.

    In the order in which the flow came to them.
    """
    flow = unit.flow(root_id)
    configured = {endpoint.id for endpoint in unit.endpoints}
    gone = {r.endpoint: None for r in flow if r.endpoint and r.endpoint not in configured}
    # Most flows have met no such endpoint: no index for them.
    books = IndexedFlow(flow if gone else ())
    found = {name: removal.what_stays(name, books, unit.limits) for name in gone}
    return {name: stays for name, stays in found.items() if stays is not None}


def as_they_were(unit: Unit, names: Iterable[str]) -> list[RegisteredEndpoint]:
    """Endpoints that are gone with what they offered, to see what would be theirs."""
    keys = [("endpoint", name) for name in names]
    unit.require(keys)
    known = [unit.get(key) for key in keys]
    return [compile_endpoint(record, unit.limits) for record in known if record is not None]


def routed_now(
    unit: Unit, record: DeliveryRecord, left: Mapping[str, DeliveryRecord]
) -> DeliveryRecord | None:
    """The delivery that it should have been; None: still nobody serves it.

    What an endpoint that was gone had is its again, the same delivery, once it is back. left: what
    such endpoints have of the flow, as `left_behind` found it: then no other one takes the rest
    over, and what nobody served yet is theirs, which the delivery says by its name.
    """
    if not record.endpoint:
        return _planned(unit, record, left)
    if unit.endpoint(record.endpoint) is not None:
        return removal.given_back(record, unit.now)
    if record.endpoint in left or not removal.may_go_over(record):
        return None
    found = _planned(unit, record, left)
    if found is None:
        return None
    # Where several may have the work each has its own: then nothing is missing there. All of the
    # flow has been read.
    key = ("delivery", found.id)
    return None if unit.knows(key) and unit.get(key) is not None else found


def _planned(
    unit: Unit, record: DeliveryRecord, left: Mapping[str, DeliveryRecord]
) -> DeliveryRecord | None:
    stored: EventRecord | None = unit.get(("event", record.event_id))
    event: Any = None if stored is None else bus.decode(stored.body).event
    if stored is None or event is None:
        return None
    planned = plan(
        unit.contract,
        unit.contract.events[stored.type],
        event,
        stored,
        unit.get(("endpoints",)),
        record.refers_to,
        unit.now,
        as_they_were(unit, left),
    )
    wanted = (record.role, record.operation, record.item)
    for found in planned:
        if found.endpoint and (found.role, found.operation, found.item) == wanted:
            # Of a database that was put back: a call may have been made that it does not know,
            # and whoever made it has a token below this one. What a person let go stays let go.
            return replace(
                found,
                token=record.token,
                first_unknown_at=record.first_unknown_at,
                calls_reached=record.calls_reached,
                calls_maybe_done=record.calls_maybe_done,
                released=record.released,
            )
    return None


def replaced(record: DeliveryRecord, by: DeliveryRecord, now: int) -> DeliveryRecord:
    """The row that stood for it, which says where the work went; its doubt went with the work."""
    return replace(
        record,
        first_unknown_at=None,
        calls_reached=0,
        calls_maybe_done=0,
        state="SUPERSEDED",
        superseded_by=by.id,
        waiting_on=f"routed to {by.endpoint} once it was there",
        updated_at=now,
    )
