"""The embedded nats-server's keeper: how often it tries, what it refuses, what it never tells."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import signal
import sys
import textwrap
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
from crossdock_hub import data_lock
from crossdock_hub.bus import embedded, embedded_config, embedded_probe, embedded_room
from crossdock_hub.bus.address import BusAddress, BusHealth
from crossdock_hub.bus.embedded import (
    DataDirectoryInUse,
    DataLock,
    EmbeddedNats,
    EmbeddedSettings,
    EmbeddedStartFailed,
    is_full,
)
from crossdock_hub.bus.embedded_room import MAX_VAIN_PAUSE_SECONDS, Room
from crossdock_hub.bus.streams import HUB_USER
from crossdock_hub.hub import told_health
from fixtures_nats import eventually
from structlog.testing import capture_logs

# Pauses of 0.1, 0.2, 0.4 and 0.8 s lie before the fourth try.
FOUR_TRIES_SECONDS = 1.5
SICK_SECONDS = 0.1
PLENTY = Room(1 << 30, 1_000_000)
QUOTA = "[7] [ERR] JetStream failed to store a msg on stream 'events': disk quota exceeded"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[EmbeddedNats]:
    """One that is looked at often."""
    settings = EmbeddedSettings(
        tmp_path / "data", health_interval_seconds=0.1, answer_timeout_seconds=10.0
    )
    made = EmbeddedNats(settings)
    yield made
    await made.stop()


def script(path: Path, text: str) -> str:
    """An executable file."""
    path.write_text(textwrap.dedent(text).lstrip())
    path.chmod(0o700)
    return str(path)


async def test_pauses_between_restarts_grow_to_their_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that a server which does not come up is tried after pauses that double up to the
    longest one and no further, without an end, and that health says why meanwhile."""
    told: list[str] = []
    settings = EmbeddedSettings(tmp_path / "data", max_restart_pause_seconds=1.0)
    keeper = EmbeddedNats(settings, on_health=lambda health: told.append(health.reason))
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(round(seconds, 6))

    async def launch() -> None:
        if len(pauses) < 7:
            raise EmbeddedStartFailed(f"no room, the {len(pauses)}. time")

    monkeypatch.setattr(asyncio, "sleep", sleep)
    monkeypatch.setattr(keeper, "_launch", launch)
    await keeper._restart("it died")
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 1.0]
    assert told == [f"no room, the {n}. time; trying again" for n in range(1, 7)]
    assert keeper.restarts == 1


