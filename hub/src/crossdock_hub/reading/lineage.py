"""One flow as a message: objects, events, deliveries, scans, postings and the verdict; pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from crossdock.contracts import Contract
from crossdock.delivery.v1 import delivery_pb2
from crossdock.lineage.v1 import lineage_pb2

from crossdock_hub.config import Limits
from crossdock_hub.delivery.postings import Posting, postings
from crossdock_hub.reading.chain import Chain, Situation
from crossdock_hub.reading.presenting import (
    delivery_message,
    enum_value,
    event_node,
    held_fact_message,
    object_node,
    scan_node,
)
from crossdock_hub.reading.verdict import judge
from crossdock_hub.records import ObjectRecord
from crossdock_hub.wording import trace_id_of


def assemble(
    chain: Chain,
    contract: Contract,
    known: Mapping[str, Situation],
    limits: Limits,
    now: int,
    *,
    sees: Callable[[ObjectRecord], bool] = lambda _record: True,
    full: Callable[[str], bool] = lambda _endpoint: True,
) -> lineage_pb2.Lineage:
    """The lineage of a flow, without query and matched_as. now: microseconds UTC.

    sees: False leaves an object out. full: False leaves out what an endpoint sent and received, and
    what is held of it.
    The verdict is on the whole flow whoever asks.
    """
    judgement = judge(chain, known, limits, now)
    first = chain.events[0].record if chain.events else None
    return lineage_pb2.Lineage(
        root_id=chain.root_id,
        verdict=enum_value(lineage_pb2.Verdict, judgement.verdict),
        sentence=judgement.sentence,
        nodes=[object_node(record, contract) for record in chain.objects if sees(record)],
        events=[event_node(event) for event in chain.events],
        deliveries=[
            delivery_message(
                record,
                known.get(record.endpoint),
                chain.attempts.get(record.id, ()),
                chain.words.get(record.id, ()),
                full=full(record.endpoint),
            )
            for record in chain.deliveries
        ],
        scans=[scan_node(scan) for scan in chain.scans],
        postings=[_posting(posting) for posting in postings(chain.deliveries, chain.attempts)],
        trace_id=trace_id_of(first.traceparent) if first is not None else "",
        held_facts=[held_fact_message(fact) for fact in chain.held if full(fact.endpoint)],
    )


def _posting(posting: Posting) -> lineage_pb2.PostingCount:
    return lineage_pb2.PostingCount(
        endpoint=posting.endpoint,
        operation=posting.operation,
        object_id=posting.object_id,
        item=posting.item,
        confirmed=posting.confirmed,
        vendor_references=[
            delivery_pb2.VendorReference(type=kind, value=number)
            for kind, numbers in posting.documents.items()
            for number in numbers
        ],
    )
