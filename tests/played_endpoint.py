"""An endpoint whose adapter is the test: it takes deliveries off the bus, begins and ends them."""

from __future__ import annotations

import asyncio
import uuid
from types import TracebackType
from typing import Any, Self

from crossdock import contracts
from crossdock.delivery.v1 import delivery_pb2, delivery_service_pb2
from crossdock.endpoint.v1 import endpoint_pb2, endpoint_service_pb2
from crossdock_adapters.sdk.consumer import PullConsumer
from fixtures_hub import RunningHub
from google.protobuf.duration_pb2 import Duration
from story import request_id

TAKE_SECONDS = 60.0
LEASE_SECONDS = 30.0
ERP_OPERATIONS = {
    "create_sales_order": "SEARCHABLE",
    "change_order": "SEARCHABLE",
    "cancel_order": "SEARCHABLE",
    "post_goods_issue": "SEARCHABLE",
}
WMS_OPERATIONS = {"release_order": "NATURAL", "cancel_order": "NATURAL", "print_label": "NATURAL"}


def duration(seconds: float) -> Duration:
    made = Duration()
    made.FromMicroseconds(round(seconds * 1e6))
    return made


class PlayedEndpoint:
    """Registers an endpoint with operations and plays its adapter, one step at a time.

    operations: name -> class, for example {"create_sales_order": "SEARCHABLE"}. settle_seconds
    and call_seconds: of all of them; 0: the hub's default. Messages are acknowledged as they come:
    the ledger is what counts.
    """

    def __init__(
        self,
        hub: RunningHub,
        endpoint: str,
        operations: dict[str, str],
        *,
        settle_seconds: float = 0.2,
        call_seconds: float = 0.0,
        **manifest: Any,
    ) -> None:
        self.hub = hub
        self.endpoint = endpoint
        self.client = hub.client(endpoint)
        self._manifest = endpoint_pb2.Manifest(adapter="played", **manifest)
        for name, kind in operations.items():
            self._manifest.operations.add(
                name=name,
                operation_class=delivery_pb2.OperationClass.Value(f"OPERATION_CLASS_{kind}"),
                settle_after=duration(settle_seconds),
                max_attempts=5,
                call_timeout=duration(call_seconds),
            )
        self._came: asyncio.Queue[delivery_pb2.Dispatch] = asyncio.Queue()
        self._consumer: PullConsumer | None = None
        self._taking: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        answer = await self.client.endpoints.RegisterEndpoint(
            endpoint_service_pb2.RegisterEndpointRequest(
                request_id=request_id(), endpoint=self.endpoint, manifest=self._manifest
            )
        )
        self._consumer = PullConsumer(
            self.hub.nats_url,
            self.hub.bus_credentials(self.endpoint),
            stream=answer.delivery_stream,
            durable=answer.delivery_consumer,
        )
        await self._consumer.start()
        self._taking = asyncio.create_task(self._take_all(self._consumer))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._taking is not None:
            self._taking.cancel()
            await asyncio.gather(self._taking, return_exceptions=True)
        if self._consumer is not None:
            await self._consumer.close()
        await self.client.close()

    async def _take_all(self, consumer: PullConsumer) -> None:
        async for batch in consumer.batches(100):
            for message in batch:
                self._came.put_nowait(delivery_pb2.Dispatch.FromString(message.data))
            await consumer.ack_many(batch)

    async def next(self) -> delivery_pb2.Dispatch:
        """The next delivery on the bus, however long it takes."""
        return await self._came.get()

    async def take(self) -> delivery_pb2.Dispatch:
        """The next delivery on the bus, which has to be there soon."""
        async with asyncio.timeout(TAKE_SECONDS):
            return await self.next()

    @property
    def waiting(self) -> int:
        """Deliveries that came and were not taken."""
        return self._came.qsize()

    async def try_begin(
        self,
        dispatch: delivery_pb2.Dispatch,
        *,
        lease_seconds: float = LEASE_SECONDS,
        attempt_id: str = "",
        traceparent: str = "",
    ) -> delivery_service_pb2.BeginResult:
        """Begin an attempt; the answer may be a refusal."""
        request = delivery_service_pb2.BeginAttemptsRequest(endpoint=self.endpoint, instance="test")
        request.begins.add(
            delivery_id=dispatch.delivery_id,
            dispatch_number=dispatch.dispatch_number,
            attempt_id=attempt_id or str(uuid.uuid4()),
            lease=duration(lease_seconds),
            traceparent=traceparent,
        )
        return (await self.client.deliveries.BeginAttempts(request)).results[0]

    async def begin(
        self, dispatch: delivery_pb2.Dispatch, *, lease_seconds: float = LEASE_SECONDS
    ) -> int:
        """Begin an attempt that has to succeed. Returns its token."""
        result = await self.try_begin(dispatch, lease_seconds=lease_seconds)
        assert not result.HasField("refusal"), result
        return result.token

    async def renew(
        self, delivery_id: str, token: int, draft: str = ""
    ) -> delivery_service_pb2.LeaseResult:
        """Ask for a longer lease, and note a draft; the answer may be a refusal."""
        request = delivery_service_pb2.RenewLeasesRequest(endpoint=self.endpoint)
        request.renewals.add(
            delivery_id=delivery_id, token=token, lease=duration(LEASE_SECONDS), draft=draft
        )
        return (await self.client.deliveries.RenewLeases(request)).results[0]

    async def complete(
        self,
        delivery_id: str,
        token: int,
        outcome: str,
        *,
        retry_after_seconds: float = 0.0,
        references: dict[str, str] | None = None,
        facts: tuple[tuple[str, bytes], ...] = (),
        code: str = "",
        reason: str = "",
        unsent_word: delivery_pb2.UnsentWord | None = None,
    ) -> delivery_service_pb2.CompletionResult:
        """End an attempt."""
        request = delivery_service_pb2.CompleteAttemptsRequest(endpoint=self.endpoint)
        completion = request.completions.add(
            delivery_id=delivery_id,
            token=token,
            outcome=delivery_pb2.AttemptOutcome.Value(f"ATTEMPT_OUTCOME_{outcome}"),
            code=code,
            reason=reason,
            unsent_word=unsent_word,
        )
        if retry_after_seconds:
            completion.retry_after.CopyFrom(duration(retry_after_seconds))
        for kind, value in (references or {}).items():
            completion.vendor_references.add(type=kind, value=value)
        for method, data in facts:
            completion.facts.add(method=method, request=data)
        return (await self.client.deliveries.CompleteAttempts(request)).results[0]

    async def work(
        self, outcome: str = "CONFIRMED", **details: Any
    ) -> tuple[delivery_pb2.Dispatch, delivery_service_pb2.CompletionResult]:
        """Take the next delivery, begin it and end it so."""
        dispatch = await self.take()
        token = await self.begin(dispatch)
        return dispatch, await self.complete(dispatch.delivery_id, token, outcome, **details)

    async def reread(self, delivery_id: str) -> delivery_pb2.Delivery:
        """The delivery as the ledger has it, with its attempts."""
        request = delivery_service_pb2.GetDeliveryRequest(id=delivery_id)
        return (await self.client.deliveries.GetDelivery(request)).delivery


def event_of(dispatch: delivery_pb2.Dispatch) -> Any:
    """The event that a dispatch carries, typed."""
    return contracts.load().generated_class(dispatch.event_type).FromString(dispatch.event)


def name_of(enum: Any, value: int, prefix: str) -> str:
    name: str = enum.Name(value)
    return name.removeprefix(prefix)


def kinds(delivery: delivery_pb2.Delivery) -> list[tuple[str, str]]:
    """(kind, outcome) of each attempt."""
    return [
        (
            name_of(delivery_pb2.AttemptKind, attempt.kind, "ATTEMPT_KIND_"),
            name_of(delivery_pb2.AttemptOutcome, attempt.outcome, "ATTEMPT_OUTCOME_"),
        )
        for attempt in delivery.attempt_log
    ]


def hold_reason(delivery: delivery_pb2.Delivery) -> str:
    return name_of(delivery_pb2.HoldReason, delivery.hold_reason, "HOLD_REASON_")
