"""A port of `crossdock dev` that somebody takes after it was chosen and before it is bound."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from crossdock.cli import installation as installations
from crossdock.cli.installation import Installation, all_serving
from crossdock.cli.network.vendor import SandboxPace
from crossdock.cli.ports import bound
from crossdock.cli.problems import CommandError
from crossdock.cli.workplace import Workplace

# One of each process: of the hub, of the sandboxes, of the adapters.
OF_EACH_PROCESS = ("hub", "ups-vendor", "ups-webhook")
pytestmark = pytest.mark.timeout(600)


class Beset(Workplace):
    """A workplace of whose ports one is taken each time that they were chosen, by `names`."""

    def __init__(self, directory: Path, names: Iterator[str], taken: contextlib.ExitStack) -> None:
        super().__init__(directory)
        self._names, self._taken = names, taken
        self.takers: list[int] = []

    def choose_ports(self) -> list[str]:
        remarks = super().choose_ports()
        for name in self._names:
            port = self.ports[name]
            listener = bound(port)
            assert listener is not None
            self._taken.enter_context(listener).listen()
            self.takers.append(port)
            break
        return remarks


@pytest.fixture
def taken() -> Iterator[contextlib.ExitStack]:
    """Sockets of others, until the end of the test."""
    with contextlib.ExitStack() as stack:
        yield stack


async def test_dev_takes_other_ports_than_those_that_were_taken_meanwhile(
    tmp_path: Path, taken: contextlib.ExitStack
) -> None:
    """Proves that a port which is taken between its choice and its process, of hub, sandboxes and
    adapters in turn, costs another start with another port, which is said, and that all serve."""
    workplace = Beset(tmp_path / "data", iter(OF_EACH_PROCESS), taken)
    said: list[str] = []
    running = Installation(workplace, SandboxPace(floor_seconds=0.1), said.append)
    try:
        await running.start()
        assert len(workplace.takers) == len(OF_EACH_PROCESS)
        for name, port in zip(OF_EACH_PROCESS, workplace.takers, strict=True):
            assert workplace.ports[name] != port
            assert f"port {port} ({name}) is taken; now {workplace.ports[name]}" in said
        assert running.address.endswith(f":{workplace.ports['hub']}")
        assert all_serving(running.adapters.document() or {})
        assert all(child.pid for child in running.children)
    finally:
        await running.stop()
    assert workplace.running() is None


async def test_ports_that_are_taken_again_and_again_end_the_start(
    tmp_path: Path, taken: contextlib.ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that the start ends after a named number of choices, with the word of the process that
    found its port taken, and leaves none of them."""
    monkeypatch.setattr(installations, "PORT_CHOICES_MAX", 2)
    workplace = Beset(tmp_path / "data", iter(("hub",) * 9), taken)
    running = Installation(workplace, SandboxPace(), lambda _: None)
    try:
        with pytest.raises(CommandError, match="hub ended before it served") as failed:
            await running.start()
    finally:
        await running.stop()
    assert len(workplace.takers) == 2
    assert str(workplace.takers[-1]) in str(failed.value)
    assert not any(child.pid for child in running.children)


async def test_another_failure_is_no_reason_to_choose_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that a process which does not serve for another reason ends the start at once."""
    starts: list[str] = []

    def broken(workplace: Workplace) -> dict[str, str]:
        starts.append("hub")
        return {"CROSSDOCK_LISTEN": "nowhere"}

    monkeypatch.setattr(installations, "hub_variables", broken)
    running = Installation(Workplace(tmp_path / "data"), SandboxPace(), lambda _: None)
    try:
        with pytest.raises(CommandError, match="hub ended before it served"):
            await running.start()
    finally:
        await running.stop()
    assert starts == ["hub"]
