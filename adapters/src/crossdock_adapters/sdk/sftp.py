"""A drop folder behind SFTP: one connection, a pinned host key, every answer put into our words, by
the rows of folder_errors.toml."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, TypeVar

import asyncssh
from asyncssh.constants import FILEXFER_TYPE_REGULAR, FILEXFER_TYPE_UNKNOWN

from crossdock_adapters.sdk import error_table
from crossdock_adapters.sdk.drop_folder import (
    MAX_NAMES,
    FileFact,
    FileMissing,
    NameTaken,
    checked_path,
    effect,
    failure,
    is_text,
    too_many,
)
from crossdock_adapters.sdk.error_table import FOLDER_ERRORS, ErrorTable, Word
from crossdock_adapters.sdk.outcomes import (
    NeedsPerson,
    OutcomeUnknown,
    Retry,
    Unreachable,
    VendorOutcome,
)

T = TypeVar("T")

KEEPALIVE_SECONDS: Final = 15


@dataclass(frozen=True, slots=True)
class SftpLogin:
    """Where and as whom. password, private_key: asked each time, so they can rotate; one is enough.

    host_key: the public key of the server, as in a known_hosts file, without the host name.
    """

    host: str
    port: int
    username: str
    host_key: str
    password: Callable[[], str]
    private_key: Callable[[], str]


class SftpFolder:
    """Folders below one path of an SFTP server; the calls of all tasks share one connection.

    errors: the rows of an endpoint; None: the SDK's.
    """

    def __init__(
        self,
        login: SftpLogin,
        root: str,
        timeout_seconds: float,
        errors: ErrorTable | None = None,
    ) -> None:
        table = errors or error_table.shipped(FOLDER_ERRORS)
        self._errors = table.with_rows_of(FOLDER_ERRORS, ("sftp", "ssh"))
        self._login = login
        self._root = root.rstrip("/")
        self._timeout_seconds = timeout_seconds
        self._opening = asyncio.Lock()
        self._connection: asyncssh.SSHClientConnection | None = None
        self._client: asyncssh.SFTPClient | None = None
        # It tells of each connection and each file, which says nothing while all is well.
        asyncssh.set_log_level("WARNING")

    async def names(self, folder: str) -> list[FileFact]:
        """The files of a folder."""

        async def do(client: asyncssh.SFTPClient) -> list[FileFact]:
            found = []
            async for entry in client.scandir(self._place(folder)):
                name = str(entry.filename)
                if name not in (".", "..") and is_text(name) and _is_file(entry.attrs):
                    found.append(_fact(name, entry.attrs))
                if len(found) > MAX_NAMES:
                    raise too_many(folder)
            return found

        return await self._do(f"list {folder}", do)

    async def look(self, path: str) -> FileFact | None:
        """One file, or None."""

        async def do(client: asyncssh.SFTPClient) -> FileFact | None:
            state = await client.lstat(self._place(path))
            return _fact(path.rpartition("/")[2], state) if _is_file(state) else None

        try:
            return await self._do(f"look for {path}", do)
        except FileMissing:
            return None

    async def read(self, path: str, most_bytes: int) -> bytes:
        """A file. Raises FileMissing."""

        async def do(client: asyncssh.SFTPClient) -> bytes:
            async with client.open(self._place(path), "rb") as file:
                data: bytes = await file.read(most_bytes + 1)
                return data

        return await self._do(f"read {path}", do)

    async def put(self, path: str, data: bytes) -> None:
        """Write a file, ask the server to put it on its disk, and compare its size."""

        async def do(client: asyncssh.SFTPClient) -> None:
            place = self._place(path)
            async with client.open(place, "wb") as file:
                await file.write(data)
                try:
                    await file.fsync()
                except asyncssh.SFTPOpUnsupported:
                    # An extension of OpenSSH; without it, closing is all that a server promises.
                    pass
            size = (await client.stat(place)).size
            if size != len(data):
                raise Retry(0.0, f"{path} has {size} bytes at the server, not {len(data)}")

        await self._do(f"put {path}", do)

    async def publish(self, path: str, new_path: str) -> None:
        """Rename as version 3 does: it fails where the name is taken, and does not say so."""

        async def rename(client: asyncssh.SFTPClient) -> None:
            await client.rename(self._place(path), self._place(new_path))

        what = f"rename {path} to {new_path}"
        await self._opened()
        with effect(what):
            try:
                await self._do(what, rename, has_effect=True)
            except VendorOutcome as told:
                if not isinstance(told.__cause__, asyncssh.SFTPFailure):
                    raise
                # A server of version 3 says only "failure": what is there now says the rest, before
                # any row of it, by which a file that is out would be tried for ever.
                try:
                    there = await self.look(new_path)
                except VendorOutcome as trouble:
                    # Nobody can say: the question failed, not the rename.
                    raise told from trouble
                if there is not None:
                    raise NameTaken(new_path) from told
                raise

    async def close(self) -> None:
        """Close the connection."""
        connection, self._connection, self._client = self._connection, None, None
        if connection is not None:
            connection.close()
            await connection.wait_closed()

    def _place(self, path: str) -> str:
        return f"{self._root}/{checked_path(path)}"

    async def _do(
        self,
        what: str,
        do: Callable[[asyncssh.SFTPClient], Awaitable[T]],
        *,
        has_effect: bool = False,
    ) -> T:
        client = await self._opened()
        used = self._connection
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await do(client)
        except VendorOutcome:
            raise
        except asyncssh.SFTPError as error:
            code = str(error.code)
            raise failure(self._errors, "sftp", code, what, has_effect=has_effect) from error
        except TimeoutError as late:
            # What is asked on this connection next would wait behind it.
            self._drop(used)
            raise _open(f"{what}: no answer in time", has_effect=has_effect) from late
        except (asyncssh.Error, OSError) as error:
            self._drop(used)
            raise _open(f"{what}: the connection was lost", has_effect=has_effect) from error

    async def _opened(self) -> asyncssh.SFTPClient:
        async with self._opening:
            if self._client is None or self._connection is None or self._connection.is_closed():
                self._drop()
                self._connection = await self._connected()
                try:
                    async with asyncio.timeout(self._timeout_seconds):
                        # A name that is no UTF-8 must not make a whole folder unreadable.
                        self._client = await self._connection.start_sftp_client(
                            path_errors="surrogateescape"
                        )
                except TimeoutError as error:
                    self._drop()
                    raise Unreachable(0.0, "no SFTP there in time") from error
                except (asyncssh.Error, OSError) as error:
                    self._drop()
                    raise Unreachable(0.0, f"no SFTP there: {type(error).__name__}") from error
            return self._client

    async def _connected(self) -> asyncssh.SSHClientConnection:
        login = self._login
        password, key = login.password(), login.private_key()
        pinned = f"[{login.host}]:{login.port} {login.host_key}\n{login.host} {login.host_key}\n"
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await asyncssh.connect(
                    login.host,
                    login.port,
                    username=login.username,
                    password=password or None,
                    client_keys=[asyncssh.import_private_key(key)] if key else None,
                    known_hosts=asyncssh.import_known_hosts(pinned),
                    agent_path=None,
                    config=None,
                    keepalive_interval=KEEPALIVE_SECONDS,
                )
        except asyncssh.DisconnectError as error:
            raise self._refused(error) from error
        except (asyncssh.KeyImportError, asyncssh.Error) as error:
            raise NeedsPerson(f"the private key cannot be used: {type(error).__name__}") from error
        except TimeoutError as error:
            raise Unreachable(0.0, "no connection in time") from error
        except OSError as error:
            raise Unreachable(0.0, f"no connection: {error.strerror or 'refused'}") from error

    def _refused(self, error: asyncssh.DisconnectError) -> VendorOutcome:
        """Why there is no connection, by the row of its reason; without one it is not there."""
        code, row = self._errors.first([("ssh", str(error.code))])
        said = row.meaning or f"no connection: {type(error).__name__}"
        if row.word is Word.UNKNOWN:
            return Unreachable(row.pause_seconds, said)
        return error_table.outcome(row.word, said, code, row.pause_seconds, effect=False)

    def _drop(self, used: asyncssh.SSHClientConnection | None = None) -> None:
        """Give the connection up; with `used`, only if it is still that one."""
        if used is not None and used is not self._connection:
            used.abort()
            return
        if self._connection is not None:
            self._connection.abort()
        self._connection = self._client = None


def _is_file(state: asyncssh.SFTPAttrs) -> bool:
    """A server may leave out of what kind an entry is: then it may be a file of ours."""
    return state.type in (FILEXFER_TYPE_REGULAR, FILEXFER_TYPE_UNKNOWN)


def _fact(name: str, state: asyncssh.SFTPAttrs) -> FileFact:
    modified = None if state.mtime is None else datetime.fromtimestamp(state.mtime, UTC)
    return FileFact(name, int(state.size or 0), modified)


def _open(said: str, *, has_effect: bool) -> VendorOutcome:
    return OutcomeUnknown(said) if has_effect else Retry(0.0, said)
