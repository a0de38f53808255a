"""A company's own signer of certificates, and a server's certificate of it."""

from __future__ import annotations

import datetime
import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAY = datetime.timedelta(days=1)


@dataclass(frozen=True)
class Authority:
    """A signer that no system trusts. Files: its certificate, and a server's with its key."""

    ca: Path
    certificate: Path
    key: Path

    @classmethod
    def made(cls, directory: Path, good_for: datetime.timedelta = DAY) -> Authority:
        """good_for: the server's certificate, from now on."""
        directory.mkdir()
        signer, server = (
            ec.generate_private_key(ec.SECP256R1()),
            ec.generate_private_key(ec.SECP256R1()),
        )
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "warehouse company")])
        now = datetime.datetime.now(datetime.UTC)

        def signed(key: Any, is_ca: bool) -> bytes:
            here = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
            made = (
                x509.CertificateBuilder()
                .subject_name(name if is_ca else x509.Name([]))
                .issuer_name(name)
                .public_key(key.public_key())
                .serial_number(x509.random_serial_number())
                .not_valid_before(now - DAY)
                .not_valid_after(now + (DAY if is_ca else good_for))
                .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
                .add_extension(here, critical=not is_ca)
                .sign(signer, hashes.SHA256())
            )
            return made.public_bytes(serialization.Encoding.PEM)

        files = cls(directory / "ca.pem", directory / "server.pem", directory / "server.key")
        files.ca.write_bytes(signed(signer, is_ca=True))
        files.certificate.write_bytes(signed(server, is_ca=False))
        files.key.write_bytes(
            server.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return files
