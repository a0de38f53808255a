"""What an adapter's functions are given: one piece of work, one poll, one webhook."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from crossdock_adapters.sdk.alerts import Alerts
from crossdock_adapters.sdk.cursors import Cursors
from crossdock_adapters.sdk.mappings import UnreadCodes, as_they_are
from crossdock_adapters.sdk.places import unread_codes
from crossdock_adapters.sdk.settings import Settings

if TYPE_CHECKING:
    from crossdock.client import HubClient

    from crossdock_adapters.sdk.sequences import Sequences

# (payload, content type, reason, key, codes without a row that it waits for)
HoldPayload = Callable[[bytes, str, str, str, UnreadCodes | None], Awaitable[None]]
LookUpNumbers = Callable[[str, Sequence[str]], Awaitable[dict[str, str]]]


@dataclass(frozen=True, slots=True)
class Work:
    """One delivery being sent or looked up.

    `reference` is THE reference to put on whatever the vendor creates: 20 base32 characters
    that the hub derived from the delivery id, so every repeat has the same. `event` is the typed
    message of the contract (OrderApproved, …); `item` names the sub-object when one event
    means several calls (a package id). `attempt` counts from 1. `draft` is the id of the vendor's
    draft that a two-step operation confirms; the hub knows it already. `in_doubt`: an earlier call
    may have been done, so that what the vendor says to this one may be about that; attempts that
    provably did nothing (a 429, no connection) leave no doubt.
    """

    delivery_id: str
    endpoint: str
    operation: str
    item: str
    reference: str
    attempt: int
    event: Any = field(repr=False)
    settings: Settings = field(repr=False)
    hub: HubClient = field(repr=False)
    look_up_numbers: LookUpNumbers = field(repr=False)
    draft: str = ""
    # This endpoint's control numbers and whatever else it has the hub keep; the runner gives both.
    sequences: Sequences | None = field(default=None, repr=False)
    cursors: Cursors | None = field(default=None, repr=False)
    in_doubt: bool = True

    async def numbers(self, kind: str, numbers: Sequence[str]) -> dict[str, str]:
        """This endpoint's own ids for master data, by number; unknown numbers are left out.

        `kind` is the resource ("item", "customer", "location"). Answers are cached.
        """
        return await self.look_up_numbers(kind, numbers)


@dataclass(frozen=True, slots=True)
class HeldPayload:
    """A payload that the hub holds raw because it could not be translated when it came."""

    id: str
    source: str
    payload: bytes = field(repr=False)
    content_type: str
    asked: bool


@dataclass(slots=True)
class Poll:
    """One run of a poll. `cursor` is what the last successful run left, b"" at first."""

    name: str
    endpoint: str
    cursor: bytes
    settings: Settings = field(repr=False)
    hub: HubClient = field(repr=False)
    put_cursor: Callable[[bytes], Awaitable[None]] = field(repr=False)
    hold_payload: HoldPayload = field(repr=False)
    # This endpoint's control numbers and whatever else it has the hub keep; the runner gives both.
    sequences: Sequences | None = field(default=None, repr=False)
    cursors: Cursors | None = field(default=None, repr=False)
    # What somebody should know of although the poll goes on; the runner gives the endpoint's.
    alerts: Alerts = field(default_factory=Alerts, repr=False)
    # The runner has done so before the run: a poll that goes on reading does so before it
    # translates what came, so that each code is read by the rows that hold when it came, or newer
    # ones. HubAway when they can't be read.
    catch_up: Callable[[], Awaitable[None]] = field(default=as_they_are, repr=False)

    async def advance(self, cursor: bytes | str) -> None:
        """Keep the new cursor; call it after the hub accepted what came before it.

        Raises CursorMoved when another instance moved it (compare-and-set).
        """
        raw = cursor.encode() if isinstance(cursor, str) else cursor
        await self.put_cursor(raw)
        self.cursor = raw

    async def hold(
        self,
        payload: bytes,
        reason: str,
        content_type: str = "application/json",
        key: str = "",
        cause: BaseException | None = None,
    ) -> None:
        """Give the hub a payload that can't be translated, raw, so that it is not lost.

        `key` is the vendor's id of it: the same key is held once. `cause` is what was raised: where
        that was for want of a row (`Unreadable.codes`), the payload comes again with the row."""
        await self.hold_payload(payload, content_type, reason, key, unread_codes(cause))


class Refused(Exception):
    """Raised by a webhook's check: answer the vendor with this 4xx status."""

    def __init__(self, status: int, reason: str) -> None:
        if not 400 <= status < 500:
            raise ValueError("a refusal is a 4xx")
        super().__init__(reason)
        self.status = status
        self.reason = reason


@dataclass(slots=True)
class Webhook:
    """One webhook as it came: exact bytes, headers with lower-case names.

    The webhook's `check` has seen it before its function does. A payload that the hub held is given
    to the function again, without the check (it was accepted when it came) and with no more than
    its body and content type: nothing else of it was kept, a credential least of all.
    """

    path: str
    endpoint: str
    body: bytes = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    query: Mapping[str, str] = field(repr=False)
    settings: Settings = field(repr=False)
    secrets: Any = field(repr=False)
    hub: HubClient = field(repr=False)
    hold_payload: HoldPayload = field(repr=False)

    async def hold(self, reason: str, key: str = "", cause: BaseException | None = None) -> None:
        """Give the hub this payload raw because it can't be translated; durable on return. For
        `key` and `cause` see Poll.hold."""
        content_type = self.headers.get("content-type", "application/octet-stream")
        await self.hold_payload(self.body, content_type, reason, key, unread_codes(cause))
