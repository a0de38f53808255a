"""The embedded nats-server: one holder of a directory, no orphan, restarted, honest health."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import stat
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from crossdock_hub import data_lock
from crossdock_hub.bus import embedded_config, embedded_probe
from crossdock_hub.bus.embedded import (
    DataDirectoryInUse,
    DataLock,
    EmbeddedNats,
    EmbeddedSettings,
    EmbeddedStartFailed,
    is_full,
    log_words,
)
from fixtures_nats import eventually, free_port, is_alive

MIB = 1024 * 1024
# What a server has to answer in that is not meant to be silent.
ANSWER_SECONDS = 20.0


def quick(directory: Path, **changes: object) -> EmbeddedSettings:
    values = {"health_interval_seconds": 0.1, "answer_timeout_seconds": 3.0} | changes
    return EmbeddedSettings(directory, **values)  # type: ignore[arg-type]


@pytest.fixture
async def embedded(tmp_path: Path) -> AsyncIterator[EmbeddedNats]:
    server = EmbeddedNats(quick(tmp_path / "data"))
    yield server
    await server.stop()


async def test_starts_locked_down(embedded: EmbeddedNats, tmp_path: Path) -> None:
    """Proves: loopback only, secrets in one file of mode 0600, not in argv; writes are synced."""
    address = await embedded.start()
    assert embedded.health.ok
    assert address.url.startswith("nats://127.0.0.1:")
    assert address.password not in repr(address)
    arguments = Path(f"/proc/{embedded.pid}/cmdline").read_bytes().decode()
    environment = Path(f"/proc/{embedded.pid}/environ").read_bytes().decode()
    assert address.password not in arguments + environment
    holding = [
        path
        for path in (tmp_path / "data").rglob("*")
        if path.is_file() and address.password in path.read_text(errors="replace")
    ]
    assert [path.name for path in holding] == ["server.conf"]
    assert stat.S_IMODE(holding[0].stat().st_mode) == 0o600
    ports = embedded._ports
    assert await embedded_probe.shortcomings(ports.monitoring, ANSWER_SECONDS) == ""
    rows = Path(f"/proc/{embedded.pid}/net/tcp").read_text().splitlines()
    bound = [row.split()[1] for row in rows if row.split()[3] == "0A"]
    ours = {f"{ports.client:04X}", f"{ports.monitoring:04X}"}
    assert {row for row in bound if row.split(":")[1] in ours} == {f"0100007F:{p}" for p in ours}


async def test_strangers_are_refused(embedded: EmbeddedNats) -> None:
    """Proves: without the generated password nobody gets in."""
    address = await embedded.start()
    stranger = type(address)(address.url, address.user, "guess")
    with pytest.raises(embedded_probe.NoAnswer):
        await embedded_probe.ping(stranger, embedded._ports.client, ANSWER_SECONDS)


async def test_address_outlives_restarts(tmp_path: Path) -> None:
    """Proves: port and credentials stay the same when server or hub are started again."""
    settings = quick(tmp_path / "data")
    first = EmbeddedNats(settings)
    address = await first.start()
    pid = first.pid
    os.kill(pid, signal.SIGKILL)
    await eventually(lambda: first.restarts == 1 and first.health.ok, "the restart")
    assert first.address == address and first.pid != pid
    await first.stop()
    assert not is_alive(pid) and not first.health.ok
    second = EmbeddedNats(settings)
    assert await second.start() == address
    await second.stop()


async def test_any_name_of_a_directory(tmp_path: Path) -> None:
    """Proves: a directory may have any name that Linux takes (umlauts, blanks, quotes, bytes that
    are no text), and what its server was set up with is found again there."""
    for name in (b"entrep\xc3\xb4t \xe6\xb8\xaf", b'a "quoted" \\u00e9 $HOME #;', b"latin \xf4"):
        settings = quick(tmp_path / os.fsdecode(name))
        first = EmbeddedNats(settings)
        address = await first.start()
        await first.stop()
        assert embedded_config.load(settings).passwords[address.user] == address.password
        assert any(settings.store_directory.iterdir())
        second = EmbeddedNats(settings)
        assert await second.start() == address
        await second.stop()


async def test_port_of_the_last_run_taken(tmp_path: Path) -> None:
    """Proves: a remembered port that is taken gives way; a chosen one is an order and is named."""
    settings = quick(tmp_path / "data")
    first = EmbeddedNats(settings)
    before = await first.start()
    await first.stop()
    port = int(before.url.rpartition(":")[2])
    taken = await asyncio.start_server(lambda *_: None, "127.0.0.1", port)
    second = EmbeddedNats(settings)
    after = await second.start()
    assert after.url != before.url and after.password == before.password
    await second.stop()
    chosen = EmbeddedNats(quick(tmp_path / "other", port=port))
    with pytest.raises(EmbeddedStartFailed, match="address already in use"):
        await chosen.start()
    taken.close()


async def test_second_holder_is_refused(embedded: EmbeddedNats, tmp_path: Path) -> None:
    """Proves: one directory has one hub; the refusal is one sentence with directory and pid."""
    await embedded.start()
    script = "import sys; from pathlib import Path; from crossdock_hub.data_lock import DataLock\n"
    script += "try: DataLock(Path(sys.argv[1])).acquire()\nexcept Exception as e: print(e)"
    directory = tmp_path / "data"
    other = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", script, str(directory)), stdout=asyncio.subprocess.PIPE
    )
    told = (await other.communicate())[0].decode().strip()
    assert str(directory) in told and f"process {os.getpid()};" in told
    assert "\n" not in told
    with pytest.raises(DataDirectoryInUse):
        await EmbeddedNats(quick(directory)).start()
    assert embedded.health.ok


async def test_callers_lock_is_shared(tmp_path: Path) -> None:
    """Proves: a hub may hold the lock itself (for SQLite too); stop leaves it to its holder."""
    with DataLock(tmp_path / "data") as lock:
        server = EmbeddedNats(quick(tmp_path / "data"), lock)
        await server.start()
        await server.stop()
        assert lock.held
        with pytest.raises(DataDirectoryInUse, match=str(os.getpid())):
            DataLock(tmp_path / "data").acquire()
    with DataLock(tmp_path / "data") as again:
        assert again.held


def test_child_keeps_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Proves: a child that outlives its hub still holds the directory, and is named."""
    script = textwrap.dedent("""
        import subprocess, sys
        from pathlib import Path
        from crossdock_hub.data_lock import DataLock
        lock = DataLock(Path(sys.argv[1])).acquire()
        child = subprocess.Popen(["sleep", "60"], pass_fds=(lock.fileno(),),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        lock.note_child(child.pid)
        print(child.pid)
    """)
    directory = tmp_path / "data"
    told = subprocess.run([sys.executable, "-c", script, str(directory)], capture_output=True)
    child = int(told.stdout)
    monkeypatch.setattr(data_lock, "DEAD_HOLDER_GRACE_SECONDS", 0.2)
    try:
        with pytest.raises(DataDirectoryInUse, match=f"process {child};"):
            DataLock(directory).acquire()
    finally:
        os.kill(child, signal.SIGKILL)
    with DataLock(directory) as lock:
        assert lock.held


