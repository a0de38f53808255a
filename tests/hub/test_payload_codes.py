"""Payloads that wait for codes of the mapping service: quarantined, asked for again, never lost."""

from __future__ import annotations

import json
import uuid
from dataclasses import replace
from typing import Any

import pytest
from crossdock.endpoint.v1 import held_fact_pb2
from crossdock.fulfillment.v1 import fulfillment_pb2, fulfillment_service_pb2
from crossdock.mapping.v1 import mapping_pb2
from crossdock.mapping.v1 import mapping_service_pb2 as service_pb2
from crossdock.types.v1 import types_pb2
from crossdock_adapters.sdk.mappings import Code, Mappings, Meaning, Told, Topic, UnreadCodes
from crossdock_adapters.sdk.places import Unreadable
from crossdock_hub.backfilling import backfill
from crossdock_hub.delivery.causes import held_cause
from crossdock_hub.objects.held import RETRANSLATION, source_of
from crossdock_hub.objects.mappings import unmapped_of
from crossdock_hub.records import HeldFactRecord
from decisions import OPERATOR, WMS
from first_flow import FULFILLMENTS, Flow, at, order, seconds
from hypothesis import given, settings
from hypothesis import strategies as st

KIND = WMS.endpoint
SOURCE = "poll:messages"
ENDPOINTS = "endpoint.v1.EndpointService"
# What the codes of the histories mean once somebody says so: units, and whether a pick was short.
MEANINGS = {
    (Topic.UNIT, "STK"): "EA",
    (Topic.UNIT, "KT"): "CS",
    (Topic.REASON, "R1"): "SHORT",
    (Topic.REASON, "R2"): "PICKED",
}
# Well formed as a unit, and nothing that the warehouse could use.
ODD = "ODD"


def set_row(flow: Flow, topic: Topic, code: str, canonical: str) -> None:
    """An operator says what a code of the warehouse's means."""
    request = service_pb2.SetMappingRequest(
        request_id=str(uuid.uuid4()),
        endpoint_kind=KIND,
        topic=mapping_pb2.MappingTopic.Value(f"MAPPING_TOPIC_{topic}"),
        native=types_pb2.NativeCode(code=code),
        meaning=mapping_pb2.Meaning(canonical=canonical),
        reason="the warehouse said so",
    )
    flow.call("mapping.v1.MappingService/SetMapping", request, OPERATOR)


def reset_row(flow: Flow, topic: Topic, code: str) -> None:
    """An operator takes it back; there is no default."""
    request = service_pb2.ResetMappingRequest(
        request_id=str(uuid.uuid4()),
        endpoint_kind=KIND,
        topic=mapping_pb2.MappingTopic.Value(f"MAPPING_TOPIC_{topic}"),
        native=types_pb2.NativeCode(code=code),
        reason="the warehouse was wrong",
    )
    flow.call("mapping.v1.MappingService/ResetMapping", request, OPERATOR)


def told_codes(unread: UnreadCodes) -> held_fact_pb2.UnreadCodes:
    """Codes as the SDK tells them."""
    return held_fact_pb2.UnreadCodes(
        topic=mapping_pb2.MappingTopic.Value(f"MAPPING_TOPIC_{unread.topic}"),
        native_codes=[types_pb2.NativeCode(type=c.type, code=c.code) for c in unread.codes],
        rows_revision=unread.revision,
    )


