"""Passes a call on to the hub that leads what it is about: the same bytes, metadata and
deadline there, the same answer or refusal back. Which calls those are says `led_methods`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

import grpc

from crossdock_hub.config import Limits
from crossdock_hub.door.calls import DETAILS, abort
from crossdock_hub.door.led_methods import Finding
from crossdock_hub.leading.terms import Seen
from crossdock_hub.refusals import NO_LEADER

# Says that a call was passed on already, and by whom: two hubs that each believe the other one
# leads must not pass it to and fro.
PASSED_ON_BY: Final = "crossdock-passed-on-by"
# What a leader that is gone answers, or nobody in its stead.
_GONE: Final = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)

# How long a hub that asks another one for its caller waits: what it shows without is little less.
ASK_SECONDS: Final = 2.0

Handler = Callable[[bytes, Any], Awaitable[bytes]]


@dataclass(slots=True)
class _Way:
    """To one hub. flying: calls that it has not answered; one that is cut is taken away first."""

    channel: grpc.aio.Channel
    flying: set[Any] = field(default_factory=set)


class _Cut(Exception):
    """The hub that was to answer a call leads nothing any more."""


class Forwarder:
    """The ways to the hubs that lead. Close them with `close`.

    leads: whether this hub leads the system of an endpoint; the office, where that is "", and for
    endpoints that no hub knows. leader: who does, as far as is known. addresses: of all hubs that
    lead anything. credentials: of the other hubs' servers; None: they serve in plaintext. holder:
    how this hub is named among those that lead.
    """

    def __init__(
        self,
        leads: Callable[[str], bool],
        leader: Callable[[str], Seen | None],
        addresses: Callable[[], Collection[str]],
        credentials: grpc.ChannelCredentials | None,
        limits: Limits,
        holder: str,
    ) -> None:
        self._leads = leads
        self._leader = leader
        self._addresses = addresses
        self._credentials = credentials
        self._limits = limits
        self._holder = holder
        self._ways: dict[str, _Way] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def around(self, method: str, handle: Handler, find: Finding) -> Handler:
        """A handler that passes a call on while another hub leads what it is about."""

        async def handled(raw: bytes, context: Any) -> bytes:
            endpoint = find(raw, context)
            if endpoint is None or self._leads(endpoint):
                return await handle(raw, context)
            return await self._pass_on(endpoint, method, raw, context)

        return handled

    def look_again(self) -> None:
        """Who leads what may have changed: calls that a former leader has not answered are to be
        repeated, which is harmless, and it may be stopped for longer than they wait. Those to a hub
        that still leads something go on; it refuses what it leads no more."""
        kept = self._addresses()
        for address in [each for each in self._ways if each not in kept]:
            way = self._ways.pop(address)
            # A channel that is closed leaves calls of a server's handlers to their deadlines.
            cut, way.flying = way.flying, set()
            for call in cut:
                call.cancel()
            closing = asyncio.create_task(way.channel.close())
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """Pass nothing on any more."""
        ways, self._ways = self._ways, {}
        closing = (way.channel.close() for way in ways.values())
        await asyncio.gather(*closing, *self._closing, return_exceptions=True)

    async def ask(self, endpoint: str, method: str, raw: bytes, context: Any) -> bytes | None:
        """What the hub that leads an endpoint's system answers to a call that this one makes with
        the token and within the deadline of its caller; None: nothing, within `ASK_SECONDS`."""
        leader = self._leader(endpoint)
        if leader is None or leader.holder == self._holder:
            return None
        left: float | None = context.time_remaining()
        seconds = ASK_SECONDS if left is None else min(left, ASK_SECONDS)
        with suppress(_Cut, grpc.aio.AioRpcError):
            return await self._send(leader, method, raw, seconds, _metadata(context))
        return None

    async def _pass_on(self, endpoint: str, method: str, raw: bytes, context: Any) -> bytes:
        metadata = _metadata(context)
        leader = self._leader(endpoint)
        if leader is None or leader.holder == self._holder or _was_passed_on(metadata):
            await abort(context, NO_LEADER)
        try:
            return await self._send(leader, method, raw, context.time_remaining(), metadata)
        except _Cut:
            await abort(context, NO_LEADER)
        except grpc.aio.AioRpcError as error:
            await _refuse_as(context, error)

    async def _send(
        self,
        leader: Seen,
        method: str,
        raw: bytes,
        seconds: float | None,
        metadata: Sequence[tuple[str, Any]],
    ) -> bytes:
        """The answer of a hub. Raises _Cut, AioRpcError. seconds: the deadline; None: none."""
        way = self._to(leader.address)
        send: Any = way.channel.unary_unary(method)
        call = send(
            raw,
            timeout=seconds,
            metadata=(*filter(_is_the_callers, metadata), (PASSED_ON_BY, self._holder)),
        )
        way.flying.add(call)
        try:
            answer: bytes = await call
        except asyncio.CancelledError:
            if call in way.flying:
                # Its caller has gone.
                raise
            raise _Cut from None
        finally:
            way.flying.discard(call)
        return answer

    def _to(self, address: str) -> _Way:
        if address not in self._ways:
            # So there are never more than hubs that lead, and one.
            self.look_again()
            options = _channel_options(self._limits)
            self._ways[address] = _Way(
                grpc.aio.insecure_channel(address, options=options)
                if self._credentials is None
                else grpc.aio.secure_channel(address, self._credentials, options=options)
            )
        return self._ways[address]


async def _refuse_as(context: Any, error: grpc.aio.AioRpcError) -> NoReturn:
    """End a call as the leader has ended it; as one without a leader where that one is gone."""
    trailing = error.trailing_metadata() or ()
    details = tuple((key, value) for key, value in trailing if key == DETAILS)
    if error.code() in _GONE and not details:
        await abort(context, NO_LEADER)
    await context.abort(error.code(), error.details() or "", details)
    raise AssertionError("abort raises")


def _channel_options(limits: Limits) -> Sequence[tuple[str, int]]:
    return (
        ("grpc.max_receive_message_length", limits.message_bytes_max),
        ("grpc.max_send_message_length", limits.message_bytes_max),
        ("grpc.max_metadata_size", limits.metadata_bytes_max),
        # A leader that is there again is found at once.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 1_000),
        # One whose machine is gone is given up while its callers still wait.
        ("grpc.keepalive_time_ms", 10_000),
        ("grpc.keepalive_timeout_ms", 2_000),
        ("grpc.enable_retries", 0),
    )


def _metadata(context: Any) -> tuple[tuple[str, Any], ...]:
    return tuple(context.invocation_metadata() or ())


def _was_passed_on(metadata: Sequence[tuple[str, Any]]) -> bool:
    return any(key == PASSED_ON_BY for key, _ in metadata)


def _is_the_callers(item: tuple[str, Any]) -> bool:
    """Whether it is not the transport's own, which makes it anew."""
    return item[0] != "user-agent" and not item[0].startswith("grpc-")
