"""An SFTP server on a loopback port for simulated vendors: one folder, one login, all faults."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import asyncssh
from asyncssh.constants import FXF_WRITE

from crossdock_adapters.sdk import sandbox_server
from crossdock_adapters.sdk.adapter import same_secret
from crossdock_adapters.sdk.faults import FaultKind

if TYPE_CHECKING:
    from crossdock_adapters.sdk.sandbox import Sandbox

T = TypeVar("T")

# What a server's calls are named; a vendor that tells renames apart has more.
FILE_OPERATIONS: Final = frozenset({"list", "read", "put", "rename"})
HOST_KEY_KIND: Final = "ssh-ed25519"
# SSH_DISCONNECT_TOO_MANY_CONNECTIONS, RFC 4253 section 11.1.
TOO_MANY_CONNECTIONS: Final = 12


@dataclass(frozen=True, slots=True)
class SftpHouse:
    """What the server shows and to whom. full: asked before each write whether the disk is full."""

    root: Path
    username: str
    password: str
    host_key: asyncssh.SSHKey
    full: Callable[[], bool] = lambda: False
    # What a rename is called in the log, by its new path: a vendor may tell several apart.
    renamed: Callable[[str], str] = lambda path: "rename"


def kept_host_key(file: Path) -> asyncssh.SSHKey:
    """The key in a file; made, for its owner alone, where there is none."""
    if not file.exists():
        key = asyncssh.generate_private_key(HOST_KEY_KIND)
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as open_file:
            open_file.write(key.export_private_key())
        return key
    return asyncssh.read_private_key(file)


def public_line(key: asyncssh.SSHKey) -> str:
    """What a client pins: kind and key, as in a known_hosts file."""
    return " ".join(key.export_public_key().decode().split()[:2])


class SftpPort:
    """The vendor's port. Closed, it is bound and refuses, as `sandbox_server.Listener` does."""

    def __init__(self, sandbox: Sandbox, house: SftpHouse) -> None:
        self._sandbox = sandbox
        self._house = house
        self._socket: socket.socket | None = None
        self._acceptor: asyncssh.SSHAcceptor | None = None
        self._open: set[asyncssh.SSHServerConnection] = set()
        self.port = 0
        asyncssh.set_log_level("WARNING")

    @property
    def listening(self) -> bool:
        return self._acceptor is not None

    async def start(self) -> None:
        """Bind and listen. OSError when the port is taken."""
        config = self._sandbox.config
        self._socket = sandbox_server.bound(config.host, config.vendor_port)
        self.port = int(self._socket.getsockname()[1])
        await self.open()

    async def open(self) -> None:
        """Listen (again) on the port held."""
        if self._acceptor is not None or self._socket is None:
            return
        sandbox, house = self._sandbox, self._house
        self._acceptor = await asyncssh.listen(
            sock=self._socket,
            server_factory=lambda: _Login(house, self._open),
            server_host_keys=[house.host_key],
            sftp_factory=lambda channel: _Files(channel, sandbox, house),
            # Version 3 is what servers in the field speak; its "failure" says little, as theirs.
            sftp_version=3,
            allow_scp=False,
        )

    async def close(self) -> None:
        """Stop listening and cut every connection; the port stays ours."""
        if self._acceptor is None:
            return
        acceptor, self._acceptor = self._acceptor, None
        acceptor.close()
        for connection in list(self._open):
            connection.abort()
        self._socket = await sandbox_server.rebound(self._sandbox.config.host, self.port)

    async def stop(self) -> None:
        """Close for good."""
        await self.close()
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        async with asyncio.timeout(sandbox_server.CLOSE_GRACE_SECONDS):
            await asyncio.gather(*(each.wait_closed() for each in list(self._open)))


class _Login(asyncssh.SSHServer):
    """One user with a password."""

    def __init__(self, house: SftpHouse, connections: set[asyncssh.SSHServerConnection]) -> None:
        self._house = house
        self._connections = connections
        self._connection: asyncssh.SSHServerConnection | None = None

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn
        self._connections.add(conn)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._connection is not None:
            self._connections.discard(self._connection)

    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        right = same_secret(password, self._house.password)
        return username == self._house.username and right


class _Files(asyncssh.SFTPServer):
    """The files below the root, as a server of version 3 shows them; its calls may be struck."""

    def __init__(self, channel: Any, sandbox: Sandbox, house: SftpHouse) -> None:
        super().__init__(channel, chroot=os.fsencode(house.root))
        self._sandbox = sandbox
        self._house = house

    async def open(self, path: bytes, pflags: int, attrs: asyncssh.SFTPAttrs) -> object:
        writes = bool(pflags & FXF_WRITE)

        async def work() -> object:
            if writes and self._house.full():
                raise OSError(errno.ENOSPC, "no space left")
            return super(_Files, self).open(path, pflags, attrs)

        return await self._played("put" if writes else "read", path, False, work)

    async def write(self, file_obj: object, offset: int, data: bytes) -> int:
        if self._house.full():
            raise OSError(errno.ENOSPC, "no space left")
        written: Any = super().write(file_obj, offset, data)
        return int(written)

    async def scandir(self, path: bytes) -> AsyncIterator[asyncssh.SFTPName]:
        async def work() -> None:
            return None

        await self._played("list", path, False, work)
        async for name in super().scandir(path):
            yield name

    async def rename(self, oldpath: bytes, newpath: bytes) -> None:
        async def work() -> None:
            super(_Files, self).rename(oldpath, newpath)

        await self._played(self._house.renamed(os.fsdecode(newpath)), newpath, True, work)

    async def posix_rename(self, oldpath: bytes, newpath: bytes) -> None:
        """An extension that replaces, and that not every server has."""
        raise asyncssh.SFTPOpUnsupported("not here")

    async def _played(
        self, operation: str, path: bytes, effect: bool, work: Callable[[], Awaitable[T]]
    ) -> T:
        # Here, because the frame of sandboxes imports none of its vendors' protocols.
        from crossdock_adapters.sdk.sandbox import CallFailed, ReplyLost

        name = path.decode("utf-8", "replace")
        try:
            # A server does what it was asked although nobody waits for its answer any more.
            played = asyncio.ensure_future(self._sandbox.played(operation, name, effect, work))
            return await asyncio.shield(played)
        except CallFailed as failed:
            if failed.fault.kind is FaultKind.THROTTLE:
                self.connection.disconnect(TOO_MANY_CONNECTIONS, "too many connections")
            raise asyncssh.SFTPFailure("Failure") from None
        except ReplyLost:
            self.connection.abort()
            raise asyncssh.SFTPConnectionLost("lost") from None