async def test_a_server_that_dies_again_and_again_is_not_hurried(
    server: EmbeddedNats, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves with real processes that the tries of a server that ends at once lie apart, that
    health says what it said, that it serves again once it can, and that the pauses are short
    again when it has been steady."""
    monkeypatch.setattr(embedded, "STEADY_SECONDS", 3600.0)
    await server.start()
    tries = tmp_path / "tries"
    broken = f"#!/bin/sh\necho try >> {tries}\necho 'the disk is on fire' >&2\nexit 3\n"
    monkeypatch.setenv("CROSSDOCK_NATS_SERVER", script(tmp_path / "broken", broken))
    began = time.monotonic()
    os.kill(server.pid, signal.SIGKILL)

    def tried() -> int:
        return tries.read_text().count("try") if tries.exists() else 0

    await eventually(lambda: tried() >= 4, "four tries")
    assert time.monotonic() - began >= FOUR_TRIES_SECONDS
    assert not server.health.ok and "the disk is on fire; trying again" in server.health.reason
    monkeypatch.delenv("CROSSDOCK_NATS_SERVER")
    await eventually(lambda: server.health.ok and server.pid, "the restart")
    assert server._failures >= 4
    monkeypatch.setattr(embedded, "STEADY_SECONDS", 0.3)
    await eventually(lambda: server._failures == 0, "a steady server")


async def test_a_server_that_may_lose_writes_is_not_used(
    server: EmbeddedNats, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves with a real server that does not sync each write (its configuration is changed on the
    way) that the start is refused in words, nothing runs, and the directory is free."""
    real = embedded_config.find_server(server._settings)
    lossy = f"""
        #!{sys.executable}
        import json, os, sys
        path = sys.argv[2]
        told = json.load(open(path))
        del told["jetstream"]["sync_interval"]
        json.dump(told, open(path, "w"))
        os.execv({str(real)!r}, [{str(real)!r}, *sys.argv[1:]])
    """
    monkeypatch.setenv("CROSSDOCK_NATS_SERVER", script(tmp_path / "lossy", lossy))
    with pytest.raises(EmbeddedStartFailed, match="sync"):
        await server.start()
    assert server.pid == 0 and not server.health.ok
    with DataLock(tmp_path / "data") as lock:
        assert lock.held


async def test_the_running_server_holds_the_directory(
    server: EmbeddedNats, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that the server itself shares the lock: where its hub has let go, as one that died,
    a second hub is still refused while the server writes, and gets the directory after it."""
    monkeypatch.setattr(data_lock, "DEAD_HOLDER_GRACE_SECONDS", 0.2)
    await server.start()
    server._lock.release()
    with pytest.raises(DataDirectoryInUse):
        DataLock(tmp_path / "data").acquire()
    await server.stop()
    with DataLock(tmp_path / "data") as lock:
        assert lock.held


async def test_passwords_reach_neither_log_nor_reason(server: EmbeddedNats) -> None:
    """Proves that a line of the server which repeats a generated password is passed on, kept as
    the reason of an end, and holds no password in either."""
    await server.start()
    configuration = json.loads(server._settings.configuration_file.read_text())
    (user,) = configuration["authorization"]["users"]
    assert user["user"] == HUB_USER
    with capture_logs() as lines:
        server._log_line(f"[7] [ERR] cannot parse {user['password']} in server.conf")
    assert [line["event"] for line in lines] == ["cannot parse *** in server.conf"]
    assert list(server._troubles) == ["cannot parse *** in server.conf"]


async def test_a_server_that_waits_for_room_is_told_as_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that the reason of a server that does not answer is the full disk where its disk is
    full, at the first look already, and that it hangs where there is room."""
    keeper = EmbeddedNats(EmbeddedSettings(tmp_path / "data"))

    async def no_answer(*_: object) -> str:
        raise embedded_probe.NoAnswer("no answer within 2 s")

    monkeypatch.setattr(embedded_probe, "healthz", no_answer)
    free = {"room": Room(0, 1_000)}
    monkeypatch.setattr(keeper, "_room", lambda: free["room"])
    assert await keeper._examine() == "" and is_full(keeper.health)
    free["room"] = PLENTY
    keeper._missed = 0
    assert await keeper._examine() == "" and not is_full(keeper.health)
    assert keeper.health.reason == "nats-server hangs: no answer within 2 s"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """The supervisor's clock, put on by hand."""
    told = {"now": 1_000.0}
    monkeypatch.setattr(embedded, "time", SimpleNamespace(monotonic=lambda: told["now"]))
    return told


@pytest.fixture
def keeper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EmbeddedNats:
    """One whose volume reports room, whatever is stored."""
    made = EmbeddedNats(EmbeddedSettings(tmp_path / "data"))
    monkeypatch.setattr(made, "_room", lambda: PLENTY)
    return made


def restarted_after(keeper: EmbeddedNats, clock: dict[str, float], seconds: int) -> list[float]:
    """When a server that finds no room, and again none after each restart, was to be restarted."""
    began, restarts = clock["now"], []
    while clock["now"] < began + seconds:
        keeper._log_line(QUOTA)
        if why := keeper._treat(""):
            assert why == "the disk has space again; nats-server stores only after a restart"
            restarts.append(clock["now"] - began)
            keeper._disk_was_full = False
        else:
            assert is_full(keeper.health)
        clock["now"] += 1.0
    return restarts


def test_room_that_is_none_is_not_believed_again_and_again(
    keeper: EmbeddedNats, clock: dict[str, float]
) -> None:
    """Proves that a server whose volume reports room that a quota does not give is restarted at
    once, then after pauses that double up to their limit, and that health says meanwhile what the
    volume reports and what to do."""
    restarts = restarted_after(keeper, clock, 1_500)
    assert restarts == [0, 10, 30, 70, 150, 310, 610, 910, 1210]
    assert restarts[-1] - restarts[-2] == MAX_VAIN_PAUSE_SECONDS
    reason = keeper.health.reason
    assert "it reports 1048576 KiB and 1000000 files free, yet nats-server can't write" in reason
    assert "quota" in reason and "every 300 s" in reason


async def test_room_is_believed_again_after_news(
    keeper: EmbeddedNats, clock: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that the first restart is at once again after the volume was seen full, and after the
    server was well for a while; not after a moment."""
    assert restarted_after(keeper, clock, 60) == [0, 10, 30]
    monkeypatch.setattr(keeper, "_room", lambda: Room(PLENTY.bytes, 0))
    keeper._log_line(QUOTA)
    assert keeper._treat("") == "" and " KiB and 0 files free" in keeper.health.reason
    monkeypatch.setattr(keeper, "_room", lambda: PLENTY)
    assert restarted_after(keeper, clock, 60) == [0, 10, 30]

    async def well(*_: object) -> str:
        return ""

    monkeypatch.setattr(embedded_probe, "healthz", well)
    monkeypatch.setattr(embedded_probe, "ping", well)
    monkeypatch.setattr(EmbeddedNats, "address", BusAddress("nats://127.0.0.1:1", "", ""))
    # The fourth pause is of 40 s, the fifth of 80 s.
    for steady, restarts in ((0.5, [0]), (2.0, [0, 10, 30])):
        keeper._disk_was_full, keeper._up_since = False, clock["now"]
        clock["now"] += steady * embedded.STEADY_SECONDS
        assert await keeper._examine() == "" and keeper.health.ok
        assert restarted_after(keeper, clock, 60) == restarts


async def test_a_server_that_hangs_for_want_of_room_waits_for_it(
    keeper: EmbeddedNats, clock: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that one which said that it finds no room, and then answers nobody, is restarted no
    oftener than one that answers."""

    async def no_answer(*_: object) -> str:
        raise embedded_probe.NoAnswer("no answer within 2 s")

    monkeypatch.setattr(embedded_probe, "healthz", no_answer)
    restarts = []
    for second in range(60):
        keeper._log_line(QUOTA)
        if await keeper._examine():
            restarts.append(second)
            keeper._missed = 0
        clock["now"] += 1.0
    assert restarts == [1, 11, 31]


async def test_a_start_that_finds_no_room_is_tried_later_and_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that a server which can't even be started for want of room, though its volume reports
    some, is tried after pauses that grow, and that health says what to do; not so one that can't
    be started for another reason."""
    said: list[str] = []
    keeper = EmbeddedNats(
        EmbeddedSettings(tmp_path / "data", max_restart_pause_seconds=0.001),
        on_health=lambda health: said.append(health.reason),
    )
    tries: list[float] = []
    trouble = [OSError(errno.EMFILE, "Too many open files")]
    trouble += [OSError(errno.EDQUOT, "Disk quota exceeded") for _ in range(3)]

    async def launch() -> None:
        tries.append(time.monotonic())
        if trouble:
            raise trouble.pop(0)

    monkeypatch.setattr(keeper, "_room", lambda: PLENTY)
    monkeypatch.setattr(keeper, "_launch", launch)
    monkeypatch.setattr(embedded_room, "FIRST_VAIN_PAUSE_SECONDS", 0.2)
    await asyncio.wait_for(keeper._restart("it ended"), 60)
    gaps = [later - sooner for sooner, later in pairwise(tries)]
    assert all(gap >= least for gap, least in zip(gaps[1:], (0.2, 0.4, 0.8), strict=True)), gaps
    assert said[0] == "[Errno 24] Too many open files; trying again"
    assert "yet nats-server can't write there" in said[1] and "quota exceeded" in said[1]
    assert keeper.restarts == 1


@pytest.mark.parametrize("seen_at", ["the start", "the first look"])
async def test_a_start_without_room_goes_on_when_room_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seen_at: str
) -> None:
    """Proves that a start which fails while the volume itself reports too little, before the pause
    or during it, is told as a full disk and tried again soon, however long a pause would be."""
    said: list[str] = []
    settings = EmbeddedSettings(
        tmp_path / "data", max_restart_pause_seconds=0.001, health_interval_seconds=0.01
    )
    keeper = EmbeddedNats(settings, on_health=lambda health: said.append(health.reason))
    # Not full by what a write needs, and less than what a restart is worth.
    little = Room(settings.min_free_bytes - 1, PLENTY.files)
    assert not little.is_full
    reported = [little] if seen_at == "the start" else [PLENTY, PLENTY, PLENTY, PLENTY, little]
    trouble = [OSError(errno.ENOSPC, "No space left on device")]

    async def launch() -> None:
        if trouble:
            raise trouble.pop(0)

    monkeypatch.setattr(keeper, "_room", lambda: reported.pop(0) if reported[1:] else little)
    monkeypatch.setattr(keeper, "_launch", launch)
    await asyncio.wait_for(keeper._restart("it ended"), 60)
    assert keeper.restarts == 1
    assert "nats-server stores nothing and is restarted when 65536 KiB" in said[-1]
    assert keeper._vain.pause_seconds(time.monotonic()) == 0


async def test_health_is_asked_for_whole() -> None:
    """Proves that the server is asked for its health without a parameter: one that says it is well
    as long as JetStream is switched on, and names what is wrong otherwise, is told as not well."""
    asked: list[str] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = (await reader.readline()).split()[1].decode()
        asked.append(path)
        told = json.dumps({"status": "unavailable", "error": "no room for the meta layer"})
        status = "200 OK" if "js-enabled-only" in path else "503 Service Unavailable"
        writer.write(f"HTTP/1.0 {status}\r\n\r\n{told}".encode())
        writer.close()

    monitoring = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = monitoring.sockets[0].getsockname()[1]
    async with monitoring:
        assert await embedded_probe.healthz(port, 5.0) == "no room for the meta layer"
    assert asked == ["/healthz"]


async def test_a_server_that_stays_unwell_is_restarted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that a server which answers, has room, and says for longer than sick_restart_seconds
    that it is not well is to be restarted, with its own word as the reason, and not before."""
    settings = EmbeddedSettings(tmp_path / "data", sick_restart_seconds=SICK_SECONDS)
    keeper = EmbeddedNats(settings)

    async def unwell(*_: object) -> str:
        return "no quorum"

    async def pong(*_: object) -> None:
        return None

    monkeypatch.setattr(embedded_probe, "healthz", unwell)
    monkeypatch.setattr(embedded_probe, "ping", pong)
    monkeypatch.setattr(EmbeddedNats, "address", BusAddress("nats://127.0.0.1:1", "", ""))
    monkeypatch.setattr(keeper, "_room", lambda: PLENTY)
    began = time.monotonic()
    assert await keeper._examine() == ""
    assert keeper.health.reason == "nats-server is not healthy: no quorum"
    why = ""
    while not why and time.monotonic() - began < 100 * SICK_SECONDS:
        await asyncio.sleep(SICK_SECONDS / 10)
        why = await keeper._examine()
    assert why == "nats-server is not healthy: no quorum; it is being restarted"
    assert time.monotonic() - began >= SICK_SECONDS


FULL = "the disk of /data is full: 0 KiB free"


@pytest.mark.parametrize(
    ("reasons", "said"),
    [
        (["it hangs", "it hangs still", FULL, FULL + " yet"], ["it hangs", FULL]),
        ([FULL, "it hangs", FULL], [FULL]),
        (
            ["it hangs", FULL, "", FULL, "", "it hangs"],
            ["it hangs", FULL, "", FULL, "", "it hangs"],
        ),
        (["", ""], []),
    ],
)
def test_a_full_disk_is_said_though_something_else_was(reasons: list[str], said: list[str]) -> None:
    """Proves that the log names a full disk once for each time that nothing is stored, also where
    the server was first taken for one that hangs, and repeats neither."""
    tell, since = told_health(), datetime.now(UTC)
    with capture_logs() as lines:
        for reason in reasons:
            tell(BusHealth(not reason, reason, since))
    assert [line.get("because", "") for line in lines] == said


async def test_a_child_whose_end_is_cut_short_ends(tmp_path: Path) -> None:
    """Proves that a server which takes its time to end is killed where whoever ends it is
    cancelled: the hub stopped while it restarted its server, and left one that nobody knew."""
    deaf = "import signal, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN)"
    # It ends with who started it at the latest: there is nothing more to read then.
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", f"{deaf}; print(flush=True); sys.stdin.read()"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert child.stdout is not None
    await child.stdout.readline()
    ending = asyncio.create_task(embedded._end(child, 60.0))
    # One turn: it has been asked to end, and is waited for.
    await asyncio.sleep(0)
    assert child.returncode is None
    ending.cancel()
    async with asyncio.timeout(10):
        await child.wait()
    assert ending.cancelled() and child.returncode == -signal.SIGKILL
