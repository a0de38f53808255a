"""A hub below a service manager that waits for its word."""

from __future__ import annotations

import os
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from crossdock import supervision
from fixtures_hub import RunningHub
from fixtures_supervision import WATCHDOG_SECONDS, WORD_SECONDS, Manager


def test_a_hub_says_when_it_serves_lives_and_stops(
    manager: Manager, unstarted_hub: RunningHub
) -> None:
    """Proves that a manager hears READY when the hub serves and no sooner, then signs of life, none
    while the process stands still, and STOPPING when it is told to stop."""
    unstarted_hub.start()
    assert manager.heard() == supervision.READY
    assert [manager.heard() for _ in range(3)] == [supervision.ALIVE] * 3
    unstarted_hub.freeze()
    assert manager.falls_silent()
    unstarted_hub.thaw()
    assert unstarted_hub.stop() == 0
    assert manager.heard_after_signs_of_life() == supervision.STOPPING


def test_a_hub_that_can_not_start_is_never_ready(
    manager: Manager, unstarted_hub: RunningHub
) -> None:
    """Proves that a manager does not hear READY of a hub whose configuration is wrong."""
    code, _ = unstarted_hub.run_to_its_end(listen="0.0.0.0:0")
    assert code == 78
    with pytest.raises(TimeoutError):
        manager.heard(within_seconds=0.001)


@pytest.mark.parametrize(
    ("microseconds", "pid", "seconds"),
    [
        ("30000000", "", 30.0),
        ("500000", "own", 0.5),
        ("30000000", "1", None),
        ("0", "", None),
        ("", "", None),
        ("soon", "", None),
    ],
)
def test_signs_of_life_are_for_the_process_that_is_asked(
    microseconds: str, pid: str, seconds: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that WATCHDOG_USEC counts only where WATCHDOG_PID is this process or unset."""
    monkeypatch.setenv("WATCHDOG_USEC", microseconds)
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()) if pid == "own" else pid)
    assert supervision.watchdog_seconds() == seconds


def test_nobody_is_told_where_nobody_listens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that a manager that is not there, or gone, or far behind, stops and fails nothing."""
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not supervision.tell(supervision.READY)
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    assert not supervision.tell(supervision.READY)
    monkeypatch.setenv("NOTIFY_SOCKET", "vsock:2:1234")
    assert not supervision.tell(supervision.READY)
    full = Manager(tmp_path / "full")
    monkeypatch.setenv("NOTIFY_SOCKET", str(full.path))
    told = 0
    while supervision.tell(supervision.ALIVE):
        told += 1
    assert told > 0, "its queue was empty"
    full.close()


def test_ready_waits_until_a_busy_manager_reads(manager: Manager) -> None:
    """Proves that READY, which is said once, is not lost to a queue that is full for a moment."""
    signs = 0
    while supervision.tell(supervision.ALIVE):
        signs += 1
    with ThreadPoolExecutor(1) as thread:
        told = thread.submit(supervision.tell, supervision.READY)
        with pytest.raises(TimeoutError):
            told.result(WATCHDOG_SECONDS / 4)
        assert [manager.heard() for _ in range(signs)] == [supervision.ALIVE] * signs
        assert told.result(WORD_SECONDS)
    assert manager.heard() == supervision.READY


def test_a_name_outside_of_the_file_system_is_spoken_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proves that "@name" is taken for a name in the abstract space, as sd_notify(3) says."""
    name = f"crossdock-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(f"\0{name}")
        listening.settimeout(WORD_SECONDS)
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
        assert supervision.tell(supervision.STOPPING)
        assert listening.recv(64).decode() == "STOPPING=1"
