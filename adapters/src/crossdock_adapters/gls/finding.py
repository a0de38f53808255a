"""Whether ShipIT itself has the parcels of a shipment that tracking does not show.

Tracking is told to search parcel numbers, track ids and notification cards, and shows a parcel late
if at all. ShipIT prints a parcel again by the reference of its unit, which is ours alone: an answer
proves the parcel. A refusal proves nothing: it may be another day's, or not be there yet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, timedelta
from zoneinfo import ZoneInfo

from crossdock_adapters.gls.client import GlsClient, Parcel
from crossdock_adapters.sdk.outcomes import NeedsPerson, OutcomeUnknown, Reject
from crossdock_adapters.sdk.work import Work

# A purchase that waited longer for its turn is looked for on the last of these days.
DAYS_ASKED_MAX = 3


def days_of(work: Work, today: date) -> list[date]:
    """The days on which a purchase may have been made, the newest first: GLS wants to know."""
    first = today
    if work.event.metadata.HasField("record_time"):
        zone = ZoneInfo(work.settings.text("time_zone"))
        asked_for = work.event.metadata.record_time.ToDatetime(UTC).astimezone(zone).date()
        first = max(min(asked_for, today), today - timedelta(days=DAYS_ASKED_MAX - 1))
    return [today - timedelta(days=back) for back in range((today - first).days + 1)]


async def printed_by_unit(
    vendor: GlsClient, units: Sequence[str], days: Sequence[date], labels: Mapping[str, str]
) -> list[Parcel]:
    """The parcel of each unit, with its label; none where ShipIT does not show all of them."""
    for day in days:
        try:
            return [await vendor.reprint_unit(unit, day.isoformat(), labels) for unit in units]
        except (NeedsPerson, OutcomeUnknown, Reject):
            continue
    return []
