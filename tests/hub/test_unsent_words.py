"""Deliveries whose word has no code at the vendor: parked, counted, sent again in order, once."""

from __future__ import annotations

import uuid
from collections import Counter
from dataclasses import replace
from typing import Any

from crossdock.delivery.v1 import delivery_operations_service_pb2 as operations_pb2
from crossdock.delivery.v1 import delivery_pb2, delivery_service_pb2
from crossdock.mapping.v1 import mapping_pb2
from crossdock.mapping.v1 import mapping_service_pb2 as service_pb2
from crossdock.types.v1 import types_pb2
from crossdock_adapters.sdk.mappings import Code, Mappings, Meaning, Told, Topic, UnsentWord
from crossdock_hub.backfilling import backfill
from crossdock_hub.delivery import attempts, unsent
from crossdock_hub.identity import HUB
from crossdock_hub.objects import unsent_words
from crossdock_hub.objects.unsent_words import SENDABLE, prefix_of
from crossdock_hub.records import DeliveryRecord
from crossdock_hub.sending_again import REASON, send_all
from decisions import CARRIER, OPERATOR
from first_flow import Flow, order, package
from hypothesis import given, settings
from hypothesis import strategies as st

KIND = CARRIER.endpoint
WORDS = ("GROUND", "NEXT_DAY")
# The tables in which the played adapter looks for a service, the first one first.
TABLES = ("US", "")
SAY = "mapping.v1.MappingService"


def set_row(flow: Flow, word: str, table: str = "", *, preferred: bool = True) -> None:
    """An operator says which code means a service, and whether it is the one to be sent."""
    request = service_pb2.SetMappingRequest(
        request_id=str(uuid.uuid4()),
        endpoint_kind=KIND,
        topic=mapping_pb2.MAPPING_TOPIC_SERVICE_LEVEL,
        native=types_pb2.NativeCode(type=table, code=f"C-{word}"),
        meaning=mapping_pb2.Meaning(canonical=word, preferred=preferred),
        reason="the carrier said so",
    )
    flow.call(f"{SAY}/SetMapping", request, OPERATOR)


def reset_row(flow: Flow, word: str) -> None:
    """An operator takes it back; there is no default."""
    request = service_pb2.ResetMappingRequest(
        request_id=str(uuid.uuid4()),
        endpoint_kind=KIND,
        topic=mapping_pb2.MAPPING_TOPIC_SERVICE_LEVEL,
        native=types_pb2.NativeCode(code=f"C-{word}"),
        reason="the carrier was wrong",
    )
    flow.call(f"{SAY}/ResetMapping", request, OPERATOR)


