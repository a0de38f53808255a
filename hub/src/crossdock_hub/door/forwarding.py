"""Passes a call on to the hub that leads the database: the same bytes, metadata and deadline there,
the same answer or refusal back.

What is passed on is what a leader decides with what it holds in memory: whatever begins, ends or
changes a delivery's attempts, what operators say of endpoints, deliveries, replays and held facts,
and how endpoints and the bus are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, NoReturn

import grpc

from crossdock_hub.config import Limits
from crossdock_hub.door.calls import DETAILS, abort
from crossdock_hub.leading.terms import Seen
from crossdock_hub.refusals import NO_LEADER

_LED_BY_SERVICE: Final[Mapping[str, Sequence[str]]] = {
    "crossdock.delivery.v1.DeliveryService": ("BeginAttempts", "RenewLeases", "CompleteAttempts"),
    "crossdock.delivery.v1.DeliveryOperationsService": (
        "RetryDelivery",
        "SkipDelivery",
        "ResolveDelivery",
        "ResubmitDelivery",
    ),
    "crossdock.endpoint.v1.EndpointService": (
        "RegisterEndpoint",
        "Heartbeat",
        "PauseEndpoint",
        "ResumeEndpoint",
        "GetEndpoint",
        "ListEndpoints",
        "HoldPayload",
        "ReportHeldPayload",
    ),
    "crossdock.replay.v1.ReplayService": (
        "PlanReplay",
        "ApproveReplay",
        "StartReplay",
        "PauseReplay",
        "ResumeReplay",
        "AbortReplay",
    ),
    "crossdock.dead_letter.v1.DeadLetterService": (
        "AcknowledgeDeadLetters",
        "DriveHeldFact",
        "DiscardHeldFact",
    ),
    "crossdock.mapping.v1.MappingService": (
        "PublishDefaultMappings",
        "SetMapping",
        "ResetMapping",
        "BackfillMappings",
    ),
    "crossdock.hub.v1.HubService": ("GetHubStatus", "AcknowledgeDifference"),
}
LED: Final = frozenset(
    f"/{service}/{name}" for service, names in _LED_BY_SERVICE.items() for name in names
)
# Says that a call was passed on already, and by whom: two hubs that each believe the other one
# leads must not pass it to and fro.
PASSED_ON_BY: Final = "crossdock-passed-on-by"
# What a leader that is gone answers, or nobody in its stead.
_GONE: Final = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)

Handler = Callable[[bytes, Any], Awaitable[bytes]]


class Forwarder:
    """The way to the hub that leads. Close it with `close`.

    leads: whether that is this hub. leader: who it is, as far as is known. credentials: of the
    other hubs' servers; None: they serve in plaintext. holder: how this hub is named in the row.
    """

    def __init__(
        self,
        leads: Callable[[], bool],
        leader: Callable[[], Seen | None],
        credentials: grpc.ChannelCredentials | None,
        limits: Limits,
        holder: str,
    ) -> None:
        self._leads = leads
        self._leader = leader
        self._credentials = credentials
        self._limits = limits
        self._holder = holder
        self._address = ""
        self._channel: grpc.aio.Channel | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._flying: set[Any] = set()

    def around(self, method: str, handle: Handler) -> Handler:
        """A handler that passes a call on while another hub leads."""
        if method not in LED:
            return handle

        async def handled(raw: bytes, context: Any) -> bytes:
            if self._leads():
                return await handle(raw, context)
            return await self._pass_on(method, raw, context)

        return handled

    def look_again(self) -> None:
        """Who leads may have changed: calls that a former leader has not answered are to be
        repeated, which is harmless, and it may be stopped for longer than they wait."""
        leader = self._leader()
        if self._channel is None or (leader is not None and leader.address == self._address):
            return
        # A channel that is closed leaves calls of a server's handlers to their deadlines.
        cut, self._flying = self._flying, set()
        for call in cut:
            call.cancel()
        closing = asyncio.create_task(self._channel.close())
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)
        self._channel, self._address = None, ""

    async def close(self) -> None:
        """Pass nothing on any more."""
        if self._channel is not None:
            await self._channel.close()
        await asyncio.gather(*self._closing, return_exceptions=True)

    async def _pass_on(self, method: str, raw: bytes, context: Any) -> bytes:
        metadata = tuple(context.invocation_metadata() or ())
        leader = self._leader()
        if leader is None or leader.holder == self._holder or _was_passed_on(metadata):
            await abort(context, NO_LEADER)
        send: Any = self._to(leader.address).unary_unary(method)
        call = send(
            raw,
            timeout=context.time_remaining(),
            metadata=(*filter(_is_the_callers, metadata), (PASSED_ON_BY, self._holder)),
        )
        self._flying.add(call)
        try:
            answer: bytes = await call
        except asyncio.CancelledError:
            if call in self._flying:
                # Its caller has gone.
                raise
            await abort(context, NO_LEADER)
        except grpc.aio.AioRpcError as error:
            await _refuse_as(context, error)
        finally:
            self._flying.discard(call)
        return answer

    def _to(self, address: str) -> grpc.aio.Channel:
        self.look_again()
        if self._channel is not None:
            return self._channel
        options = _channel_options(self._limits)
        self._channel = (
            grpc.aio.insecure_channel(address, options=options)
            if self._credentials is None
            else grpc.aio.secure_channel(address, self._credentials, options=options)
        )
        self._address = address
        return self._channel


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


def _was_passed_on(metadata: Sequence[tuple[str, Any]]) -> bool:
    return any(key == PASSED_ON_BY for key, _ in metadata)


def _is_the_callers(item: tuple[str, Any]) -> bool:
    """Whether it is not the transport's own, which makes it anew."""
    return item[0] != "user-agent" and not item[0].startswith("grpc-")
