"""Which charge an estimate is of: none that has ended, and none that is picked from several."""

from __future__ import annotations

from typing import Any

import pytest
from decisions import digest_of, outcome, refusal_of
from freight_flow import FreightFlow, invoice


def estimates(flow: FreightFlow) -> dict[str, str]:
    """The expected amount of each charge that waits for its invoice, by parcel."""
    return {
        each.tracking_number: each.estimate.amount.amount
        for each in flow.charges()
        if flow.state("freight_charge", each.id) == "ESTIMATED"
    }


def ended(end: str) -> tuple[FreightFlow, Any]:
    """A shipment whose one charge was estimated at 500.00, invoiced, and has ended so."""
    flow = FreightFlow()
    flow.labelled()
    flow.estimate(tracking_number="1Z1")
    charge = flow.bill().freight_charge
    if end == "FINALISED":
        flow.approve_charge(charge.id)
        flow.finalise(charge.id)
    else:
        flow.cancel_charge(charge.id)
    return flow, flow.charges()[0]


@pytest.mark.parametrize("end", ["FINALISED", "CANCELLED"])
def test_an_estimate_after_the_end_is_of_another_charge(end: str) -> None:
    """Proves that what has ended keeps its estimate, and that the new one waits for an invoice of
    its own and meets it."""
    flow, before = ended(end)
    answer = flow.estimate("45.00", tracking_number="1Z1")
    assert outcome(answer.receipt) == "APPLIED"
    assert answer.freight_charge.id != before.id
    assert flow.charges()[0] == before
    assert estimates(flow) == {"1Z1": "45.00"}
    balance = flow.bill(invoice("77-1B", "44.00", ())).freight_charge
    assert balance.id == answer.freight_charge.id
    assert flow.charges()[0] == before


def test_the_estimate_of_what_is_booked_expects_nothing_more() -> None:
    """Proves that the same estimate told again after the end is known, and makes no charge for
    which nobody will ever send an invoice."""
    flow, _ = ended("FINALISED")
    before = digest_of(flow)
    assert outcome(flow.estimate("500", tracking_number="1Z1").receipt) == "ALREADY_KNOWN"
    assert digest_of(flow) == before


@pytest.mark.parametrize("state", ["ESTIMATED", "INVOICED"])
def test_an_estimate_of_several_parcels_has_to_name_one(state: str) -> None:
    """Proves that an estimate without a number overwrites no parcel's at random: it is refused by
    field and rule, and says what to name."""
    flow = FreightFlow()
    shipment = flow.labelled(packages=2)
    for number, amount in (("1Z1", "10.00"), ("1Z2", "20.00")):
        flow.estimate(amount, tracking_number=number)
        if state == "INVOICED":
            flow.bill(invoice(f"B-{number}", amount, ()), number)
    before = digest_of(flow)
    for where in ({"shipment_id": shipment.id}, {"shipment_number": shipment.number}):
        refusal = refusal_of(lambda where=where: flow.estimate("30.00", **where))
        assert refusal.reason == "INVALID_FIELD"
        (violation,) = refusal.violations
        assert (violation.field, violation.rule) == ("tracking_number", "one_charge")
        assert "name the parcel" in refusal.message
    assert digest_of(flow) == before
    flow.estimate("11.00", tracking_number="1Z2")
    changed = {each.tracking_number: each.estimate.amount.amount for each in flow.charges()}
    assert changed == {"1Z1": "10.00", "1Z2": "11.00"}


def test_one_charge_needs_no_number() -> None:
    """Proves that who names no parcel means the one charge that waits, also beside one that is
    invoiced, and that who names one names the charge."""
    flow = FreightFlow()
    shipment = flow.labelled(packages=2)
    flow.estimate("100.00", shipment_id=shipment.id)
    flow.estimate("10.00", tracking_number="1Z1")
    assert estimates(flow) == {"1Z1": "10.00"}
    flow.estimate("20.00", tracking_number="1Z2")
    flow.bill(invoice("B-1", "10.00", ()), "1Z1")
    flow.estimate("30.00", shipment_id=shipment.id)
    assert estimates(flow) == {"1Z2": "30.00"}
