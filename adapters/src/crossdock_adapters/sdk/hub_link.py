"""The hub as one endpoint's runner sees it: ledger, registration, cursors, held payloads, ids."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import crossdock
from crossdock.carrier.v1 import carrier_service_pb2
from crossdock.client import HubClient
from crossdock.customer.v1 import customer_service_pb2
from crossdock.delivery.v1 import delivery_pb2, delivery_service_pb2
from crossdock.endpoint.v1 import endpoint_pb2, endpoint_service_pb2, held_fact_pb2
from crossdock.errors import (
    AlreadyUsedError,
    CallError,
    ConflictError,
    InvalidRequestError,
    LimitExceededError,
    NotFoundError,
    PreconditionError,
)
from crossdock.item.v1 import item_service_pb2
from crossdock.location.v1 import location_service_pb2
from crossdock.mapping.v1 import mapping_pb2
from crossdock.request_ids import new_request_id
from crossdock.types.v1 import types_pb2
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

from crossdock_adapters.sdk.attempts import HubAway, HubRefused
from crossdock_adapters.sdk.cursors import CursorMoved
from crossdock_adapters.sdk.exchange import as_text
from crossdock_adapters.sdk.manifest import Manifest, OperationClass
from crossdock_adapters.sdk.mappings import MAX_CODE, MAX_TYPE, UnreadCodes
from crossdock_adapters.sdk.work import HeldPayload

T = TypeVar("T")

CALL_SECONDS = 10.0
NUMBERS_LIFE_SECONDS = 300.0
MAX_CACHED_NUMBERS = 50_000
NUMBERS_AT_ONCE = 16
MAX_HELD_BYTES = 512 * 1024
MAX_REASON = 1000
MAX_TROUBLE = 500
MAX_KEY = 200
HELD_AT_ONCE = 20
ASKED_KIND = "retranslation"

# These say that this very request will never do; anything else may pass when repeated.
_FOR_GOOD = (
    InvalidRequestError,
    PreconditionError,
    NotFoundError,
    LimitExceededError,
    AlreadyUsedError,
    ConflictError,
)
_CLASSES = {
    OperationClass.KEYED: delivery_pb2.OPERATION_CLASS_KEYED,
    OperationClass.SEARCHABLE: delivery_pb2.OPERATION_CLASS_SEARCHABLE,
    OperationClass.TWO_STEP: delivery_pb2.OPERATION_CLASS_TWO_STEP,
    OperationClass.NATURAL: delivery_pb2.OPERATION_CLASS_NATURAL,
    OperationClass.NONE: delivery_pb2.OPERATION_CLASS_NONE,
}


@dataclass(frozen=True, slots=True)
class Registration:
    """Where the deliveries of an endpoint come from."""

    stream: str
    consumer: str
    subject: str


class HubLink:
    """Calls of one endpoint to the hub. Raises HubAway or HubRefused, unless said otherwise."""

    def __init__(self, endpoint: str, hub: HubClient, instance: str) -> None:
        self.endpoint = endpoint
        self.hub = hub
        self._instance = instance
        self._numbers = _NumberCache()

    async def begin(
        self, begins: list[delivery_service_pb2.Begin]
    ) -> list[delivery_service_pb2.BeginResult]:
        request = delivery_service_pb2.BeginAttemptsRequest(
            endpoint=self.endpoint, instance=self._instance, begins=begins
        )
        answer = await told(self.hub.deliveries.BeginAttempts(request, timeout=CALL_SECONDS))
        return list(answer.results)

    async def renew(
        self, renewals: list[delivery_service_pb2.LeaseRenewal]
    ) -> list[delivery_service_pb2.LeaseResult]:
        request = delivery_service_pb2.RenewLeasesRequest(endpoint=self.endpoint, renewals=renewals)
        answer = await told(self.hub.deliveries.RenewLeases(request, timeout=CALL_SECONDS))
        return list(answer.results)

    async def complete(
        self, completions: list[delivery_service_pb2.Completion]
    ) -> list[delivery_service_pb2.CompletionResult]:
        request = delivery_service_pb2.CompleteAttemptsRequest(
            endpoint=self.endpoint, completions=completions
        )
        answer = await told(self.hub.deliveries.CompleteAttempts(request, timeout=CALL_SECONDS))
        return list(answer.results)

    async def register(self, manifest: Manifest) -> Registration:
        """Tell what this endpoint can do; HubRefused when the deployment says otherwise."""
        request = endpoint_service_pb2.RegisterEndpointRequest(
            request_id=new_request_id(),
            endpoint=self.endpoint,
            manifest=to_message(manifest),
        )
        answer = await told(self.hub.endpoints.RegisterEndpoint(request, timeout=CALL_SECONDS))
        return Registration(
            answer.delivery_stream, answer.delivery_consumer, answer.delivery_subject
        )

    async def heartbeat(self, trouble: str) -> int:
        """Tell that the endpoint lives; returns the version of its kind's mappings."""
        request = endpoint_service_pb2.HeartbeatRequest(
            endpoint=self.endpoint, instance=self._instance, trouble=as_text(trouble, MAX_TROUBLE)
        )
        answer = await told(self.hub.endpoints.Heartbeat(request, timeout=CALL_SECONDS))
        return answer.mapping_version

    async def get_cursor(self, name: str) -> tuple[bytes, int]:
        """The cursor and the version that `put_cursor` must name."""
        request = endpoint_service_pb2.GetCursorRequest(name=name)
        answer = await told(self.hub.endpoints.GetCursor(request, timeout=CALL_SECONDS))
        return answer.value, answer.version

    async def put_cursor(self, name: str, value: bytes, expected_version: int) -> int:
        """Move a cursor; CursorMoved when another instance was faster."""
        request = endpoint_service_pb2.PutCursorRequest(
            request_id=new_request_id(),
            name=name,
            value=value,
            expected_version=expected_version,
        )
        try:
            answer = await self.hub.endpoints.PutCursor(request, timeout=CALL_SECONDS)
        except ConflictError as conflict:
            raise CursorMoved(f"cursor {name} was moved by another instance") from conflict
        except CallError as error:
            raise translated(error) from error
        return answer.version

    async def hold(
        self,
        source: str,
        payload: bytes,
        content_type: str,
        reason: str,
        key: str,
        codes: UnreadCodes | None = None,
    ) -> str:
        """Keep a payload that can't be translated: its id; it is durable when this returns.

        Of one that is larger than the hub holds the beginning is kept, and the reason says so.

        While one with the same `key` (or, without one, with the same bytes) from the same source is
        held, it is not kept beside it. The request id is new each time: what is known is for the
        hub to say, which also knows what was closed. codes: without a row; it waits for them.
        """
        if len(payload) > MAX_HELD_BYTES:
            # Refused whole it would come again for ever, or be lost: what is left out is named.
            digest = hashlib.sha256(payload).hexdigest()
            reason = (
                f"held are the first {MAX_HELD_BYTES} of {len(payload)} bytes (SHA-256 {digest}): "
                f"{reason or 'cannot be translated'}"
            )
            payload, key = payload[:MAX_HELD_BYTES], key or digest
        fits = as_text(key, MAX_KEY) == key
        request = held_fact_pb2.HoldPayloadRequest(
            request_id=new_request_id(),
            payload=payload,
            content_type=content_type[:100],
            source=source[:200],
            reason=as_text(reason or "cannot be translated", MAX_REASON),
            key=key if fits else hashlib.sha256(key.encode()).hexdigest(),
            unread_codes=unread_message(codes),
        )
        answer = await told(self.hub.endpoints.HoldPayload(request, timeout=CALL_SECONDS))
        return answer.receipt.held_fact_id

    async def tell(self, method: str, request: Message, response_type: type[Message]) -> Message:
        """Call a method of the contract by its name, for example "/crossdock.label.v1.…"."""
        call: Any = self.hub.channel.unary_unary(
            method,
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=response_type.FromString,
        )
        return await told(call(request, timeout=CALL_SECONDS))

    async def held_payload(self, held_id: str) -> HeldPayload | None:
        """One payload, held or translated since; None: there is none, or it was discarded."""
        request = held_fact_pb2.ListHeldFactsRequest(
            page_size=HELD_AT_ONCE, endpoint=self.endpoint, payloads_only=True, ids=[held_id]
        )
        answer = await told(self.hub.endpoints.ListHeldFacts(request, timeout=CALL_SECONDS))
        for fact in answer.held_facts:
            if fact.id == held_id and fact.state != held_fact_pb2.HELD_FACT_STATE_DISCARDED:
                return _held_payload(fact)
        return None

    async def close_held(self, held_id: str) -> None:
        """Tell that a payload is translated; one that somebody has closed already stays closed."""
        with contextlib.suppress(HubRefused):
            await self.report_held(held_id, "")

    async def held_payloads(
        self, *, asked: bool, page_token: str = "", ids: Sequence[str] = ()
    ) -> tuple[list[HeldPayload], str]:
        """A page of this endpoint's held payloads, oldest first, and where the next one begins.

        asked: only those that an operator asked for. ids: only these, `HELD_AT_ONCE` at most; a hub
        that does not know this filter yet tells them all.
        """
        request = held_fact_pb2.ListHeldFactsRequest(
            page_size=HELD_AT_ONCE,
            page_token=page_token,
            endpoint=self.endpoint,
            state=held_fact_pb2.HELD_FACT_STATE_HELD,
            payloads_only=True,
            awaits_kind=ASKED_KIND if asked else "",
            ids=ids,
        )
        answer = await told(self.hub.endpoints.ListHeldFacts(request, timeout=CALL_SECONDS))
        return [_held_payload(fact) for fact in answer.held_facts], answer.next_page_token

    async def report_held(
        self, held_id: str, reason: str, codes: UnreadCodes | None = None
    ) -> None:
        """Tell that a held payload is translated now, or (with a reason) that it still is not, and
        for which codes."""
        request = held_fact_pb2.ReportHeldPayloadRequest(
            request_id=new_request_id(),
            held_fact_id=held_id,
            translated=not reason,
            reason=as_text(reason, MAX_REASON),
            unread_codes=unread_message(codes) if reason else None,
        )
        await told(self.hub.endpoints.ReportHeldPayload(request, timeout=CALL_SECONDS))

    async def numbers(self, kind: str, numbers: Sequence[str]) -> dict[str, str]:
        """This endpoint's own ids by number; what the hub does not know is left out."""
        found, missing = self._numbers.get(kind, numbers)
        gate = asyncio.Semaphore(NUMBERS_AT_ONCE)

        async def ask(number: str) -> tuple[str, str]:
            async with gate:
                return number, await self._own_id(kind, number)

        for number, own_id in await asyncio.gather(*(ask(number) for number in missing)):
            if own_id:
                self._numbers.put(kind, number, own_id)
                found[number] = own_id
        return found

    async def _own_id(self, kind: str, number: str) -> str:
        try:
            master = await self._read(kind, number)
        except NotFoundError:
            return ""
        except CallError as error:
            raise translated(error) from error
        for reference in master.references:
            if reference.system == self.endpoint and reference.type == kind:
                return str(reference.value)
        return ""

    async def _read(self, kind: str, number: str) -> Any:
        hub = self.hub
        match kind:
            case "item":
                request = item_service_pb2.GetItemRequest(number=number)
                return (await hub.items.GetItem(request, timeout=CALL_SECONDS)).item
            case "customer":
                asked = customer_service_pb2.GetCustomerRequest(number=number)
                return (await hub.customers.GetCustomer(asked, timeout=CALL_SECONDS)).customer
            case "location":
                where = location_service_pb2.GetLocationRequest(number=number)
                return (await hub.locations.GetLocation(where, timeout=CALL_SECONDS)).location
            case "carrier_account":
                account = carrier_service_pb2.GetCarrierAccountRequest(number=number)
                answer = await hub.carriers.GetCarrierAccount(account, timeout=CALL_SECONDS)
                return answer.carrier_account
        raise ValueError(f"no master data is called {kind!r}")


