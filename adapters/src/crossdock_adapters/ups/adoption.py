"""Which of the labels found under our reference is ours to keep, whatever order UPS names them in.

After a lost answer there may be none, one, or (someone repeated a call by hand) several. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
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
    """A label found under our reference that nothing says is void.

    `image` is set when recovery gave it. `confirmed`: tracking by its number lists our exact
    reference, so that it may be voided where another label is kept.
    """

    tracking_number: str
    image: LabelImage | None
    bought_at: types_pb2.SourceTime | None
    confirmed: bool


@dataclass(slots=True)
class _Shown:
    """What tracking shows of one number: when it was bought, and whether it is void."""

    times: list[types_pb2.SourceTime] = field(default_factory=list)
    void: bool = False


def numbers(
    reference: str, images: Sequence[LabelImage], packages: Sequence[Mapping[str, Any]]
) -> list[str]:
    """The numbers that either look-up found under a reference, to ask tracking about, sorted."""
    tracked = [_number(package) for package in packages if _carries(package, reference)]
    return sorted({*(image.tracking_number for image in images), *tracked} - {""})


def candidates(
    reference: str,
    images: Sequence[LabelImage],
    packages: Sequence[Mapping[str, Any]],
    by_number: Sequence[Mapping[str, Any]],
    table: StatusTable,
) -> list[Candidate]:
    """Labels of one reference that are not void, in the order in which they are to be tried.

    `by_number` is what tracking shows of `numbers`. First come those that it confirms, the oldest
    first, where their times are known, then by number: UPS names them in no order of its own.
    """
    wanted = numbers(reference, images, packages)
    shown = {number: _Shown() for number in wanted}
    # A number is void whatever it is said to carry; by reference UPS finds others' parcels, too.
    ours = [package for package in packages if _carries(package, reference)]
    for package in (*ours, *by_number):
        one, events = shown.get(_number(package)), package_history(package, table, "").events
        if one is None or not events:
            continue
        if _carries(package, reference):
            one.times.append(events[0].event_time)
        one.void |= events[-1].milestone == shipment_pb2.MILESTONE_VOIDED
    by_image = {image.tracking_number: image for image in images if image.image}
    confirmed = {_number(each) for each in by_number if reference in _references(each)}
    found = [
        Candidate(number, by_image.get(number), _oldest(shown[number].times), number in confirmed)
        for number in wanted
        if not shown[number].void
    ]
    return sorted(found, key=_rank)


def _rank(candidate: Candidate) -> tuple[bool, tuple[int, int], str]:
    return not candidate.confirmed, _moment(candidate.bought_at), candidate.tracking_number


def _number(package: Mapping[str, Any]) -> str:
    found = package.get("trackingNumber")
    return found if isinstance(found, str) else ""


def _references(package: Mapping[str, Any]) -> list[Any]:
    listed = as_list(package.get("referenceNumber"))
    return [entry.get("number") for entry in listed if isinstance(entry, dict)]


def _carries(package: Mapping[str, Any], reference: str) -> bool:
    """Only an exact match counts; a reply without references was matched by UPS itself."""
    listed = _references(package)
    return not listed or reference in listed


def _oldest(times: Iterable[types_pb2.SourceTime]) -> types_pb2.SourceTime | None:
    return min(times, key=_moment, default=None)


def _moment(when: types_pb2.SourceTime | None) -> tuple[int, int]:
    if when is None or not when.HasField("instant"):
        return NEVER
    return (0, when.instant.ToNanoseconds())
