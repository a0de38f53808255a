"""Freight charges as pure decisions: estimated, invoiced, disputed, approved, handed on once."""

from __future__ import annotations

from typing import Any

import pytest
from crossdock.freight.v1 import freight_pb2
from crossdock_hub.identity import Caller, Scope
from crossdock_hub.unit import Refused
from decisions import ERP, TMS, digest_of, outcome, refusal_of
from first_flow import LABELS, order, package
from freight_flow import TOTAL, FreightFlow, audit, invoice, lines, money
from hypothesis import given, settings
from hypothesis import strategies as st

OTHER = "499.99"
BROKER = Caller("broker", "CARRIER")
OTHER_CARRIER = Caller("fedex", "CARRIER", Scope(carrier_codes=frozenset({"FDXG"})))
OTHER_DESK = Caller("desk", "TMS", Scope(carrier_codes=frozenset({"FDXG"})))
EDGES = {
    ("ESTIMATED", "INVOICED"),
    ("INVOICED", "APPROVED"),
    ("INVOICED", "DISPUTED"),
    ("DISPUTED", "INVOICED"),
    ("DISPUTED", "APPROVED"),
    ("APPROVED", "DISPUTED"),
    ("APPROVED", "FINALISED"),
    *((state, "CANCELLED") for state in ("ESTIMATED", "INVOICED", "DISPUTED", "APPROVED")),
}


def test_a_charge_goes_from_estimate_to_the_books() -> None:
    """Proves the whole way: one charge, what each said of it, two events, one delivery that the
    ERP settles, and its document on the charge."""
    flow = FreightFlow()
    shipment = flow.labelled()
    charge = flow.estimate(shipment_number=shipment.number).freight_charge
    billed = flow.bill().freight_charge
    assert billed.id == charge.id
    assert flow.state("freight_charge", charge.id) == "INVOICED"
    flow.approve_charge(charge.id)
    flow.finalise(charge.id)
    (posting,) = flow.deliveries("sap")
    assert (posting.operation, posting.state) == ("post_freight_charge", "READY")
    assert posting.root_id == shipment.order_id
    flow.settle(posting, references=[("supplier_invoice", "5105600001/2026")])
    (kept,) = flow.charges()
    assert (kept.estimate.amount.amount, kept.audit.amount.amount) == ("500.00", TOTAL)
    assert [line.code for line in kept.audit.lines] == ["", "FUE", "DSC"]
    assert (kept.shipment_id, kept.shipment_number) == (shipment.id, shipment.number)
    assert (kept.business_unit, kept.ship_from_location_number) == ("retail-us", "DC1")
    assert kept.tracking_number == "1Z1"
    keys = [(each.system, each.type, each.value) for each in kept.references]
    assert keys == [
        ("upsn", "freight_invoice", "77-1"),
        ("sap", "supplier_invoice", "5105600001/2026"),
    ]
    told = [stem for stem in flow.told() if stem.startswith("freight.")]
    assert told == ["freight.charge_invoiced", "freight.charge_finalised"]


def test_an_invoice_that_nobody_expected_is_a_charge() -> None:
    """Proves that an invoice needs no estimate, that one which comes late is kept with it, and that
    another invoice for the same shipment is another charge."""
    flow = FreightFlow()
    shipment = flow.labelled()
    first = flow.bill().freight_charge
    assert (first.revision, flow.state("freight_charge", first.id)) == (1, "INVOICED")
    late = flow.estimate(tracking_number="1Z1")
    assert late.freight_charge.id == first.id
    assert flow.state("freight_charge", first.id) == "INVOICED"
    second = flow.bill(invoice("77-1B", "45.00", ())).freight_charge
    assert second.id != first.id
    assert {each.shipment_id for each in flow.charges()} == {shipment.id}


def test_each_parcel_of_a_shipment_may_have_its_charge() -> None:
    """Proves that estimates and invoices that name their parcel find each other, in any order."""
    flow = FreightFlow()
    flow.labelled(packages=2)
    for number, amount in (("1Z1", "10.00"), ("1Z2", "20.00")):
        flow.estimate(amount, tracking_number=number)
    flow.bill(invoice("B-2", "21.00", ()), "1Z2")
    flow.bill(invoice("B-1", "11.00", ()), "1Z1")
    found = {
        each.tracking_number: (each.estimate.amount.amount, each.invoice.amount.amount)
        for each in flow.charges()
    }
    assert found == {"1Z1": ("10.00", "11.00"), "1Z2": ("20.00", "21.00")}