def to_message(manifest: Manifest) -> endpoint_pb2.Manifest:
    """The manifest as the hub takes it."""
    return endpoint_pb2.Manifest(
        adapter=manifest.name,
        adapter_version=manifest.version,
        contract_version=crossdock.__version__,
        system=manifest.system,
        owner=manifest.owner[:100],
        max_concurrency=manifest.concurrency,
        max_rate_per_second=f"{manifest.rate_per_second:.3f}" if manifest.rate_per_second else "",
        operations=[
            endpoint_pb2.Operation(
                name=operation.name,
                operation_class=_CLASSES[operation.operation_class],
                settle_after=_duration(operation.settle_after_seconds),
                call_timeout=_duration(operation.timeout_seconds),
                max_attempts=operation.max_attempts,
                prerequisite_limit=_duration(operation.prerequisite_limit_seconds),
                key_life=_duration(operation.key_life_seconds),
                max_per_root=operation.max_per_order,
                retry_first=_duration(operation.retry_first_seconds),
                retry_max=_duration(operation.retry_max_seconds),
            )
            for operation in manifest.operations.values()
        ],
    )


async def told(call: Awaitable[T]) -> T:
    """The answer, or HubAway or HubRefused."""
    try:
        return await call
    except CallError as error:
        raise translated(error) from error


