"""Finds the flow that any id belongs to: exactly first, then without case, spaces and dashes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from crossdock.contracts import Contract
from google.protobuf.message import DecodeError

from crossdock_hub.records import (
    DeliveryRecord,
    HeldFactRecord,
    ObjectRecord,
    ParcelRecord,
    RequestRecord,
)
from crossdock_hub.store import Reader
from crossdock_hub.store.held_fact_pages import HeldFactFilter
from crossdock_hub.store.key_reading import KnownBy
from crossdock_hub.store.spelling import squeezed

MATCHES_MAX = 20
# Payloads of held facts that are read to find where they went.
FACTS_BYTES_MAX = 4 * 1024 * 1024

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_TRACE = re.compile(r"[0-9a-f]{32}")
_VENDOR_REFERENCE = re.compile(r"[A-Z2-7]{20}")

TRIED = (
    "id of an object, package, event, delivery, request, scan or held fact; trace id; vendor "
    "reference; number; key in any system; tracking number; package number; the same without "
    "case, spaces and dashes"
)


@dataclass(frozen=True, slots=True)
class Match:
    """What an id was recognised as. object_id: "" when only the flow is known."""

    matched_as: str
    root_id: str
    object_id: str = ""


class Finder:
    """One search. `find` gives what fits best first."""

    def __init__(self, reader: Reader, contract: Contract) -> None:
        self._reader = reader
        self._contract = contract

    async def find(self, text: str) -> list[Match]:
        """Everything that the text may mean; empty: nothing."""
        exact = text.strip()
        found = await self._exactly(exact) or await self._package_number(exact)
        if found:
            return found
        others = spellings(exact)
        by_key = await self._by_keys(others)
        for spelling in others:
            found = await self._by_form(spelling) or by_key[spelling]
            if found:
                return [_respelled(match, spelling) for match in found]
        return await self._similar(exact)

    async def _exactly(self, text: str) -> list[Match]:
        if not text:
            return []
        return await self._by_form(text) or (await self._by_keys([text]))[text]

    async def _by_form(self, text: str) -> list[Match]:
        """As an id that is known by its looks."""
        if _UUID.fullmatch(text):
            return await self._by_uuid(text)
        if _TRACE.fullmatch(text):
            return await self._by_trace(text)
        if _VENDOR_REFERENCE.fullmatch(text):
            known = await self._reader.deliveries_of_reference(text)
            return _of_deliveries(known, "vendor reference of")
        return []

    async def _by_uuid(self, text: str) -> list[Match]:
        record = await self._reader.object(text)
        if record is not None:
            return [Match(f"{_words(record.kind)} id", record.root_id, record.id)]
        delivery = await self._reader.delivery(text)
        if delivery is not None:
            return _of_deliveries([delivery], "delivery")
        events = await self._reader.events(1, event_id=text)
        if events:
            event = events[0].record
            return [Match(f"event {event.stem}", event.root_id, event.object_id)]
        return (
            await self._by_package(text)
            or await self._by_request(text)
            or await self._by_scan(text)
            or _of_facts(await self._facts([text]))
        )

    async def _by_package(self, text: str) -> list[Match]:
        for delivery in await self._reader.deliveries_of_item(text):
            return [Match("package id", delivery.root_id, delivery.object_id)]
        for parcel in await self._reader.parcels(package_id=text):
            return [Match("package id", parcel.order_id, parcel.shipment_id)]
        return []

    async def _by_scan(self, text: str) -> list[Match]:
        scans = await self._reader.scans(1, scan_id=text)
        shipments = await self._reader.objects({scan.shipment_id for scan in scans})
        return [Match("scan id", record.root_id, record.id) for record in shipments]

    async def _by_request(self, text: str) -> list[Match]:
        known = await self._reader.request(text)
        if known is None:
            return []
        words = f"request id of {known.method.rpartition('/')[2]}"
        answer = self._answer_of(known)
        records = await self._reader.objects(_ids_in(answer))
        if records:
            return [Match(words, r.root_id, r.id) for r in records]
        flows = known.flows.split() or [known.object_id]
        found = [Match(words, root) for root in flows if root]
        return _one_per_flow(found + _of_facts(await self._facts(_facts_in(answer)), words))

    def _answer_of(self, known: RequestRecord) -> Any:
        """The message that was answered; None: it is not there any more, or not readable."""
        rule = self._contract.methods.get(known.method)
        if rule is None:
            return None
        response: Any = self._contract.generated_class(rule.response_type)
        results = response.DESCRIPTOR.fields_by_name.get("results")
        if rule.entries_field and results is not None:
            response = self._contract.generated_class(results.message_type.full_name)
        try:
            return response.FromString(known.response)
        except DecodeError:
            return None

    async def _facts(self, ids: Sequence[str]) -> list[HeldFactRecord]:
        if not ids:
            return []
        wanted = HeldFactFilter(ids=tuple(ids[:MATCHES_MAX]))
        facts, _more = await self._reader.held_facts(
            wanted, MATCHES_MAX, payload_bytes_max=FACTS_BYTES_MAX
        )
        return facts

    async def held(self, text: str) -> HeldFactRecord | None:
        """The first fact in no flow that this is the id of, or of the request that told of it."""
        for spelling in dict.fromkeys([text.strip(), *spellings(text.strip())]):
            if not _UUID.fullmatch(spelling):
                continue
            known = await self._reader.request(spelling)
            ids = _facts_in(self._answer_of(known)) if known is not None else []
            for fact in await self._facts([spelling, *ids]):
                if not _is_in_flow(fact):
                    return fact
        return None

    async def _by_trace(self, text: str) -> list[Match]:
        events = await self._reader.events(MATCHES_MAX, trace_id=text)
        roots = dict.fromkeys(event.record.root_id for event in reversed(events))
        return [Match("trace id", root) for root in roots]

    async def _by_keys(self, texts: Sequence[str]) -> dict[str, list[Match]]:
        """What each is a number, a key in another system or a tracking number of."""
        known = await self._reader.known_by(texts, MATCHES_MAX)
        named = {key.object_id for each in known for key in each.references}
        owners = {record.id: record for record in await self._reader.objects(named)}
        return {text: self._of_key(each, owners) for text, each in zip(texts, known, strict=True)}

    def _of_key(self, known: KnownBy, owners: Mapping[str, ObjectRecord]) -> list[Match]:
        found = [
            Match(f"{_words(record.kind)} number", record.root_id, record.id)
            for record in sorted(known.numbered, key=self._is_master_data)
        ]
        found += map(_of_parcel, known.parcels)
        for key in known.references:
            owner = owners.get(key.object_id)
            if owner is not None:
                words = f"reference {key.type} of {key.system}"
                found.append(Match(words, owner.root_id, owner.id))
        return _one_per_flow(found)

    def _is_master_data(self, record: ObjectRecord) -> bool:
        return self._contract.resources[record.kind].master_data

    async def _similar(self, text: str) -> list[Match]:
        wanted = squeezed(re.sub(r"\s", "", text))
        if not wanted:
            return []
        pairs = dict(await self._reader.spelled_like(wanted, MATCHES_MAX))
        owners = await self._reader.objects(pairs)
        found = _one_per_flow(
            Match(f"{_words(r.kind)} number or key, as {pairs[r.id]!r}", r.root_id, r.id)
            for r in sorted(owners, key=self._is_master_data)
        )
        if not found:
            parcels = await self._reader.parcels_spelled_like(wanted, MATCHES_MAX)
            found = _one_per_flow(_respelled(_of_parcel(p), p.tracking_number) for p in parcels)
        return found or await self._package_number(wanted, exactly=False)

    async def _package_number(self, text: str, *, exactly: bool = True) -> list[Match]:
        """Last, as warehouses count packages anew in each shipment: 1 is an order before it is the
        first package of many. The newest shipment first."""
        pairs = await self._reader.shipments_of_package(text, MATCHES_MAX, exactly=exactly)
        owners = {r.id: r for r in await self._reader.objects({owner for owner, _ in pairs})}
        found = [
            (Match("package number", owners[owner].root_id, owner), number)
            for owner, number in pairs
            if owner in owners
        ]
        return _one_per_flow(m if exactly else _respelled(m, number) for m, number in found)


def spellings(text: str) -> list[str]:
    """Other spellings that an index can still find, most likely first."""
    squeezed = re.sub(r"[\s-]", "", text)
    others = [text.lower(), text.upper(), squeezed, squeezed.lower(), squeezed.upper()]
    if re.fullmatch(r"[0-9a-fA-F]{32}", squeezed):
        low = squeezed.lower()
        dashed = f"{low[:8]}-{low[8:12]}-{low[12:16]}-{low[16:20]}-{low[20:]}"
        others.insert(0, dashed)
    return [spelling for spelling in dict.fromkeys(others) if spelling and spelling != text]


def _respelled(match: Match, spelling: str) -> Match:
    return Match(f"{match.matched_as}, as {spelling!r}", match.root_id, match.object_id)


def _ids_in(answer: Any) -> set[str]:
    """Ids of the objects that an answer was about."""
    if answer is None:
        return set()
    found = {getattr(answer, "id", "")}
    for descriptor, value in answer.ListFields():
        if descriptor.message_type is not None and not descriptor.is_repeated:
            found.add(getattr(value, "id", ""))
    return {value for value in found if isinstance(value, str) and value}


def _facts_in(answer: Any) -> list[str]:
    """Ids of the facts that an answer said are held."""
    receipts = [*getattr(answer, "receipts", ()), getattr(answer, "receipt", answer)]
    found = [getattr(receipt, "held_fact_id", "") for receipt in receipts]
    return [fact_id for fact_id in found if fact_id]


def _of_facts(facts: Iterable[HeldFactRecord], words: str = "held fact id") -> list[Match]:
    """The flows that held facts name, or were written in since."""
    return [Match(words, fact.root_id) for fact in facts if _is_in_flow(fact)]


def _is_in_flow(fact: HeldFactRecord) -> bool:
    """Whether a flow tells of a fact: not of one that will never be written."""
    return bool(fact.root_id) and fact.state != "DISCARDED"


def _of_parcel(parcel: ParcelRecord) -> Match:
    words = f"tracking number of {parcel.carrier_code}"
    return Match(words, parcel.order_id, parcel.shipment_id)


def _of_deliveries(records: Iterable[DeliveryRecord], prefix: str) -> list[Match]:
    return [
        Match(f"{prefix} {record.operation} at {record.endpoint}", record.root_id, record.object_id)
        for record in records
    ]


def _one_per_flow(found: Iterable[Match]) -> list[Match]:
    """The first match of each flow: a number and a key of one order are one answer."""
    first: dict[str, Match] = {}
    for match in found:
        first.setdefault(match.root_id, match)
    return list(first.values())


def _words(kind: str) -> str:
    return kind.replace("_", " ")
