"""Asks a server how it is, by gRPC health v1; its messages are small enough for hands."""

from __future__ import annotations

from typing import Final

import grpc
from grpc import aio

SERVING: Final = "SERVING"
_STATES: Final = ("UNKNOWN", SERVING, "NOT_SERVING", "SERVICE_UNKNOWN")
_METHOD: Final = "/grpc.health.v1.Health/Check"
_NAME_FIELD: Final = b"\x0a"
_STATE_FIELD: Final = 0x08


async def health(channel: aio.Channel, service: str, timeout_seconds: float) -> str:
    """ "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"; "" asks for the whole server.

    service: at most 127 bytes. grpc.RpcError: no answer at all.
    """
    name = service.encode()
    if len(name) > 127:
        raise ValueError("the name of a service has at most 127 bytes")
    call = channel.unary_unary(_METHOD, lambda request: request, lambda answer: answer)
    request = _NAME_FIELD + bytes([len(name)]) + name if name else b""
    try:
        answer: bytes = await call(request, timeout=timeout_seconds)
    except grpc.RpcError as error:
        if getattr(error, "code", lambda: None)() is grpc.StatusCode.NOT_FOUND:
            return "SERVICE_UNKNOWN"
        raise
    known = len(answer) == 2 and answer[0] == _STATE_FIELD and answer[1] < len(_STATES)
    return _STATES[answer[1]] if known else _STATES[0]
