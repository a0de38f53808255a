"""Rows that come late: the end is as with rows from the start, and told is what was known."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from crossdock.tracking.v1 import tracking_pb2
from crossdock_hub.objects.lifecycle import WAY_BACK
from crossdock_hub.objects.mappings import MILESTONES
from first_flow import Flow, seconds
from hypothesis import given, settings
from hypothesis import strategies as st
from test_mappings import backfilled, coded, milestone, set_row


@dataclass(frozen=True)
class Told:
    """A scan of a history. minutes: None: the carrier could not say when."""

    code: str
    minutes: int | None
    parcel: int
    signed_by: str


@dataclass(frozen=True)
class History:
    """Codes and what they mean, scans in the order they came, and before which of them each row
    came; what is left comes after all."""

    meanings: dict[str, str]
    told: list[Told]
    row_before: dict[str, int] = field(default_factory=dict)


LETTERS = "ABCDEF"


@st.composite
def histories(draw: st.DrawFn) -> History:
    # Every other of an end or the way to it: these are what scans say about one another.
    any_of = st.sampled_from(sorted(MILESTONES)) | st.sampled_from(sorted(WAY_BACK | {"DELIVERED"}))
    meanings = {code: draw(any_of) for code in LETTERS}
    told = draw(
        st.lists(
            st.builds(
                Told,
                st.sampled_from(LETTERS),
                st.one_of(st.none(), st.integers(0, 5)),
                st.integers(1, 2),
                st.sampled_from(["", "ADA"]),
            ),
            min_size=1,
            max_size=8,
        )
    )
    late = {code: draw(st.integers(0, len(told))) for code in LETTERS if draw(st.booleans())}
    return History(meanings, told, late)


def played(history: History, *, late: bool, by_backfill: bool = False) -> Flow:
    flow = Flow()
    flow.labelled(2)
    start = flow.now
    for code, canonical in history.meanings.items():
        if not late or code not in history.row_before:
            set_row(flow, code, canonical)
    flow.drive()
    for place, told in enumerate(history.told):
        if late:
            _come(flow, history, place, by_backfill)
        time = None if told.minutes is None else start + seconds(60 * told.minutes)
        event = coded(time, told.code, number=f"1Z{told.parcel}", signed_by=told.signed_by)
        flow.report(event)
    if late:
        _come(flow, history, len(history.told), by_backfill)
    return flow


def _come(flow: Flow, history: History, place: int, by_backfill: bool) -> None:
    rows = [code for code, before in history.row_before.items() if before == place]
    for code in rows:
        set_row(flow, code, history.meanings[code])
    if rows and by_backfill:
        backfilled(flow)
    flow.drive()


def told_of(flow: Flow) -> dict[str, Any]:
    """What is known in the end, without ids, revisions and times of storing; of_deliveries: what
    was told of them, see of_deliveries."""
    scans, legs = {}, []
    for record in flow.scans:
        body = tracking_pb2.TrackingEvent.FromString(record.body)
        delivered = record.milestone == "DELIVERED"
        leg = None if delivered else body.return_leg
        scans[record.dedupe_key] = (record.milestone, body.exception_reason, leg, body.signed_by)
        if delivered:
            legs.append((record.tracking_number, record.event_time or 0, body.return_leg))
    parcels = {
        key: (record.milestone, record.milestone_time, record.exception_open)
        for key, record in flow.records.items()
        if key[0] == "parcel"
    }
    (shipment,) = flow.all("shipment")
    progress = [
        (
            row.package_id == shipment.packages[0].id,
            row.milestone,
            row.exception_open,
            row.milestone_time.ToMicroseconds(),
        )
        for row in shipment.progress
    ]
    (order,) = flow.all("order")
    proofs = sorted(
        (proof.tracking_number, proof.signed_by) for proof in flow.all("delivery_confirmation")
    )
    return {
        "scans": scans,
        "parcels": parcels,
        "shipment": (
            flow.state("shipment", shipment.id),
            progress,
            shipment.delivered_time.ToMicroseconds(),
        ),
        "held": len(flow.held()),
        "order": flow.state("order", order.id),
        "of_deliveries": (sorted(legs), flow.state("order", order.id) == "DELIVERED", proofs),
    }


def decided(history: History, *, late: bool, by_backfill: bool = False) -> list[int]:
    """The places of a history's scans in the order in which they are decided.

    Those whose row is there at once, the others when it comes, in the order they came: code by
    code, or by a backfill all together. What is told again is not decided again.
    """
    facts = [(told.parcel, told.code, told.minutes) for told in history.told]
    due = []
    for place, told in enumerate(history.told):
        row_came = history.row_before.get(told.code, 0) if late else 0
        waited = row_came > place
        if facts.index(facts[place]) == place:
            code = told.code if waited and not by_backfill else ""
            due.append((row_came - 0.5 if waited else place, code, place))
    return [place for _, _, place in sorted(due)]


def to_sender(history: History, known: list[int]) -> set[int]:
    """The places of deliveries that follow the way back, by these scans of one parcel: not older,
    or, where one of two has no time, told later."""
    told, means = history.told, history.meanings
    back = {p for p in known if means[told[p].code] in ("RETURNING", "RETURNED")}
    ends = {p for p in known if means[told[p].code] == "DELIVERED"}
    while True:
        found = {
            end
            for end in ends - back
            for since in back
            if (
                end > since
                if (at := told[end].minutes) is None or (first := told[since].minutes) is None
                else at >= first
            )
        }
        if not found:
            return back & ends
        back |= found


def of_deliveries(history: History, order: list[int]) -> tuple[Any, ...]:
    """What is told of deliveries when scans are decided in this order, by what is known then.

    Of each delivering scan whether it is one to the sender; whether at any time each parcel had
    ended and one of them not back at its sender; who proved by a delivery that he has which.
    """
    flow = Flow()
    flow.labelled(2)
    start = flow.now
    proofs: dict[str, str] = {}
    legs, arrived = [], False
    known: dict[int, list[int]] = {1: [], 2: []}
    for place in order:
        told = history.told[place]
        known[told.parcel].append(place)
        back = to_sender(history, known[told.parcel])
        if history.meanings[told.code] == "DELIVERED":
            number = f"1Z{told.parcel}"
            time = 0 if told.minutes is None else start + seconds(60 * told.minutes)
            legs.append((number, time, place in back))
            if told.signed_by and place not in back:
                proofs.setdefault(number, told.signed_by)
        ends = [_end(history, places) for places in known.values()]
        arrived = arrived or (all(ends) and "DELIVERED" in ends)
    return sorted(legs), arrived, sorted(proofs.items())


def _end(history: History, known: list[int]) -> str:
    """How a parcel's journey ended by these of its scans; "" while it goes on."""
    said = {history.meanings[history.told[place].code] for place in known}
    if "RETURNED" in said or to_sender(history, known):
        return "RETURNED"
    return "DELIVERED" if "DELIVERED" in said else ""