def test_a_charge_whose_shipment_is_not_known_is_held_until_it_is() -> None:
    """Proves that neither word is lost: both are held, and written in their order once the label
    tells whose number it is."""
    flow = FreightFlow()
    assert outcome(flow.estimate(shipment_number="SHP-1").receipt) == "HELD"
    assert outcome(flow.bill().receipt) == "HELD"
    assert flow.charges() == []
    shipment = flow.labelled()
    flow.drive()
    (charge,) = flow.charges()
    assert charge.shipment_id == shipment.id
    assert charge.estimate.amount.amount == "500.00"
    assert charge.state == freight_pb2.FREIGHT_CHARGE_STATE_INVOICED
    assert flow.held() == []


def test_the_same_invoice_again_is_the_same() -> None:
    """Proves that an invoice is known by carrier and number whatever its request id."""
    flow = FreightFlow()
    flow.labelled()
    flow.bill()
    before = digest_of(flow)
    assert outcome(flow.bill().receipt) == "ALREADY_KNOWN"
    assert digest_of(flow) == before
    assert flow.told().count("freight.charge_invoiced") == 1


def test_an_amount_is_what_it_is_worth() -> None:
    """Proves that 512.40 and 512.4 are one amount: the same invoice and estimate are known, however
    their numbers are written."""
    flow = FreightFlow()
    flow.labelled()
    flow.estimate("500.00", tracking_number="1Z1")
    flow.bill()
    before = digest_of(flow)
    assert outcome(flow.estimate("500", tracking_number="1Z1").receipt) == "ALREADY_KNOWN"
    shorter = (("", "462.4"), ("FUE", "70"), ("DSC", "-20.0"))
    assert outcome(flow.bill(invoice(amount="512.4", parts=shorter)).receipt) == "ALREADY_KNOWN"
    assert digest_of(flow) == before


def test_a_sum_is_never_rounded() -> None:
    """Proves that a charge of a billionth beside the largest amount is still counted."""
    flow = FreightFlow()
    most = "999999999999999999"
    parts = [("", most)] * 99 + [("FUE", "0.000000001")]
    refusal = refusal_of(lambda: flow.bill(invoice(amount=most, parts=parts)))
    assert "add up to 98999999999999999901.000000001" in refusal.message


def test_a_carrier_that_is_no_caller_holds_nothing() -> None:
    """Proves that what is said for a carrier out of scope is refused before its parcel is looked
    for: it is not held until that arrives."""
    flow = FreightFlow()
    for say in (
        lambda: flow.bill(caller=OTHER_CARRIER),
        lambda: flow.estimate(tracking_number="1Z1", caller=OTHER_DESK),
    ):
        assert refusal_of(say).reason == "OUT_OF_SCOPE"
    assert flow.held() == []


def test_carriers_of_odd_codes_have_invoices_of_their_own() -> None:
    """Proves that two carriers never share a number because of how their codes are written."""
    flow = FreightFlow()
    _, (part,) = flow.released(order(lines=2))
    shipment = flow.pack(part, package("LPN-1", 1), package("LPN-2", 2)).shipment
    systems = []
    for code, carton in zip(("A B", "A/B"), shipment.packages, strict=True):
        request = flow.label_request(shipment.id, carton.id, f"PRO {code}")
        request.label.carrier_code = code
        flow.call(f"{LABELS}/CreateLabel", request, BROKER)
        answer = flow.bill(number=f"PRO {code}", caller=BROKER, carrier=code)
        systems.append(answer.freight_charge.references[0].system)
    assert len(flow.charges()) == len(set(systems)) == 2
    assert all(system.startswith("a-b.") for system in systems)


