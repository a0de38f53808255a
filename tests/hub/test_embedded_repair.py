"""A stream that nats-server can't read any more is set aside, made anew and filled by the hub."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from crossdock.bus import EVENT_STREAM, SCAN_STREAM
from crossdock_hub.bus.embedded_repair import TORN_AFTER_SECONDS, TornWatch, set_aside, torn_stream
from fixtures_hub import QUICK_LIMITS, Lane, RunningHub, deployment, seed_master_data
from fixtures_nats import eventually
from relay_parts import holds, ids_on
from story import Story

SAID = "JetStream stream '$G > {}' could not be recovered"
SET_ASIDE = "its files are set aside"


@pytest.fixture
def own_hub(tmp_path: Path) -> Iterator[RunningHub]:
    running = RunningHub(tmp_path, deployment(1), limits=json.dumps(QUICK_LIMITS)).start()
    yield running
    running.kill()


def streams_of(hub: RunningHub) -> Path:
    return hub.data / "nats" / "jetstream" / "jetstream" / "$G" / "streams"


async def published(hub: RunningHub) -> list[str]:
    """The ids of some events, in order, once all of them lie on the stream."""
    await seed_master_data(hub)
    async with Story(hub, Lane(1)) as story:
        for _ in range(3):
            await story.approved()
    await eventually(lambda: hub.count("events", "published_at IS NULL") == 0, "events")
    ids = await ids_on(hub.bus_address(), EVENT_STREAM)
    assert len(ids) == hub.count("events") > 0
    return ids


async def test_torn_streams_are_filled_again(own_hub: RunningHub) -> None:
    """Proves that the hub starts over streams with a wrong checksum and with half a description,
    says so once for each, and that all events lie on the stream again, in their places."""
    before = await published(own_hub)
    own_hub.kill()
    (streams_of(own_hub) / EVENT_STREAM / "meta.sum").write_bytes(b"0" * 16)
    description = streams_of(own_hub) / SCAN_STREAM / "meta.inf"
    description.write_bytes(description.read_bytes()[:20])
    own_hub.start()

    async def same() -> bool:
        return await holds(own_hub.bus_address(), EVENT_STREAM, before)

    await eventually(same, "the refill")
    assert own_hub.log().count(SET_ASIDE) == 2
    assert len(list((own_hub.data / "nats" / "torn").iterdir())) == 1


async def test_torn_while_the_hub_runs(own_hub: RunningHub) -> None:
    """Proves that a stream torn by the death of the server alone is whole again too, whether the
    connected hub makes it over the torn files or these are set aside first."""
    before, killed = await published(own_hub), own_hub.nats_pid
    (streams_of(own_hub) / EVENT_STREAM / "meta.sum").write_bytes(b"0" * 16)
    os.kill(killed, signal.SIGKILL)
    await eventually(lambda: own_hub.nats_pid not in (0, killed), "the server")
    await eventually(lambda: "nats-server restarted" in own_hub.log(), "the restart")

    async def same() -> bool:
        return await holds(own_hub.bus_address(), EVENT_STREAM, before)

    await eventually(same, "the refill")


@pytest.mark.parametrize(
    ("problem", "stream"),
    [
        (SAID.format(EVENT_STREAM), EVENT_STREAM),
        (SAID.format(SCAN_STREAM), SCAN_STREAM),
        (SAID.format("SOMEBODY_ELSES"), ""),
        (SAID.format("../" + EVENT_STREAM), ""),
        (f"JetStream stream '$G > {EVENT_STREAM}' is not current: x", ""),
        ("", ""),
    ],
)
def test_only_what_the_database_fills_is_torn(problem: str, stream: str) -> None:
    """Proves that no other stream, trouble or path is ever taken for one to set aside."""
    assert torn_stream(problem) == stream


def test_a_stream_being_made_is_not_torn() -> None:
    """Proves that only a stream of which it is said for the whole time is given up."""
    watch, said = TornWatch(), SAID.format(EVENT_STREAM)
    assert watch.look(said, 10.0) == ""
    assert watch.look("other trouble", 11.0) == ""
    assert watch.look(said, 12.0) == ""
    assert watch.look(said, 11.9 + TORN_AFTER_SECONDS) == ""
    assert watch.look(said, 12.0 + TORN_AFTER_SECONDS) == EVENT_STREAM


def test_the_newest_is_kept(tmp_path: Path) -> None:
    """Proves that what is set aside takes the place of what was, so that it can't fill a disk."""
    streams = tmp_path / "jetstream" / "jetstream" / "$G" / "streams"
    for text in ("old", "new"):
        (streams / EVENT_STREAM).mkdir(parents=True)
        (streams / EVENT_STREAM / "meta.inf").write_text(text)
        set_aside(tmp_path, EVENT_STREAM)
        assert not (streams / EVENT_STREAM).exists()
    kept = [path.read_text() for path in (tmp_path / "torn").rglob("*") if path.is_file()]
    assert kept == ["new"]
