"""What commands print and return: verdicts, chains, lines, errors, and how they find a hub."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from crossdock.cli import COMMANDS, app, names
from crossdock.cli.delivery import log_lines
from crossdock.cli.doctor import endpoint_checks
from crossdock.cli.endpoint import status_row
from crossdock.cli.hub_access import Place, confirm, find_place
from crossdock.cli.output import age, cell, duration
from crossdock.cli.posted import exit_code
from crossdock.cli.problems import CommandError, explained
from crossdock.cli.tail import entry_line
from crossdock.cli.trace import EXIT_CODES, chain, told
from crossdock.cli.tracing import record_only_for_a_collector
from crossdock.cli.workplace import Workplace
from crossdock.delivery.v1 import delivery_pb2
from crossdock.endpoint.v1 import endpoint_pb2
from crossdock.errors import FieldNotOwnedError, Refusal, UnreachableError
from crossdock.lineage.v1 import lineage_pb2, lineage_service_pb2, posting_pb2
from crossdock.options.v1 import options_pb2
from grpc import StatusCode
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

REMOVED = endpoint_pb2.ENDPOINT_STATE_REMOVED
NOW = datetime(2026, 1, 5, 20, 0, tzinfo=UTC)


@pytest.mark.parametrize("command", [*COMMANDS, "version"])
def test_every_command_helps(command: str) -> None:
    """Each command of the list exists, imports, and explains itself."""
    done = CliRunner().invoke(app, [command, "--help"])
    assert done.exit_code == 0, done.output
    assert "Usage" in done.output


def test_every_verdict_has_its_exit_code() -> None:
    """Posted twice is 3, waiting is 4, what a person must see is 1, the rest is 0."""
    codes = {
        names.verdict(number): EXIT_CODES.get(number, 0)
        for number in lineage_pb2.Verdict.values()
        if number
    }
    assert codes == {
        "COMPLETE": 0,
        "UNDER_WAY": 0,
        "CANCELLED": 0,
        "REFUSED": 1,
        "NEEDS_PERSON": 1,
        "POSTED_TWICE": 3,
        "WAITING": 4,
        "IN_DOUBT": 4,
    }


def test_what_is_not_told_is_not_well() -> None:
    """A flow that is larger than one question, with nothing wrong in what was told, is no 0."""
    once = posting_pb2.Posting(verdict=posting_pb2.POSTING_VERDICT_POSTED_ONCE)
    twice = posting_pb2.Posting(verdict=posting_pb2.POSTING_VERDICT_POSTED_TWICE)
    assert [exit_code([once], more) for more in (False, True)] == [0, 4]
    assert [exit_code([once, twice], more) for more in (False, True)] == [3, 3]


def test_what_is_left_out_of_a_log_is_said_where_it_is() -> None:
    """Between the attempts that are shown stands how many are not; a whole log has no such line."""
    log = [delivery_pb2.Attempt(number=number) for number in (1, 2, 4_000)]
    long = delivery_pb2.Delivery(attempt_log=log, attempts_left_out=3_997)
    lines = [line for line in log_lines(long) if "left out" in line or line.startswith("attempt")]
    assert [line.split()[1] for line in lines] == ["1", "2", "3997", "4000"]
    whole = delivery_pb2.Delivery(attempt_log=log[:2])
    assert not any("left out" in line for line in log_lines(whole))


def test_a_trace_begins_with_the_sentence() -> None:
    """The verdict is the first line, the chain has every object once, below what it refers to."""
    lineage = lineage_pb2.Lineage(
        query="IF1",
        matched_as="reference item_fulfillment of netsuite",
        verdict=lineage_pb2.VERDICT_COMPLETE,
        sentence="Complete: delivered, posted once.",
        trace_id="0" * 32,
        nodes=[
            lineage_pb2.Node(kind="order", id="o", number="WEB-1", state="DELIVERED"),
            lineage_pb2.Node(kind="shipment", id="s", number="SH-1", refers_to=["o"]),
            lineage_pb2.Node(kind="label", id="l", refers_to=["o", "s"]),
        ],
    )
    lines = list(told(lineage))
    assert lines[0] == "Complete: delivered, posted once."
    assert "trace id: " + "0" * 32 in lines
    assert list(chain(lineage)) == ["order WEB-1 DELIVERED", "  shipment SH-1", "    label l"]


def test_a_trace_tells_what_is_held_and_what_helps() -> None:
    """Proves that a fact which is not written yet is told below the chain, with what it waits for,
    its id for the commands about it, and the whole of what would help."""
    lineage = lineage_pb2.Lineage(sentence="Waiting.", query="WEB-1")
    for awaits in ("code:fedex/STATUS/scan/QZ", ""):
        fact = lineage.held_facts.add(id="f1", endpoint="fedex", awaits=awaits)
        fact.method = "/crossdock.tracking.v1.TrackingService/ReportTrackingEvents"
        fact.refusal.message = "scan QZ has no row; say what it means with crossdock map set"
        fact.create_time.FromJsonString("2026-01-31T06:54:22Z")
    lines = "\n".join(told(lineage))
    assert (
        "held since 2026-01-31 06:54:22.000Z: ReportTrackingEvents of fedex waits for "
        "code:fedex/STATUS/scan/QZ (held fact f1)\n  scan QZ has no row; say what it means with "
        "crossdock map set"
    ) in lines
    assert "waits for a person (held fact f1)" in lines


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.lists(st.integers(0, 9), max_size=3)), max_size=9))
def test_a_chain_of_any_shape_shows_each_object_once(
    shape: list[tuple[int, list[int]]],
) -> None:
    """Circles and missing parents end no command and hide no object."""
    nodes = {
        number: lineage_pb2.Node(kind="x", id=str(number), refers_to=[str(r) for r in refers])
        for number, refers in shape
    }
    lines = list(chain(lineage_pb2.Lineage(nodes=list(nodes.values()))))
    assert sorted(line.strip() for line in lines) == sorted(f"x {number}" for number in nodes)


def test_a_tail_line_says_who_what_and_the_result() -> None:
    """Events, deliveries and gaps each have their line."""
    event = lineage_pb2.EventNode(stem="order.approved", producer="oms", object_id="o1")
    delivery = delivery_pb2.Delivery(
        endpoint="ups", operation="buy_label", state=delivery_pb2.DELIVERY_STATE_CONFIRMED
    )
    delivery.vendor_references.add(type="tracking_number", value="1Z")
    response = lineage_service_pb2.TailResponse
    assert "order.approved" in entry_line(response(event=event))
    assert "tracking_number 1Z" in entry_line(response(delivery=delivery))
    assert "7 entries" in entry_line(response(dropped=7))


def test_states_may_be_written_in_any_case() -> None:
    """in-flight, IN_FLIGHT and In_Flight are one state; a wrong one names all."""
    number = delivery_pb2.DELIVERY_STATE_IN_FLIGHT
    assert names.delivery_state_numbers(["in-flight", "IN_FLIGHT", "In_Flight"]) == [number] * 3
    with pytest.raises(CommandError, match="PARKED"):
        names.delivery_state_numbers(["asleep"])


def test_a_value_from_the_future_is_shown_as_it_is() -> None:
    """A newer hub does not break an older command line."""
    assert names.delivery_state(999) == "999"


@settings(deadline=None)
@given(st.text(max_size=400))
def test_a_cell_is_one_line_of_bounded_length(text: str) -> None:
    """Nothing that a vendor wrote breaks a table."""
    shown = cell(text)
    assert shown
    assert "\n" not in shown
    assert len(shown) <= 120


def test_durations_are_short() -> None:
    """A column shows the largest fitting unit."""
    shown = [duration(timedelta(seconds=s)) for s in (-5, 3, 119, 120, 7199, 7200, 172_800)]
    assert shown == ["0 s", "3 s", "119 s", "2 min", "119 min", "2 h", "2 d"]
    assert age(None) == "-"


def test_errors_say_what_why_and_next() -> None:
    """A dead hub and a refused field lead somewhere."""
    away = explained(
        UnreachableError(Refusal("UNREACHABLE", "refused"), StatusCode.UNAVAILABLE), "h:1"
    )
    assert "crossdock dev" in away.next_step
    refusal = Refusal("FIELD_NOT_OWNED", "packages belongs to WMS", {"rule": "x.proto:209"})
    told_error = str(explained(FieldNotOwnedError(refusal, StatusCode.PERMISSION_DENIED), "h:1"))
    assert "packages belongs to WMS" in told_error


def test_a_hub_is_found_by_variables_or_by_the_data_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Variables win; half of them is an error; nothing running is an error with the way out."""
    monkeypatch.delenv("CROSSDOCK_ADDRESS", raising=False)
    with pytest.raises(CommandError, match="crossdock dev --data"):
        find_place(tmp_path)
    monkeypatch.setenv("CROSSDOCK_ADDRESS", "hub.example:7443")
    monkeypatch.delenv("CROSSDOCK_TOKEN_FILE", raising=False)
    with pytest.raises(CommandError) as caught:
        find_place(tmp_path)
    assert caught.value.exit_code == 2
    monkeypatch.setenv("CROSSDOCK_TOKEN_FILE", str(tmp_path / "token"))
    place = find_place(tmp_path)
    assert (place.address, place.workplace) == ("hub.example:7443", None)
    assert place.token("oms") == tmp_path / "token"


