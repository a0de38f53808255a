"""A hub for the checks: real gRPC, the ledger's rules, and a notebook of everything it was told."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
from crossdock import contracts
from crossdock.delivery.v1 import delivery_service_pb2
from crossdock.endpoint.v1 import endpoint_service_pb2, held_fact_pb2
from crossdock.errors import Refusal, to_status
from crossdock.mapping.v1 import mapping_service_pb2
from crossdock.types.v1 import types_pb2
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from grpc_status import rpc_status

from crossdock_adapters.sdk.carrying import COMPLETION_SOURCE, place_of
from crossdock_adapters.sdk.conformance.ledger import Delivery
from crossdock_adapters.sdk.conformance.notebook import Notebook, Refused
from crossdock_adapters.sdk.manifest import Manifest

LEASE_SECONDS = 60.0
MAX_EVIDENCE_BYTES = 64 * 1024 * 1024
_DELIVERY = "/crossdock.delivery.v1.DeliveryService/"
_ENDPOINT = "/crossdock.endpoint.v1.EndpointService/"
_MAPPING = "/crossdock.mapping.v1.MappingService/"
HOLD = _ENDPOINT + "HoldPayload"
# The client would try again by itself, and the endpoint see nothing of it.
_NO_REPEAT = ("grpc-retry-pushback-ms", "-1")


class Hub:
    """Answers every method of the contract; deliveries and held payloads by their own rules.

    deaf_to: deliveries and tokens whose completion is not heard before `hears_again` is set, as if
    whoever sends it had died before. takes_nothing: what is told or given to be held is turned
    away, as by a hub whose store does not answer; reads and cursors still work, so that whoever
    moves a cursor before its facts are durable has moved it. turned_away: how often. cursor_reads:
    how often each cursor was asked for, as a poll does when a round of it begins. evidence: every
    request as it came, to search for secrets.
    """

    def __init__(self, manifest: Manifest) -> None:
        self.notebook = Notebook(manifest.role)
        self.deliveries: dict[str, Delivery] = {}
        self.held: list[held_fact_pb2.HoldPayloadRequest] = []
        self._held_facts: dict[tuple[str, str | bytes], held_fact_pb2.HeldFact] = {}
        self.cursors: dict[str, tuple[bytes, int]] = {}
        self.registered: list[endpoint_service_pb2.RegisterEndpointRequest] = []
        self.deaf_to: set[tuple[str, int]] = set()
        self.hears_again = asyncio.Event()
        self.takes_nothing = False
        self.turned_away = 0
        self.cursor_reads: Counter[str] = Counter()
        self.evidence: list[bytes] = []
        self.evidence_is_cut = False
        self._evidence_bytes = 0
        self._own: dict[str, Callable[[Any], Any]] = {
            _DELIVERY + "BeginAttempts": self._begin,
            _DELIVERY + "RenewLeases": self._renew,
            _DELIVERY + "CompleteAttempts": self._complete,
            _ENDPOINT + "RegisterEndpoint": self._register,
            _ENDPOINT + "Heartbeat": lambda _: endpoint_service_pb2.HeartbeatResponse(),
            _ENDPOINT + "GetCursor": self._get_cursor,
            _ENDPOINT + "PutCursor": self._put_cursor,
            HOLD: self._hold,
            _ENDPOINT + "ListHeldFacts": self._list_held,
            _ENDPOINT + "ReportHeldPayload": self._report_held,
            # It has no rows of its own: those of the adapter's file hold.
            _MAPPING + "PublishDefaultMappings": _published,
        }

    async def answer(self, name: str, data: bytes) -> Message:
        """One call. Refused: the hub says no."""
        if self._evidence_bytes < MAX_EVIDENCE_BYTES:
            self.evidence.append(data)
            self._evidence_bytes += len(data)
        else:
            self.evidence_is_cut = True
        method = contracts.load().methods[name]
        own = self._own.get(name)
        if self.takes_nothing and (name == HOLD or (own is None and method.mutating)):
            self.turned_away += 1
            raise Refused(Refusal("HUB_UNAVAILABLE", "the store does not answer"))
        if own is None:
            return self.notebook.ask(method, data)
        broken = contracts.validate(method.request_type, data)
        if broken:
            said = "; ".join(str(each) for each in broken)
            self.notebook.problems.append(f"{name}: {said}")
            raise Refused(Refusal("INVALID_FIELD", said))
        request = contracts.load().generated_class(method.request_type).FromString(data)
        if name == _DELIVERY + "CompleteAttempts" and self._is_deaf_to(request):
            await self.hears_again.wait()
        answer: Message = own(request)
        return answer

    def _is_deaf_to(self, request: Any) -> bool:
        return any((each.delivery_id, each.token) in self.deaf_to for each in request.completions)

    def _begin(self, request: Any) -> Message:
        answer = delivery_service_pb2.BeginAttemptsResponse()
        for begin in request.begins:
            result = answer.results.add(delivery_id=begin.delivery_id)
            delivery = self.deliveries.get(begin.delivery_id)
            if delivery is None or not delivery.begin(begin.dispatch_number, begin.attempt_id):
                result.refusal.reason = "LEASE_LOST"
                continue
            result.token, result.attempt = delivery.token, delivery.attempt
            result.kind = delivery.doing  # type: ignore[assignment]
            result.draft = delivery.draft
            result.lease.CopyFrom(_duration(LEASE_SECONDS))
        return answer

    def _renew(self, request: Any) -> Message:
        answer = delivery_service_pb2.RenewLeasesResponse()
        for renewal in request.renewals:
            result = answer.results.add(delivery_id=renewal.delivery_id)
            delivery = self.deliveries[renewal.delivery_id]
            other = renewal.draft and delivery.draft not in ("", renewal.draft)
            if not delivery.open or renewal.token != delivery.token or other:
                result.refusal.reason = "LEASE_LOST"
                continue
            delivery.draft = delivery.draft or renewal.draft
            result.lease.CopyFrom(_duration(LEASE_SECONDS))
        return answer

    def _complete(self, request: Any) -> Message:
        answer = delivery_service_pb2.CompleteAttemptsResponse()
        for completion in request.completions:
            result = answer.results.add(delivery_id=completion.delivery_id)
            delivery = self.deliveries[completion.delivery_id]
            # Facts first: a waiting check goes on as soon as there is an outcome.
            for fact in completion.facts:
                with contextlib.suppress(Refused):
                    self.notebook.ask(contracts.load().methods[fact.method], fact.request)
            if not delivery.complete(completion):
                result.refusal.reason = "LEASE_LOST"
        return answer

    def _register(self, request: Any) -> Message:
        self.registered.append(request)
        return endpoint_service_pb2.RegisterEndpointResponse(
            delivery_stream="conformance", delivery_consumer="conformance",
            delivery_subject="conformance",
        )  # fmt: skip

    def _get_cursor(self, request: Any) -> Message:
        self.cursor_reads[request.name] += 1
        value, version = self.cursors.get(request.name, (b"", 0))
        return endpoint_service_pb2.GetCursorResponse(value=value, version=version)

    def _put_cursor(self, request: Any) -> Message:
        version = self.cursors.get(request.name, (b"", 0))[1]
        if request.expected_version != version:
            raise Refused(Refusal("CURSOR_MOVED", "another instance moved it"))
        self.cursors[request.name] = (request.value, version + 1)
        return endpoint_service_pb2.PutCursorResponse(version=version + 1)

    def facts_held_apart(self) -> list[held_fact_pb2.HeldFact]:
        """Facts that a completion had no room for, and that nobody has written yet."""
        return [
            fact
            for (source, _), fact in self._held_facts.items()
            if source == COMPLETION_SOURCE
            and fact.state == held_fact_pb2.HELD_FACT_STATE_HELD
            and place_of(fact.content_type) is not None
        ]

    def _hold(self, request: Any) -> Message:
        identity = (request.source, request.key or request.payload)
        fact = self._held_facts.get(identity)
        if fact is None:
            self.held.append(request)
            fact = held_fact_pb2.HeldFact(
                id=str(uuid.uuid4()),
                payload=request.payload,
                content_type=request.content_type,
                state=held_fact_pb2.HELD_FACT_STATE_HELD,
                awaits=f"translation:{request.source}",
            )
            self._held_facts[identity] = fact
        answer = held_fact_pb2.HoldPayloadResponse()
        answer.receipt.outcome = types_pb2.FACT_OUTCOME_HELD
        answer.receipt.held_fact_id = fact.id
        return answer

    def _list_held(self, request: Any) -> Message:
        kind, ids = request.awaits_kind, set(request.ids)
        found = [
            fact
            for fact in self._held_facts.values()
            if (not ids or fact.id in ids)
            and (not kind or fact.awaits.startswith(f"{kind}:"))
            and request.state in (held_fact_pb2.HELD_FACT_STATE_UNSPECIFIED, fact.state)
        ]
        return held_fact_pb2.ListHeldFactsResponse(held_facts=found)

    def _report_held(self, request: Any) -> Message:
        for fact in self._held_facts.values():
            if fact.id == request.held_fact_id and request.translated:
                fact.state = held_fact_pb2.HELD_FACT_STATE_APPLIED
        return held_fact_pb2.ReportHeldPayloadResponse()


@asynccontextmanager
async def serving(hub: Hub) -> AsyncIterator[str]:
    """The hub on a free port of this machine; its address."""
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((_Handlers(hub),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)


class _Handlers(grpc.GenericRpcHandler):
    """One handler for every method of the contract; messages pass as bytes."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def service(self, details: Any) -> Any:
        name = str(details.method)
        if name not in contracts.load().methods:
            return None

        async def handle(data: bytes, context: Any) -> bytes:
            try:
                return (await self._hub.answer(name, data)).SerializeToString()
            except Refused as refused:
                status = rpc_status.to_status(to_status(refused.refusal))
                metadata = (*status.trailing_metadata, _NO_REPEAT)
                await context.abort(status.code, status.details, metadata)
                raise

        return grpc.unary_unary_rpc_method_handler(handle)


def _published(_: Any) -> Message:
    return mapping_service_pb2.PublishDefaultMappingsResponse()


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromNanoseconds(int(seconds * 1e9))
    return duration