def test_another_invoice_under_a_known_number_waits_for_a_dispute() -> None:
    """Proves that it replaces nothing, is held with both amounts and what to do, and corrects the
    invoice once the audit disputes it: then it is audited anew."""
    flow = FreightFlow()
    flow.labelled()
    charge = flow.bill().freight_charge
    flow.update_charge(_of(charge, audit=audit(TOTAL)), "audit", caller=TMS)
    receipt = flow.bill(invoice(amount=OTHER, parts=())).receipt
    assert outcome(receipt) == "HELD"
    assert receipt.held_because.reason == "REFERENCE_TAKEN"
    for words in ("invoice.number '77-1'", charge.id, TOTAL, OTHER, "dispute the charge"):
        assert words in receipt.held_because.message
    assert flow.charges()[0].invoice.amount.amount == TOTAL
    flow.dispute(charge.id)
    assert flow.state("freight_charge", charge.id) == "DISPUTED"
    flow.drive()
    assert flow.held() == []
    (corrected,) = flow.charges()
    assert corrected.invoice.amount.amount == OTHER
    assert corrected.state == freight_pb2.FREIGHT_CHARGE_STATE_INVOICED
    assert not corrected.HasField("audit")
    assert corrected.dispute.reason
    assert flow.told().count("freight.charge_invoiced") == 2
    assert outcome(flow.bill(invoice(amount=OTHER, parts=())).receipt) == "ALREADY_KNOWN"


@pytest.mark.parametrize("end", ["FINALISED", "CANCELLED"])
def test_nothing_corrects_what_has_ended(end: str) -> None:
    """Proves that an invoice under the number of an ended charge is held and says so, and that the
    charge stays as it was paid or given up."""
    flow = FreightFlow()
    flow.labelled()
    charge = flow.bill().freight_charge
    if end == "FINALISED":
        flow.approve_charge(charge.id)
        flow.finalise(charge.id)
    else:
        flow.cancel_charge(charge.id)
    before = digest_of(flow)
    receipt = flow.bill(invoice(amount=OTHER, parts=())).receipt
    assert f"the {end} charge" in receipt.held_because.message
    for verb in (flow.approve_charge, flow.dispute, flow.finalise, flow.cancel_charge):
        assert refusal_of(lambda verb=verb: verb(charge.id)).reason == "STATE_TRANSITION"
    assert digest_of(flow) == before


def test_the_number_of_another_parcels_invoice_is_taken() -> None:
    """Proves that one number for two shipments is a contradiction even while it is disputed."""
    flow = FreightFlow()
    flow.labelled(packages=2)
    charge = flow.bill(number="1Z1").freight_charge
    flow.dispute(charge.id)
    receipt = flow.bill(number="1Z2").receipt
    assert outcome(receipt) == "HELD"
    assert "for 1Z1" in receipt.held_because.message
    assert len(flow.charges()) == 1


def test_less_may_be_approved_than_was_invoiced() -> None:
    """Proves that the audit's amount is what goes on, and that a dispute takes approvals back."""
    flow = FreightFlow()
    flow.labelled()
    charge = flow.bill().freight_charge
    flow.approve_charge(charge.id)
    flow.dispute(charge.id, amount=money("20.00"))
    assert not flow.charges()[0].HasField("audit")
    assert refusal_of(lambda: flow.finalise(charge.id)).reason == "STATE_TRANSITION"
    flow.approve_charge(charge.id, audit("492.40", ("", "462.40"), ("FUE", "30.00")))
    done = flow.finalise(charge.id).freight_charge
    assert done.audit.amount.amount == "492.40"
    assert done.invoice.amount.amount == TOTAL


@pytest.mark.parametrize(
    ("billed", "approved", "rule"),
    [
        (TOTAL, "512.41", "at_most_invoiced"),
        (TOTAL, "-0.01", "not_below_nothing"),
        ("-20.00", "0", "at_most_invoiced"),
        ("-20.00", "-20.01", "not_below_nothing"),
    ],
)
def test_no_more_is_approved_than_was_invoiced(billed: str, approved: str, rule: str) -> None:
    """Proves that neither an approval nor a written audit pays more than the carrier asks for, or
    asks the carrier for money; and that a credit is taken as it was given."""
    flow = FreightFlow()
    flow.labelled()
    charge = flow.bill(invoice(amount=billed, parts=())).freight_charge
    before = digest_of(flow)
    told = audit(approved)
    for say, field in (
        (lambda: flow.approve_charge(charge.id, told), "audit.amount"),
        (
            lambda: flow.update_charge(_of(charge, audit=told), "audit", caller=TMS),
            "freight_charge.audit.amount",
        ),
    ):
        refusal = refusal_of(say)
        assert refusal.reason == "INVALID_FIELD"
        assert [(each.field, each.rule) for each in refusal.violations] == [(field, rule)]
        assert "an invoice of its own" in refusal.message
    assert digest_of(flow) == before
    assert flow.approve_charge(charge.id).freight_charge.audit.amount.amount == billed


