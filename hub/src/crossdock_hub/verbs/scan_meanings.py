"""What a scan means: as its reporter or the rows of its codes say; else it is quarantined."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Any, Final

from crossdock.confirmation.v1 import confirmation_pb2, confirmation_service_pb2
from crossdock.shipment.v1 import shipment_pb2
from crossdock.tracking.v1 import tracking_pb2

from crossdock_hub.objects import lifecycle
from crossdock_hub.objects.held import hold
from crossdock_hub.objects.mappings import (
    STATUS,
    Code,
    Unmapped,
    awaits_of,
    first_with_row,
    not_mapped,
    row_id,
)
from crossdock_hub.records import MappingRecord
from crossdock_hub.unit import Key, NotLoaded, NotYet, Refused, Unit
from crossdock_hub.verbs.confirmations import confirm_by_scan

_PROVE: Final = "/crossdock.confirmation.v1.ConfirmationService/CreateDeliveryConfirmation"
_IDENTITY_BYTES: Final = 24
_MILESTONES: dict[Any, str] = {
    number: name.removeprefix("MILESTONE_") for name, number in shipment_pb2.Milestone.items()
}


def milestone_name(value: int) -> str:
    """The name of a milestone without prefix; a value from the future counts as UNKNOWN."""
    return _MILESTONES.get(value, "UNKNOWN")


@dataclass(slots=True)
class Reported:
    """A scan with what is derived from it once. milestone: what it means, see lifecycle.meant.

    is_coded: it has codes to be read by. row: what the mapping service says of them; None when they
    have no row, or it has none.
    """

    scan: Any
    key: bytes
    scan_key: Key
    parcel_key: Key
    milestone: str
    time: int | None
    is_coded: bool
    row: MappingRecord | None = None


def wanted(reports: list[Reported]) -> frozenset[Key]:
    """What is read for every scan."""
    return frozenset(key for r in reports for key in (r.scan_key, r.parcel_key))


def read_codes(unit: Unit, reports: list[Reported], unread: frozenset[Key]) -> list[Reported]:
    """The same scans, those with codes as their rows say. Reads rows, and what else is unread, in
    one round."""
    codes = {Code.of(native) for r in reports if r.is_coded for native in r.scan.native_codes}
    if not codes:
        unit.require(unread)
        return reports
    kind = unit.endpoint_kind
    ids = {code: row_id(kind, STATUS, code) for code in codes}
    unit.require({("mapping", row) for row in ids.values()} | unread)
    rows = {code: unit.get(("mapping", row)) for code, row in ids.items()}
    return [_with_meaning(reported, rows) for reported in reports]


def _with_meaning(reported: Reported, rows: dict[Code, MappingRecord | None]) -> Reported:
    scan = reported.scan
    row = first_with_row([Code.of(native) for native in scan.native_codes], rows)
    if row is None:
        return reported
    return replace(reported, milestone=meant(scan, reported.is_coded, row), row=row)


def meant(
    scan: tracking_pb2.TrackingEvent, is_coded: bool, row: MappingRecord | None = None
) -> str:
    """What a scan means for its parcel: by its row, or as its reporter says."""
    said = milestone_name(scan.milestone) if row is None else row.canonical
    return lifecycle.meant(said, _returns(scan, is_coded, said))


def _returns(scan: tracking_pb2.TrackingEvent, is_coded: bool, said: str) -> bool:
    """Whether a parcel is on its way back: its reporter says so, or a code that means that."""
    return scan.return_leg or (is_coded and said in lifecycle.WAY_BACK)


def why_unmapped(unit: Unit, reported: Reported) -> NotYet | None:
    """Why a scan waits whose codes have no row, when its reporter does not know them either."""
    scan = reported.scan
    if reported.row is not None or not reported.is_coded:
        return None
    if milestone_name(scan.milestone) not in ("UNKNOWN", "UNSPECIFIED"):
        return None
    codes = tuple(Code.of(native) for native in scan.native_codes)
    unmapped = Unmapped(unit.endpoint_kind, STATUS, codes)
    return not_mapped(unmapped, _identity(reported, unmapped))


def _identity(reported: Reported, unmapped: Unmapped) -> str:
    """By what a quarantined scan is known: another kind's scan of the same is another fact."""
    asked = awaits_of(unmapped).encode()
    digest = hashlib.blake2b(reported.key + asked, digest_size=_IDENTITY_BYTES).hexdigest()
    return f"scan:{digest}"


def fill(message: tracking_pb2.TrackingEvent, reported: Reported) -> None:
    """A scan in the words of its row. Whoever did not know the code may have kept who received the
    parcel, in case that it means delivered. The codes have done what they are for."""
    row = reported.row
    said = milestone_name(message.milestone) if row is None else row.canonical
    # A delivery that is a return is one by the parcel's other scans, where its own do not say so.
    to_sender = said == "DELIVERED" and reported.milestone == "RETURNED"
    if to_sender or _returns(message, reported.is_coded, said):
        message.return_leg = True
    if reported.is_coded:
        message.ClearField("native_codes")
    if row is None:
        return
    message.milestone = shipment_pb2.Milestone.Value(f"MILESTONE_{row.canonical}")
    message.exception_reason = row.exception_reason
    if row.canonical != "DELIVERED":
        message.ClearField("signed_by")


def prove(unit: Unit, told: list[tuple[Reported, tracking_pb2.TrackingEvent]]) -> None:
    """The proof of a delivery that its reporter did not know to be one, and so did not tell. told:
    scans that mean one.

    Each in a unit of its own: a scan is never refused because of its proof, which a person looks
    at where it may not be. What all of them have to read is asked for at once.
    """
    missing: set[Key] = set()
    for reported, scan in told:
        knew = milestone_name(reported.scan.milestone) == "DELIVERED"
        if knew or not scan.signed_by:
            continue
        try:
            _prove_one(unit, scan)
        except NotLoaded as needed:
            missing |= needed.keys
    if missing:
        raise NotLoaded(missing)


def _prove_one(unit: Unit, scan: tracking_pb2.TrackingEvent) -> None:
    request = confirmation_service_pb2.CreateDeliveryConfirmationRequest(
        request_id=unit.new_id(),
        delivery_confirmation=confirmation_pb2.DeliveryConfirmation(
            carrier_code=scan.carrier_code,
            tracking_number=scan.tracking_number,
            delivered_time=scan.event_time,
            signed_by=scan.signed_by,
        ),
    )
    work = unit.nested()
    try:
        confirm_by_scan(work, request.delivery_confirmation)
    except NotYet as why:
        hold(unit, _PROVE, request, why)
    except Refused as refused:
        # Outside of the caller's scope, for example: nothing that arrives would change that.
        hold(unit, _PROVE, request, NotYet(refused.refusal, ""))
    else:
        unit.absorb(work)
