"""The simulated carrier's doors: its API on the vendor's port, its mailbox over SFTP beside it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final, TypeVar

from crossdock_adapters.sdk.sandbox import Sandbox, VendorPort
from crossdock_adapters.sdk.sandbox_sftp import FILE_OPERATIONS, SftpPort

from .sandbox_mailbox import TO_CARRIER

T = TypeVar("T")

# What a file's rename is called in the log, by what the shipper's name of it begins with.
TENDER, ACKNOWLEDGE, PUT_AWAY, PUBLISH = "tender", "acknowledge", "put_away", "publish"
MAILBOX_OPERATIONS: Final = frozenset({*FILE_OPERATIONS, TENDER, ACKNOWLEDGE, PUT_AWAY, PUBLISH})
PUBLISHED: Final = {"SM_": TENDER, "FA_": ACKNOWLEDGE}


def operation_of(path: str) -> str:
    """What a rename to this path is: a tender that goes out, a 997, or a file that is put away."""
    *_, folder, name = path.rsplit("/", 2)
    if folder != TO_CARRIER:
        return PUT_AWAY
    return PUBLISHED.get(name[:3], PUBLISH)


class MailboxFrame(Sandbox):
    """What an SFTP server takes for its sandbox: a port of its own, all else is the carrier's, so
    that one log has the calls of both doors, and a fault strikes at either.

    Of renames a tender has an effect: a 997 and a file that is put away change nothing that was
    asked of the carrier.
    """

    def __init__(self, carrier: Sandbox, port: int) -> None:
        super().__init__(replace(carrier.config, vendor_port=port))
        self._carrier = carrier

    async def played(
        self, operation: str, path: str, effect: bool, work: Callable[[], Awaitable[T]]
    ) -> T:
        """A call of the mailbox, logged and struck as the carrier's."""
        return await self._carrier.played(operation, path, effect and operation == TENDER, work)


class Doors:
    """Both doors: a carrier that is away opens neither."""

    def __init__(self, api: VendorPort, mailbox: SftpPort) -> None:
        self._api = api
        self._mailbox = mailbox
        # Of the API.
        self.port = 0

    @property
    def mailbox_port(self) -> int:
        """Of the mailbox."""
        return self._mailbox.port

    @property
    def listening(self) -> bool:
        return self._api.listening and self._mailbox.listening

    async def start(self) -> None:
        """Bind and listen at both. OSError when a port is taken."""
        await self._api.start()
        self.port = self._api.port
        try:
            await self._mailbox.start()
        except OSError:
            await self._api.stop()
            raise

    async def open(self) -> None:
        """Listen (again) on the ports held."""
        await self._api.open()
        await self._mailbox.open()

    async def close(self) -> None:
        """Refuse and cut every connection of both."""
        await self._api.close()
        await self._mailbox.close()

    async def stop(self) -> None:
        """Close for good."""
        await self._api.stop()
        await self._mailbox.stop()