def test_only_a_strange_hub_needs_a_yes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """crossdock dev is a toy; elsewhere a script has to say that it means it."""
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    own = Place("127.0.0.1:1", None, None, Workplace(tmp_path), None)
    strange = Place("hub.example:7443", tmp_path / "token", None, None, None)
    confirm(own, "pause ups", yes=False)
    confirm(strange, "pause ups", yes=True)
    with pytest.raises(CommandError, match="--yes"):
        confirm(strange, "pause ups", yes=False)


def endpoint(**fields: object) -> endpoint_pb2.Endpoint:
    found = endpoint_pb2.Endpoint(id="ups", state=endpoint_pb2.ENDPOINT_STATE_ACTIVE)
    found.manifest.adapter = "ups"
    found.heartbeat_time.FromDatetime(NOW - timedelta(seconds=5))
    for name, value in fields.items():
        if isinstance(value, datetime):
            getattr(found, name).FromDatetime(value)
        else:
            setattr(found, name, value)
    return found


@pytest.mark.parametrize(
    ("fields", "result"),
    [
        ({}, "ok"),
        ({"heartbeat_time": NOW - timedelta(minutes=5)}, "wrong"),
        ({"trouble": "401 from the vendor"}, "wrong"),
        ({"state": endpoint_pb2.ENDPOINT_STATE_PAUSED, "pause_reason": "x"}, "warning"),
        ({"queue_depth": 3, "oldest_time": NOW - timedelta(hours=1)}, "warning"),
        ({"state": REMOVED, "heartbeat_time": NOW - timedelta(days=1)}, "ok"),
        ({"state": REMOVED, "queue_depth": 3}, "warning"),
    ],
)
def test_doctor_judges_endpoints(fields: dict[str, object], result: str) -> None:
    """Silence and vendor trouble are wrong, a pause and an old queue are worth a look."""
    checks = {check.name: check for check in endpoint_checks([endpoint(**fields)], NOW)}
    assert checks["endpoint ups"].result == result
    assert checks["endpoint ups"].fix or result == "ok"
    assert checks["clock"].result == "ok"


