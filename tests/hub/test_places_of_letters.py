"""Where in a payload something could not be read, as who looks at dead letters is told it."""

from __future__ import annotations

import pytest
from crossdock.dead_letter.v1 import dead_letter_service_pb2
from crossdock.endpoint.v1 import held_fact_pb2
from crossdock.types.v1 import types_pb2
from crossdock_adapters.sdk.layout_files import LayoutError
from crossdock_adapters.sdk.places import Unreadable
from crossdock_hub.delivery.causes import held_place
from crossdock_hub.records import HeldFactRecord
from fixtures_hub import Lane, RunningHub
from hypothesis import example, given
from hypothesis import strategies as st
from story import Story, request_id
from typed_commands import typed


def held(reason: str, content_type: str = "application/json", method: str = "") -> HeldFactRecord:
    """A payload that is held for a reason; of a method a fact."""
    return HeldFactRecord(
        id="1", endpoint="erp", method=method, payload=b"", content_type=content_type,
        refusal=types_pb2.Refusal(message=reason).SerializeToString(), state="HELD", awaits="",
        request_id="", created_at=0, traceparent="",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("reason", "place"),
    [
        (str(Unreadable("is no number", "/lines/0/quantity")), "/lines/0/quantity"),
        ("item: /weight: is no number", "/weight"),
        ("/Items/Item[2] (line 2, column 40): no", "/Items/Item[2] (line 2, column 40)"),
        ("segment 7 (B10), element 2: is missing", "segment 7 (B10), element 2"),
        ("segment 8: the payload ends before its terminator", "segment 8"),
        ("ack/first.ack: line 2, cell 3, number: is no number", "line 2, cell 3, number"),
        (str(LayoutError("is too short", 3)), "line 3"),
        ("ERP_ITEM_OUT.WEIGHT: is no number", "ERP_ITEM_OUT.WEIGHT"),
        ("unit 'STONE' of the ERP has no row", ""),
        ("/orders/4111111111111111: is not known", ""),
        ("/customers/ada@lovelace.example: is not known", ""),
        ("GET https://erp.example/orders/SO-1 answers 404", ""),
        ("customer 'Bob: /Ada-Lovelace: ' has no row", ""),
        ("no row for Bob: ADA.LOVELACE: is not known", ""),
        ("customer: ADA.LOVELACE: is not known", ""),
        ("/orders/4111111111111111: /Ada: is not known", ""),
        ("/lines/1/item~1x: is bad: /Ada: is not known", ""),
    ],
)  # fmt: skip
def test_a_place_is_what_adapters_call_one(reason: str, place: str) -> None:
    """Proves that places in JSON, XML, X12, files and tables are found as adapters tell them, and
    that neither values nor addresses are taken for one."""
    assert held_place(held(reason)) == place


def test_neither_a_files_name_nor_a_facts_reason_is_a_place() -> None:
    """Proves that the path of a file is none in it, and that what is no payload has none."""
    assert held_place(held("/ack/SO-1.ack: has no last record", "text/plain")) == ""
    assert held_place(held("/lines/0: is missing", method="/crossdock.order.v1/Create")) == ""


@example("x: line 3: ")
@given(st.text(min_size=1))
def test_a_place_never_repeats_what_stood_there(value: str) -> None:
    """Proves that a reason which names a place, and then whatever the payload says, gives the place
    alone."""
    assert held_place(held(f"/lines/3/unit: {value!r} has no row")) == "/lines/3/unit"


@example("Bob: line 3: x")
@example("Bob: /Ada: x")
@given(st.text(min_size=1))
def test_a_value_is_never_taken_for_a_place(value: str) -> None:
    """Proves that a reason which names no place that can be told gives none, whatever of the
    payload it goes on with."""
    assert held_place(held(f"customer {value!r} has no row")) == ""
    for unreadable in ("/lines/1/item~1x", "/orders/4111111111111111", "line x"):
        assert held_place(held(f"{unreadable}: {value}: so far")) == ""


async def test_the_list_says_where_the_newest_failed(hub: RunningHub, lane: Lane) -> None:
    """Proves that payloads which fail alike at different places are one group that says the newest
    place, as data and in `crossdock dead-letters list`, and that it goes with the last of them."""
    async with Story(hub, lane) as story:
        ids = []
        for line in (1, 3):
            request = held_fact_pb2.HoldPayloadRequest(
                request_id=request_id(), payload=b"%d" % line, content_type="application/json",
                source="/pigeon/orders", reason=f"/lines/{line}/quantity: is no number",
            )  # fmt: skip
            answer = await story.erp.endpoints.HoldPayload(request)
            ids.append(answer.receipt.held_fact_id)
        asked = dead_letter_service_pb2.ListDeadLettersRequest(endpoint=lane.erp)
        (group,) = (await story.operator.dead_letters.ListDeadLetters(asked)).groups
        assert (group.open_count, group.reason, group.place) == (
            2, "#: is no number", "/lines/3/quantity",
        )  # fmt: skip
        told = await typed(hub, "dead-letters", "list", "--endpoint", lane.erp)
        assert "INVALID_FIELD at /lines/3/quantity:" in told
        told = await typed(hub, "dead-letters", "show", group.id)
        assert "at /lines/3/quantity:" in told
        for fact in reversed(ids):
            discard = dead_letter_service_pb2.DiscardHeldFactRequest(
                request_id=request_id(), held_fact_id=fact, reason="a test of theirs"
            )
            await story.operator.dead_letters.DiscardHeldFact(discard)
            if fact != ids[0]:
                (group,) = (await story.operator.dead_letters.ListDeadLetters(asked)).groups
                assert group.place == "/lines/1/quantity"
