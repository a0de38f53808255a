"""A vendor that asks for a certificate: the SDK shows one, and SAP is called without a password."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from crossdock_adapters.sap import adapter
from crossdock_adapters.sap.adapter import ADAPTER
from crossdock_adapters.sdk.http import ClientCertificate, VendorHttp
from crossdock_adapters.sdk.outcomes import Retry
from crossdock_adapters.sdk.settings import SettingsError, check
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAY = datetime.timedelta(days=1)
# What an endpoint of SAP needs beside its address and its login.
SAP = {"sales_areas": {}, "plants": {}, "time_zone": "America/Denver"}
TOKEN = b"HTTP/1.1 200 OK\r\nx-csrf-token: abc\r\nContent-Length: 2\r\n\r\n{}"


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """A certificate that signs itself, for this machine, and its key: PEM files."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    here = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - DAY)
        .not_valid_after(now + DAY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(here, critical=False)
        .sign(key, hashes.SHA256())
    )
    pem, private = folder / f"{name}.pem", folder / f"{name}.key"
    pem.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return pem, private


@asynccontextmanager
async def vendor(folder: Path, trusted: Path) -> AsyncIterator[tuple[str, Path, list[bytes]]]:
    """A server that talks to who has the trusted certificate: address, its own, what came."""
    pem, key = certificate(folder, "vendor")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=trusted)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(pem, key)
    sent: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sent.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(TOKEN)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    async with server:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}", pem, sent


async def test_only_who_has_the_certificate_is_answered(tmp_path: Path) -> None:
    """Proves that the certificate is what opens the door, and that another one does not."""
    ours, other = certificate(tmp_path, "ours"), certificate(tmp_path, "other")
    async with vendor(tmp_path, ours[0]) as (url, authority, sent):
        http = VendorHttp(url, client_certificate=ClientCertificate(*ours, authority))
        assert (await http.get("/")).status == 200
        await http.close()
        http = VendorHttp(url, client_certificate=ClientCertificate(*other, authority))
        with pytest.raises(Retry):
            await http.get("/")
        await http.close()
        assert len(sent) == 1


async def test_sap_is_called_by_certificate_and_without_a_password(tmp_path: Path) -> None:
    """Proves that no Basic credential is sent where a certificate says who calls."""
    pem, key = certificate(tmp_path, "ours")
    given = {**SAP, "certificate_file": str(pem), "key_file": str(key)}
    async with vendor(tmp_path, pem) as (url, authority, sent):
        own = {**given, "base_url": url, "authority_file": str(authority)}
        client = await adapter.connect(*check(ADAPTER.manifest.settings, own))
        await client.test()
        await client.close()
    assert b"authorization" not in sent[0].lower()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "give user and password, or certificate_file"),
        ({"user": "X"}, "give user and password, or certificate_file"),
        ({"certificate_file": "x.pem"}, "belong together"),
        ({"certificate_file": "no.pem", "key_file": "no.key"}, "certificate_file, key_file"),
    ],
)
async def test_half_a_login_starts_nothing(given: dict[str, str], said: str) -> None:
    """Proves that the start says what is missing, and does not wait for the first call."""
    own = {**SAP, "base_url": "https://127.0.0.1:1", **given}
    with pytest.raises(SettingsError, match=said):
        await adapter.connect(*check(ADAPTER.manifest.settings, own))
