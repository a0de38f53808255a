"""What SAP tells: business events that carry keys, and the delta poll that finds what they missed.

Either way the document is read and its present state told, so the order of events does not matter.
Reading and telling are done one at a time in a process: an older reading never comes after a newer.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, Final

from crossdock.client import HubClient
from crossdock.customer.v1 import customer_service_pb2
from crossdock.errors import InvalidRequestError, NotFoundError
from crossdock.item.v1 import item_service_pb2
from crossdock.order.v1 import order_service_pb2
from crossdock.unit.v1 import unit_service_pb2
from google.protobuf.message import Message

from crossdock_adapters.sap import odata, orders, packs, translate_facts
from crossdock_adapters.sap.client import RecordMissing, SapClient, etag_of
from crossdock_adapters.sap.translate import BookingRules
from crossdock_adapters.sap.translate_facts import CUSTOMER, PRODUCT, SALES_ORDER, UnitMeaning
from crossdock_adapters.sdk import vendor_json
from crossdock_adapters.sdk.mappings import Mappings
from crossdock_adapters.sdk.outcomes import NeedsPerson
from crossdock_adapters.sdk.places import Unreadable
from crossdock_adapters.sdk.work import HeldPayload, Poll, Webhook

PAGE: Final = 200
# How many pages of one kind a round reads; the next round goes on behind them.
MAX_PAGES_A_ROUND: Final = 500

Translate = Callable[[Mapping[str, Any], str, str, UnitMeaning], Message | None]


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of document that is read. changed: the property that changes are found by; it has a
    day only where by_day. widths: to how many digits SAP may fill a number in the key with zeros.
    expand: what is read along."""

    service: str
    entity: str
    key: str
    changed: str
    widths: tuple[int, ...]
    by_day: bool = False
    expand: str = ""


KINDS: Final[Mapping[str, Kind]] = {
    # A material's number has 18 digits, or 40 in a system with long material numbers.
    PRODUCT: Kind(
        "API_PRODUCT_SRV", "A_Product", "Product", "LastChangeDateTime", (18, 40),
        expand=f"to_Description,{packs.NAVIGATION}",
    ),
    CUSTOMER: Kind(
        "API_BUSINESS_PARTNER", "A_BusinessPartner", "BusinessPartner", "LastChangeDate", (10,),
        by_day=True,
    ),
    SALES_ORDER: Kind(
        "API_SALES_ORDER_SRV", "A_SalesOrder", "SalesOrder", "LastChangeDateTime", (10,)
    ),
}  # fmt: skip


class NotTold(Exception):
    """A document cannot be told as it is; the text says why, the payload waits."""


