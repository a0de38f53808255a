"""A fulfillment request that is picked in several goes, and reported so, in whatever order."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import pytest
from crossdock.fulfillment.v1 import fulfillment_pb2, fulfillment_service_pb2
from crossdock.types.v1 import types_pb2
from crossdock_hub.objects import picks
from crossdock_hub.unit import Refused
from decisions import WMS, outcome, request_id
from first_flow import FULFILLMENTS, Flow, at, each, on_the_wall, order, seconds
from hypothesis import example, given, settings
from hypothesis import strategies as st

LINES = 3
# What a report says of each line that it names: picked and short.
Said = dict[int, tuple[int, int]]


def ordered(lines: int = 1) -> Any:
    """An order of more of each line than all reports of a test say."""
    message = order(lines=lines)
    for line in message.lines:
        line.quantity.value = "100"
    return message


def report(
    request: str,
    said: Said,
    *,
    pick: str = "",
    time: int | types_pb2.SourceTime | None = None,
) -> fulfillment_service_pb2.ReportPickRequest:
    made = fulfillment_service_pb2.ReportPickRequest(
        request_id=request_id(), fulfillment_request_id=request, pick_number=pick
    )
    if time is not None:
        made.pick_time.CopyFrom(at(time) if isinstance(time, int) else time)
    for number, amounts in said.items():
        for rows, amount in zip((made.picked, made.short), amounts, strict=True):
            rows.append(
                fulfillment_pb2.FulfillmentLineQuantity(
                    line_number=number, quantity=each(str(amount))
                )
            )
    return made


def tell(flow: Flow, told: fulfillment_service_pb2.ReportPickRequest) -> str:
    """Its receipt."""
    return str(outcome(flow.call(f"{FULFILLMENTS}/ReportPick", told, WMS).receipt))


def progress(flow: Flow) -> Said:
    """Picked and short of each line, as the order says."""
    (message,) = flow.all("order")
    rows: Any = message.progress
    return {row.line_number: (int(row.picked.value), int(row.short.value)) for row in rows}


SAID = st.dictionaries(
    st.integers(1, LINES), st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["", "A", "B"]), SAID), max_size=6), st.data())
def test_reports_of_picks_may_come_in_any_order(
    reports: list[tuple[str, Said]], data: st.DataObject
) -> None:
    """Proves that in whatever order and however often reports come, of each line and pick the
    newest counts, that no report takes away what another said of other lines, and that the order
    has the sum of all picks."""
    flow = Flow()
    _, (request,) = flow.released(ordered(LINES))
    start = flow.now
    expected: dict[tuple[str, int], tuple[int, int]] = {}
    for pick, said in reports:
        expected |= {(pick, line): amounts for line, amounts in said.items()}
    numbers = list(range(len(reports)))
    repeats = data.draw(st.lists(st.sampled_from(numbers), max_size=4)) if numbers else []
    for number in data.draw(st.permutations(numbers)) + repeats:
        pick, said = reports[number]
        tell(flow, report(request, said, pick=pick, time=start + seconds(number)))
    for number in numbers:
        pick, said = reports[number]
        again = report(request, said, pick=pick, time=start + seconds(number))
        assert tell(flow, again) == "ALREADY_KNOWN"
    totals: dict[int, tuple[int, int]] = defaultdict(lambda: (0, 0))
    for (_, line), (picked, short) in expected.items():
        totals[line] = (totals[line][0] + picked, totals[line][1] + short)
    if reports:
        assert progress(flow) == {line: totals[line] for line in range(1, LINES + 1)}
        newest = flow.object("fulfillment_request", request).pick_time
        assert newest == at(start + seconds(numbers[-1]))


@dataclass(frozen=True)
class Told:
    """A report as it comes. second: of its pick; None: nobody says when."""

    pick: str
    second: int | None
    said: Said


TOLD = st.builds(Told, st.sampled_from(["", "A", "B"]), st.none() | st.integers(0, 5), SAID)


def stored_before(flow: Flow, request: str, said: Said, time: int) -> None:
    """Give a request rows as an earlier version kept them: without pick and time of each."""
    tell(flow, report(request, said, time=time))
    message = flow.object("fulfillment_request", request)
    for row in (*message.picked, *message.short):
        row.ClearField("pick_time")


def newest_words(
    before: tuple[int, Said] | None, reports: list[Told]
) -> dict[int, tuple[int, int]]:
    """Picked and short of each line that was told, by the plain rule. before: what an earlier
    version had stored, and when; that is of any pick."""
    kept: dict[tuple[str, int], tuple[int | None, tuple[int, int]]] = {}
    if before is not None:
        kept = {("any", line): (before[0], amounts) for line, amounts in before[1].items()}
    for told in reports:
        for line, amounts in told.said.items():
            known = kept.get(("any", line), kept.get((told.pick, line)))
            when = None if known is None else known[0]
            if when is not None and told.second is not None and told.second < when:
                continue
            kept.pop(("any", line), None)
            kept[told.pick, line] = (told.second, amounts)
    totals: dict[int, tuple[int, int]] = defaultdict(lambda: (0, 0))
    for (_, line), (_, (picked, short)) in kept.items():
        totals[line] = (totals[line][0] + picked, totals[line][1] + short)
    return totals


@settings(max_examples=120, deadline=None)
@given(st.none() | st.tuples(st.integers(0, 5), SAID), st.lists(TOLD, min_size=1, max_size=6))
@example((3, {1: (4, 0), 2: (2, 0)}), [Told("A", 4, {1: (4, 0)}), Told("", 1, {2: (1, 0)})])
@example((3, {1: (4, 0), 2: (2, 0)}), [Told("A", 4, {1: (4, 0)}), Told("A", 4, {2: (2, 0)})])
@example((1, {1: (4, 0), 2: (2, 0)}), [Told("A", 5, {1: (4, 0)}), Told("", 3, {2: (1, 0)})])
def test_reports_with_and_without_time_and_number_may_be_mixed(
    before: tuple[int, Said] | None, reports: list[Told]
) -> None:
    """Proves that of one pick and line the newest time counts, and what came last where one of two
    has none, that picks add up whether or not they have numbers, and that rows of an earlier
    version give way, line by line, to the first report of a line that is not older than they are,
    whatever was told of other lines since."""
    flow = Flow()
    _, (request,) = flow.released(ordered(LINES))
    start = flow.now
    if before is not None:
        stored_before(flow, request, before[1], start + seconds(before[0]))
    for told in reports:
        time = None if told.second is None else start + seconds(told.second)
        tell(flow, report(request, told.said, pick=told.pick, time=time))
    words = newest_words(before, reports)
    assert progress(flow) == {line: words[line] for line in range(1, LINES + 1)}


def test_an_older_word_writes_nothing_of_what_was_stored_before() -> None:
    """Proves that a report which is older than rows of an earlier version is known, and changes
    neither them nor the request."""
    flow = Flow()
    _, (request,) = flow.released(ordered())
    start = flow.now
    stored_before(flow, request, {1: (8, 2)}, start)
    known = flow.object("fulfillment_request", request)
    older = report(request, {1: (1, 0)}, pick="A", time=start - seconds(60))
    assert tell(flow, older) == "ALREADY_KNOWN"
    assert flow.object("fulfillment_request", request) == known


def test_a_second_report_takes_no_line_of_the_first_away() -> None:
    """Proves that a warehouse which reports line by line has all of them counted, also where the
    earlier pick is told last, and that whoever listens is told of each with all of them."""
    flow = Flow()
    _, (request,) = flow.released(ordered(2))
    start = flow.now
    assert tell(flow, report(request, {2: (1, 0)}, time=start + seconds(60))) == "APPLIED"
    assert tell(flow, report(request, {1: (0, 1)}, time=start)) == "APPLIED"
    assert progress(flow) == {1: (0, 1), 2: (1, 0)}
    told = [event for event in flow.events if event.stem == "fulfillment.pick_completed"]
    assert len(told) == 2
    known = flow.object("fulfillment_request", request)
    assert [row.line_number for row in known.picked] == [1, 2]
    assert known.pick_time == at(start + seconds(60))


def test_a_repeat_with_a_newer_time_stands_against_older_words() -> None:
    """Proves that a report which only says later that nothing changed tells nobody, and still is
    the newest word: what was true in between and comes last changes nothing."""
    flow = Flow()
    _, (request,) = flow.released(ordered())
    start = flow.now
    tell(flow, report(request, {1: (1, 0)}, time=start))
    told = flow.told()
    assert tell(flow, report(request, {1: (1, 0)}, time=start + seconds(60))) == "APPLIED"
    assert tell(flow, report(request, {1: (0, 1)}, time=start + seconds(30))) == "ALREADY_KNOWN"
    assert flow.told() == told
    assert progress(flow) == {1: (1, 0)}


@pytest.mark.parametrize("zones", [(None, None, 5), (None, None, None), (5, None, 5), (5, 5, None)])
def test_an_older_word_stays_older_whoever_knows_the_zone(
    zones: tuple[int | None, int | None, int | None],
) -> None:
    """Proves that what a warehouse picked first and tells once more, with its zone known by then or
    not known any longer, does not come over what it picked later."""
    flow = Flow()
    _, (request,) = flow.released(order(lines=LINES))
    told = (("10:00", 3), ("11:00", 4), ("10:00", 3))
    for hours, (clock, amount) in zip(zones, told, strict=True):
        time = on_the_wall(f"2026-03-02T{clock}:00", hours)
        tell(flow, report(request, {1: (amount, 0)}, pick="A", time=time))
    assert progress(flow)[1] == (4, 0)
    assert flow.object("fulfillment_request", request).pick_time.local == "2026-03-02T11:00:00"


def test_clocks_of_different_walls_are_not_compared() -> None:
    """Proves that a time that a source gave in UTC is not taken for a time of the warehouse's own
    clock: what it says of twelve in UTC may be later than what it said of its thirteen."""
    flow = Flow()
    _, (request,) = flow.released(order(lines=LINES))
    for time, amount in (
        (on_the_wall("2026-03-02T13:00:00"), 3),
        (on_the_wall("2026-03-02T12:00:00", 0), 4),
    ):
        if time.HasField("instant"):
            time.zone = types_pb2.TIME_ZONE_SOURCE_GIVEN
        tell(flow, report(request, {1: (amount, 0)}, pick="A", time=time))
    assert progress(flow)[1] == (4, 0)


def test_a_report_without_a_time_is_the_newest() -> None:
    """Proves that where nobody says when, what came last counts, and 0 takes a word back."""
    flow = Flow()
    _, (request,) = flow.released(ordered())
    assert tell(flow, report(request, {1: (2, 1)})) == "APPLIED"
    assert tell(flow, report(request, {1: (0, 0)})) == "APPLIED"
    assert progress(flow) == {1: (0, 0)}


def test_a_unit_of_which_nothing_is_left_hides_no_other() -> None:
    """Proves that a line asked for in packs, whose pick is corrected from cases to pieces, shows
    the pieces."""
    flow = Flow()
    message = order()
    message.lines[0].quantity.unit = "PK"
    _, (request,) = flow.released(message)
    for cases, pieces in (("2", "0"), ("0", "24")):
        told = report(request, {})
        for value, unit in ((cases, "CS"), (pieces, "EA")):
            row = told.picked.add(line_number=1)
            row.quantity.value, row.quantity.unit = value, unit
        tell(flow, told)
        (after,) = flow.all("order")
        picked = after.progress[0].picked
        assert (picked.value, picked.unit) == ((cases, "CS") if cases != "0" else (pieces, "EA"))


def test_a_time_of_another_pick_makes_nothing_late() -> None:
    """Proves that of a pick that was told without a time a later report counts, whatever time
    another pick has."""
    flow = Flow()
    _, (request,) = flow.released(ordered(2))
    start = flow.now
    tell(flow, report(request, {1: (1, 0)}, pick="A"))
    tell(flow, report(request, {2: (1, 0)}, pick="B", time=start + seconds(60)))
    assert tell(flow, report(request, {1: (2, 0)}, pick="A", time=start)) == "APPLIED"
    assert progress(flow) == {1: (2, 0), 2: (1, 0)}


def test_a_numbered_report_takes_the_place_of_what_was_stored_before() -> None:
    """Proves that rows of a version that kept neither pick nor time of each are not added to the
    same pick told again, and that an older word does not take their place."""
    flow = Flow()
    _, (request,) = flow.released(ordered())
    start = flow.now
    tell(flow, report(request, {1: (8, 2)}, time=start))
    stored = fulfillment_pb2.FulfillmentRequest()
    stored.CopyFrom(flow.object("fulfillment_request", request))
    for row in (*stored.picked, *stored.short):
        row.ClearField("pick_time")
    again = picks.with_report(
        stored, report(request, {1: (8, 2)}, pick="OLPN-1", time=start + seconds(60))
    )
    assert [(row.pick_number, row.quantity.value) for row in again.picked] == [("OLPN-1", "8")]
    assert [(row.pick_number, row.quantity.value) for row in again.short] == [("OLPN-1", "2")]
    older = picks.with_report(stored, report(request, {1: (1, 0)}, time=start - seconds(60)))
    assert [row.quantity.value for row in older.picked] == ["8"]
    numbered = report(request, {1: (3, 0)}, pick="B", time=start - seconds(60))
    assert [row.quantity.value for row in picks.with_report(stored, numbered).picked] == ["8"]


@pytest.mark.parametrize("untimed_first", [True, False])
def test_a_pick_without_number_and_time_adds_up_with_others(untimed_first: bool) -> None:
    """Proves that what was told of a line without number and time is not lost by another pick of
    the line, whichever comes first."""
    flow = Flow()
    _, (request,) = flow.released(ordered())
    reports = [report(request, {1: (5, 0)}), report(request, {1: (3, 0)}, pick="B", time=flow.now)]
    for each_report in reports if untimed_first else reversed(reports):
        assert tell(flow, each_report) == "APPLIED"
    assert progress(flow) == {1: (8, 0)}


@pytest.mark.parametrize("alone", [True, False])
def test_what_was_stored_without_number_and_time_is_not_of_all_picks(alone: bool) -> None:
    """Proves that a row which was stored without number and time, by a request that has no time or
    beside rows that have one, adds up with numbered picks, and has no time of theirs: whatever is
    told of the pick without a number takes its place."""
    flow = Flow()
    _, (request,) = flow.released(ordered(2))
    start = flow.now
    tell(flow, report(request, {1: (4, 0)}))
    for row in flow.object("fulfillment_request", request).picked:
        row.ClearField("pick_time")
    if not alone:
        tell(flow, report(request, {2: (1, 0)}, pick="B", time=start))
        flow.object("fulfillment_request", request).picked[0].ClearField("pick_time")
    tell(flow, report(request, {1: (3, 0)}, pick="A", time=start))
    assert progress(flow)[1] == (7, 0)
    tell(flow, report(request, {1: (5, 0)}, time=start - seconds(60)))
    assert progress(flow)[1] == (8, 0)


def test_picks_without_end_are_refused_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proves that a request keeps no more rows than its limit, and that who tells more is refused
    with the field, the limit and what to do, while a known pick may still be corrected."""
    monkeypatch.setattr(picks, "PICK_ROWS_MAX", 3)
    flow = Flow()
    _, (request,) = flow.released(ordered())
    for pick in ("A", "B", "C"):
        assert tell(flow, report(request, {1: (1, 0)}, pick=pick)) == "APPLIED"
    with pytest.raises(Refused) as refused:
        tell(flow, report(request, {1: (1, 0)}, pick="D"))
    (violation,) = refused.value.refusal.violations
    assert violation.field == "picked"
    assert "4 rows of all its picks, at most 3" in violation.description
    assert "pick_number" in violation.description
    assert tell(flow, report(request, {1: (0, 1)}, pick="C")) == "APPLIED"
    assert progress(flow) == {1: (2, 1)}
