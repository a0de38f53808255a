"""Sends bytes to a hub as they are, with or without our client around them."""

from __future__ import annotations

from typing import Any

import grpc
from crossdock.client import HubClient
from crossdock.errors import CallError, from_rpc_error
from fixtures_hub import RunningHub

DEADLINE_SECONDS = 45.0


async def send(client: HubClient, method: str, data: bytes, **options: Any) -> CallError | None:
    """Send bytes as a request; what the hub refuses it with, None when it answered."""
    call: Any = client.channel.unary_unary(method)
    try:
        await call(data, **{"timeout": DEADLINE_SECONDS} | options)
    except CallError as error:
        return error
    return None


async def raw(hub: RunningHub, method: str, data: bytes, **options: Any) -> CallError | None:
    """The same without our client: options of a bare grpc call, no token, no deadline."""
    channel_options = options.pop("channel_options", [])
    async with grpc.aio.insecure_channel(hub.address, options=channel_options) as channel:
        try:
            call: Any = channel.unary_unary(method)
            await call(data, **options)
        except grpc.aio.AioRpcError as error:
            return from_rpc_error(error, method)
    return None


def bearer(hub: RunningHub, endpoint: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {hub.token(endpoint)}"),)
