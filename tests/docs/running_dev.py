"""One real `crossdock dev` for the commands of the documents, and a shell beside it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from fixtures_nats import DIES_WITH_PARENT
from source_files import ROOT

START_SECONDS = 200.0
STOP_SECONDS = 90.0
COMMAND_SECONDS = 150.0
PACE_SECONDS = "0.1"
BIN = Path(sys.prefix) / "bin"


def environment(home: Path, **more: str) -> dict[str, str]:
    """What a reader's shell has after `. .venv/bin/activate`: nothing of crossdock's set."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("CROSSDOCK_", "OTEL_"))}
    path = f"{BIN}{os.pathsep}{clean.get('PATH', '')}"
    return clean | {"PATH": path, "HOME": str(home), "NO_COLOR": "1"} | more


class Dev:
    """A `crossdock dev` on a data directory of its own, from `start` to `stop`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.data = directory / "dev"
        self.said = directory / "dev.out"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        return environment(self.directory, CROSSDOCK_DATA=str(self.data))

    @property
    def as_operator(self) -> str:
        """Variables, before a command, that name the hub and a token as in production."""
        running = json.loads((self.data / "running.json").read_text(encoding="utf-8"))
        token = self.data / "tokens" / "operator"
        return f"CROSSDOCK_ADDRESS={running['hub_address']} CROSSDOCK_TOKEN_FILE={token}"

    def start(self) -> Dev:
        """Start it as `make dev` does, and wait until it says what runs where."""
        command = [str(BIN / "crossdock"), "dev", "--json", "--pace", PACE_SECONDS]
        with self.said.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", DIES_WITH_PARENT, *command],
                cwd=self.directory, env=self.environment, stdout=out, stderr=out,
            )  # fmt: skip
        deadline = time.monotonic() + START_SECONDS
        while not (self.data / "running.json").exists():
            assert self.process.poll() is None and time.monotonic() < deadline, self.told()
            time.sleep(0.05)
        return self

    def stop(self) -> int:
        """End it as Ctrl-C does; its exit status."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        return self.process.returncode

    def told(self) -> str:
        """What it said, and the end of its children's logs."""
        logs = [self.said, *sorted((self.data / "log").glob("*.log"))]
        return "\n".join(f"{log.name}: {log.read_text('utf-8')[-2_000:]}" for log in logs)

    def run(self, command: str, directory: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run a line of a document in a reader's shell."""
        return subprocess.run(
            ["bash", "-c", command], cwd=directory or self.directory, env=self.environment,
            capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False,
        )  # fmt: skip


def makefile_recipe(target: str) -> str:
    """The last line that make would run for a target, without running anything."""
    done = subprocess.run(
        ["make", "-n", "--no-print-directory", target],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    return done.stdout.strip().splitlines()[-1]
