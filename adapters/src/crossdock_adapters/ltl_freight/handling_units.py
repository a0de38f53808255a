"""Whose a status is: the handling units under its PRO, or those of the booking that it names.

A PRO that no label has may be the carrier's own, under which it took what we booked under ours. Its
214 then says our reference of the booking (B10-02). That counts only where the PRO says nothing:
of a number that a label has, or that is of our own range and may get its label yet, it is not read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from crossdock.errors import NotFoundError, PreconditionError
from crossdock.label.v1 import label_pb2, label_service_pb2
from crossdock.lineage.v1 import lineage_service_pb2

from crossdock_adapters.ltl_freight.pro_numbers import ProRange
from crossdock_adapters.sdk import carrier_reports

if TYPE_CHECKING:
    from crossdock.client import HubClient

# What the hub gives a booking to be known by at the carrier; other texts are no reference of ours.
_REFERENCE: Final = re.compile(r"[A-Z2-7]{20}")
SHIPMENT: Final = "shipment"


@dataclass(frozen=True, slots=True)
class Found:
    """The numbers that a status is told of. note: what people need to know of it; "": nothing."""

    numbers: Sequence[str]
    note: str = ""


async def of_status(
    hub: HubClient, carrier_code: str, pro: str, shipment: str, own: ProRange
) -> Found:
    """Of a status under this PRO that names a shipment (B10-02, "" for none); the PRO alone while
    no label is known."""
    label = await _label(hub, pro)
    if label is not None and label.carrier_code == carrier_code:
        found = under(pro, await labels_of(hub, label.shipment_id))
        return Found(sorted({pro, *(each.tracking_number for each in found)}))
    if label is None and not own.has(pro):
        booked = await _booked_as(hub, carrier_code, shipment)
        if booked:
            return Found(booked, f"reported under PRO {pro}")
    return Found([pro], f"shipment identification {shipment}" if shipment else "")


async def labels_of(hub: HubClient, shipment_id: str) -> Sequence[label_pb2.Label]:
    """Every label of a shipment, void ones too."""
    request = label_service_pb2.ListLabelsRequest(
        page_size=carrier_reports.MAX_LABELS_OF_A_SHIPMENT, shipment_id=shipment_id
    )
    return (await hub.labels.ListLabels(request)).labels


async def is_bought_as(hub: HubClient, pro: str, reference: str) -> bool:
    """Whether a label with this number was bought under this reference."""
    label = await _label(hub, pro) if pro else None
    return label is not None and label.purchase_reference == reference


def under(pro: str, labels: Iterable[label_pb2.Label]) -> list[label_pb2.Label]:
    """Those of the handling units under a PRO."""
    return [each for each in labels if pro in (each.tracking_number, each.carrier_shipment_number)]


async def _label(hub: HubClient, number: str) -> label_pb2.Label | None:
    try:
        request = label_service_pb2.GetLabelRequest(tracking_number=number)
        return (await hub.labels.GetLabel(request)).label
    except NotFoundError:
        return None


async def _booked_as(hub: HubClient, carrier_code: str, reference: str) -> list[str]:
    """The numbers of the labels that were bought under a reference of ours."""
    if not _REFERENCE.fullmatch(reference):
        return []
    try:
        answer = await hub.lineage.Trace(lineage_service_pb2.TraceRequest(id=reference))
    except (NotFoundError, PreconditionError):
        # It names nothing here, or what is archived and moves no more.
        return []
    # Of the whole order: what was bought under the reference, the labels themselves say.
    shipments = {each.id for each in answer.lineage.nodes if each.kind == SHIPMENT}
    labels = [label for each in sorted(shipments) for label in await labels_of(hub, each)]
    return sorted(
        each.tracking_number
        for each in labels
        if each.purchase_reference == reference and each.carrier_code == carrier_code
    )