class Desk:
    """A warehouse's adapter with a copy of the rows of its own, as old as its last heartbeat."""

    def __init__(self) -> None:
        self.flow = Flow()
        _, (self.request,) = self.flow.released(order())
        self.mappings = Mappings()
        # Times of messages count from here, however many calls come before one.
        self.start = self.flow.now

    def hear(self) -> None:
        """A heartbeat: the rows as the hub has them now."""
        rows = [record for key, record in self.flow.records.items() if key[0] == "mapping_row"]
        self.mappings.replace(
            Told(
                r.topic, Code(r.native_type, r.native_code), Meaning(r.canonical), True, r.revision
            )
            for r in rows
            if r.endpoint_kind == KIND and r.canonical
        )

    def translated(self, payload: bytes) -> fulfillment_service_pb2.ReportPickRequest:
        """Unreadable: a code has no row, or one with a word that is none for this."""
        said = json.loads(payload)
        unit = self._word(Topic.UNIT, said["unit"], ("EA", "CS"))
        reason = self._word(Topic.REASON, said["reason"], ("SHORT", "PICKED"))
        report = fulfillment_service_pb2.ReportPickRequest(
            request_id=str(uuid.uuid4()),
            fulfillment_request_id=self.request,
            pick_time=at(self.start + seconds(said["time"])),
        )
        line = fulfillment_pb2.FulfillmentLineQuantity(
            line_number=1, quantity=types_pb2.Quantity(value=str(said["quantity"]), unit=unit)
        )
        (report.short if reason == "SHORT" else report.picked).append(line)
        return report

    def _word(self, topic: Topic, code: str, known: tuple[str, ...]) -> str:
        codes = [Code("", code)]
        found = self.mappings.first(topic, codes)
        if found is None or found[1].canonical not in known:
            unread = self.mappings.unread(topic, codes)
            raise Unreadable(f"{topic} {code} has no row", "/code", unread)
        return found[1].canonical

    def take(self, payload: bytes) -> Any:
        """A message as it comes: told as a fact, or held raw."""
        try:
            report = self.translated(payload)
        except Unreadable as problem:
            assert problem.codes is not None
            return self.hold(payload, problem.codes)
        return self.flow.call(f"{FULFILLMENTS}/ReportPick", report, WMS)

    def hold(self, payload: bytes, codes: UnreadCodes | None) -> Any:
        request = held_fact_pb2.HoldPayloadRequest(
            request_id=str(uuid.uuid4()),
            payload=payload,
            source=SOURCE,
            reason="a code has no row",
            unread_codes=None if codes is None else told_codes(codes),
        )
        return self.flow.call(f"{ENDPOINTS}/HoldPayload", request, WMS)

    def try_again(self, fact: HeldFactRecord) -> None:
        """A held payload once more, and what became of it."""
        kept = held_fact_pb2.HoldPayloadRequest.FromString(fact.payload)
        report = held_fact_pb2.ReportHeldPayloadRequest(
            request_id=str(uuid.uuid4()), held_fact_id=fact.id
        )
        try:
            pick = self.translated(kept.payload)
            self.flow.call(f"{FULFILLMENTS}/ReportPick", pick, WMS)
            report.translated = True
        except Unreadable as problem:
            assert problem.codes is not None
            report.reason = str(problem)
            report.unread_codes.CopyFrom(told_codes(problem.codes))
        self.flow.call(f"{ENDPOINTS}/ReportHeldPayload", report, WMS)

    def asked(self) -> list[HeldFactRecord]:
        """What the adapter is to try again, oldest first."""
        return [f for f in self.flow.held() if f.awaits == f"{RETRANSLATION}:{SOURCE}"]

    def look(self) -> int:
        """A round of the adapter's; how many it tried."""
        asked = self.asked()
        for fact in asked:
            self.try_again(fact)
        return len(asked)

    def settle(self) -> None:
        """Heartbeats and rounds until nothing is asked for; they come to an end."""
        for _ in range(12):
            self.flow.drive()
            self.hear()
            if not self.look():
                return
        raise AssertionError("what cannot be read is asked for again without end")

    def picture(self) -> tuple[Any, int]:
        """What the hub knows of the pick, and how long after the start it was."""
        known = self.flow.object("fulfillment_request", self.request)
        pick = fulfillment_pb2.FulfillmentRequest(
            picked=known.picked, short=known.short, state=known.state
        )
        return pick, known.pick_time.instant.ToMicroseconds() - self.start


def message(time: int, unit: str = "STK", reason: str = "R2") -> bytes:
    said = {"time": time, "quantity": time, "unit": unit, "reason": reason}
    return json.dumps(said).encode()


