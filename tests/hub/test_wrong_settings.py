"""Settings that are wrong: the start ends with the setting's name, the rule and what to do."""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from crossdock.errors import ConfigurationError
from crossdock_hub.bus import embedded_config
from crossdock_hub.bus.address import BusAddress
from crossdock_hub.bus.embedded_config import EmbeddedSettings
from crossdock_hub.bus.external import external_address
from crossdock_hub.bus.jetstream import Bus
from crossdock_hub.bus.streams import MAX_MESSAGE_BYTES
from crossdock_hub.config import Settings, unknown_variables
from crossdock_hub.door.binding import check_address
from databases import on_sqlite_only
from fixtures_hub import RunningHub
from fixtures_nats import PATIENCE_SECONDS, free_port
from private_authority import Authority
from pydantic import ValidationError
from structlog.testing import capture_logs

EXIT_UNAVAILABLE = 69
EXIT_CONFIGURATION = 78


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.made(tmp_path / "autorité")


def test_half_a_certificate_is_no_plain_text(authority: Authority) -> None:
    """Proves that one file of the pair alone is refused: the hub served in clear."""
    for name, path in (("certificate", authority.certificate), ("key", authority.key)):
        with pytest.raises(ConfigurationError, match="set both for TLS, or neither"):
            check_address(Settings(**{f"tls_{name}_file": path}))
    check_address(
        Settings(
            listen="127.0.0.1:0",
            tls_certificate_file=authority.certificate,
            tls_key_file=authority.key,
        )
    )


def test_files_of_a_certificate_are_looked_into(authority: Authority, tmp_path: Path) -> None:
    """Proves that a file that is not there is named by its setting, and so are a key of another
    certificate and what is no PEM: it said that another process had the port."""
    for files, told in (
        (
            (tmp_path / "nowhere", authority.key),
            "CERTIFICATE_FILE .*nowhere can't be read: No such",
        ),
        (
            (authority.certificate, tmp_path / "nowhere"),
            "KEY_FILE .*nowhere can't be read: No such",
        ),
        ((authority.ca, authority.key), "are no certificate in PEM and its key"),
        ((authority.certificate, authority.certificate), "are no certificate in PEM and its key"),
    ):
        with pytest.raises(ConfigurationError, match=told):
            check_address(Settings(tls_certificate_file=files[0], tls_key_file=files[1]))


@pytest.mark.parametrize("listen", ["7443", "::1:7443", "127.0.0.1:99999", "127.0.0.1:x", ":1"])
def test_an_address_is_host_and_port(listen: str) -> None:
    """Proves that what is no address is refused as that, and not for want of a certificate."""
    with pytest.raises(ConfigurationError, match=r"is no host:port; write .*\[::1\]:7443"):
        check_address(Settings(listen=listen))


@pytest.mark.parametrize("url", ["127.0.0.1:4222", "localhost:4222", "nats://", "http://h:1"])
def test_a_bus_is_named_by_its_url(url: str) -> None:
    """Proves that what is no URL of NATS is refused as that."""
    with pytest.raises(ConfigurationError, match=r"CROSSDOCK_NATS_URL has .* nats://host:port"):
        external_address(Settings(nats_url=url, allow_plaintext=True))


def test_files_of_the_bus_are_named_by_their_settings(tmp_path: Path) -> None:
    """Proves that credentials that are not there or are none, and an authority without a
    certificate, are told by the setting."""
    url, file = "nats://127.0.0.1:4222", tmp_path / "file"
    for path in (tmp_path / "no.creds", tmp_path / "nowhere"):
        with pytest.raises(ConfigurationError, match=r"CROSSDOCK_NATS_CREDENTIALS_FILE .*be read"):
            external_address(Settings(nats_url=url, nats_credentials_file=path))
    file.write_text("secret")
    with pytest.raises(ConfigurationError, match=r"CROSSDOCK_NATS_CREDENTIALS_FILE .*is neither"):
        external_address(Settings(nats_url=url, nats_credentials_file=file))
    with pytest.raises(
        ConfigurationError, match=r"CROSSDOCK_NATS_CA_FILE .* no certificate in PEM"
    ):
        external_address(Settings(nats_url=url, nats_ca_file=file))


