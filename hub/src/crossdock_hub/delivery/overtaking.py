"""Which later work of a flow makes a delivery pointless, or its content old; pure.

An operator's retry and a replay ask the same questions here, so that neither sends what the other
refuses.
"""

from __future__ import annotations

from collections.abc import Sequence

from crossdock_hub.config import Limits
from crossdock_hub.delivery.ordering import OPEN_STATES
from crossdock_hub.records import DeliveryRecord

# With the vendor, or done there.
_SENT_STATES = frozenset({"IN_FLIGHT", "UNKNOWN", "RESOLVING", "CONFIRMED"})


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


def may_be_at_vendor(
    record: DeliveryRecord, flow: Sequence[DeliveryRecord], limits: Limits
) -> bool:
    """Whether the vendor has, or may have, what a delivery says, whatever its state is by now.

    A refusal, and an answer that it could not be sent, are proof that the vendor has not. flow: may
    hold the replay's delivery that took over the doubt of one that it replaced.
    """
    if record.state in _SENT_STATES or (record.draft and record.state in OPEN_STATES):
        return True
    in_doubt = record.first_unknown_at is not None and record.not_found < limits.not_found_needed
    if not in_doubt or record.state != "SUPERSEDED":
        return in_doubt
    return not any(other.id == record.superseded_by and other.replay_id for other in flow)