@dataclass(frozen=True, slots=True)
class Facts:
    """Where facts go, and by which rules of the deployment. mappings: the rows as they are now."""

    hub: HubClient
    endpoint: str
    unit: UnitMeaning
    rules: BookingRules
    mappings: Mappings

    async def tell(self, kind: str, row: Mapping[str, Any]) -> None:
        """Tell the hub the state of one document. NotTold, or what the hub's absence raises."""
        etag = etag_of(row)
        try:
            if kind == SALES_ORDER:
                await self._tell_block(row, etag)
                return
            translate: Translate = (
                translate_facts.item_entry if kind == PRODUCT else translate_facts.customer_entry
            )
            entry = translate(row, etag, self.endpoint, self.unit)
            if entry is not None:
                await self._tell_entry(entry)
            if kind == PRODUCT:
                await self._tell_packs(packs.packs_of(row, etag, self.endpoint, self.unit))
        except Unreadable as problem:
            raise NotTold(f"{kind} {row.get(KINDS[kind].key)}: {problem}") from problem
        except InvalidRequestError as refused:
            raise NotTold(f"{kind} {row.get(KINDS[kind].key)}: {refused}") from refused

    async def _tell_entry(self, entry: Any) -> None:
        if isinstance(entry, item_service_pb2.ItemEntry):
            items = item_service_pb2.UpsertItemsRequest(entries=[entry])
            results: Sequence[Any] = (await self.hub.items.UpsertItems(items)).results
        else:
            customers = customer_service_pb2.UpsertCustomersRequest(entries=[entry])
            results = (await self.hub.customers.UpsertCustomers(customers)).results
        for result in results:
            if result.HasField("refusal") and not result.held_fact_id:
                raise NotTold(result.refusal.message)

    async def _tell_packs(self, found: packs.Packs) -> None:
        """All of a product in one request, for the hub compares each with the others as the request
        will leave them. Unreadable: of some nothing is told; those that can be are."""
        problems = [str(each) for each in found.unread]
        if found.entries:
            asked = unit_service_pb2.UpsertUnitConversionsRequest(entries=found.entries)
            results = (await self.hub.units.UpsertUnitConversions(asked)).results
            problems += [
                f"{entry.unit_conversion.number}: {result.refusal.message}"
                for entry, result in zip(found.entries, results, strict=True)
                if result.HasField("refusal") and not result.held_fact_id
            ]
        if problems:
            raise Unreadable("; ".join(problems), codes=found.codes)

    async def _tell_block(self, row: Mapping[str, Any], etag: str) -> None:
        reference = str(row.get(self.rules.reference_property) or "")
        if not reference.startswith(self.rules.reference_prefix):
            return
        number = reference.removeprefix(self.rules.reference_prefix)
        if not number:
            return
        try:
            asked = order_service_pb2.GetOrderRequest(number=number)
            order = (await self.hub.orders.GetOrder(asked)).order
        except NotFoundError:
            # Booked by somebody else: no order of the hub's.
            return
        if not orders.is_of(row, order, self.rules):
            # The reference is free text: somebody else's sales order says nothing of ours.
            return
        block = translate_facts.block_of(row, self.mappings)
        if not (order.block or block):
            return
        fact = translate_facts.block_fact(block, etag, self.endpoint, order.id)
        await self.hub.orders.UpdateOrder(fact)


async def receive(hook: Webhook, vendor: SapClient, facts: Facts, names: Sequence[str]) -> None:
    """One event: read what it is about, tell it; returns when the hub has it durably."""
    keys = {name: KINDS[name].key for name in names}
    try:
        change = translate_facts.event_of(vendor_json.loads(hook.body), keys)
    except (ValueError, RecursionError) as error:
        await hook.hold(str(error))
        return
    try:
        await _read_and_tell(vendor, facts, change.kind, change.key)
    except NotTold as problem:
        await hook.hold(str(problem), key=change.event_id, cause=problem)


async def pull(
    poll: Poll, vendor: SapClient, facts: Facts, names: Sequence[str], overlap: timedelta
) -> None:
    """Everything of these kinds that changed since the last time.

    NeedsPerson of one kind is raised after the others: it keeps none of them from being read.
    """
    stuck: list[NeedsPerson] = []
    cursor = {str(k): str(v) for k, v in json.loads(poll.cursor or b"{}").items()}
    for name in names:
        try:
            await _pull_kind(poll, vendor, facts, name, KINDS[name], cursor, overlap)
        except NeedsPerson as reason:
            stuck.append(reason)
    if stuck:
        raise stuck[0]


async def translate_held(poll: Poll, held: HeldPayload, vendor: SapClient, facts: Facts) -> None:
    """A document that could not be told, as it is now."""
    content = vendor_json.loads(held.payload)
    try:
        await _read_and_tell(vendor, facts, str(content["kind"]), str(content["key"]))
    except NotTold as problem:
        await poll.hold(held.payload, str(problem), cause=problem)


async def _read_and_tell(vendor: SapClient, facts: Facts, name: str, key: str) -> None:
    kind = KINDS[name]
    options = {"$expand": kind.expand} if kind.expand else {}
    async with vendor.telling:
        try:
            place = odata.key(**{kind.key: key})
            reply = await vendor.read(kind.service, f"{kind.entity}{place}", options)
        except RecordMissing as missing:
            raise NotTold(f"{name} {key}: {missing}") from missing
        await facts.tell(name, reply.content)


