"""`crossdock map` against a running hub: an adapter's rows, a code without one, its backfill."""

from __future__ import annotations

import asyncio
import json
import signal
import time
import uuid
from typing import Any

import pytest
from crossdock.cli import app
from crossdock.cli.progress import ProgressLine
from crossdock.endpoint.v1 import endpoint_pb2, endpoint_service_pb2
from crossdock.types.v1 import types_pb2
from crossdock_adapters.sdk.mapping_sync import MappingSync
from crossdock_adapters.sdk.mappings import Code, Mappings, Meaning, Topic, file_of
from fixtures_hub import Lane, RunningHub
from fixtures_nats import eventually
from story import Story, label, scan, scans, unique
from typer.testing import CliRunner, Result

REASON = ("--reason", "the carrier said so", "--yes")


class Command:
    """`crossdock map` as an operator of a hub."""

    def __init__(self, hub: RunningHub, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CROSSDOCK_ADDRESS", hub.address)
        monkeypatch.setenv("CROSSDOCK_TOKEN_FILE", str(hub.token_file("operator")))

    def __call__(self, *words: str, code: int = 0) -> Result:
        done = CliRunner().invoke(app, ["map", *words])
        assert done.exit_code == code, done.output
        return done

    def json(self, *words: str, code: int = 0) -> Any:
        return json.loads(self(*words, "--json", code=code).stdout)


@pytest.fixture
def command(hub: RunningHub, monkeypatch: pytest.MonkeyPatch) -> Command:
    return Command(hub, monkeypatch)


async def _register(story: Story, kind: str) -> MappingSync:
    await story.carrier.endpoints.RegisterEndpoint(
        endpoint_service_pb2.RegisterEndpointRequest(
            request_id=str(uuid.uuid4()),
            endpoint=story.lane.carrier,
            manifest=endpoint_pb2.Manifest(adapter=kind),
        )
    )
    mappings = Mappings(file_of("crossdock_adapters.ups"))
    sync = MappingSync(story.lane.carrier, kind, story.carrier, mappings)
    await sync.publish()
    return sync


async def _shipped(hub: RunningHub, lane: Lane, kind: str, number: str) -> None:
    """An endpoint with UPS's rows, a labelled parcel, and a scan of it that nobody understands."""
    async with Story(hub, lane) as story:
        await _register(story, kind)
        packed = await story.packed()
        await story.manifest(packed.id)
        await story.carrier.labels.CreateLabel(label(packed.id, packed.packages[0].id, number))
        event = scan(number, "UNKNOWN", time.time() - 60)
        event.native_codes.append(types_pb2.NativeCode(type="I", code="QZ"))
        await story.carrier.tracking.ReportTrackingEvents(scans(event))


async def _followed(hub: RunningHub, lane: Lane, kind: str) -> MappingSync:
    async with Story(hub, lane) as story:
        return await _register(story, kind)


def test_a_code_is_found_mapped_and_back_filled(
    hub: RunningHub, lane: Lane, command: Command
) -> None:
    """Proves that an operator sees a code that has no row, says what it means, sees by whom, has
    what waited written, and that an adapter which starts then has the operator's word."""
    kind, number = unique("kind").lower().replace("-", "_"), unique("1Z")
    asyncio.run(_shipped(hub, lane, kind, number))
    covered = command("coverage", "--kind", kind, code=1).output
    assert f"{kind} STATUS: " in covered
    assert "I QZ" in covered
    found = command.json("coverage", "--kind", kind, code=1)
    (unmapped,) = found["unmapped_codes"]
    assert (unmapped["native_codes"], str(unmapped["quarantined"])) == (
        [{"type": "I", "code": "QZ"}],
        "1",
    )
    typed = (("QZ", "--type", "X"), ("QZ",), ("qz", "--type", "I"), ("0QZ", "--type", "I"))
    for wrong in typed:
        done = command("set", kind, "status", *wrong, "--means", "DELIVERED", *REASON)
        assert "STATUS QZ --type I still waits for a row" in done.stderr
        command("reset", kind, "status", *wrong, *REASON)
    means = ("--type", "I", "--means", "out-for-delivery")
    done = command("set", kind, "status", "QZ", *means, *REASON)
    assert "OUT_FOR_DELIVERY" in done.output and "warning" not in done.stderr
    left = command.json("backfill", kind, *REASON)
    assert left["unmapped"] == left["held"] == 0
    asyncio.run(
        eventually(
            lambda: hub.count("scans", f"tracking_number = '{number}'") > 0, "what waited", 20.0
        )
    )
    assert "every code that came has a row" in command("coverage", "--kind", kind).output
    shown = command("show", kind, "STATUS", "QZ", "--type", "I").output
    assert "the carrier said so" in shown
    assert "said by operator" in shown
    rows = command.json("list", "--kind", kind, "--deployment")["rows"]
    assert [row["native"]["code"] for row in rows] == ["QZ"]
    sync = asyncio.run(_followed(hub, lane, kind))
    codes = [Code("I", "QZ")]
    assert sync.mappings.first(Topic.STATUS, codes) == (codes[0], Meaning("OUT_FOR_DELIVERY"))
    back = command("reset", kind, "STATUS", "QZ", "--type", "I", *REASON).output
    assert "no meaning" in back


def test_what_is_set_is_what_was_shown(
    hub: RunningHub, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that set and reset show the row that is there before they ask, and that a word which
    another operator said while the first one read the question is not overwritten."""
    kind = unique("kind").lower().replace("-", "_")
    row = (kind, "STATUS", "QZ", "--type", "I")
    done = command("set", *row, "--means", "IN_TRANSIT", *REASON)
    assert f"now: {kind} STATUS I QZ: no row" in done.stderr
    done = command("set", *row, "--means", "DELIVERED", *REASON, "--json")
    assert f"now: {kind} STATUS I QZ: IN_TRANSIT" in done.stderr
    assert "revision 1, said by operator" in done.stderr
    assert json.loads(done.stdout)["meaning"]["canonical"] == "DELIVERED"

    def while_reading(*_: object) -> None:
        monkeypatch.undo()
        other = Command(hub, monkeypatch)
        other("set", *row, "--means", "OUT_FOR_DELIVERY", "--reason", "another one", "--yes")

    for late in (("set", *row, "--means", "DELIVERED"), ("reset", *row)):
        monkeypatch.setattr("crossdock.cli.mapping.confirm", while_reading)
        done = command(*late, *REASON, code=1)
        said = str(done.exception)
        assert "OUT_FOR_DELIVERY, said by operator" in said and "'another one'" in said
        assert "type the same again if you still mean it" in said
    done = command("reset", *row, *REASON)
    assert "OUT_FOR_DELIVERY" in done.stderr and "no meaning" in done.stdout


async def _many_held(hub: RunningHub, lane: Lane, kind: str, count: int) -> None:
    """So many scans of parcels, each with a code that nobody understands."""
    async with Story(hub, lane) as story:
        await _register(story, kind)
        events = []
        for number in range(count):
            event = scan(unique("1Z"), "UNKNOWN", time.time() - 60)
            event.native_codes.append(types_pb2.NativeCode(type="I", code=f"QZ{number}"))
            events.append(event)
        await story.carrier.tracking.ReportTrackingEvents(scans(*events))


def test_a_long_backfill_says_how_far_it_is(
    hub: RunningHub, lane: Lane, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that a backfill of several pages tells on standard error how many of how many it has
    looked at, not to a program, and ends with the counts."""
    kind = unique("kind").lower().replace("-", "_")
    asyncio.run(_many_held(hub, lane, kind, 5))
    monkeypatch.setattr("crossdock.cli.backfilling.PAGE", 2)
    monkeypatch.setattr("crossdock.cli.progress.PIPED_SECONDS", 0.0)
    done = command("backfill", kind, *REASON)
    assert "2 of 5 looked at" in done.stderr and "4 of 5 looked at" in done.stderr
    assert done.stdout.startswith("5 looked at: 0 written")
    assert "5 without a row still" in done.stdout
    asked = command("backfill", kind, *REASON, "--json")
    assert asked.stderr == "" and json.loads(asked.stdout)["examined"] == 5


def test_an_interrupted_backfill_says_what_was_done(
    hub: RunningHub, lane: Lane, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that Ctrl-C ends a backfill with the counts until then and says that it may be typed
    again, which then takes all."""
    kind = unique("kind").lower().replace("-", "_")
    asyncio.run(_many_held(hub, lane, kind, 5))
    with monkeypatch.context() as patched:
        patched.setattr("crossdock.cli.backfilling.PAGE", 2)
        patched.setattr(ProgressLine, "show", lambda *_: signal.raise_signal(signal.SIGINT))
        done = command("backfill", kind, *REASON, code=130)
    assert "interrupted: 2 looked at: 0 written" in done.stderr
    assert "the same command again goes on" in done.stderr and done.stdout == ""
    assert command.json("backfill", kind, *REASON)["examined"] == 5


def test_a_backfill_that_fails_in_its_middle_says_what_was_done(
    hub: RunningHub, lane: Lane, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that a page which the hub refuses, or does not answer, ends a backfill with the counts
    of the pages before it, as Ctrl-C does, and with the hub's own words."""
    kind = unique("kind").lower().replace("-", "_")
    asyncio.run(_many_held(hub, lane, kind, 5))
    with monkeypatch.context() as patched:
        patched.setattr("crossdock.cli.backfilling.PAGE", 2)
        named = "crossdock.cli.backfilling.new_request_id"
        patched.setattr(ProgressLine, "show", lambda *_: patched.setattr(named, lambda: ""))
        done = command("backfill", kind, *REASON, code=1)
    assert "interrupted: 2 looked at: 0 written" in done.stderr
    assert "request_id is missing" in str(done.exception)


def test_all_rows_of_an_adapter_are_listed(hub: RunningHub, lane: Lane, command: Command) -> None:
    """Proves that the pages of a list hold each row of an adapter's file once, with its source."""
    kind = unique("kind").lower().replace("-", "_")
    sync = asyncio.run(_followed(hub, lane, kind))
    file = sync.mappings.file
    assert file is not None
    listed, token = [], ""
    while True:
        page = command.json("list", "--kind", kind, "--limit", "150", "--page-token", token)
        listed += page["rows"]
        token = page["next_page_token"]
        if not token:
            break
    told = {(row.topic, row.code.type, row.code.code) for row in file.rows}
    native = [(row["topic"], row["native"]) for row in listed]
    found = {
        (topic.removeprefix("MAPPING_TOPIC_"), code.get("type", ""), code.get("code", ""))
        for topic, code in native
    }
    assert len(listed) == len(file.rows)
    assert found == {(str(topic), type_, code) for topic, type_, code in told}
    statuses = command("list", "--kind", kind, "--topic", "status", "--limit", "1").output
    assert "UPS Tracking API" in statuses


def test_a_kind_that_there_is_not_is_told(command: Command) -> None:
    """Proves that a row of a kind that no endpoint is of is taken, because its adapter may come,
    and that whoever mistyped it is told so, the second time as well."""
    kind = unique("nosuch").lower().replace("-", "_")
    for _ in range(2):
        done = command("set", kind, "STATUS", "X", "--means", "DELIVERED", *REASON)
        assert f"no endpoint here is of kind {kind!r}" in done.stderr
    assert command.json("set", kind, "STATUS", "X", "--means", "DELIVERED", *REASON)


def test_a_code_of_blanks_is_no_code(command: Command) -> None:
    """Proves that a code of blanks alone, for which nothing waits, is refused before it is a row,
    and that a unit is one that a quantity can have."""
    for code, unit, said in (
        ("  ", "KGM", "'  ' is blanks only, and nothing waits for it"),
        ("kg", "KILO", "'KILO' is no code of UN/ECE Rec 20"),
    ):
        done = command("set", "ups", "UNIT", code, "--means", unit, *REASON, code=1)
        assert said in str(done.exception)
    assert "  " not in [each["native"].get("code") for each in command.json("list")["rows"]]


def test_nothing_of_a_mistyped_kind_is_no_good_news(command: Command) -> None:
    """Proves that coverage and backfill of a kind that there is not say so beside finding nothing:
    "every code has a row" of a typo looked as if all were well."""
    kind = unique("nosuch").lower().replace("-", "_")
    covered = command("coverage", "--kind", kind)
    filled = command("backfill", kind, "--topic", "unit", *REASON)
    assert f"no endpoint here is of kind {kind!r}" in covered.stderr
    assert f"no endpoint here is of kind {kind!r}" in filled.stderr
    assert f"nothing waits for codes of {kind} UNIT" in filled.stdout
    # Of everybody: whatever else waits at this hub, of other tests, is no matter here.
    assert "warning" not in CliRunner().invoke(app, ["map", "coverage"]).stderr


def test_a_topic_that_there_is_not_is_used_wrongly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proves that a mistyped topic is refused before anything is asked of a hub: there is none."""
    monkeypatch.setenv("CROSSDOCK_ADDRESS", "127.0.0.1:1")
    done = CliRunner().invoke(app, ["map", "list", "--topic", "STATES"])
    assert done.exit_code != 0
    assert "there is no topic 'STATES'" in str(done.exception)
