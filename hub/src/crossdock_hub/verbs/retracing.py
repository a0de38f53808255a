"""A parcel's way gone again, with one more scan in the place in which it came.

While a scan waited for what its code means, later ones moved its parcel on. Most of what they did
does not depend on the order; when a milestone was reached does, and so does everything that scans
without a time do. And a delivery that follows a scan of the way back is a return, whichever of the
two was told first: where both may be there, they are looked at together.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

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


class Trail:
    """The way of a parcel by its stored scans, and by those of a report that are added one by one.

    Where the stored ones do not explain how far the parcel is, because some are past their time or
    more than are looked at, it goes on from there, as of a scan that came before all of them.
    """

    def __init__(self, unit: Unit, parcel: ParcelRecord, mates: Sequence[Stop] = ()) -> None:
        """mates: scans of the report before the first that is to be added."""
        known: tuple[ScanRecord, ...] = unit.get(scans_key(parcel))
        passed_over = max(0, len(known) - unit.limits.parcel_scans_max)
        newest = sorted(known, key=lambda record: record.id)[passed_over:]
        self._stops = [stop_of(record) for record in newest]
        self._added: list[Stop] = []
        self._meanings: list[str]
        self._way: Way
        self._go()
        before = parcel_progress(parcel)
        self._explains = not passed_over and self._way.progress == before
        if not self._explains:
            ended = before.milestone in lifecycle.ENDED_MILESTONES
            self._stops.insert(0, Stop("", before.milestone, before.time if ended else None))
            self._go()
        for mate in mates:
            self._insert(mate)

    def add(self, before: lifecycle.ParcelProgress, stop: Stop) -> Retraced:
        """One more scan. before: how far the parcel is by those that were added before it."""
        without = self._way
        meaning = self._insert(stop)
        if self._explains:
            return Retraced(self._way, meaning, self._way.shown != without.shown)
        after, _ = lifecycle.advance_parcel(before, meaning, stop.time)
        if self._way.progress.milestone == "RETURNED" != after.milestone:
            return Retraced(self._way, meaning, True)
        return Retraced(None, meaning)

    def _insert(self, stop: Stop) -> str:
        """Put a scan behind all that came at the same moment; what it means there."""
        place = bisect_right(self._stops, stop.arrival, key=lambda each: each.arrival)
        self._stops.insert(place, stop)
        self._added.append(stop)
        known, self._meanings = self._meanings, _meanings(self._stops)
        if place == len(known) and self._meanings[:-1] == known:
            # It came last and says nothing new of the others: one step more.
            self._way = _followed(self._way, [stop], self._meanings[-1:])
        else:
            self._way = _followed(START, self._stops, self._meanings)
        return self._meanings[place]

    def _go(self) -> None:
        self._meanings = _meanings(self._stops)
        self._way = _followed(START, self._stops, self._meanings)

    def meanings(self) -> list[str]:
        """What each scan of the report means beside all others, in the order told."""
        found = {id(stop): name for stop, name in zip(self._stops, self._meanings, strict=True)}
        return [found[id(stop)] for stop in self._added]


def _meanings(stops: Sequence[Stop]) -> list[str]:
    return lifecycle.turned([(stop.milestone, stop.time) for stop in stops])


def _followed(way: Way, stops: Sequence[Stop], meanings: Sequence[str]) -> Way:
    """The way after some scans more."""
    for stop, meaning in zip(stops, meanings, strict=True):
        after, _ = lifecycle.advance_parcel(way.progress, meaning, stop.time)
        further = after.milestone != way.progress.milestone
        way = Way(after, stop.time if further else way.reached)
    return way


def goes_back(unit: Unit, parcel: ParcelRecord, time: int | None) -> bool:
    """Whether a delivery at this time is one to the sender, by what is known of the parcel now."""
    if not lifecycle.may_turn(parcel.milestone, "DELIVERED"):
        return False
    delivery = Stop(LAST, "DELIVERED", time)
    return Trail(unit, parcel).add(parcel_progress(parcel), delivery).meaning == "RETURNED"


def is_coming_back(unit: Unit, parcel: ParcelRecord) -> bool:
    """Whether a parcel is or was on its way back, by what is known of it now. One that its customer
    had stays delivered, and its scans say so."""
    if parcel.milestone in lifecycle.WAY_BACK:
        return True
    known: tuple[ScanRecord, ...] = unit.get(scans_key(parcel))
    return any(stop_of(record).milestone in lifecycle.WAY_BACK for record in known)


def parcel_progress(parcel: ParcelRecord) -> lifecycle.ParcelProgress:
    """How far a parcel has come."""
    return lifecycle.ParcelProgress(parcel.milestone, parcel.milestone_time, parcel.exception_open)


def scans_key(parcel: ParcelRecord) -> Key:
    """What the scans of a parcel are read by."""
    return ("scans_of", parcel.carrier_code, parcel.tracking_number)


def note(unit: Unit, parcel: ParcelRecord, record: ScanRecord) -> None:
    """A scan is stored: whoever goes the way again in this batch comes by it."""
    key = scans_key(parcel)
    if unit.knows(key):
        unit.put(key, (*unit.get(key), record))


def stop_of(record: ScanRecord) -> Stop:
    """A stored scan on its parcel's way."""
    scan = tracking_pb2.TrackingEvent.FromString(record.body)
    meant = lifecycle.meant(record.milestone, scan.return_leg)
    return Stop(record.id, meant, record.event_time)
