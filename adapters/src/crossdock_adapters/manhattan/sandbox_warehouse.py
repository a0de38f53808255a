"""The simulated warehouse itself: takes orders, picks, packs, waits for labels, ships.

Everything is keyed by the organisation and location of the request's header, as on the real
platform: a wrong header silently writes another site's data. Nothing here knows HTTP.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from . import sandbox_messages as messages
from .sandbox_cartons import Carton, Units, cartonise
from .sandbox_records import (
    CANCELLED,
    PACKED,
    PICKED,
    RELEASED,
    SHIPPED,
    Facility,
    Item,
    Line,
    Olpn,
    Order,
    OriginalOrder,
    OutMessage,
    Shipment,
    WarehouseRefusal,
    item_from_content,
    lines_from_content,
)

MAX_STEPS_PER_TICK = 500
MAX_LINES_PER_ORDER = 500
SECONDS_NEVER = 10**9

Emit = Callable[[OutMessage, datetime], None]


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast the floor works (seconds, each varied by half) and how often it falls short."""

    pick_seconds: float = 0.4
    pack_seconds: float = 0.4
    manifest_seconds: float = 0.4
    short_rate: float = 0.0
    split_rate: float = 0.0
    freeze_status: int = PICKED


class Warehouse:
    """All sites of one organisation's environment; `emit` gets each message to the host."""

    def __init__(self, seed: int, pace: Pace, facilities: Sequence[Facility], emit: Emit) -> None:
        self.pace = pace
        self.facilities = {facility.id: facility for facility in facilities}
        self.items: dict[tuple[str, str], Item] = {}
        self.originals: dict[tuple[str, str, str], OriginalOrder] = {}
        self.olpns: dict[tuple[str, str, str], Olpn] = {}
        self.shipments: list[Shipment] = []
        self.sent: list[OutMessage] = []
        self._seed = seed
        self._emit = emit
        self._due: list[tuple[datetime, int, OriginalOrder, Order]] = []
        self._left_behind: dict[str, tuple[int, bool]] = {}
        self._count = 0
        self._olpn_number = 0

    # What the host may do.

    def import_item(self, organization: str, content: Mapping[str, Any]) -> Item:
        """Create or replace one item. WarehouseRefusal names what is wrong."""
        item = item_from_content(content)
        self.items[(organization, item.id)] = item
        return item

    def save_original(
        self, organization: str, location: str, content: Mapping[str, Any], now: datetime
    ) -> tuple[OriginalOrder, bool]:
        """Create, change or cancel by business key; the flag says whether anything changed.

        WarehouseRefusal when the content is wrong or the order is past the freeze status.
        """
        key = str(content.get("OriginalOrderId") or "")
        if not key or len(key) > 50:
            raise WarehouseRefusal("ORDER_ID_INVALID", "OriginalOrderId: 1 to 50 characters")
        if location not in self.facilities:
            raise WarehouseRefusal("FACILITY_NOT_FOUND", "SelectedLocation is not a facility")
        known = self.originals.get((organization, location, key))
        if content.get("IsCancelled") is True:
            return self._cancel(known, key)
        lines = lines_from_content(content)
        if len(lines) > MAX_LINES_PER_ORDER:
            raise WarehouseRefusal("TOO_MANY_LINES", f"at most {MAX_LINES_PER_ORDER} lines")
        for line in lines:
            if (organization, line.item_id) not in self.items:
                raise WarehouseRefusal("ITEM_NOT_FOUND", f"item {line.item_id} does not exist")
        if known is not None:
            return self._change(known, content, lines, now)
        original = OriginalOrder(organization, location, key, dict(content), [], now)
        original.orders = self._plan(original, lines)
        self.originals[(organization, location, key)] = original
        for order in original.orders:
            self._later(self.pace.pick_seconds, original, order, now)
        return original, True

    def save_olpn(
        self, organization: str, location: str, content: Mapping[str, Any], now: datetime
    ) -> tuple[Olpn, bool]:
        """Set tracking number and label of an existing oLPN; the flag says whether it changed."""
        key = str(content.get("OlpnId") or "")
        olpn = self.olpns.get((organization, location, key))
        if olpn is None:
            raise WarehouseRefusal("OLPN_NOT_FOUND", f"oLPN {key[:50]} does not exist")
        tracking = str(content.get("TrackingNumber") or "")
        if not tracking or len(tracking) > 50:
            raise WarehouseRefusal("TRACKING_INVALID", "TrackingNumber: 1 to 50 characters")
        if olpn.status == CANCELLED:
            raise WarehouseRefusal("OLPN_CANCELLED", f"oLPN {key} is cancelled")
        if olpn.status >= SHIPPED and tracking != olpn.tracking_number:
            raise WarehouseRefusal("OLPN_SHIPPED", f"oLPN {key} has left with another number")
        olpn.saves += 1
        changed = tracking != olpn.tracking_number
        if changed:
            olpn.tracking_number = tracking
            olpn.label_prints += 1
            self._try_manifest(olpn, now)
        return olpn, changed

    # How the floor moves.

    def step(self, now: datetime) -> int:
        """Do all work that is due; returns how many orders moved."""
        moved = 0
        while self._due and self._due[0][0] <= now and moved < MAX_STEPS_PER_TICK:
            _, _, original, order = heapq.heappop(self._due)
            moved += 1
            if order.status == RELEASED:
                self._pick(original, order, now)
            elif order.status == PICKED:
                self._pack(original, order, now)
            elif order.status == PACKED:
                self._ship(original, order, now)
        return moved

    def send_again(
        self, message_type: str | None, original_order_id: str | None, now: datetime
    ) -> int:
        """What a warehouse user does by hand: send messages once more. Returns how many."""
        chosen = [
            message
            for message in self.sent
            if message_type in (None, message.type)
            and original_order_id in (None, message.original_order_id)
        ]
        for message in chosen:
            self._emit(message, now)
        return len(chosen)

    def leave_behind(self, original_order_id: str, cartons: int, cancel: bool) -> None:
        """The next ship confirm of an order leaves its last cartons on the dock, or cancels them.

        One carton leaves in any case.
        """
        self._left_behind[original_order_id] = (cartons, cancel)

    def ship_rest(self, original_order_id: str, now: datetime) -> int:
        """Hand over what was left on the dock, with a confirm of its own. Returns how many."""
        cartons = 0
        for original in self.originals.values():
            for order in original.orders:
                waiting = [olpn for olpn in order.olpns if olpn.status == PACKED]
                if original.id == original_order_id and order.status == SHIPPED and waiting:
                    self._ship(original, order, now)
                    cartons += len(waiting)
        return cartons

    def send_unknown(self, original: OriginalOrder, order: Order, now: datetime) -> None:
        """A message of a type the project design does not name."""
        self._send(messages.UNKNOWN, original, {"Audit": [{"OrderId": order.id}]}, order.id, now)

    def _pick(self, original: OriginalOrder, order: Order, now: datetime) -> None:
        chance = self._random(order.id, "pick")
        for line in order.lines:
            if chance.random() < self.pace.short_rate:
                missing = Decimal(chance.randint(1, max(1, int(line.ordered))))
                line.short = min(missing, line.ordered)
            line.picked = line.ordered - line.short
        nothing = all(line.picked == 0 for line in order.lines)
        order.status = CANCELLED if nothing else PICKED
        self._send(messages.PICK, original, messages.pick_confirmed(original, order), order.id, now)
        if not nothing:
            self._later(self.pace.pack_seconds, original, order, now)

    def _pack(self, original: OriginalOrder, order: Order, now: datetime) -> None:
        facility = self.facilities[original.location]
        picked = [
            Units(line.id, line.item_id, line.picked) for line in order.lines if line.picked > 0
        ]
        items = {
            line.item_id: self.items[(original.organization, line.item_id)] for line in order.lines
        }
        chance = self._random(order.id, "pack")
        sizes = {item_id: item.size for item_id, item in items.items()}
        for carton in cartonise(picked, sizes):
            olpn = self._olpn(original, order, carton, items, facility, chance)
            order.olpns.append(olpn)
            self.olpns[(original.organization, original.location, olpn.id)] = olpn
        order.status = PACKED
        payload = messages.pack_confirmed(original, order, facility)
        self._send(messages.PACK, original, payload, order.shipment_id, now)

    def _ship(self, original: OriginalOrder, order: Order, now: datetime) -> None:
        facility = self.facilities[original.location]
        order.status = SHIPPED
        waiting = [olpn for olpn in order.olpns if olpn.status == PACKED]
        count, cancel = self._left_behind.pop(original.id, (0, False))
        leaving = waiting[: max(1, len(waiting) - count)]
        for olpn in waiting:
            if olpn in leaving:
                olpn.status = SHIPPED
            elif cancel:
                olpn.status = CANCELLED
        shipped, cancelled = {}, {}
        for line in order.lines:
            shipped[line.id] = _quantity(line, leaving)
            line.shipped += shipped[line.id]
            held = _quantity(line, [olpn for olpn in order.olpns if olpn.status == PACKED])
            cancelled[line.id] = line.ordered - line.shipped - held
        shipment = Shipment(
            order.shipment_id,
            facility.id,
            original.id,
            [olpn.id for olpn in leaving],
            f"BOL{order.shipment_id[2:]}",
            now,
            facility.local(now),
            shipped,
            cancelled,
        )
        self.shipments.append(shipment)
        payload = messages.ship_confirmed(original, order, shipment)
        self._send(messages.SHIP, original, payload, shipment.id, now)

    def _try_manifest(self, olpn: Olpn, now: datetime) -> None:
        key = (olpn.organization, olpn.facility_id, olpn.original_order_id)
        original = self.originals[key]
        order = next(order for order in original.orders if order.id == olpn.order_id)
        if order.status == PACKED and all(each.tracking_number for each in order.olpns):
            self._later(self.pace.manifest_seconds, original, order, now)

    # Below: planning, changing, and the small print.

    def _plan(self, original: OriginalOrder, lines: list[Line]) -> list[Order]:
        chance = self._random(original.id, "plan")
        shares = [lines]
        if len(lines) > 1 and chance.random() < self.pace.split_rate:
            cut = chance.randint(1, len(lines) - 1)
            shares = [lines[:cut], lines[cut:]]
        orders = []
        for number, share in enumerate(shares, start=1):
            suffix = "" if len(shares) == 1 else f"-{number}"
            shipment_id = f"SH{original.location}-{original.id}{suffix}"[:50]
            orders.append(Order(f"{original.id}_{number}", original.id, share, shipment_id))
        return orders

    def _change(
        self, known: OriginalOrder, content: Mapping[str, Any], lines: list[Line], now: datetime
    ) -> tuple[OriginalOrder, bool]:
        if known.cancelled:
            raise WarehouseRefusal("ORDER_CANCELLED", f"order {known.id} is cancelled")
        if known.maximum_status >= self.pace.freeze_status:
            raise WarehouseRefusal(
                "ORDER_FROZEN", f"order {known.id} is at status {known.maximum_status}, too late"
            )
        known.saves += 1
        if dict(content) == known.content:
            return known, False
        known.content = dict(content)
        known.changes += 1
        for order in known.orders:
            order.status = CANCELLED
        known.orders = self._plan(known, lines)
        for order in known.orders:
            self._later(self.pace.pick_seconds, known, order, now)
        return known, True

    def _cancel(self, known: OriginalOrder | None, key: str) -> tuple[OriginalOrder, bool]:
        if known is None:
            raise WarehouseRefusal("ORDER_NOT_FOUND", f"order {key} does not exist")
        if known.cancelled:
            return known, False
        if known.maximum_status >= self.pace.freeze_status:
            raise WarehouseRefusal(
                "ORDER_FROZEN", f"order {key} is at status {known.maximum_status}, too late"
            )
        known.cancelled = True
        for order in known.orders:
            order.status = CANCELLED
        return known, True

    def _olpn(
        self,
        original: OriginalOrder,
        order: Order,
        carton: Carton,
        items: Mapping[str, Item],
        facility: Facility,
        chance: random.Random,
    ) -> Olpn:
        self._olpn_number += 1
        olpn_id = f"00{self._seed % 1000:03d}{self._olpn_number:09d}"
        # Scales differ from the item master by packing material and dust.
        gross = (carton.net_weight + carton.tare) * (1 + Decimal(chance.randint(0, 20)) / 1000)
        lots = {}
        serials = {}
        for content in carton.contents:
            item = items[content.item_id]
            if item.lots:
                lots[content.line_id] = f"LOT{chance.randint(1000, 9999)}"
            if item.serials:
                serials[content.line_id] = [
                    f"SN{chance.getrandbits(40):010X}" for _ in range(int(content.quantity))
                ]
        return Olpn(
            olpn_id,
            facility.id,
            original.organization,
            order.id,
            original.id,
            order.shipment_id,
            carton,
            max(facility.weight(gross), Decimal("0.01")),
            lots,
            serials,
        )

    def _send(
        self,
        message_type: str,
        original: OriginalOrder,
        body: dict[str, Any],
        business_key: str,
        now: datetime,
    ) -> None:
        sequence = len(self.sent) + 1
        facility = self.facilities[original.location]
        payload = {**messages.header(message_type, original, facility, sequence, now), **body}
        message = OutMessage(
            sequence, message_type, business_key, original.id, facility.id, payload
        )
        self.sent.append(message)
        self._emit(message, now)

    def _later(self, seconds: float, original: OriginalOrder, order: Order, now: datetime) -> None:
        self._count += 1
        share = 0.5 + self._random(order.id, str(order.status)).random()
        due = now + timedelta(seconds=min(seconds * share, SECONDS_NEVER))
        heapq.heappush(self._due, (due, self._count, original, order))

    def _random(self, key: str, purpose: str) -> random.Random:
        # Per order, so that a run repeats whatever order the requests arrive in.
        return random.Random(f"{self._seed}:{key}:{purpose}")


def _quantity(line: Line, olpns: Sequence[Olpn]) -> Decimal:
    """What of a line is in these cartons."""
    return sum(
        (
            content.quantity
            for olpn in olpns
            for content in olpn.carton.contents
            if content.line_id == line.id
        ),
        Decimal(0),
    )
