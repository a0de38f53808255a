"""The verdict on a flow: what a person reads at night, and what it must never say."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from crossdock.endpoint.v1 import endpoint_service_pb2
from crossdock.lineage.v1 import lineage_pb2
from crossdock_hub.config import SECOND, Limits
from crossdock_hub.delivery.ledger import OPEN_STATES, UNSETTLED
from crossdock_hub.delivery.postings import postings
from crossdock_hub.reading.chain import Chain, Situation, StoredEvent
from crossdock_hub.reading.lineage import assemble
from crossdock_hub.reading.progress import Judgement
from crossdock_hub.reading.verdict import judge
from crossdock_hub.records import DeliveryRecord, VendorReferenceRecord
from crossdock_hub.wording import clock, duration, listed
from decisions import CONTRACT, ERP, OPERATOR, request_id
from first_flow import LABELS, Flow, scan
from hypothesis import given, settings
from hypothesis import strategies as st
from stored_flow import chain_of, situations_of

LIMITS = Limits()
SALES_ORDER = [("sales_order", "SO-77"), ("sales_order_id", "1077")]
ISSUE = [("item_fulfillment", "IF-1003"), ("item_fulfillment_id", "2003")]


def verdict(flow: Flow, root_id: str, later_seconds: float = 0) -> Judgement:
    """The verdict on a flow, now or later."""
    now = flow.now + int(later_seconds * SECOND)
    return judge(chain_of(flow, root_id), situations_of(flow), LIMITS, now)


def pause(flow: Flow, reason: str = "lunch") -> None:
    request = endpoint_service_pb2.PauseEndpointRequest(
        request_id=request_id(), endpoint="netsuite", reason=reason
    )
    flow.call("endpoint.v1.EndpointService/PauseEndpoint", request, OPERATOR)


def labelled(flow: Flow) -> str:
    """An order that is packed and has its label; returns its id."""
    flow.rounds_max = LIMITS.batch_rounds_max
    order_id, (part,) = flow.released()
    flow.settle(flow.delivery("netsuite", "create_sales_order"), references=SALES_ORDER)
    flow.settle(flow.delivery("manhattan", "release_order"))
    shipment = flow.pack(part).shipment
    sold = flow.label_request(shipment.id, shipment.packages[0].id)
    flow.settle(
        flow.delivery("ups", "buy_label"),
        references=[("tracking_number", "1Z1")],
        facts=[(f"{LABELS}/CreateLabel", sold)],
    )
    flow.settle(flow.delivery("manhattan", "print_label"))
    return order_id


def delivered(flow: Flow, issue: list[tuple[str, str]] | None = None) -> str:
    """An order played to its end; returns its id."""
    order_id = labelled(flow)
    flow.manifest()
    flow.settle(flow.delivery("netsuite", "post_goods_issue"), references=issue or ISSUE)
    flow.report(scan("DELIVERED", flow.now))
    return order_id


# Sentences


def test_a_delivered_and_posted_order_is_complete() -> None:
    """Proves that the end of the flow is told with time, poster and document number."""
    flow = Flow()
    order_id = delivered(flow)
    found = verdict(flow, order_id)
    at = clock(flow.now, flow.now)
    assert found.verdict == "COMPLETE"
    assert found.sentence == f"Complete: delivered {at}, posted to netsuite once (IF-1003)."


def test_a_new_order_waits_for_its_owner() -> None:
    """Proves that the verdict names who acts next while the ledger has nothing to do."""
    flow = Flow()
    order_id = flow.create().id
    found = verdict(flow, order_id, 180)
    assert found == Judgement(
        "UNDER_WAY", "Under way: the OMS has to approve order SO-1 since 3 min."
    )


def test_work_in_hand_is_under_way() -> None:
    """Proves that fresh work is neither late nor waiting."""
    flow = Flow()
    order_id, _ = flow.released()
    found = verdict(flow, order_id)
    assert found.verdict == "UNDER_WAY"
    assert "create_sales_order at netsuite is about to be sent" in found.sentence


def test_every_stage_names_who_acts_next() -> None:
    """Proves that warehouse and carrier are named in turn once nothing else is open."""
    flow = Flow()
    order_id, (part,) = flow.released()
    flow.settle(flow.delivery("netsuite", "create_sales_order"), references=SALES_ORDER)
    flow.settle(flow.delivery("manhattan", "release_order"))
    assert "warehouse DC1 has to pick and pack SO-1-1" in verdict(flow, order_id).sentence
    flow.pick(part)
    assert "warehouse DC1 has to pack SO-1-1" in verdict(flow, order_id).sentence
    shipment = flow.pack(part).shipment
    flow.label(shipment.id, shipment.packages[0].id)
    flow.settle(flow.delivery("ups", "buy_label"))
    flow.settle(flow.delivery("manhattan", "print_label"))
    assert "warehouse DC1 has to hand it over" in verdict(flow, order_id).sentence
    flow.manifest()
    flow.settle(flow.delivery("netsuite", "post_goods_issue"), references=ISSUE)
    assert "is with carrier UPSN" in verdict(flow, order_id).sentence
    flow.report(scan("OUT_FOR_DELIVERY", flow.now))
    assert "parcel 1Z1 was last OUT_FOR_DELIVERY" in verdict(flow, order_id).sentence


def test_waiting_behind_a_pause_names_endpoint_reason_and_needs() -> None:
    """Proves that a paused endpoint is named with who paused it, why, and what waits there."""
    flow = Flow()
    order_id, (part,) = flow.released()
    flow.settle(flow.delivery("manhattan", "release_order"))
    pause(flow)
    flow.pack(part)
    flow.manifest()
    found = verdict(flow, order_id, 180)
    assert found.verdict == "WAITING"
    assert found.sentence == (
        "Waiting on netsuite since 3 min: create_sales_order is not sent yet; "
        "endpoint is paused by operator: lunch; buy_label at ups and post_goods_issue "
        "also wait."
    )


def test_waiting_for_a_prerequisite_says_how_that_is() -> None:
    """Proves that a held delivery names what it needs and where that stands."""
    flow = Flow()
    order_id, (part,) = flow.released()
    flow.take(flow.delivery("netsuite", "create_sales_order"))
    flow.pack(part)
    flow.manifest()
    found = verdict(flow, order_id)
    assert found.verdict == "WAITING"
    assert "post_goods_issue needs create_sales_order confirmed, which is IN_FLIGHT" in (
        found.sentence
    )


def test_a_retry_says_when_and_why() -> None:
    """Proves that a call that was proven unprocessed is told with its next time and cause."""
    flow = Flow()
    order_id, _ = flow.released()
    record = flow.delivery("netsuite", "create_sales_order")
    flow.settle(record, "RETRY", retry_after=30.0, reason="connection refused")
    found = verdict(flow, order_id)
    due = clock(flow.fresh(record).due_at or 0, flow.now, seconds=True)
    assert found.sentence == (
        f"Waiting on netsuite since 0 s: create_sales_order is tried again at {due}: "
        "connection refused."
    )


def test_doubt_counts_its_look_ups() -> None:
    """Proves that an unknown outcome says which look-up comes when, and when it is made."""
    flow = Flow()
    order_id, (part,) = flow.released()
    for endpoint, operation in (
        ("netsuite", "create_sales_order"),
        ("manhattan", "release_order"),
    ):
        flow.settle(flow.delivery(endpoint, operation))
    flow.pack(part)
    record = flow.delivery("ups", "buy_label")
    flow.settle(record, "UNKNOWN", reason="the connection broke")
    found = verdict(flow, order_id, 2)
    assert found.verdict == "IN_DOUBT"
    assert found.sentence.startswith(
        "In doubt: buy_label at ups since 2 s, look-up 1 of 2 is due at "
    )
    flow.pass_time(6)
    flow.take(record)
    assert "look-up 1 of 2 is under way (the connection broke)" in verdict(flow, order_id).sentence
    early = replace(flow.fresh(record), not_found=UNSETTLED)
    flow.records["delivery", record.id] = early
    assert "a first look-up, perhaps too early to count, is" in verdict(flow, order_id).sentence


def test_a_refusal_names_reason_and_what_it_blocks() -> None:
    """Proves that a business refusal is told in the vendor's words with what cannot go on."""
    flow = Flow()
    order_id, (part,) = flow.released()
    flow.pack(part)
    flow.manifest()
    flow.settle(
        flow.delivery("netsuite", "create_sales_order"), "REJECTED", reason="customer on hold"
    )
    found = verdict(flow, order_id)
    assert found.verdict == "REFUSED"
    at = clock(flow.now, flow.now)
    assert found.sentence == (
        f"Refused by netsuite at {at}: create_sales_order: customer on hold; "
        "post_goods_issue cannot go on."
    )