def test_a_written_audit_is_what_an_approval_takes() -> None:
    """Proves that an audit may be written before it is approved, and only before."""
    flow = FreightFlow()
    flow.labelled()
    charge = flow.bill().freight_charge
    flow.update_charge(_of(charge, audit=audit("500.00")), "audit", caller=TMS)
    assert flow.approve_charge(charge.id).freight_charge.audit.amount.amount == "500.00"
    late = refusal_of(
        lambda: flow.update_charge(_of(charge, audit=audit("1.00")), "audit", caller=TMS)
    )
    assert late.reason == "STATE_TRANSITION"
    assert late.metadata["verb"] == "UpdateFreightCharge of audit"


@pytest.mark.parametrize(
    ("told", "rule", "words"),
    [
        (invoice(amount="512.41"), "sum_of_lines", "invoice.lines: add up to 512.40"),
        (
            freight_pb2.FreightInvoice(
                number="1",
                invoice_date="2026-03-09",
                amount=money("1", "CAD"),
                lines=lines(("", "1")),
            ),
            "same_currency",
            "invoice.lines[0].amount.currency: is USD",
        ),
        (
            freight_pb2.FreightInvoice(number="1", invoice_date="2026-02-30", amount=money("1")),
            "calendar_day",
            "invoice.invoice_date: '2026-02-30' is no day",
        ),
    ],
)
def test_an_invoice_that_contradicts_itself_is_refused(
    told: freight_pb2.FreightInvoice, rule: str, words: str
) -> None:
    """Proves that sums, currencies and days are checked before anything else, by field and rule."""
    flow = FreightFlow()
    refusal = refusal_of(lambda: flow.bill(told))
    assert refusal.reason == "INVALID_FIELD"
    assert [violation.rule for violation in refusal.violations] == [rule]
    assert words in refusal.message
    assert flow.held() == []


def test_an_audit_in_another_currency_is_refused() -> None:
    """Proves that what is paid and disputed is of the invoice's currency."""
    flow = FreightFlow()
    flow.labelled()
    charge = flow.bill().freight_charge
    euros = refusal_of(lambda: flow.approve_charge(charge.id, audit("1", currency="EUR")))
    assert "audit.amount.currency: is EUR, the invoice is in USD" in euros.message
    disputed = refusal_of(lambda: flow.dispute(charge.id, amount=money("1", "EUR")))
    assert "dispute.amount.currency" in disputed.message
    assert flow.state("freight_charge", charge.id) == "INVOICED"


@pytest.mark.parametrize(
    ("caller", "field", "owner"),
    [
        (TMS, "invoice", "CARRIER"),
        (TMS, "vendor_bill", "ERP"),
        (TMS, "state", "HUB"),
        (ERP, "audit", "TMS"),
        (ERP, "estimate", "TMS"),
    ],
)
def test_nobody_writes_what_another_owns(caller: Any, field: str, owner: str) -> None:
    """Proves that a foreign field is refused with field, owner and the line of the rule."""
    flow = FreightFlow()
    flow.labelled()
    charge = flow.bill().freight_charge
    refusal = refusal_of(lambda: flow.update_charge(_of(charge), field, caller=caller))
    assert refusal.reason == "FIELD_NOT_OWNED"
    assert refusal.metadata["field"] == f"freight_charge.{field}"
    assert refusal.metadata["owner"] == owner
    assert "freight.proto:" in refusal.metadata["rule"]


@pytest.mark.parametrize("known", ["nothing", "estimate", "invoice"])
def test_a_carrier_bills_for_itself_alone(known: str) -> None:
    """Proves that an endpoint of another carrier can neither bill nor estimate a charge outside of
    its scope, whatever is known of it, and changes nothing by trying."""
    flow = FreightFlow()
    flow.labelled()
    if known == "estimate":
        flow.estimate(tracking_number="1Z1")
    if known == "invoice":
        flow.bill()
    before = digest_of(flow)
    for say in (
        lambda: flow.bill(caller=OTHER_CARRIER),
        lambda: flow.estimate(tracking_number="1Z1", caller=OTHER_DESK),
    ):
        assert refusal_of(say).reason in ("OUT_OF_SCOPE", "OBJECT_NOT_FOUND")
    assert digest_of(flow) == before
    assert flow.held() == []


