"""What every carrier tells of its parcels in the contract's words: scans and proofs; pure.

A scan heard by callback and by poll is one fact: its identity is number, type, codes, time and
place, never the text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from crossdock.client import request_id
from crossdock.confirmation.v1 import confirmation_pb2, confirmation_service_pb2
from crossdock.shipment.v1 import shipment_pb2
from crossdock.tracking.v1 import tracking_pb2, tracking_service_pb2
from crossdock.types.v1 import types_pb2

from crossdock_adapters.sdk.carrier_labels import digest

WEBHOOK, POLL = "webhook", "poll"
MAX_DESCRIPTION = 300
MAX_SIGNER = 100
MAX_STATUS_TYPE = 16
MAX_STATUS_CODE = 32
MAX_SCANS_PER_REQUEST = 500
MAX_CITY, MAX_STATE, MAX_POSTAL_CODE = 60, 20, 16
# A code that nobody has mapped may turn out to be the delivery: its signer is kept with it.
MAY_BE_SIGNED = frozenset({shipment_pb2.MILESTONE_DELIVERED, shipment_pb2.MILESTONE_UNKNOWN})
MAX_OFFSET_MINUTES = 14 * 60
FIRST_YEAR, LAST_YEAR = 2000, 2199
_COUNTRY = re.compile(r"[A-Z]{2}")
_OFFSET = re.compile(r"([+-])(\d{1,2})[:.]?(\d{2})?")


@dataclass(frozen=True, slots=True)
class ScanTime:
    """When a scan happened, as exactly as the carrier said it and no more exactly.

    `instant` is set only when UTC is known: from a GMT value, or from local time and its offset.
    `local` is ISO 8601 without a zone ("2026-03-02T14:05:09", or a bare date at day precision).
    `utc_offset_minutes` is local minus UTC, when given.
    """

    instant: datetime | None
    local: str
    utc_offset_minutes: int | None
    day_only: bool

    @property
    def zone_known(self) -> bool:
        """Whether the zone was given, so that `instant` can be compared with other instants."""
        return self.instant is not None


@dataclass(frozen=True, slots=True)
class History:
    """The scans of one parcel, oldest first, and what could not be read of it."""

    events: tuple[tracking_pb2.TrackingEvent, ...]
    problems: tuple[str, ...]


def read_offset(text: str) -> int | None:
    """Minutes that local time is ahead of UTC, from "-05:00", "-04.00", "+0530" or "Z".

    None when empty; ValueError when it is none.
    """
    stripped = text.strip()
    if not stripped:
        return None
    if stripped.upper() == "Z":
        return 0
    found = _OFFSET.fullmatch(stripped)
    if found is None:
        raise ValueError(f"{text!r} is no UTC offset")
    minutes = int(found[2]) * 60 + int(found[3] or 0)
    if minutes > MAX_OFFSET_MINUTES or int(found[3] or 0) > 59:
        raise ValueError(f"{text!r} is no UTC offset")
    return -minutes if found[1] == "-" else minutes


def source_time(when: ScanTime) -> types_pb2.SourceTime:
    """A scan's time in the contract's words: no instant unless the zone is known."""
    found = types_pb2.SourceTime(
        local=when.local,
        precision=types_pb2.TIME_PRECISION_DAY
        if when.day_only
        else types_pb2.TIME_PRECISION_SECOND,
        zone=types_pb2.TIME_ZONE_SOURCE_UNKNOWN,
    )
    if when.utc_offset_minutes is not None:
        hours, minutes = divmod(abs(when.utc_offset_minutes), 60)
        sign = "-" if when.utc_offset_minutes < 0 else "+"
        found.utc_offset = f"{sign}{hours:02d}:{minutes:02d}"
    if when.instant is not None:
        found.instant.FromDatetime(when.instant)
    if when.instant is not None or found.utc_offset:
        found.zone = types_pb2.TIME_ZONE_SOURCE_GIVEN
    return found


def place(city: str, state: str, postal_code: str, country: str) -> types_pb2.Place | None:
    """Where a scan happened, often the country alone; None when nothing is known."""
    country = country.upper()
    found = types_pb2.Place(
        city=city[:MAX_CITY],
        state=state[:MAX_STATE],
        postal_code=postal_code[:MAX_POSTAL_CODE],
        country_code=country if _COUNTRY.fullmatch(country) else "",
    )
    return found if found.ByteSize() else None


def tracking_request(
    endpoint: str, events: Sequence[tracking_pb2.TrackingEvent]
) -> tracking_service_pb2.ReportTrackingEventsRequest:
    """One report of up to 500 scans of one parcel, with an id that its content decides."""
    request = tracking_service_pb2.ReportTrackingEventsRequest(tracking_events=events)
    number = events[0].tracking_number
    request.request_id = request_id(endpoint, f"scans/{number}", digest(request))
    return request


def confirmation_request(
    endpoint: str, event: tracking_pb2.TrackingEvent
) -> confirmation_service_pb2.CreateDeliveryConfirmationRequest | None:
    """Proof of delivery, when a delivering scan names who received the parcel; none on the way
    back, where it is the sender.

    Heard by callback and by poll it is the same fact: it holds only what both of them say. Who
    else is named of the same moment later is told as a fact of its own.
    """
    if event.milestone != shipment_pb2.MILESTONE_DELIVERED or event.return_leg:
        return None
    if not event.signed_by:
        return None
    confirmation = confirmation_pb2.DeliveryConfirmation(
        carrier_code=event.carrier_code,
        tracking_number=event.tracking_number,
        delivered_time=event.event_time,
        signed_by=event.signed_by,
    )
    return confirmation_service_pb2.CreateDeliveryConfirmationRequest(
        request_id=request_id(endpoint, f"proof/{event.tracking_number}", digest(confirmation)),
        delivery_confirmation=confirmation,
    )
