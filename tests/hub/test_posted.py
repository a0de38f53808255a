"""What did the vendor get, and was anything posted twice: asked over the wire and typed."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import pytest
from crossdock.delivery.v1 import delivery_operations_service_pb2 as operations_pb2
from crossdock.delivery.v1 import delivery_pb2
from crossdock.errors import CallError
from crossdock.lineage.v1 import lineage_service_pb2, posting_pb2
from crossdock_hub.config import Limits
from crossdock_hub.reading.queries import Queries
from decisions import CONTRACT, ERP
from first_flow import Flow, order
from fixtures_hub import Lane, RunningHub
from fixtures_nats import eventually
from played_endpoint import ERP_OPERATIONS, PlayedEndpoint
from stored_flow import Books, books
from story import Story, request_id, unique
from test_lineage import delivered
from test_operator_commands import json_of
from typed_commands import typed

__all__ = ["books"]

UNASKABLE = {**ERP_OPERATIONS, "create_sales_order": "NONE"}
SUSPECTS = "lineage.v1.LineageService/ListDoubtfulPostings"
POSTINGS = "lineage.v1.LineageService/ListPostings"


def verdicts(found: Any) -> list[tuple[str, str]]:
    """(operation, verdict) of each posting."""
    return [
        (
            each.operation,
            posting_pb2.PostingVerdict.Name(each.verdict).removeprefix("POSTING_VERDICT_"),
        )
        for each in found.postings
    ]


async def posted(story: Story, any_id: str) -> Any:
    request = lineage_service_pb2.ListPostingsRequest(id=any_id)
    return await story.operator.lineage.ListPostings(request)


async def doubtful(story: Story, endpoint: str, **more: Any) -> Any:
    request = lineage_service_pb2.ListDoubtfulPostingsRequest(endpoint=endpoint, **more)
    return await story.operator.lineage.ListDoubtfulPostings(request)


@dataclass(frozen=True, slots=True)
class Zombie:
    """An attempt that lost its lease, the resubmission behind it, and what both booked."""

    order_id: str
    first: delivery_pb2.Dispatch
    second: delivery_pb2.Dispatch
    token: int
    late: str
    adopted: str


async def zombie(story: Story, erp: PlayedEndpoint) -> Zombie:
    """A call whose lease ran out, an operator who found nothing, and the call sent anew."""
    order_id = await story.approved()
    first = await erp.take()
    token = await erp.begin(first, lease_seconds=0.3)

    async def parked() -> bool:
        return await story.state(order_id, "create_sales_order") == "PARKED"

    await eventually(parked, "the lease's end")
    assert verdicts(await posted(story, order_id)) == [("create_sales_order", "IN_DOUBT")]
    resubmit = operations_pb2.ResubmitDeliveryRequest(
        request_id=request_id(),
        delivery_id=first.delivery_id,
        reason="looked in the ERP",
        not_found_at_vendor=True,
    )
    await story.operator.delivery_operations.ResubmitDelivery(resubmit)
    adopted = unique("SO")
    second, _ = await erp.work(references={"sales_order": adopted})
    return Zombie(order_id, first, second, token, unique("SO"), adopted)


async def test_a_zombie_behind_a_resubmission_is_found_by_either_number(
    hub: RunningHub, lane: Lane
) -> None:
    """Proves that before the first call's word came it was posted once on a person's word, and that
    after it both sales orders, both deliveries and the order lead to the same "posted TWICE", with
    every attempt, its times and its way."""
    async with Story(hub, lane) as story, PlayedEndpoint(hub, lane.erp, UNASKABLE) as erp:
        it = await zombie(story, erp)
        assert verdicts(await posted(story, it.order_id)) == [("create_sales_order", "POSTED_ONCE")]
        assert not (await doubtful(story, lane.erp)).postings
        settled = await doubtful(story, lane.erp, with_settled_doubts=True)
        assert [each.settlement for each in settled.postings[0].doubts] == [
            posting_pb2.DOUBT_SETTLEMENT_PERSON
        ]
        answer = await erp.complete(
            it.first.delivery_id, it.token, "CONFIRMED", references={"sales_order": it.late}
        )
        assert answer.refusal.reason == "LEASE_LOST"
        deliveries = (it.first.delivery_id, it.second.vendor_reference)
        for any_id in (it.order_id, it.late, it.adopted, *deliveries):
            (posting,) = (await posted(story, any_id)).postings
            assert posting.verdict == posting_pb2.POSTING_VERDICT_POSTED_TWICE, any_id
        assert it.late in posting.sentence and it.adopted in posting.sentence
        assert [(d.id, d.resubmits) for d in posting.deliveries] == [
            (it.first.delivery_id, ""),
            (it.second.delivery_id, it.first.delivery_id),
        ]
        assert [w.reason for w in posting.deliveries[0].operator_words] == ["looked in the ERP"]
        (attempt,) = posting.deliveries[1].attempt_log
        assert attempt.outcome == delivery_pb2.ATTEMPT_OUTCOME_CONFIRMED
        assert attempt.begin_time.ToMicroseconds() <= attempt.end_time.ToMicroseconds()
        assert posting.deliveries[1].dispatch_number == it.second.dispatch_number
        assert (await doubtful(story, lane.erp)).postings[0] == posting


async def test_an_operator_types_who_got_it_twice(hub: RunningHub, lane: Lane) -> None:
    """Proves that both commands tell a second posting in words, and with exit code 3."""
    async with Story(hub, lane) as story, PlayedEndpoint(hub, lane.erp, UNASKABLE) as erp:
        it = await zombie(story, erp)
        await erp.complete(
            it.first.delivery_id, it.token, "CONFIRMED", references={"sales_order": it.late}
        )
        told = await typed(hub, "posted", it.late, "--attempts", code=3)
        assert "posted TWICE: sales_order" in told
        assert f"resubmitted for {it.first.delivery_id}" in told
        assert "looked in the ERP" in told
        shown = await typed(hub, "posted-twice", "--endpoint", lane.erp, code=3)
        assert it.order_id in shown and "void one of them" in shown


async def test_an_order_is_told_with_every_endpoint_and_operation(
    hub: RunningHub, lane: Lane
) -> None:
    """Proves that an order's number answers for the whole flow, a shipment's for its own part, that
    what is not posted says why, and that the plain answer has an exit code of its own."""
    async with Story(hub, lane) as story, PlayedEndpoint(hub, lane.erp, ERP_OPERATIONS) as erp:
        made = await story.create()
        await story.approve(made.id)
        await story.release(made.id)
        number = unique("SO")
        await erp.work(references={"sales_order": number})
        once = await typed(hub, "posted", number, "--endpoint", lane.erp)
        assert f"posted once as sales_order {number} at " in once
        found = await posted(story, made.number)
        assert found.matched_as == "order number"
        assert ("create_sales_order", "POSTED_ONCE") in verdicts(found)
        assert ("release_order", "NOT_POSTED") in verdicts(found), "nobody serves the warehouse"
        whole = await typed(hub, "posted", made.number, code=1)
        assert "NOT posted: served by nobody since" in whole
        answer = await json_of(hub, "posted", number, "--endpoint", lane.erp)
        assert (answer["truncated"], answer["next_page_token"]) == (False, "")
        (document,) = answer["postings"]
        assert document["verdict"] == "POSTING_VERDICT_POSTED_ONCE"
        assert document["deliveries"][0]["attempt_log"][0]["end_time"]


async def test_doubt_is_listed_and_narrowed(hub: RunningHub, lane: Lane) -> None:
    """Proves that an open doubt is on the list with exit code 4, that time, event and endpoint
    narrow it, and that a wrong event or range is refused by its name."""
    async with Story(hub, lane) as story, PlayedEndpoint(hub, lane.erp, UNASKABLE) as erp:
        order_id = await story.approved()
        await erp.work("UNKNOWN", reason="timed out")
        found = await doubtful(story, lane.erp)
        assert [each.object_id for each in found.postings] == [order_id]
        assert found.examined >= 1
        assert found.HasField("examined_since")
        for more, count in (
            ({"event_types": ["order.approved"]}, 1),
            ({"event_types": ["shipment.manifested"]}, 0),
        ):
            assert len((await doubtful(story, lane.erp, **more)).postings) == count, more
        assert not (await doubtful(story, "netsuite")).postings
        request = lineage_service_pb2.ListDoubtfulPostingsRequest(endpoint=lane.erp)
        request.until.FromMicroseconds(round((time.time() - 3_600) * 1e6))
        assert not (await story.operator.lineage.ListDoubtfulPostings(request)).postings
        words = ("posted-twice", "--endpoint", lane.erp)
        assert "NOBODY KNOWS" in await typed(hub, *words, code=4)
        assert "0 found" in await typed(hub, *words, "--until", "1h")
        assert "there is no event 'order.aproved'" in await typed(
            hub, *words, "--event", "order.aproved", code=1
        )
        request.since.CopyFrom(request.until)
        with pytest.raises(CallError) as refused:
            await story.operator.lineage.ListDoubtfulPostings(request)
        assert refused.value.refusal.violations[0].field == "until"
        # An endpoint sees its own, and no other's.
        own = await story.erp.lineage.ListDoubtfulPostings(
            lineage_service_pb2.ListDoubtfulPostingsRequest()
        )
        assert [each.object_id for each in own.postings] == [order_id]
        assert not (
            await story.wms.lineage.ListDoubtfulPostings(
                lineage_service_pb2.ListDoubtfulPostingsRequest(endpoint=lane.erp)
            )
        ).postings


async def test_an_unknown_id_says_what_was_tried(hub: RunningHub, lane: Lane) -> None:
    """Proves that an id nobody knows is refused as trace refuses it, not answered with nothing."""
    async with Story(hub, lane) as story:
        with pytest.raises(CallError) as refused:
            await posted(story, "nobody-knows-me")
        assert refused.value.refusal.reason == "OBJECT_NOT_FOUND"
        assert "tracking number" in refused.value.refusal.message


# Pages, against a database without a hub


async def keep_orders(books: Books, count: int, every: int) -> tuple[Flow, list[str]]:
    """So many orders; of every so-manieth nobody knows whether the ERP booked it."""
    flow = Flow()
    doubted = []
    for index in range(count):
        made = flow.create(order(number=f"SO-{index}"))
        flow.approve(made.id)
        (record,) = [d for d in flow.deliveries("netsuite") if d.root_id == made.id]
        flow.settle(record, "UNKNOWN" if index % every == 0 else "CONFIRMED")
        if index % every == 0:
            doubted.append(made.id)
        flow.pass_time(1)
    await books.keep(flow)
    return flow, doubted


@pytest.mark.parametrize(("examined_max", "page_size"), [(3, 100), (500, 2), (4, 1)])
async def test_pages_find_each_once_and_say_how_far_they_looked(
    books: Books, examined_max: int, page_size: int
) -> None:
    """Proves that every page ends at its limits, that pages together name each doubt once, newest
    first, and count each delivery once."""
    _, doubted = await keep_orders(books, 20, 3)
    limits = Limits(postings_examined_max=examined_max)
    books.queries = Queries(books.reader, CONTRACT, limits, books.waiters)
    request = lineage_service_pb2.ListDoubtfulPostingsRequest(page_size=page_size)
    found: list[str] = []
    examined, pages = 0, 0
    while True:
        page = await books.ask(SUSPECTS, request)
        assert page.examined <= examined_max
        assert len(page.postings) <= page_size
        found += [each.object_id for each in page.postings]
        examined, pages = examined + page.examined, pages + 1
        request.page_token = page.next_page_token
        if not page.next_page_token:
            break
    assert found == doubted[::-1]
    assert examined == 20
    assert pages > 1


async def test_postings_of_an_object_come_in_pages(books: Books) -> None:
    """Proves that pages of a flow's postings are together the whole, and that another endpoint's
    excerpts are not shown."""
    flow = Flow()
    order_id = delivered(flow)
    for key, record in flow.records.items():
        if key[0] == "attempt":
            flow.records[key] = replace(record, request_excerpt="POST /it")
    await books.keep(flow)
    whole = await books.ask(POSTINGS, lineage_service_pb2.ListPostingsRequest(id=order_id))
    assert len(whole.postings) >= 4
    request = lineage_service_pb2.ListPostingsRequest(id=order_id, page_size=1)
    found = []
    while True:
        page = await books.ask(POSTINGS, request)
        found += page.postings
        request.page_token = page.next_page_token
        if not page.next_page_token:
            break
    assert found == list(whole.postings)
    assert verdicts(whole).count(("post_goods_issue", "POSTED_ONCE")) == 1
    shipment = next(p.object_id for p in whole.postings if p.operation == "post_goods_issue")
    part = await books.ask(POSTINGS, lineage_service_pb2.ListPostingsRequest(id=shipment))
    assert "create_sales_order" not in {each.operation for each in part.postings}
    assert {"post_goods_issue", "buy_label"} <= {each.operation for each in part.postings}
    seen = await books.ask(POSTINGS, lineage_service_pb2.ListPostingsRequest(id=order_id), ERP)
    for posting in seen.postings:
        log = [a for d in posting.deliveries for a in d.attempt_log]
        own = posting.endpoint == ERP.endpoint
        assert log and all(bool(attempt.request_excerpt) == own for attempt in log), posting
