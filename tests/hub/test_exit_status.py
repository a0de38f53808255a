"""What ends a start: 78 for what a person has to change, 69 for what may be there the next time."""

from __future__ import annotations

from pathlib import Path

import pytest
from crossdock.errors import ConfigurationError, ContractError
from crossdock_hub.bus.embedded import EmbeddedStartFailed
from crossdock_hub.bus.errors import BusDenied, BusUnavailable, PublishUnknown, StreamMismatch
from crossdock_hub.data_lock import DataDirectoryInUse
from crossdock_hub.exits import EXIT_CONFIGURATION, EXIT_UNAVAILABLE, status_of
from crossdock_hub.store.failures import StoreFailure
from crossdock_hub.store.moves import DatabaseMoved
from crossdock_hub.store.postgresql import DatabaseInUse, DatabaseUnfit, VersionsDiffer
from crossdock_hub.taken import AddressTaken, DatabaseReplaced
from databases import on_sqlite_only
from fixtures_hub import RunningHub
from fixtures_nats import free_port


@pytest.mark.parametrize(
    "error",
    [
        BusUnavailable("nobody answers"),
        PublishUnknown("no answer came"),
        EmbeddedStartFailed("nats-server is not ready after 10 s"),
        StoreFailure("the database does not answer", full=False, away=True),
        StoreFailure("the volume of the database is full", full=True),
        OSError(28, "No space left on device"),
        ConnectionRefusedError(111, "Connection refused"),
        DataDirectoryInUse(Path("data"), 7),
        DatabaseInUse("another hub"),
        VersionsDiffer("0.1 with contract a", "0.2 with contract b"),
        AddressTaken("another process has it"),
        DatabaseReplaced("it was put back"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_may_be_there_the_next_time_ends_with_unavailable(error: Exception) -> None:
    """Proves that a service manager is not told to give up for what is away or held for now."""
    assert status_of(error) == EXIT_UNAVAILABLE == 69


@pytest.mark.parametrize(
    "error",
    [
        ConfigurationError("CROSSDOCK_NATS_CA_FILE is no file"),
        ContractError("no code serves this method"),
        BusDenied("the bus refuses the hub's credentials"),
        StreamMismatch("the stream differs"),
        DatabaseMoved("it was moved"),
        DatabaseUnfit("the server loses what it confirms"),
        PermissionError(13, "Permission denied"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_a_person_has_to_change_ends_with_configuration(error: Exception) -> None:
    """Proves that a start which can't do better by itself says so."""
    assert status_of(error) == EXIT_CONFIGURATION == 78


def test_a_bus_that_is_away_is_no_wrong_configuration(tmp_path: Path) -> None:
    """Proves that a hub whose bus does not answer ends with one sentence and 69."""
    hub = RunningHub(tmp_path / "hub", nats_url=f"nats://127.0.0.1:{free_port()}")
    code, said = hub.run_to_its_end()
    assert code == EXIT_UNAVAILABLE, said
    assert [line for line in said.splitlines() if line.startswith("the hub can't start: ")]
    assert "Traceback" not in said


@on_sqlite_only
def test_a_database_that_is_away_is_no_wrong_configuration(tmp_path: Path) -> None:
    """Proves that a hub whose PostgreSQL does not answer ends with one sentence and 69."""
    (tmp_path / "nowhere").mkdir()
    url = f"postgresql+asyncpg://crossdock@/crossdock?host={tmp_path / 'nowhere'}"
    hub = RunningHub(tmp_path / "hub", database_url=url)
    code, said = hub.run_to_its_end()
    assert code == EXIT_UNAVAILABLE, said
    assert [line for line in said.splitlines() if line.startswith("the hub can't start: ")]
    assert "Traceback" not in said