def test_a_cancellation_settles_what_was_refused() -> None:
    """Proves that a refusal no longer counts once the cancellation of it is confirmed."""
    flow = Flow()
    order_id, _ = flow.released()
    flow.settle(flow.delivery("netsuite", "create_sales_order"), "REJECTED", reason="on hold")
    flow.settle(flow.delivery("manhattan", "release_order"))
    flow.cancel(order_id)
    flow.settle(flow.delivery("manhattan", "cancel_order"))
    flow.settle(flow.delivery("netsuite", "cancel_order"))
    found = verdict(flow, order_id)
    assert found.verdict == "CANCELLED"
    assert found.sentence.endswith("changed their mind; manhattan and netsuite know.")


def test_nobody_to_do_it_needs_a_person() -> None:
    """Proves that a target that no endpoint serves is not silently under way."""
    flow = Flow()
    del flow.records["endpoint", "netsuite"]
    order_id = flow.create().id
    flow.approve(order_id)
    found = verdict(flow, order_id)
    assert found.verdict == "NEEDS_PERSON"
    assert "no ERP endpoint in scope offers create_sales_order" in found.sentence


def test_parked_work_needs_a_person() -> None:
    """Proves that parked work is told with its reason, above anything that merely waits."""
    flow = Flow()
    order_id, _ = flow.released()
    flow.settle(flow.delivery("netsuite", "create_sales_order"), "PARKED", reason="which tax code?")
    found = verdict(flow, order_id, 7200)
    assert found.verdict == "NEEDS_PERSON"
    assert "is parked since 2 h: which tax code?." in found.sentence


