"""A grpc.aio server as it comes, to throw the same at: `python -m tests.abuse.stock READY PORT`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import grpc
from crossdock.order.v1 import order_service_pb2

CREATE_ORDER: Final = "/crossdock.order.v1.OrderService/CreateOrder"


async def _answer(request: Any, _context: Any) -> Any:
    return order_service_pb2.CreateOrderResponse(order=request.order)


@contextlib.asynccontextmanager
async def stock_server(port: int = 0) -> AsyncIterator[str]:
    """The address of a grpc.aio server without a single option: the naive baseline.

    port: 0 for a free one.
    """
    server = grpc.aio.server()
    service, _, name = CREATE_ORDER[1:].partition("/")
    # What the generated add_OrderServiceServicer_to_server does.
    handler = grpc.unary_unary_rpc_method_handler(
        _answer,
        request_deserializer=order_service_pb2.CreateOrderRequest.FromString,
        response_serializer=order_service_pb2.CreateOrderResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(service, {name: handler}),)
    )
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)


async def _serve(ready: Path, port: int) -> None:
    """Serve until killed; the ready file says where."""
    async with stock_server(port) as address:
        fresh = ready.with_suffix(".new")
        fresh.write_text(json.dumps({"address": address}))
        fresh.replace(ready)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1]), int(sys.argv[2])))
