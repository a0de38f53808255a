"""The files under deploy/ carried out: the image's own commands, and the lines of units, in a
directory that stands for the root of a machine."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path

from source_files import ROOT

SYSTEMD = ROOT / "deploy" / "systemd"
CONTAINERFILE = ROOT / "deploy" / "container" / "Containerfile"
COMMAND_SECONDS = 120.0
# Directories of a machine that units and image name.
_OURS = re.compile(r"(?<![\w/])/(?=(?:opt|var/lib|etc)/crossdock|var/lib\b|source\b)")
# What the repository has beside its files where it was used.
_LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.egg-info", ".venv", "out", "node_modules")


def _joined(text: str) -> list[str]:
    """Lines, each with those that go on behind a backslash; without comments."""
    lines = re.sub(r"\\\n\s*", " ", text).splitlines()
    return [line for line in lines if line.strip() and not line.lstrip().startswith("#")]


class Machine:
    """A directory with what a machine has under /opt, /etc and /var, and what runs there."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in ("etc/crossdock", "var/lib", "source"):
            (root / name).mkdir(parents=True)

    def here(self, text: str) -> str:
        """A text with the places that it names as they are here."""
        return _OURS.sub(f"{self.root}/", text)

    def environment(self, own: Mapping[str, str]) -> dict[str, str]:
        """What a service manager gives a process, and where what is locked lies: it would have to
        be downloaded to be installed anew."""
        passed = ("NOTIFY_SOCKET", "WATCHDOG_USEC")
        given = {name: os.environ[name] for name in passed if name in os.environ}
        packages = {"PYTHONPATH": sysconfig.get_path("purelib"), "PYTHONDONTWRITEBYTECODE": "1"}
        return {"PATH": os.defpath, "HOME": str(self.root)} | given | packages | dict(own)


class Image:
    """What the Containerfile says: built on a machine, and run as it is to be."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.build, self.run = (
            [line.partition(" ")[::2] for line in _joined(stage)]
            for stage in CONTAINERFILE.read_text().split("FROM ")[1:]
        )

    def make(self) -> list[str]:
        """Carry out the first stage. What was run of it: all but what asks a registry."""
        made: list[str] = []
        for word, rest in self.build:
            if word == "COPY":
                *names, target = shlex.split(rest)
                for name in names:
                    self._copy(name, target)
            elif word == "RUN" and "--require-hashes" not in rest:
                line = self._machine.here(rest).replace("python -m venv", f"{_python()} -m venv")
                self._machine_runs(line)
                made.append(rest)
        return made

    def _copy(self, name: str, target: str) -> None:
        source, into = ROOT / name, self._machine.root / "source" / target
        if source.is_dir():
            shutil.copytree(source, into, ignore=_LEFT_OUT, dirs_exist_ok=True)
        else:
            shutil.copy(source, into)

    def _machine_runs(self, line: str) -> None:
        done = subprocess.run(
            ["/bin/sh", "-c", line],
            cwd=self._machine.root / "source",
            env=self._machine.environment({"PIP_NO_INDEX": "1"}),
            capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{line}: {done.stdout}{done.stderr}"

    def variables(self) -> dict[str, str]:
        """What ENV sets, for this machine."""
        (told,) = [rest for word, rest in self.run if word == "ENV"]
        pairs = [pair.partition("=")[::2] for pair in shlex.split(self._machine.here(told))]
        return {name: value.replace("$PATH", os.defpath) for name, value in pairs}

    def command(self) -> list[str]:
        """What a container runs that is given nothing else."""
        told = dict(self.run)
        return [*json.loads(told["ENTRYPOINT"]), *json.loads(told["CMD"])]

    @property
    def stop_signal(self) -> signal.Signals:
        """What a container is told to stop by."""
        return signal.Signals[dict(self.run)["STOPSIGNAL"]]


class Service:
    """A unit as systemd reads it, on a machine. instance: of a template, behind the @."""

    def __init__(self, machine: Machine, name: str, instance: str = "") -> None:
        self._machine = machine
        self._settings: list[tuple[str, str]] = []
        for line in _joined((SYSTEMD / f"{name}.service").read_text()):
            key, equals, value = line.partition("=")
            if equals:
                value = value.replace("%%", "\0").replace("%i", instance).replace("\0", "%")
                self._settings.append((key, machine.here(value)))

    def all(self, key: str) -> list[str]:
        """Each value of a key, in order."""
        return [value for name, value in self._settings if name == key]

    def seconds(self, key: str) -> float:
        """The last value of a key, a time in seconds."""
        return float(self.all(key)[-1].removesuffix("s"))

    def environment(self) -> dict[str, str]:
        """Its variables: of the unit, then of its files, where "-" excuses one that is missing."""
        told = self.all("Environment")
        for name in self.all("EnvironmentFile"):
            path = Path(name.removeprefix("-"))
            if path.exists() or not name.startswith("-"):
                told += _joined(path.read_text())
        own = dict(each.partition("=")[::2] for each in told)
        return self._machine.environment(own)

    def start(self) -> subprocess.Popen[bytes]:
        """Run what it starts."""
        self._make_directories()
        (line,) = self.all("ExecStart")
        umask = int(self.all("UMask")[0], 8)
        return subprocess.Popen(shlex.split(line), env=self.environment(), umask=umask, cwd="/")

    def run(self) -> None:
        """Run what it starts to the end, and then what follows."""
        self._make_directories()
        for line in (*self.all("ExecStart"), *self.all("ExecStartPost")):
            done = subprocess.run(
                shlex.split(line), env=self.environment(), umask=int(self.all("UMask")[0], 8),
                cwd="/", capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False,
            )  # fmt: skip
            assert done.returncode == 0, f"{line}: {done.stdout}{done.stderr}"

    def _make_directories(self) -> None:
        mode = int(self.all("StateDirectoryMode")[0], 8)
        for name in " ".join(self.all("StateDirectory")).split():
            (self._machine.root / "var/lib" / name).mkdir(mode=mode, exist_ok=True)


def _python() -> str:
    """The interpreter that the one of this environment was made of, as an image has it."""
    return str(getattr(sys, "_base_executable", sys.executable))