def test_two_documents_are_posted_twice() -> None:
    """Proves that two documents of one type for one shipment are the first thing anybody reads."""
    flow = Flow()
    order_id = delivered(flow, [*ISSUE, ("item_fulfillment", "IF-1004")])
    found = verdict(flow, order_id)
    assert found.verdict == "POSTED_TWICE"
    assert found.sentence == (
        "POSTED TWICE: post_goods_issue of shipment SHP-1 was booked 2 times at netsuite "
        "(IF-1003, IF-1004); reverse all but one."
    )


def test_an_open_exception_waits_on_the_carrier() -> None:
    """Proves that a carrier's problem is not hidden behind a quiet ledger."""
    flow = Flow()
    order_id, (part,) = flow.released()
    shipment = flow.pack(part).shipment
    flow.label(shipment.id, shipment.packages[0].id)
    flow.manifest()
    for record in flow.deliveries():
        flow.settle(record)
    problem = scan("EXCEPTION", flow.now)
    problem.exception_reason = "ADDRESS_PROBLEM"
    flow.report(problem)
    found = verdict(flow, order_id)
    assert found.verdict == "WAITING"
    assert "carrier UPSN" in found.sentence
    assert "problem with parcel 1Z1 (address problem) that no later" in found.sentence


def test_a_bus_that_is_away_is_told() -> None:
    """Proves that events nobody published for a minute are told, and fresh ones are not."""
    flow = Flow()
    order_id = flow.create().id
    flow.approve(order_id)
    flow.settle(flow.delivery("netsuite", "create_sales_order"), references=SALES_ORDER)
    chain = chain_of(flow, order_id)
    unpublished = replace(chain, events=[StoredEvent(e.record, False) for e in chain.events])
    later = flow.now + 120 * SECOND
    assert (
        "Waiting on the bus since 2 min: 1 events" in judge(unpublished, {}, LIMITS, later).sentence
    )
    assert judge(unpublished, {}, LIMITS, flow.now).verdict == "UNDER_WAY"


def test_master_data_has_nothing_open() -> None:
    """Proves that an id of master data is answered too."""
    flow = Flow()
    item = flow.records["object", "item", flow.all("item")[0].id]
    found = verdict(flow, item.id)
    assert found.verdict == "COMPLETE"
    assert "item SKU-1" in found.sentence


# Messages


