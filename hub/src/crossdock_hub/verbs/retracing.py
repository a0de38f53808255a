"""A scan that is decided late, put where it came: how far its parcel would be by now.

While a scan waited for what its code means, later ones moved its parcel on. Most of what they did
does not depend on the order; when a milestone was reached does, and so does everything that scans
without a time do. So the parcel's way is gone again, with the scan in the place in which it came.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from crossdock.tracking.v1 import tracking_pb2

from crossdock_hub.objects import lifecycle
from crossdock_hub.records import ParcelRecord, ScanRecord
from crossdock_hub.unit import Key, Unit
from crossdock_hub.verbs.scan_meanings import meant


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


START = Way(lifecycle.ParcelProgress("LABEL_CREATED", None, False), None)


def way_of(stops: Iterable[Stop]) -> Way:
    """Where these scans bring a parcel that has a label and nothing else."""
    way = START
    for stop in sorted(stops, key=lambda each: each.arrival):
        after, _ = lifecycle.advance_parcel(way.progress, stop.milestone, stop.time)
        further = after.milestone != way.progress.milestone
        way = Way(after, stop.time if further else way.reached)
    return way


def retraced(unit: Unit, parcel: ParcelRecord, stop: Stop) -> tuple[Way, bool] | None:
    """The way of a parcel with this scan, and whether it is another one than without.

    None when the scans that are stored do not explain where the parcel is: some are past their
    time, or of this very batch.
    """
    known: tuple[ScanRecord, ...] = unit.get(scans_key(parcel))
    stops = [_stop(record) for record in known]
    without, way = way_of(stops), way_of([*stops, stop])
    now = lifecycle.ParcelProgress(parcel.milestone, parcel.milestone_time, parcel.exception_open)
    return (way, way != without) if without.progress == now else None


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
    return Stop(record.id, meant(scan), record.event_time)
