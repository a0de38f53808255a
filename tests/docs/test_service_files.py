"""The files under deploy/: what a service manager and a container builder make of them."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from configparser import ConfigParser
from pathlib import Path

import pytest
from crossdock_hub.config import Settings
from fenced import document, section
from source_files import ROOT

SYSTEMD = ROOT / "deploy" / "systemd"
CONTAINERFILE = ROOT / "deploy" / "container" / "Containerfile"
UNITS = sorted(SYSTEMD.iterdir())
# Of systemd's own: what our units name or imply, empty.
TARGETS = (
    "basic", "local-fs", "multi-user", "network-online", "network", "shutdown", "sysinit",
    "time-set", "time-sync", "timers",
)  # fmt: skip
PROGRAMS = ("opt/crossdock/bin/python", "opt/crossdock/bin/crossdock", "bin/sh")
EXIT_CONFIGURATION = "78"
# What hub and adapters promise.
STOP_SECONDS_MAX = 10.0


class Unit(ConfigParser):
    """A unit file; of a key that is there several times the last one."""

    def __init__(self, path: Path) -> None:
        super().__init__(strict=False, interpolation=None, delimiters="=", comment_prefixes="#")
        self.optionxform = str  # type: ignore[assignment,method-assign]
        self.read_string(path.read_text().replace("\\\n", " "))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A file system that has our units, what they refer to, and nothing else."""
    units = tmp_path / "etc" / "systemd" / "system"
    units.mkdir(parents=True)
    for unit in UNITS:
        shutil.copy(unit, units)
    for target in TARGETS:
        (units / f"{target}.target").write_text(f"[Unit]\nDescription={target}\n")
    for program in PROGRAMS:
        path = tmp_path / program
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)
    return tmp_path


def complaints(root: Path) -> str:
    """What systemd has to say of our units, as they lie there."""
    names = [unit.name.replace("@.", "@carriers.") for unit in UNITS]
    done = subprocess.run(
        ["systemd-analyze", "verify", f"--root={root}", *names],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    return done.stderr + ("" if done.returncode == 0 else f"status {done.returncode}")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd here")
def test_systemd_understands_every_line(root: Path) -> None:
    """Proves that systemd finds nothing in the units that it does not know, and finds a misspelt
    key."""
    assert complaints(root) == ""
    hub = root / "etc/systemd/system/crossdock-hub.service"
    hub.write_text(hub.read_text().replace("WatchdogSec=", "WatchdogSecond="))
    assert "WatchdogSecond" in complaints(root)


@pytest.mark.parametrize("name", ["crossdock-hub", "crossdock-adapters@"])
def test_only_the_process_itself_is_told_to_stop(name: str) -> None:
    """Proves what a stop without loss needs: SIGTERM goes to the process alone, a hub ends
    nats-server when it has drained; it has more time than it takes; what is wrong in its
    configuration is not tried again, all else for ever."""
    service = Unit(SYSTEMD / f"{name}.service")["Service"]
    assert service["KillMode"] == "mixed"
    assert "KillSignal" not in service, "SIGTERM is what both drain at"
    assert float(service["TimeoutStopSec"].removesuffix("s")) > STOP_SECONDS_MAX
    assert service["Restart"] == "always"
    assert service["RestartPreventExitStatus"] == EXIT_CONFIGURATION
    assert Unit(SYSTEMD / f"{name}.service")["Unit"]["StartLimitIntervalSec"] == "0"


def test_variables_and_modules_are_there() -> None:
    """Proves that units and image set only settings that the hub has, and start what exists."""
    known = {f"CROSSDOCK_{name.upper()}" for name in Settings.model_fields}
    texts = [path.read_text() for path in (*UNITS, CONTAINERFILE)]
    for text in texts:
        assert set(re.findall(r"\bCROSSDOCK_[A-Z_]+", text)) <= known
    modules = {module for text in texts for module in re.findall(r"-m (crossdock\w+)", text)}
    assert modules == {"crossdock_hub", "crossdock_adapters"}


def test_the_image_takes_only_what_the_repository_has() -> None:
    """Proves that each COPY of the image names files that are there, and that packages come by the
    hashes of the lock."""
    lines = CONTAINERFILE.read_text().replace("\\\n", " ").splitlines()
    copied = [shlex.split(line)[1:-1] for line in lines if line.startswith("COPY ")]
    for name in (name for names in copied for name in names if not names[0].startswith("--from")):
        assert (ROOT / name).exists(), name
    (locked, ours) = [line for line in lines if "pip install" in line]
    assert "--require-hashes --requirement requirements.lock" in locked
    assert "--no-deps --no-build-isolation" in ours
    for folder in re.findall(r"\./\S+", ours):
        assert (ROOT / folder / "pyproject.toml").exists(), folder
    assert any(line.startswith("USER ") and "root" not in line for line in lines)


def test_the_commands_that_install_it_name_what_is_there() -> None:
    """Proves that the documents install by the steps of the image, and that units, files, users and
    settings that they name are those of the repository."""
    operations = document("docs/operations.md")
    services, container = (section(operations, name) for name in ("As services", "In a container"))
    for path in re.findall(r"(?:\./|\bdeploy/)[\w./-]+", services + container):
        assert (ROOT / path).exists(), path
    steps = re.sub(r"(\s|\\\n|--no-cache-dir)+", " ", CONTAINERFILE.read_text())
    for line in services.splitlines():
        if "/bin/pip install" in line:
            assert line in steps, line
    users = {Unit(path)["Service"]["User"] for path in UNITS if path.suffix == ".service"}
    assert set(re.findall(r"useradd .* (\S+)$", services, re.MULTILINE)) == users
    named = {unit.name.removesuffix(".service") for unit in UNITS} - {"crossdock-back-up"}
    (enabled,) = re.findall(r"enable --now (.*)", services)
    assert set(enabled.replace("@carriers", "@").split()) == named
    known = {f"CROSSDOCK_{name.upper()}" for name in Settings.model_fields}
    assert set(re.findall(r"CROSSDOCK_[A-Z_]+", container)) <= known