def test_the_message_holds_the_whole_chain() -> None:
    """Proves that nodes, events, attempts, scans and posting counts are all there."""
    flow = Flow()
    order_id = delivered(flow)
    lineage = assemble(chain_of(flow, order_id), CONTRACT, situations_of(flow), LIMITS, flow.now)
    assert lineage.verdict == lineage_pb2.VERDICT_COMPLETE
    kinds = [node.kind for node in lineage.nodes]
    assert kinds == ["order", "fulfillment_request", "shipment", "label"]
    assert order_id in lineage.nodes[2].refers_to
    stems = [event.stem for event in lineage.events]
    assert stems[0] == "order.approved"
    assert "tracking.delivered" in stems
    issue = next(d for d in lineage.deliveries if d.operation == "post_goods_issue")
    assert [attempt.number for attempt in issue.attempt_log] == [1]
    assert [scan.tracking_number for scan in lineage.scans] == ["1Z1"]
    counts = {(p.endpoint, p.operation): p.confirmed for p in lineage.postings}
    assert counts["netsuite", "post_goods_issue"] == 1


def test_what_others_sent_is_left_out() -> None:
    """Proves that an endpoint reads its own excerpts only, and objects in its scope only."""
    flow = Flow()
    order_id = delivered(flow)
    chain = chain_of(flow, order_id)
    attempts = {
        key: [replace(a, request_excerpt="sent", response_excerpt="got") for a in found]
        for key, found in chain.attempts.items()
    }
    lineage = assemble(
        replace(chain, attempts=attempts),
        CONTRACT,
        {},
        LIMITS,
        flow.now,
        sees=lambda record: record.kind != "label",
        full=lambda endpoint: endpoint == ERP.endpoint,
    )
    shown = {d.endpoint for d in lineage.deliveries for a in d.attempt_log if a.request_excerpt}
    assert shown == {"netsuite"}
    assert "label" not in {node.kind for node in lineage.nodes}


# Algebra

_ENDPOINTS = ("netsuite", "manhattan", "ups")
_OPERATIONS = ("create_sales_order", "post_goods_issue", "buy_label")
_STATES = (*sorted(OPEN_STATES), "CONFIRMED", "REJECTED", "SUPERSEDED", "UNROUTED")
_HOLDS = ("ORDER", "PREREQUISITE", "RETRY")


@st.composite
def ledgers(draw: Any) -> list[DeliveryRecord]:
    """Deliveries in any states, not only in those that the ledger's rules lead to."""
    records = []
    for index in range(draw(st.integers(0, 6))):
        state = draw(st.sampled_from(_STATES))
        documents = draw(st.lists(st.sampled_from(["D-1", "D-2"]), max_size=2))
        records.append(
            DeliveryRecord(
                id=f"00000000-0000-0000-0000-{index:012d}",
                event_id=f"event-{index}",
                event_type="crossdock.order.v1.OrderApproved",
                endpoint=draw(st.sampled_from(_ENDPOINTS)),
                operation=draw(st.sampled_from(_OPERATIONS)),
                item="",
                ordering_key="key",
                state=state,
                created_at=1_000_000 * index,
                updated_at=1_000_000 * index,
                kind="order",
                object_id="order-1",
                root_id="order-1",
                vendor_reference="A" * 20,
                sequence=f"{index:04d}",
                hold_reason=draw(st.sampled_from(_HOLDS)) if state == "HELD" else "",
                waiting_on=draw(st.sampled_from(["", "because", "two\n  lines."])),
                operation_class=draw(st.sampled_from(["", "SEARCHABLE", "KEYED", "NATURAL"])),
                due_at=draw(st.one_of(st.none(), st.integers(0, 100_000_000))),
                awaits_operation=draw(st.sampled_from(["", *_OPERATIONS])),
                supersedes=tuple(draw(st.lists(st.sampled_from(_OPERATIONS), max_size=1))),
                vendor_references=[VendorReferenceRecord("document", d) for d in documents],
                pending=state == "READY",
            )
        )
    return records


_KNOWN = {
    "netsuite": Situation("netsuite", budget=4),
    "manhattan": Situation("manhattan", "PAUSED", "stock-taking", "operator", budget=4),
}


def judged(records: list[DeliveryRecord], now: int = 50_000_000) -> Judgement:
    return judge(Chain("order-1", deliveries=records), _KNOWN, LIMITS, now)


@given(ledgers())
@settings(max_examples=300, deadline=None)
def test_any_ledger_gets_a_known_verdict_and_one_sentence(records: list[DeliveryRecord]) -> None:
    """Proves that no combination of states breaks the verdict or leaves holes in its words."""
    found = judged(records)
    assert lineage_pb2.Verdict.Value(f"VERDICT_{found.verdict}")
    assert found.sentence.endswith(".")
    assert not found.sentence.endswith("..")
    assert "\n" not in found.sentence
    assert "None" not in found.sentence
    assert "  " not in found.sentence


