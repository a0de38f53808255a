"""The files under deploy/, carried out: what the image builds, and what units start and stop."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from crossdock import supervision
from deployed import SYSTEMD, Image, Machine, Service
from fixtures_supervision import Manager, ups_adapter_file

DAY_SECONDS = 86_400
# Of ten, which is a service that nothing keeps from anything.
EXPOSURE_MAX = "20"


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """One with what the image's own commands install."""
    made = Machine(tmp_path_factory.mktemp("machine"))
    (made.root / "etc/crossdock/endpoints.json").write_text(json.dumps({"oms": {"role": "OMS"}}))
    done = Image(made).make()
    assert [line.split()[0] for line in done] == ["python", "/opt/crossdock/bin/pip"]
    return made


@contextmanager
def ended(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """End it, however the test goes."""
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def settings(machine: Machine, text: str) -> None:
    """Write the settings of the hub, a variable a line, as the unit's file has them."""
    (machine.root / "etc/crossdock/hub.env").write_text(f"# ours\n{text}")


def test_the_image_runs_what_it_built(machine: Machine, manager: Manager) -> None:
    """Proves that what the image copies is enough to build and install the three distributions,
    that what it runs serves with the variables it sets, and ends at its stop signal with 0."""
    image = Image(machine)
    (machine.root / "var/lib/crossdock").mkdir(mode=0o700, exist_ok=True)
    own = image.variables() | {"CROSSDOCK_LISTEN": "127.0.0.1:0"}
    program = shutil.which(image.command()[0], path=own["PATH"])
    assert program == f"{machine.root}/opt/crossdock/bin/crossdock"
    command = [program, *image.command()[1:]]
    with ended(subprocess.Popen(command, env=machine.environment(own), cwd="/")) as hub:
        assert manager.heard() == supervision.READY
        hub.send_signal(image.stop_signal)
        assert manager.heard_after_signs_of_life() == supervision.STOPPING
        assert hub.wait(30) == 0


def test_the_hub_of_the_unit_serves_is_backed_up_and_stops(
    machine: Machine, manager: Manager
) -> None:
    """Proves that the line of the hub's unit starts a hub with its variables and those of its file,
    that the back-up unit copies its database meanwhile, for its user only, and then deletes what is
    old and nothing else; and that the hub ends at SIGTERM with 0, sooner than it is killed."""
    settings(machine, "CROSSDOCK_LISTEN=127.0.0.1:0\n")
    unit = Service(machine, "crossdock-hub")
    copies = machine.root / "var/lib/crossdock-back-ups"
    with ended(unit.start()) as hub:
        assert manager.heard() == supervision.READY
        copies.mkdir(mode=0o700, exist_ok=True)
        for name, age_days in (("crossdock-20200101T000000Z.db", 16), ("crossdock-mine.db", 99)):
            old = copies / name
            old.touch()
            then = time.time() - age_days * DAY_SECONDS
            os.utime(old, (then, then))
        Service(machine, "crossdock-back-up").run()
        (made,) = [path for path in copies.iterdir() if path.name != "crossdock-mine.db"]
        assert made.name.startswith("crossdock-20") and made.name.endswith("Z.db")
        assert stat.S_IMODE(made.stat().st_mode) & 0o077 == 0
        with closing(sqlite3.connect(made)) as copy:
            assert copy.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert (machine.root / "var/lib/crossdock/crossdock.db").exists()
        hub.send_signal(signal.SIGTERM)
        assert hub.wait(unit.seconds("TimeoutStopSec")) == 0


def test_wrong_settings_end_the_hub_as_its_unit_expects(machine: Machine, manager: Manager) -> None:
    """Proves that a hub whose settings are wrong ends with the status that its unit does not start
    it again for, and never says that it serves."""
    settings(machine, "CROSSDOCK_LISTEN=0.0.0.0:0\n")
    unit = Service(machine, "crossdock-hub")
    with ended(unit.start()) as hub:
        assert str(hub.wait(60)) in unit.all("RestartPreventExitStatus")
    with pytest.raises(TimeoutError):
        manager.heard(within_seconds=0.001)


def test_adapters_of_the_unit_are_ready_and_stop(machine: Machine, manager: Manager) -> None:
    """Proves that the line of the adapters' unit runs the file of its instance, also while the hub
    is away, and that they end at SIGTERM with 0, sooner than they are killed."""
    etc = machine.root / "etc/crossdock"
    ups_adapter_file(etc / "adapters-carriers.toml", etc / "secret")
    unit = Service(machine, "crossdock-adapters@", "carriers")
    with ended(unit.start()) as adapters:
        assert manager.heard() == supervision.READY
        adapters.send_signal(signal.SIGTERM)
        assert manager.heard_after_signs_of_life() == supervision.STOPPING
        assert adapters.wait(unit.seconds("TimeoutStopSec")) == 0


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd here")
@pytest.mark.parametrize("unit", sorted(path.name for path in SYSTEMD.glob("*.service")))
def test_a_unit_is_kept_from_what_it_does_not_need(unit: str, tmp_path: Path) -> None:
    """Proves that systemd's own measure of what each unit is not kept from stays low."""
    shutil.copy(SYSTEMD / unit, tmp_path / unit.replace("@", "-carriers"))
    name = str(tmp_path / unit.replace("@", "-carriers"))
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE_MAX}", name],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