ROWS = st.sampled_from(sorted(MEANINGS))
PICKS = st.tuples(
    st.just("take"),
    st.builds(
        message,
        st.integers(1, 9),
        st.sampled_from(["STK", "KT"]),
        st.sampled_from(["R1", "R2"]),
    ),
)
STEPS = st.one_of(
    PICKS,
    PICKS,
    st.tuples(st.just("row"), ROWS),
    st.tuples(st.just("odd"), ROWS),
    st.sampled_from([("hear",), ("drive",), ("look",), ("restart",), ("backfill",)]),
)


def play(desk: Desk, step: tuple[Any, ...]) -> None:
    match step:
        case ("take", payload):
            desk.take(payload)
        case ("row", (topic, code)):
            set_row(desk.flow, topic, code, MEANINGS[topic, code])
        case ("odd", (topic, code)):
            set_row(desk.flow, topic, code, ODD)
        case ("hear",):
            desk.hear()
        case ("drive",):
            desk.flow.drive()
        case ("look",):
            desk.look()
        case ("restart",):
            for fact in desk.flow.held():
                desk.try_again(fact)
        case ("backfill",):
            backfilled(desk)


def backfilled(desk: Desk) -> dict[str, int]:
    ids = [record.id for record in desk.flow.held() if unmapped_of(record.awaits)]
    return dict(
        desk.flow.decide(
            OPERATOR,
            "backfill",
            lambda unit: backfill(unit, ids=ids, scope=KIND, reason="mapped"),
        )
    )


@settings(max_examples=150, deadline=None)
@given(st.lists(STEPS, max_size=24))
def test_payloads_end_as_if_the_rows_had_been_there_from_the_start(
    history: list[tuple[Any, ...]],
) -> None:
    """Proves that whenever rows come, are wrong first, reach the adapter late, or are met by a
    restart, what came with codes of units and reasons ends as if each row had been there from the
    start; that nothing stays quarantined then, and that asking comes to an end before and after."""
    # The same moment with other words would be a contradiction, which the later one wins.
    moments: dict[int, bytes] = {}
    history = [
        ("take", moments.setdefault(json.loads(step[1])["time"], step[1]))
        if step[0] == "take"
        else step
        for step in history
    ]
    late, from_the_start = Desk(), Desk()
    for topic, code in MEANINGS:
        set_row(from_the_start.flow, topic, code, MEANINGS[topic, code])
    from_the_start.hear()
    for step in history:
        play(late, step)
        if step[0] == "take":
            from_the_start.take(step[1])
    late.settle()
    left = [fact for fact in late.flow.held() if unmapped_of(fact.awaits) is None]
    assert not left, "a payload waits for a person although a row is all that it lacks"
    for topic, code in MEANINGS:
        set_row(late.flow, topic, code, MEANINGS[topic, code])
    late.settle()
    assert late.flow.held() == from_the_start.flow.held() == []
    assert late.picture() == from_the_start.picture()


def test_a_payload_waits_for_its_code_and_is_counted_by_it() -> None:
    """Proves that a payload whose unit has no row is held for it with the raw pair, once, and
    counted as every quarantined fact is; that a row has its adapter asked, whose word closes it."""
    desk = Desk()
    first = desk.take(message(1))
    again = desk.take(message(1))
    (fact,) = desk.flow.held()
    assert first.receipt.held_fact_id == again.receipt.held_fact_id == fact.id
    assert fact.awaits == f"code:{KIND}/UNIT//STK"
    refusal = first.receipt.held_because
    assert (refusal.reason, dict(refusal.metadata)) == (
        "UNMAPPED_CODE",
        {"endpoint_kind": KIND, "topic": "UNIT", "type": "", "code": "STK", "source": SOURCE},
    )
    assert desk.flow.counters["unmapped_fact", KIND, "UNIT"] == 1
    set_row(desk.flow, Topic.UNIT, "KT", "CS")
    desk.flow.drive()
    assert desk.asked() == []
    set_row(desk.flow, Topic.UNIT, "STK", "EA")
    set_row(desk.flow, Topic.REASON, "R2", "PICKED")
    desk.flow.drive()
    desk.hear()
    assert desk.look() == 1
    assert desk.flow.held() == []
    assert desk.picture()[0].picked[0].quantity.unit == "EA"


