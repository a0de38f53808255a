"""Applies the ledger's rules to the deliveries of one flow: admits new ones, wakes waiting ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from crossdock_hub.config import Limits
from crossdock_hub.delivery import guarding, ledger, removal, undone_departures, unrouted
from crossdock_hub.delivery.indexed_flow import IndexedFlow
from crossdock_hub.delivery.ordering import Flow
from crossdock_hub.delivery.registry import OperationSpec
from crossdock_hub.records import DeliveryRecord
from crossdock_hub.replacing import replace
from crossdock_hub.stepping import Steps, at_once
from crossdock_hub.unit import Unit

# On the way, with no attempt that holds it.
_NOT_BEGUN = frozenset({"READY", "DISPATCHED"})


def spec_of(unit: Unit, record: DeliveryRecord) -> OperationSpec:
    """What the endpoint declared about the operation; the careful defaults when it did not."""
    endpoint = unit.endpoint(record.endpoint)
    spec = endpoint.operations.get(record.operation) if endpoint else None
    return spec or default_spec(record.operation, unit.limits)


def default_spec(operation: str, limits: Limits) -> OperationSpec:
    """An operation nobody declared: never repeated when its outcome is unknown."""
    return OperationSpec(
        operation,
        "NONE",
        limits.settle_seconds_default,
        limits.lease_seconds_default,
        limits.calls_max_default,
        limits.prerequisite_seconds_default,
        limits.key_life_seconds_default,
        limits.retry_seconds_first,
        limits.retry_seconds_max,
    )


def admit(unit: Unit, records: Sequence[DeliveryRecord]) -> None:
    """Take the planned deliveries of an event into the ledger."""
    routed = [record for record in records if record.state != "UNROUTED"]
    for record in records:
        if record.state == "UNROUTED":
            unit.put_delivery(record)
            unit.count("unrouted", record.role, record.operation)
    if routed:
        # What came before them and can be routed by now goes first, or they would overtake it.
        roles = frozenset(record.role for record in routed)
        before = min(record.sequence for record in routed)
        reroute(unit, routed[0].root_id, roles=roles, before=before)
        _take(unit, routed)
    voids = next((each for each in records if each.event_type == undone_departures.VOID), None)
    if voids is not None:
        _end_departures(unit, voids)


def _end_departures(unit: Unit, voids: DeliveryRecord) -> None:
    """End what was to tell of a departure that a void undid and has not begun: not every role has a
    reversal that supersedes it."""
    flow = unit.flow(voids.root_id)
    unserved = {other.id for other in flow if other.state == "UNROUTED"}
    ended = undone_departures.told_in_vain(voids, flow, unit.now)
    for other in ended:
        _keep(unit, other)
    for other in ended:
        if other.id in unserved:
            wake_role(unit, other)
        else:
            wake(unit, other.root_id, other.endpoint)


def reroute(
    unit: Unit, root_id: str, *, roles: frozenset[str] = frozenset(), before: str = ""
) -> None:
    """Plan what nobody served once more, in order; it stays as it is while nobody serves it.

    roles: only theirs, if any. before: only what comes before a sequence, if any.
    """
    waiting = unrouted.waiting(unit, root_id, roles, before)
    left = unrouted.left_behind(unit, root_id) if waiting else {}
    for record in waiting:
        known = unit.delivery(record.id)
        if known is None or known.state != "UNROUTED":
            # What was routed just now took it back.
            continue
        found = unrouted.routed_now(unit, known, left)
        if found is None or found.state == "UNROUTED":
            _keep_waiting(unit, known, found or known, left)
            continue
        if found.id != known.id:
            unit.put_delivery(unrouted.replaced(known, found, unit.now))
        if found.state == "HELD":
            # It has its place, and its timer.
            _keep(unit, found)
        elif found.id == known.id and removal.was_taken(known):
            _admit(unit, found)
        else:
            _take(unit, [found])
        wake_role(unit, known)


def _keep_waiting(
    unit: Unit,
    known: DeliveryRecord,
    planned: DeliveryRecord,
    left: Mapping[str, DeliveryRecord],
) -> None:
    """Say what work waits for that an endpoint which is gone has, or keeps. planned: as it would be
    today."""
    if planned.endpoint:
        words = removal.waits_for(planned, left.get(planned.endpoint)).waiting_on
        unit.put_delivery(replace(known, waiting_on=words))


def _take(unit: Unit, routed: Sequence[DeliveryRecord]) -> None:
    """Admit what an endpoint serves, as far as the guard lets it."""
    # What comes back stands in its flow already, and is counted when its turn is there.
    ids = {record.id for record in routed}
    tally = guarding.Tally([o for o in unit.flow(routed[0].root_id) if o.id not in ids])
    for record in routed:
        stopped = _stopped(unit, tally, record)
        if stopped is None:
            _admit(unit, record)
        else:
            _keep(unit, stopped)


def repeated(unit: Unit, record: DeliveryRecord) -> DeliveryRecord:
    """A delivery that the vendor is to be called about again, as far as the guard lets it."""
    beside = [other for other in unit.flow(record.root_id) if other.id != record.id]
    return _stopped(unit, guarding.Tally(beside), record) or record


def _stopped(unit: Unit, tally: guarding.Tally, record: DeliveryRecord) -> DeliveryRecord | None:
    """The delivery as the guard parks it, counted and with an alarm; None: it lets it go."""
    stopped = tally.stopped(record, spec_of(unit, record), unit.now)
    if stopped is not None:
        unit.count("spending", record.endpoint, record.operation)
        if tally.first_alarm(record):
            unit.count("spending_alarm", record.endpoint, record.operation)
    return stopped


def _admit(unit: Unit, record: DeliveryRecord) -> None:
    """Supersede what the delivery makes pointless, then place it."""
    flow = unit.flow(record.root_id)
    pointless = ledger.supersede(record, flow, unit.now) if record.supersedes else []
    unserved = {other.id for other in flow if other.state == "UNROUTED"}
    for other in pointless:
        _keep(unit, other)
    for other in pointless:
        if other.id in unserved:
            wake_role(unit, other)
    if any(other.id == record.id for other in pointless):
        wake(unit, record.root_id, record.endpoint)
        return
    flow = unit.flow(record.root_id)
    placed = ledger.place(record, flow, spec_of(unit, record), unit.now)
    _keep(unit, placed)
    # What it needs may be held by work that waits for it: that has become clear only now.
    if pointless or placed.hold_reason == "PREREQUISITE":
        wake(unit, record.root_id, record.endpoint)


def hold_back(unit: Unit, record: DeliveryRecord) -> None:
    """Make later work of its key wait again for a delivery that had ended and goes once more.

    What an attempt holds goes on; what was only dispatched is taken back, and its begin refused.
    """
    flow = unit.flow(record.root_id)
    books = IndexedFlow(flow)
    for other in flow:
        same = (other.endpoint, other.ordering_key) == (record.endpoint, record.ordering_key)
        if not same or other.sequence <= record.sequence or other.state not in _NOT_BEGUN:
            continue
        placed = ledger.place(other, books, spec_of(unit, other), unit.now)
        if placed.state == "HELD":
            _keep(unit, placed)
            books.put(placed)


def settle(unit: Unit, before: DeliveryRecord, after: DeliveryRecord) -> None:
    """Keep a changed delivery, and wake what waited for it."""
    after = unless_undone(unit, after)
    _keep(unit, after)
    if before.state == "REJECTED" and after.state in ledger.OPEN_STATES:
        hold_back(unit, after)
    if before.state == "UNROUTED":
        wake_role(unit, after)
    else:
        wake(unit, after.root_id, after.endpoint)
    if after.endpoint and unit.endpoint(after.endpoint) is None:
        # What was left at an endpoint that is gone may have kept the rest of its flow there.
        reroute(unit, after.root_id)


def unless_undone(unit: Unit, record: DeliveryRecord) -> DeliveryRecord:
    """The same delivery, ended where it tells of a departure that was undone and has not begun."""
    if record.event_type != undone_departures.DEPARTURE:
        return record
    return undone_departures.unless_undone(record, unit.flow(record.root_id), unit.now)


def wake(unit: Unit, root_id: str, endpoint: str) -> None:
    """Look again at everything of a flow that waits for order or prerequisites at an endpoint."""
    at_once(wake_in_steps(unit, root_id, endpoint))


def wake_in_steps(unit: Unit, root_id: str, endpoint: str) -> Steps[None]:
    """`wake`, which may be interrupted after each delivery."""
    flow = unit.flow(root_id)
    if not _waiting(flow, endpoint):
        return
    # One index for all that waits: an order in a loop has thousands of deliveries.
    books = IndexedFlow(flow)
    gone: list[DeliveryRecord] = []
    while True:
        ended = len(gone)
        for record in _waiting(books, endpoint):
            known = books.get(record.id)
            if known is None or known.state != "HELD":
                continue
            pointless = ledger.supersede(known, books, unit.now) if known.supersedes else []
            for other in pointless:
                _keep(unit, other)
                gone.append(books.get(other.id) or other)
                books.put(other)
            if not any(other.id == known.id for other in pointless):
                placed = ledger.place(known, books, spec_of(unit, known), unit.now)
                if (placed.state, placed.waiting_on) != (known.state, known.waiting_on):
                    _keep(unit, placed)
                    books.put(placed)
            yield
        if len(gone) == ended:
            break
        # What was looked at before something became pointless may have waited for just that. Each
        # time there is less: the passes end.
    for other in gone:
        if other.state == "UNROUTED":
            wake_role(unit, other)


def _waiting(flow: Flow, endpoint: str) -> list[DeliveryRecord]:
    """What waits for order or prerequisites at an endpoint."""
    return [
        record
        for record in flow
        if record.endpoint == endpoint and record.state == "HELD" and record.hold_reason != "RETRY"
    ]


def wake_role(unit: Unit, gone: DeliveryRecord) -> None:
    """Look again at what waited, at any endpoint of its role, for work that nobody served."""
    held = [r for r in unit.flow(gone.root_id) if r.state == "HELD" and r.role == gone.role]
    for endpoint in sorted({record.endpoint for record in held}):
        wake(unit, gone.root_id, endpoint)


def _keep(unit: Unit, record: DeliveryRecord) -> None:
    unit.put_delivery(record)
    unit.count("delivery", record.endpoint, record.event_type, record.state)
