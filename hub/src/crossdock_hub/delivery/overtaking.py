"""Which later work of a flow makes a delivery pointless; pure.

An operator's retry and a replay ask the same questions here, so that neither sends what the other
refuses.
"""

from __future__ import annotations

from crossdock_hub.records import DeliveryRecord


def takes_back(other: DeliveryRecord, record: DeliveryRecord) -> bool:
    """Whether other work came later and undoes what a delivery does, as a cancel does.

    However it ended: the object was cancelled when its event was written. That the cancel was
    refused, failed, was never served, or was skipped by a person says only what the vendor was
    told, and makes no cancelled order wanted again.
    """
    serves = other.endpoint == record.endpoint or (
        other.state == "UNROUTED" and other.role == record.role
    )
    return (
        serves
        and other.ordering_key == record.ordering_key
        and other.event_id != record.event_id
        and other.sequence > record.sequence
        and record.operation in other.supersedes
        and (not other.item or not record.item or other.item == record.item)
    )
