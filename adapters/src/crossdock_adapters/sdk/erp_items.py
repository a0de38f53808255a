"""Items that an ERP tells, as facts of the contract: what is the same for every ERP."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Final

from crossdock.client import HubClient, request_id
from crossdock.errors import InvalidRequestError, NotFoundError
from crossdock.item.v1 import item_pb2, item_service_pb2
from crossdock.types.v1 import types_pb2

from crossdock_adapters.sdk.erp_units import MAX_SHOWN, ErpUnits
from crossdock_adapters.sdk.mappings import Code, Topic
from crossdock_adapters.sdk.outcomes import Retry
from crossdock_adapters.sdk.places import Unreadable
from crossdock_adapters.sdk.work import Poll

ITEM_STATUSES: Final = {
    name.removeprefix("ITEM_STATUS_"): number
    for name, number in item_pb2.ItemStatus.items()
    if number
}
DIGEST_CHARACTERS: Final = 16
# The revision of what the hub does not have; the first one of what it has is 1.
NO_ITEM: Final = 0
CHANGED_MEANWHILE: Final = "STALE_REVISION"


async def tell(
    poll: Poll,
    read: Callable[[], Mapping[str, Any]],
    content: bytes,
    *,
    units: ErpUnits,
    content_type: str = "application/json",
    key: str = "items",
    revision: int | None = None,
) -> bool:
    """Tell the hub an item; False: the hub holds `content`, with what is wrong with it.

    read: the item's values by the names of `item_entry`, or Unreadable. revision: of an item that
    was held, what `revision_of` said before it was known that nothing newer is told; Retry where
    something was since.
    """
    cause: Unreadable | None = None
    try:
        entry = item_entry(read(), poll.endpoint, units, revision)
        problem = await refusal(poll.hub, entry)
    except Unreadable as unreadable:
        problem, cause = str(unreadable), unreadable
    if problem:
        await hold(poll, content, problem, content_type, key, cause)
    return not problem


async def hold(
    poll: Poll,
    content: bytes,
    problem: str,
    content_type: str,
    key: str = "items",
    cause: Unreadable | None = None,
) -> None:
    """Let the hub hold a payload once. key: what the ERP calls it; one that somebody mended, and
    that fails again, is another payload than before."""
    digest = hashlib.sha256(content + problem.encode()).hexdigest()[:DIGEST_CHARACTERS]
    await poll.hold(content, problem, content_type, key=f"{key} {digest}", cause=cause)


async def revision_of(hub: HubClient, number: str) -> int:
    """Of the item in the hub; 0: it has none of this number, and one that has appeared by the time
    of the write is not written over."""
    try:
        answer = await hub.items.GetItem(item_service_pb2.GetItemRequest(number=number))
    except NotFoundError:
        return NO_ITEM
    return answer.item.revision


def item_entry(
    values: Mapping[str, Any], endpoint: str, units: ErpUnits, revision: int | None = None
) -> item_service_pb2.ItemEntry:
    """A fact of an ERP's item: number, change, description, status, unit, weight, weight_unit.

    units: of the ERP, with the rows that say what its codes of a status mean. revision: the one
    that it may be written over; None: any. Unreadable names the value that has no row, and what to
    do.
    """
    item = item_pb2.Item(number=values["number"], description=values["description"] or "")
    code = values["status"]
    item.status = _status(code, units)
    item.status_code = code
    item.base_unit = units.back(values["unit"], "unit")
    paths = ["description", "base_unit", "status", "status_code"]
    weight: Decimal | None = values["weight"]
    if weight is not None:
        unit = units.back(values["weight_unit"] or "", "weight_unit")
        item.weight.CopyFrom(types_pb2.Quantity(value=f"{weight:f}", unit=unit))
        paths.append("weight")
    entry = item_service_pb2.ItemEntry(item=item)
    entry.update_mask.paths.extend(paths)
    reference = types_pb2.ExternalReference(system=endpoint, type="item", value=item.number)
    entry.references.append(reference)
    if revision is not None:
        entry.expected_revision = revision
    # The same change read twice is one; a better translation of it is another.
    content = hashlib.sha256(entry.SerializeToString(deterministic=True)).hexdigest()
    version = f"{values['change']} {content}"
    entry.request_id = request_id(endpoint, f"item/{item.number}", version)
    return entry


def _status(code: str, units: ErpUnits) -> item_pb2.ItemStatus.ValueType:
    codes = [Code("", code)]
    found = units.mappings.first(Topic.ITEM_STATUS, codes)
    if found is None or found[1].canonical not in ITEM_STATUSES:
        raise Unreadable(
            f"status {code[:MAX_SHOWN]!r} of the ERP has no row: say what it means with "
            f"crossdock map set {units.kind} ITEM_STATUS CODE --means WORD --reason …",
            "status",
            units.mappings.unread(Topic.ITEM_STATUS, codes),
        )
    return ITEM_STATUSES[found[1].canonical]


async def refusal(hub: HubClient, entry: item_service_pb2.ItemEntry) -> str:
    """Tell the hub an item; "": it has it, or holds it as a fact. Otherwise why it does not. Retry:
    it is not the revision that the entry is for."""
    try:
        request = item_service_pb2.UpsertItemsRequest(entries=[entry])
        (result,) = (await hub.items.UpsertItems(request)).results
    except InvalidRequestError as problem:
        return str(problem)
    if not result.HasField("refusal") or result.held_fact_id:
        return ""
    if result.refusal.reason == CHANGED_MEANWHILE:
        raise Retry(0.0, f"the item was changed meanwhile: {result.refusal.message}")
    return str(result.refusal.message)
