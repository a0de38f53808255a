"""A parcel's way gone again, with one more scan in the place in which it came.

While a scan waited for what its code means, later ones moved its parcel on. Most of what they did
does not depend on the order; when a milestone was reached does, and so does everything that scans
without a time do. And a delivery that follows a scan of the way back is a return, whichever of the
two was told first: where both may be there, they are looked at together.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from crossdock.tracking.v1 import tracking_pb2

from crossdock_hub.objects import lifecycle
from crossdock_hub.records import ParcelRecord, ScanRecord
from crossdock_hub.unit import Key, Unit


@dataclass(frozen=True, slots=True)
class Stop:
    """A scan on a parcel's way. arrival: sorts as they came. time: microseconds UTC, if known."""

    arrival: str
    milestone: str
    time: int | None


@dataclass(frozen=True, slots=True)
class Way:
    """How far a parcel has come, and when the scan happened that first brought it there."""

    progress: lifecycle.ParcelProgress
    reached: int | None

    @property
    def shown(self) -> tuple[str, bool, int | None]:
        """What of it a shipment shows."""
        return self.progress.milestone, self.progress.exception_open, self.reached


# Sorts behind every id: a scan that came just now.
LAST = "~"
START = Way(lifecycle.ParcelProgress("LABEL_CREATED", None, False), None)


@dataclass(frozen=True, slots=True)
class Retraced:
    """A parcel's way with a scan. meaning: of that scan beside the others; changed: what is shown.

    way: None where it is not known, and the scan only moves the parcel on.
    """

    way: Way | None
    meaning: str
    changed: bool = False


def way_of(stops: Iterable[Stop]) -> Way:
    """Where these scans bring a parcel that has a label and nothing else."""
    return _followed(_as_they_came(stops))


def _as_they_came(stops: Iterable[Stop]) -> list[Stop]:
    """In their order, each with what it means beside the others."""
    came = sorted(stops, key=lambda each: each.arrival)
    meanings = lifecycle.turned([(stop.milestone, stop.time) for stop in came])
    return [replace(stop, milestone=name) for stop, name in zip(came, meanings, strict=True)]


def _followed(stops: list[Stop]) -> Way:
    way = START
    for stop in stops:
        after, _ = lifecycle.advance_parcel(way.progress, stop.milestone, stop.time)
        further = after.milestone != way.progress.milestone
        way = Way(after, stop.time if further else way.reached)
    return way


def retraced(
    unit: Unit,
    parcel: ParcelRecord,
    before: lifecycle.ParcelProgress,
    mates: Sequence[Stop],
    stop: Stop,
) -> Retraced:
    """The way of a parcel with this scan. mates: scans of the same report, not stored yet.

    Where the scans that are stored do not explain how far the parcel is, because some are past
    their time, it goes on from there, as of a scan that came before all of them.
    """
    known: tuple[ScanRecord, ...] = unit.get(scans_key(parcel))
    stops = [*(_stop(record) for record in known), *mates]
    without = way_of(stops)
    if without.progress != before:
        ended = before.milestone in lifecycle.ENDED_MILESTONES
        stops.append(Stop("", before.milestone, before.time if ended else None))
    came = _as_they_came([*stops, stop])
    # The last of those that came at the same moment: nothing else has its place.
    meaning = next(each.milestone for each in reversed(came) if each.arrival == stop.arrival)
    way = _followed(came)
    if without.progress == before:
        return Retraced(way, meaning, way.shown != without.shown)
    after, _ = lifecycle.advance_parcel(before, meaning, stop.time)
    if way.progress.milestone == "RETURNED" != after.milestone:
        return Retraced(way, meaning, True)
    return Retraced(None, meaning)


def goes_back(unit: Unit, parcel: ParcelRecord, time: int | None) -> bool:
    """Whether a delivery at this time is one to the sender, by what is known of the parcel now."""
    if parcel.milestone not in lifecycle.WAY_BACK:
        return False
    progress = lifecycle.ParcelProgress(
        parcel.milestone, parcel.milestone_time, parcel.exception_open
    )
    delivery = Stop(LAST, "DELIVERED", time)
    return retraced(unit, parcel, progress, (), delivery).meaning == "RETURNED"


def scans_key(parcel: ParcelRecord) -> Key:
    """What the scans of a parcel are read by."""
    return ("scans_of", parcel.carrier_code, parcel.tracking_number)


def note(unit: Unit, parcel: ParcelRecord, record: ScanRecord) -> None:
    """A scan is stored: whoever goes the way again in this batch comes by it."""
    key = scans_key(parcel)
    if unit.knows(key):
        unit.put(key, (*unit.get(key), record))


def _stop(record: ScanRecord) -> Stop:
    scan = tracking_pb2.TrackingEvent.FromString(record.body)
    meant = lifecycle.meant(record.milestone, scan.return_leg)
    return Stop(record.id, meant, record.event_time)