def test_doctor_sees_other_versions_and_clocks() -> None:
    """Contract skew and a hub from the future are warnings with a fix."""
    strange = endpoint(heartbeat_time=NOW + timedelta(seconds=30))
    strange.manifest.contract_version = "9.9.9"
    checks = {check.name: check for check in endpoint_checks([strange], NOW)}
    assert checks["contract of ups"].result == "warning"
    assert checks["clock"].result == "warning"


def test_spans_are_recorded_only_for_a_collector() -> None:
    """Ids travel in any case; a person's own choice of sampler stays."""
    nobody: dict[str, str] = {}
    record_only_for_a_collector(nobody)
    assert nobody == {"OTEL_TRACES_SAMPLER": "parentbased_always_off"}
    collected = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}
    record_only_for_a_collector(collected)
    assert "OTEL_TRACES_SAMPLER" not in collected
    chosen = {"OTEL_TRACES_SAMPLER": "always_on"}
    record_only_for_a_collector(chosen)
    assert chosen == {"OTEL_TRACES_SAMPLER": "always_on"}


def test_status_says_what_goes_out_and_how_long_it_takes() -> None:
    """An endpoint that is down shows its breaker and why; one that drains shows for how long."""
    down = endpoint(queue_depth=120, in_doubt=3, parked=2, effective_concurrency=3)
    down.breaker.state = endpoint_pb2.BREAKER_STATE_OPEN
    down.breaker.reason = "connection refused"
    down.lanes.add(latency_class=options_pb2.LATENCY_CLASS_REAL_TIME, waiting=100)
    row = status_row(down)
    assert row[:3] == ("ups", "ACTIVE", "open")
    assert row[3] == "3 at once"
    assert row[4] == "120 (real_time 100)"
    down.lanes.add(replays=True, waiting=7)
    assert status_row(down)[4] == "120 (real_time 100, replays 7)"
    assert row[5:] == ("3", "2", "-", "unknown", "connection refused")
    drains = endpoint(queue_depth=120, effective_concurrency=2, effective_rate_per_second="5.00")
    drains.breaker.state = endpoint_pb2.BREAKER_STATE_CLOSED
    drains.time_to_drain.FromSeconds(600)
    assert status_row(drains)[3:9] == ("2 at once, 5.00/s", "120", "0", "0", "-", "10 min")
