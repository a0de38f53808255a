"""What an operator may not retry a replay does not send, and the other way round."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from crossdock_hub.delivery import intervention
from crossdock_hub.delivery.intervention import Case
from crossdock_hub.records import DeliveryRecord
from crossdock_hub.replay import decisions
from crossdock_hub.replay.decisions import Candidate
from crossdock_hub.unit import Refused
from hypothesis import given, settings
from replayed_flows import (
    LIMITS,
    NOW,
    OWN_FACT,
    decide,
    delivery,
    flows,
    one,
    resubmission,
    spec,
)


def retry_refused(record: DeliveryRecord, flow: Sequence[DeliveryRecord]) -> str:
    """Why an operator may not retry a delivery; "" when that is allowed."""
    own_fact = record.operation == OWN_FACT
    case = Case(record, flow, spec(record.operation), NOW, LIMITS, own_fact)
    try:
        intervention.retry(case, not_found_at_vendor=False)
    except Refused as refused:
        return refused.refusal.message
    return ""


@settings(max_examples=500, deadline=None)
@given(flows())
def test_retry_and_replay_refuse_the_same(
    flow: tuple[list[DeliveryRecord], list[Candidate]],
) -> None:
    """Proves for any failed delivery of any class that a replay of it alone sends nothing that a
    retry refuses, and that what a replay calls superseded a retry refuses, but for one case: a
    retry takes back newer work that is about to go."""
    books, candidates = flow
    for candidate in candidates:
        here = [r for r in books if decisions.identity_of(r) == candidate.identity]
        record = decisions.standing(here)
        if record is None or record.state not in decisions.FAILED_STATES or record.resubmits:
            continue
        free = replace(candidate, policy="FREE")
        (decision,) = decide([free], books, wanted_set="FAILED")
        refused = retry_refused(record, books)
        if decision.verdict == decisions.WOULD_POST:
            assert "has what came after it" not in refused and "is newer" not in refused
            assert "took it back" not in refused
        elif "a newer state" in decision.why and not refused:
            (newer,) = [r for r in books if f"(delivery {r.id})" in decision.why]
            assert newer.state in ("READY", "DISPATCHED") or newer.hold_reason == "RETRY"
            assert newer.sequence > record.sequence


@pytest.mark.parametrize("operation", ["book", "amend", "change"])
def test_an_update_is_never_sent_over_a_later_one_whatever_its_class(operation: str) -> None:
    """Proves that neither replay nor retry sends an older state of an object after a newer one was
    confirmed, also where the vendor looks for a reference or honours a key."""
    old = delivery(5, operation, "REJECTED", on_reject="CONTINUE")
    newer = delivery(9, operation, "CONFIRMED")
    assert one(old, newer, wanted_set="FAILED").verdict == decisions.SUPERSEDED
    assert newer.id in retry_refused(old, [old, newer])
    waiting = delivery(9, operation, "HELD", hold_reason="ORDER")
    assert one(old, waiting, wanted_set="FAILED").verdict == decisions.WOULD_POST
    assert retry_refused(old, [old, waiting]) == ""


def test_a_fact_of_its_own_is_sent_after_a_later_one() -> None:
    """Proves that a refused pick goes again by replay and by retry after another pick of the same
    request was confirmed, but not after a resubmission, which carried them all."""
    old, other = delivery(5, OWN_FACT, "REJECTED"), delivery(9, OWN_FACT, "CONFIRMED")
    assert one(old, other, wanted_set="FAILED").verdict == decisions.WOULD_POST
    assert retry_refused(old, [old, other]) == ""
    closed = delivery(9, OWN_FACT, "SUPERSEDED", superseded_by="r-9")
    again = resubmission(closed, "CONFIRMED")
    assert one(old, closed, again, wanted_set="FAILED").verdict == decisions.SUPERSEDED
    assert again.id in retry_refused(old, [old, closed, again])
