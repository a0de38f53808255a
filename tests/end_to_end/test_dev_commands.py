"""Every command against a running `crossdock dev`: what it prints, returns and hides."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from crossdock.cli.workplace import Workplace

START_SECONDS = 200.0
STOP_SECONDS = 90.0
COMMAND_SECONDS = 180.0
PACE = "0.1"


class Dev:
    """One `crossdock dev` and the commands that find it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("CROSSDOCK_")},
            "CROSSDOCK_DATA": str(directory),
        }
        self.log = directory.with_suffix(".out")
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> dict[str, Any]:
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                self._command("dev", "--json", "--pace", PACE),
                stdout=log,
                stderr=log,
                env=self.environment,
            )
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            for line in self.log.read_text().splitlines():
                if "ready_seconds" in line:
                    found: dict[str, Any] = json.loads(line)
                    return found
            time.sleep(0.1)
        raise AssertionError(self.log.read_text())

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(STOP_SECONDS)

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self._command(*arguments),
            env={**self.environment, **variables},
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            stdin=subprocess.DEVNULL,
            check=False,
        )

    def json(self, *arguments: str) -> Any:
        done = self.run(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def _command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "crossdock.cli", *arguments]


@dataclass(frozen=True)
class FirstLife:
    """What a `crossdock dev` left behind that was ended by Ctrl-C. order: a number it knew;
    on_its_way: one that was with the warehouse then."""

    order: str
    on_its_way: str
    status: int
    left: list[int]
    trace_without_it: subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def lives(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Dev, FirstLife]]:
    """One that was started, ended by Ctrl-C, and started again on the same data."""
    found = Dev(tmp_path_factory.mktemp("dev") / "data")
    found.start()
    number = follow_an_order(found)
    pids = [
        json.loads((found.directory / "run" / f"{name}.json").read_text())["pid"]
        for name in ("hub", "sandboxes", "adapters")
    ]
    on_its_way = found.run("trigger", "order").stdout.split()[0]
    with_the_warehouse(found, on_its_way)
    status = found.stop(signal.SIGINT)
    left = [pid for pid in pids if Path(f"/proc/{pid}").exists()]
    first = FirstLife(number, on_its_way, status, left, found.run("trace", number))
    ready = found.start()
    assert (ready["adapters_serving"], ready["adapters"]) == (3, 3)
    yield found, first
    assert found.stop() == 0
    assert not (found.directory / "running.json").exists()


@pytest.fixture(scope="module")
def dev(lives: tuple[Dev, FirstLife]) -> Dev:
    """The running one."""
    return lives[0]


@pytest.fixture(scope="module")
def delivered(dev: Dev) -> dict[str, Any]:
    """One order that has come all the way."""
    found: dict[str, Any] = dev.json("trace", follow_an_order(dev))
    return found


def with_the_warehouse(dev: Dev, number: str) -> None:
    """Return when the warehouse has an order."""
    deadline = time.monotonic() + COMMAND_SECONDS
    while True:
        told = dev.run("trace", number, "--json").stdout
        nodes = json.loads(told)["nodes"] if told.startswith("{") else []
        if any(node["kind"] == "fulfillment_request" for node in nodes):
            return
        assert time.monotonic() < deadline, told


def follow_an_order(dev: Dev) -> str:
    """Place an order and wait until it is delivered: its number."""
    done = dev.run("trigger", "order", "--follow", "--timeout", "80")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.split()[0]


def arrives(dev: Dev, number: str) -> None:
    """Return when an order that was placed before is delivered."""
    deadline = time.monotonic() + COMMAND_SECONDS
    while (told := dev.run("trace", number)).returncode != 0:
        assert time.monotonic() < deadline, told.stdout


def batch_of(delivered: dict[str, Any]) -> str:
    """The OMS's batch in which the order was placed, which has the first order's number."""
    (order,) = (node for node in delivered["nodes"] if node["kind"] == "order")
    return str(order["number"]).replace("WEB-", "batch-")


def documents(lineage: dict[str, Any]) -> dict[str, str]:
    return {
        reference["type"]: reference["value"]
        for posting in lineage["postings"]
        for reference in posting.get("vendor_references", [])
    }


@pytest.mark.timeout(600)
def test_a_trace_begins_with_its_verdict(dev: Dev, delivered: dict[str, Any]) -> None:
    """A document number of the ERP leads to the order's chain: verdict first, trace id named."""
    assert delivered["verdict"] == "VERDICT_COMPLETE"
    found = documents(delivered)
    told = dev.run("trace", found["item_fulfillment"]).stdout
    assert told.splitlines()[0].startswith("Complete:")
    assert delivered["trace_id"] in told


def test_what_was_posted_is_in_the_vendors_books(dev: Dev, delivered: dict[str, Any]) -> None:
    """The command that proofs are made of: a vendor's own word for each document."""
    done = dev.run("sandbox", "books", "netsuite", "document_numbers")
    assert documents(delivered)["item_fulfillment"] in json.loads(done.stdout)
    wrong = dev.run("sandbox", "books", "netsuite", "nonsense")
    assert wrong.returncode == 2
    assert "document_numbers" in wrong.stderr


