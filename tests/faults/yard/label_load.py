"""Callers who want labels: orders that are packed in packages, shipments that are voided, and some
of those packed anew in the same packages, which then need labels once more."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Mapping, Sequence
from typing import ClassVar

from crossdock.client import HubClient
from crossdock.errors import CallError, NoAnswerError, TryAgainError
from crossdock.fulfillment.v1 import fulfillment_service_pb2
from crossdock.label.v1 import label_service_pb2
from crossdock.order.v1 import order_service_pb2
from crossdock.shipment.v1 import shipment_pb2, shipment_service_pb2
from story import order, package

from tests.faults.history.records import Look, Packed, Record
from tests.faults.yard.label_books import BUY, VOID
from tests.faults.yard.label_notes import Span, labels_in, listed, shown_in
from tests.faults.yard.load import DEADLINE_SECONDS, PAUSE_SECONDS, Load, drawn_id
from tests.faults.yard.noting import now, of_hub
from tests.faults.yard.site import LANES

PACKAGES = (1, 1, 2, 2, 3, 5)
VOIDED_SHARE, PACKED_AGAIN_SHARE = 0.25, 0.5
VOIDED_WITH_LABEL_SHARE = 0.4
VOID_SECONDS_MAX = 2.0
# How long nobody packs on for want of a label; and how long one is waited for that is to be voided,
# which has no end but the label, or the word that a person has to look.
LABEL_SECONDS, VOIDED_LABEL_SECONDS = 6.0, 120.0
PACKED = "crossdock.fulfillment.v1.FulfillmentPacked"
VOIDED = "crossdock.shipment.v1.ShipmentVoided"
KINDS = ("order", "fulfillment_request", "shipment", "label")


class LabelLoad(Load):
    """Shipments of one order each, of one package or several; some are voided, some of those are
    packed again. Every package needs a label, and is to have one that is valid."""

    targets: ClassVar[Mapping[str, tuple[str, ...]]] = {PACKED: (BUY,), VOIDED: (VOID,)}
    # A pack changes the fulfillment request, and is answered with the shipment: `Packed` has it.
    speaks: ClassVar[Mapping[str, str]] = {"VoidShipment": VOIDED}
    supersedes: ClassVar[Mapping[str, tuple[str, ...]]] = {VOID: (BUY,)}

    _docks: dict[str, HubClient]

    async def run(self) -> None:
        """Pack everything; returns when the last has been answered."""
        async with contextlib.AsyncExitStack() as stack:
            self._docks = {
                kind: await stack.enter_async_context(
                    self.site.hub.client(lane.wms, deadline_seconds=DEADLINE_SECONDS)
                )
                for kind, lane in LANES.items()
            }
            await super().run()

    def of_hub(self) -> list[Record]:
        """What the hub holds at the end, labels with what is in them."""
        rows = of_hub(self.site.hub, KINDS, "CARRIER")
        return [*rows, *labels_in(self.site.hub)]

    async def place(self, oms: HubClient, place: int) -> None:
        """One order until its shipments are packed, and what is voided of them is voided."""
        seed = self.site.plan.seed
        chance = random.Random(f"{seed}:labels:{place}")
        kind = self.site.plan.classes[place % len(self.site.plan.classes)]
        message = order(LANES[kind].business_unit)
        message.number = f"F{seed}-{place:05}"
        made = await self.approved(oms, message, chance)
        release = order_service_pb2.ReleaseOrderRequest(
            request_id=drawn_id(chance), order_id=made.id
        )
        answer = await self.insist("ReleaseOrder", release, oms.orders.ReleaseOrder, message.number)
        (part,) = answer.fulfillment_request_ids
        numbers = [f"{message.number}-{n}" for n in range(1, chance.choice(PACKAGES) + 1)]
        shipment = await self._pack(kind, part, f"S{message.number}-1", numbers, chance)
        if self.site.plan.voids and chance.random() < VOIDED_SHARE:
            await self._void(kind, shipment, chance)
            if chance.random() >= PACKED_AGAIN_SHARE:
                return
            shipment = await self._pack(kind, part, f"S{message.number}-2", numbers, chance)
        if not self.site.plan.naive:
            # Nobody packs on while there is nothing to print, so calls run when something dies.
            await self._label_of(kind, shipment.packages[-1].id)

    async def _pack(
        self, kind: str, part: str, number: str, packages: Sequence[str], chance: random.Random
    ) -> shipment_pb2.Shipment:
        """The warehouse says that it packed: from now on every package needs a label."""
        dock = self._docks[kind]
        report = fulfillment_service_pb2.ReportPackedRequest(
            request_id=drawn_id(chance), fulfillment_request_id=part, shipment_number=number
        )
        for each in packages:
            packed = package()
            packed.number = each
            report.packages.append(packed)
        answer = await self.insist(
            "ReportPacked", report, dock.fulfillments.ReportPacked, number, LANES[kind].wms
        )
        shipment: shipment_pb2.Shipment = answer.shipment
        endpoint = self.site.plan.endpoint(kind)
        for made in shipment.packages:
            self.site.notes.add(Packed(made.id, made.number, shipment.id, endpoint))
        self.known.append(shipment.id)
        return shipment

    async def _void(
        self, kind: str, shipment: shipment_pb2.Shipment, chance: random.Random
    ) -> None:
        """Before the purchase, beside it, or once there is a label."""
        dock, pause = self._docks[kind], chance.uniform(-VOID_SECONDS_MAX, VOID_SECONDS_MAX)
        if chance.random() < VOIDED_WITH_LABEL_SHARE and not self.site.plan.naive:
            await self._label_of(kind, shipment.packages[0].id, VOIDED_LABEL_SECONDS)
        else:
            await asyncio.sleep(max(0.0, pause))
        void = shipment_service_pb2.VoidShipmentRequest(
            request_id=drawn_id(chance), shipment_id=shipment.id, reason="packed wrongly"
        )
        await self.insist(
            "VoidShipment", void, dock.shipments.VoidShipment, shipment.number, LANES[kind].wms
        )

    async def _label_of(
        self, kind: str, package_id: str, patience_seconds: float = LABEL_SECONDS
    ) -> None:
        """Wait for a package's label, as a printer does, or for the word that there is none."""
        ask = label_service_pb2.AwaitLabelRequest(package_id=package_id)
        deadline = time.monotonic() + patience_seconds
        while time.monotonic() < deadline:
            start = now()
            try:
                answer = await self._docks[kind].labels.AwaitLabel(ask)
            except (NoAnswerError, TryAgainError):
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            if answer.HasField("label"):
                when = Span(LANES[kind].wms, start, now())
                for look in listed([], [answer.label], when):
                    self.site.notes.add(look)
            if answer.WhichOneof("result"):
                return

    async def look(self, reader: HubClient, object_id: str) -> None:
        """Read a shipment, its labels, its deliveries, and the labels once more: whatever the
        ledger shows as done has to be there before, and what is there has to be done after."""
        try:
            found = [
                *await _look_at_labels(reader, object_id),
                *await self.look_at_deliveries(reader, object_id),
                *await _look_at_labels(reader, object_id),
            ]
        except CallError:
            return
        for each in found:
            self.site.notes.add(each)


async def _look_at_labels(reader: HubClient, shipment_id: str) -> list[Record]:
    """What is shown of a shipment's labels; raises CallError."""
    start = now()
    get = shipment_service_pb2.GetShipmentRequest(id=shipment_id)
    shipment = (await reader.shipments.GetShipment(get)).shipment
    between = now()
    ask = label_service_pb2.ListLabelsRequest(shipment_id=shipment_id)
    labels = (await reader.labels.ListLabels(ask)).labels
    when = Span("operator", between, now())
    return [
        Look("operator", "shipment", shipment_id, start, between, "", shipment.revision),
        *shown_in(shipment, Span("operator", start, between)),
        *listed([each.id for each in shipment.packages], labels, when),
    ]
