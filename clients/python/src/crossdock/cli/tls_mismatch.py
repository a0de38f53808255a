"""Why a hub that listens does not answer: it speaks TLS and the command does not, or the other way
round, or its certificate is not one that the command trusts.

gRPC calls all of it "Socket closed" or "failed to connect", as it calls a hub that is not there.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from typing import Final

from crossdock.client import Tls

# A hub that listens answers a handshake at once; nobody waits longer for a hint.
HANDSHAKE_SECONDS: Final = 2.0
# gRPC's servers refuse a handshake that does not offer HTTP/2.
PROTOCOLS: Final = ["h2"]


def what_to_change(address: str, tls: Tls | None, variable: str) -> str:
    """What to set so that a hub which could not be reached answers; "": it is not about TLS.

    address: host:port. tls: as the command spoke. variable: which one says so.
    """
    host, _, port = address.rpartition(":")
    if not port.isdigit() or not _listens(host, int(port)):
        return ""
    unverified = ssl.create_default_context()
    unverified.check_hostname, unverified.verify_mode = False, ssl.CERT_NONE
    speaks = not _refused(host, int(port), unverified)
    if tls is None:
        return _ASK_FOR_TLS.format(variable=variable) if speaks else ""
    if not speaks:
        return f"it speaks no TLS: unset {variable}, if nobody reads along on the way there"
    try:
        verified = ssl.create_default_context(cafile=tls.ca_file)
    except (OSError, ssl.SSLError):
        return f"{variable} names no readable PEM file with certificates"
    why = _refused(host, int(port), verified)
    return f"its certificate is not trusted ({why}): see {variable} and the address" if why else ""


_ASK_FOR_TLS: Final = "it speaks TLS: set {variable} to a PEM file of its authority, or to system"


def _listens(host: str, port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((host, port), HANDSHAKE_SECONDS):
        return True
    return False


def _refused(host: str, port: int, context: ssl.SSLContext) -> str:
    """Why there is no TLS connection by this context; "": there is one."""
    context.set_alpn_protocols(PROTOCOLS)
    try:
        with (
            socket.create_connection((host, port), HANDSHAKE_SECONDS) as connection,
            context.wrap_socket(connection, server_hostname=host.strip("[]")),
        ):
            return ""
    except ssl.SSLCertVerificationError as error:
        return error.verify_message
    except OSError:
        return "no handshake"