@settings(deadline=None)
@given(histories(), st.booleans())
def test_a_row_that_comes_late_leaves_what_a_row_from_the_start_would(
    history: History, by_backfill: bool
) -> None:
    """Proves that whenever rows come, and whether what waits goes on by itself or by a backfill,
    scans, parcels and shipment end as if every row had been there from the start; and that of
    deliveries exactly that is told, by order, proof and leg, which was known when it was decided:
    with every row from the start, and with the rows that came late."""
    late = told_of(played(history, late=True, by_backfill=by_backfill))
    soon = told_of(played(history, late=False))
    order = decided(history, late=True, by_backfill=by_backfill)
    assert late.pop("of_deliveries") == of_deliveries(history, order)
    assert soon.pop("of_deliveries") == of_deliveries(history, decided(history, late=False))
    assert len({late.pop("order"), soon.pop("order")} - {"DELIVERED"}) <= 1
    assert late == soon


@pytest.mark.parametrize("back_first", [True, False])
@pytest.mark.parametrize("late", ["back", "end"])
def test_a_row_of_the_way_back_that_comes_late_turns_a_delivery(
    back_first: bool, late: str
) -> None:
    """Proves that a delivery becomes a return when it is learnt what a scan before it meant, and a
    code that turns out to mean delivered proves nothing of a parcel that went back."""
    flow = Flow()
    flow.labelled()
    meanings = {"RS": "RETURNING", "QQ": "DELIVERED"}
    late_code = "RS" if late == "back" else "QQ"
    set_row(flow, *next(pair for pair in meanings.items() if pair[0] != late_code))
    back = coded(flow.now + seconds(60), "RS")
    end = coded(flow.now + seconds(120), "QQ", signed_by="THE SENDER")
    flow.report(*([back] if back_first else [end]))
    flow.report(*([end] if back_first else [back]))
    assert milestone(flow) == ("DELIVERED" if late == "back" else "RETURNING")
    set_row(flow, late_code, meanings[late_code])
    flow.drive()
    assert milestone(flow) == "RETURNED"
    (shipment,) = flow.all("shipment")
    assert flow.state("shipment", shipment.id) == "RETURNED"
    assert len(flow.all("delivery_confirmation")) == (1 if late == "back" else 0)


def test_a_proof_that_was_learnt_late_keeps_the_place_of_its_scan() -> None:
    """Proves that a delivery without a time which came before the return of the parcel is proven,
    though it is learnt after the return that its code meant one."""
    flow = Flow()
    flow.labelled()
    set_row(flow, "RS", "RETURNED")
    flow.report(coded(None, "QQ", signed_by="ADA"))
    flow.report(coded(flow.now, "RS"))
    assert (milestone(flow), flow.all("delivery_confirmation")) == ("RETURNED", [])
    set_row(flow, "QQ", "DELIVERED")
    flow.drive()
    (proof,) = flow.all("delivery_confirmation")
    assert (proof.signed_by, milestone(flow)) == ("ADA", "RETURNED")
