"""A floor of the writes: a grpc.aio server that answers the same bytes and stores nothing.

`python -m tests.load.floors_echo traced|bare ANSWER_FILE`; it prints its address. "traced" stands
behind the hub's interceptors, with tracing started as the hub starts it.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import grpc
from crossdock.telemetry import start_tracing
from crossdock_hub.config import Limits, Settings
from crossdock_hub.door.server import channel_options
from crossdock_hub.door.tracing import RecordedCalls
from crossdock_hub.telemetry import default_sampling


class Echo(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Answers every method with the same bytes; nothing is parsed."""

    def __init__(self, answer: bytes) -> None:
        async def call(_request: bytes, _context: Any) -> bytes:
            return answer

        self._handler: Any = grpc.unary_unary_rpc_method_handler(call)

    def service(self, _details: grpc.HandlerCallDetails) -> Any:
        """Every method."""
        return self._handler


async def serve(traced: bool, answer: bytes) -> None:
    """Until the process is ended."""
    interceptors: list[Any] = []
    if traced:
        default_sampling(Settings.model_fields["trace_sample_ratio"].default)
        start_tracing("bench-echo")
        interceptors = [RecordedCalls()]
    limits = Limits()
    server = grpc.aio.server(
        interceptors=interceptors,
        options=channel_options(limits),
        maximum_concurrent_rpcs=limits.concurrent_rpcs_max + limits.arriving_rpcs_max,
    )
    server.add_generic_rpc_handlers((Echo(answer),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"127.0.0.1:{port}", flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1] == "traced", Path(sys.argv[2]).read_bytes()))
