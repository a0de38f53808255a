"""Which of the labels found under our reference is ours to keep: the oldest that is not void.

After a lost answer there may be none, one, or (someone repeated a call by hand) several. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from crossdock.shipment.v1 import shipment_pb2
from crossdock.types.v1 import types_pb2

from crossdock_adapters.sdk.carrier_labels import LabelImage
from crossdock_adapters.ups.client import as_list
from crossdock_adapters.ups.status_codes import StatusTable
from crossdock_adapters.ups.translate_scans import package_history

NEVER = (1, 0)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A valid label found under our reference; `image` is set when recovery gave it."""

    tracking_number: str
    image: LabelImage | None
    bought_at: types_pb2.SourceTime | None


def candidates(
    reference: str,
    images: Sequence[LabelImage],
    packages: Sequence[Mapping[str, Any]],
    table: StatusTable,
) -> list[Candidate]:
    """Valid labels of one reference from both look-ups, oldest first."""
    times: dict[str, types_pb2.SourceTime | None] = {
        image.tracking_number: None for image in images
    }
    void: set[str] = set()
    for package in packages:
        number = package.get("trackingNumber")
        if not isinstance(number, str) or not number or not _carries(package, reference):
            continue
        events = package_history(package, table, "").events
        times[number] = events[0].event_time if events else None
        if events and events[-1].milestone == shipment_pb2.MILESTONE_VOIDED:
            void.add(number)
    by_number = {image.tracking_number: image for image in images if image.image}
    valid = [number for number in times if number not in void]
    # A stable sort: labels without a known time keep the order in which UPS named them.
    valid.sort(key=lambda number: _moment(times[number]))
    return [Candidate(number, by_number.get(number), times[number]) for number in valid]


def _carries(package: Mapping[str, Any], reference: str) -> bool:
    """Only an exact match counts; a reply without references was matched by UPS itself."""
    listed = [entry for entry in as_list(package.get("referenceNumber")) if isinstance(entry, dict)]
    return not listed or any(entry.get("number") == reference for entry in listed)


def _moment(when: types_pb2.SourceTime | None) -> tuple[int, int]:
    if when is None or not when.HasField("instant"):
        return NEVER
    return (0, when.instant.ToNanoseconds())