def test_nothing_sensitive_is_printed(dev: Dev, delivered: dict[str, Any]) -> None:
    """Names, phones and signatures do not appear in any command that shows the chain."""
    batch = (dev.directory / "outbox" / f"{batch_of(delivered)}.jsonl").read_text()
    order = json.loads(batch.splitlines()[0])
    root = delivered["root_id"]
    printed = [
        dev.run("trace", root).stdout,
        dev.run("trace", root, "--json").stdout,
        dev.run("deliveries", "--about", root, "--json").stdout,
        dev.run("tail", "--backlog", "200", "--count", "5", "--json").stdout,
    ]
    for text in printed:
        assert text
        assert order["ship_to"]["name"] not in text
        assert order["ship_to"]["phone"] not in text


def test_a_batch_sent_again_is_answered_not_written_again(
    dev: Dev, delivered: dict[str, Any]
) -> None:
    """The outbox repeats the same request ids: the same order comes back."""
    before = len(json.loads(dev.run("sandbox", "books", "netsuite", "sales_orders").stdout))
    again = dev.json("trigger", "order", "--again", batch_of(delivered))
    assert [order["id"] for order in again["orders"]] == [delivered["root_id"]]
    after = len(json.loads(dev.run("sandbox", "books", "netsuite", "sales_orders").stdout))
    assert after == before


@pytest.mark.timeout(600)
def test_a_paused_endpoint_makes_its_orders_wait(dev: Dev, delivered: dict[str, Any]) -> None:
    """trace says whom it waits for and returns 4; deliveries shows the hold; resume lets it go."""
    paused = dev.json("endpoint", "pause", "netsuite", "--reason", "month end")
    assert paused["state"] == "ENDPOINT_STATE_PAUSED"
    try:
        number = dev.json("trigger", "order")["orders"][0]["number"]
        waiting = dev.run("trace", number)
        assert waiting.returncode == 4, waiting.stdout
        assert "netsuite" in waiting.stdout.splitlines()[0]
        assert "month end" in dev.run("endpoint", "show", "netsuite").stdout
        assert "month end" in dev.run("doctor").stdout
        held = dev.json("deliveries", "--endpoint", "netsuite", "--state", "ready")["deliveries"]
        held += dev.json("deliveries", "--endpoint", "netsuite", "--state", "held")["deliveries"]
        assert held
    finally:
        resumed = dev.json("endpoint", "resume", "netsuite")
    assert resumed["state"] == "ENDPOINT_STATE_ACTIVE"
    arrives(dev, number)


@pytest.mark.timeout(600)
def test_a_lost_reply_shows_as_a_call_and_a_look_up(lives: tuple[Dev, FirstLife]) -> None:
    """A fault from the command line, its trace in the vendor's log, one label in the end."""
    dev, first = lives
    # The fault is for the next label, of whichever order.
    arrives(dev, first.on_its_way)
    begun = dev.json("sandbox", "fault", "ups", "reply-lost", "--operation", "ship", "--count", "1")
    assert begun["kind"] == "reply_lost"
    number = follow_an_order(dev)
    assert "look-up" in dev.run("trace", number).stdout
    calls = dev.json("sandbox", "calls", "ups", "--operation", "ship")
    assert sum(call["fault"] == "reply_lost" for call in calls) == 1
    assert dev.json("sandbox", "faults", "ups") == []
    assert dev.json("sandbox", "clear", "ups") == {"cleared": 0}


def test_doctor_is_content(dev: Dev) -> None:
    """Nothing is wrong with a fresh dev; a token that others may read is."""
    done = dev.run("doctor", "--json")
    assert done.returncode == 0, done.stdout
    names = {check["name"] for check in json.loads(done.stdout)}
    assert {"hub", "nats", "file modes", "endpoint ups", "sandbox netsuite"} <= names
    token = Workplace(dev.directory).token_file("oms")
    token.chmod(0o644)
    try:
        wrong = dev.run("doctor")
        assert wrong.returncode == 1
        assert f"chmod 600 {token}" in wrong.stdout
    finally:
        token.chmod(0o600)


def test_a_second_dev_is_refused(dev: Dev) -> None:
    """One sentence: who has the directory, and what to do."""
    assert dev.process is not None
    refused = dev.run("dev")
    assert refused.returncode == 1
    assert f"another crossdock dev (process {dev.process.pid})" in refused.stderr


def test_errors_say_what_why_and_next(dev: Dev) -> None:
    """Unknown id, unknown state, no terminal, no hub: no traceback, an exit code, a way on."""
    missing = dev.run("trace", "NO-SUCH-NUMBER")
    assert missing.returncode == 1
    assert "not found" in missing.stderr
    assert dev.run("deliveries", "--state", "sleeping").returncode == 2
    elsewhere = {
        "CROSSDOCK_ADDRESS": "127.0.0.1:9",
        "CROSSDOCK_TOKEN_FILE": str(Workplace(dev.directory).token_file("operator")),
    }
    unasked = dev.run("endpoint", "pause", "ups", "--reason", "x", **elsewhere)
    assert unasked.returncode == 2
    assert "--yes" in unasked.stderr
    away = dev.run("endpoint", "list", **elsewhere)
    assert away.returncode == 1
    assert "crossdock doctor" in away.stderr
    for done in (missing, unasked, away):
        assert "Traceback" not in done.stderr


@pytest.mark.timeout(600)
def test_ctrl_c_ends_everything_and_keeps_the_data(lives: tuple[Dev, FirstLife]) -> None:
    """No process is left, the port is free, and a second start knows the first one's orders: what
    was under way with the vendors arrives."""
    dev, first = lives
    assert first.status == 0
    assert first.left == []
    assert first.trace_without_it.returncode == 1
    assert "no crossdock dev runs" in first.trace_without_it.stderr
    assert dev.run("trace", first.order).returncode == 0
    arrives(dev, first.on_its_way)