@pytest.mark.parametrize(
    ("name", "value"),
    [("metrics_port", 99_999), ("metrics_port", -5), ("nats_port", 99_999), ("log_level", "loud")],
)
def test_values_that_nothing_can_be_done_with(name: str, value: Any) -> None:
    """Proves that a port that is none and a level that there is not are refused by name."""
    with pytest.raises(ValidationError, match=name):
        Settings(**{name: value})
    assert Settings(log_level="WARNING").log_level == "warning"  # type: ignore[arg-type]


def test_an_empty_variable_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proves that a line of a file of variables that says nothing changes nothing: as a path it was
    the working directory, where the archive of a hub would have gone, or its database."""
    for name in Settings.model_fields:
        monkeypatch.setenv(f"CROSSDOCK_{name.upper()}", "")
    found = Settings()
    monkeypatch.undo()
    fresh = Settings.model_construct()
    assert found == fresh
    assert (found.archive_directory, found.data_directory) == (None, Path("data"))


def test_a_variable_that_no_setting_has_is_told() -> None:
    """Proves that a misspelt variable is found with the one that is meant: a hub whose URL of a
    database is misspelt works on SQLite."""
    environ = {
        "CROSSDOCK_DATABSE_URL": "x",
        "CROSSDOCK_LISTEN": "y",
        "CROSSDOCK_ZZZ": "z",
        "HOME": "",
    }
    assert unknown_variables(environ) == [
        ("CROSSDOCK_DATABSE_URL", "CROSSDOCK_DATABASE_URL"),
        ("CROSSDOCK_ZZZ", ""),
    ]
    assert (
        unknown_variables({f"CROSSDOCK_{name.upper()}": "" for name in Settings.model_fields}) == []
    )


def served(url: str, directory: Path, **configuration: Any) -> subprocess.Popen[bytes]:
    """A nats-server at a URL."""
    directory.mkdir()
    file = directory / "server.conf"
    listen = url.removeprefix("nats://")
    file.write_text(json.dumps({"listen": listen, **configuration}))
    server = str(embedded_config.find_server(EmbeddedSettings(directory)))
    return subprocess.Popen([server, "-c", str(file)], stderr=subprocess.DEVNULL)


@on_sqlite_only
@pytest.mark.parametrize(
    ("configuration", "status", "told"),
    [
        ({"max_payload": 4 << 20}, EXIT_UNAVAILABLE, "no JetStream there"),
        ({"jetstream": {}}, EXIT_CONFIGURATION, "set max_payload: 4MB"),
        (
            {"max_payload": 4 << 20, "authorization": {"user": "a", "password": "b"}},
            EXIT_CONFIGURATION,
            "CROSSDOCK_NATS_CREDENTIALS_FILE is not set",
        ),
    ],
)
def test_a_bus_that_does_not_do(
    tmp_path: Path, configuration: dict[str, Any], status: int, told: str
) -> None:
    """Proves that a bus without JetStream, one that takes only small messages and one that wants
    credentials end the start, and that the sentence says what to change. With small messages the
    hub served, and the first event with a label's image kept all others waiting."""
    url = f"nats://127.0.0.1:{free_port()}"
    if "jetstream" in configuration:
        configuration = {"jetstream": {"store_dir": str(tmp_path / "store")}}
    process = served(url, tmp_path / "bus", **configuration)
    try:
        code, said = RunningHub(tmp_path / "hub", nats_url=url).run_to_its_end()
    finally:
        process.kill()
        process.wait()
    assert code == status, said
    assert told in said and "Traceback" not in said


async def test_a_bus_that_came_back_with_small_messages_is_told(tmp_path: Path) -> None:
    """Proves that a server which takes smaller messages after its restart is named in the log with
    what to change: the start refuses it, and nobody looked at it again."""
    url, back = f"nats://127.0.0.1:{free_port()}", asyncio.Event()
    first = served(url, tmp_path / "first", max_payload=MAX_MESSAGE_BYTES)
    bus = None
    try:
        bus = await Bus.connect(BusAddress(url), on_reconnected=back.set)
        first.kill()
        first.wait()
        with capture_logs() as said:
            first = served(url, tmp_path / "second")
            async with asyncio.timeout(PATIENCE_SECONDS):
                await back.wait()
    finally:
        first.kill()
        first.wait()
        if bus is not None:
            await bus.close()
    (told,) = [line for line in said if line["log_level"] == "error"]
    assert "set max_payload: 4MB" in told["event"] and told["bytes_max"] == 1 << 20