PARENT = """
import asyncio, sys
from pathlib import Path
from crossdock_hub.bus.embedded import EmbeddedNats, EmbeddedSettings
async def main():
    server = EmbeddedNats(EmbeddedSettings(Path(sys.argv[1])))
    await server.start()
    print("child", server.pid, flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""


async def test_no_orphan(tmp_path: Path) -> None:
    """Proves: kill -9 of the hub leaves no server after 1 s, and the directory is free again."""
    for _ in range(3):
        parent = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", PARENT, str(tmp_path / "data")),
            stdout=asyncio.subprocess.PIPE,
        )
        assert parent.stdout is not None
        lines = [line async for line in _until(parent.stdout, b"child")]
        child = int(lines[-1].split()[1])
        assert is_alive(child)
        parent.kill()
        await parent.wait()
        try:
            await eventually(lambda pid=child: not is_alive(pid), "the child's end", 1.0)
        finally:
            # One that was orphaned after all does not stay behind on the machine.
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)


async def test_hanging_server_is_replaced(embedded: EmbeddedNats) -> None:
    """Proves: a stopped (SIGSTOP) server is noticed, named and replaced."""
    await embedded.start()
    pid = embedded.pid
    os.kill(pid, signal.SIGSTOP)
    await eventually(lambda: "hangs" in embedded.health.reason, "notice")
    assert not embedded.health.ok
    await eventually(lambda: embedded.health.ok and embedded.restarts == 1, "replacement")
    assert embedded.pid != pid and not is_alive(pid)


async def test_endpoint_user(embedded: EmbeddedNats) -> None:
    """Proves: an endpoint admitted while the server runs can log in at once, and stays known."""
    await embedded.start()
    pid = embedded.pid
    address = await embedded.admit("netsuite")
    await embedded_probe.ping(address, embedded._ports.client, ANSWER_SECONDS)
    assert embedded.pid == pid
    assert await embedded.admit("netsuite") == address
    kept = json.loads(embedded._settings.configuration_file.read_text())
    assert [user["user"] for user in kept["authorization"]["users"]][1:] == ["netsuite"]


async def test_wrong_binary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Proves: the variable wins; a binary that is missing, or no server, is refused in words."""
    monkeypatch.setenv("CROSSDOCK_NATS_SERVER", str(tmp_path / "missing"))
    with pytest.raises(EmbeddedStartFailed, match="no executable file"):
        await EmbeddedNats(quick(tmp_path / "a")).start()
    broken = tmp_path / "server"
    broken.write_text("#!/bin/sh\necho 'it is broken' >&2\nexit 3\n")
    broken.chmod(0o700)
    monkeypatch.setenv("CROSSDOCK_NATS_SERVER", str(broken))
    with pytest.raises(EmbeddedStartFailed, match="it is broken"):
        await EmbeddedNats(quick(tmp_path / "a")).start()
    with DataLock(tmp_path / "a") as lock:
        assert lock.held