@given(ledgers())
@settings(max_examples=300, deadline=None)
def test_complete_means_that_nothing_is_open(records: list[DeliveryRecord]) -> None:
    """Proves that "complete" is never said over open, doubted, refused or unrouted work."""
    if judged(records).verdict == "COMPLETE":
        closed = {"CONFIRMED", "SUPERSEDED"}
        replaced = {name for record in records for name in record.supersedes}
        assert all(r.state in closed or r.operation in replaced for r in records)


@given(ledgers())
@settings(max_examples=300, deadline=None)
def test_a_second_document_is_never_hidden(records: list[DeliveryRecord]) -> None:
    """Proves that two documents of one type win over everything else that is wrong."""
    twice = any(posting.twice for posting in postings(records))
    assert (judged(records).verdict == "POSTED_TWICE") == twice


@given(ledgers(), st.integers(0, 10**12))
@settings(max_examples=200, deadline=None)
def test_time_alone_never_completes_a_flow(records: list[DeliveryRecord], later: int) -> None:
    """Proves that waiting longer makes a verdict at most worse: nothing is settled by the clock."""
    before, after = judged(records), judged(records, 50_000_000 + later)
    assert (before.verdict == "COMPLETE") == (after.verdict == "COMPLETE")
    assert not (before.verdict == "WAITING" and after.verdict == "UNDER_WAY")


@given(ledgers(), st.randoms(use_true_random=False))
@settings(max_examples=200, deadline=None)
def test_counts_do_not_depend_on_order(records: list[DeliveryRecord], random: Any) -> None:
    """Proves that postings are counted the same in whatever order the rows come."""

    def counts(rows: list[DeliveryRecord]) -> set[tuple[str, str, int, bool]]:
        return {(p.endpoint, p.operation, p.confirmed, p.twice) for p in postings(rows)}

    shuffled = records[:]
    random.shuffle(shuffled)
    assert counts(shuffled) == counts(records)


def test_the_same_document_again_is_one_posting() -> None:
    """Proves that a document found again is no second posting, and that upserts may repeat."""
    flow = Flow()
    order_id = delivered(flow)
    issue = flow.delivery("netsuite", "post_goods_issue")
    again = replace(issue, id=request_id(), event_id=request_id())
    assert not any(posting.twice for posting in postings([issue, again]))
    silent = replace(issue, vendor_references=[])
    assert any(p.twice for p in postings([silent, replace(silent, id=request_id())]))
    upsert = replace(silent, operation_class="NATURAL")
    assert not any(p.twice for p in postings([upsert, replace(upsert, id=request_id())]))
    assert verdict(flow, order_id).verdict == "COMPLETE"


@pytest.mark.parametrize(
    ("seconds", "words"), [(0, "0 s"), (59.9, "59 s"), (180, "3 min"), (7300, "2 h"), (1e6, "11 d")]
)
def test_durations_read_like_speech(seconds: float, words: str) -> None:
    """Proves that a duration is told in the largest unit that fits."""
    assert duration(int(seconds * SECOND)) == words


def test_times_carry_a_date_when_it_is_not_today() -> None:
    """Proves that yesterday's time is not read as today's, and that lists read like speech."""
    noon = 1_750_075_320 * SECOND
    assert clock(noon, noon) == "12:02 UTC"
    assert clock(noon, noon + 86_400 * SECOND) == "2025-06-16 12:02 UTC"
    assert [listed([]), listed(["a"]), listed(["a", "b", "c"])] == ["", "a", "a, b and c"]


def test_two_parcels_are_complete_when_both_are() -> None:
    """Proves that one delivered parcel of two leaves the order with the carrier."""
    flow = Flow()
    shipment = flow.labelled(packages=2)
    flow.manifest()
    for record in flow.deliveries():
        if record.state != "CONFIRMED":
            flow.settle(record)
    flow.report(scan("DELIVERED", flow.now, number="1Z1"))
    found = verdict(flow, shipment.order_id)
    assert found.verdict == "UNDER_WAY"
    assert "parcel 1Z2" in found.sentence
    flow.report(scan("DELIVERED", flow.now, number="1Z2"))
    assert verdict(flow, shipment.order_id).verdict == "COMPLETE"
