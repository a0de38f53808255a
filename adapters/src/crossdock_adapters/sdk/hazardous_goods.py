"""Dangerous goods are shipped by no carrier's adapter: none of them declares any.

A booking that says nothing of them, or "hazardous: false", is a false declaration. So each asks the
hub what is in the packages before its first call, and whatever transport rules apply to parks.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
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
# So long a word of the ERP's is taken for its newest.
KEPT_SECONDS: Final = 60.0
TOLD_MAX: Final = 5


@dataclass(frozen=True, slots=True)
class Word:
    """What the ERP says of an item. danger: what makes it dangerous to carry. said: it says
    something; else the hub does not know the item, or its `hazardous_material` is unset."""

    danger: str = ""
    said: bool = False


# By hub: when each item was read (monotonic seconds), and the word. None that parks is among them:
# who corrects an item and retries is not told the old word again.
_known: WeakKeyDictionary[HubClient, OrderedDict[str, tuple[float, Word]]] = WeakKeyDictionary()


async def refuse(work: Work, packages: Iterable[shipment_pb2.Package]) -> None:
    """To be awaited before the first call of a booking. NeedsPerson names each item in these
    packages that the ERP calls dangerous to carry.

    Of an item that the hub does not know, or of which the ERP says nothing, nothing is known. Reads
    each item once; what was read within KEPT_SECONDS and is not dangerous is not read again.
    """
    await _harmless_words(work, packages, kept_unsaid=True)


async def unsaid(
    work: Work, packages: Collection[shipment_pb2.Package]
) -> dict[str, tuple[str, ...]]:
    """By the id of each package, what in it nobody says of whether it is dangerous: for who has to
    declare that it is not. NeedsPerson: as `refuse`.

    What was not said when it was read is read again. Of contents that are not told nobody knows.
    """
    words = await _harmless_words(work, packages, kept_unsaid=False)
    return {package.id: _unsaid_in(package, words) for package in packages}


def some_of(names: Sequence[str]) -> str:
    """The first of these names, and how many more there are."""
    more = f" and {len(names) - TOLD_MAX} more" if len(names) > TOLD_MAX else ""
    return f"{', '.join(names[:TOLD_MAX])}{more}"


async def _harmless_words(
    work: Work, packages: Iterable[shipment_pb2.Package], *, kept_unsaid: bool
) -> dict[str, Word]:
    """What is said of each item, which is never that it is dangerous. NeedsPerson: it is."""
    numbers = dict.fromkeys(each.item_number for package in packages for each in package.contents)
    words = {number: await _word(work.hub, number, kept_unsaid) for number in numbers}
    dangerous = [f"{number} ({word.danger})" for number, word in words.items() if word.danger]
    if dangerous:
        raise NeedsPerson(
            f"dangerous goods: {some_of(dangerous)}; this endpoint declares none. "
            "Book it at the carrier with its declaration and resolve this delivery with the "
            "number; or correct hazardous_material of the item in the ERP, and retry"
        )
    return words


def _unsaid_in(package: shipment_pb2.Package, words: Mapping[str, Word]) -> tuple[str, ...]:
    numbers = dict.fromkeys(each.item_number for each in package.contents)
    if not numbers:
        return (f"what is in package {package.number}",)
    return tuple(number for number in numbers if not words[number].said)


async def _word(hub: HubClient, number: str, kept_unsaid: bool) -> Word:
    """What the ERP says of an item; one of which nothing was said is read again if not kept."""
    known = _known.setdefault(hub, OrderedDict())
    now = time.monotonic()
    read_at, word = known.get(number, (-KEPT_SECONDS, Word()))
    if now - read_at < KEPT_SECONDS and (word.said or kept_unsaid):
        return word
    known.pop(number, None)
    try:
        request = item_service_pb2.GetItemRequest(number=number)
        item = (await hub.items.GetItem(request)).item
    except NotFoundError:
        word = Word()
    else:
        word = Word(_why(item.hazardous_material), item.HasField("hazardous_material"))
    if not word.danger:
        known[number] = (now, word)
        if len(known) > ITEMS_KEPT:
            known.popitem(last=False)
    return word


def _why(material: item_pb2.HazardousMaterial) -> str:
    if not material.hazardous:
        return ""
    hazard = f"class {material.hazard_class}" if material.hazard_class else ""
    return ", ".join(filter(None, (material.un_number, hazard))) or "hazardous"
