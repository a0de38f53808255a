"""What is told of deliveries tried for weeks, and of flows that are larger than a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from crossdock.dead_letter.v1 import dead_letter_service_pb2
from crossdock.delivery.v1 import delivery_pb2, delivery_service_pb2
from crossdock.lineage.v1 import lineage_service_pb2, posting_pb2
from crossdock_hub.config import Limits
from crossdock_hub.reading.fitting import fit
from crossdock_hub.reading.paging import room_of
from crossdock_hub.records import AttemptRecord, DeliveryRecord
from crossdock_hub.store.attempt_logs import FIRST_READ, LAST_READ, attempts_of, words_of
from databases import open_store
from first_flow import Flow, order
from hypothesis import given
from hypothesis import strategies as st
from stored_flow import Books, books, played
from story import request_id

__all__ = ["books"]

DELIVERIES = "delivery.v1.DeliveryService"
LETTERS = "dead_letter.v1.DeadLetterService"
LINEAGE = "lineage.v1.LineageService"
ROOM = room_of(Limits())
TRIES = 4_000
UNKNOWN_AT = TRIES // 2
SHOWN = 3_000
MANY_IDS = 40_000


def tried(flow: Flow, record: DeliveryRecord, times: int, **said: Any) -> None:
    """The first attempt of a delivery as often as that, with what is said of each."""
    record = flow.fresh(record)
    first: AttemptRecord = flow.records["attempt", record.id, 1]
    for number in range(1, times + 1):
        again = replace(first, token=number, number=number, **said)
        flow.records["attempt", record.id, number] = again
    after = replace(record, token=times, attempts=times)
    flow.records["delivery", record.id] = after


def waited_for_weeks() -> tuple[Flow, DeliveryRecord]:
    """A sales order whose ERP refused every connection, but one call that was never answered."""
    flow = Flow()
    flow.approve(flow.create(order()).id)
    record = flow.delivery("netsuite", "create_sales_order")
    flow.settle(record, "RETRY", code="connection_refused", reason="no connection")
    tried(flow, record, TRIES, request_excerpt="s" * SHOWN, response_excerpt="r" * SHOWN)
    key = ("attempt", record.id, UNKNOWN_AT)
    flow.records[key] = replace(flow.records[key], outcome="UNKNOWN", reason="timed out")
    return flow, record


async def test_a_delivery_that_was_refused_for_weeks_is_told(books: Books) -> None:
    """Proves that a log of thousands of attempts does not make its delivery unreadable: the answer
    fits, has both ends of the log and every call that may have done something, and counts the
    rest; and that Trace and the list of deliveries have the same room."""
    flow, record = waited_for_weeks()
    await books.keep(flow)
    get = delivery_service_pb2.GetDeliveryRequest(id=record.id)
    answer = await books.ask(f"{DELIVERIES}/GetDelivery", get)
    found = answer.delivery
    assert answer.ByteSize() <= ROOM
    numbers = [attempt.number for attempt in found.attempt_log]
    assert (numbers[0], numbers[-1]) == (1, TRIES)
    assert UNKNOWN_AT in numbers
    assert found.attempts_left_out + len(numbers) == TRIES
    assert len(numbers) <= FIRST_READ + LAST_READ + 1
    assert found.attempt_log[-1].request_excerpt, "what was tried last is told as it was"
    trace = lineage_service_pb2.TraceRequest(id=record.root_id)
    lineage = (await books.ask(f"{LINEAGE}/Trace", trace)).lineage
    assert lineage.ByteSize() <= ROOM
    every = delivery_service_pb2.ListDeliveriesRequest(with_attempts=True)
    assert (await books.ask(f"{DELIVERIES}/ListDeliveries", every)).ByteSize() <= ROOM


async def test_a_doubt_in_a_long_log_is_found(books: Books) -> None:
    """Proves that "posted twice?" knows of the one call among thousands that was never answered,
    though it reads the ends of the log only."""
    flow, record = waited_for_weeks()
    await books.keep(flow)
    asked = lineage_service_pb2.ListPostingsRequest(id=record.root_id)
    answer = await books.ask(f"{LINEAGE}/ListPostings", asked)
    (posting,) = [each for each in answer.postings if each.operation == record.operation]
    assert posting.verdict == posting_pb2.POSTING_VERDICT_IN_DOUBT
    assert [doubt.attempt for doubt in posting.doubts] == [UNKNOWN_AT]
    assert answer.ByteSize() <= ROOM


async def test_pages_of_letters_fit_and_miss_none(books: Books) -> None:
    """Proves that dead letters which together are larger than an answer come in pages that fit, and
    that together the pages have each once, in the order of the group."""
    flow = Flow()
    for index in range(12):
        flow.approve(flow.create(order(f"SO-{index}")).id)
    for record in flow.deliveries("netsuite"):
        flow.settle(record, "REJECTED", code="400", reason="no")
        tried(flow, record, 100, request_excerpt="s" * SHOWN, response_excerpt="r" * SHOWN)
        flow.pass_time(1)
    await books.keep(flow)
    listed = dead_letter_service_pb2.ListDeadLettersRequest()
    (group,) = (await books.ask(f"{LETTERS}/ListDeadLetters", listed)).groups
    asked = dead_letter_service_pb2.GetDeadLettersRequest(group_id=group.id)
    told: list[str] = []
    pages = 0
    while True:
        page = await books.ask(f"{LETTERS}/GetDeadLetters", asked)
        assert page.ByteSize() <= ROOM + group.ByteSize() + 100
        assert page.members
        told += [member.delivery.id for member in page.members]
        pages += 1
        asked.page_token = page.next_page_token
        if not page.next_page_token:
            break
    assert pages > 1
    assert sorted(told) == sorted(record.id for record in flow.deliveries("netsuite"))
    assert len(set(told)) == len(told)


async def test_a_part_of_a_large_flow_is_told_whole(tmp_path: Path) -> None:
    """Proves that a question for a parcel or a delivery of a flow with more deliveries than are
    read at once has all of that part, and says of the whole flow that it is not all."""
    store = await open_store(tmp_path)
    books = Books(store, Limits(flow_deliveries_max=3))
    try:
        flow, shipment = played()
        await books.keep(flow)
        late = max(flow.deliveries(), key=lambda record: (record.sequence, record.id))
        sold = [d for d in flow.deliveries("ups") if d.operation == "buy_label"][-1]
        for any_id, about in ((sold.item, sold), (late.id, late), (sold.vendor_reference, sold)):
            asked = lineage_service_pb2.ListPostingsRequest(id=any_id)
            answer = await books.ask(f"{LINEAGE}/ListPostings", asked)
            shown = {d.id for posting in answer.postings for d in posting.deliveries}
            assert about.id in shown, any_id
        whole = lineage_service_pb2.ListPostingsRequest(id=shipment.order_id)
        assert (await books.ask(f"{LINEAGE}/ListPostings", whole)).truncated
    finally:
        await store.close()


async def test_more_ids_than_a_statement_takes(books: Books) -> None:
    """Proves that attempts and words of more deliveries than PostgreSQL takes values (32,767) are
    read, and that what is there among them is found."""
    flow, record = waited_for_weeks()
    await books.keep(flow)
    ids = [*(request_id() for _ in range(MANY_IDS)), record.id]
    async with books.reader.snapshot() as connection:
        found = await attempts_of(connection, ids)
        assert not await words_of(connection, ids)
    assert list(found) == [record.id]


# Shortening, by itself


def message(sizes: Sequence[int]) -> delivery_pb2.Delivery:
    """A delivery with attempts of so many bytes."""
    log = [
        delivery_pb2.Attempt(number=index, request_excerpt="x" * size)
        for index, size in enumerate(sizes, 1)
    ]
    return delivery_pb2.Delivery(id="d", attempt_log=log)


@given(
    logs=st.lists(st.lists(st.integers(0, 400), max_size=90), min_size=1, max_size=4),
    room=st.integers(0, 20_000),
)
def test_shortening_leaves_the_ends_and_counts_the_rest(logs: list[list[int]], room: int) -> None:
    """Proves for any logs that nothing is lost uncounted, that the first and the last attempt stay,
    that what fits is left as it is, and that what does not fits afterwards or has nothing left to
    give way."""
    messages = [message(sizes) for sizes in logs]
    before = [delivery_pb2.Delivery.FromString(each.SerializeToString()) for each in messages]
    fit(messages, room)
    size = sum(each.ByteSize() for each in messages)
    if sum(each.ByteSize() for each in before) <= room:
        assert messages == before
    for short, whole in zip(messages, before, strict=True):
        numbers = [attempt.number for attempt in short.attempt_log]
        assert len(numbers) + short.attempts_left_out == len(whole.attempt_log)
        assert numbers[:1] == [a.number for a in whole.attempt_log][:1]
        assert numbers[-1:] == [a.number for a in whole.attempt_log][-1:]
        assert numbers == sorted(numbers)
        if size > room:
            assert len(numbers) <= 2
            assert not any(attempt.request_excerpt for attempt in short.attempt_log)


def test_the_ends_keep_what_was_said_longest() -> None:
    """Proves that excerpts go before attempts, from the middle first."""
    sizes = [100] * 80
    short = message(sizes)
    fit([short], short.ByteSize() - 1)
    said = [attempt.number for attempt in short.attempt_log if attempt.request_excerpt]
    assert said == [*range(1, 11), *range(41, 81)]
    assert not short.attempts_left_out


def test_shortening_again_changes_nothing() -> None:
    """Proves that a message which was shortened fits, and is left as it is by the same room."""
    short = message([400] * 90)
    fit([short], 5_000)
    once = delivery_pb2.Delivery.FromString(short.SerializeToString())
    fit([short], 5_000)
    assert short == once
    assert short.ByteSize() <= 5_000