class Desk:
    """A carrier's adapter with rows as old as its last heartbeat, and the carrier's own books."""

    def __init__(self) -> None:
        self.flow = Flow()
        self.mappings = Mappings()
        # Every call that did something, by what it was about.
        self.books: dict[str, list[str]] = {}
        self.bought: set[str] = set()
        self.loses_replies = False
        self.translates_look_ups = False
        self.shipments: list[str] = []
        self._driven = 0

    def pack(self, word: str) -> None:
        """A shipment of an order with this service."""
        number = f"{len(self.shipments)}"
        message = order(f"SO-{number}")
        message.service_code = word
        _, (request,) = self.flow.released(message)
        packed = self.flow.pack(request, package(f"LPN-{number}"), number=f"SHP-{number}")
        self.shipments.append(packed.shipment.id)

    def void(self, index: int) -> None:
        if index < len(self.shipments):
            shipment = self.shipments[index]
            if self.flow.state("shipment", shipment) == "PACKED":
                self.flow.void(shipment)

    def hear(self) -> None:
        """A heartbeat: the rows as the hub has them now."""
        rows = [record for key, record in self.flow.records.items() if key[0] == "mapping_row"]
        self.mappings.replace(
            Told(
                r.topic,
                Code(r.native_type, r.native_code),
                Meaning(r.canonical, preferred=r.preferred),
                True,
                r.revision,
            )
            for r in rows
            if r.endpoint_kind == KIND and r.canonical
        )

    def work(self) -> None:
        """Everything that waits to be dispatched, one after another."""
        for _ in range(60):
            waiting = [record for record in self.flow.deliveries(KIND) if record.pending]
            if not waiting:
                return
            self._attempt(waiting[0])
        raise AssertionError("deliveries go again without end")

    def _attempt(self, record: DeliveryRecord) -> None:
        begun = self.flow.begin(self.flow.dispatch(record))
        if begun.HasField("refusal"):
            return
        told = delivery_service_pb2.Completion(delivery_id=record.id, token=begun.token)
        call = begun.kind == delivery_pb2.ATTEMPT_KIND_CALL
        word = self.flow.object("order", record.root_id).service_code
        needs_code = record.operation == "buy_label" and (call or self.translates_look_ups)
        if needs_code and not self._code(word):
            missing = UnsentWord(Topic.SERVICE_LEVEL, word, TABLES)
            told.outcome, told.reason = _outcome("PARKED"), f"{word} has no code"
            told.unsent_word.topic, told.unsent_word.canonical = missing.topic, word
            told.unsent_word.native_types.extend(TABLES)
            told.unsent_word.rows_revision = missing.revision(self.mappings.told().values())
        elif not call:
            found = record.vendor_reference in self.bought
            told.outcome = _outcome("CONFIRMED" if found else "NOT_FOUND")
        else:
            self.books.setdefault(record.ordering_key, []).append(record.operation)
            self.bought.add(record.vendor_reference)
            told.outcome = _outcome("UNKNOWN" if self.loses_replies else "CONFIRMED")
            self.loses_replies = False
        self.flow.decide(
            self.flow.caller_of(record),
            "complete",
            lambda unit: attempts.complete(unit, told, []),
        )

    def _code(self, word: str) -> str:
        for table in TABLES:
            found = self.mappings.natives(Topic.SERVICE_LEVEL, table).get(word)
            if found:
                return found
        return ""

    def drive(self) -> Counter[str]:
        """What the hub does about the words that got a code since it last looked."""
        told = self.flow.satisfied[self._driven :]
        self._driven = len(self.flow.satisfied)
        places = [each.removeprefix(SENDABLE) for each in told if each.startswith(SENDABLE)]
        return sum((self._send(prefix_of(place)) for place in places), Counter())

    def restart(self) -> Counter[str]:
        """What it does when it starts: whatever is parked for a word is looked at."""
        self._driven = len(self.flow.satisfied)
        return self._send(unsent_words.prefix())

    def _send(self, prefix: str) -> Counter[str]:
        ids = self.parked(prefix)
        sent: Counter[str] = self.flow.decide(
            HUB, "parked words", lambda unit: send_all(unit, ids, REASON)
        )
        return sent

    def backfill(self) -> Counter[str]:
        ids = self.parked(unsent_words.prefix(KIND))
        found: Counter[str] = self.flow.decide(
            OPERATOR,
            "backfill",
            lambda unit: backfill(unit, ids=[], parked_ids=ids, scope=KIND, reason="mapped"),
        )
        return found

    def parked(self, prefix: str = f"{unsent_words.AWAITS}:") -> list[str]:
        return [
            record.id
            for record in self.flow.deliveries(KIND)
            if unsent.waits(record) is not None and record.awaits_word.startswith(prefix)
        ]

    def settle(self) -> None:
        """Heartbeats, time and work until nothing moves any more."""
        self.hear()
        self.drive()
        for _ in range(8):
            self.work()
            self.flow.pass_time(900)

    def picture(self) -> Any:
        """Whose label is good at the carrier in the end, and what has not ended."""
        good = [
            key
            for key, calls in self.books.items()
            if calls.count("buy_label") > calls.count("void_label")
        ]
        ended = ("CONFIRMED", "SUPERSEDED")
        left = [(r.operation, r.state) for r in self.flow.deliveries(KIND) if r.state not in ended]
        numbers = [self.shipments.index(key) for key in good]
        return sorted(numbers), left


def _outcome(name: str) -> delivery_pb2.AttemptOutcome.ValueType:
    return delivery_pb2.AttemptOutcome.Value(f"ATTEMPT_OUTCOME_{name}")


WORD = st.sampled_from(WORDS)
STEPS = st.one_of(
    st.tuples(st.just("pack"), WORD),
    st.tuples(st.just("void"), st.integers(0, 3)),
    st.tuples(st.just("row"), WORD, st.sampled_from([*TABLES, "ELSEWHERE"]), st.booleans()),
    st.sampled_from([("hear",), ("drive",), ("restart",), ("backfill",), ("lose",), ("wait",)]),
)


def play(desk: Desk, step: tuple[Any, ...]) -> None:
    match step:
        case ("pack", word):
            desk.pack(word)
        case ("void", index):
            desk.void(index)
        case ("row", word, table, preferred):
            set_row(desk.flow, word, table, preferred=preferred)
        case ("hear",):
            desk.hear()
        case ("drive",):
            desk.drive()
        case ("restart",):
            desk.restart()
        case ("backfill",):
            desk.backfill()
        case ("lose",):
            desk.loses_replies = True
        case ("wait",):
            desk.flow.pass_time(60)
    desk.work()


