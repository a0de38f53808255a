"""Commands that speak to a hub by other means than it listens by."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from crossdock.cli.hub_access import CA_VARIABLE, Place, find_place, open_hub
from crossdock.cli.problems import CommandError
from crossdock.cli.tls_mismatch import what_to_change
from crossdock.client import Tls
from crossdock.endpoint.v1 import endpoint_service_pb2
from fixtures_nats import free_port
from private_authority import Authority


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.made(tmp_path / "authority")


@pytest.fixture
async def over_tls(authority: Authority) -> AsyncIterator[str]:
    """The address of a gRPC server that speaks TLS only."""
    pair = (authority.key.read_bytes(), authority.certificate.read_bytes())
    server = grpc.aio.server()
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair]))
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(None)


@pytest.fixture
async def plain() -> AsyncIterator[str]:
    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(None)


def place(address: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ca: str = "") -> Place:
    """The hub as the variables of a terminal name it."""
    token = tmp_path / "token"
    token.write_text("xd_operator_no-secret-of-anybody")
    token.chmod(0o600)
    monkeypatch.setenv("CROSSDOCK_ADDRESS", address)
    monkeypatch.setenv("CROSSDOCK_TOKEN_FILE", str(token))
    if ca:
        monkeypatch.setenv(CA_VARIABLE, ca)
    return find_place(None)


async def told(at: Place) -> CommandError:
    with pytest.raises(CommandError) as refused:
        async with open_hub(at) as hub:
            await hub.endpoints.ListEndpoints(endpoint_service_pb2.ListEndpointsRequest())
    return refused.value


async def test_a_hub_that_speaks_tls_is_not_taken_for_one_that_is_away(
    over_tls: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Proves that who forgot CROSSDOCK_TLS_CA_FILE is told of it: gRPC says "Socket closed", and
    the next step was to start another hub."""
    error = await told(place(over_tls, monkeypatch, tmp_path))
    assert error.next_step == (
        f"it speaks TLS: set {CA_VARIABLE} to a PEM file of its authority, or to system"
    )


async def test_a_certificate_of_somebody_else_is_called_that(
    over_tls: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Proves that a hub whose authority is another one than the file's is told with the reason."""
    other = Authority.made(tmp_path / "another")
    error = await told(place(over_tls, monkeypatch, tmp_path, str(other.ca)))
    assert error.next_step.startswith("its certificate is not trusted (")
    assert CA_VARIABLE in error.next_step


async def test_a_hub_without_tls_is_called_that(
    plain: str, authority: Authority, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Proves that a command which speaks TLS to a hub that does not is told which variable is too
    many."""
    error = await told(place(plain, monkeypatch, tmp_path, str(authority.ca)))
    assert error.next_step.startswith(f"it speaks no TLS: unset {CA_VARIABLE}")


async def test_a_hub_that_is_away_is_still_called_that(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Proves that where nobody listens nothing is said of TLS."""
    error = await told(place(f"127.0.0.1:{free_port()}", monkeypatch, tmp_path))
    assert error.next_step == "crossdock doctor; or start one: crossdock dev"


@pytest.mark.parametrize("address", ["unix:///run/hub.sock", "nowhere", "127.0.0.1:http", ""])
def test_other_addresses_are_left_alone(address: str) -> None:
    """Proves that an address which is no host and port is no fault of the hint."""
    assert what_to_change(address, None, CA_VARIABLE) == ""


async def test_what_is_right_needs_no_word(over_tls: str, authority: Authority) -> None:
    """Proves that where TLS fits, it is not named as the reason."""
    assert what_to_change(over_tls, Tls(ca_file=authority.ca), CA_VARIABLE) == ""