def test_a_charge_is_decided_at_the_revision_that_was_read() -> None:
    """Proves that an approval of what has changed meanwhile is refused as stale."""
    flow = FreightFlow()
    flow.labelled()
    charge = flow.bill().freight_charge
    flow.estimate(tracking_number="1Z1")
    assert refusal_of(lambda: flow.approve_charge(charge.id, revision=1)).reason == "STALE_REVISION"
    flow.approve_charge(charge.id, revision=2)


def test_a_charge_that_no_erp_books_is_seen() -> None:
    """Proves that money does not vanish where no ERP in scope offers the posting."""
    flow = FreightFlow(books=False)
    shipment = flow.labelled()
    charge = flow.bill().freight_charge
    flow.approve_charge(charge.id)
    flow.finalise(charge.id)
    posting = flow.deliveries(operation="post_freight_charge")[-1]
    assert (posting.state, posting.root_id) == ("UNROUTED", shipment.order_id)


STEPS = st.lists(
    st.sampled_from(
        [
            "estimate",
            "estimate other",
            "bill",
            "bill other",
            "approve",
            "dispute",
            "finalise",
            "cancel",
        ]
    ),
    max_size=14,
)


@given(steps=STEPS)
@settings(max_examples=150, deadline=None)
def test_whatever_is_said_a_charge_keeps_to_its_states(steps: list[str]) -> None:
    """Proves for any order of words: states move along the declared edges alone, a refused verb
    changes nothing, an invoice is on one charge or held and never lost, what ended stays, and each
    FINALISED charge is told and given to the ERP once."""
    flow = FreightFlow()
    flow.labelled()
    for step in steps:
        before = {charge.id: charge for charge in flow.charges()}
        digest = digest_of(flow)
        refused = _say(flow, step)
        assert not refused or digest_of(flow) == digest
        flow.drive()
        for charge in flow.charges():
            _check_move(before.get(charge.id), charge)
        _check_books(flow)
    numbers = [each.invoice.number for each in flow.charges() if each.HasField("invoice")]
    assert numbers == ["77-1"] * any("bill" in step for step in steps)


def _say(flow: FreightFlow, step: str) -> bool:
    """Whether it was refused. Verbs are about the oldest charge."""
    if step.startswith("estimate"):
        flow.estimate("500.00" if step == "estimate" else OTHER, tracking_number="1Z1")
        return False
    if step.startswith("bill"):
        told = invoice() if step == "bill" else invoice(amount=OTHER, parts=())
        receipt = outcome(flow.bill(told).receipt)
        assert receipt in ("APPLIED", "HELD", "ALREADY_KNOWN")
        return False
    found = flow.charges()
    if not found:
        return False
    verb = {
        "approve": flow.approve_charge,
        "dispute": flow.dispute,
        "finalise": flow.finalise,
        "cancel": flow.cancel_charge,
    }[step]
    try:
        verb(found[0].id)
    except Refused as refused:
        assert refused.refusal.reason == "STATE_TRANSITION"
        return True
    return False


def _check_move(before: Any, after: Any) -> None:
    if before is None:
        assert _named(after) in ("ESTIMATED", "INVOICED")
        return
    if before.state != after.state:
        # A correction that was held follows its dispute at once.
        moved = {(_named(before), _named(after))}
        assert moved <= EDGES | {("APPROVED", "INVOICED"), ("INVOICED", "INVOICED")}
    if _named(before) in ("FINALISED", "CANCELLED"):
        for part in ("estimate", "invoice", "audit"):
            assert getattr(before, part) == getattr(after, part)
    if _named(after) in ("APPROVED", "FINALISED"):
        assert after.audit.amount == after.invoice.amount


def _check_books(flow: FreightFlow) -> None:
    done = [each.id for each in flow.charges() if _named(each) == "FINALISED"]
    told = [event.object_id for event in flow.events if event.stem == "freight.charge_finalised"]
    posted = [record.object_id for record in flow.deliveries("sap", "post_freight_charge")]
    assert sorted(done) == sorted(told) == sorted(posted)


def _named(charge: Any) -> str:
    return freight_pb2.FreightChargeState.Name(charge.state).removeprefix("FREIGHT_CHARGE_STATE_")


def _of(charge: Any, **fields: Any) -> freight_pb2.FreightCharge:
    """A patch of a charge."""
    return freight_pb2.FreightCharge(id=charge.id, **fields)
