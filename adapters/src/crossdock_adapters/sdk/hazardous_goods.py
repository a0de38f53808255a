"""Dangerous goods are shipped by no carrier's adapter: none of them declares any.

A booking that says nothing of them, or "hazardous: false", is a false declaration. So each asks the
hub what is in the packages before its first call, and whatever transport rules apply to parks.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

from crossdock.errors import NotFoundError
from crossdock.item.v1 import item_pb2, item_service_pb2
from crossdock.shipment.v1 import shipment_pb2

from crossdock_adapters.sdk.outcomes import NeedsPerson
from crossdock_adapters.sdk.work import Work

if TYPE_CHECKING:
    from crossdock.client import HubClient

ITEMS_KEPT: Final = 10_000
# So long a word of the ERP's is taken for its newest; a park that came too late is retried by then.
KEPT_SECONDS: Final = 60.0
TOLD_MAX: Final = 5

# By hub: when each item was read (monotonic seconds), and what makes it dangerous, "" for nothing.
_known: WeakKeyDictionary[HubClient, OrderedDict[str, tuple[float, str]]] = WeakKeyDictionary()


async def refuse(work: Work, packages: Iterable[shipment_pb2.Package]) -> None:
    """To be awaited before the first call of a booking. NeedsPerson names each item in these
    packages that the ERP calls dangerous to carry.

    Of an item that the hub does not know, or of which the ERP says nothing, nothing is known. Reads
    each item once; what was read within KEPT_SECONDS is not read again.
    """
    numbers = dict.fromkeys(each.item_number for package in packages for each in package.contents)
    told = [f"{number} ({why})" for number in numbers if (why := await _danger(work.hub, number))]
    if told:
        more = f" and {len(told) - TOLD_MAX} more" if len(told) > TOLD_MAX else ""
        raise NeedsPerson(
            f"dangerous goods: {', '.join(told[:TOLD_MAX])}{more}; this endpoint declares none. "
            "Book it at the carrier with its declaration and resolve this delivery with the "
            "number; or correct hazardous_material of the item in the ERP, and retry"
        )


async def _danger(hub: HubClient, number: str) -> str:
    """What makes an item dangerous to carry; "" when nothing does, as far as the hub knows."""
    known = _known.setdefault(hub, OrderedDict())
    now = time.monotonic()
    read_at, why = known.get(number, (-KEPT_SECONDS, ""))
    if now - read_at < KEPT_SECONDS:
        return why
    try:
        request = item_service_pb2.GetItemRequest(number=number)
        why = _why((await hub.items.GetItem(request)).item.hazardous_material)
    except NotFoundError:
        why = ""
    known[number] = (now, why)
    known.move_to_end(number)
    if len(known) > ITEMS_KEPT:
        known.popitem(last=False)
    return why


def _why(material: item_pb2.HazardousMaterial) -> str:
    if not material.hazardous:
        return ""
    hazard = f"class {material.hazard_class}" if material.hazard_class else ""
    return ", ".join(filter(None, (material.un_number, hazard))) or "hazardous"
