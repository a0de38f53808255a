"""Why a hub that listens does not answer: it speaks TLS and the command does not, or the other way
round, or its certificate is not one that the command trusts.

gRPC calls all of it "Socket closed" or "failed to connect", as it calls a hub that is not there.
"""

from __future__ import annotations

import socket
import ssl
from typing import Final

from crossdock.client import Tls

# A hub that listens answers a handshake at once; nobody waits longer for a hint.
HANDSHAKE_SECONDS: Final = 2.0
# gRPC's servers refuse a handshake that does not offer HTTP/2.
PROTOCOLS: Final = ["h2"]
# What OpenSSL calls an answer that is no TLS. Silence and a connection that ends prove nothing: a
# hub that hangs, or is away behind a proxy, must not make anybody send his token in clear.
NO_TLS_IN_ANSWER: Final = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST"})


def what_to_change(address: str, tls: Tls | None, variable: str) -> str:
    """What to set so that a hub which could not be reached answers; "": it is not about TLS, or
    nobody can tell.

    address: host:port, of IPv6 as [::1]:port. tls: as the command spoke. variable: which one says
    so.
    """
    named, _, digits = address.rpartition(":")
    host = named.removeprefix("[").removesuffix("]")
    if not (host and digits.isascii() and digits.isdecimal()):
        return ""
    unverified = ssl.create_default_context()
    unverified.check_hostname, unverified.verify_mode = False, ssl.CERT_NONE
    found = _fault(host, int(digits), unverified)
    if tls is None:
        return _ASK_FOR_TLS.format(variable=variable) if found is None else ""
    if isinstance(found, ssl.SSLError) and found.reason in NO_TLS_IN_ANSWER:
        return f"it speaks no TLS: unset {variable}, if nobody reads along on the way there"
    if found is not None:
        return ""
    try:
        verified = ssl.create_default_context(cafile=tls.ca_file)
    except (OSError, ssl.SSLError):
        return f"{variable} names no readable PEM file with certificates"
    found = _fault(host, int(digits), verified)
    if not isinstance(found, ssl.SSLCertVerificationError):
        return ""
    why = found.verify_message
    return f"its certificate is not trusted ({why}): see {variable} and the address"


_ASK_FOR_TLS: Final = "it speaks TLS: set {variable} to a PEM file of its authority, or to system"


def _fault(host: str, port: int, context: ssl.SSLContext) -> Exception | None:
    """Why there is no TLS connection by this context; None: there is one."""
    context.set_alpn_protocols(PROTOCOLS)
    try:
        with (
            socket.create_connection((host, port), HANDSHAKE_SECONDS) as connection,
            context.wrap_socket(connection, server_hostname=host),
        ):
            return None
    # Names that IDNA does not have and ports that TCP does not have are no OSError.
    except (OSError, ValueError, OverflowError) as error:
        return error
