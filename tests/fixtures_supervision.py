"""A service manager that listens to the processes below it: sd_notify(3) over a real socket."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from crossdock import supervision

# A sign of life every half of it.
WATCHDOG_SECONDS = 1.0
WORD_SECONDS = 60.0
# Where nobody listens: the discard port, which needs a right to be taken.
NOBODY = "127.0.0.1:9"


def ups_adapter_file(path: Path, secret: Path) -> Path:
    """A configuration of UPS as an endpoint whose hub is away. secret: a file that is written, for
    everything that is secret."""
    secret.write_text("s3cret-s3cret-s3cret")
    path.write_text(
        f'''[hub]
address = "{NOBODY}"
[bus]
url = "nats://{NOBODY}"
[endpoints.ups]
token_file = "{secret}"
webhook_port = 0
[endpoints.ups.settings]
base_url = "http://{NOBODY}"
client_id = "file:{secret}"
client_secret = "file:{secret}"
callback_credential = "file:{secret}"
account_number = "A1B2C3"
'''
    )
    return path


class Manager:
    """The manager's end of the socket."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))

    def heard(self, within_seconds: float = WORD_SECONDS) -> str:
        """The next word. Raises TimeoutError when there is none in time."""
        self._socket.settimeout(within_seconds)
        return self._socket.recv(4096).decode()

    def heard_after_signs_of_life(self) -> str:
        """The next word that is no sign of life."""
        while (word := self.heard()) == supervision.ALIVE:
            pass
        return word

    def falls_silent(self) -> bool:
        """Whether nothing comes for thrice as long as signs of life may be apart."""
        try:
            while self.heard(3 * WATCHDOG_SECONDS) == supervision.ALIVE:
                pass
        except TimeoutError:
            return True
        return False

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Manager]:
    """Listens where processes that are started now are told to speak."""
    listening = Manager(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", str(listening.path))
    monkeypatch.setenv("WATCHDOG_USEC", str(int(WATCHDOG_SECONDS * 1e6)))
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    yield listening
    listening.close()