@settings(max_examples=100, deadline=None)
@given(st.lists(STEPS, max_size=16))
def test_deliveries_end_as_if_the_rows_had_been_there_from_the_start(
    history: list[tuple[Any, ...]],
) -> None:
    """Proves that whenever rows come, are not preferred first or in another table, reach the
    adapter late, or are met by a restart or a lost reply, the carrier has done the same in the same
    order for each shipment as if each row had been there from the start, and nothing twice; and
    that nothing stays parked for a word then."""
    late, from_the_start = Desk(), Desk()
    for word in WORDS:
        set_row(from_the_start.flow, word)
    from_the_start.hear()
    for step in history:
        play(late, step)
        if step[0] in ("pack", "void"):
            play(from_the_start, step)
    for word in WORDS:
        set_row(late.flow, word)
    late.settle()
    from_the_start.settle()
    assert late.parked() == []
    assert late.picture() == from_the_start.picture()
    assert all(len(set(calls)) == len(calls) for calls in late.books.values())


def test_it_is_parked_for_its_word_and_goes_again_when_that_has_a_code() -> None:
    """Proves that a delivery whose service has no code is parked for that word, that a row which is
    not preferred, or of another table, changes nothing, and that one which says what to send has it
    go again by itself, with a word in its history that says why."""
    desk = Desk()
    desk.pack("GROUND")
    desk.work()
    (record,) = desk.flow.deliveries(KIND, "buy_label")
    assert (record.state, record.awaits_word) == ("PARKED", f"word:{KIND}/SERVICE_LEVEL/GROUND/US|")
    set_row(desk.flow, "GROUND", preferred=False)
    set_row(desk.flow, "GROUND", "ELSEWHERE")
    set_row(desk.flow, "NEXT_DAY")
    assert desk.drive() == {"unmapped": 1}
    assert desk.flow.fresh(record) == record
    set_row(desk.flow, "GROUND", "US")
    assert desk.drive() == {"sent again": 1}
    desk.hear()
    desk.work()
    after = desk.flow.fresh(record)
    assert (after.state, after.awaits_word) == ("CONFIRMED", "")
    (word,) = desk.flow.words_about(after)
    assert (word.operator, word.verb, word.reason) == (HUB.endpoint, "RETRY", REASON)
    assert word.change == "it goes again; SERVICE_LEVEL GROUND has a code now"
    assert list(desk.books.values()) == [["buy_label"]]


def test_an_adapter_that_has_not_heard_of_the_row_is_asked_again_soon() -> None:
    """Proves that a delivery which comes between a row and its adapter's next heartbeat is not
    parked, where nothing would send it again, but retried; and one whose adapter knew the row and
    had no use for it is left to a person."""
    desk = Desk()
    set_row(desk.flow, "GROUND")
    desk.pack("GROUND")
    desk.work()
    record = desk.flow.delivery(KIND, "buy_label")
    assert (record.state, record.hold_reason) == ("HELD", "RETRY")
    desk.hear()
    knew = desk.mappings.told()
    desk.flow.pass_time(60)
    desk.mappings.replace([replace(each, meaning=Meaning("GROUND")) for each in knew.values()])
    desk.work()
    record = desk.flow.fresh(record)
    assert (record.state, record.hold_reason) == ("PARKED", "")
    assert desk.backfill()["sent again"] == 1
    desk.hear()
    desk.work()
    assert desk.flow.fresh(record).state == "CONFIRMED"


def test_what_the_carrier_may_have_done_is_looked_up_first() -> None:
    """Proves that a delivery whose reply was lost, and whose look-up was parked for its word, is
    looked up once more when the word has a code, and not bought a second time."""
    desk = Desk()
    set_row(desk.flow, "GROUND")
    desk.hear()
    desk.loses_replies = True
    desk.pack("GROUND")
    desk.work()
    record = desk.flow.delivery(KIND, "buy_label")
    assert record.state == "UNKNOWN"
    reset_row(desk.flow, "GROUND")
    desk.hear()
    desk.translates_look_ups = True
    desk.flow.pass_time(900)
    desk.work()
    assert desk.flow.fresh(record).state == "PARKED"
    set_row(desk.flow, "GROUND")
    desk.hear()
    assert desk.drive() == {"sent again": 1}
    assert desk.flow.fresh(record).state == "RESOLVING"
    desk.work()
    after = desk.flow.fresh(record)
    assert (after.state, after.attempts) == ("CONFIRMED", 1)
    assert list(desk.books.values()) == [["buy_label"]]


def test_a_person_who_sends_it_again_ends_the_wait() -> None:
    """Proves that what an operator skips, or what is parked later for something else, is not sent
    again by a row of the word that it once lacked."""
    desk = Desk()
    desk.pack("GROUND")
    desk.work()
    record = desk.flow.delivery(KIND, "buy_label")
    retry = operations_pb2.RetryDeliveryRequest(
        request_id=str(uuid.uuid4()), delivery_id=record.id, reason="try it"
    )
    desk.flow.call("delivery.v1.DeliveryOperationsService/RetryDelivery", retry, OPERATOR)
    token = desk.flow.take(desk.flow.fresh(record))
    desk.flow.complete(record, token, "PARKED", reason="the account is locked")
    set_row(desk.flow, "GROUND")
    assert desk.drive() == {}
    assert desk.flow.fresh(record).waiting_on == "the account is locked"
