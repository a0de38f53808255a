"""gRPC reflection for those whom the hub knows: a tool asks what there is, with its token."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from crossdock_hub.door.calls import abort_stream, authorization_of
from crossdock_hub.identity import UNKNOWN_ENDPOINT, Identities


class Reflection(reflection.aio.ReflectionServicer):  # type: ignore[misc]
    """Answers callers with a valid token of any role; anonymous calls are refused."""

    def __init__(self, names: tuple[str, ...], identities: Identities) -> None:
        super().__init__(service_names=names)
        self._identities = identities

    async def ServerReflectionInfo(self, requests: Any, context: Any) -> AsyncIterator[Any]:
        """One answer for each request of the stream."""
        if self._identities.identify(authorization_of(context)) is None:
            await abort_stream(context, requests, UNKNOWN_ENDPOINT)
        async for answer in super().ServerReflectionInfo(requests, context):
            yield answer


def reflect(names: tuple[str, ...], identities: Identities, server: Any) -> None:
    """Serve reflection of these services."""
    names = (*names, reflection.SERVICE_NAME)
    servicer = Reflection(names, identities)
    reflection_pb2_grpc.add_ServerReflectionServicer_to_server(servicer, server)