@pytest.mark.parametrize("heard", [False, True], ids=["stale copy", "unusable row"])
def test_a_row_that_the_adapter_did_not_know_has_it_asked_at_once(heard: bool) -> None:
    """Proves that a payload which was read by an older copy of the rows, so that nothing would tell
    it of the new one, is asked for at once; and that one whose row its adapter knew and could not
    use waits for another word, and is not asked for without end."""
    desk = Desk()
    set_row(desk.flow, Topic.UNIT, "STK", ODD)
    if heard:
        desk.hear()
    desk.take(message(1))
    assert len(desk.asked()) == (0 if heard else 1)
    desk.settle()
    (fact,) = desk.flow.held()
    assert fact.awaits == f"code:{KIND}/UNIT//STK"
    set_row(desk.flow, Topic.UNIT, "STK", "EA")
    desk.flow.drive()
    assert len(desk.asked()) == 1


def test_a_row_that_was_taken_back_asks_for_nothing() -> None:
    """Proves that a row which had no meaning any more when what waits was looked at, or when a
    payload was held, is none: both go on waiting for the code."""
    desk = Desk()
    desk.take(message(1))
    set_row(desk.flow, Topic.UNIT, "STK", "EA")
    reset_row(desk.flow, Topic.UNIT, "STK")
    desk.flow.drive()
    desk.take(message(2))
    assert desk.asked() == []
    assert [fact.awaits for fact in desk.flow.held()] == [f"code:{KIND}/UNIT//STK"] * 2


def test_what_is_missing_next_is_waited_for_in_turn() -> None:
    """Proves that a payload with two codes without a row waits for one after the other, each
    counted while it is the one; and that a payload which fails for no code waits for a person."""
    desk = Desk()
    desk.take(message(1, reason="R1"))
    set_row(desk.flow, Topic.UNIT, "STK", "EA")
    desk.settle()
    (fact,) = desk.flow.held()
    assert (fact.awaits, fact.drives) == (f"code:{KIND}/REASON//R1", 1)
    report = held_fact_pb2.ReportHeldPayloadRequest(
        request_id=str(uuid.uuid4()), held_fact_id=fact.id, reason="it is no message"
    )
    desk.flow.call(f"{ENDPOINTS}/ReportHeldPayload", report, WMS)
    assert [held.awaits for held in desk.flow.held()] == [f"translation:{SOURCE}"]


def test_a_backfill_asks_for_payloads_and_says_how_many() -> None:
    """Proves that a backfill asks for the payloads whose code has a row, counts them as such, and
    leaves the others as they are."""
    desk = Desk()
    desk.take(message(1))
    desk.take(message(2, unit="KT"))
    desk.hold(b"no JSON", None)
    set_row(desk.flow, Topic.UNIT, "STK", "EA")
    assert backfilled(desk) == {"asked again": 1, "unmapped": 1}
    assert [fact.awaits.partition(":")[0] for fact in desk.flow.held()] == [
        "retranslation",
        "code",
        "translation",
    ]
    assert backfilled(desk) == {"unmapped": 1}


def test_any_of_its_codes_will_do() -> None:
    """Proves that a payload which gives several codes of one topic is asked for when a row comes
    for any of them."""
    for code in ("A", "B"):
        desk = Desk()
        codes = (Code("", "A"), Code("", "B"))
        desk.hold(b"x", UnreadCodes(Topic.UNIT, codes))
        set_row(desk.flow, Topic.UNIT, code, "EA")
        desk.flow.drive()
        assert len(desk.asked()) == 1


def test_it_is_one_dead_letter_whatever_it_waits_for() -> None:
    """Proves that a payload keeps its source, by which dead letters are grouped and its adapter
    finds who translates it, while it waits for a code and when it is asked for."""
    desk = Desk()
    desk.take(message(1))
    (waiting,) = desk.flow.held()
    set_row(desk.flow, Topic.UNIT, "STK", "EA")
    desk.flow.drive()
    (asked,) = desk.asked()
    assert source_of(waiting) == source_of(asked) == SOURCE
    # As lists read it: without its bytes, which may be many.
    assert held_cause(replace(waiting, payload=b"")) == held_cause(asked)
    assert held_cause(waiting).what == SOURCE
