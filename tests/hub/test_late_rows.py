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
    came; what is left comes after all. also: less telling codes that come with a code."""

    meanings: dict[str, str]
    told: list[Told]
    row_before: dict[str, int] = field(default_factory=dict)
    also: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def codes(self, place: int) -> tuple[str, ...]:
        """Of a scan, the most telling first."""
        code = self.told[place].code
        return (code, *self.also.get(code, ()))

    def row_came(self, place: int) -> int:
        """Before which scan the first row for one of a scan's codes was there."""
        return min(self.row_before.get(code, 0) for code in self.codes(place))

    def first(self, place: int) -> int:
        """Where the same scan was told first."""
        told = self.told[place]
        return next(
            n
            for n, each in enumerate(self.told)
            if (each.parcel, each.code, each.minutes) == (told.parcel, told.code, told.minutes)
        )

    def decides(self, place: int) -> str:
        """The code by which a scan is read: of those that have a row when it is decided, which is
        when it comes or as soon as one has, the most telling."""
        first = self.first(place)
        when = max(first, self.row_came(first))
        return next(code for code in self.codes(first) if self.row_before.get(code, 0) <= when)

    def means(self, place: int) -> str:
        """What a scan means."""
        return self.meanings[self.decides(place)]


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
    others = st.lists(st.sampled_from(LETTERS), max_size=2, unique=True)
    also = {code: tuple(each for each in draw(others) if each != code) for code in LETTERS}
    return History(meanings, told, late, also)


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
        # From the start: as if there never had been another code than the one that decides.
        codes = history.codes(place) if late else (history.decides(place),)
        event = coded(time, *codes, number=f"1Z{told.parcel}", signed_by=told.signed_by)
        event.status_code = told.code
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


def decided(history: History, *, late: bool) -> list[int]:
    """The places of a history's scans in the order in which they are decided.

    Those of which a code has a row at once, the others as soon as one has, in the order they came.
    What is told again is not decided again.
    """
    due = []
    for place in range(len(history.told)):
        row_came = history.row_came(place) if late else 0
        if history.first(place) == place:
            due.append((row_came - 0.5 if row_came > place else place, place))
    return [place for _, place in sorted(due)]


def to_sender(history: History, known: list[int]) -> set[int]:
    """The places of deliveries that follow the way back, by these scans of one parcel: not older,
    or, where one of two has no time, told later."""
    told = history.told
    back = {p for p in known if history.means(p) in ("RETURNING", "RETURNED")}
    ends = {p for p in known if history.means(p) == "DELIVERED"}
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
        if history.means(place) == "DELIVERED":
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
    said = {history.means(place) for place in known}
    if "RETURNED" in said or to_sender(history, known):
        return "RETURNED"
    return "DELIVERED" if "DELIVERED" in said else ""


@settings(deadline=None)
@given(histories(), st.booleans())
def test_a_row_that_comes_late_leaves_what_a_row_from_the_start_would(
    history: History, by_backfill: bool
) -> None:
    """Proves that whenever rows come, for whichever codes of a scan, and whether what waits goes on
    by itself or by a backfill, scans, parcels and shipment end as if the row that decided had been
    there from the start; and that of deliveries exactly that is told, by order, proof and leg,
    which was known when it was decided: with every row from the start, and with the rows that came
    late."""
    late = told_of(played(history, late=True, by_backfill=by_backfill))
    soon = told_of(played(history, late=False))
    order = decided(history, late=True)
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


def test_a_delivery_that_its_own_report_turns_is_neither_told_nor_proven() -> None:
    """Proves that a signature is the sender's where the scan of the way back stands behind it in
    one report: there is no delivery event, no proof, and its scan is stored as one of a return."""
    flow = Flow()
    flow.labelled()
    set_row(flow, "RS", "RETURNING")
    set_row(flow, "QQ", "DELIVERED")
    end = coded(flow.now + seconds(120), "QQ", signed_by="THE SENDER")
    flow.report(end, coded(flow.now + seconds(60), "RS"))
    assert milestone(flow) == "RETURNED"
    assert "tracking.delivered" not in flow.told()
    assert (flow.all("delivery_confirmation"), flow.held()) == ([], [])
    stored = [tracking_pb2.TrackingEvent.FromString(each.body) for each in flow.scans]
    assert [each.return_leg for each in stored] == [True, True]


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
