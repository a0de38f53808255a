"""Returns as pure decisions: authorised once, received as authorised, told to whoever must act."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from crossdock.returns.v1 import return_events_pb2, return_pb2, return_service_pb2
from crossdock_hub.archive import settling
from crossdock_hub.archive.records import key_of
from crossdock_hub.config import Limits
from crossdock_hub.identity import Caller, Scope
from crossdock_hub.objects import receipts
from crossdock_hub.reading.verdict import judge
from crossdock_hub.unit import Refused
from decisions import CARRIER, CONTRACT, ERP, OPERATIONS, outcome, refusal_of, request_id
from first_flow import each, order, package
from hypothesis import given, settings
from hypothesis import strategies as st
from returned_flow import RETURNS, ReturnedFlow, customer_return
from stored_flow import chain_of, situations_of

FLOW_TABLES = (
    "objects", "events", "deliveries", "attempts", "operator_words", "scans", "requests",
)  # fmt: skip
ENDED = {"RECEIVED", "CLOSED", "CANCELLED"}
OTHER_CARRIER = Caller("fedex", "CARRIER", Scope(carrier_codes=frozenset({"FDXG"})))
SECOND_ERP = Caller("sap", "ERP")
# What a story does with one return of line 1, of which three may come back.
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("receive"), st.sampled_from("ABC"), st.integers(1, 4), st.booleans()),
        st.tuples(st.just("send_back"), st.sampled_from("XY")),
        st.tuples(st.sampled_from(["CancelReturn", "CloseReturn"])),
    ),
    max_size=8,
)


@pytest.fixture
def flow() -> ReturnedFlow:
    return ReturnedFlow()


def said(flow: ReturnedFlow, root_id: str) -> str:
    """The sentence of the verdict on a flow."""
    return judge(chain_of(flow, root_id), situations_of(flow), Limits(), flow.now).sentence


def test_a_return_runs_from_authorisation_to_the_posted_receipt(flow: ReturnedFlow) -> None:
    """Proves that a return of an order is opened, brought, received in two receipts and posted
    once for each, in the flow of its order, with every number leading to it."""
    order_id = flow.shipped()
    made = flow.initiate(customer_return(order_id, lines={1: "3"}))
    assert (made.order_number, made.business_unit, made.customer_number) == (
        "SO-1",
        "retail-us",
        "C-1",
    )
    assert made.ship_from.name == "Ada Lovelace"
    flow.settle(flow.delivery("netsuite", "open_return"), references=[("customer_return", "60")])
    flow.settle(flow.delivery("manhattan", "expect_return"))
    assert said(flow, order_id) == (
        "Under way: customer return RMA-1 is INITIATED since 0 s; the customer has to send it."
    )
    assert outcome(flow.send_back().receipt) == "APPLIED"
    assert flow.state("customer_return", made.id) == "IN_TRANSIT"
    assert outcome(flow.receive(lines={1: "1"}).receipt) == "APPLIED"
    assert flow.state("customer_return", made.id) == "PARTIALLY_RECEIVED"
    assert outcome(flow.receive(receipt="RCV-2", lines={1: "2"}).receipt) == "APPLIED"
    assert flow.state("customer_return", made.id) == "RECEIVED"
    posted = flow.deliveries("netsuite", "post_return_receipt")
    assert [record.item for record in posted] == ["", "2"]
    for index, record in enumerate(posted):
        flow.settle(flow.fresh(record), references=[("material_document", f"49-{index}")])
    after = flow.object("customer_return", made.id)
    assert after.progress[0].received.value == "3"
    assert {(each.type, each.value) for each in after.references} == {
        ("customer_return", "60"),
        ("return_tracking_number", "1ZBACK"),
        ("material_document", "49-0"),
        ("material_document", "49-1"),
    }
    assert {event.root_id for event in flow.events} == {order_id}
    assert flow.told()[-3:] == ["returns.initiated", "returns.received", "returns.received"]
    assert "customer return RMA-1 is RECEIVED (60, 49-0, 49-1)" in said(flow, order_id)


def test_each_receipt_is_told_with_itself_as_the_last(flow: ReturnedFlow) -> None:
    """Proves that the event of a receipt ends with that receipt, also when it is made anew from the
    return as it is today."""
    order_id = flow.shipped()
    flow.initiate(customer_return(order_id, lines={1: "3"}))
    flow.receive(lines={1: "1"})
    flow.receive(receipt="RCV-2", lines={1: "2"})
    bodies = [event.body for event in flow.events if event.stem == "returns.received"]
    told = [return_events_pb2.ReturnReceived.FromString(body) for body in bodies]
    assert [(e.part, e.customer_return.receipts[-1].number) for e in told] == [
        ("", "RCV-1"),
        ("2", "RCV-2"),
    ]
    now = return_pb2.Return()
    now.CopyFrom(flow.all("customer_return")[0])
    receipts.as_of(now, told[0].part)
    assert [each.number for each in now.receipts] == ["RCV-1"]


def test_no_more_comes_back_than_was_shipped(flow: ReturnedFlow) -> None:
    """Proves that all returns of an order together ask for no more than has left of each line, that
    what was cancelled is free again, and that the refusal names each line and what may come."""
    order_id = flow.shipped(("3", "2"))
    first = flow.initiate(customer_return(order_id, lines={1: "2"}))
    refusal = refusal_of(
        lambda: flow.initiate(customer_return(order_id, "RMA-2", {1: "2", 2: "3"}))
    )
    assert refusal.reason == "INVALID_FIELD"
    assert [v.field for v in refusal.violations] == [
        "customer_return.lines[0].quantity",
        "customer_return.lines[1].quantity",
    ]
    assert "1 may: 3 were shipped and 2 are in other returns" in refusal.violations[0].description
    flow.initiate(customer_return(order_id, "RMA-2", {1: "1", 2: "2"}))
    flow.end("CancelReturn", first.id)
    flow.initiate(customer_return(order_id, "RMA-3", {1: "2"}))


def test_what_a_closed_return_did_not_bring_may_come_with_another(flow: ReturnedFlow) -> None:
    """Proves that of a closed return only what has come counts."""
    order_id = flow.shipped()
    made = flow.initiate(customer_return(order_id, lines={1: "3"}))
    flow.receive(lines={1: "1"})
    flow.end("CloseReturn", made.id)
    flow.initiate(customer_return(order_id, "RMA-2", {1: "2"}))
    more = customer_return(order_id, "RMA-3", {1: "1"})
    assert refusal_of(lambda: flow.initiate(more)).reason == "INVALID_FIELD"


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        ({"line_number": 7}, "line_number", "the order has no line 7"),
        ({"item_number": "SKU-2"}, "item_number", "is of SKU-1"),
        ({"quantity": each("0")}, "quantity", "above zero"),
        ({"quantity": each("-1")}, "quantity", "above zero"),
        ({"serial_numbers": ["A", "B"]}, "serial_numbers", "2 of 1 pieces"),
    ],
)
def test_a_line_that_does_not_fit_its_order_is_refused(
    flow: ReturnedFlow, change: dict[str, Any], field: str, words: str
) -> None:
    """Proves that each contradiction between a return and its order is named with its field."""
    flow.learn_item("SKU-2")
    wanted = customer_return(flow.shipped())
    row = return_pb2.ReturnLine(**change)
    wanted.lines[0].MergeFrom(row)
    refusal = refusal_of(lambda: flow.initiate(wanted))
    assert refusal.reason == "INVALID_FIELD"
    (violation,) = [v for v in refusal.violations if v.field.endswith(field)]
    assert violation.field == f"customer_return.lines[0].{field}"
    assert words in violation.description
    assert flow.all("customer_return") == []


def test_another_unit_is_not_guessed(flow: ReturnedFlow) -> None:
    """Proves that a return in another unit than was shipped is refused, not converted."""
    wanted = customer_return(flow.shipped())
    wanted.lines[0].quantity.unit = "CS"
    refusal = refusal_of(lambda: flow.initiate(wanted))
    assert (
        "is in CS; line 1 (SKU-1) was shipped in EA: say in that unit how much comes back "
        "(ConvertQuantity tells how much EA of SKU-1 that is)"
    ) in refusal.message


def test_a_line_that_left_in_two_units_comes_back_in_both(flow: ReturnedFlow) -> None:
    """Proves that of a line of which pieces and a case left, either may come back in its own unit,
    that of neither more comes back than left, whatever else does, and that a voided shipment
    counts for nothing."""
    order_id = flow.shipped(("12",))
    (part,) = flow.all("fulfillment_request")
    for number in ("SHP-CS", "SHP-VOID"):
        carton = package(f"LPN-{number}")
        carton.contents[0].quantity.unit = "CS"
        made = flow.pack(part.id, carton, number=number).shipment
        flow.manifest(number)
    flow.void(made.id)

    def wanted(number: str, quantity: str, unit: str) -> return_pb2.Return:
        found = customer_return(order_id, number, {1: quantity})
        found.lines[0].quantity.unit = unit
        return found

    refusal = refusal_of(lambda: flow.initiate(wanted("RMA-0", "2", "CS")))
    assert "2 CS of line 1 come back, and 1 may: 1 were shipped" in refusal.message
    flow.initiate(wanted("RMA-1", "1", "CS"))
    refusal = refusal_of(lambda: flow.initiate(wanted("RMA-2", "1", "CS")))
    assert "and 0 may: 1 were shipped and 1 are in other returns" in refusal.message
    flow.initiate(wanted("RMA-3", "12", "EA"))
    refusal = refusal_of(lambda: flow.initiate(wanted("RMA-4", "1", "EA")))
    assert "and 0 may: 12 were shipped and 12 are in other returns" in refusal.message


def test_only_an_order_of_which_something_has_left_comes_back(flow: ReturnedFlow) -> None:
    """Proves that a return needs goods that have left, and an order that exists."""
    order_id, _ = flow.released(order())
    refusal = refusal_of(lambda: flow.initiate(customer_return(order_id)))
    assert (refusal.reason, refusal.metadata["state"]) == ("STATE_TRANSITION", "RELEASED")
    nowhere = customer_return("11111111-1111-4111-8111-111111111111")
    refusal = refusal_of(lambda: flow.initiate(nowhere))
    assert (refusal.reason, refusal.metadata["field"]) == (
        "UNKNOWN_REFERENCE",
        "customer_return.order_id",
    )


def test_an_archived_order_says_where_it_is(flow: ReturnedFlow) -> None:
    """Proves that a return of an order that has gone to the archive is told which part has it."""
    gone = "11111111-1111-4111-8111-111111111111"
    flow.records["archived", key_of(gone)] = 7
    refusal = refusal_of(lambda: flow.initiate(customer_return(gone)))
    assert (refusal.reason, refusal.metadata["part"]) == ("ARCHIVED", "7")


def test_a_receipt_counts_once(flow: ReturnedFlow) -> None:
    """Proves that a receipt is known by its number, however its quantities are written, that other
    lines under that number are held and say what to do, and that it posts once in any case."""
    flow.initiate(customer_return(flow.shipped(), lines={1: "3"}))
    flow.receive(lines={1: "1"})
    told = len(flow.events)
    assert outcome(flow.receive(lines={1: "1"}).receipt) == "ALREADY_KNOWN"
    assert outcome(flow.receive(lines={1: "1.0"}).receipt) == "ALREADY_KNOWN"
    answer = flow.receive(lines={1: "2"}).receipt
    assert outcome(answer) == "HELD"
    assert answer.held_because.reason == "REFERENCE_TAKEN"
    assert "a number of its own" in answer.held_because.message
    assert len(flow.events) == told
    assert len(flow.deliveries("netsuite", "post_return_receipt")) == 1


def test_a_return_that_no_erp_opens_is_seen(flow: ReturnedFlow) -> None:
    """Proves that neither a return nor a receipt goes by the books: with no ERP that offers to open
    it, both are UNROUTED."""
    order_id = flow.shipped()
    flow.employ(ERP, OPERATIONS["netsuite"])
    flow.initiate(customer_return(order_id))
    flow.receive()
    for operation in ("open_return", "post_return_receipt"):
        (record,) = flow.deliveries(operation=operation)
        assert (record.state, record.endpoint, record.role) == ("UNROUTED", "", "ERP")


@pytest.mark.parametrize("operation", ["open_return", "post_return_receipt", "cancel_return"])
def test_two_erps_never_book_the_same_return(flow: ReturnedFlow, operation: str) -> None:
    """Proves that a second ERP of the same scope may not even offer what books a return."""
    refusal = refusal_of(lambda: flow.employ(SECOND_ERP, {operation: "SEARCHABLE"}))
    assert refusal.reason == "MANIFEST_REFUSED"
    assert f"netsuite would both do {operation}" in refusal.message


def test_a_carrier_speaks_of_its_own_parcels(flow: ReturnedFlow) -> None:
    """Proves that a carrier neither adds nor leaves out another one's parcels of a return, and that
    its own may be corrected."""
    made = flow.initiate(customer_return(flow.shipped()))
    refusal = refusal_of(lambda: flow.send_back(caller=OTHER_CARRIER))
    assert (refusal.reason, refusal.metadata["scope"]) == ("OUT_OF_SCOPE", "CARRIER")
    flow.send_back()
    before = flow.object("customer_return", made.id)
    own = return_pb2.ReturnParcel(carrier_code="FDXG", tracking_number="FX1")
    change = return_service_pb2.UpdateReturnRequest(
        request_id=request_id(), customer_return=return_pb2.Return(id=made.id, parcels=[own])
    )
    change.update_mask.paths.append("parcels")
    refusal = refusal_of(lambda: flow.call(f"{RETURNS}/UpdateReturn", change, OTHER_CARRIER))
    assert refusal.reason == "OUT_OF_SCOPE"
    assert flow.object("customer_return", made.id) == before
    change.customer_return.parcels[0].carrier_code = "UPSN"
    flow.call(f"{RETURNS}/UpdateReturn", change, CARRIER)
    after = flow.object("customer_return", made.id)
    assert [each.tracking_number for each in after.parcels] == ["FX1"]


def test_more_than_was_authorised_is_held_until_the_warehouse_says_that_it_is_right(
    flow: ReturnedFlow,
) -> None:
    """Proves that an excess is neither booked nor lost: held with its reason, written when the
    warehouse says it again with accept_excess, and then settled."""
    made = flow.initiate(customer_return(flow.shipped(), lines={1: "1"}))
    held = flow.receive(lines={1: "2"}).receipt
    assert outcome(held) == "HELD"
    assert "accept_excess" in held.held_because.message
    assert flow.state("customer_return", made.id) == "INITIATED"
    assert flow.deliveries("netsuite", "post_return_receipt") == []
    assert outcome(flow.receive(lines={1: "2"}, accept_excess=True).receipt) == "APPLIED"
    assert flow.object("customer_return", made.id).progress[0].received.value == "2"
    flow.drive()
    assert flow.held() == []
    assert len(flow.deliveries("netsuite", "post_return_receipt")) == 1


@pytest.mark.parametrize("told", [{"lines": {2: "1"}}, {"unit": "CS"}])
def test_another_line_or_unit_is_held_even_as_an_excess(
    flow: ReturnedFlow, told: dict[str, Any]
) -> None:
    """Proves that accept_excess speaks of quantities only."""
    flow.initiate(customer_return(flow.shipped(("3", "2")), lines={1: "1"}))
    assert outcome(flow.receive(**told, accept_excess=True).receipt) == "HELD"


def test_a_receipt_before_its_return_waits_for_it(flow: ReturnedFlow) -> None:
    """Proves that goods that come before their authorisation are held, and received with it."""
    order_id = flow.shipped()
    assert outcome(flow.receive().receipt) == "HELD"
    assert outcome(flow.send_back().receipt) == "HELD"
    made = flow.initiate(customer_return(order_id))
    flow.drive()
    assert flow.held() == []
    assert flow.state("customer_return", made.id) == "RECEIVED"
    assert [each.tracking_number for each in made.parcels] == []
    after = flow.object("customer_return", made.id)
    assert [each.tracking_number for each in after.parcels] == ["1ZBACK"]


@pytest.mark.parametrize("verb", ["CancelReturn", "CloseReturn"])
def test_goods_of_an_ended_return_are_for_a_person(flow: ReturnedFlow, verb: str) -> None:
    """Proves that goods that nobody expects any more are held, and what to do is said."""
    made = flow.initiate(customer_return(flow.shipped(), lines={1: "3"}))
    if verb == "CloseReturn":
        flow.receive()
    flow.end(verb, made.id)
    answer = flow.receive(receipt="RCV-9").receipt
    assert outcome(answer) == "HELD"
    assert "initiate another return" in answer.held_because.message


def test_a_cancel_takes_back_what_nobody_has_begun(flow: ReturnedFlow) -> None:
    """Proves that a cancelled return is not opened any more, and that what was told is told."""
    made = flow.initiate(customer_return(flow.shipped()))
    flow.settle(flow.delivery("manhattan", "expect_return"))
    flow.end("CancelReturn", made.id)
    assert flow.delivery("netsuite", "open_return").state == "SUPERSEDED"
    assert flow.delivery("manhattan", "cancel_return").state == "READY"
    assert flow.told()[-1] == "returns.cancelled"
    assert flow.object("customer_return", made.id).end_reason == "the customer keeps it"


def test_a_receipt_is_posted_after_its_return_is_open(flow: ReturnedFlow) -> None:
    """Proves that the ERP is asked for the receipt only when it has confirmed the return."""
    flow.initiate(customer_return(flow.shipped()))
    flow.receive()
    record = flow.delivery("netsuite", "post_return_receipt")
    assert (record.state, record.hold_reason) == ("HELD", "PREREQUISITE")
    flow.settle(flow.delivery("netsuite", "open_return"))
    assert flow.fresh(record).state in ("READY", "DISPATCHED")


def test_each_role_writes_its_own(flow: ReturnedFlow) -> None:
    """Proves that a return's fields are written by their owners only: the refusal names field,
    owner, writer and rule."""
    order_id = flow.shipped()
    wanted = customer_return(order_id)
    wanted.receipts.add(number="RCV-1").lines.add(line_number=1).quantity.CopyFrom(each("1"))
    refusal = refusal_of(lambda: flow.initiate(wanted))
    assert refusal.reason == "FIELD_NOT_OWNED"
    assert refusal.metadata["field"] == "customer_return.receipts"
    assert refusal.metadata["owner"] == "WMS"
    assert "return.proto:" in refusal.metadata["rule"]
    made = flow.initiate(customer_return(order_id))
    request = return_service_pb2.UpdateReturnRequest(
        request_id=request_id(), customer_return=return_pb2.Return(id=made.id, credit_memo="CM-1")
    )
    request.update_mask.paths.append("credit_memo")
    refused = refusal_of(lambda: flow.call(f"{RETURNS}/UpdateReturn", request, CARRIER))
    assert (refused.reason, refused.metadata["owner"]) == ("FIELD_NOT_OWNED", "ERP")
    flow.call(f"{RETURNS}/UpdateReturn", request, ERP)
    assert flow.object("customer_return", made.id).credit_memo == "CM-1"


def test_who_may_do_what_is_said_by_the_contract() -> None:
    """Proves that no role may write a return but the one whose word it is: all others are denied
    before anything is read."""
    callers = {
        name.rpartition("/")[2]: set(method.callers)
        for name, method in CONTRACT.methods.items()
        if name.startswith(f"/crossdock.{RETURNS}/") and method.mutating
    }
    assert callers == {
        "InitiateReturn": {"OMS"},
        "UpdateReturn": {"CARRIER", "ERP"},
        "CancelReturn": {"OMS"},
        "CloseReturn": {"OMS"},
        "ReportReturnInTransit": {"CARRIER"},
        "ReportReturnReceived": {"WMS"},
    }


def test_a_return_that_is_open_keeps_its_order_from_the_archive() -> None:
    """Proves that a delivered order stays in the database while something of it may come back."""
    rules = settling.rules_of({"order": 1.0}, {})
    held = settling.Held(newest_event=1)

    def why(state: str) -> str:
        rows: dict[str, list[Any]] = {name: [] for name in FLOW_TABLES}
        rows["objects"] = [
            {"id": "o", "root_id": "o", "kind": "order", "state": "DELIVERED", "updated_at": 1},
            {"id": "r", "root_id": "o", "kind": "customer_return", "state": state, "updated_at": 1},
        ]
        return settling.why_it_stays("order", rows, [], held, rules, 10 * settling.DAY)

    for value in return_pb2.ReturnState.DESCRIPTOR.values:
        name = value.name.removeprefix("RETURN_STATE_")
        assert why(name) == ("" if name in ENDED else settling.OPEN_OBJECT), name


@given(steps=STEPS)
@settings(max_examples=150, deadline=None)
def test_whatever_is_said_of_a_return_its_books_add_up(steps: list[Any]) -> None:
    """Proves over any story that a return never goes back, that what came is what its receipts say
    and no more than may come unless the warehouse said so, and that each receipt is told once."""
    flow = ReturnedFlow()
    made = flow.initiate(customer_return(flow.shipped(("4",)), lines={1: "3"}))
    ladder = ["INITIATED", "IN_TRANSIT", "PARTIALLY_RECEIVED", "RECEIVED", "CLOSED", "CANCELLED"]
    reached, excess = 0, False
    for step in steps:
        before = flow.state("customer_return", made.id)
        try:
            if step[0] == "receive":
                _, name, count, accept = step
                answer = flow.receive(receipt=name, lines={1: str(count)}, accept_excess=accept)
                excess |= accept and outcome(answer.receipt) == "APPLIED"
            elif step[0] == "send_back":
                flow.send_back(parcel=step[1])
            else:
                flow.end(step[0], made.id)
        except Refused:
            assert flow.state("customer_return", made.id) == before
        now = ladder.index(flow.state("customer_return", made.id))
        assert now >= reached
        reached = now
    after = flow.object("customer_return", made.id)
    came = sum(Decimal(line.quantity.value) for each in after.receipts for line in each.lines)
    assert Decimal(after.progress[0].received.value) == came
    assert came <= 3 or excess
    assert after.state != return_pb2.RETURN_STATE_CANCELLED or came == 0
    assert after.state != return_pb2.RETURN_STATE_RECEIVED or came >= 3
    assert flow.told().count("returns.received") == len(after.receipts)
    posted = flow.deliveries("netsuite", "post_return_receipt")
    assert len(posted) == len({record.item for record in posted}) == len(after.receipts)