async def _pull_kind(
    poll: Poll,
    vendor: SapClient,
    facts: Facts,
    name: str,
    kind: Kind,
    cursor: dict[str, str],
    overlap: timedelta,
) -> None:
    """Page by page by the key, which is never empty and never twice, as a day of change is.

    Its place is kept, so that a long reading goes on where it ended, in the next round after
    MAX_PAGES_A_ROUND. What changes meanwhile is of a further reading, which begins where this one
    began, by our clock and the overlap for SAP's. NeedsPerson: SAP sorts or filters otherwise.
    """
    _forget_what_was_read_otherwise(cursor, name, kind)
    since = translate_facts.since(cursor, name, overlap)
    if since is not None and kind.by_day:
        # SAP dates a change in its own zone, where it may be the day before the one in UTC.
        since -= timedelta(days=1)
    begun_at, after_at = f"{name} begun", f"{name} after"
    begun, after = cursor.get(begun_at) or datetime.now(UTC).isoformat(), cursor.get(after_at, "")
    for _ in range(MAX_PAGES_A_ROUND):
        async with vendor.telling:
            rows = await vendor.query(kind.service, kind.entity, _asked(kind, since, after))
            await poll.catch_up()
            for row in rows:
                await _tell_or_hold(poll, facts, name, kind, row)
        if len(rows) < PAGE:
            break
        after = _last_key(kind, rows, after)
        cursor[begun_at], cursor[after_at] = begun, after
        await poll.advance(json.dumps(cursor, sort_keys=True))
    else:
        return
    for done in (begun_at, after_at):
        cursor.pop(done, None)
    cursor[name] = begun
    await poll.advance(json.dumps(cursor, sort_keys=True))


def _forget_what_was_read_otherwise(cursor: dict[str, str], name: str, kind: Kind) -> None:
    """An earlier version read less along: what has not changed since would never be told of that,
    so everything of the kind is read anew, once."""
    expanded_at = f"{name} expand"
    if cursor.get(expanded_at, "") == kind.expand:
        return
    for known in (name, f"{name} begun", f"{name} after"):
        cursor.pop(known, None)
    cursor[expanded_at] = kind.expand


def _last_key(kind: Kind, rows: Sequence[Mapping[str, Any]], after: str) -> str:
    """The key behind which the next page begins. NeedsPerson: the keys of a full page do not rise,
    so what comes behind its last one would leave out rows, or be this page for ever."""
    keys = [after, *(str(row.get(kind.key) or "") for row in rows)]
    # A tenant sorts keys as it shows them, or as it keeps them: numbers with zeros before them.
    orders = [keys, *([odata.with_zeros(key, width) for key in keys] for width in kind.widths)]
    risen = max(next(_falls(order), len(rows)) for order in orders)
    if risen < len(rows):
        raise NeedsPerson(
            f"{kind.entity}: {kind.key} {keys[risen + 1]!r} came after {keys[risen]!r} on the page "
            f"after {after!r}: SAP heeds $orderby={kind.key} or the filter by it not, and rows "
            "would be left out or read for ever. Mend the service. Until then no poll gets past "
            "this page; events of it are told, as long as it stays in the setting hears: without "
            "it there they are held"
        )
    return keys[-1]


def _falls(order: Sequence[str]) -> Iterator[int]:
    """Places of what is followed by something that does not come after it."""
    return (place for place, pair in enumerate(pairwise(order)) if pair[0] >= pair[1])


async def _tell_or_hold(
    poll: Poll, facts: Facts, name: str, kind: Kind, row: Mapping[str, Any]
) -> None:
    try:
        await facts.tell(name, row)
    except NotTold as problem:
        key = str(row.get(kind.key))
        payload = vendor_json.dumps({"kind": name, "key": key})
        known_as = f"{name}/{key}/{etag_of(row)}"
        await poll.hold(payload, str(problem), key=known_as, cause=problem)


def _asked(kind: Kind, since: datetime | None, after: str) -> dict[str, str]:
    options = {"$orderby": kind.key, "$top": str(PAGE)}
    if kind.expand:
        options["$expand"] = kind.expand
    conditions: list[str] = []
    if since is not None:
        literal = (
            odata.datetime_literal(since.replace(hour=0, minute=0, second=0))
            if kind.by_day
            else odata.offset_literal(since)
        )
        conditions.append(f"{kind.changed} ge {literal}")
    if after:
        conditions.append(f"{kind.key} gt {odata.text(after)}")
    if conditions:
        options["$filter"] = " and ".join(conditions)
    return options
