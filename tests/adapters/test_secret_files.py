"""Secrets in files: read again when they may have changed, and taken at the next call then."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from crossdock_adapters.sdk import settings
from crossdock_adapters.sdk.settings import Secrets, SettingsError

OLD, NEW = "0ld-s3cret", "n3w-s3cret"


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that counts each write: what is in a file is settled at once."""
    monkeypatch.setattr(settings, "FILE_TIME_STEP_NS", 0)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that were read, in their order."""
    read: list[str] = []
    really = settings._read_file

    def reading(name: str, place: str) -> tuple[str, settings._FileState | None]:
        read.append(place)
        return really(name, place)

    monkeypatch.setattr(settings, "_read_file", reading)
    return read


def written(path: Path) -> None:
    path.write_text(NEW)


def replaced(path: Path) -> None:
    beside = path.with_name("beside")
    beside.write_text(NEW)
    # With the very times of the one before.
    kept = path.stat()
    os.utime(beside, ns=(kept.st_atime_ns, kept.st_mtime_ns))
    beside.rename(path)


def written_with_its_time(path: Path) -> None:
    kept = path.stat()
    path.write_text(NEW)
    os.utime(path, ns=(kept.st_atime_ns, kept.st_mtime_ns))


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("rotate", [written, replaced, written_with_its_time])
def test_a_rotated_secret_is_taken_at_the_next_call(
    tmp_path: Path, rotate: Callable[[Path], None]
) -> None:
    """Proves that a secret which is written over, replaced by a rename, or written with the time
    that the file had, with as many bytes as before, is the new one for whoever asks next."""
    path = tmp_path / "secret"
    path.write_text(OLD)
    secrets = Secrets({"a": f"file:{path}"})
    assert secrets.text("a") == OLD and list(secrets.values()) == [OLD]
    wait_for_a_step(path)
    rotate(path)
    assert list(secrets.values()) == [NEW] and secrets.text("a") == NEW


def wait_for_a_step(path: Path) -> None:
    """Until the file system would give a write another time than the file's."""
    probe, deadline = path.with_name("probe"), time.monotonic() + 10
    probe.touch()
    while probe.stat().st_ctime_ns <= path.stat().st_ctime_ns:
        assert time.monotonic() < deadline
        probe.touch()


@pytest.mark.usefixtures("settled")
def test_a_mounted_secret_is_swapped_as_kubernetes_does(tmp_path: Path) -> None:
    """Proves that a secret behind symbolic links, of which the one to the directory is replaced, is
    the new one for whoever asks next, and the one before when it is rolled back."""
    for version, value in (("..1", OLD), ("..2", NEW)):
        (tmp_path / version).mkdir()
        (tmp_path / version / "secret").write_text(value)
    (tmp_path / "secret").symlink_to("..data/secret")
    secrets = Secrets({"a": f"file:{tmp_path / 'secret'}"})
    for version, value in (("..1", OLD), ("..2", NEW), ("..1", OLD)):
        (tmp_path / "..data_tmp").symlink_to(version)
        (tmp_path / "..data_tmp").rename(tmp_path / "..data")
        assert secrets.text("a") == value and list(secrets.values()) == [value]


@pytest.mark.usefixtures("settled")
def test_a_file_that_stays_is_read_once(tmp_path: Path, reads: list[str]) -> None:
    """Proves that a secret that does not change is read once, however often it is asked for."""
    for name in ("a", "b"):
        (tmp_path / name).write_text(f"{name}-s3cret")
    secrets = Secrets({name: f"file:{tmp_path / name}" for name in ("a", "b")})
    for _ in range(5):
        assert list(secrets.values()) == ["a-s3cret", "b-s3cret"]
        assert secrets.text("b") == "b-s3cret"
    assert reads == [str(tmp_path / "a"), str(tmp_path / "b")]


def test_what_was_written_just_now_is_read_each_time(tmp_path: Path, reads: list[str]) -> None:
    """Proves that a file is not trusted to stay while another write to it would have the same
    time: a file system counts in steps."""
    path = tmp_path / "secret"
    path.write_text(OLD)
    secrets = Secrets({"a": f"file:{path}"})
    for value in (OLD, NEW, OLD, NEW):
        path.write_text(value)
        assert secrets.text("a") == value
    assert len(reads) == 4


@pytest.mark.usefixtures("settled")
def test_a_secret_that_goes_is_not_kept(tmp_path: Path) -> None:
    """Proves that of a file that is gone, and of one that has become too large, nobody is given
    what was in it, and that the file is named; and that it is taken again when it is back."""
    path = tmp_path / "secret"
    path.write_text(OLD)
    secrets = Secrets({"a": f"file:{path}"})
    assert secrets.text("a") == OLD
    path.unlink()
    with pytest.raises(SettingsError, match="secret: No such file"):
        secrets.text("a")
    assert list(secrets.values()) == []
    path.write_bytes(b"x" * (settings.MAX_SECRET_BYTES + 1))
    with pytest.raises(SettingsError, match="too large"):
        secrets.text("a")
    path.write_text(NEW)
    assert secrets.text("a") == NEW


def test_a_pipe_is_read_each_time(tmp_path: Path) -> None:
    """Proves that what is no plain file, of which size and times say nothing, is read each time."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    secrets = Secrets({"a": f"file:{path}"})
    for value in (OLD, NEW):
        writing = threading.Thread(target=path.write_text, args=(value,))
        writing.start()
        assert secrets.text("a") == value
        writing.join()
