"""Notes what is seen of labels: by readers, in the database that a killed hub left, at the end."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from crossdock.label.v1 import label_pb2
from crossdock.shipment.v1 import shipment_pb2
from fixtures_hub import RunningHub

from tests.faults.history.records import LIST, SHIPMENT, Label, LabelLook, Look, Record
from tests.faults.yard.noting import digest, now

LEFT_BEHIND = "the database of a killed hub"


class Span(NamedTuple):
    """Who looked, from when to when."""

    reader: str
    start: int
    end: int


def shown_in(shipment: shipment_pb2.Shipment, when: Span) -> list[LabelLook]:
    """What a shipment shows of its packages' labels: the number, or none."""
    return [
        LabelLook(when.reader, SHIPMENT, row.package_id, when.start, when.end, row.tracking_number)
        for row in shipment.progress
    ]


def listed(
    packages: Sequence[str], labels: Iterable[label_pb2.Label], when: Span
) -> list[LabelLook]:
    """What a list of labels shows of packages, also that there is none."""
    found = [
        LabelLook(when.reader, LIST, each.package_id, when.start, when.end, each.tracking_number,
                  each.price.amount, digest(each.image), _state(each))
        for each in labels
    ]  # fmt: skip
    there = {look.package_id for look in found}
    return [
        *found,
        *(
            LabelLook(when.reader, LIST, package, when.start, when.end)
            for package in packages
            if package not in there
        ),
    ]


def labels_in(hub: RunningHub) -> list[Label]:
    """Every label that the hub's database holds, and what its shipment shows of it."""
    shown = {
        row.package_id: row.tracking_number
        for shipment in _shipments(hub)
        for row in shipment.progress
    }
    return [
        Label(each.id, each.package_id, each.shipment_id, each.tracking_number, each.price.amount,
              digest(each.image), _state(each), shown.get(each.package_id, ""))
        for each in _labels(hub)
    ]  # fmt: skip


def left_behind(hub: RunningHub) -> list[Record]:
    """What stands in the database of a hub that was killed, and has not been started again: work
    that is done with what it made, or neither."""
    when = Span(LEFT_BEHIND, now(), now())
    work = hub.query("SELECT id, state FROM deliveries WHERE role = 'CARRIER'")
    shipments = _shipments(hub)
    packages = [each.id for shipment in shipments for each in shipment.packages]
    labels = listed(packages, _labels(hub), when)
    # One state at one time: what is read of work counts as before and after what is of labels.
    looks = [
        Look(LEFT_BEHIND, "delivery", row, at, at, state, 0)
        for row, state in work
        for at in (when.start - 1, when.end + 1)
    ]
    return [*looks, *labels, *(row for each in shipments for row in shown_in(each, when))]


def _shipments(hub: RunningHub) -> list[shipment_pb2.Shipment]:
    rows = hub.query("SELECT message FROM objects WHERE kind = 'shipment'")
    return [shipment_pb2.Shipment.FromString(row[0]) for row in rows]


def _labels(hub: RunningHub) -> list[label_pb2.Label]:
    rows = hub.query("SELECT message FROM objects WHERE kind = 'label'")
    return [label_pb2.Label.FromString(row[0]) for row in rows]


def _state(label: label_pb2.Label) -> str:
    return label_pb2.LabelState.Name(label.state).removeprefix("LABEL_STATE_")
