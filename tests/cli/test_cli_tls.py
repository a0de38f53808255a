"""Commands that speak to a hub by other means than it listens by."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from crossdock.cli import tls_mismatch
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


@pytest.mark.parametrize(
    "address",
    [
        *("unix:///run/hub.sock", "nowhere", "127.0.0.1:http", "", ":50051"),
        *("127.0.0.1:\u00b2", "127.0.0.1:99999", "hub..example:50051", f"{'x' * 64}.example:50051"),
    ],
)
def test_other_addresses_are_left_alone(address: str) -> None:
    """Proves that an address which is no host and port, or none that there can be, is no fault of
    the hint: what a mistyped one gets is the command's own words."""
    assert what_to_change(address, None, CA_VARIABLE) == ""


async def test_a_hub_at_an_address_of_ipv6_is_looked_at_too(authority: Authority) -> None:
    """Proves that the brackets of such an address are no part of the name that is connected to."""
    pair = (authority.key.read_bytes(), authority.certificate.read_bytes())
    server = grpc.aio.server()
    port = server.add_secure_port("[::1]:0", grpc.ssl_server_credentials([pair]))
    await server.start()
    told = await asyncio.to_thread(what_to_change, f"[::1]:{port}", None, CA_VARIABLE)
    await server.stop(None)
    assert told.startswith("it speaks TLS")


@pytest.mark.parametrize("ends", [True, False], ids=["ends the connection", "is silent"])
async def test_who_does_not_answer_is_not_said_to_speak_no_tls(
    authority: Authority, monkeypatch: pytest.MonkeyPatch, ends: bool
) -> None:
    """Proves that a hub which hangs, or a proxy whose hub is away, makes nobody take TLS away: by
    the advice to unset the variable the next call would send its token in clear."""
    monkeypatch.setattr(tls_mismatch, "HANDSHAKE_SECONDS", 0.2)

    async def met(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not ends:
            await reader.read()
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(met, "127.0.0.1", 0) as server:
        address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        tls = Tls(ca_file=authority.ca)
        assert await asyncio.to_thread(what_to_change, address, tls, CA_VARIABLE) == ""


async def test_what_is_right_needs_no_word(over_tls: str, authority: Authority) -> None:
    """Proves that where TLS fits, it is not named as the reason."""
    assert what_to_change(over_tls, Tls(ca_file=authority.ca), CA_VARIABLE) == ""