def refused_for_good(error: BaseException) -> bool:
    """Whether the hub will never take this very request, however often it is repeated."""
    return isinstance(error, (HubRefused, *_FOR_GOOD))


def translated(error: CallError) -> HubAway | HubRefused:
    """What a failed call means for repeating it."""
    if isinstance(error, _FOR_GOOD):
        return HubRefused(str(error))
    # Also a token the hub does not know: it may be replaced while we go on trying.
    return HubAway(str(error))


def _held_payload(fact: held_fact_pb2.HeldFact) -> HeldPayload:
    kind, _, source = fact.awaits.partition(":")
    # A hub that does not tell the source yet has it in `awaits`.
    source = fact.source or source
    return HeldPayload(fact.id, source, fact.payload, fact.content_type, kind == ASKED_KIND)


def unread_message(codes: UnreadCodes | None) -> held_fact_pb2.UnreadCodes | None:
    """Codes as the hub takes them. None where one is such that no row can have it: what is cut or
    changed would be another code."""
    if codes is None or not codes.codes:
        return None
    for each in codes.codes:
        if not (_can_be_told(each.type, MAX_TYPE) and _can_be_told(each.code, MAX_CODE)):
            return None
    return held_fact_pb2.UnreadCodes(
        topic=mapping_pb2.MappingTopic.Value(f"MAPPING_TOPIC_{codes.topic}"),
        native_codes=[types_pb2.NativeCode(type=c.type, code=c.code) for c in codes.codes],
        rows_revision=codes.revision,
    )


def _can_be_told(text: str, most_characters: int) -> bool:
    return as_text(text, most_characters).encode("utf-8", "replace").decode() == text


def _duration(seconds: float) -> Duration | None:
    if not seconds:
        return None
    duration = Duration()
    duration.FromNanoseconds(round(seconds * 1e9))
    return duration


class _NumberCache:
    """Own ids by kind and number; each entry lives a while, and the oldest make room."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: OrderedDict[tuple[str, str], tuple[str, float]] = OrderedDict()

    def get(self, kind: str, numbers: Sequence[str]) -> tuple[dict[str, str], list[str]]:
        """(found, missing)"""
        now = self._clock()
        found: dict[str, str] = {}
        missing: list[str] = []
        for number in dict.fromkeys(numbers):
            own_id, until = self._known.get((kind, number), ("", 0.0))
            if until > now:
                found[number] = own_id
            else:
                missing.append(number)
        return found, missing

    def put(self, kind: str, number: str, own_id: str) -> None:
        self._known[kind, number] = (own_id, self._clock() + NUMBERS_LIFE_SECONDS)
        self._known.move_to_end((kind, number))
        while len(self._known) > MAX_CACHED_NUMBERS:
            self._known.popitem(last=False)
