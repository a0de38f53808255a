"""How long the zombie window is: from the SDK's last look at the lease until the vendor has it.

A process that is stopped in between still sends when it wakes up (docs/guarantees.md). Each way out
of the SDK is taken: HTTP to a server that notes when the request reaches its handler; a commit, and
a rename in a folder and over SFTP, until they return. All of it is in this process and on one
clock, which the SDK itself reads its lease by: so the figures are upper bounds, and hold the way
there and the vendor's own work too.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Final

import asyncssh
from aiohttp import web
from crossdock_adapters.sdk import exchange
from crossdock_adapters.sdk.database import Database, Limits
from crossdock_adapters.sdk.drop_folder import DropFolder, LocalFolder
from crossdock_adapters.sdk.http import VendorHttp
from crossdock_adapters.sdk.sftp import SftpFolder, SftpLogin
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from tests.load.measured import Figure, Options

CALLS: Final = 3_000
WARM: Final = 20
LEASE_SECONDS: Final = 600.0
TIMEOUT_SECONDS: Final = 10.0
LOOPBACK: Final = "127.0.0.1"
PASSWORD: Final = "a-password-of-this-run"
_MILLISECONDS: Final = 1e3

# Makes one call with an effect; returns when the vendor had it, by time.monotonic().
Call = Callable[[], Awaitable[float]]


async def measure(directory: Path, options: Options) -> list[Figure]:
    """p50 and the longest of each way, in milliseconds."""
    calls = options.count(CALLS)
    figures: list[Figure] = []
    async with AsyncExitStack() as ways:
        opened: dict[str, Call] = {
            "HTTP": await ways.enter_async_context(_by_http()),
            "a commit": await ways.enter_async_context(_by_commit(directory / "vendor.db")),
            "a folder": _by_rename(LocalFolder(_made(directory / "folder"))),
            "SFTP": await ways.enter_async_context(_by_sftp(_made(directory / "sftp"))),
        }
        for name, call in opened.items():
            windows = sorted([await _window(call) for _ in range(WARM + calls)][WARM:])
            figures += [
                Figure(
                    "zombie_window",
                    f"look at the lease to {name}, p50",
                    "ms",
                    [windows[calls // 2]],
                ),
                Figure(
                    "zombie_window", f"look at the lease to {name}, longest", "ms", windows[-1:]
                ),
            ]
    return figures


async def _window(call: Call) -> float:
    """Milliseconds of one call."""
    looks: list[float] = []

    def clock() -> float:
        looks.append(time.monotonic())
        return looks[-1]

    with exchange.recording(clock) as record:
        record.lease_until = time.monotonic() + LEASE_SECONDS
        looks.clear()
        had = await call()
    return (had - max(look for look in looks if look <= had)) * _MILLISECONDS


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


@asynccontextmanager
async def _by_http() -> AsyncIterator[Call]:
    arrived: list[float] = []

    async def book(_: web.Request) -> web.Response:
        arrived.append(time.monotonic())
        return web.Response()

    site = web.Application()
    site.router.add_post("/book", book)
    runner = web.AppRunner(site, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, LOOPBACK, 0).start()
    client = VendorHttp(f"http://{LOOPBACK}:{runner.addresses[0][1]}")

    async def call() -> float:
        await client.post("/book", json={"quantity": "1"})
        return arrived[-1]

    try:
        yield call
    finally:
        await client.close()
        await runner.cleanup()


@asynccontextmanager
async def _by_commit(file: Path) -> AsyncIterator[Call]:
    database = Database(lambda: f"sqlite+aiosqlite:///{file}", Limits())

    async def make(connection: AsyncConnection) -> None:
        await connection.execute(text("CREATE TABLE booking (number INTEGER)"))

    async def insert(connection: AsyncConnection) -> None:
        await connection.execute(text("INSERT INTO booking VALUES (1)"))

    async def call() -> float:
        await database.commit("book", insert)
        return time.monotonic()

    await database.commit("make the table", make)
    try:
        yield call
    finally:
        await database.close()


def _by_rename(folder: DropFolder) -> Call:
    numbers = count()

    async def call() -> float:
        number = next(numbers)
        await folder.put(f"{number}.part", b"a booking")
        await folder.publish(f"{number}.part", f"{number}.txt")
        return time.monotonic()

    return call


@asynccontextmanager
async def _by_sftp(root: Path) -> AsyncIterator[Call]:
    key = asyncssh.generate_private_key("ssh-ed25519")

    class Login(asyncssh.SSHServer):
        def password_auth_supported(self) -> bool:
            return True

        def validate_password(self, username: str, password: str) -> bool:
            return password == PASSWORD

    server = await asyncssh.listen(
        LOOPBACK,
        0,
        server_factory=Login,
        server_host_keys=[key],
        sftp_factory=lambda channel: asyncssh.SFTPServer(channel, chroot=bytes(root)),
    )
    login = SftpLogin(
        host=LOOPBACK,
        port=server.get_port(),
        username="partner",
        host_key=key.export_public_key().decode().strip(),
        password=lambda: PASSWORD,
        private_key=lambda: "",
    )
    folder = SftpFolder(login, "", TIMEOUT_SECONDS)
    try:
        yield _by_rename(folder)
    finally:
        await folder.close()
        server.close()
        await server.wait_closed()
