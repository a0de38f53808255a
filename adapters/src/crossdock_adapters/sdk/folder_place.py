"""Opens the folder that an endpoint's settings name: on a disk that both sides see, or over SFTP.

The settings: `location` (sftp://user@host:port/path or file:///path), `host_key` (the server's
public key, as in a known_hosts file), `timeout_seconds`, and the secrets `password` and
`private_key`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from crossdock_adapters.sdk.drop_folder import DropFolder, LocalFolder
from crossdock_adapters.sdk.error_table import ErrorTable
from crossdock_adapters.sdk.settings import Secrets, Settings, SettingsError

SFTP_PORT: Final = 22


def opened_folder(
    settings: Settings, secrets: Secrets, errors: ErrorTable | None = None
) -> DropFolder:
    """The folder behind the setting `location`. SettingsError says what it needs.

    errors: the endpoint's rows of what errors of disks and servers mean; None: the SDK's.
    """
    place = urlsplit(settings.text("location"))
    if place.scheme == "file" and place.path:
        return LocalFolder(Path(unquote(place.path)), errors)
    if place.scheme != "sftp" or not place.hostname or not place.username:
        raise SettingsError("location must be sftp://user@host:port/path or file:///path")
    if place.password is not None:
        raise SettingsError("location must not hold a password: use the setting password")
    if not settings.text("host_key"):
        raise SettingsError("host_key is needed for sftp: the server's public key")
    # Here, because an installation that shares a folder needs no SSH in its memory.
    from crossdock_adapters.sdk.sftp import SftpFolder, SftpLogin

    login = SftpLogin(
        host=place.hostname,
        port=place.port or SFTP_PORT,
        username=unquote(place.username),
        host_key=settings.text("host_key"),
        password=lambda: secrets.text("password") if secrets.has("password") else "",
        private_key=lambda: secrets.text("private_key") if secrets.has("private_key") else "",
    )
    return SftpFolder(login, unquote(place.path), settings.seconds("timeout_seconds"), errors)
