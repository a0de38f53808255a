"""The documents' words for what stopped, typed at a `crossdock dev` where something did stop."""

from __future__ import annotations

import asyncio
import json
import re
import time
import uuid
from collections.abc import Iterator

import pytest
from crossdock.client import HubClient
from crossdock.types.v1 import types_pb2
from fenced import blocks, code, document, section
from running_dev import Dev
from story import pick

README, OPERATIONS = "README.md", "docs/operations.md"
STOPPED = 4
WAIT_SECONDS = 180.0
LIST = "crossdock dead-letters list"
SHOW = "crossdock delivery show ID"
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    """One of its own: what stops here would change what other tests of the documents see."""
    started = Dev(tmp_path_factory.mktemp("stopped"))
    try:
        yield started.start()
    finally:
        started.stop()


def typed(dev: Dev, command: str) -> str:
    """What a command prints that does what it was asked for."""
    done = dev.run(command)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def written(words: str) -> str:
    """The command of these words in the documents' blocks, or else in the runbook's table."""
    shown = [b for name in (README, OPERATIONS) for b in blocks(document(name), "sh")]
    table = code(section(document(OPERATIONS), "Parked"))
    for commands in ([c for b in shown for c in b.commands], table):
        found = {c for c in commands if c.startswith(f"{words} ")}
        if found:
            (command,) = found
            return command.replace("--reason …", '--reason "looked at"')
    raise AssertionError(f"no document shows {words}")


@pytest.fixture(scope="module")
def refused(dev: Dev) -> list[str]:
    """Ids of deliveries that the ERP refused: one for each word that a person has for them."""
    fault = "error_before --operation upsert --status 400"
    typed(dev, f"crossdock sandbox fault netsuite {fault} --count {STOPPED}")
    typed(dev, f"crossdock trigger order --count {STOPPED}")
    listing = "crossdock deliveries --endpoint netsuite --state rejected --json"
    deadline = time.monotonic() + WAIT_SECONDS
    while len(found := json.loads(typed(dev, listing))["deliveries"]) < STOPPED:
        assert time.monotonic() < deadline, dev.told()
    return [delivery["id"] for delivery in found]


def held_fact(dev: Dev) -> str:
    """The id of a pick that names what the hub does not know: held, until someone ends it."""

    async def report() -> str:
        running = json.loads((dev.data / "running.json").read_text(encoding="utf-8"))
        token = dev.data / "tokens" / "manhattan"
        async with HubClient(running["hub_address"], token_file=token) as hub:
            receipt = (await hub.fulfillments.ReportPick(pick(str(uuid.uuid4())))).receipt
        assert receipt.outcome == types_pb2.FACT_OUTCOME_HELD
        return str(receipt.held_fact_id)

    return asyncio.run(report())


def test_each_word_ends_what_was_refused(dev: Dev, refused: list[str]) -> None:
    """Proves that the list groups them, that show says what came back, and that retry, resolve,
    resubmit and skip leave each delivery, and then the group, as the documents say."""
    row = rf"^(\w+) +REJECTED +OPEN +netsuite +create_sales_order +{STOPPED} "
    found = re.search(row, typed(dev, LIST), re.MULTILINE)
    assert found
    retried, resolved, resubmitted, skipped = refused
    assert re.search(r"^  got +400 ", typed(dev, SHOW.replace("ID", retried)), re.MULTILINE)
    for words, delivery, says in (
        ("crossdock delivery retry", retried, "is READY: it goes again"),
        ("crossdock resolve", resolved, "is CONFIRMED: confirmed by hand with sales_order SO-7"),
        ("crossdock delivery resubmit", resubmitted, "is SUPERSEDED: resubmitted as "),
        ("crossdock delivery skip", skipped, "is SKIPPED: "),
    ):
        assert says in typed(dev, written(words).replace("ID", delivery))
    shown = typed(dev, SHOW.replace("ID", retried))
    assert re.search(r"operator .*: retry, REJECTED to READY: period 05 is open", shown)
    deadline = time.monotonic() + WAIT_SECONDS
    closed = rf"^{found.group(1)} +REJECTED +CLOSED "
    while not re.search(closed, typed(dev, f"{LIST} --closed"), re.MULTILINE):
        assert time.monotonic() < deadline, typed(dev, f"{LIST} --closed")


def test_a_held_fact_is_driven_and_ended(dev: Dev) -> None:
    """Proves that the list shows a held fact, that to drive it tells why it still waits, and that
    to discard it ends it."""
    fact = held_fact(dev)
    assert re.search(r"HELD_FACT +OPEN +manhattan +ReportPick +1 ", typed(dev, LIST))
    drive = written("crossdock dead-letters drive").replace("FACT", fact)
    assert f"{fact} is HELD: " in typed(dev, drive)
    discard = written("crossdock dead-letters discard").replace("FACT", fact)
    assert f"{fact} is DISCARDED: " in typed(dev, discard)
    assert "HELD_FACT" not in typed(dev, LIST)


def test_the_status_of_an_endpoint_is_shown(dev: Dev) -> None:
    """Proves the command that the runbook names for an endpoint that is down."""
    command = "crossdock endpoint status"
    assert command in code(section(document(OPERATIONS), "An endpoint is down"))
    assert re.search(r"^netsuite +ACTIVE +closed +\d+ at once", typed(dev, command), re.MULTILINE)
