"""A hub for tests of the runner: real grpc.aio, the ledger's rules in memory, and a queue."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from crossdock import errors
from crossdock.delivery.v1 import delivery_pb2, delivery_service_pb2, delivery_service_pb2_grpc
from crossdock.endpoint.v1 import (
    endpoint_service_pb2,
    endpoint_service_pb2_grpc,
    held_fact_pb2,
)
from crossdock.event.v1 import event_pb2
from crossdock.item.v1 import item_pb2, item_service_pb2, item_service_pb2_grpc
from crossdock.label.v1 import label_events_pb2
from fixtures_nats import PATIENCE_SECONDS
from google.protobuf.duration_pb2 import Duration
from grpc_status import rpc_status


@dataclass
class Held:
    """What the ledger keeps of one delivery."""

    token: int = 0
    begun_by: str = ""
    draft: str = ""
    completions: list[delivery_service_pb2.Completion] = field(default_factory=list)


class LedgerHub(
    delivery_service_pb2_grpc.DeliveryServiceServicer,
    endpoint_service_pb2_grpc.EndpointServiceServicer,
    item_service_pb2_grpc.ItemServiceServicer,
):
    """Keeps every call with its batch size; answers as told."""

    def __init__(self) -> None:
        self.deliveries: dict[str, Held] = {}
        self.begin_batches: list[int] = []
        self.complete_batches: list[int] = []
        self.renewals = 0
        self.lose_leases = False
        self.refuse_begins = False
        self.refuse_facts = False
        self.refuse_registrations = 0
        # Completions of a delivery that will fail by a fault; deliveries whose facts always do.
        self.faults: dict[str, int] = {}
        self.fault_at_facts: set[str] = set()
        self.lease_seconds = 30.0
        self.begin_delay_seconds = 0.0
        self.traceparents: list[str] = []
        self.metadata_traceparents: dict[str, str] = {}
        self.registered: list[Any] = []
        self.troubles: list[str] = []
        self.cursors: dict[str, tuple[bytes, int]] = {}
        self.held: dict[str, held_fact_pb2.HoldPayloadRequest] = {}
        self.item_reads = 0
        self.resolving: set[str] = set()
        # Of the rows of the endpoint's kind; None: of a hub that does not say it.
        self.mapping_version: int | None = None

    async def BeginAttempts(self, request: Any, context: Any) -> Any:
        self.begin_batches.append(len(request.begins))
        await asyncio.sleep(self.begin_delay_seconds)
        answer = delivery_service_pb2.BeginAttemptsResponse()
        for begin in request.begins:
            self.traceparents.append(begin.traceparent)
            held = self.deliveries.setdefault(begin.delivery_id, Held())
            result = answer.results.add(delivery_id=begin.delivery_id)
            if self.refuse_begins or (held.token and held.begun_by != begin.attempt_id):
                result.refusal.reason = "LEASE_LOST"
                continue
            held.begun_by = begin.attempt_id
            held.token = held.token or 1
            result.token, result.attempt = held.token, 1
            result.kind = self.kind_of(begin.delivery_id)
            result.draft = held.draft
            if self.mapping_version is not None:
                result.mapping_version = self.mapping_version
            result.lease.CopyFrom(duration(self.lease_seconds))
        return answer

    def kind_of(self, delivery_id: str) -> Any:
        """The kind rides in the id, so that tests need no second table."""
        look_up = delivery_id.startswith("f") or delivery_id in self.resolving
        return delivery_pb2.ATTEMPT_KIND_LOOK_UP if look_up else delivery_pb2.ATTEMPT_KIND_CALL

    def again(self, delivery_id: str) -> None:
        """Nobody knows how it ended: the next attempt repeats the call."""
        self.deliveries[delivery_id].token = 0

    def expire(self, delivery_id: str) -> None:
        """The lease ran out without a word: the next attempt is a look-up."""
        self.deliveries[delivery_id].token = 0
        self.resolving.add(delivery_id)

    async def RenewLeases(self, request: Any, context: Any) -> Any:
        answer = delivery_service_pb2.RenewLeasesResponse()
        for renewal in request.renewals:
            self.renewals += 1
            result = answer.results.add(delivery_id=renewal.delivery_id)
            if self.lose_leases:
                result.refusal.reason = "LEASE_LOST"
            else:
                held = self.deliveries[renewal.delivery_id]
                held.draft = held.draft or renewal.draft
                result.lease.CopyFrom(duration(self.lease_seconds))
        return answer

    async def CompleteAttempts(self, request: Any, context: Any) -> Any:
        self.complete_batches.append(len(request.completions))
        metadata = dict(context.invocation_metadata())
        self.metadata_traceparents["complete"] = metadata.get("traceparent", "")
        if self.refuse_facts and any(each.facts for each in request.completions):
            refusal = errors.Refusal("INVALID_FIELD", "a fact is wrong")
            await context.abort_with_status(rpc_status.to_status(errors.to_status(refusal)))
        answer = delivery_service_pb2.CompleteAttemptsResponse()
        for completion in request.completions:
            result = answer.results.add(delivery_id=completion.delivery_id)
            if self._has_a_fault(completion):
                result.refusal.reason = "INTERNAL_FAULT"
                result.refusal.message = "a fault of the hub (incident 1)"
            else:
                self.deliveries[completion.delivery_id].completions.append(completion)
        return answer

    def _has_a_fault(self, completion: delivery_service_pb2.Completion) -> bool:
        left = self.faults.get(completion.delivery_id, 0)
        self.faults[completion.delivery_id] = max(0, left - 1)
        poison = completion.facts and completion.delivery_id in self.fault_at_facts
        return bool(left or poison)

    async def RegisterEndpoint(self, request: Any, context: Any) -> Any:
        self.registered.append(request)
        if len(self.registered) <= self.refuse_registrations:
            refusal = errors.Refusal("INVALID_FIELD", "an operation is wrong")
            await context.abort_with_status(rpc_status.to_status(errors.to_status(refusal)))
        return endpoint_service_pb2.RegisterEndpointResponse(
            delivery_stream=f"CROSSDOCK_V1_DELIVERY_{request.endpoint}",
            delivery_consumer=request.endpoint,
            delivery_subject=f"crossdock.v1.delivery.{request.endpoint}",
        )

    async def Heartbeat(self, request: Any, context: Any) -> Any:
        self.troubles.append(request.trouble)
        return endpoint_service_pb2.HeartbeatResponse()

    async def GetCursor(self, request: Any, context: Any) -> Any:
        value, version = self.cursors.get(request.name, (b"", 0))
        return endpoint_service_pb2.GetCursorResponse(value=value, version=version)

    async def PutCursor(self, request: Any, context: Any) -> Any:
        version = self.cursors.get(request.name, (b"", 0))[1]
        if request.expected_version != version:
            refusal = errors.Refusal("CURSOR_MOVED", "moved")
            await context.abort_with_status(rpc_status.to_status(errors.to_status(refusal)))
        self.cursors[request.name] = (request.value, version + 1)
        return endpoint_service_pb2.PutCursorResponse(version=version + 1)

    async def HoldPayload(self, request: Any, context: Any) -> Any:
        # As the hub does: the same payload is held once, whatever its request is called.
        identity = (request.source, request.key or request.payload)
        known = {(each.source, each.key or each.payload) for each in self.held.values()}
        if identity not in known:
            self.held[request.request_id] = request
        return held_fact_pb2.HoldPayloadResponse()

    async def GetItem(self, request: Any, context: Any) -> Any:
        self.item_reads += 1
        if request.number == "missing":
            refusal = errors.Refusal("OBJECT_NOT_FOUND", "no such item")
            await context.abort_with_status(rpc_status.to_status(errors.to_status(refusal)))
        item = item_pb2.Item(number=request.number)
        item.references.add(system="other", type="item", value="not ours")
        item.references.add(system="tiny", type="item", value=f"I-{request.number}")
        return item_service_pb2.GetItemResponse(item=item)

    async def absent(self, request: Any, context: Any) -> Any:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "not part of this test")

    GetDelivery = ListDeliveries = absent
    PauseEndpoint = ResumeEndpoint = GetEndpoint = ListEndpoints = ListHeldFacts = absent
    ReportHeldPayload = UpsertItems = ListItems = absent

    def outcomes(self) -> dict[str, list[str]]:
        """Outcome names by delivery, in the order they came."""
        return {
            delivery_id: [
                delivery_pb2.AttemptOutcome.Name(each.outcome).removeprefix("ATTEMPT_OUTCOME_")
                for each in held.completions
            ]
            for delivery_id, held in self.deliveries.items()
        }


class HubServer:
    """The hub behind a real port that can go away and come back."""

    def __init__(self, hub: LedgerHub) -> None:
        self.hub = hub
        self.port = 0
        self._server: grpc.aio.Server | None = None

    async def start(self) -> None:
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        delivery_service_pb2_grpc.add_DeliveryServiceServicer_to_server(self.hub, server)
        endpoint_service_pb2_grpc.add_EndpointServiceServicer_to_server(self.hub, server)
        item_service_pb2_grpc.add_ItemServiceServicer_to_server(self.hub, server)
        self.port = server.add_insecure_port(f"127.0.0.1:{self.port}")
        await server.start()
        self._server = server

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop(0)
            self._server = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"


@asynccontextmanager
async def serving(hub: LedgerHub) -> AsyncIterator[HubServer]:
    server = HubServer(hub)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


@dataclass
class QueuedMessage:
    """One message of the queue below."""

    data: bytes
    headers: dict[str, str] = field(default_factory=dict)
    acked: bool = False

    async def ack(self) -> None:
        self.acked = True

    async def in_progress(self) -> None:
        return


class Queue:
    """A source of deliveries in this process, for tests that are not about the bus."""

    def __init__(self) -> None:
        self._waiting: asyncio.Queue[QueuedMessage | None] = asyncio.Queue()
        self.taken = 0
        self.stopped = False
        self.closed = False

    def put(self, dispatch: delivery_pb2.Dispatch, **headers: str) -> QueuedMessage:
        message = QueuedMessage(dispatch.SerializeToString(), headers)
        self._waiting.put_nowait(message)
        return message

    def put_raw(self, data: bytes) -> QueuedMessage:
        message = QueuedMessage(data)
        self._waiting.put_nowait(message)
        return message

    async def next(self) -> QueuedMessage | None:
        message = await self._waiting.get()
        self.taken += message is not None
        return message

    async def stop(self) -> None:
        self.stopped = True
        self._waiting.put_nowait(None)

    async def close(self) -> None:
        self.closed = True


def dispatch(
    operation: str = "book", *, item: str = "", look_up: bool = False, attempt: int = 1
) -> delivery_pb2.Dispatch:
    """A dispatch of an event that carries its reference as tracking number."""
    first = "f" if look_up else "a"
    delivery_id = first + str(uuid.uuid4())[1:]
    event = label_events_pb2.LabelCreated()
    event.metadata.CopyFrom(event_pb2.EventMetadata(type="crossdock.label.v1.LabelCreated"))
    return delivery_pb2.Dispatch(
        delivery_id=delivery_id,
        dispatch_number=1,
        kind=delivery_pb2.ATTEMPT_KIND_LOOK_UP if look_up else delivery_pb2.ATTEMPT_KIND_CALL,
        operation=operation,
        item=item,
        event_type="crossdock.label.v1.LabelCreated",
        event=event.SerializeToString(),
        vendor_reference=delivery_id.replace("-", "")[:20].upper(),
        attempt=attempt,
    )


def duration(seconds: float) -> Duration:
    value = Duration()
    value.FromNanoseconds(int(seconds * 1e9))
    return value


def token_file(folder: Path) -> Path:
    path = folder / "token"
    path.write_text("token-of-the-test")
    return path


async def ended(task: asyncio.Task[Any] | None, *, seconds: float = PATIENCE_SECONDS) -> None:
    """Wait for a task, with a deadline; re-raise what it raised."""
    assert task is not None
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.wait_for(task, seconds)


def only(values: Sequence[Any]) -> Any:
    assert len(values) == 1, values
    return values[0]
