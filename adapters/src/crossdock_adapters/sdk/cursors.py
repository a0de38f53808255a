"""Where an endpoint's small state is kept: by name, by the hub, moved by compare-and-set."""

from __future__ import annotations

from typing import Protocol


class CursorMoved(Exception):
    """Another instance advanced this cursor meanwhile; end this poll, the next one goes on."""


class Cursors(Protocol):
    """Values by name, each with its version; the link to the hub is one.

    put_cursor returns the new version, and raises CursorMoved when the expected one is not there.
    """

    async def get_cursor(self, name: str) -> tuple[bytes, int]: ...

    async def put_cursor(self, name: str, value: bytes, expected_version: int) -> int: ...
