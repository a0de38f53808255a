"""Somebody with what `make setup` makes and nothing else, in a folder outside of our sources.

The Python sees the packages of the one that runs the tests, which `make setup` made, as if they
were installed into it, and installs into itself alone, without a network.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import sysconfig
import time
import venv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fixtures_nats import DIES_WITH_PARENT

COMMAND_SECONDS = 100.0
SERVE_SECONDS = 60.0
STOP_SECONDS = 30.0
COMMAND_LINE = """#!{python}
import sys
from crossdock.cli import main
sys.exit(main())
"""


class Newcomer:
    """Runs commands one after another as in one terminal: `cd` lasts, and so does `export`."""

    def __init__(self, home: Path) -> None:
        self.folder = home
        programs = home / "venv" / "bin"
        venv.create(home / "venv", symlinks=True)
        (packages,) = (home / "venv" / "lib").glob("python*/site-packages")
        installed = sysconfig.get_path("purelib")
        (packages / "installed.pth").write_text(f"import site; site.addsitedir({installed!r})\n")
        self._program = programs / "crossdock"
        self._program.write_text(COMMAND_LINE.format(python=programs / "python"))
        self._program.chmod(0o755)
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("CROSSDOCK_", "PYTHON"))}
        # The programs of the tests' environment come last: nats-server is one that a hub needs.
        paths = [str(programs), clean.get("PATH", ""), sysconfig.get_path("scripts")]
        alone = {"PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "NO_COLOR": "1"}
        self.environment = clean | alone | {"PATH": os.pathsep.join(paths), "HOME": str(home)}

    def run(
        self, command: str, seconds: float = COMMAND_SECONDS
    ) -> subprocess.CompletedProcess[str]:
        """One line of a document, which ends in time; standard error is in the output."""
        word, *rest = shlex.split(command)
        if word == "cd":
            self.folder = self.folder / rest[0]
        if word == "export":
            self.environment |= dict(each.split("=", 1) for each in rest)
        return subprocess.run(
            ["bash", "-c", "true" if word in ("cd", "export") else command],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
            check=False,
        )

    @contextmanager
    def serving(self, command: str, file: str) -> Iterator[None]:
        """A process in a terminal of its own, once it has written its file; it has to end in order.

        command: of `crossdock`.
        """
        said = self.folder / f"{file}.log"
        with said.open("wb") as log:
            process = subprocess.Popen(
                [
                    sys.executable, "-I", "-S", "-c", DIES_WITH_PARENT,
                    str(self._program), *shlex.split(command)[1:],
                ],
                cwd=self.folder, env=self.environment, stdout=log, stderr=log,
            )  # fmt: skip
        try:
            self.wait(lambda: (self.folder / file).exists() or process.poll() is not None, said)
            assert process.poll() is None, said.read_text("utf-8")
            yield
        finally:
            process.terminate()
            try:
                ended = process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        assert ended == 0, said.read_text("utf-8")

    def wait(self, condition: Callable[[], bool], log: Path) -> None:
        """Return once it holds; at the deadline the log is told."""
        deadline = time.monotonic() + SERVE_SECONDS
        while not condition():
            assert time.monotonic() < deadline, log.read_text("utf-8")
            time.sleep(0.05)

    def told(self, file: str) -> Any:
        """What a process wrote about itself."""
        return json.loads((self.folder / file).read_text("utf-8"))
