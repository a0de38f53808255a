"""Whether ShipIT itself has the parcels of a shipment that tracking does not show.

Tracking is told to search parcel numbers, track ids and notification cards, and shows a parcel late
if at all. ShipIT prints a parcel again by the reference of its unit, which is ours alone: an answer
proves the parcel. A refusal proves nothing: it may be another day's, or not be there yet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, timedelta
from zoneinfo import ZoneInfo

from crossdock_adapters.gls.client import GlsClient, Parcel, ShownOtherwise
from crossdock_adapters.sdk.outcomes import NeedsPerson, OutcomeUnknown, Reject
from crossdock_adapters.sdk.work import Work

# A purchase that waited longer for its turn is looked for on the last of these days.
DAYS_ASKED_MAX = 3
CLEAR_UP = (
    "see at GLS what is valid of this shipment; cancel there what is, then say that nothing was "
    "found"
)


def days_of(work: Work, today: date) -> list[date]:
    """The days on which a purchase may have been made, the newest first: GLS wants to know."""
    first = today
    if work.event.metadata.HasField("record_time"):
        zone = ZoneInfo(work.settings.text("time_zone"))
        asked_for = work.event.metadata.record_time.ToDatetime(UTC).astimezone(zone).date()
        first = max(min(asked_for, today), today - timedelta(days=DAYS_ASKED_MAX - 1))
    return [today - timedelta(days=back) for back in range((today - first).days + 1)]


async def printed_by_unit(
    vendor: GlsClient,
    units: Sequence[str],
    days: Sequence[date],
    labels: Mapping[str, str],
    *,
    is_last: bool,
) -> list[Parcel]:
    """The parcel of each unit, with its label; none where ShipIT refuses to show the first.

    OutcomeUnknown, NeedsPerson with the last attempt: it shows some of them, or one that does not
    say that it is ours. Something was bought then, whatever tracking says.
    """
    try:
        return await _printed(vendor, units, days, labels)
    except OutcomeUnknown as doubt:
        if is_last:
            raise NeedsPerson(f"{doubt}: {CLEAR_UP}") from doubt
        raise


async def _printed(
    vendor: GlsClient, units: Sequence[str], days: Sequence[date], labels: Mapping[str, str]
) -> list[Parcel]:
    for day in days:
        parcels: list[Parcel] = []
        try:
            for unit in units:
                # One by one: what was shown before a refusal counts.
                parcels += [await vendor.reprint_unit(unit, day.isoformat(), labels)]
        except ShownOtherwise:
            raise
        except (NeedsPerson, OutcomeUnknown, Reject) as refused:
            if not parcels:
                continue
            said = f"{len(parcels)} parcels for {len(units)} packages"
            raise OutcomeUnknown(f"ShipIT shows {said}: {parcels[0].track_id}") from refused
        return parcels
    return []
