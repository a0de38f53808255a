"""The hub's own certificate: looked at before anything starts, as grpc only says that a port can't
be had."""

from __future__ import annotations

import ssl

from crossdock.errors import ConfigurationError

from crossdock_hub.config import Settings


def check_certificate(settings: Settings) -> None:
    """Refuse half of a pair, files that can't be read, and a key of another certificate.

    Raises ConfigurationError.
    """
    pair = {
        "CROSSDOCK_TLS_CERTIFICATE_FILE": settings.tls_certificate_file,
        "CROSSDOCK_TLS_KEY_FILE": settings.tls_key_file,
    }
    named = [name for name, path in pair.items() if path is not None]
    if not named:
        return
    if len(named) == 1:
        (missing,) = pair.keys() - named
        raise ConfigurationError(
            f"{named[0]} is set and {missing} is not, which would be plain text: set both for TLS, "
            "or neither"
        )
    for name, path in pair.items():
        assert path is not None
        try:
            path.read_bytes()
        except OSError as error:
            raise ConfigurationError(f"{name} {path} can't be read: {error.strerror}") from None
    try:
        # Without a password OpenSSL would ask for that of an encrypted key at the terminal.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate, key = (str(path) for path in pair.values())
        context.load_cert_chain(certificate, key, password="")
    except (ssl.SSLError, OSError) as error:
        files = " and ".join(f"{name} {path}" for name, path in pair.items())
        raise ConfigurationError(
            f"{files} are no certificate in PEM and its key, unencrypted ({error})"
        ) from None
