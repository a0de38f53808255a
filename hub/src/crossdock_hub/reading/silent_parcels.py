"""Parcels on their way of which nothing was heard for so long that nobody asks any more; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from crossdock_hub.config import Limits
from crossdock_hub.objects.departures import still_at_dock
from crossdock_hub.objects.lifecycle import ENDED_MILESTONES, is_with_carrier
from crossdock_hub.objects.parcel_news import heard_since, not_sent_since
from crossdock_hub.reading.chain import Chain
from crossdock_hub.verbs.scan_meanings import milestone_name
from crossdock_hub.wording import duration, listed

# Numbers of parcels that are named in a sentence.
NAMED_MAX: Final = 3
# The event that a shipment is handed over by.
LEFT: Final = "shipment.manifested"
_NOT_LEFT: Final = frozenset({"PACKED", "VOIDED"})
_NOT_SENT: Final = "INITIATED"
_RETURN_STATES: Final = frozenset({_NOT_SENT, "IN_TRANSIT"})


def silence(chain: Chain, limits: Limits, now: int) -> str:
    """What to say of the flow's parcels that are on their way and not asked about any more; ""."""
    news: dict[str, int] = {}
    for scan in chain.scans:
        news[scan.tracking_number] = max(news.get(scan.tracking_number, 0), scan.record_time)
    silent: dict[str, int] = {}
    carriers: dict[str, None] = {}
    for carrier, number, changed, is_sent in _on_their_way(chain):
        last = max(changed, news.get(number, 0))
        if last < (heard_since if is_sent else not_sent_since)(now, limits):
            silent[number] = last
            carriers[carrier] = None
    if not silent:
        return ""
    return _sentence(silent, list(carriers), now)


def _sentence(silent: Mapping[str, int], carriers: Sequence[str], now: int) -> str:
    """silent: when each was last heard of, by its number."""
    named = f"parcel {listed(list(silent))}"
    since, it_is = "", "it is"
    if len(silent) > 1:
        few = len(silent) <= NAMED_MAX
        named = f"parcels {listed(list(silent))}" if few else f"{len(silent)} parcels"
        since, it_is = "at least ", "they are"
    return (
        f"nothing was heard of {named} for {since}{duration(now - max(silent.values()))}, so that "
        f"{it_is} no longer asked about, until the next scan comes: ask carrier "
        f"{listed(carriers)}"
    )


def _on_their_way(chain: Chain) -> Iterator[tuple[str, str, int, bool]]:
    """Carrier, number, and when its label, or its return, last changed, or it was handed over, and
    whether it is no return that was not seen moving, of each parcel."""
    left: dict[str, int] = {}
    for event in chain.events:
        if event.record.stem == LEFT:
            left[event.record.object_id] = event.record.record_time
    shipments = [each for each in chain.objects if each.kind == "shipment"]
    # What never left, or stays behind for good, no carrier has.
    at_home = {each.id for each in shipments if each.state in _NOT_LEFT}
    waiting = {package_id for each in shipments for package_id in _at_dock(each.message)}
    over = {
        row.tracking_number
        for shipment in shipments
        for row in getattr(shipment.message, "progress", ())
        if row.withdrawn or milestone_name(row.milestone) in ENDED_MILESTONES
    }
    for record in chain.objects:
        message: Any = record.message
        if record.kind == "label" and record.state != "VOIDED":
            stays = message.shipment_id in at_home or message.package_id in waiting
            if message.tracking_number not in over and not stays:
                changed = max(record.updated_at, left.get(message.shipment_id, 0))
                yield message.carrier_code, message.tracking_number, changed, True
        elif record.kind == "customer_return" and record.state in _RETURN_STATES:
            label = message.label
            if label.tracking_number and not label.voided:
                sent = record.state != _NOT_SENT
                yield label.carrier_code, label.tracking_number, record.updated_at, sent


def _at_dock(shipment: Any) -> set[str]:
    """Ids of the packages of a shipment that left in part which the carrier does not have yet."""
    taken = {
        row.package_id
        for row in shipment.progress
        if is_with_carrier(milestone_name(row.milestone))
    }
    return {package.id for package in still_at_dock(shipment)} - taken