async def test_unsafe_servers_are_refused() -> None:
    """Proves: an old version, or one that does not sync every write, is found out from /varz."""
    answers = iter(['{"version": "2.14.9"}', '{"version": "2.15.1", "jetstream": {"config": {}}}'])

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"HTTP/1.0 200 OK\r\n\r\n" + next(answers).encode())
        await writer.drain()
        writer.close()

    port = free_port()
    async with await asyncio.start_server(answer, "127.0.0.1", port):
        assert "2.15.1 or later" in await embedded_probe.shortcomings(port, ANSWER_SECONDS)
        assert "sync" in await embedded_probe.shortcomings(port, ANSWER_SECONDS)
    assert embedded_config.version_of("2.15.1-beta.2") == (2, 15, 1)
    assert embedded_config.version_of("next") == ()


async def _until(stream: asyncio.StreamReader, start: bytes) -> AsyncIterator[bytes]:
    while line := await stream.readline():
        yield line
        if line.startswith(start):
            return


@contextlib.contextmanager
def mounted(directory: Path, options: str) -> Iterator[Path]:
    """A file system of its own; needs the right to mount."""
    directory.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(directory)], capture_output=True
    )
    if made.returncode:
        pytest.skip("this user may not mount a small file system")
    yield directory
    subprocess.run(["umount", "-l", str(directory)], check=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """12 MiB."""
    with mounted(tmp_path / "disk", "size=12m") as directory:
        yield directory


@pytest.fixture
def few_files(tmp_path: Path) -> Iterator[Path]:
    """64 MiB, and 400 files at most."""
    with mounted(tmp_path / "disk", "size=64m,nr_inodes=400") as directory:
        yield directory


async def test_a_volume_without_files_is_full(few_files: Path) -> None:
    """Proves on a volume that may have no more files, though most of its bytes are free: health is
    red and says so, nothing is restarted meanwhile, and with files again it heals by itself."""
    import nats

    server = EmbeddedNats(quick(few_files, min_free_bytes=4 * MIB, min_free_files=64))
    address = await server.start()
    client = await nats.connect(address.url, user=address.user, password=address.password)
    stream = client.jetstream()
    await stream.add_stream(name="kept", subjects=["kept"])
    await stream.publish("kept", b"kept")
    ballast = few_files / "ballast"
    ballast.mkdir()
    for number in range(os.statvfs(few_files).f_ffree):
        (ballast / str(number)).touch()
    free = os.statvfs(few_files)
    assert (free.f_ffree, free.f_bavail * free.f_frsize > 32 * MIB) == (0, True)
    with pytest.raises(Exception, match=r"space|stream|timeout|resource"):
        await stream.add_stream(name="more", subjects=["more"])
    await eventually(lambda: "KiB and 0 files free" in server.health.reason, "the red light")
    assert is_full(server.health) and server.restarts == 0
    for file in ballast.iterdir():
        file.unlink()
    await eventually(lambda: server.health.ok, "the recovery")
    await eventually(lambda: client.is_connected, "the reconnect")
    assert (await stream.stream_info("kept")).state.messages == 1
    await stream.add_stream(name="more", subjects=["more"])
    await stream.publish("more", b"again", timeout=ANSWER_SECONDS)
    await client.close()
    await server.stop()


async def test_disk_full_is_named_and_healed(small_disk: Path) -> None:
    """Proves: a full disk turns health red with its cause; with space again it heals by itself."""
    import nats

    server = EmbeddedNats(quick(small_disk, min_free_bytes=4 * MIB))
    address = await server.start()
    client = await nats.connect(address.url, user=address.user, password=address.password)
    stream = client.jetstream()
    await stream.add_stream(name="fill", subjects=["fill"])
    await stream.publish("fill", b"kept")
    ballast = small_disk / "ballast"
    free = os.statvfs(small_disk)
    ballast.write_bytes(b"x" * (free.f_bavail * free.f_frsize - MIB // 4))
    stored = 1
    try:
        for _ in range(40):
            await stream.publish("fill", b"x" * 20_000, timeout=0.3)
            stored += 1
    except Exception as full:
        assert "stream" in str(full) or "timeout" in str(full) or "resource" in str(full)
    await eventually(lambda: "is full" in server.health.reason, "the red light")
    assert not server.health.ok
    ballast.unlink()
    await eventually(lambda: server.health.ok, "the recovery")
    assert server.address == address
    await eventually(lambda: client.is_connected, "the reconnect")
    state = (await stream.stream_info("fill")).state
    assert state.messages >= stored
    await stream.publish("fill", b"again", timeout=ANSWER_SECONDS)
    await client.close()
    await server.stop()


def test_a_blank_line_of_the_banner_is_no_error() -> None:
    """Proves that a line is read by its level, a blank one too, which stood in the reason of every
    restart, and that what has none of the server's form counts as an error."""
    assert log_words("[21117] [INF]") == ("INF", "")
    assert log_words("[21117] [WRN] Plaintext passwords") == ("WRN", "Plaintext passwords")
    assert log_words("panic: runtime error") == ("ERR", "panic: runtime error")
